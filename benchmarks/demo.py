"""Which objective next? FlexiBO on NAS-Bench-201 with recorded training seconds.

Tunes a cell of NAS-Bench-201 (CIFAR-10) for validation error and latency. Measuring
the error of a cell costs its recorded training seconds, measuring its latency a few
seconds. Every method starts from the same random, completely measured cells and spends
the same budget of GPU hours. What is reported is the truth: that of the table.

    python -m benchmarks.demo --out out
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import pandas as pd
import torch
from tqdm import tqdm

from benchmarks.environment import describe, write_json
from benchmarks.methods import METHODS
from benchmarks.starved import Starved
from botorch_flexibo import DecoupledHistory, InitialDesign, run_decoupled_optimization
from botorch_flexibo.plotting import (
    plot_cost_breakdown,
    plot_hypervolume,
    plot_measurement_strip,
)
from botorch_flexibo.test_functions import NASBench201

METHOD_NAMES = (
    "look-ahead FlexiBO",
    "FlexiBO",
    "coupled qLogNEHVI",
    "qLogNEHVI + variance/cost",
    "random, decoupled",
    "random, coupled",
)
SECONDS_PER_HOUR = 3600.0
# A method is stopped that buys no training any more.
STARVED = Starved(dear=0)


@dataclass(frozen=True)
class Run:
    """One method on one seed."""

    method: str
    seed: int
    history: DecoupledHistory
    seconds: float


def run_one(method: str, seed: int, gpu_hours: float) -> Run:
    """Run a method in a single thread."""
    torch.set_num_threads(1)
    # BoTorch reports jitter and restarts of fits; the table judges the result.
    warnings.simplefilter("ignore")
    problem = NASBench201("cifar10")
    start = time.perf_counter()
    history = run_decoupled_optimization(
        problem,
        METHODS[method](problem),
        budget=gpu_hours * SECONDS_PER_HOUR,
        initial_design=InitialDesign(10),
        seed=seed,
        callbacks=[STARVED],
    )
    return Run(method, seed, history, time.perf_counter() - start)


def run_all(
    methods: Sequence[str], num_seeds: int, gpu_hours: float, workers: int
) -> list[Run]:
    """All methods on all seeds, in parallel processes, longest first."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        futures = [
            pool.submit(run_one, method, seed, gpu_hours)
            for method in methods
            for seed in range(num_seeds)
        ]
        finished = as_completed(futures)
        runs = [
            future.result()
            for future in tqdm(finished, total=len(futures), desc="runs")
        ]
    return sorted(runs, key=lambda r: (list(methods).index(r.method), r.seed))


def summarize(runs: list[Run]) -> pd.DataFrame:
    """One row per run, all numbers from the table's truth."""
    rows = []
    for run in runs:
        history, frame = run.history, run.history.to_pandas()
        rows.append(
            {
                "method": run.method,
                "seed": run.seed,
                "share_measured": frame["hv_measured"].iloc[-1] / history.max_hv,
                "share_identified": frame["hv_identified"].iloc[-1] / history.max_hv,
                "gpu_hours": history.total_cost / SECONDS_PER_HOUR,
                "training_hours": history.cost_by_outcome["error"] / SECONDS_PER_HOUR,
                "error_measurements": history.num_measurements["error"],
                "latency_measurements": history.num_measurements["latency"],
                "decisions": int(frame["decision"].iloc[-1]),
                "stop_reason": history.stop_reason,
                "optimizer_seconds": run.seconds,
            }
        )
    return pd.DataFrame(rows)


def print_table(summary: pd.DataFrame, gpu_hours: float) -> None:
    """Means over the seeds, as text."""
    seeds = summary["seed"].nunique()
    print(
        f"\nNAS-Bench-201, CIFAR-10: {gpu_hours:g} GPU hours, mean of {seeds} seeds"
        " (min-max).\nShare of the true front's hypervolume reached by\n"
        "  measured    the cells whose error and latency were both paid for\n"
        "  identified  the front the model points to, looked up in the table\n"
    )
    print(
        f"{'method':27s}{'measured':>18s}{'identified':>18s}{'training h':>12s}"
        f"{'errors':>8s}{'latencies':>11s}{'optimizer s':>13s}"
    )
    for method, group in summary.groupby("method", sort=False):
        shares = [
            f"{group[c].mean():.3f} ({group[c].min():.2f}-{group[c].max():.2f})"
            for c in ("share_measured", "share_identified")
        ]
        stopped = "*" if (group["stop_reason"] == "callback").any() else ""
        print(
            f"{method + stopped:27s}{shares[0]:>18s}{shares[1]:>18s}"
            f"{group['training_hours'].mean():12.1f}"
            f"{group['error_measurements'].mean():8.0f}"
            f"{group['latency_measurements'].mean():11.0f}"
            f"{group['optimizer_seconds'].mean():13.0f}"
        )
    if (summary["stop_reason"] == "callback").any():
        print(
            f"* ended early: no training bought in {STARVED.decisions} decisions in a"
            " row (it starves the error)"
        )


def plot(runs: list[Run], out: Path) -> None:
    """Hypervolume against cost, what was measured when, and where the money went."""
    histories = {
        name: [run.history for run in runs if run.method == name]
        for name in dict.fromkeys(run.method for run in runs)
    }
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    for metric, axis in zip(("hv_measured", "hv_identified"), axes, strict=True):
        plot_hypervolume(histories, metric=metric, ax=axis)
    figure.savefig(out / "hypervolume.png", dpi=150)
    figure, axis = plt.subplots(figsize=(6, 3), layout="constrained")
    plot_cost_breakdown(histories, ax=axis)
    figure.savefig(out / "spending.png", dpi=150)
    figure, axis = plt.subplots(figsize=(7, 2), layout="constrained")
    plot_measurement_strip(next(iter(histories.values()))[0], ax=axis)
    figure.savefig(out / "measurements.png", dpi=150)


def store(path: Path, summary: pd.DataFrame, gpu_hours: float) -> None:
    """Store the summary; rows of methods that did not run now are kept."""
    rows = summary.assign(commit=describe()["commit"]).to_dict("records")
    if path.exists():
        kept = json.loads(path.read_text())["rows"]
        ran = set(summary["method"])
        rows += [row for row in kept if row["method"] not in ran]
    write_json(path, {"gpu_hours": gpu_hours, "rows": rows})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument(
        "--methods", nargs="+", choices=list(METHODS), default=METHOD_NAMES
    )
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--gpu-hours", type=float, default=16.0)
    parser.add_argument("--workers", type=int, default=min(8, os.cpu_count() or 1))
    parser.add_argument("--store", type=Path, help="also store the summary here")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    runs = run_all(
        arguments.methods, arguments.seeds, arguments.gpu_hours, arguments.workers
    )
    frames = [
        run.history.to_pandas().assign(method=run.method, seed=run.seed) for run in runs
    ]
    pd.concat(frames).to_csv(arguments.out / "requests.csv", index=False)
    summary = summarize(runs)
    summary.to_csv(arguments.out / "summary.csv", index=False)
    plot(runs, arguments.out)
    print_table(summary, arguments.gpu_hours)
    if arguments.store:
        store(arguments.store, summary, arguments.gpu_hours)
    print(f"\nTables and figures are in {arguments.out.resolve()}")


if __name__ == "__main__":
    main()
