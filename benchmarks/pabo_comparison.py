"""PABO-style policies against other optimisers, at equal numbers of evaluations.

Four problems with finite design sets and one outcome (the "expensive" one) at least 100
times dearer than the others: the recorded networks on crossbar accelerators with
(error, energy) and with (error, energy, area), and 1,024 Sobol designs each of
Branin-Currin and ZDT1 (d = 4, the second outcome dear). All methods start from the same
completely measured designs and end with the same number of expensive evaluations. Truth
and largest hypervolume are those of the finite set.

The lead of PABO is the expensive objective. NSGA-II and predictive entropy search are
described in ``benchmarks.peers``.

Runs are appended to a file as they end, and those that are in it already are not
repeated. A run stores its state after each number of expensive evaluations, with all
that was done before the next one. Optimiser seconds are wall times of the policy and of
the fits of its model; ``cpu_seconds`` and ``wall_seconds`` of the whole run tell how
much of these the process waited for a core. The front that the data identify is judged
once, at the end, and its fits are nobody's.

    python -m benchmarks.pabo_comparison --problems crossbar-2 --seeds 5
    python -m benchmarks.pabo_comparison_report
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

import pandas as pd
import torch
from tqdm import tqdm

from benchmarks.environment import describe, stored
from benchmarks.methods import METHODS
from benchmarks.starved import Starved
from botorch_flexibo import (
    DecoupledHistory,
    InitialDesign,
    SearchSpace,
    fit_decoupled_model,
    run_decoupled_optimization,
)
from botorch_flexibo.optim import identified_front
from botorch_flexibo.policies import Policy
from botorch_flexibo.policies.pabo import PABOPolicy, Supervisor
from botorch_flexibo.policies.supervisor import Gate, Schedule
from botorch_flexibo.test_functions import (
    DecoupledBraninCurrin,
    DecoupledProblem,
    DecoupledZDT1,
    TabularProblem,
)
from botorch_flexibo.test_functions.crossbar import RecordedCrossbarCNN
from botorch_flexibo.utils.fronts import hypervolume

RESULTS = Path(__file__).parent / "results" / "pabo_comparison.jsonl"
NUM_CHOICES = 1024
# Runs end by a callback.
_NO_BUDGET = 1e9
# A method that buys nothing expensive in so many decisions is stopped.
MAX_CHEAP_DECISIONS = 30


def _sobol_choices(problem: DecoupledProblem) -> TabularProblem:
    X = problem.discretize(NUM_CHOICES, seed=0)
    return TabularProblem(
        X,
        problem.evaluate(X, torch.ones(len(X), problem.num_objectives) > 0),
        problem.cost(X),
        ref_point=problem.ref_point,
        outcome_names=problem.outcome_names,
        cost_unit=problem.cost_unit,
    )


@dataclass(frozen=True)
class Setting:
    """A problem and the number of designs to start with."""

    problem: Callable[[], TabularProblem]
    num_initial: int


SETTINGS: dict[str, Setting] = {
    "crossbar-2": Setting(lambda: RecordedCrossbarCNN(("error", "energy")), 10),
    "crossbar-3": Setting(lambda: RecordedCrossbarCNN(("error", "energy", "area")), 10),
    "BraninCurrin": Setting(
        lambda: _sobol_choices(DecoupledBraninCurrin(costs=(100.0, 1.0))), 6
    ),
    "ZDT1": Setting(lambda: _sobol_choices(DecoupledZDT1(4, costs=(1.0, 100.0))), 6),
}


def _pabo(
    gate: Gate, schedule: Schedule, *, pareto_surrogate: bool = False
) -> Callable[[TabularProblem], Policy]:
    return lambda problem: PABOPolicy(
        Supervisor(gate=gate, schedule=schedule, lead=expensive_outcome(problem)),
        pareto_surrogate=pareto_surrogate,
    )


PABO: dict[str, Callable[[TabularProblem], Policy]] = {
    f"PABO {gate}, {schedule}": _pabo(gate, schedule)
    for gate in get_args(Gate)
    for schedule in get_args(Schedule)
} | {
    "PABO observed, lead_skip + surrogate": _pabo(
        "observed", "lead_skip", pareto_surrogate=True
    )
}
COMPARED: dict[str, Callable[[TabularProblem], Policy]] = PABO | {
    "FlexiBO": METHODS["FlexiBO"],
    "look-ahead FlexiBO": METHODS["look-ahead FlexiBO"],
    "coupled qLogNEHVI": METHODS["coupled qLogNEHVI"],
    "random": METHODS["random, coupled"],
    "NSGA-II": METHODS["NSGA-II"],
    "PESMO": METHODS["PESMO"],
}


@dataclass(frozen=True)
class Case:
    """One method on one problem, until so many expensive evaluations."""

    problem: str
    method: str
    seed: int
    evaluations: int
    until_share: float = 1.0


def expensive_outcome(problem: TabularProblem) -> int:
    """The outcome whose mean cost is largest."""
    return int(problem.costs.mean(dim=0).argmax())


def run_case(case: Case) -> dict[str, object]:
    """Run in a single thread; the record to store."""
    torch.set_num_threads(1)
    # BoTorch reports jitter and restarts of fits; the table judges the result.
    warnings.simplefilter("ignore")
    setting = SETTINGS[case.problem]
    problem = setting.problem()
    dear = expensive_outcome(problem)
    starved = Starved(dear, decisions=MAX_CHEAP_DECISIONS)

    def is_over(history: DecoupledHistory) -> bool:
        bought = [r.decision for r in history.records if r.measured[dear]]
        last = history.records[-1]
        return (
            len(bought) >= case.evaluations
            or starved(history)
            or last.hv_measured > (case.until_share + 1e-9) * history.max_hv
        )

    problem.knows_truth = False  # the identified front is judged once, at the end
    cpu, wall = time.process_time(), time.perf_counter()
    history = run_decoupled_optimization(
        problem,
        COMPARED[case.method](problem),
        budget=_NO_BUDGET,
        initial_design=InitialDesign(setting.num_initial),
        seed=case.seed,
        callbacks=[is_over],
    )
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {
        **asdict(case),
        "cpu_seconds": round(cpu, 2),
        "wall_seconds": round(wall, 2),
        "num_initial": setting.num_initial,
        "measurements": history.num_measurements,
        "decisions": history.records[-1].decision,
        "effort": {
            name: round(value, 3) for name, value in asdict(history.effort).items()
        },
        "identified": round(identified_share(problem, history), 4),
        "curve": curve(history, dear, case.evaluations),
        "commit": describe()["commit"],
    }


def identified_share(problem: TabularProblem, history: DecoupledHistory) -> float:
    """Hypervolume share of the truth of the front that the data identify.

    One fit from scratch per outcome, the same for all methods.
    """
    X, Y = history.X, history.Y
    model = fit_decoupled_model(X, Y, bounds=problem.bounds)
    space = SearchSpace(problem.bounds, problem.choices)
    front = identified_front(model, space, X=X, Y=Y, seed=0)
    truth = problem.evaluate_true(front)
    return float(hypervolume(truth, problem.ref_point)) / history.max_hv


def curve(
    history: DecoupledHistory, expensive: int, evaluations: int
) -> dict[str, list[float]]:
    """State of a run after each number of expensive evaluations, as columns."""
    frame = history.to_pandas()
    counts = frame[f"measured_{history.outcome_names[expensive]}"].cumsum()
    columns = pd.DataFrame(
        {
            "expensive": counts,
            "designs": frame["design"].cummax() + 1,
            "cost": frame["cumulative_cost"].round(3),
            "measured": (frame["hv_measured"] / history.max_hv).round(4),
            "optimizer_seconds": (frame["policy_seconds"] + frame["fit_seconds"])
            .cumsum()
            .round(3),
            "fits": frame["effort_num_fits"].cumsum(),
            "acquisitions": frame["effort_num_acquisitions"].cumsum(),
        }
    )
    initial = len(frame[frame["decision"] == 0])
    shown = columns[counts.between(initial, evaluations)]
    last = shown.groupby("expensive", as_index=False).last()
    return {name: last[name].tolist() for name in last.columns}


def run_all(cases: list[Case], path: Path) -> None:
    """Run what is not stored yet, one after the other."""
    names = list(Case.__dataclass_fields__)
    done = {Case(*(row[name] for name in names)) for row in stored(path)}  # pyright: ignore
    path.parent.mkdir(parents=True, exist_ok=True)
    for case in tqdm([case for case in cases if case not in done], desc="runs"):
        record = run_case(case)
        with path.open("a") as file:
            file.write(json.dumps(record) + "\n")


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", nargs="+", default=list(SETTINGS))
    parser.add_argument("--methods", nargs="+", default=list(COMPARED))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--evaluations", type=int, default=30)
    parser.add_argument(
        "--until-share", type=float, default=1.0, help="end above this measured share"
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    cases = [
        Case(problem, method, seed, args.evaluations, args.until_share)
        for seed in range(args.first_seed, args.seeds)
        for problem in args.problems
        for method in args.methods
    ]
    run_all(cases, args.out)


if __name__ == "__main__":
    main()
