"""One complete suggestion, side by side: look-ahead FlexiBO, qLogNEHVI, HVKG.

ZDT2 (d = 6, m = 2) with 100 complete measurements, the same fitted models for all.
HVKG and qLogNEHVI use the settings of BoTorch's decoupled tutorial and of its examples;
fitting is not counted. Process CPU time, one thread, median of the repeats. The peak
memory of the process is noted after the first suggestion of each method, look-ahead
first: its number is its own, imports and models included, the others are upper bounds.

    python -m benchmarks.suggestion
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from botorch.models import ModelListGP
from botorch.models.cost import FixedCostModel

from benchmarks.environment import write_json
from botorch_flexibo import (
    AcquisitionPolicy,
    CoupledPolicy,
    DecoupledModelFitter,
    LookaheadFactory,
)
from botorch_flexibo.optim import SearchOptions, SearchSpace
from botorch_flexibo.policies import DecoupledState, HVKGFactory, Policy
from botorch_flexibo.test_functions import DecoupledZDT2

RESULT = Path(__file__).parent / "results" / "suggestion.json"

POLICIES: dict[str, Callable[[], Policy]] = {
    "look-ahead FlexiBO, both masks": lambda: AcquisitionPolicy(LookaheadFactory()),
    "coupled qLogNEHVI, 10 restarts, 512 raw samples": lambda: CoupledPolicy(
        num_restarts=10, raw_samples=512, maxiter=200
    ),
    "decoupled HVKG, tutorial settings": lambda: AcquisitionPolicy(
        HVKGFactory(), options=SearchOptions(512, num_restarts=1, maxiter=2000)
    ),
}


def setting(num_measured: int, seed: int) -> tuple[ModelListGP, DecoupledState]:
    """Fitted models and what an optimiser knows."""
    problem = DecoupledZDT2(6, costs=(3.0, 1.0))
    X = problem.discretize(num_measured, seed=seed)
    Y = problem.evaluate(X, torch.ones(len(X), 2, dtype=torch.bool))
    model = DecoupledModelFitter(problem.bounds).fit(X, Y)
    state = DecoupledState(
        X=X,
        Y=Y,
        space=SearchSpace(problem.bounds),
        ref_point=problem.ref_point,
        cost_model=FixedCostModel(problem.costs),
        seed=seed,
    )
    return model, state


def cpu_seconds(policy: Policy, model: ModelListGP, state: DecoupledState) -> float:
    """CPU time of one suggestion."""
    start = time.process_time()
    policy(model, state)
    return time.process_time() - start


def peak_mib() -> float:
    """The most memory that the process has taken so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure, print the ratios, store them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--measurements", type=int, default=100)
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    torch.set_num_threads(1)
    # BoTorch reports jitter and restarts; the times are what counts here.
    warnings.simplefilter("ignore")
    times: dict[str, list[float]] = {name: [] for name in POLICIES}
    peaks: dict[str, float] = {}
    for seed in range(args.repeats + 1):
        model, state = setting(args.measurements, seed)
        for name, build in POLICIES.items():
            if seed == 0 and "HVKG" in name:
                continue  # the first round only compiles kernels
            seconds = cpu_seconds(build(), model, state)
            peaks.setdefault(name, peak_mib())
            if seed > 0:
                times[name].append(seconds)
    medians = {name: statistics.median(values) for name, values in times.items()}
    ours = next(iter(medians.values()))
    ratios = {name: value / ours for name, value in medians.items()}
    write_json(
        args.out,
        {
            "cpu_seconds": times,
            "median_cpu_seconds": medians,
            "ratio_to_lookahead": ratios,
            "peak_mib_until_then": peaks,
        },
    )
    for name, value in medians.items():
        print(f"{name:50s} {value:8.3f} s  x{ratios[name]:.1f}  {peaks[name]:.0f} MiB")


if __name__ == "__main__":
    main()
