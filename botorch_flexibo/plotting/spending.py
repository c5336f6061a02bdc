r"""What was measured when, and where the money went."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from botorch.exceptions.errors import InputDataError
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from botorch_flexibo.history import DecoupledHistory
from botorch_flexibo.plotting._style import (
    LABEL_PAD,
    NEUTRAL,
    checked_histories,
    cost_scale,
    cumulative_costs,
    label_rows,
    legend_above,
    measured_mask,
    new_axes,
    outcome_color,
    small_size,
    text_width,
    width_in_points,
)

StripAxis = Literal["cost", "request"]
# Half the length of a mark of the strip and half the width of a bar, in rows.
_HALF_MARK = 0.36
_HALF_BAR = 0.36
# Up to this many marks in a row are opaque.
_MAX_OPAQUE_MARKS = 100
# The longest bar takes at least this share of the axes, whatever stands beside it.
_MIN_BAR_SHARE = 0.4


def plot_measurement_strip(
    history: DecoupledHistory, *, x: StripAxis = "cost", ax: Axes | None = None
) -> Axes:
    r"""Which outcome was measured when: one row per outcome, one mark per measurement.

    The marks of the initial design are grey. The number of marks stands at the right of
    each row; it counts repeated measurements of a design too.

    Args:
        history: The run.
        x: ``"cost"`` places a mark at the cost spent when the measurement was done, in
            the run's ``cost_unit`` (seconds beyond two hours in hours); ``"request"``
            at the number of the request, from 1.
        ax: The axes to draw on. None creates a figure.

    Returns:
        The axes.

    Raises:
        InputDataError: If the run has no records or ``x`` is unknown.

    Example:
        >>> problem = DecoupledBraninCurrin(costs=(10.0, 1.0))
        >>> history = run_decoupled_optimization(
        ...     problem, RandomPolicy(), budget=24.0, initial_design=InitialDesign(2)
        ... )
        >>> ax = plot_measurement_strip(history, x="request")
        >>> [label.get_text() for label in ax.get_yticklabels()]
        ['branin', 'currin']
    """
    if x not in get_args(StripAxis):
        raise InputDataError(
            f"Expected x to be one of {', '.join(get_args(StripAxis))}, but got {x!r}."
            " Choose one of these."
        )
    methods = checked_histories({"history": history})
    names = history.outcome_names
    scale = cost_scale(methods)
    when = np.arange(1.0, len(history.records) + 1)
    if x == "cost":
        when = cumulative_costs(history) * scale.factor
    initial = np.array([record.decision == 0 for record in history.records])
    measured = measured_mask(history)
    ax = new_axes(ax, height=0.95 + 0.4 * len(names))
    for row in range(len(names)):
        for group, color in ((initial, NEUTRAL), (~initial, outcome_color(row))):
            marks = when[measured[:, row] & group]
            crowding = max(1.0, len(marks) / _MAX_OPAQUE_MARKS)
            ax.vlines(
                marks,
                row - _HALF_MARK,
                row + _HALF_MARK,
                colors=color,
                linewidths=max(0.4, 0.8 / crowding),
                alpha=max(0.5, 1 / crowding),
            )
        ax.annotate(
            f"{measured[:, row].sum()} measured",
            (1.0, row),
            xycoords=("axes fraction", "data"),
            xytext=(2 * LABEL_PAD, 0.0),
            textcoords="offset points",
            verticalalignment="center_baseline",
            fontsize=small_size(ax),
        )
    label_rows(ax, names)
    if x == "request":
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel(f"cost spent ({scale.unit})" if x == "cost" else "number of request")
    legend_above(ax, [Line2D([], [], color=NEUTRAL, label="initial design")])
    return ax


def plot_cost_breakdown(
    histories: DecoupledHistory
    | Mapping[str, DecoupledHistory | Sequence[DecoupledHistory]],
    *,
    ax: Axes | None = None,
) -> Axes:
    r"""What each method spent on each outcome, and on how many measurements.

    One bar per method, one segment per outcome, its length the cost and the number in
    it the count of measurements; with several runs (seeds) of a method both are means
    over them. If set-ups were paid, they are a grey segment at the left. The number of
    a segment that is too thin for it stands beside the bar, in the segment's colour.
    What fits is decided by the size that the axes have now.

    Args:
        histories: The run or runs of each method, by the name that the figure shows; or
            a single run, which is called "run".
        ax: The axes to draw on. None creates a figure.

    Returns:
        The axes. Costs are in the runs' ``cost_unit``, seconds beyond two hours in
        hours.

    Raises:
        InputDataError: If there is nothing to draw or no history, or the runs do not
            share outcomes and cost unit.

    Example:
        >>> problem = DecoupledBraninCurrin(costs=(10.0, 1.0))
        >>> history = run_decoupled_optimization(
        ...     problem, RandomPolicy(), budget=24.0, initial_design=InitialDesign(2)
        ... )
        >>> ax = plot_cost_breakdown({"random": history})
        >>> ax.get_xlabel()
        'cost spent (units)'
    """
    methods = checked_histories(histories)
    scale = cost_scale(methods)
    parts = _spent_parts(methods)
    widths = np.stack([part.costs for part in parts], axis=-1) * scale.factor
    counts = np.stack([part.counts for part in parts], axis=-1)  # methods x parts
    ax = new_axes(ax, height=1.15 + 0.38 * len(methods))
    for i, part in enumerate(parts):
        ax.barh(
            range(len(methods)),
            widths[:, i],
            left=widths[:, :i].sum(axis=1),
            height=2 * _HALF_BAR,
            color=part.color,
            edgecolor="white",
            linewidth=0.5,
        )
    label_rows(ax, tuple(methods))
    several = max(map(len, methods.values())) > 1
    ax.set_xlabel(f"{'mean ' * several}cost spent ({scale.unit})")
    handles = [Patch(color=part.color, label=part.name) for part in parts]
    title = f"numbers: {'mean ' * several}count of measurements"
    legend_above(ax, handles, title=title)
    _label_segments(ax, widths, counts, [part.color for part in parts])
    return ax


class _Part(NamedTuple):
    """What all methods spent on one thing, and how often, as means over their runs."""

    name: str
    color: str
    costs: list[float]
    counts: list[float]


def _spent_parts(methods: Mapping[str, Sequence[DecoupledHistory]]) -> list[_Part]:
    """The set-ups, if any were paid, and the outcomes."""

    def mean(value: Callable[[DecoupledHistory], float]) -> list[float]:
        return [
            float(np.mean([value(run) for run in runs])) for runs in methods.values()
        ]

    parts = []
    if any(mean(lambda run: run.total_setup_cost)):
        counts = mean(lambda run: sum(r.setup_cost > 0 for r in run.records))
        costs = mean(lambda run: run.total_setup_cost)
        parts.append(_Part("set-up", NEUTRAL, costs, counts))
    for i, name in enumerate(next(iter(methods.values()))[0].outcome_names):
        costs = mean(lambda run, name=name: run.cost_by_outcome[name])
        counts = mean(lambda run, i=i: measured_mask(run)[:, i].sum())
        parts.append(_Part(name, outcome_color(i), costs, counts))
    return parts


def _label_segments(
    ax: Axes, widths: np.ndarray, counts: np.ndarray, colors: Sequence[str]
) -> None:
    """Write the counts into the segments, or beside the bar if they are too thin.

    Widths and counts have one row per bar and one column per segment.
    """
    if isinstance(ax.figure, Figure):
        ax.figure.draw_without_rendering()  # the layout decides how wide the axes are
    room, size = width_in_points(ax), small_size(ax)
    labels = [[f"{n:.1f}".removesuffix(".0") for n in row] for row in counts]
    needed = np.array([[text_width(text, size) for text in row] for row in labels])
    needed += 2 * LABEL_PAD
    totals = widths.sum(axis=1)
    thin = np.zeros_like(widths, dtype=bool)
    limit = totals.max()
    for _ in range(thin.size + 1):  # each label beside a bar leaves less to the bars
        shares = 1 - (thin * needed).sum(axis=1) / room
        limit = 1.02 * max(totals / shares.clip(_MIN_BAR_SHARE, 1.0))
        thin |= widths / limit * room < needed
    ax.set_xlim(0.0, limit)
    centers = widths.cumsum(axis=1) - widths / 2
    beside = (thin * needed).cumsum(axis=1) - needed / 2  # points from the bar's end
    for (row, i), outside in np.ndenumerate(thin):
        color = colors[int(i)]
        ax.annotate(
            labels[row][i],
            (totals[row] if outside else centers[row, i], row),
            xytext=(beside[row, i] if outside else 0.0, 0.0),
            textcoords="offset points",
            color=_text_color(color),
            horizontalalignment="center",
            verticalalignment="center",
            fontsize=size,
            bbox={"facecolor": color, "edgecolor": "none", "pad": LABEL_PAD / 2},
        )


def _text_color(background: str) -> str:
    """Black or white, whichever is easier to read."""
    red, green, blue = to_rgb(background)
    return "black" if 0.3 * red + 0.6 * green + 0.1 * blue > 0.5 else "white"
