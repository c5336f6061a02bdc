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
    """

    start: Tensor
    directions: Tensor


def expected_hypervolume(
    Y: Tensor, moving: Mapping[int, MovingOutcome], num_nodes: int
) -> Tensor:
    r"""Expected hypervolume of points some of whose outcomes move at random.

    Args:
        Y: A ``s x N x m``-dim tensor of points. Columns in ``moving`` are ignored.
        moving: The outcomes that move, by column, each with its own variables.
        num_nodes: Quadrature nodes per variable, see ``gaussian_quadrature``.

    Returns:
        A ``s x b``-dim tensor. Up to three outcomes the hypervolume of each node is
        exact, beyond that it is that of ``scalarized_hypervolume``.
    """
    if Y.shape[-1] > 1 and len(moving) == 1:
        ((column, outcome),) = moving.items()
        fixed = [y for i, y in enumerate(Y.unbind(dim=-1)) if i != column]
        if len(fixed) == 1:
            return _expected_staircase(fixed[0], outcome, num_nodes)
        if len(fixed) == 2:
            return _expected_terraces(fixed[0], fixed[1], outcome, num_nodes)
        return _expected_scalarized(fixed, outcome, column, num_nodes)
    variables = sum(outcome.directions.shape[-2] for outcome in moving.values())
    nodes, weights = gaussian_quadrature(num_nodes, variables)
    nodes, weights = nodes.to(Y), weights.to(Y)
    columns = list(Y.unsqueeze(-3).unsqueeze(-3).unbind(dim=-1))  # each s x 1 x 1 x N
    for column, outcome in moving.items():
        count = outcome.directions.shape[-2]
        columns[column] = _positions(outcome, nodes[:, :count])
        nodes = nodes[:, count:]
    points = torch.stack(torch.broadcast_tensors(*columns), dim=-1)
    return volume(points) @ weights


def num_elements(
    num_designs: int, num_outcomes: int, variables: Sequence[int], num_nodes: int
) -> int:
    r"""Elements of the largest temporary of ``expected_hypervolume``, per batch.

    Args:
        num_designs: The number of points ``N``.
        num_outcomes: The number of outcomes ``m``.
        variables: The number of variables of each moving outcome.
        num_nodes: Quadrature nodes per variable.

    Returns:
        The number of elements.
    """
    if len(variables) == 0:
        return num_designs
    moves = sum(variables) * num_designs
    return max(moves, _volume_elements(num_designs, num_outcomes, variables, num_nodes))


def _volume_elements(
    num_designs: int, num_outcomes: int, variables: Sequence[int], num_nodes: int
) -> int:
    nodes = len(gaussian_quadrature(num_nodes, sum(variables))[0])
    if len(variables) == 1 and num_outcomes <= 2:
        return nodes * num_designs
    if len(variables) == 1:  # passed over once per design
        columns = num_designs if num_outcomes == 3 else _NUM_SCALARIZATIONS
        return _PASSED_OVER * nodes * columns
    if num_outcomes <= 3:
        return nodes * num_outcomes * num_designs ** (num_outcomes - 1)
    return nodes * num_designs * _NUM_SCALARIZATIONS


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


def _expected_staircase(
    fixed: Tensor, outcome: MovingOutcome, num_nodes: int
) -> Tensor:
    """Two outcomes of which one stays: one sort of ``s x N`` serves all batches."""
    nodes, weights = gaussian_quadrature(num_nodes, outcome.directions.shape[-2])
    widths, order = _slices(fixed)
    heights = _positions(_reorder(outcome, order), nodes.to(fixed)).clamp_min(0.0)
    areas = heights.cummax(dim=-1).values @ widths[:, None, :, None]  # s x b x K x 1
    return areas.squeeze(-1) @ weights.to(fixed)


def _expected_terraces(
    first: Tensor, second: Tensor, outcome: MovingOutcome, num_nodes: int
) -> Tensor:
    """Three outcomes of which two stay: heights over the grid that these two span.

    The height of cell ``(t, c)`` is the largest moving outcome of the points that
    reach slice ``t`` of the first and slice ``c`` of the second fixed outcome.
    """
    nodes, weights = gaussian_quadrature(num_nodes, outcome.directions.shape[-2])
    first_widths, order = _slices(first)
    second_widths, second_order = _slices(second.take_along_dim(order, dim=-1))
    rank = second_order.argsort(dim=-1)  # of point t (in order of the first outcome)
    columns = torch.arange(rank.shape[-1], device=rank.device)
    reaches = (rank.unsqueeze(-1) <= columns).to(first)  # s x N x N
    heights = _positions(_reorder(outcome, order), nodes.to(first)).clamp_min(0.0)
    total = _summed_terraces(heights, reaches, first_widths)  # s x b x K x N (c)
    areas = (total @ second_widths[:, None, :, None]).squeeze(-1)
    return areas @ weights.to(first)


def _summed_terraces(heights: Tensor, reaches: Tensor, widths: Tensor) -> Tensor:
    """Sum over slices ``t`` of width times running maximum of what reaches column c."""
    if heights.numel() * heights.shape[-1] <= _SMALL:  # fewer, larger operations
        terraces = heights.unsqueeze(-2) * reaches.mT[:, None, None]
        terraces = terraces.cummax(dim=-1).values
        return (terraces @ widths[:, None, None, :, None]).squeeze(-1)
    # Slice by slice: the terrace of one slice stays in cache, all at once would not.
    terrace, total = torch.zeros_like(heights), torch.zeros_like(heights)
    for t in range(heights.shape[-1]):
        step = heights[..., t : t + 1] * reaches[:, None, None, t]
        terrace = torch.maximum(terrace, step)
        total = total + widths[:, t, None, None, None] * terrace
    return total


def _expected_scalarized(
    fixed: Sequence[Tensor], outcome: MovingOutcome, column: int, num_nodes: int
) -> Tensor:
    """Many outcomes of which one moves: what the others reach is computed once."""
    nodes, weights = gaussian_quadrature(num_nodes, outcome.directions.shape[-2])
    m = len(fixed) + 1
    directions = _sphere(_NUM_SCALARIZATIONS, m).to(fixed[0])
    others = [i for i in range(m) if i != column]
    reaches = [
        y.clamp_min(0.0).unsqueeze(-1) / directions[:, i]
        for y, i in zip(fixed, others, strict=True)
    ]
    reach = torch.stack(reaches).amin(dim=0)[:, None, None]  # s x 1 x 1 x N x L
    heights = _positions(outcome, nodes.to(reach)).clamp_min(0.0)
    inverse = 1 / directions[:, column]
    farthest = torch.zeros_like(heights[..., :1]) * inverse  # s x b x K x L
    for u in range(heights.shape[-1]):
        reached = torch.minimum(reach[..., u, :], heights[..., u : u + 1] * inverse)
        farthest = torch.maximum(farthest, reached)
    return _ball(m) * farthest.pow(m).mean(dim=-1) @ weights.to(reach)


def _slices(fixed: Tensor) -> tuple[Tensor, Tensor]:
    """Widths of the slices between sorted values, and their order, ``s x N``."""
    fixed, order = fixed.clamp_min(0.0).sort(dim=-1, descending=True)
    following = torch.cat([fixed[..., 1:], torch.zeros_like(fixed[..., :1])], dim=-1)
    return fixed - following, order


def _reorder(outcome: MovingOutcome, order: Tensor) -> MovingOutcome:
    return MovingOutcome(
        outcome.start.take_along_dim(order.unsqueeze(-2), dim=-1),
        outcome.directions.take_along_dim(order[:, None, None], dim=-1),
    )
