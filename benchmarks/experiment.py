"""One experiment: a config, its runs, and the files in which they are stored.

A run is one method on one problem and seed. Two tables of an experiment are stored as
CSV: ``NAME.runs.csv`` with a row per run, and ``NAME.curves.csv`` with the state of the
runs on a grid of costs. Runs are appended as they end; those stored are not repeated.
"""

from __future__ import annotations

import platform
import time
import tomllib
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.environment import describe
from benchmarks.methods import FITTERS, METHODS
from benchmarks.problems import believed_costs, build, typical_costs
from benchmarks.starved import Starved
from botorch_flexibo import DecoupledHistory, InitialDesign, run_decoupled_optimization
from botorch_flexibo.test_functions import DecoupledProblem

FOLDER = Path(__file__).parent
KEY = ["problem", "method", "seed"]


@dataclass(frozen=True)
class ProblemSpec:
    """A problem of an experiment.

    Attributes:
        name: What tables and figures call it.
        problem: Its name in ``benchmarks.problems``.
        arguments: Arguments of its factory.
        believed: What the true cost of the dearest outcome is multiplied with to give
            the believed one; None for what ``benchmarks.problems`` says of the problem.
    """

    name: str
    problem: str
    arguments: dict[str, Any] = field(default_factory=dict)
    believed: float | None = None


@dataclass(frozen=True)
class Experiment:
    """What a config says.

    Attributes:
        name: The name of the config, and of its results.
        title: What is asked.
        problems: The problems.
        methods: The methods, by their names in ``benchmarks.methods``.
        seeds: The number of seeds.
        budget: What may be spent beyond the expected cost of the initial designs, in
            complete measurements of average cost. Initial designs that are dearer
            leave less.
        num_initial: Initial designs; None for ``2 (d + 1)``.
        points: Points of the grid of costs.
    """

    name: str
    title: str
    problems: tuple[ProblemSpec, ...]
    methods: tuple[str, ...]
    seeds: int
    budget: float
    num_initial: int | None = None
    points: int = 41

    @classmethod
    def read(cls, path: Path, *, smoke: bool = False) -> Experiment:
        """Read a config; its table ``smoke`` makes it small."""
        content = tomllib.loads(path.read_text())
        small = content.pop("smoke", {})
        if smoke:
            content |= small
        problems = _problems(content.pop("problem"), content.pop("ratios", []))
        wanted = content.pop("only", None)
        if wanted is not None:
            problems = [spec for spec in problems if spec.name in wanted]
        methods = tuple(content.pop("methods"))
        unknown = [name for name in methods if name not in METHODS]
        if unknown:
            raise SystemExit(f"{path}: no methods are called {unknown}")
        return cls(path.stem, problems=tuple(problems), methods=methods, **content)

    @property
    def grid(self) -> np.ndarray:
        """Where curves are recorded, in complete measurements."""
        return np.linspace(0.0, self.budget, self.points)

    def cases(self) -> list[Case]:
        """All runs, seed by seed, so that what is there is comparable."""
        return [
            Case(self, spec, method, seed)
            for seed in range(self.seeds)
            for spec in self.problems
            for method in self.methods
        ]


def _problems(entries: list[dict[str, Any]], ratios: list[float]) -> list[ProblemSpec]:
    """The problems, each at every cost ratio if there are any."""
    specs = [ProblemSpec(**{"name": entry["problem"], **entry}) for entry in entries]
    if not ratios:
        return specs
    return [
        replace(
            spec,
            name=f"{spec.name} ({ratio:g}:1)",
            arguments={**spec.arguments, "ratio": ratio},
        )
        for ratio in ratios
        for spec in specs
    ]


@dataclass(frozen=True)
class Case:
    """One method on one instance of a problem."""

    experiment: Experiment
    spec: ProblemSpec
    method: str
    seed: int

    @property
    def key(self) -> tuple[str, str, int]:
        """What identifies the run within its experiment."""
        return (self.spec.name, self.method, self.seed)


def run_case(case: Case) -> tuple[dict[str, Any], pd.DataFrame]:
    """Run in a single thread; its row, and its curves."""
    torch.set_num_threads(1)
    # BoTorch reports jitter and restarts of fits; the truth judges the result.
    warnings.simplefilter("ignore")
    problem = build(case.spec.problem, case.seed, case.spec.arguments)
    num_initial = case.experiment.num_initial or 2 * (problem.dim + 1)
    unit = float(typical_costs(problem).sum())
    dear = int(typical_costs(problem).argmax())
    fitter = FITTERS.get(case.method)
    cpu, wall = time.process_time(), time.perf_counter()
    history = run_decoupled_optimization(
        problem,
        METHODS[case.method](problem),
        budget=(num_initial + case.experiment.budget) * unit,
        initial_design=InitialDesign(num_initial),
        cost_model=believed_costs(problem, case.spec.believed),
        fitter=None if fitter is None else fitter(problem),
        seed=case.seed,
        callbacks=[Starved(dear, target_fidelities=problem.target_fidelities)],
    )
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    names = dict(zip(KEY, case.key, strict=True))
    row = names | _row(history) | {"cpu_seconds": cpu, "wall_seconds": wall}
    curves = _curves(history, problem, case.experiment.grid + num_initial, unit)
    curves.insert(0, "spent", case.experiment.grid)
    return row | _origin(), curves.assign(**names)


def _row(history: DecoupledHistory) -> dict[str, Any]:
    frame = history.to_pandas()
    seconds = (frame["policy_seconds"] + frame["fit_seconds"]).sum()
    return {
        "measured": round(frame["hv_measured"].iloc[-1] / history.max_hv, 5),
        "identified": round(frame["hv_identified"].iloc[-1] / history.max_hv, 5),
        "measurements": "/".join(str(n) for n in history.num_measurements.values()),
        "decisions": int(frame["decision"].iloc[-1]),
        "stop_reason": history.stop_reason,
        "optimizer_seconds": round(float(seconds), 2),
    }


def _curves(
    history: DecoupledHistory, problem: DecoupledProblem, grid: np.ndarray, unit: float
) -> pd.DataFrame:
    """The state of a run on a grid of costs."""
    frame = history.to_pandas()
    dear = history.outcome_names[int(typical_costs(problem).argmax())]
    columns = pd.DataFrame(
        {
            "measured": (frame["hv_measured"] / history.max_hv).round(5),
            "identified": (frame["hv_identified"] / history.max_hv).round(5),
            "dear": frame[f"measured_{dear}"].cumsum(),
            "optimizer_seconds": (frame["policy_seconds"] + frame["fit_seconds"])
            .cumsum()
            .round(2),
        }
    )
    spent = frame["cumulative_cost"].to_numpy() / unit
    last = np.searchsorted(spent, grid * (1 + 1e-12), side="right") - 1
    return columns.iloc[last.clip(min=0)].reset_index(drop=True)


def _origin() -> dict[str, Any]:
    origin = describe()
    versions = origin["versions"]
    return {
        "commit": origin["commit"],
        "botorch": versions["botorch"],
        "torch": versions["torch"],
        "python": platform.python_version(),
        "machine": origin["machine"],
        "date": origin["date"],
    }


@dataclass(frozen=True)
class Store:
    """The tables of an experiment, of some of its seeds and methods or of all.

    Attributes:
        folder: Where they are.
        name: The name of the experiment.
        seeds: The seeds; None for all.
        methods: The methods; None for all.
        matching: A text in the names of the problems, such as "(10:1)".
        complete: Whether to leave out instances on which a method was not run.
    """

    folder: Path
    name: str
    seeds: tuple[int, ...] | None = None
    methods: tuple[str, ...] | None = None
    matching: str = ""
    complete: bool = False

    @property
    def runs_path(self) -> Path:
        """One row per run."""
        return self.folder / f"{self.name}.runs.csv"

    @property
    def curves_path(self) -> Path:
        """One row per run and point of the grid."""
        return self.folder / f"{self.name}.curves.csv"

    def append(self, row: dict[str, Any], curves: pd.DataFrame) -> None:
        """Store a run. Its row is last: without it the run counts as not made."""
        self.folder.mkdir(parents=True, exist_ok=True)
        ordered = curves[[*KEY, *(c for c in curves.columns if c not in KEY)]]
        for path, frame in (
            (self.curves_path, ordered),
            (self.runs_path, pd.DataFrame([row])),
        ):
            new = not path.exists()
            frame.to_csv(path, mode="a", header=new, index=False)

    def runs(self) -> pd.DataFrame:
        """Runs that decided something.

        Where the initial designs took the whole budget, no method had its turn.
        """
        frame = self._stored()
        for column, wanted in (("seed", self.seeds), ("method", self.methods)):
            if wanted is not None:
                frame = frame[frame[column].isin(wanted)]
        frame = frame[frame["problem"].str.contains(self.matching, regex=False)]
        if frame.empty:
            return frame
        frame = frame[frame["decisions"] > 0]
        if self.complete:
            ran = frame.groupby(["problem", "seed"])["method"].transform("nunique")
            frame = frame[ran == frame["method"].nunique()]
        return frame

    def _stored(self) -> pd.DataFrame:
        if not self.runs_path.exists():
            return pd.DataFrame(columns=pd.Index(KEY))
        return pd.read_csv(self.runs_path)

    def curves(self) -> pd.DataFrame:
        """The curves of all runs; of a run stored twice, what was stored last."""
        frame = pd.read_csv(self.curves_path)
        frame = frame.drop_duplicates([*KEY, "spent"], keep="last")
        return frame.merge(self.runs()[KEY], on=KEY)

    def missing(self, cases: list[Case]) -> list[Case]:
        """Runs that are not stored."""
        done = set(self._stored()[KEY].itertuples(index=False, name=None))
        return [case for case in cases if case.key not in done]
