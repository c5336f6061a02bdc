"""Train designs of the deep shift problem on the digits once each.

Results are appended as they come, and a run that was stopped goes on where it ended.
One thread, because a sum over several is rounded in another order. When all designs are
there, the table is written to the package.

    OMP_NUM_THREADS=1 nice python -m benchmarks.record_deep_shift --partial shift.csv
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import botorch_flexibo.test_functions
from benchmarks.environment import append_row, write_table
from botorch_flexibo.test_functions.deep_shift import DeepShiftProblem

TARGET = (
    Path(botorch_flexibo.test_functions.__file__).parent
    / "data"
    / "deep_shift_digits.csv.gz"
)
EPOCHS = 27
NUM_SOBOL = 254
OBJECTIVES = ("error", "energy", "multiplications")


def designs(problem: DeepShiftProblem) -> torch.Tensor:
    """The default network, the float network and Sobol designs with short decimals."""
    sobol = problem.discretize(NUM_SOBOL, seed=0)
    lower, upper = problem.bounds
    sobol = torch.maximum(torch.minimum(sobol.round(decimals=4), upper), lower)
    return torch.cat([problem.default_design, problem.float_design, sobol])


def record(problem: DeepShiftProblem, design: torch.Tensor) -> dict[str, Any]:
    """Train one design; the row to store, nothing where a parameter has no effect."""
    (result,) = problem.train_networks(design)
    values = problem.decode(design).iloc[0].to_dict()
    raw = dict(zip(problem.space.columns, design[0].tolist(), strict=True))
    inputs = {
        name: values[name] if name in values else raw[name]
        for name in problem.space.columns
    }
    analytic = torch.tensor([[False, True, True]])
    _, energy, multiplications = problem.evaluate(design, analytic)[0].tolist()
    numbers = {
        "energy_nj": 10**-energy,
        "multiplications": abs(multiplications),
        "test_error": float(problem.test_scores(design)),
    }
    numbers |= {f"error_{k + 1}": e for k, e in enumerate(result.epoch_errors)}
    seconds = {
        f"cpu_seconds_{k + 1}": round(s, 3)
        for k, s in enumerate(result.epoch_cpu_seconds)
    }
    row = inputs | {k: float(f"{v:.9g}") for k, v in numbers.items()} | seconds
    return {name: "" if pd.isna(value) else value for name, value in row.items()}


def main() -> None:
    """Record what is missing, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--partial", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=TARGET)
    args = parser.parse_args()
    torch.set_num_threads(1)
    problem = DeepShiftProblem(OBJECTIVES, epochs=(EPOCHS,))
    X = designs(problem)
    # Rows are in the order of the designs.
    done = len(pd.read_csv(args.partial)) if args.partial.exists() else 0
    for k in range(done, len(X)):
        row = record(problem, X[[k]])
        append_row(args.partial, row)
        print(
            f"{k + 1}/{len(X)}: error {row[f'error_{EPOCHS}']:.3f}, test"
            f" {row['test_error']:.3f}, {row['energy_nj']:.0f} nJ,"
            f" {row[f'cpu_seconds_{EPOCHS}']:.1f} CPU s",
            flush=True,
        )
    write_table(args.partial.read_text(), args.out, __file__)


if __name__ == "__main__":
    main()
