r"""Sweeps over points with three outcomes, which keep a staircase of two of them.

Points come in falling order of one outcome. Those that came so far and are not
dominated in the other two form a staircase: one rises where the other falls, so that a
bisection tells whether a new point is above it. ``n`` points take ``O(n log n)``
comparisons. The lists are Python's: a loop over tensors costs hundreds of times more.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


def swept_front(Y: Tensor) -> Tensor:
    r"""Which of ``n x 3``-dim points are non-dominated, the first one of equal points.

    Args:
        Y: A ``n x 3``-dim tensor of outcomes to maximise, without NaN.

    Returns:
        A ``n``-dim boolean tensor.
    """
    stairs = _Staircase([], [])
    kept: list[int] = []
    for row, (_, x, y) in _falling(Y):
        if not stairs.reaches(x, y):
            stairs.add(x, y)
            kept.append(row)
    mask = torch.zeros(len(Y), dtype=torch.bool)
    mask[kept] = True
    return mask.to(Y.device)


def swept_second_front(Y: Tensor) -> Tensor:
    r"""Front of the set of points that at least two of the given points dominate.

    What a point dominates for the second time is what it and the staircase have in
    common: the stairs below it, and those to its left and right cut off by it.

    Args:
        Y: A ``n x 3``-dim tensor of outcomes to maximise, without NaN.

    Returns:
        A ``k x 3``-dim tensor of mutually non-dominated points.
    """
    once, twice = _Staircase([], []), _Staircase([], [])
    corners: list[tuple[float, float, float]] = []
    for _, (height, x, y) in _falling(Y):
        for corner in once.cut(x, y):
            if not twice.reaches(*corner):
                twice.add(*corner)
                corners.append((height, *corner))
        if not once.reaches(x, y):
            once.add(x, y)
    meets = Y.new_tensor(corners).reshape(-1, 3)
    return meets[swept_front(meets)]  # some of equal height may dominate others


def swept_cells(front: Tensor, ref_point: Tensor) -> Tensor:
    r"""Disjoint boxes that fill what a front of three outcomes does not dominate.

    Each is as wide as one stair and as deep as the sweep leaves that stair as it is.
    ``k`` points give at most ``2 k + 1`` boxes.

    Args:
        front: A ``k x 3``-dim tensor of points.
        ref_point: A ``3``-dim reference point.

    Returns:
        A ``2 x c x 3``-dim tensor: lower and upper corners of ``c`` boxes.
    """
    inside = front[(front > ref_point).all(dim=-1)]
    left, bottom, floor = ref_point.tolist()
    # The last stair has no end, and is what no point reaches.
    stairs = _Staircase([math.inf], [bottom])
    tops = [math.inf]  # where the sweep was when each stair was made
    boxes: list[list[float]] = []

    def close(stair: int, z: float) -> None:
        if tops[stair] > z:
            start = stairs.x[stair - 1] if stair else left
            corner = stairs.x[stair], math.inf, tops[stair]
            boxes.append([start, stairs.y[stair], z, *corner])

    for x, y, z in sorted(inside.tolist(), key=lambda point: -point[2]):
        if stairs.reaches(x, y):
            continue
        first, end = stairs.below(x, y)
        # The stairs below the point end here, and so does what is left of the next.
        for stair in range(first, end + 1):
            close(stair, z)
        stairs.add(x, y)
        tops[first : end + 1] = [z, z]
    for stair in range(len(tops)):
        close(stair, floor)
    return front.new_tensor(boxes).reshape(-1, 2, 3).transpose(0, 1)


def _falling(Y: Tensor) -> Iterator[tuple[int, list[float]]]:
    """Rows and points by falling outcomes; of equal points the first one is first."""
    points = Y.detach().cpu().numpy()
    order = np.lexsort(tuple(-points[:, ::-1].T))
    return zip(order.tolist(), points[order].tolist(), strict=True)


class _Staircase(NamedTuple):
    """Points of which none is dominated: ``x`` rises and ``y`` falls."""

    x: list[float]
    y: list[float]

    def reaches(self, x: float, y: float) -> bool:
        """Whether a point of the staircase dominates or equals a point."""
        right = bisect_left(self.x, x)
        return right < len(self.x) and self.y[right] >= y

    def below(self, x: float, y: float) -> tuple[int, int]:
        """First and end of the points that a point dominates or equals."""
        end = bisect_left(self.x, x)
        if end < len(self.x) and self.x[end] == x:
            end += 1
        first = end
        while first > 0 and self.y[first - 1] <= y:
            first -= 1
        return first, end

    def cut(self, x: float, y: float) -> list[tuple[float, float]]:
        """Corners of what the staircase and a point both dominate."""
        first, end = self.below(x, y)
        corners = list(zip(self.x[first:end], self.y[first:end], strict=True))
        if end < len(self.x):
            corners.append((x, min(self.y[end], y)))
        if first > 0:
            corners.append((self.x[first - 1], y))
        return corners

    def add(self, x: float, y: float) -> None:
        """Put a point that is not reached in the place of those below it."""
        first, end = self.below(x, y)
        self.x[first:end] = [x]
        self.y[first:end] = [y]
