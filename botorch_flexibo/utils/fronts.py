r"""Fronts, exact hypervolumes and hypervolume improvements.

All outcomes are maximised and the reference point lies below the front. Everything here
is a pure function of tensors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from botorch.exceptions.errors import BotorchTensorDimensionError, InputDataError
from botorch.logging import shape_to_str
from botorch.utils.multi_objective.box_decompositions.non_dominated import (
    FastNondominatedPartitioning,
)
from botorch.utils.multi_objective.pareto import is_non_dominated
from torch import Tensor

from botorch_flexibo.utils._sweeps import swept_cells, swept_front, swept_second_front

# Elements of the largest temporary of a chunked pass: 128 MiB of float64.
MAX_ELEMENTS = 2**24
# The same where a chunk is passed over once per outcome and is to stay in cache: 2 MiB.
_OVERLAP_ELEMENTS = 2**18
# Up to this many outcomes the batched sweep is used, beyond it box decompositions.
_MAX_SWEEP_OUTCOMES = 3


def front_mask(Y: Tensor) -> Tensor:
    r"""Which points are non-dominated, one copy of duplicates kept.

    Args:
        Y: A ``batch_shape x n x m``-dim tensor of outcomes to maximise.

    Returns:
        A ``batch_shape x n``-dim boolean tensor. Among equal points the first is kept.

    Example:
        >>> front_mask(torch.tensor([[1.0, 3.0], [2.0, 2.0], [1.0, 2.0]]))
        tensor([ True,  True, False])
    """
    if Y.shape[-1] == 3 and Y.ndim == 2:
        return swept_front(Y)
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
    if Y.shape[-1] == 3:
        return swept_second_front(Y)
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
    if front.shape[-1] == 1:  # BoTorch's partitioning needs two outcomes
        best = torch.cat([front, ref_point.unsqueeze(0)]).amax(dim=0)
        return torch.stack([best, torch.full_like(best, math.inf)]).unsqueeze(1)
    if front.shape[-1] == 3:
        return swept_cells(front, ref_point)
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
    chunk = max(1, _OVERLAP_ELEMENTS // max(1, len(lower)))
    volumes = [
        _overlaps(y, lower, upper).sum(dim=-1)
        for y in Y.reshape(-1, Y.shape[-1]).split(chunk)
    ]
    return torch.cat(volumes).reshape(Y.shape[:-1])


def as_ref_point(
    ref_point: Tensor | Sequence[float],
    like: Tensor | None = None,
    *,
    num_outcomes: int,
) -> Tensor:
    r"""A reference point of numbers, as a tensor.

    Args:
        ref_point: The reference point, of any real dtype.
        like: A tensor with the dtype and device that it gets. None means double
            precision on the CPU.
        num_outcomes: The number of outcomes ``m``.

    Returns:
        A ``m``-dim tensor.

    Raises:
        InputDataError: If it is not made of finite numbers.
    """
    try:
        # Numbers in full precision, whatever PyTorch's default is.
        is_tensor = isinstance(ref_point, Tensor)
        point = torch.as_tensor(ref_point, dtype=None if is_tensor else torch.float64)
        is_real = not point.is_complex() and point.dtype != torch.bool
        is_real &= is_tensor or not any(isinstance(y, bool) for y in ref_point)
    except (TypeError, ValueError, RuntimeError):
        is_real, point = False, torch.empty(0)
    if not is_real:
        raise InputDataError(
            f"Expected ref_point to hold real numbers, but got {ref_point!r}. Pass a"
            " tensor with the worst value of interest of each outcome."
        )
    point = point.to("cpu", torch.float64) if like is None else point.to(like)
    check_ref_point(point, num_outcomes)
    return point


def check_volume(Y: Tensor, ref_point: Tensor) -> None:
    r"""Refuse outcomes so large that a hypervolume would overflow.

    Args:
        Y: A ``... x m``-dim tensor of points.
        ref_point: A ``m``-dim reference point.

    Raises:
        InputDataError: If the box that they span is too large for their dtype.
    """
    corner = Y.reshape(-1, Y.shape[-1]).amax(dim=0)
    if not (corner - ref_point).clamp_min(0.0).prod().isfinite():
        raise InputDataError(
            "Expected outcomes and a ref_point that span a finite volume, but got"
            f" {corner.tolist()} and {ref_point.tolist()}. Scale the outcomes, or move"
            " ref_point closer to the front."
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
            f" got shape {shape_to_str(ref_point.shape)}. Pass a `m`-dim tensor."
        )
    if not ref_point.isfinite().all():
        raise InputDataError(
            f"Expected a finite ref_point, but got {ref_point.tolist()}. Pass the worst"
            " value of interest of each outcome."
        )


def _overlaps(Y: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Volume of each of ``c`` boxes that lies below each of ``n`` points, ``n x c``."""
    # One outcome at a time: several times faster than a product over a short dimension.
    sides = [
        (torch.minimum(y.unsqueeze(-1), high) - low).clamp_min(0.0)
        for y, low, high in zip(
            Y.unbind(-1), lower.unbind(-1), upper.unbind(-1), strict=True
        )
    ]
    volume = sides[0]
    for side in sides[1:]:
        volume = volume * side
    return volume


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
