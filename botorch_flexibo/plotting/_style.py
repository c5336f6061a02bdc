r"""Style, checks and scales that all figures share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from botorch.exceptions.errors import InputDataError
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from botorch_flexibo.history import DecoupledHistory

Methods = dict[str, list[DecoupledHistory]]
# The palette of Okabe and Ito (2008) without its yellow, which is too faint for lines.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
NEUTRAL = "0.55"
BAND_ALPHA = 0.2
LINE_WIDTH = 1.2
# Inches and points: one column of a two-column page, with text of 8 and 7 points.
_WIDTH = 3.5
_LABEL_SIZE = 8.0
# Size of all other text relative to the axis labels'.
_SMALL = 7 / 8
# Seconds are shown as hours from here on.
_MAX_SECONDS = 2 * 3600.0
_SECOND_LABELS = ("s", "sec", "second", "seconds")
# Points to the left and to the right of a bar's label.
LABEL_PAD = 3.0


class _CostScale(NamedTuple):
    """What costs are multiplied by to be shown in ``unit``."""

    factor: float
    unit: str


def new_axes(ax: Axes | None, height: float) -> Axes:
    """The given axes, or those of a new figure that is ``height`` inches high."""
    if ax is None:
        _, ax = plt.subplots(figsize=(_WIDTH, height), layout="constrained")
        for axis in (ax.xaxis, ax.yaxis):
            axis.label.set_fontsize(_LABEL_SIZE)
        ax.tick_params(labelsize=_SMALL * _LABEL_SIZE)
    return ax


def small_size(ax: Axes) -> float:
    """Points of the text within and above the axes."""
    return _SMALL * ax.xaxis.label.get_fontproperties().get_size_in_points()


def legend_above(ax: Axes, handles: Sequence[Artist], title: str = "") -> None:
    """A legend that ends with the axes; y labels leave it room at the left."""
    size = small_size(ax)
    longest = max(text_width(str(handle.get_label()), size) for handle in handles)
    room = width_in_points(ax) / 0.775  # the share of a new figure that is axes
    ax.legend(
        handles=list(handles),
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=2 if 2 * (longest + 4 * size) <= room else 1,
        title=title,
        fontsize=size,
        title_fontsize=size,
        frameon=False,
        borderaxespad=0.2,
        columnspacing=1.2,
        handlelength=2.4,
    )


def label_rows(ax: Axes, names: Sequence[str]) -> None:
    """One row per name, the first on top."""
    ax.set_yticks(range(len(names)), names)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(len(names) - 0.5, -0.5)


def outcome_color(i: int) -> str:
    return COLORS[i % len(COLORS)]


def checked_histories(
    histories: DecoupledHistory
    | Mapping[str, DecoupledHistory | Sequence[DecoupledHistory]],
) -> Methods:
    """The runs of each method as a list, all of which can be shown in one figure."""
    if isinstance(histories, DecoupledHistory):
        histories = {"run": histories}
    if not isinstance(histories, Mapping):
        raise InputDataError(
            "Expected a history, or histories by the name of their method, but got"
            f" {type(histories).__name__}. Pass {{name: [history, ...]}}."
        )
    methods = {
        name: [runs] if isinstance(runs, DecoupledHistory) else _histories(name, runs)
        for name, runs in histories.items()
    }
    if not methods:
        raise InputDataError(
            "Expected the histories of at least one method, but got none. Pass"
            " {name: [history, ...]}."
        )
    for name, runs in methods.items():
        if not runs or not all(run.records for run in runs):
            raise InputDataError(
                f"Expected at least one history for {name!r}, each with records, but"
                f" got {[len(run.records) for run in runs]} records. Leave out what"
                " has not run."
            )
    kinds = {
        (run.cost_unit, run.outcome_names) for runs in methods.values() for run in runs
    }
    if len(kinds) > 1:
        raise InputDataError(
            "Expected histories that share the unit of costs and the outcomes, but got"
            f" {sorted(kinds)}. Draw different problems on axes of their own."
        )
    return methods


def _histories(name: str, runs: object) -> list[DecoupledHistory]:
    """The runs of one method, if they are histories."""
    several = runs if isinstance(runs, Sequence) else [runs]
    histories = [run for run in several if isinstance(run, DecoupledHistory)]
    others = [run for run in several if not isinstance(run, DecoupledHistory)]
    if others:
        raise InputDataError(
            f"Expected histories for {name!r}, but got {type(others[0]).__name__}. Pass"
            " {name: [history, ...]}."
        )
    return histories


def cost_scale(methods: Methods) -> _CostScale:
    every = [run for runs in methods.values() for run in runs]
    unit = every[0].cost_unit
    largest = max(run.total_cost for run in every)
    if unit in _SECOND_LABELS and largest > _MAX_SECONDS:
        return _CostScale(1 / 3600, "h")
    return _CostScale(1.0, unit)


def cumulative_costs(history: DecoupledHistory) -> np.ndarray:
    return np.array([record.cumulative_cost for record in history.records])


def measured_mask(history: DecoupledHistory) -> np.ndarray:
    """Which outcomes each request measured, number of records x m."""
    return np.array([record.measured for record in history.records])


def width_in_points(ax: Axes) -> float:
    return ax.get_window_extent().width / ax.figure.dpi * 72


def text_width(text: str, size: float) -> float:
    """Width in points of a text of that size."""
    if not text:  # TextPath cannot be empty
        return 0.0
    path = TextPath((0, 0), text, size=size, prop=FontProperties(size=size))
    return path.get_extents().width
