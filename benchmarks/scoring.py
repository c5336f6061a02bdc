"""Time and memory to score all 15,625 cells of NAS-Bench-201.

FlexiBO scores both outcomes of every cell; qLogNoisyExpectedHypervolumeImprovement
scores every cell once (coupled). Same models, same designs, one process, one run; each
time includes the construction of the acquisition function and all posteriors.

    python -m benchmarks.scoring --out benchmarks/results/scoring.json
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from botorch.models.cost import FixedCostModel
from botorch.models.model import ModelList
from torch import Tensor

from benchmarks.environment import write_json
from botorch_flexibo import FlexiBOFactory, fit_decoupled_model
from botorch_flexibo.optim import SearchSpace
from botorch_flexibo.policies import DecoupledState, qlognehvi_factory
from botorch_flexibo.test_functions import NASBench201

_NUM_DATA = 100
_CHUNK = 512


def _setup() -> tuple[ModelList, DecoupledState]:
    problem = NASBench201("cifar10")
    X = problem.discretize(_NUM_DATA, seed=0)
    Y = problem.evaluate(X, torch.ones(_NUM_DATA, 2, dtype=torch.bool))
    model = fit_decoupled_model(
        X, Y, bounds=problem.bounds, categorical_features=problem.categorical_features
    )
    costs = problem.cost(X).mean(dim=0)
    state = DecoupledState(
        X=X,
        Y=Y,
        space=SearchSpace(problem.bounds, problem.choices),
        ref_point=problem.ref_point,
        cost_model=FixedCostModel(costs),
    )
    return model, state


def score_flexibo(model: ModelList, state: DecoupledState) -> Tensor:
    """All pairs, ``n x 2``."""
    acqf = FlexiBOFactory()(model, state)
    columns = []
    for mask in torch.eye(2, dtype=torch.bool):
        acqf.X_evaluation_mask = mask.unsqueeze(0)
        columns.append(acqf(state.choices.unsqueeze(-2)))
    return torch.stack(columns, dim=-1)


def score_qlognehvi(model: ModelList, state: DecoupledState) -> Tensor:
    """All designs, coupled, ``n``."""
    acqf = qlognehvi_factory(model, state)
    chunks = state.choices.unsqueeze(-2).split(_CHUNK)
    return torch.cat([acqf(chunk) for chunk in chunks])


_SCORERS: dict[str, Callable[[ModelList, DecoupledState], Tensor]] = {
    "FlexiBO, both outcomes": score_flexibo,
    "qLogNEHVI, coupled": score_qlognehvi,
}


def _peak_mib() -> int:
    """Peak resident memory of this process (Linux; getrusage inherits the parent's)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) // 1024
    raise RuntimeError("Expected a line VmHWM in /proc/self/status, but found none.")


def _measure_memory(name: str, queue: Any) -> None:
    """Peak memory of a fresh process, and how much of it scoring added."""
    warnings.simplefilter("ignore")
    model, state = _setup()
    before = _peak_mib()
    with torch.no_grad():
        _SCORERS[name](model, state)
    queue.put({"peak_mib": _peak_mib(), "added_mib": _peak_mib() - before})


def run(repeats: int) -> dict[str, Any]:
    """Time both side by side, alternating, after one warm-up of each."""
    warnings.simplefilter("ignore")
    model, state = _setup()
    seconds: dict[str, list[float]] = {name: [] for name in _SCORERS}
    cpu_seconds: dict[str, list[float]] = {name: [] for name in _SCORERS}
    with torch.no_grad():
        for repeat in range(repeats + 1):
            for name, score in _SCORERS.items():
                model.train()  # drops cached quantities
                model.eval()
                start, cpu_start = time.perf_counter(), time.process_time()
                score(model, state)
                if repeat > 0:  # the first qLogNEHVI call compiles a kernel
                    seconds[name].append(time.perf_counter() - start)
                    cpu_seconds[name].append(time.process_time() - cpu_start)
    context = multiprocessing.get_context("spawn")
    result: dict[str, Any] = {"designs": len(state.choices), "data": _NUM_DATA}
    for name in _SCORERS:
        queue = context.SimpleQueue()
        process = context.Process(target=_measure_memory, args=(name, queue))
        process.start()
        memory = queue.get()
        process.join()
        result[name] = {
            "wall_s": [round(s, 3) for s in seconds[name]],
            "cpu_s": [round(s, 3) for s in cpu_seconds[name]],
            **memory,
        }
    first, second = (sorted(cpu_seconds[name])[repeats // 2] for name in _SCORERS)
    result["ratio_median_cpu"] = round(second / first, 1)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    result = run(arguments.repeats)
    for name in _SCORERS:
        print(f"{name:24s} {result[name]}")
    print(f"qLogNEHVI takes {result['ratio_median_cpu']} times the CPU time of FlexiBO")
    if arguments.out:
        write_json(arguments.out, result)


if __name__ == "__main__":
    main()
