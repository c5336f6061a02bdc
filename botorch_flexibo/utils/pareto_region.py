r"""Geometry of the uncertain Pareto region: boxes, fronts, volumes, gains.

Every design ``u`` has a box ``[lower(u), upper(u)]`` in outcome space. The *Pareto
region* is what the optimistic front (of the upper corners) dominates and the
pessimistic front (of the lower corners) does not [Iqbal2023flexibo]_. All outcomes are
maximised and the reference point lies below the front. Everything here is a pure
function of tensors.

Collapsing outcome ``i`` of design ``x`` to its mean moves two corners, and the volume
this removes has a closed form without recomputing a front per design:

* The lower corner rises from ``lo`` to ``lo'``. Since ``lo`` is dominated by the
  pessimistic front already, the region loses ``HVI(lo' | F_lo)``.
* The upper corner falls from ``hi`` to ``hi'``. What disappears is dominated by ``hi``,
  not by ``hi'``, and by no *other* design. A point is dominated by two designs exactly
  if it is dominated by the componentwise minimum of some pair, so with ``F2_hi`` the
  front of these pairwise minima the region loses
  ``HVI(hi | F2_hi) - HVI(hi' | F2_hi)`` - the same front for every design.

``HVI(y | F)`` is the hypervolume improvement of a point over a front. Two box
decompositions therefore score every (design, outcome) pair, for any number of
outcomes, in one batched pass.

References:

.. [Iqbal2023flexibo]
    M. S. Iqbal, J. Su, L. Kotthoff, and P. Jamshidi. FlexiBO: A Decoupled Cost-Aware
    Multi-Objective Optimization Approach for Deep Neural Networks. Journal of
    Artificial Intelligence Research 77, 2023. arXiv:2001.06588.
.. [Zuluaga2016epal]
    M. Zuluaga, A. Krause, and M. Puschel. e-PAL: An Active Learning Approach to the
    Multi-Objective Optimization Problem. Journal of Machine Learning Research 17, 2016.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from botorch.exceptions.errors import BotorchTensorDimensionError, InputDataError
from botorch.logging import shape_to_str
from botorch.utils.multi_objective.box_decompositions.non_dominated import (
    FastNondominatedPartitioning,
)
from botorch.utils.multi_objective.pareto import is_non_dominated
from torch import Tensor

# Elements of the largest temporary of a chunked pass: 128 MiB of float64.
_MAX_ELEMENTS = 2**24
# Up to this many outcomes the batched sweep is used, beyond it box decompositions.
_MAX_SWEEP_OUTCOMES = 3


class ConfidenceRegion(NamedTuple):
    """Confidence boxes of ``n`` designs, each field ``batch_shape x n x m``."""

    mean: Tensor
    lower: Tensor
    upper: Tensor


def pal_beta(
    iteration: int,
    *,
    num_designs: int,
    num_outcomes: int,
    delta: float = 0.1,
    scale: float = 1 / 9,
) -> float:
    r"""Confidence scale ``beta_t`` of the PAL family, to be used as ``sqrt(beta) sd``.

    ``beta_t = scale * 2 ln(m |X| pi^2 t^2 / (6 delta))`` ([Zuluaga2016epal]_, section
    7.2, whose experiments scale the theoretical value by 1/9).

    Args:
        iteration: The iteration ``t``, counted from 1.
        num_designs: The number of designs ``|X|``.
        num_outcomes: The number of outcomes ``m``.
        delta: The probability with which some box may miss its true value.
        scale: The factor by which the theoretical value is scaled.

    Returns:
        The confidence scale ``beta_t``, a positive number.

    Raises:
        InputDataError: If an argument is out of its range.

    Example:
        >>> round(pal_beta(1, num_designs=100, num_outcomes=2), 2)
        1.8
    """
    if iteration < 1 or num_designs < 1 or num_outcomes < 1:
        raise InputDataError(
            "Expected iteration, num_designs and num_outcomes to be at least 1, but got"
            f" {iteration}, {num_designs} and {num_outcomes}."
        )
    if not (0 < delta < 1 and 0 < scale < math.inf):
        raise InputDataError(
            "Expected delta in (0, 1) and a positive, finite scale, but got"
            f" delta={delta} and scale={scale}."
        )
    count = num_outcomes * num_designs
    return scale * 2 * math.log(count * (math.pi * iteration) ** 2 / (6 * delta))


def confidence_region(
    mean: Tensor, variance: Tensor, beta: float | Tensor
) -> ConfidenceRegion:
    r"""Boxes ``mean -+ sqrt(beta) * sd``.

    Args:
        mean: A ``batch_shape x n x m``-dim tensor of means.
        variance: A ``batch_shape x n x m``-dim tensor of variances.
        beta: The confidence scale, non-negative.

    Returns:
        The ``batch_shape x n x m``-dim boxes.
    """
    half_width = (variance.clamp_min(0.0) * beta).sqrt()
    return ConfidenceRegion(mean, mean - half_width, mean + half_width)


def intersect_regions(
    current: ConfidenceRegion, previous: ConfidenceRegion
) -> ConfidenceRegion:
    r"""Intersect boxes with those of an earlier iteration (PAL, eq. 6).

    Where two intervals are disjoint the earlier one is forgotten: the model has changed
    its mind. Means are moved into their interval.

    NOTE: FlexiBO's code does not intersect, and intersection keeps a design discarded
    for good, which early predictions do not deserve. It is therefore opt-in.

    Args:
        current: The ``batch_shape x n x m``-dim boxes of this iteration.
        previous: The ``batch_shape x n x m``-dim boxes of the iteration before.

    Returns:
        The ``batch_shape x n x m``-dim intersected boxes.

    Raises:
        BotorchTensorDimensionError: If the two differ in shape.
    """
    if current.mean.shape != previous.mean.shape:
        raise BotorchTensorDimensionError(
            "Expected regions of the same designs, but got shapes"
            f" {shape_to_str(current.mean.shape)} and"
            f" {shape_to_str(previous.mean.shape)}."
        )
    lower = torch.maximum(current.lower, previous.lower)
    upper = torch.minimum(current.upper, previous.upper)
    disjoint = lower > upper
    lower = torch.where(disjoint, current.lower, lower)
    upper = torch.where(disjoint, current.upper, upper)
    return ConfidenceRegion(current.mean.clamp(lower, upper), lower, upper)


def collapse(region: ConfidenceRegion, mask: Tensor) -> ConfidenceRegion:
    r"""Set ``lower = upper = mean`` where the mask is True.

    Args:
        region: The ``batch_shape x n x m``-dim boxes.
        mask: A boolean tensor that broadcasts to ``batch_shape x n x m``.

    Returns:
        The ``batch_shape x n x m``-dim boxes after the collapse.
    """
    mean, lower, upper = region
    return ConfidenceRegion(
        mean, torch.where(mask, mean, lower), torch.where(mask, mean, upper)
    )


def front_mask(Y: Tensor) -> Tensor:
    r"""Which points are non-dominated, one copy of duplicates kept.

    Args:
        Y: A ``batch_shape x n x m``-dim tensor of outcomes to maximise.

    Returns:
        A ``batch_shape x n``-dim boolean tensor. Among equal points the first is kept.
    """
    if Y.shape[-1] != 2 or Y.shape[-2] == 0:
        return is_non_dominated(Y, deduplicate=True)
    # O(n log n): sort by the first outcome (ties by the second), then a point is on
    # the front iff its second outcome exceeds all those before it.
    order = Y[..., 1].argsort(dim=-1, descending=True, stable=True)
    by_first = Y[..., 0].gather(-1, order)
    order = order.gather(-1, by_first.argsort(dim=-1, descending=True, stable=True))
    second = Y[..., 1].gather(-1, order)
    best_before = torch.full_like(second, -math.inf)
    best_before[..., 1:] = second.cummax(dim=-1).values[..., :-1]
    return torch.zeros_like(order, dtype=torch.bool).scatter(
        -1, order, second > best_before
    )


def undominated(lower: Tensor, upper: Tensor) -> Tensor:
    r"""Designs that no other design certainly dominates.

    ``u`` is discarded if some other ``u'`` has ``lower(u') >= upper(u)`` in every
    outcome. Of several equal boxes of zero width the first is kept.

    Args:
        lower: A ``n x m``-dim tensor of lower corners.
        upper: A ``n x m``-dim tensor of upper corners.

    Returns:
        A ``n``-dim boolean tensor.

    Raises:
        BotorchTensorDimensionError: If the shapes are not equal and ``n x m``.
    """
    _check_corners(lower, upper)
    # Of equal lower corners a box with an interior comes first: it dominates points.
    order = (lower == upper).all(dim=-1).to(torch.uint8).argsort(stable=True)
    dominators = order[front_mask(lower[order])]  # k
    keep = torch.empty(upper.shape[0], dtype=torch.bool, device=upper.device)
    rows = torch.arange(upper.shape[0], device=upper.device)
    chunk = max(1, _MAX_ELEMENTS // max(1, dominators.numel() * upper.shape[-1]))
    for index in rows.split(chunk):
        above = (lower[dominators] >= upper[index].unsqueeze(-2)).all(dim=-1)
        keep[index] = ~(above & (dominators != index.unsqueeze(-1))).any(dim=-1)
    return keep


def hypervolume(Y: Tensor, ref_point: Tensor) -> Tensor:
    r"""Exact hypervolume dominated by points, batched and differentiable.

    Up to three outcomes by a sweep: sort by the first outcome, then sum slices times
    the hypervolume of all points that reach the slice. This is ``O(n log n)`` for two
    outcomes and ``O(n^2 log n)`` for three, over all batches at once. More outcomes
    use BoTorch's box decomposition, or the sweep (memory ``O(n^(m-1))``) where a
    gradient is asked for.

    Args:
        Y: A ``batch_shape x n x m``-dim tensor of outcomes to maximise.
        ref_point: A ``m``-dim reference point.

    Returns:
        A ``batch_shape``-dim tensor of hypervolumes. Points that do not exceed the
        reference point count nothing.

    Raises:
        BotorchTensorDimensionError: If the shapes do not fit.
        InputDataError: If the reference point is not finite.

    Example:
        >>> front = torch.tensor([[3.0, 1.0], [2.0, 2.0], [1.0, 3.0]])
        >>> hypervolume(front, torch.zeros(2)).item()
        6.0
    """
    check_ref_point(ref_point, num_outcomes=Y.shape[-1])
    if Y.numel() == 0:
        return Y.new_zeros(Y.shape[:-2])
    if Y.ndim == 2:
        Y = Y[front_mask(Y)]
    if Y.shape[-1] <= _MAX_SWEEP_OUTCOMES or Y.requires_grad:
        return _swept_volume((Y - ref_point).clamp_min(0.0))
    volumes = [
        FastNondominatedPartitioning(ref_point=ref_point, Y=y).compute_hypervolume()
        for y in Y.reshape(-1, *Y.shape[-2:])
    ]
    return torch.stack(volumes).reshape(Y.shape[:-2])


def region_volume(lower: Tensor, upper: Tensor, ref_point: Tensor) -> Tensor:
    r"""Volume of the Pareto region, ``HV(upper corners) - HV(lower corners)``.

    Args:
        lower: A ``batch_shape x n x m``-dim tensor of lower corners.
        upper: A ``batch_shape x n x m``-dim tensor of upper corners.
        ref_point: A ``m``-dim reference point.

    Returns:
        A ``batch_shape``-dim tensor of volumes, non-negative.

    Raises:
        BotorchTensorDimensionError: If the shapes do not fit.
        InputDataError: If the reference point is not finite.

    Example:
        >>> lower = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
        >>> region_volume(lower, lower + 1, torch.zeros(2)).item()
        3.0
    """
    if lower.shape != upper.shape:
        raise BotorchTensorDimensionError(
            "Expected lower and upper corners of the same shape, but got"
            f" {shape_to_str(lower.shape)} and {shape_to_str(upper.shape)}."
        )
    volume = hypervolume(upper, ref_point) - hypervolume(lower, ref_point)
    return volume.clamp_min(0.0)


def second_order_front(Y: Tensor) -> Tensor:
    r"""Front of the set of points that at least two of the given points dominate.

    A point is dominated by two points exactly if it is dominated by the componentwise
    minimum of a pair. Only pairs within the front, and the front of the remaining
    points, can matter.

    Args:
        Y: A ``n x m``-dim tensor of outcomes to maximise.

    Returns:
        A ``k x m``-dim tensor of mutually non-dominated points.
    """
    first = front_mask(Y)
    rest = Y[~first]
    rest = rest[front_mask(rest)]
    front = Y[first]
    if Y.shape[-1] == 2:  # only neighbours on the staircase have undominated minima
        front = front[front[:, 0].argsort()]
        meets = torch.minimum(front[:-1], front[1:])
    else:
        row, column = torch.triu_indices(
            len(front), len(front), offset=1, device=Y.device
        )
        meets = torch.minimum(front[row], front[column])
    candidates = torch.cat([rest, meets])
    return candidates[front_mask(candidates)]


def improvement_cells(front: Tensor, ref_point: Tensor) -> Tensor:
    r"""Disjoint boxes that fill what a front does not dominate.

    Args:
        front: A ``k x m``-dim tensor of points (``k = 0`` allowed).
        ref_point: A ``m``-dim reference point.

    Returns:
        A ``2 x c x m``-dim tensor: lower and upper corners of ``c`` boxes.
    """
    return FastNondominatedPartitioning(
        ref_point=ref_point, Y=front
    ).get_hypercell_bounds()


def hypervolume_improvement(Y: Tensor, cells: Tensor) -> Tensor:
    r"""Hypervolume that each point alone would add to a fixed front.

    Args:
        Y: A ``batch_shape x m``-dim tensor of points.
        cells: The ``2 x c x m``-dim boxes of :func:`improvement_cells`.

    Returns:
        A ``batch_shape``-dim tensor of improvements. It is monotone in ``Y``, also in
        floating point.
    """
    lower, upper = cells  # each c x m
    chunk = max(1, _MAX_ELEMENTS // max(1, lower.numel()))
    volumes = [
        (torch.minimum(y.unsqueeze(-2), upper) - lower)
        .clamp_min(0.0)
        .prod(dim=-1)
        .sum(dim=-1)
        for y in Y.reshape(-1, Y.shape[-1]).split(chunk)
    ]
    return torch.cat(volumes).reshape(Y.shape[:-1])


def collapse_gain(
    region: ConfidenceRegion,
    mask: Tensor,
    upper_cells: Tensor,
    lower_cells: Tensor,
) -> Tensor:
    r"""Volume removed from the Pareto region by collapsing the masked outcomes.

    Args:
        region: The ``batch_shape x m``-dim boxes of single designs.
        mask: A boolean tensor that broadcasts to ``batch_shape x m``.
        upper_cells: Boxes of the second-order front of the upper corners for designs
            of the set, of their front for a design outside it.
        lower_cells: Boxes of the front of the lower corners.

    Returns:
        A ``batch_shape``-dim tensor of gains, non-negative.
    """
    after = collapse(region, mask)
    before_upper = hypervolume_improvement(region.upper, upper_cells)
    after_upper = hypervolume_improvement(after.upper, upper_cells)
    before_lower = hypervolume_improvement(region.lower, lower_cells)
    after_lower = hypervolume_improvement(after.lower, lower_cells)
    return (before_upper - after_upper) + (after_lower - before_lower)


def collapse_gains(
    mean: Tensor, lower: Tensor, upper: Tensor, ref_point: Tensor
) -> Tensor:
    r"""Gain of learning one outcome of one design, for all pairs at once.

    ``gain(x, i) = V - V'`` with ``V`` the :func:`region_volume` and ``V'`` the same
    after ``lower_i(x) = upper_i(x) = mean_i(x)`` ([Iqbal2023flexibo]_: the change of
    the Pareto region's volume, before it is divided by a cost).

    Args:
        mean: A ``n x m``-dim tensor of means.
        lower: A ``n x m``-dim tensor of lower corners.
        upper: A ``n x m``-dim tensor of upper corners.
        ref_point: A ``m``-dim reference point.

    Returns:
        A ``n x m``-dim tensor of gains, non-negative, in units of hypervolume.

    Raises:
        BotorchTensorDimensionError: If the shapes do not fit.
        InputDataError: If the reference point is not finite or a mean lies outside
            its box.

    Example:
        >>> mean = torch.tensor([[1.0, 1.0]])
        >>> collapse_gains(mean, mean - 1, mean + 1, torch.zeros(2))
        tensor([[2., 2.]])
    """
    _check_corners(lower, upper)
    if mean.shape != lower.shape:
        raise BotorchTensorDimensionError(
            "Expected mean to have the shape of lower and upper,"
            f" {shape_to_str(lower.shape)}, but got {shape_to_str(mean.shape)}."
        )
    check_ref_point(ref_point, num_outcomes=mean.shape[-1])
    if not ((lower <= mean) & (mean <= upper)).all():
        raise InputDataError(
            "Expected lower <= mean <= upper everywhere, without NaN, but"
            f" {int((~((lower <= mean) & (mean <= upper))).sum())} of {mean.numel()}"
            " entries violate this."
        )
    region = ConfidenceRegion(mean, lower, upper)
    masks = torch.eye(mean.shape[-1], dtype=torch.bool, device=mean.device)
    return collapse_gain(
        ConfidenceRegion(*(corner.unsqueeze(-2) for corner in region)),
        masks,
        upper_cells=improvement_cells(second_order_front(upper), ref_point),
        lower_cells=improvement_cells(lower[front_mask(lower)], ref_point),
    )


def _swept_volume(Z: Tensor) -> Tensor:
    """Hypervolume of ``batch_shape x n x m`` non-negative points w.r.t. the origin."""
    order = Z[..., 0].argsort(dim=-1, descending=True)
    Z = Z.gather(-2, order.unsqueeze(-1).expand_as(Z))
    next_first = torch.cat([Z[..., 1:, 0], torch.zeros_like(Z[..., :1, 0])], dim=-1)
    widths = Z[..., 0] - next_first  # batch_shape x n
    if Z.shape[-1] == 1:
        return Z[..., 0, 0]
    if Z.shape[-1] == 2:
        heights = Z[..., 1].cummax(dim=-1).values
    else:
        reaches = torch.ones(Z.shape[-2], Z.shape[-2], dtype=Z.dtype, device=Z.device)
        prefixes = Z[..., None, :, 1:] * reaches.tril().unsqueeze(-1)
        heights = _swept_volume(prefixes)
    return (widths * heights).sum(dim=-1)


def _check_corners(lower: Tensor, upper: Tensor) -> None:
    if lower.ndim != 2 or lower.shape != upper.shape:
        raise BotorchTensorDimensionError(
            "Expected lower and upper to be `n x m` and equal in shape, but got"
            f" {shape_to_str(lower.shape)} and {shape_to_str(upper.shape)}."
        )


def check_ref_point(ref_point: Tensor, num_outcomes: int) -> None:
    r"""Refuse a reference point that does not fit.

    Args:
        ref_point: The reference point.
        num_outcomes: The number of outcomes ``m``.

    Raises:
        BotorchTensorDimensionError: If it is not ``m``-dim.
        InputDataError: If it is not finite.
    """
    if ref_point.shape != torch.Size([num_outcomes]):
        raise BotorchTensorDimensionError(
            f"Expected ref_point to have {num_outcomes} elements, one per outcome, but"
            f" got shape {shape_to_str(ref_point.shape)}."
        )
    if not ref_point.isfinite().all():
        raise InputDataError(
            f"Expected a finite ref_point, but got {ref_point.tolist()}."
        )
