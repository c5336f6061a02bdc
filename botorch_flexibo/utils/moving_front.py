r"""Expected hypervolume of points that move along Gaussian directions.

All outcomes are maximised and relative to the reference point, which is the origin.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from botorch.utils.sampling import draw_sobol_normal_samples
from torch import Tensor

from botorch_flexibo.utils.fronts import hypervolume
from botorch_flexibo.utils.quadrature import gaussian_quadrature

# Beyond three outcomes the hypervolume is estimated along this many directions.
_NUM_SCALARIZATIONS = 512
_SOBOL_SEED = 0
# Weight of elements that loops over designs pass over again and again: they are to stay
# in the innermost caches.
_PASSED_OVER = 8
# Up to so many elements all slices are scanned at once.
_SMALL = 2**18


class MovingOutcome(NamedTuple):
    r"""One outcome of ``N`` points that moves by ``z^T directions``, ``z`` normal.

    Attributes:
        start: A ``s x b x N``-dim tensor: where it is at ``z = 0``.
        directions: A ``s x b x q x N``-dim tensor: one direction per variable.

    With ``b = 1`` it is the same in all batches.
    """

    start: Tensor
    directions: Tensor


class Joining(NamedTuple):
    r"""Points that are in the set too, ``q`` other ones in each batch.

    Attributes:
        start: A ``s x b x q x m``-dim tensor: where they are at ``z = 0``.
        directions: A ``s x b x v x q``-dim tensor for each outcome that moves, by
            column: one direction per variable.
    """

    start: Tensor
    directions: Mapping[int, Tensor]

    def outcome(self, column: int) -> MovingOutcome:
        """One outcome that moves, ``s x b x q`` and ``s x b x v x q``."""
        return MovingOutcome(self.start[..., column], self.directions[column])


def expected_hypervolume(
    Y: Tensor,
    moving: Mapping[int, MovingOutcome],
    joining: Joining,
    num_nodes: int,
) -> Tensor:
    r"""Expected hypervolume of points some of whose outcomes move at random.

    Args:
        Y: A ``s x N x m``-dim tensor of points. Columns in ``moving`` are ignored.
        moving: The outcomes that move, by column, each with its own variables.
        joining: Further points in each batch, which move along with the others.
        num_nodes: Quadrature nodes per variable, see ``gaussian_quadrature``.

    Returns:
        A ``s x b``-dim tensor. Up to three outcomes the hypervolume of each node is
        exact, beyond that it is that of ``scalarized_hypervolume``.
    """
    if Y.shape[-1] > 1 and len(moving) == 1 and joining.start.shape[-2] == 1:
        ((column, outcome),) = moving.items()
        return _expected_of_one(Y, column, outcome, joining, num_nodes)
    variables = sum(outcome.directions.shape[-2] for outcome in moving.values())
    nodes, weights = gaussian_quadrature(num_nodes, variables)
    nodes, weights = nodes.to(Y), weights.to(Y)
    columns = list(Y[:, None, None].unbind(dim=-1))  # each s x 1 x 1 x N
    others = list(joining.start.unsqueeze(-3).unbind(dim=-1))  # each s x b x 1 x q
    for column, outcome in moving.items():
        count = outcome.directions.shape[-2]
        columns[column] = _positions(outcome, nodes[:, :count])
        others[column] = _positions(joining.outcome(column), nodes[:, :count])
        nodes = nodes[:, count:]
    sets = [torch.stack(torch.broadcast_tensors(*y), dim=-1) for y in (columns, others)]
    shape = torch.broadcast_shapes(*(points.shape[:-2] for points in sets))
    points = torch.cat([y.expand(*shape, *y.shape[-2:]) for y in sets], dim=-2)
    return volume(points) @ weights


def joined_hypervolume(Y: Tensor, start: Tensor) -> Tensor:
    r"""Hypervolume of points with some that join them in each batch.

    Args:
        Y: A ``s x N x m``-dim tensor of points.
        start: A ``s x b x q x m``-dim tensor of points that join.

    Returns:
        A ``s x b``-dim tensor, as ``expected_hypervolume`` would compute it.
    """
    s, b, q, _ = start.shape
    nowhere = start.new_zeros(1).expand(s, 1, 1, Y.shape[-2])
    still = MovingOutcome(Y[:, None, :, -1], nowhere)
    column = Y.shape[-1] - 1
    joining = Joining(start, {column: start.new_zeros(1).expand(s, b, 1, q)})
    return expected_hypervolume(Y, {column: still}, joining, num_nodes=1)


def num_elements(
    num_designs: int,
    num_outcomes: int,
    variables: Sequence[int],
    num_nodes: int,
    *,
    num_joining: int,
) -> int:
    r"""Elements of the largest temporary of ``expected_hypervolume``, per batch.

    Args:
        num_designs: The number of points ``N``.
        num_outcomes: The number of outcomes ``m``.
        variables: The number of variables of each moving outcome.
        num_nodes: Quadrature nodes per variable.
        num_joining: The number of points that join.

    Returns:
        The number of elements.
    """
    if len(variables) == 0:
        return num_designs
    n, m = num_designs + num_joining, num_outcomes
    nodes = len(gaussian_quadrature(num_nodes, sum(variables))[0])
    moves = sum(variables) * n
    if len(variables) == 1 and num_joining == 1 and m > 1:
        if m == 2:
            return max(moves, nodes * n)
        columns = n if m == 3 else _NUM_SCALARIZATIONS
        return max(moves, _PASSED_OVER * nodes * columns)  # once per design
    if m <= 3:
        return max(moves, nodes * m * n ** max(1, m - 1))
    return max(moves, nodes * n * _NUM_SCALARIZATIONS)


def volume(Y: Tensor) -> Tensor:
    r"""Hypervolume above the origin, exact up to three outcomes, estimated beyond.

    Args:
        Y: A ``batch_shape x n x m``-dim tensor of points.

    Returns:
        A ``batch_shape``-dim tensor.
    """
    if Y.shape[-1] > 3:
        return scalarized_hypervolume(Y)
    return hypervolume(Y, Y.new_zeros(Y.shape[-1]))


def scalarized_hypervolume(
    Y: Tensor, num_directions: int = _NUM_SCALARIZATIONS
) -> Tensor:
    r"""Quasi-random estimate of the hypervolume above the origin.

    ``HV = c_m E_l max_y min_i (max(y_i, 0) / l_i)^m`` with ``l`` uniform on the
    positive part of the unit sphere and ``c_m = pi^(m/2) / (2^m Gamma(m/2 + 1))``. The
    directions are the same at every call, so differences between sets are much less
    noisy than the estimates, and the estimate is monotone in ``Y``.

    Args:
        Y: A ``batch_shape x n x m``-dim tensor of points.
        num_directions: The number of directions.

    Returns:
        A ``batch_shape``-dim tensor.
    """
    m = Y.shape[-1]
    directions = _sphere(num_directions, m).to(Y)
    # One outcome at a time: the largest tensor is batch x n x directions.
    reach = Y[..., :1].clamp_min(0.0) / directions[:, 0]
    for i in range(1, m):
        reach = torch.minimum(
            reach, Y[..., i : i + 1].clamp_min(0.0) / directions[:, i]
        )
    return _ball(m) * reach.amax(dim=-2).pow(m).mean(dim=-1)


def _ball(m: int) -> float:
    """Volume of the positive part of the unit ball."""
    return math.pi ** (m / 2) / (2**m * math.gamma(m / 2 + 1))


@lru_cache(maxsize=8)
def _sphere(num_directions: int, m: int) -> Tensor:
    normal = draw_sobol_normal_samples(
        m, num_directions, dtype=torch.float64, seed=_SOBOL_SEED
    )
    positive = normal.abs().clamp_min(1e-12)
    return positive / positive.norm(dim=-1, keepdim=True)


def _positions(outcome: MovingOutcome, nodes: Tensor) -> Tensor:
    """Where the points are at each node, ``s x b x K x N``."""
    return outcome.start.unsqueeze(-2) + nodes @ outcome.directions


def _expected_of_one(
    Y: Tensor, column: int, outcome: MovingOutcome, joining: Joining, num_nodes: int
) -> Tensor:
    """One outcome moves, and one point joins: no sorting per node."""
    nodes, weights = gaussian_quadrature(num_nodes, outcome.directions.shape[-2])
    nodes = nodes.to(Y)
    others = [i for i in range(Y.shape[-1]) if i != column]
    fixed = [Y[..., i] for i in others]
    newcomer = _Newcomer(
        reaches=[joining.start[..., i].clamp_min(0.0) for i in others],
        height=_positions(joining.outcome(column), nodes).clamp_min(0.0),
    )
    if len(fixed) == 1:
        volumes = _staircases(fixed[0], outcome, newcomer, nodes)
    elif len(fixed) == 2:
        volumes = _terraces(fixed[0], fixed[1], outcome, newcomer, nodes)
    else:
        volumes = _scalarized(fixed, column, outcome, newcomer, nodes)
    return volumes @ weights.to(Y)


class _Newcomer(NamedTuple):
    """A point that joins: reach in each fixed outcome, ``s x b x 1``, and height.

    The height is ``s x b x K x 1``. Nothing is below the reference point.
    """

    reaches: list[Tensor]
    height: Tensor


def _staircases(
    fixed: Tensor, outcome: MovingOutcome, newcomer: _Newcomer, nodes: Tensor
) -> Tensor:
    """Two outcomes of which one stays: one sort of ``s x N`` serves all batches."""
    slices = _slices(fixed)
    heights = _positions(_reorder(outcome, slices.order), nodes).clamp_min(0.0)
    stairs = heights.cummax(dim=-1).values  # s x b x K x N
    areas = _weighted(stairs, slices.widths)
    within, beyond = slices.overlap(newcomer.reaches[0])
    over = (newcomer.height - stairs).clamp_min(0.0) @ within.unsqueeze(-1)
    return areas + over.squeeze(-1) + beyond * newcomer.height.squeeze(-1)


def _terraces(
    first: Tensor,
    second: Tensor,
    outcome: MovingOutcome,
    newcomer: _Newcomer,
    nodes: Tensor,
) -> Tensor:
    """Three outcomes of which two stay: heights over the grid that these two span.

    The height of cell ``(t, c)`` is the largest moving outcome of the points that
    reach slice ``t`` of the first and slice ``c`` of the second fixed outcome.
    """
    rows = _slices(first)
    columns = _slices(second.take_along_dim(rows.order, dim=-1))
    rank = columns.order.argsort(dim=-1)  # of point t (in order of the first outcome)
    numbers = torch.arange(rank.shape[-1], device=rank.device)
    reaches = (rank.unsqueeze(-1) <= numbers).to(first)  # s x N x N
    heights = _positions(_reorder(outcome, rows.order), nodes).clamp_min(0.0)
    row_within, row_beyond = rows.overlap(newcomer.reaches[0])
    column_within, column_beyond = columns.overlap(newcomer.reaches[1])
    # Where the newcomer is alone: beyond all slices of one fixed outcome or the other.
    alone = row_beyond * newcomer.reaches[1]
    alone = alone + row_within.sum(dim=-1, keepdim=True) * column_beyond
    volumes = alone * newcomer.height.squeeze(-1)
    terraces = _batched_terraces(heights, reaches, newcomer.height.numel())
    if terraces is None:  # slice by slice: one terrace stays in cache, all would not
        total, over = torch.zeros_like(heights), torch.zeros_like(heights)
        terrace = torch.zeros_like(heights)
        for t in range(heights.shape[-1]):
            reached = heights[..., t : t + 1] * reaches[:, None, None, t]
            terrace = torch.maximum(terrace, reached)  # s x b x K x N (c)
            above = (newcomer.height - terrace).clamp_min(0.0)
            total = total + rows.widths[:, t, None, None, None] * terrace
            over = over + row_within[..., t, None, None] * above
    else:
        above = (newcomer.height.unsqueeze(-1) - terraces).clamp_min(0.0)
        total = (terraces * rows.widths[:, None, None, :, None]).sum(dim=-2)
        over = (above * row_within[:, :, None, :, None]).sum(dim=-2)
    over = (over @ column_within.unsqueeze(-1)).squeeze(-1)
    return volumes + _weighted(total, columns.widths) + over


def _batched_terraces(
    heights: Tensor, reaches: Tensor, num_newcomers: int
) -> Tensor | None:
    """All terraces at once, ``s x b x K x N (t) x N (c)``, unless they are many."""
    if num_newcomers * heights.shape[-1] ** 2 > _SMALL:
        return None
    reached = heights.unsqueeze(-1) * reaches[:, None, None]
    return reached.cummax(dim=-2).values


def _weighted(Y: Tensor, weights: Tensor) -> Tensor:
    """Sums over the last dimension of ``s x b x K x N`` with ``s x N`` weights."""
    # One matrix times one vector: a broadcast product would copy the vector b times.
    return (Y.flatten(1, 2) @ weights.unsqueeze(-1)).reshape(Y.shape[:-1])


def _scalarized(
    fixed: Sequence[Tensor],
    column: int,
    outcome: MovingOutcome,
    newcomer: _Newcomer,
    nodes: Tensor,
) -> Tensor:
    """Many outcomes of which one moves: what the others reach is computed once."""
    m = len(fixed) + 1
    directions = _sphere(_NUM_SCALARIZATIONS, m).to(fixed[0])
    others = [i for i in range(m) if i != column]
    inverse = 1 / directions[:, column]

    def reach(columns: Sequence[Tensor]) -> Tensor:
        reaches = [
            y.clamp_min(0.0).unsqueeze(-1) / directions[:, i]
            for y, i in zip(columns, others, strict=True)
        ]
        return torch.stack(reaches).amin(dim=0)

    reaches = reach(fixed)[:, None, None]  # s x 1 x 1 x N x L
    heights = _positions(outcome, nodes).clamp_min(0.0)
    farthest = torch.minimum(reach(newcomer.reaches), newcomer.height * inverse)
    for u in range(heights.shape[-1]):  # s x b x K x L
        reached = torch.minimum(reaches[..., u, :], heights[..., u : u + 1] * inverse)
        farthest = torch.maximum(farthest, reached)
    return _ball(m) * farthest.pow(m).mean(dim=-1)


class _Slices(NamedTuple):
    """What lies between sorted values and above zero, all ``s x N``."""

    widths: Tensor
    order: Tensor
    tops: Tensor

    def overlap(self, reach: Tensor) -> tuple[Tensor, Tensor]:
        """How much of each slice, and beyond all, lies below ``s x b x 1`` values."""
        tops, widths = self.tops.unsqueeze(-2), self.widths.unsqueeze(-2)
        within = (torch.minimum(reach, tops) - (tops - widths)).clamp_min(0.0)
        return within, (reach - tops[..., :1]).clamp_min(0.0)


def _slices(fixed: Tensor) -> _Slices:
    """Slices of ``s x N`` values in falling order."""
    tops, order = fixed.clamp_min(0.0).sort(dim=-1, descending=True)
    following = torch.cat([tops[..., 1:], torch.zeros_like(tops[..., :1])], dim=-1)
    return _Slices(tops - following, order, tops)


def _reorder(outcome: MovingOutcome, order: Tensor) -> MovingOutcome:
    return MovingOutcome(
        outcome.start.take_along_dim(order.unsqueeze(-2), dim=-1),
        outcome.directions.take_along_dim(order[:, None, None], dim=-1),
    )
