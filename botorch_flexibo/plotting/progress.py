r"""Hypervolume against cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
from botorch.exceptions.errors import InputDataError
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from scipy import stats

from botorch_flexibo.history import DecoupledHistory
from botorch_flexibo.plotting._style import (
    BAND_ALPHA,
    COLORS,
    LINE_WIDTH,
    NEUTRAL,
    Methods,
    checked_histories,
    cost_scale,
    cumulative_costs,
    legend_above,
    new_axes,
)

Metric = Literal["hv_identified", "hv_measured"]
# As many styles as have no common divisor with the colours: 28 different lines.
_LINE_STYLES = ("-", "--", "-.", ":")
# Fewer runs than this show their range, others the confidence interval of the mean.
_MIN_RUNS_FOR_INTERVAL = 5
_CONFIDENCE = 0.95


def plot_hypervolume(
    histories: DecoupledHistory
    | Mapping[str, DecoupledHistory | Sequence[DecoupledHistory]],
    *,
    metric: Metric = "hv_identified",
    relative: bool = True,
    ax: Axes | None = None,
) -> Axes:
    r"""Hypervolume against the cost spent, per method.

    A line is the mean over the runs (seeds) of a method. The value of a run at cost
    ``c`` is that of its last record with ``cumulative_cost <= c``, so a run that ends
    early keeps its last value. A line starts where all runs of the method have a value,
    because a mean over other runs would be another quantity.

    The band is the same for all methods of a figure and named in its legend: the range
    from the smallest to the largest run if some method has fewer than five runs, else
    the 95 % confidence interval of the mean by Student's t distribution. With one run
    per method there is none.

    Args:
        histories: The run or runs of each method, by the name that the legend shows; or
            a single run, which is called "run".
        metric: ``"hv_identified"``, the true hypervolume of the front that the model
            identifies, or ``"hv_measured"``, that of the designs whose outcomes are
            all measured. Larger is better.
        relative: Whether to divide by the hypervolume ``max_hv`` of the true front.
        ax: The axes to draw on. None creates a figure.

    Returns:
        The axes. Costs are in the runs' ``cost_unit``, seconds beyond two hours in
        hours.

    Raises:
        InputDataError: If there is nothing to draw or no history, the runs do not share
            outcomes and cost unit, the metric is unknown or was not recorded, or
            ``relative`` is asked for although ``max_hv`` is not known.

    Example:
        >>> problem = DecoupledBraninCurrin(costs=(10.0, 1.0))
        >>> start = InitialDesign(2)
        >>> runs = [
        ...     run_decoupled_optimization(
        ...         problem, RandomPolicy(), budget=24.0, initial_design=start, seed=s
        ...     )
        ...     for s in range(2)
        ... ]
        >>> ax = plot_hypervolume({"random": runs}, metric="hv_measured")
        >>> ax.get_xlabel()
        'cost spent (units)'
    """
    if metric not in get_args(Metric):
        raise InputDataError(
            f"Expected metric to be one of {', '.join(get_args(Metric))}, but got"
            f" {metric!r}. Choose one of these."
        )
    methods = checked_histories(histories)
    curves = {
        name: _mean_curve(name, runs, metric, relative=relative)
        for name, runs in methods.items()
    }
    scale = cost_scale(methods)
    fewest = min(map(len, methods.values()))
    ax = new_axes(ax, height=2.9)
    handles: list[Artist] = []
    for i, (name, (costs, values)) in enumerate(curves.items()):
        color = COLORS[i % len(COLORS)]
        style = _LINE_STYLES[i % len(_LINE_STYLES)]
        x = costs * scale.factor
        handles += ax.plot(
            x,
            values.mean(axis=0),
            color=color,
            linestyle=style,
            linewidth=LINE_WIDTH,
            drawstyle="steps-post",
            label=name,
        )
        if len(values) > 1:
            low, high = _band(values, interval=fewest >= _MIN_RUNS_FOR_INTERVAL)
            ax.fill_between(
                x, low, high, step="post", color=color, alpha=BAND_ALPHA, linewidth=0
            )
    if max(map(len, methods.values())) > 1:
        label = _band_label(methods)
        handles.append(Patch(color=NEUTRAL, alpha=2 * BAND_ALPHA, label=label))
    ax.set_xlabel(f"cost spent ({scale.unit})")
    what = "identified" if metric == "hv_identified" else "measured"
    unit = "share of the true front's" if relative else "product of outcome units"
    ax.set_ylabel(f"{what} hypervolume\n({unit})")
    legend_above(ax, handles)
    return ax


def _mean_curve(
    name: str, runs: Sequence[DecoupledHistory], metric: Metric, *, relative: bool
) -> tuple[np.ndarray, np.ndarray]:
    """All costs at which some run moves, and the value of each run there (runs x k)."""
    costs = [cumulative_costs(run) for run in runs]
    steps = []
    for run, cost in zip(runs, costs, strict=True):
        values = np.array([getattr(record, metric) for record in run.records])
        known = ~np.isnan(values)
        if not known.any():
            raise InputDataError(
                f"Expected at least one value of {metric} in every history of {name!r},"
                f" but got only NaN in {len(run.records)} records. Leave this history"
                " out or draw the other metric."
            )
        if relative:
            if not 0 < run.max_hv < np.inf:
                raise InputDataError(
                    f"Expected a positive max_hv in every history of {name!r}, but got"
                    f" {run.max_hv}. Pass relative=False to draw the hypervolume"
                    " itself."
                )
            values = values / run.max_hv
        steps.append((cost[known], values[known]))
    grid = np.unique(np.concatenate(costs))
    grid = grid[grid >= max(cost[0] for cost, _ in steps)]
    curves = [
        values[np.searchsorted(cost, grid, side="right") - 1] for cost, values in steps
    ]
    return grid, np.stack(curves)


def _band(values: np.ndarray, *, interval: bool) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper edge of the band around curves (runs x k)."""
    if not interval:
        return values.min(axis=0), values.max(axis=0)
    n = len(values)
    quantile = stats.t.ppf(0.5 + _CONFIDENCE / 2, df=n - 1)
    half = quantile * values.std(axis=0, ddof=1) / np.sqrt(n)
    mean = values.mean(axis=0)
    return mean - half, mean + half


def _band_label(methods: Methods) -> str:
    counts = sorted(map(len, methods.values()))
    runs = "–".join(dict.fromkeys([f"{counts[0]}", f"{counts[-1]}"]))
    if counts[0] >= _MIN_RUNS_FOR_INTERVAL:
        return f"{_CONFIDENCE:.0%} CI of mean ({runs} runs)"
    return f"min–max of {runs} runs"
