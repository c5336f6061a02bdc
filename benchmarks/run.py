"""Run what a config asks for and is not stored yet, then show its table.

    python -m benchmarks.run real                # benchmarks/configs/real.toml
    python -m benchmarks.run real --workers 4 --seeds 3
    python -m benchmarks.run --smoke             # all configs, at toy size

Results go to ``benchmarks/results`` as CSV; ``python -m benchmarks.report`` draws them.
A run that was stopped is continued by the same command.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from benchmarks.experiment import FOLDER, Experiment, Store, run_case
from benchmarks.report import print_tables

CONFIGS = FOLDER / "configs"
RESULTS = FOLDER / "results"


def run_all(experiment: Experiment, store: Store, pool: Executor) -> None:
    """Run what is missing, in processes of one thread each.

    A run that fails is reported, and does not stop the others.
    """
    cases = store.missing(experiment.cases())
    failed = {}
    futures = {pool.submit(run_case, case): case for case in cases}
    progress = tqdm(as_completed(futures), total=len(cases), desc=experiment.name)
    for future in progress:
        error = future.exception()
        if error is None:
            store.append(*future.result())
        else:
            failed[futures[future].key] = error
            progress.write(f"{futures[future].key}: {error!r}")
    if failed:
        raise SystemExit(f"{len(failed)} of {len(cases)} runs failed: {list(failed)}")


def config_path(name: str) -> Path:
    """The file of a config, by its path or its name."""
    path = Path(name)
    return path if path.suffix == ".toml" else CONFIGS / f"{name}.toml"


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", nargs="*", help="names or paths of configs")
    parser.add_argument("--seeds", type=int, help="instead of the config's number")
    parser.add_argument("--methods", nargs="+", help="instead of the config's methods")
    parser.add_argument("--only", nargs="+", help="problems, by their names in it")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--smoke", action="store_true", help="toy size, nothing kept")
    args = parser.parse_args()
    names = args.config or sorted(path.stem for path in CONFIGS.glob("*.toml"))
    context = multiprocessing.get_context("spawn")
    # One pool for all configs: each of its processes imports torch once.
    with (
        tempfile.TemporaryDirectory() as scratch,
        ProcessPoolExecutor(args.workers, mp_context=context) as pool,
    ):
        folder = Path(scratch) if args.smoke else args.results
        for name in names:
            experiment = Experiment.read(config_path(name), smoke=args.smoke)
            if args.seeds:
                experiment = replace(experiment, seeds=args.seeds)
            if args.methods:
                experiment = replace(experiment, methods=tuple(args.methods))
            if args.only:
                kept = [spec for spec in experiment.problems if spec.name in args.only]
                experiment = replace(experiment, problems=tuple(kept))
            store = Store(folder, experiment.name)
            run_all(experiment, store, pool)
            print_tables(store, experiment.title)


if __name__ == "__main__":
    main()
