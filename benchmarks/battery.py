"""Log hypervolume regret against cost, over a battery of problems and cost ratios.

Every method starts from the same completely measured Sobol designs and spends the same
budget: as much as eight complete measurements cost. What counts is the truth of the
front that the model identifies. Runs are appended to a file as they end, and those that
are in it already are not repeated:

    python -m benchmarks.battery --problems ZDT2 --methods "look-ahead FlexiBO"
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.environment import describe
from benchmarks.methods import METHODS
from botorch_flexibo import DecoupledHistory, InitialDesign, run_decoupled_optimization
from botorch_flexibo.test_functions import (
    DecoupledBraninCurrin,
    DecoupledDTLZ2,
    DecoupledGPSample,
    DecoupledProblem,
    DecoupledVehicleSafety,
    DecoupledZDT1,
    DecoupledZDT2,
)

RESULTS = Path(__file__).parent / "results" / "battery.jsonl"
# Budgets at which the regret is recorded, in complete measurements.
GRID = np.linspace(0.0, 8.0, 33)
# A method that decides more often is stopped; its last regret counts from there on.
MAX_DECISIONS = 200

PROBLEMS: dict[str, Callable[[float, int], DecoupledProblem]] = {
    "ZDT1": lambda ratio, _: DecoupledZDT1(6, costs=(ratio, 1.0)),
    "ZDT2": lambda ratio, _: DecoupledZDT2(6, costs=(ratio, 1.0)),
    "BraninCurrin": lambda ratio, _: DecoupledBraninCurrin(costs=(ratio, 1.0)),
    "DTLZ2": lambda ratio, _: DecoupledDTLZ2(4, 2, costs=(ratio, 1.0)),
    "DTLZ2, m=3": lambda ratio, _: DecoupledDTLZ2(4, 3, costs=_three(ratio)),
    "VehicleSafety": lambda ratio, _: DecoupledVehicleSafety(costs=_three(ratio)[::-1]),
    "network A": lambda ratio, seed: DecoupledGPSample.network_like(
        seed, dim=3, costs=(ratio, 1.0)
    ),
    "network B": lambda ratio, seed: DecoupledGPSample.network_like(
        seed, dim=5, costs=(ratio, 1.0)
    ),
    "C-MOKG family": lambda ratio, seed: DecoupledGPSample.cmokg(
        seed, costs=(1.0, ratio)
    ),
}


def _three(ratio: float) -> tuple[float, float, float]:
    return (ratio, ratio**0.5, 1.0)


@dataclass(frozen=True)
class Case:
    """One method on one instance of a problem."""

    problem: str
    ratio: float
    method: str
    seed: int


def run_case(case: Case) -> dict[str, object]:
    """Run in a single thread; the record to store."""
    torch.set_num_threads(1)
    # BoTorch reports jitter and restarts of fits; the regret judges the result.
    warnings.simplefilter("ignore")
    problem = PROBLEMS[case.problem](case.ratio, case.seed)
    num_initial = 2 * (problem.dim + 1)
    complete = float(problem.cost(problem.discretize(1, seed=0)).sum())
    start = time.process_time()
    history = run_decoupled_optimization(
        problem,
        METHODS[case.method](problem),
        budget=(num_initial + GRID[-1]) * complete,
        initial_design=InitialDesign(num_initial),
        seed=case.seed,
        callbacks=[stop_after_many_decisions],
    )
    frame = history.to_pandas()
    spent = frame["cumulative_cost"].to_numpy() / complete - num_initial
    last = np.searchsorted(spent, GRID + 1e-9, side="right") - 1
    identified = frame["hv_identified"].to_numpy()[last.clip(min=0)]
    regret = np.log10(np.maximum(history.max_hv - identified, 1e-6))
    return {
        **asdict(case),
        "log_regret": [round(float(value), 4) for value in regret],
        "measurements": history.num_measurements,
        "decisions": int(frame["decision"].iloc[-1]),
        "spent": float(spent[-1]),
        "cpu_seconds": round(time.process_time() - start, 2),
        "policy_seconds": float(frame["policy_seconds"].sum()),
        "commit": describe()["commit"],
    }


def stop_after_many_decisions(history: DecoupledHistory) -> bool:
    """A callback that ends a run which decides too often."""
    return history.records[-1].decision >= MAX_DECISIONS


def stored(path: Path) -> list[dict[str, object]]:
    """All runs of a result file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def run_all(cases: list[Case], path: Path, workers: int) -> None:
    """Run what is not stored yet, in parallel processes."""
    done = {
        Case(**{name: row[name] for name in Case.__dataclass_fields__})  # pyright: ignore
        for row in stored(path)
    }
    cases = [case for case in cases if case not in done]
    path.parent.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        futures = [pool.submit(run_case, case) for case in cases]
        for future in tqdm(as_completed(futures), total=len(futures), desc="runs"):
            with path.open("a") as file:
                file.write(json.dumps(future.result()) + "\n")


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS))
    parser.add_argument("--methods", nargs="+", default=["look-ahead FlexiBO"])
    parser.add_argument("--ratios", nargs="+", type=float, default=[10.0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    cases = [
        Case(problem, ratio, method, seed)
        for seed in range(args.first_seed, args.seeds)
        for problem in args.problems
        for ratio in args.ratios
        for method in args.methods
    ]
    run_all(cases, args.out, args.workers)


if __name__ == "__main__":
    main()
