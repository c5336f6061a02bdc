r"""Sets of designs: the front that a model identifies, and reference designs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from botorch.acquisition.multi_objective.objective import MCMultiOutputObjective
from botorch.exceptions.errors import CandidateGenerationError, InputDataError
from botorch.models.model import Model
from torch import Tensor

from botorch_flexibo.optim.space import SearchSpace, as_space
from botorch_flexibo.utils.checks import check_beta, is_count
from botorch_flexibo.utils.fronts import as_ref_point, front_mask
from botorch_flexibo.utils.objective import separable_weights
from botorch_flexibo.utils.pareto_region import (
    ConfidenceRegion,
    undominated,
)
from botorch_flexibo.utils.posterior import MarginalMoments
from botorch_flexibo.utils.rows import RowIndex, sum_by_row, unique_rows

# Sobol designs to start with, then generations of children with shrinking steps.
_NUM_POOL = 512
_FRONT_STEPS = (0.2, 0.1, 0.05, 0.025, 0.0125, 0.006)
_NUM_CHILDREN = 256
_REGION_STEPS = (0.2, 0.1, 0.05, 0.025)
# Shares of the fronts of means, upper and lower corners among the region designs.
_FRONT_SHARES = (1 / 3, 1 / 6, 1 / 6)


def identified_front(
    model: Model, space: Tensor | SearchSpace, *, X: Tensor, Y: Tensor, seed: int
) -> Tensor:
    r"""Designs that are Pareto optimal by the model's posterior mean.

    Where an outcome was measured, its value replaces the mean (of repeated measurements
    their average). Measured designs that violate a constraint are left out. On a
    continuous space a population is evolved on the posterior mean from Sobol designs
    and the measured ones, by crossover and Gaussian steps of shrinking length around
    the current front.

    Args:
        model: A model with ``m`` outputs, maximised.
        space: The search space, or its ``2 x d``-dim bounds. Columns fixed in it, for
            example fidelities at their targets, have these values in all designs; a
            value measured elsewhere informs the model only.
        X: A ``n x d``-dim tensor of the designs measured so far.
        Y: A ``n x m``-dim tensor of their outcomes, NaN where not measured.
        seed: Seed of the population on a continuous space.

    Returns:
        A ``k x d``-dim tensor of designs.

    Raises:
        CandidateGenerationError: If no sample meets the constraints.

    Example:
        >>> from botorch_flexibo.optim import identified_front
        >>> front = identified_front(model, state.space, X=state.X, Y=state.Y, seed=0)
        >>> front.shape[-1]
        2
    """
    space = as_space(space)
    with torch.no_grad():
        designs = space.sample(_NUM_POOL, seed=seed)
        if space.choices is None:
            designs = torch.cat([_inside(space, X), designs])
        pool = _Pool(model, _some(designs), known=_known(X, Y))
        if space.choices is None:
            for k, step in enumerate(_FRONT_STEPS):
                parents = pool.X[front_mask(pool.mean)]
                pool.add(space.mutate(parents, _NUM_POOL, step, seed=seed + k))
        return pool.X[front_mask(pool.mean)]


def sample_region_designs(
    model: Model,
    space: Tensor | SearchSpace,
    ref_point: Tensor | Sequence[float],
    *,
    num_designs: int = 128,
    beta: float = 1.0,
    objective: MCMultiOutputObjective | None = None,
    X: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    r"""Reference designs that cover the uncertain Pareto region.

    From scrambled Sobol designs (or the choices of a finite space) and the measured
    designs, a population is evolved towards three fronts: of the posterior means, of
    the upper and of the lower corners of the confidence boxes. What another design
    certainly dominates, or what cannot exceed the reference point, is dropped. Up to
    two thirds of the result are designs of the three fronts, far from each other in
    outcome space; the rest is drawn at random from those whose boxes reach the region.
    If no box exceeds the reference point, which is then too high or beta too small, the
    nearest designs are returned, and measurements are worth nothing.

    Args:
        model: A model with ``m`` outputs, maximised, whose posteriors have moments.
        space: The search space, or its ``2 x d``-dim bounds.
        ref_point: A ``m``-dim reference point below the front.
        num_designs: The largest number of designs to return. 128 hold most of a
            region's volume; runs of ``LookaheadFactory``, which draws them anew at
            every decision, end as well with 32.
        beta: The confidence scale of the boxes.
        objective: None, identity, or one weight per outcome (-1: minimise).
        X: A ``n x d``-dim tensor of designs measured so far.
        seed: Seed of all randomness; the global random state is untouched.

    Returns:
        A ``N x d``-dim tensor of unique designs, ``1 <= N <= num_designs``.

    Raises:
        BotorchTensorDimensionError: If ``ref_point`` is not ``m``-dim.
        CandidateGenerationError: If no sample meets the constraints.
        InputDataError: If ``num_designs`` is less than 1, ``beta`` negative, or the
            reference point not finite.

    Example:
        >>> ref_point = torch.tensor([0.0, -1.0], dtype=torch.double)
        >>> designs = sample_region_designs(
        ...     model, SearchSpace(bounds), ref_point, num_designs=32
        ... )
        >>> designs.shape[-1], len(designs) <= 32
        (2, True)
    """
    if not is_count(num_designs):
        raise InputDataError(
            f"Expected num_designs >= 1, but got {num_designs!r}. Pass a whole number."
        )
    space = as_space(space)
    m = model.num_outputs
    ref_point = as_ref_point(ref_point, space.bounds, num_outcomes=m)
    beta = check_beta(beta)
    weights = separable_weights(objective, m).to(ref_point)
    with torch.no_grad():
        start = space.sample(_NUM_POOL, seed=seed)
        if X is not None:
            start = torch.cat([_inside(space, X), start])
        pool = _Pool(model, _some(start), weights=weights)
        if space.choices is None:
            for k, step in enumerate(_REGION_STEPS):
                parents = pool.X[pool.on_fronts(beta)]
                children = space.mutate(parents, _NUM_CHILDREN, step, seed=seed + k)
                pool.add(children)
        return pool.X[_select(pool, beta, ref_point, num_designs, seed)]


def _inside(space: SearchSpace, X: Tensor) -> Tensor:
    """Designs that could be chosen, with the values that the space demands."""
    lower, upper = space.bounds
    X = space.project(X)
    return space.feasible(X[((X >= lower) & (X <= upper)).all(dim=-1)])


def _some(X: Tensor) -> Tensor:
    """Distinct designs, at least one."""
    if len(X) == 0:
        raise CandidateGenerationError(
            "Expected designs that meet the constraints, but none of the samples does."
            " Loosen the constraints, or pass X with designs that meet them."
        )
    return unique_rows(X)


def _known(X: Tensor, Y: Tensor) -> tuple[Tensor, Tensor]:
    """Each design once, with the mean of what was measured of an outcome, or NaN."""
    designs, counts = sum_by_row(X, (~Y.isnan()).to(Y))
    _, sums = sum_by_row(X, Y.nan_to_num(nan=0.0))
    return designs, sums / counts


class _Pool:
    """Designs with their posterior moments in objective space."""

    def __init__(
        self,
        model: Model,
        X: Tensor,
        *,
        weights: Tensor | None = None,
        known: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        self._moments_of = MarginalMoments(model)
        self._weights = 1.0 if weights is None else weights
        self._known = known
        self.X = X
        self.mean, self.variance = self._moments(X)

    def add(self, X: Tensor) -> None:
        """Add those designs that are new."""
        X = unique_rows(X)
        X = X[RowIndex(self.X).find(X) < 0]
        if len(X) == 0:
            return
        mean, variance = self._moments(X)
        self.X = torch.cat([self.X, X])
        self.mean = torch.cat([self.mean, mean])
        self.variance = torch.cat([self.variance, variance])

    def corners(self, beta: float) -> tuple[Tensor, Tensor, Tensor]:
        """Means, upper and lower corners."""
        half_width = beta**0.5 * self.variance.sqrt()
        return self.mean, self.mean + half_width, self.mean - half_width

    def on_fronts(self, beta: float) -> Tensor:
        """Which designs are on the front of means, upper or lower corners."""
        masks = [front_mask(corner) for corner in self.corners(beta)]
        return torch.stack(masks).any(dim=0)

    def _moments(self, X: Tensor) -> tuple[Tensor, Tensor]:
        mean, variance = self._moments_of(X)
        mean, variance = mean * self._weights, variance * self._weights**2
        if self._known is not None:  # measured values replace means
            row = RowIndex(self._known[0]).find(X)
            known = row >= 0
            Y = torch.full_like(mean, torch.nan)
            Y[known] = self._known[1][row[known]]
            mean = torch.where(Y.isnan(), mean, Y)
        return mean, variance


def _select(
    pool: _Pool, beta: float, ref_point: Tensor, num_designs: int, seed: int
) -> Tensor:
    """Indices of the designs to keep: well spread on the fronts, then others."""
    region = ConfidenceRegion(*(pool.corners(beta)[k] for k in (0, 2, 1)))
    useful = undominated(region.lower, region.upper)
    useful &= (region.upper > ref_point).all(dim=-1)
    if not useful.any():  # nothing reaches the reference point: the nearest
        excess = (region.upper - ref_point).amin(dim=-1)
        return excess.topk(min(num_designs, len(excess))).indices
    chosen = torch.zeros_like(useful)
    for corner, share in zip(pool.corners(beta), _FRONT_SHARES, strict=True):
        front = (front_mask(corner) & useful & ~chosen).nonzero().squeeze(-1)
        count = max(1, round(share * num_designs))
        chosen[front[_spread(corner[front], count)]] = True
    rest = (useful & ~chosen).nonzero().squeeze(-1)
    generator = torch.Generator().manual_seed(seed)
    rest = rest[torch.randperm(len(rest), generator=generator).to(rest.device)]
    return torch.cat([chosen.nonzero().squeeze(-1), rest])[:num_designs]


def _spread(Y: Tensor, n: int) -> Tensor:
    """Indices of ``n`` points far from each other: farthest-point sampling."""
    if len(Y) <= n:
        return torch.arange(len(Y), device=Y.device)
    span = Y.amax(dim=0) - Y.amin(dim=0)
    unit = (Y - Y.amin(dim=0)) / torch.where(span > 0, span, 1.0)
    chosen = [int(unit[:, 0].argmax()), int(unit[:, 0].argmin())][:n]
    distance = torch.cdist(unit, unit[chosen]).amin(dim=-1)
    while len(chosen) < n:
        chosen.append(int(distance.argmax()))
        step = torch.linalg.vector_norm(unit - unit[chosen[-1]], dim=-1)
        distance = torch.minimum(distance, step)
    return torch.tensor(chosen, device=Y.device)
