"""Decision time and memory by the numbers of measurements and of candidates.

ZDT2 (d = 6, m = 2) on a finite set of designs: the cheap outcome was measured n times,
the dear one n / 10 times and at most 100 times. Each row is one process, which makes
one decision with models that were fitted in another: the set-up of the acquisition
function (moments or reference designs, factorisations) and the scoring of all pairs are
timed apart. Process CPU time, one thread. Rows are stored one by one; those of other
settings stay.

`--soak` makes many small decisions in one run instead and compares its quarters,
without a model (the loop's own time) and with FlexiBO. `--journal` writes and reads
a checkpoint of so many entries of a real run.

    python -m benchmarks.scale
    python -m benchmarks.scale --soak 2000 --policies random
    python -m benchmarks.scale --journal 100000
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
import tracemalloc
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from botorch.acquisition.decoupled import DecoupledAcquisitionFunction
from botorch.models.cost import FixedCostModel
from botorch.models.model import ModelList

from benchmarks.environment import write_json
from botorch_flexibo import (
    AcquisitionPolicy,
    DecoupledHistory,
    DecoupledModelFitter,
    FlexiBOFactory,
    InitialDesign,
    LookaheadFactory,
    RandomPolicy,
    run_decoupled_optimization,
)
from botorch_flexibo.models.decoupled import FittedParameters
from botorch_flexibo.optim import SearchSpace
from botorch_flexibo.policies import DecoupledState, Policy
from botorch_flexibo.test_functions import DecoupledZDT2, TabularProblem
from botorch_flexibo.utils.journal import Journal

RESULTS = Path(__file__).parent / "results"
MEASUREMENTS = (100, 1000, 5000)
CANDIDATES = (1000, 10_000, 100_000)
_DEAR, _MAX_DEAR = 10, 100
_SEED = 0
_QUARTERS = 4

Fitted = Mapping[int, FittedParameters]


@dataclass
class TimedFactory:
    """A factory of acquisition functions that notes its own time."""

    factory: FlexiBOFactory | LookaheadFactory
    seconds: list[float] = field(default_factory=list)

    def __call__(
        self, model: ModelList, state: DecoupledState
    ) -> DecoupledAcquisitionFunction:
        start = time.process_time()
        acqf = self.factory(model, state)
        self.seconds.append(time.process_time() - start)
        return acqf


FACTORIES = {"FlexiBO": FlexiBOFactory(), "look-ahead FlexiBO": LookaheadFactory()}


def data(num_cheap: int) -> tuple[DecoupledZDT2, torch.Tensor, torch.Tensor]:
    """Problem and measurements, the second outcome being the cheap one."""
    problem = DecoupledZDT2(6, costs=(100.0, 1.0))
    X = problem.discretize(num_cheap, seed=_SEED)
    Y = problem.evaluate(X, torch.ones(len(X), 2, dtype=torch.bool))
    Y[min(num_cheap // _DEAR, _MAX_DEAR) :, 0] = torch.nan
    return problem, X, Y


def peak_mib() -> float:
    """Peak resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def fit(queue: Any, num_cheap: int) -> None:
    """Fit hyperparameters from scratch."""
    torch.set_num_threads(1)
    problem, X, Y = data(num_cheap)
    fitter = DecoupledModelFitter(problem.bounds)
    start = time.process_time()
    fitter.fit(X, Y)
    seconds = time.process_time() - start
    plain = {
        i: (rows, {name: p.tolist() for name, p in parameters.items()})
        for i, (rows, parameters) in fitter.state_dict().items()
    }
    row = {"fit_seconds": round(seconds, 3), "fit_peak_mib": round(peak_mib())}
    queue.put((plain, row))


def decide(
    queue: Any, fitted: dict[int, Any], num_cheap: int, candidates: int, method: str
) -> None:
    """One decision."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of jitter; the times are what counts here
    problem, X, Y = data(num_cheap)
    state = {
        i: FittedParameters(
            rows, {k: torch.tensor(v, dtype=X.dtype) for k, v in named.items()}
        )
        for i, (rows, named) in fitted.items()
    }
    fitter = DecoupledModelFitter(problem.bounds)
    fitter.load_state_dict(state, X, Y)
    known = DecoupledState(
        X=X,
        Y=Y,
        space=SearchSpace(
            problem.bounds, problem.discretize(candidates, seed=_SEED + 1)
        ),
        ref_point=problem.ref_point,
        cost_model=FixedCostModel(problem.costs),
        seed=_SEED,
    )
    model = fitter.fit(X, Y)
    factory = TimedFactory(FACTORIES[method])
    before = peak_mib()
    start = time.process_time()
    AcquisitionPolicy(factory)(model, known)
    total = time.process_time() - start
    (setup,) = factory.seconds
    queue.put(
        {
            "setup_seconds": round(setup, 3),
            "scoring_seconds": round(total - setup, 3),
            "peak_mib": round(peak_mib()),
            "added_mib": round(peak_mib() - before),
        }
    )


def in_a_process(work: Any, *arguments: Any) -> Any:
    """The result of work in a fresh process."""
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    process = context.Process(target=work, args=(queue, *arguments))
    process.start()
    result = queue.get()
    process.join()
    return result


def stored(path: Path) -> list[dict[str, Any]]:
    """The rows of a stored result, none if there is no such file."""
    return json.loads(path.read_text())["rows"] if path.exists() else []


def table(measurements: list[int], candidates: list[int], path: Path) -> None:
    """Measure rows, and store each with those that are there."""
    for num_cheap in measurements:
        fitted, fitting = in_a_process(fit, num_cheap)
        for count in candidates:
            for method in FACTORIES:
                key = {
                    "method": method,
                    "measurements": num_cheap,
                    "candidates": count,
                }
                numbers = in_a_process(decide, fitted, num_cheap, count, method)
                row = {**key, **fitting, **numbers}
                print(row, flush=True)
                others = [old for old in stored(path) if not key.items() <= old.items()]
                write_json(path, {"seed": _SEED, "rows": [*others, row]})


POLICIES: dict[str, Callable[[], Policy]] = {
    "random": RandomPolicy,
    "flexibo": lambda: AcquisitionPolicy(FlexiBOFactory()),
}


# --- soak -----------------------------------------------------------------------------


class Watch:
    """A callback that notes time and memory at each decision."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.resident_mib: list[float] = []
        self.traced_kib: list[float] = []
        self._last = time.process_time()

    def __call__(self, history: DecoupledHistory) -> None:
        self.seconds.append(time.process_time() - self._last)
        if len(self.seconds) % 50 == 0:
            gc.collect()
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.resident_mib.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)
            self.traced_kib.append(tracemalloc.get_traced_memory()[0] / 1024)
        self._last = time.process_time()

    def quarters(self) -> list[float]:
        """Median CPU milliseconds of each quarter of the run."""
        size = len(self.seconds) // _QUARTERS
        parts = (self.seconds[i * size : (i + 1) * size] for i in range(_QUARTERS))
        return [round(1000 * statistics.median(part), 2) for part in parts]


def soak_problem(num_requests: int) -> TabularProblem:
    """A table on which so many requests leave some over."""
    generator = torch.Generator().manual_seed(_SEED)
    X = torch.rand(num_requests, 3, dtype=torch.float64, generator=generator)
    Y = torch.stack([X.sum(dim=-1), -X.square().sum(dim=-1)], dim=-1)
    problem = TabularProblem(
        X=X,
        Y=Y,
        costs=torch.ones_like(Y),
        ref_point=[0.0, -3.0],
        outcome_names=["first", "second"],
        cost_unit="requests",
    )
    problem.knows_truth = False  # judging fronts would fit models
    return problem


def soak(policy: Policy, num_requests: int) -> dict[str, Any]:
    """One run of so many requests, each of which costs one."""
    watch = Watch()
    tracemalloc.start()  # slows everything down, alike in all quarters
    start = time.process_time()
    history = run_decoupled_optimization(
        soak_problem(num_requests),
        policy,
        budget=float(num_requests),
        initial_design=InitialDesign(5),
        callbacks=[watch],
        seed=_SEED,
    )
    total = time.process_time() - start
    tracemalloc.stop()
    return {
        "policy": policy.name,
        "requests": sum(map(sum, (record.measured for record in history.records))),
        "cpu_seconds": round(total, 1),
        "median_ms_by_quarter": watch.quarters(),
        "resident_mib_each_50_decisions": [round(x, 1) for x in watch.resident_mib],
        "traced_kib_each_50_decisions": [round(x) for x in watch.traced_kib],
    }


# --- checkpoints ----------------------------------------------------------------------


def journal(num_entries: int) -> dict[str, Any]:
    """Entries written per second, and the CPU seconds of reading all of them."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run.jsonl"
        run_decoupled_optimization(
            soak_problem(50),
            RandomPolicy(),
            budget=40.0,
            initial_design=InitialDesign(5),
            checkpoint=run,
        )
        with Journal(run) as source:
            entry = max(source.entries, key=lambda entry: len(str(entry)))
        path = Path(folder) / "journal.jsonl"
        with Journal(path) as target:
            appended = {
                "each on the disk": _append(target, entry, num_entries // 100, True),
                "not flushed": _append(target, entry, num_entries, False),
            }
        start = time.process_time()
        with Journal(path) as target:
            read = len(target.entries)
        return {
            "entries": read,
            "bytes_per_entry": round(path.stat().st_size / read),
            "appended_per_second": appended,
            "read_cpu_seconds": round(time.process_time() - start, 2),
        }


def _append(target: Journal, entry: dict[str, Any], count: int, sync: bool) -> int:
    start = time.perf_counter()
    for _ in range(count):
        target.append(entry, sync=sync)
    return round(count / (time.perf_counter() - start))


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measurements", type=int, nargs="+", default=MEASUREMENTS)
    parser.add_argument("--candidates", type=int, nargs="+", default=CANDIDATES)
    parser.add_argument("--soak", type=int, metavar="REQUESTS")
    parser.add_argument("--journal", type=int, metavar="ENTRIES")
    parser.add_argument("--policies", nargs="+", default=list(POLICIES))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.soak is not None:
        runs = [soak(POLICIES[name](), args.soak) for name in args.policies]
        for run in runs:
            print(run)
        write_json(args.out or RESULTS / "soak.json", {"seed": _SEED, "runs": runs})
        return
    if args.journal is not None:
        numbers = journal(args.journal)
        print(numbers)
        write_json(args.out or RESULTS / "journal.json", numbers)
        return
    path = args.out or RESULTS / "scale.json"
    table(list(args.measurements), list(args.candidates), path)


if __name__ == "__main__":
    main()
