"""Seconds per suggestion through Ax: this package's strategy against Ax's default one.

Both continue the same experiment of completely measured designs, side by side in one
process and a single thread. Reported is the CPU time of a whole suggestion: data
handling, fits and acquisition. Each trial is completed, so that models are fitted anew.

    python -m benchmarks.ax_overhead
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from pathlib import Path
from statistics import median

import torch
from ax.api.client import Client
from ax.api.configs import RangeParameterConfig

from benchmarks.environment import write_json
from botorch_flexibo.ax import flexibo_generation_strategy, objectives_for
from botorch_flexibo.test_functions import DecoupledZDT1

RESULTS = Path(__file__).parent / "results" / "ax_overhead.json"


def experiment(num_trials: int, problem: DecoupledZDT1) -> Client:
    """An experiment of ZDT1 with completely measured designs."""
    client = Client(random_seed=0)
    names = [f"x{i}" for i in range(problem.dim)]
    client.configure_experiment(
        [
            RangeParameterConfig(name=name, bounds=(0.0, 1.0), parameter_type="float")
            for name in names
        ]
    )
    client.configure_optimization("f1, f2", ["f1 >= -11", "f2 >= -11"])
    X = problem.discretize(num_trials, seed=0)
    for x, y in zip(X.tolist(), problem.evaluate_true(X).tolist(), strict=True):
        index = client.attach_trial(dict(zip(names, x, strict=True)))
        client.complete_trial(index, dict(zip(("f1", "f2"), y, strict=True)))
    return client


def suggestion_seconds(client: Client, problem: DecoupledZDT1) -> float:
    """CPU seconds of one suggestion, whose trial is then completed as asked."""
    start = time.process_time()
    (index, parameters), *_ = client.get_next_trials(max_trials=1).items()
    seconds = time.process_time() - start
    x = torch.tensor([list(parameters.values())], dtype=torch.float64)
    values = dict(zip(("f1", "f2"), problem.evaluate_true(x)[0].tolist(), strict=True))
    client.complete_trial(index, {m: values[m] for m in objectives_for(client, index)})
    return seconds


def main() -> None:
    """Parse the command line, measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--trials", type=int, nargs="+", default=[20, 60])
    parser.add_argument("--dim", type=int, default=6)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    problem = DecoupledZDT1(args.dim, costs=(10.0, 1.0))
    rows = []
    for num_trials in args.trials:
        default, ours = (experiment(num_trials, problem) for _ in range(2))
        costs = {"f1": 10.0, "f2": 1.0}
        ours.set_generation_strategy(flexibo_generation_strategy(costs, n_init=1))
        for client in (default, ours):
            suggestion_seconds(client, problem)  # compiles and fits for the first time
        times = [
            tuple(suggestion_seconds(client, problem) for client in (default, ours))
            for _ in range(args.repeats)
        ]
        medians = [median(column) for column in zip(*times, strict=True)]
        row = {
            "trials": num_trials,
            "default_seconds": medians[0],
            "flexibo_seconds": medians[1],
            "ratio": medians[1] / medians[0],
        }
        rows.append(row)
        print(row)
    write_json(args.out, {"dim": args.dim, "repeats": args.repeats, "rows": rows})


if __name__ == "__main__":
    main()
