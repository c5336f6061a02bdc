"""NAS-Bench-201 through Ax: this package's strategy against Ax's default one.

Both tune a cell (CIFAR-10) for validation error and latency on an ordinary Ax client.
Ax's default strategy measures both at every cell; ours chooses. Every measurement costs
its recorded seconds. Judged by the table's truth: the cells whose two metrics were paid
for, and the front that a model of the data so far points to, the same model for both.
Runs are appended to a file as they end:

    python -m benchmarks.ax_nasbench --seeds 5
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ax.api.client import Client
from ax.api.configs import ChoiceParameterConfig
from botorch.utils.sampling import manual_seed
from tqdm import tqdm

from benchmarks.environment import describe, stored
from botorch_flexibo.ax import (
    complete_measurement,
    flexibo_generation_strategy,
    get_next_measurements,
)
from botorch_flexibo.models import DecoupledModelFitter
from botorch_flexibo.optim import SearchSpace, identified_front
from botorch_flexibo.test_functions import NASBench201
from botorch_flexibo.utils.fronts import hypervolume
from botorch_flexibo.utils.rows import RowIndex

RESULTS = Path(__file__).parent / "results" / "ax_nasbench201.jsonl"
SECONDS_PER_HOUR = 3600.0
# GPU hours at which a run is judged.
GRID = np.linspace(1.0, 16.0, 31)


class Bench:
    """The table as an Ax experiment, with the data and the money spent so far."""

    def __init__(self) -> None:
        self.problem = NASBench201("cifar10")
        self.names = self.problem.outcome_names
        self.X = self.problem.bounds[:0]
        self.Y = self.problem.Y[:0]
        self.spent = 0.0
        self.trace: list[tuple[float, float, float]] = []
        self._fitter = DecoupledModelFitter(
            self.problem.bounds,
            categorical_features=self.problem.categorical_features,
        )

    def client(self, seed: int) -> Client:
        """A client of the experiment; all metrics are minimised, as users have them."""
        client = Client(random_seed=seed)
        parameters = [
            ChoiceParameterConfig(
                name=name,
                parameter_type="str",
                values=list(self.problem.categories[name]),
                is_ordered=False,
            )
            for name in self.problem.input_names
        ]
        client.configure_experiment(parameters=parameters)
        worst = (-self.problem.ref_point).tolist()
        bounds = [f"{n} <= {b}" for n, b in zip(self.names, worst, strict=True)]
        objective = ", ".join(f"-{name}" for name in self.names)
        client.configure_optimization(objective, outcome_constraints=bounds)
        return client

    def measure(
        self, parameters: dict[str, Any], metrics: tuple[str, ...]
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Values and costs of some metrics; they are paid for."""
        codes = [
            float(self.problem.categories[name].index(parameters[name]))
            for name in self.problem.input_names
        ]
        x = torch.tensor([codes], dtype=torch.float64)
        truth, cost = self.problem.evaluate_true(x)[0], self.problem.cost(x)[0]
        asked = torch.tensor([name in metrics for name in self.names])
        self._book(x, torch.where(asked, truth, torch.nan))
        self.spent += float(cost[asked].sum()) / SECONDS_PER_HOUR
        columns = [i for i, name in enumerate(self.names) if name in metrics]
        values = {self.names[i]: -float(truth[i]) for i in columns}
        return values, {self.names[i]: float(cost[i]) for i in columns}

    def judge(self) -> None:
        """Note the shares of the true hypervolume at each point of the grid passed."""
        if self.Y.isnan().all(dim=0).any():
            return
        if len(self.trace) < len(GRID) and self.spent >= GRID[len(self.trace)]:
            model = self._fitter.fit(self.X, self.Y)
            front = identified_front(
                model,
                SearchSpace(self.problem.bounds, self.problem.choices),
                X=self.X,
                Y=self.Y,
                seed=0,
            )
            complete = self.Y[~self.Y.isnan().any(dim=-1)]
            shares = [
                float(hypervolume(points, self.problem.ref_point)) / self.problem.max_hv
                for points in (complete, self.problem.evaluate_true(front))
            ]
            while len(self.trace) < len(GRID) and self.spent >= GRID[len(self.trace)]:
                self.trace.append((self.spent, shares[0], shares[1]))

    def _book(self, x: torch.Tensor, y: torch.Tensor) -> None:
        row = int(RowIndex(self.X).find(x)) if len(self.X) > 0 else -1
        if row < 0:
            self.X, self.Y = torch.cat([self.X, x]), torch.cat([self.Y, y[None]])
        else:
            self.Y[row] = torch.where(y.isnan(), self.Y[row], y)


def run_default(bench: Bench, seed: int) -> int:
    """Ax's own strategy, both metrics of every cell; the number of suggestions."""
    client = bench.client(seed)
    count = 0
    while bench.spent < GRID[-1]:
        for index, parameters in client.get_next_trials(max_trials=1).items():
            values, _ = bench.measure(dict(parameters), tuple(bench.names))
            client.complete_trial(index, values)
        count += 1
        bench.judge()
    return count


def run_flexibo(bench: Bench, seed: int) -> int:
    """Our strategy, one measurement at a time; the number of suggestions."""
    client = bench.client(seed)
    typical = bench.problem.cost(bench.problem.discretize(100, seed=0)).mean(dim=0)
    costs = dict(zip(bench.names, typical.tolist(), strict=True))
    client.set_generation_strategy(
        flexibo_generation_strategy(
            costs,
            n_init=10,
            init_plan="cheap_first",
            seed=seed,
            acquisition_options={"decision_cost": max(costs.values()) / 50},
        )
    )
    count = 0
    while bench.spent < GRID[-1]:
        for measurement in get_next_measurements(client, 1):
            values, paid = bench.measure(
                dict(measurement.parameters), measurement.objectives
            )
            complete_measurement(client, measurement, values, costs=paid)
        count += 1
        bench.judge()
    return count


METHODS: dict[str, Callable[[Bench, int], int]] = {
    "Ax default": run_default,
    "flexibo strategy": run_flexibo,
}


def run_one(method: str, seed: int) -> dict[str, Any]:
    """One run in a single thread; the record to store."""
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    # Fits and transforms report what the result is judged by anyway.
    warnings.simplefilter("ignore")
    bench = Bench()
    start = time.process_time()
    with manual_seed(seed):
        suggestions = METHODS[method](bench, seed)
    measured = (~bench.Y.isnan()).sum(dim=0).tolist()
    return {
        "method": method,
        "seed": seed,
        "trace": [[round(value, 4) for value in row] for row in bench.trace],
        "measurements": dict(zip(bench.names, measured, strict=True)),
        "suggestions": suggestions,
        "cpu_seconds": round(time.process_time() - start, 1),
        **describe(),
    }


def main() -> None:
    """Parse the command line, run what is not stored yet, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    rows = stored(args.out)
    done = {(row["method"], row["seed"]) for row in rows}
    cases = [(m, s) for s in range(args.seeds) for m in METHODS if (m, s) not in done]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(args.workers, mp_context=context) as pool:
        futures = [pool.submit(run_one, *case) for case in cases]
        for future in tqdm(as_completed(futures), total=len(futures), desc="runs"):
            with args.out.open("a") as file:
                file.write(json.dumps(future.result()) + "\n")
    print_table(stored(args.out))


def print_table(rows: list[dict[str, Any]]) -> None:
    """Shares of the true hypervolume at some budgets, means over seeds."""
    print(f"{'GPU hours':>30s}" + "".join(f"{hours:8.1f}" for hours in GRID[2::4]))
    for method in METHODS:
        traces = np.array([row["trace"] for row in rows if row["method"] == method])
        for column, name in ((1, "measured"), (2, "identified")):
            means = traces[:, 2::4, column].mean(axis=0)
            print(f"{method + ', ' + name:>30s}" + "".join(f"{v:8.3f}" for v in means))


if __name__ == "__main__":
    main()
