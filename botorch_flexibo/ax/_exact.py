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
    """Put noted values back.

    Args:
        experiment: The experiment, just loaded.
    """
    frames = []
    for trial in experiment.trials.values():
        rows = trial.run_metadata.get(KEY)
        if rows:
            frame = pd.DataFrame(rows, columns=_COLUMNS).assign(trial_index=trial.index)
            frame["metric_signature"] = [
                experiment.get_metric(name).signature for name in frame["metric_name"]
            ]
            frames.append(frame)
    if frames:
        data = pd.concat(frames, ignore_index=True)
        floats = dict.fromkeys(("mean", "sem", "step"), float)
        experiment.attach_data(Data(df=data.astype(floats)))


def _rows(frame: pd.DataFrame, columns: list[str]) -> list[tuple[Any, ...]]:
    present = frame.reindex(columns=columns)
    return list(present.itertuples(index=False, name=None))


def _plain(value: Any) -> Any:
    """Numbers and strings as Python's; no NaN, which is not JSON."""
    if isinstance(value, float):
        return None if math.isnan(value) else float(value)
    return value
