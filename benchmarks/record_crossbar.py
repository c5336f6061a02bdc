"""Train every network of the recorded crossbar grid once.

Results are appended as they come, and a run that was stopped goes on where it ended.
One thread, because a sum over several is rounded in another order. When all networks
are there, the table is written to the package.

    OMP_NUM_THREADS=1 python -m benchmarks.record_crossbar --partial crossbar.csv
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import botorch_flexibo.test_functions
from benchmarks.environment import append_row, write_table
from botorch_flexibo.nn._crossbar_space import (
    LEVELS,
    NETWORK_COLUMNS,
    encoded,
    network_settings,
)
from botorch_flexibo.test_functions.crossbar import CrossbarCNNProblem

TARGET = (
    Path(botorch_flexibo.test_functions.__file__).parent
    / "data"
    / "crossbar_digits.csv.gz"
)

# Adam's rate is level 3 of the live problem's.
GRID: dict[str, tuple[Any, ...]] = {
    "kernel_1": (3,),
    "kernel_2": (3, 5),
    "maps_1": (8, 16, 32),
    "maps_2": (8, 24, 64),
    "hidden": (64,),
    "dropout": (0.0,),
    "lr": (LEVELS["lr"][3],),
    "optimizer": ("adam",),
    "nonlinearity": ("relu",),
    "weight_bits": (2, 3, 4, 8),
    "activation_bits": (2, 3, 4, 8),
}


def designs() -> torch.Tensor:
    """All networks of the grid, on any hardware, as designs of the live problem."""
    grid = pd.DataFrame(itertools.product(*GRID.values()), columns=list(GRID))
    hardware = {n: [v[0]] * len(grid) for n, v in LEVELS.items() if n not in GRID}
    return encoded(pd.concat([grid, pd.DataFrame(hardware)], axis=1))


def record(problem: CrossbarCNNProblem, design: torch.Tensor) -> dict[str, Any]:
    """Train one network; the row to store."""
    (result,) = problem.train_networks(design)
    curve = {f"error_{k + 1}": e for k, e in enumerate(result.epoch_errors)}
    numbers = {"error": result.error, "loss": result.loss, **curve}
    seconds = {"seconds": result.seconds, "cpu_seconds": result.cpu_seconds}
    return {
        **asdict(network_settings(design)[0]),
        **{name: float(f"{value:.6g}") for name, value in numbers.items()},
        **{name: round(value, 3) for name, value in seconds.items()},
    }


def main() -> None:
    """Record what is missing, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--partial", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=TARGET)
    args = parser.parse_args()
    torch.set_num_threads(1)
    problem = CrossbarCNNProblem()
    X = designs()
    done = set()
    if args.partial.exists():
        stored = pd.read_csv(args.partial)[list(NETWORK_COLUMNS)]
        done = set(stored.itertuples(index=False, name=None))
    for design in X.split(1):
        settings = asdict(network_settings(design)[0])
        if tuple(settings.values()) in done:
            continue
        row = record(problem, design)
        append_row(args.partial, row)
        print(*row.values(), flush=True)
    table = pd.read_csv(args.partial).sort_values(list(NETWORK_COLUMNS))
    write_table(table.to_csv(index=False), args.out, __file__)


if __name__ == "__main__":
    main()
