r"""Measured values to the last bit, in spite of Ax's JSON.

NOTE: Ax 1.3.1 stores its table of data by ``DataFrame.to_json``, which keeps ten
decimals (1.5e-12 J becomes 0), and reads it by ``pandas.read_json``, which changes the
last bit of some values. So all values are kept in the run metadata of their trials too,
which Ax stores exactly, and put back on loading.
"""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from ax.core.data import Data
from ax.core.experiment import Experiment

KEY = "flexibo_data"
_COLUMNS = ["arm_name", "metric_name", "mean", "sem", "step"]


def keep_exact_data(experiment: Experiment) -> None:
    """Note all values in the metadata of their trials.

    Args:
        experiment: The experiment, about to be saved.
    """
    frame = experiment.lookup_data().full_df
    rows: dict[int, list[list[Any]]] = {}
    for index, *values in _rows(frame, ["trial_index", *_COLUMNS]):
        rows.setdefault(int(index), []).append([_plain(value) for value in values])
    for trial in experiment.trials.values():
        data = rows.get(trial.index, [])
        if trial.run_metadata.get(KEY, []) != data:
            trial.update_run_metadata({KEY: data})


def restore_exact_data(experiment: Experiment) -> None:
    """Put noted values back where the table has what Ax made of them.

    Values that were told, corrected or removed since they were noted stay as they are.

    Args:
        experiment: The experiment, just loaded.
    """
    frame = experiment.lookup_data().full_df
    noted = {
        (trial.index, arm_name, metric, _rounded(step)): (mean, sem, step)
        for trial in experiment.trials.values()
        for arm_name, metric, mean, sem, step in trial.run_metadata.get(KEY, ())
    }
    changed = []
    for label, (*key, mean, sem, step) in zip(
        frame.index,
        _rows(frame, ["trial_index", *_COLUMNS]),
        strict=True,
    ):
        exact = noted.get((*key, _rounded(step)))
        if exact is None or not all(map(_is_close, exact, (mean, sem, step))):
            continue
        for name, value in zip(_COLUMNS[2:], exact, strict=True):
            if name in frame:
                frame.loc[label, name] = _number(value)
        changed.append(label)
    if changed:
        experiment.attach_data(Data(df=frame.loc[changed]))


def _rounded(step: float | None) -> float | None:
    return None if step is None or math.isnan(step) else round(step, 9)


def _is_close(noted: float | None, loaded: float) -> bool:
    """Whether a value is what Ax's JSON makes of a noted one."""
    if noted is None:
        return loaded is None or math.isnan(loaded)
    return math.isclose(noted, loaded, rel_tol=1e-12, abs_tol=1e-10)


def _number(noted: float | None) -> float:
    return math.nan if noted is None else float(noted)


def _rows(frame: pd.DataFrame, columns: list[str]) -> list[tuple[Any, ...]]:
    present = frame.reindex(columns=columns)
    return list(present.itertuples(index=False, name=None))


def _plain(value: Any) -> Any:
    """Numbers and strings as Python's; no NaN, which is not JSON."""
    if isinstance(value, float):
        return None if math.isnan(value) else float(value)
    return value
