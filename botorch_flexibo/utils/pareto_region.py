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
from torch import Tensor

from botorch_flexibo.utils.conditioning import standard_deviation
from botorch_flexibo.utils.fronts import (
    MAX_ELEMENTS,
    check_ref_point,
    front_mask,
    hypervolume,
    hypervolume_improvement,
    improvement_cells,
    second_order_front,
)


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
            f" {iteration}, {num_designs} and {num_outcomes}. Count from 1."
        )
    if not (0 < delta < 1 and 0 < scale < math.inf):
        raise InputDataError(
            "Expected delta in (0, 1) and a positive, finite scale, but got"
            f" delta={delta} and scale={scale}. Leave them out for the defaults."
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

    Example:
        >>> mean, variance = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.25, 1.0]])
        >>> confidence_region(mean, variance, beta=4.0).upper
        tensor([[2., 4.]])
    """
    half_width = standard_deviation(variance * beta)
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

    Example:
        >>> mean, variance = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.25, 1.0]])
        >>> earlier = confidence_region(mean, variance, beta=1.0)
        >>> later = confidence_region(mean + 0.5, variance, beta=1.0)
        >>> intersect_regions(later, earlier).upper
        tensor([[1.5000, 3.0000]])
    """
    if current.mean.shape != previous.mean.shape:
        raise BotorchTensorDimensionError(
            "Expected regions of the same designs, but got shapes"
            f" {shape_to_str(current.mean.shape)} and"
            f" {shape_to_str(previous.mean.shape)}. Pass the region of the same design"
            " set."
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

    Example:
        >>> lower = torch.tensor([[0.0, 0.0], [2.0, 2.0]])
        >>> undominated(lower, lower + 1.0)
        tensor([False,  True])
    """
    _check_corners(lower, upper)
    # Of equal lower corners a box with an interior comes first: it dominates points.
    order = (lower == upper).all(dim=-1).to(torch.uint8).argsort(stable=True)
    dominators = order[front_mask(lower[order])]  # k
    keep = torch.empty(upper.shape[0], dtype=torch.bool, device=upper.device)
    rows = torch.arange(upper.shape[0], device=upper.device)
    chunk = max(1, MAX_ELEMENTS // max(1, dominators.numel() * upper.shape[-1]))
    for index in rows.split(chunk):
        above = (lower[dominators] >= upper[index].unsqueeze(-2)).all(dim=-1)
        keep[index] = ~(above & (dominators != index.unsqueeze(-1))).any(dim=-1)
    return keep


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
            f" {shape_to_str(lower.shape)} and {shape_to_str(upper.shape)}. Pass one"
            " pair per design."
        )
    volume = hypervolume(upper, ref_point) - hypervolume(lower, ref_point)
    return volume.clamp_min(0.0)


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
            f" {shape_to_str(lower.shape)}, but got {shape_to_str(mean.shape)}. Pass"
            " all three of the same designs."
        )
    check_ref_point(ref_point, num_outcomes=mean.shape[-1])
    if not ((lower <= mean) & (mean <= upper)).all():
        raise InputDataError(
            "Expected lower <= mean <= upper everywhere, without NaN, but"
            f" {int((~((lower <= mean) & (mean <= upper))).sum())} of {mean.numel()}"
            " entries violate this. Build them with confidence_region."
        )
    region = ConfidenceRegion(mean, lower, upper)
    masks = torch.eye(mean.shape[-1], dtype=torch.bool, device=mean.device)
    return collapse_gain(
        ConfidenceRegion(*(corner.unsqueeze(-2) for corner in region)),
        masks,
        upper_cells=improvement_cells(second_order_front(upper), ref_point),
        lower_cells=improvement_cells(lower[front_mask(lower)], ref_point),
    )


def _check_corners(lower: Tensor, upper: Tensor) -> None:
    if lower.ndim != 2 or lower.shape != upper.shape:
        raise BotorchTensorDimensionError(
            "Expected lower and upper to be `n x m` and equal in shape, but got"
            f" {shape_to_str(lower.shape)} and {shape_to_str(upper.shape)}. Pass one"
            " row per design."
        )
