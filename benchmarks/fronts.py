"""Time to find and to decompose fronts of three outcomes, against BoTorch.

FlexiBO needs both at every pick. All on one thread, side by side in one run: the front
of points of which none dominates another, the front of as many uniform ones, and the
boxes that fill what the former does not dominate.

    python -m benchmarks.fronts --out benchmarks/results/fronts.json
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from botorch.utils.multi_objective.box_decompositions.non_dominated import (
    FastNondominatedPartitioning,
)
from botorch.utils.multi_objective.pareto import is_non_dominated
from torch import Tensor

from benchmarks.environment import write_json
from botorch_flexibo.utils.fronts import front_mask, improvement_cells

_SIZES = (30, 100, 300, 1000)


def _botorch_cells(front: Tensor, ref_point: Tensor) -> Tensor:
    partitioning = FastNondominatedPartitioning(ref_point=ref_point, Y=front)
    return partitioning.get_hypercell_bounds()


def _cpu_ms(functions: dict[str, Callable[[], object]], repeats: int) -> dict[str, Any]:
    """Median CPU milliseconds of each, alternating after one warm-up, and the ratio."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats + 1):
        for name, function in functions.items():
            start = time.process_time()
            function()
            seconds[name].append(time.process_time() - start)
    median = {
        name: 1e3 * statistics.median(times[1:]) for name, times in seconds.items()
    }
    ratio = median["BoTorch"] / median["sweep"]
    return {name: round(ms, 2) for name, ms in median.items()} | {
        "ratio": round(ratio, 1)
    }


def run(repeats: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    ref_point = torch.zeros(3, dtype=torch.float64)
    result: dict[str, Any] = {}
    for size in _SIZES:
        generator = torch.Generator().manual_seed(size)
        points = torch.rand(size, 3, generator=generator, dtype=torch.float64)
        front = points / points.norm(dim=-1, keepdim=True)
        result[f"{size} points"] = {
            "front of a sphere": _fronts(front, repeats),
            "front of uniform points": _fronts(points, repeats),
            "boxes": _cpu_ms(
                {
                    "sweep": lambda front=front: improvement_cells(front, ref_point),
                    "BoTorch": lambda front=front: _botorch_cells(front, ref_point),
                },
                repeats,
            ),
            "number of boxes": {
                "sweep": improvement_cells(front, ref_point).shape[1],
                "BoTorch": _botorch_cells(front, ref_point).shape[1],
            },
        }
    return result


def _fronts(points: Tensor, repeats: int) -> dict[str, Any]:
    return _cpu_ms(
        {
            "sweep": lambda: front_mask(points),
            "BoTorch": lambda: is_non_dominated(points, deduplicate=True),
        },
        repeats,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    result = run(arguments.repeats)
    for size, measured in result.items():
        for name, values in measured.items():
            print(f"{size:12s} {name:24s} {values}")
    if arguments.out:
        write_json(arguments.out, result)


if __name__ == "__main__":
    main()
