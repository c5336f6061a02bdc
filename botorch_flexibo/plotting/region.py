r"""The uncertain Pareto region and its boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from botorch.exceptions.errors import (
    BotorchTensorDimensionError,
    InputDataError,
    UnsupportedError,
)
from botorch.logging import shape_to_str
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.patches import Patch
from torch import Tensor

from botorch_flexibo.plotting._style import (
    BAND_ALPHA,
    COLORS,
    LINE_WIDTH,
    NEUTRAL,
    legend_above,
    new_axes,
    outcome_color,
)
from botorch_flexibo.utils.fronts import front_mask
from botorch_flexibo.utils.pareto_region import (
    ConfidenceRegion,
    region_volume,
    undominated,
)

_REGION_COLOR = COLORS[2]
# Boxes become fainter beyond this many.
_MAX_OPAQUE_BOXES = 20


def plot_pareto_region(
    region: ConfidenceRegion,
    ref_point: Tensor,
    *,
    measured: Tensor | None = None,
    outcome_names: Sequence[str] = ("outcome 1", "outcome 2"),
    ax: Axes | None = None,
) -> Axes:
    r"""Confidence boxes of two outcomes and the uncertain Pareto region they span.

    The optimistic front is the staircase of the upper corners, the pessimistic front
    that of the lower corners; the true front lies in the shaded region between them,
    whose area ``V`` is :func:`region_volume`. Boxes are shown for the designs that no
    other certainly dominates, means for all designs. The axes start at the reference
    point: what lies below it counts nothing and is not shown.

    Args:
        region: The ``n x 2``-dim boxes, for example ``FlexiBO(...).design_region``;
            both outcomes are maximised.
        ref_point: A ``2``-dim reference point below the front.
        measured: A ``n x 2``-dim boolean tensor: which outcomes of which designs have
            been measured. None marks no design.
        outcome_names: The two axis labels; write units in them, ``"-energy [J]"``.
        ax: The axes to draw on. None creates a figure.

    Returns:
        The axes.

    Raises:
        UnsupportedError: If there are not exactly two outcomes.
        BotorchTensorDimensionError: If the shapes do not fit.
        InputDataError: If a mean lies outside its box, ``measured`` is not boolean, a
            name is missing or the reference point is not finite.

    Example:
        >>> mean = torch.tensor([[1.0, 2.0], [2.0, 1.0]])
        >>> region = ConfidenceRegion(mean, mean - 0.5, mean + 0.5)
        >>> ax = plot_pareto_region(region, torch.zeros(2))
        >>> ax.get_xlabel()
        'outcome 1'
    """
    region = ConfidenceRegion(*(side.detach().cpu() for side in region))
    reference = ref_point.detach().cpu()
    _check_region(region, measured, outcome_names)
    volume = float(region_volume(region.lower, region.upper, reference))
    best = _staircase(region.upper, reference)
    worst = _staircase(region.lower, reference)
    ax = new_axes(ax, height=3.4)
    ax.fill(
        *np.concatenate([best, worst[::-1]]).T,
        color=_REGION_COLOR,
        alpha=BAND_ALPHA,
        linewidth=0,
        label=f"Pareto region, V = {volume:.3g}",
    )
    style = {"color": _REGION_COLOR, "linewidth": LINE_WIDTH}
    ax.plot(*best.T, "-", label="optimistic front", **style)
    ax.plot(*worst.T, "--", label="pessimistic front", **style)
    _plot_boxes(ax, region)
    _plot_means(ax, region.mean.numpy(), measured, outcome_names)
    ax.set_xlabel(outcome_names[0])
    ax.set_ylabel(outcome_names[1])
    start = reference.numpy()
    span = best.max(axis=0) - start
    end = start + np.where(span > 0, 1.05 * span, 1.0)
    ax.set_xlim(start[0], end[0])
    ax.set_ylim(start[1], end[1])
    handles = ax.get_legend_handles_labels()[0]
    handles.append(Patch(fill=False, edgecolor=NEUTRAL, label="confidence box"))
    legend_above(ax, handles)
    return ax


def _check_region(
    region: ConfidenceRegion, measured: Tensor | None, outcome_names: Sequence[str]
) -> None:
    mean, lower, upper = region
    if mean.shape[-1:] != torch.Size([2]):
        raise UnsupportedError(
            "Expected a region of two outcomes, but got shape"
            f" {shape_to_str(mean.shape)}. Draw each pair of outcomes on its own:"
            " ConfidenceRegion(*(side[..., [i, j]] for side in region))."
        )
    shapes = [side.shape for side in region]
    if mean.ndim != 2 or len(set(shapes)) > 1:
        raise BotorchTensorDimensionError(
            "Expected mean, lower and upper to be `n x 2` and equal in shape, but got"
            f" {', '.join(map(shape_to_str, shapes))}. Draw the regions of a batch one"
            " by one."
        )
    if measured is not None and measured.shape != mean.shape:
        raise BotorchTensorDimensionError(
            f"Expected measured of shape {shape_to_str(mean.shape)}, one row per design"
            f" of the region, but got {shape_to_str(measured.shape)}. For measured"
            " outcomes Y of these designs pass ~Y.isnan()."
        )
    if measured is not None and measured.dtype != torch.bool:
        raise InputDataError(
            f"Expected measured of dtype torch.bool, but got {measured.dtype}. For"
            " measured outcomes Y of these designs pass ~Y.isnan()."
        )
    wrong = ~((lower <= mean) & (mean <= upper))
    if wrong.any():
        raise InputDataError(
            "Expected lower <= mean <= upper everywhere, without NaN, but"
            f" {int(wrong.sum())} of {mean.numel()} entries violate this. Build the"
            " region with confidence_region(mean, variance, beta)."
        )
    if len(outcome_names) != 2:
        raise InputDataError(
            f"Expected two outcome_names, but got {list(outcome_names)}. Pass one per"
            " outcome, in the order of the region's columns."
        )


def _staircase(Y: Tensor, ref_point: Tensor) -> np.ndarray:
    """Vertices of the edge of what the points dominate, clipped at the reference.

    From ``(r_1, max y_2)`` down to ``(max y_1, r_2)``; the reference point alone if no
    point exceeds it.
    """
    points = Y[(Y > ref_point).all(dim=-1)]
    points = points[front_mask(points)]
    points = points[points[:, 0].argsort()]
    first, second = points.T.numpy()
    start = ref_point.numpy()
    x = np.concatenate([start[:1], np.repeat(first, 2)])
    y = np.concatenate([np.repeat(second, 2), start[1:]])
    return np.stack([x, y], axis=-1)


def _plot_boxes(ax: Axes, region: ConfidenceRegion) -> None:
    """The boxes of the designs that no other certainly dominates."""
    shown = undominated(region.lower, region.upper)
    lower, upper = region.lower[shown].numpy(), region.upper[shown].numpy()
    corners = ((lower, lower), (upper, lower), (upper, upper), (lower, upper))
    boxes = np.stack([np.c_[x[:, 0], y[:, 1]] for x, y in corners], axis=1)
    ax.add_collection(
        PolyCollection(
            list(boxes),
            facecolors="none",
            edgecolors=NEUTRAL,
            linewidths=0.5,
            alpha=float(np.clip(_MAX_OPAQUE_BOXES / max(1, len(boxes)), 0.25, 0.6)),
        ),
        autolim=False,
    )


def _plot_means(
    ax: Axes, mean: np.ndarray, measured: Tensor | None, names: Sequence[str]
) -> None:
    """The means; a triangle points along the axis of the one outcome measured."""
    if measured is None:
        groups = [(np.ones(len(mean), dtype=bool), "mean of a design", ".", NEUTRAL)]
    else:
        first, second = measured.cpu().numpy().T
        groups = [
            (~first & ~second, "mean, not measured", ".", NEUTRAL),
            (first & ~second, f"{names[0]} measured", ">", outcome_color(0)),
            (~first & second, f"{names[1]} measured", "^", outcome_color(1)),
            (first & second, "both measured", "o", "black"),
        ]
    for members, label, marker, color in groups:
        if not members.any():
            continue
        ax.plot(
            *mean[members].T,
            linestyle="none",
            marker=marker,
            markersize=4.0 if marker == "." else 4.5,
            markeredgewidth=0,
            color=color,
            label=label,
        )
