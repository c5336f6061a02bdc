"""What measuring one outcome does to what a Gaussian process knows of it."""

from __future__ import annotations

from typing import NamedTuple

from botorch.exceptions.errors import UnsupportedError
from torch import Tensor

from botorch_flexibo.utils.conditioning import (
    ConditionedGP,
    WhitenedDesigns,
    standard_deviation,
)


class OwnBoxes(NamedTuple):
    """One outcome of the designs of each batch, ``s x b x q`` each.

    Attributes:
        mean: Posterior means.
        before: Standard deviations before measuring.
        after: Standard deviations after measuring.
    """

    mean: Tensor
    before: Tensor
    after: Tensor


class Moves(NamedTuple):
    """How one outcome that is measured moves and narrows.

    Attributes:
        sd: Standard deviations of the reference designs after measuring, ``s x b x N``.
        directions: Where their means go, ``s x b x v x N``.
        own: Where the means of the designs of each batch go, ``s x b x v x q``.
    """

    sd: Tensor
    directions: Tensor
    own: Tensor


def effect_of_measuring(
    gp: ConditionedGP,
    targets: WhitenedDesigns,
    points: Tensor,
    own: Tensor,
    weight: Tensor,
) -> tuple[OwnBoxes, Moves | None]:
    r"""What measuring batches of points does to one outcome.

    Args:
        gp: The Gaussian process of the outcome.
        targets: The ``N`` reference designs, whitened by it.
        points: A ``s x b x v x d``-dim tensor of points at which the outcome is
            measured; ``v = 0`` if it is not.
        own: A ``s x b x q x d``-dim tensor of the designs of each batch, at the target
            fidelity.
        weight: The weight of the outcome in the objective.

    Returns:
        The boxes of the designs of each batch, and how the outcome moves, None if it is
        not measured.
    """
    b, q = own.shape[1:3]
    own_designs = gp.whiten(own.flatten(1, 2))
    mean, sd = (y.reshape(len(y), b, q) for y in gp.moments(own_designs))
    mean, before = mean * weight, sd * weight.abs()
    if points.shape[-2] == 0:
        return OwnBoxes(mean, before, before), None
    measured = own_designs if points is own else gp.whiten(points.flatten(1, 2))
    directions = gp.directions(targets, measured, points.shape[-2]) * weight
    own_moves = gp.own_directions(own_designs, measured, b) * weight
    sd = (targets.variance.sqrt() * gp.scale * weight).unsqueeze(-2)
    moves = Moves(_narrowed(sd, directions), directions, own_moves)
    return OwnBoxes(mean, before, _narrowed(before, own_moves)), moves


def _narrowed(sd: Tensor, directions: Tensor) -> Tensor:
    """Standard deviations after means have moved along ``... x v x n`` directions."""
    return standard_deviation(sd.square() - directions.square().sum(dim=-2))


def common_size(sizes: list[int]) -> int:
    """The number of models of an ensemble whose outcomes have so many, or one.

    Args:
        sizes: The number of models of each outcome.

    Returns:
        The largest.

    Raises:
        UnsupportedError: If two ensembles differ in size.
    """
    ensembles = {size for size in sizes if size > 1}
    if len(ensembles) > 1:
        raise UnsupportedError(
            "Expected ensembles of one size, so that their members can be paired, but"
            f" got sizes {sizes}. Use the same num_samples and thinning for all"
            " outcomes."
        )
    return max(sizes)
