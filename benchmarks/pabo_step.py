"""One decision, side by side: a PABO round against a step of PESMO.

Branin-Currin and ZDT1 (d = 4) with 30 complete measurements and 1,024 designs to choose
from, the same data for both. A PABO round is one proposal of every agent. A PESMO step
draws Pareto sets from the posterior and maximises BoTorch's
``qMultiObjectivePredictiveEntropySearch`` over the same designs, each once, without the
gradient steps that a continuous space would need.
Wall times, one thread, medians of the repeats. Two clocks: the acquisition work alone,
and the whole step with the fits of both GPs. Times of the objectives are not counted.

    python -m benchmarks.pabo_step
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from pathlib import Path

import torch
from botorch.acquisition.multi_objective.predictive_entropy_search import (
    qMultiObjectivePredictiveEntropySearch,
)
from botorch.acquisition.multi_objective.utils import sample_optimal_points
from botorch.models.cost import FixedCostModel
from botorch.models.model import ModelList
from botorch.utils.sampling import manual_seed

from benchmarks.environment import write_json
from botorch_flexibo import fit_decoupled_model
from botorch_flexibo.optim import SearchSpace
from botorch_flexibo.policies import DecoupledState
from botorch_flexibo.policies.pabo import PABOPolicy, Supervisor
from botorch_flexibo.test_functions import (
    DecoupledBraninCurrin,
    DecoupledProblem,
    DecoupledZDT1,
)

RESULT = Path(__file__).parent / "results" / "pabo_step.json"

PROBLEMS: dict[str, DecoupledProblem] = {
    "Branin-Currin": DecoupledBraninCurrin(costs=(1.0, 1.0)),
    "ZDT1, d=4": DecoupledZDT1(4, costs=(1.0, 1.0)),
}
NUM_MEASURED = 30
NUM_CHOICES = 1024
NUM_PARETO_SETS = 10
NUM_PARETO_POINTS = 10

# Seconds of acquisition work alone and of the whole step.
Clocks = tuple[float, float]


def setting(problem: DecoupledProblem, seed: int) -> DecoupledState:
    """What an optimiser knows."""
    choices = problem.discretize(NUM_CHOICES, seed=seed)
    X = choices[:NUM_MEASURED]
    return DecoupledState(
        X=X,
        Y=problem.evaluate(X, torch.ones(len(X), 2, dtype=torch.bool)),
        space=SearchSpace(problem.bounds, choices),
        ref_point=problem.ref_point,
        cost_model=FixedCostModel(torch.ones(2, dtype=torch.float64)),
        seed=seed,
    )


def pabo(state: DecoupledState) -> Clocks:
    """One proposal of each agent, two fits and two maximisations."""
    policy = PABOPolicy(Supervisor(schedule="round_robin"), q=2)
    start = time.perf_counter()
    request = policy(ModelList(), state)
    whole = time.perf_counter() - start
    effort = policy.effort
    if (len(request.X), effort.num_fits, effort.num_acquisitions) != (2, 2, 2):
        raise RuntimeError(f"Expected two proposals and two fits, but got {effort}.")
    return effort.acquisition_seconds, whole


def pesmo(state: DecoupledState) -> Clocks:
    """One PESMO step over the designs that are not measured."""
    start = time.perf_counter()
    model = fit_decoupled_model(state.X, state.Y, bounds=state.bounds)
    fitted = time.perf_counter()
    with manual_seed(state.seed), torch.no_grad():
        pareto_sets, _ = sample_optimal_points(
            model,
            state.bounds,
            num_samples=NUM_PARETO_SETS,
            num_points=NUM_PARETO_POINTS,
        )
        acqf = qMultiObjectivePredictiveEntropySearch(model, pareto_sets)
        values = acqf(state.space.sample(1, seed=0)[NUM_MEASURED:].unsqueeze(-2))
        if not values[values.argmax()].isfinite():
            raise RuntimeError("Expected finite values of PESMO, but got none.")
    end = time.perf_counter()
    return end - fitted, end - start


def main() -> None:
    """Measure, print both clocks, store them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    torch.set_num_threads(1)
    # BoTorch reports jitter and restarts; the times are what counts here.
    warnings.simplefilter("ignore")
    result = {}
    for name, problem in PROBLEMS.items():
        pabo(setting(problem, 0))  # the first call only loads what both share
        clocks: dict[str, list[Clocks]] = {"PABO round": [], "PESMO step": []}
        for seed in range(1, args.repeats + 1):
            state = setting(problem, seed)
            clocks["PABO round"].append(pabo(state))
            clocks["PESMO step"].append(pesmo(state))
        result[name] = {"seconds": clocks}
        for k, clock in enumerate(("acquisition only", "whole step with fits")):
            medians = {
                method: statistics.median(pair[k] for pair in pairs)
                for method, pairs in clocks.items()
            }
            ratio = medians["PESMO step"] / medians["PABO round"]
            result[name][clock] = {"median_seconds": medians, "ratio": ratio}
            times = "  ".join(f"{m} {s:8.4f} s" for m, s in medians.items())
            print(f"{name:14s} {clock:21s} {times}  x{ratio:.1f}", flush=True)
    write_json(args.out, {"clock": "wall seconds", "results": result})


if __name__ == "__main__":
    main()
