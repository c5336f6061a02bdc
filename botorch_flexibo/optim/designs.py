r"""Sets of designs: the front that a model identifies, and reference designs."""

from __future__ import annotations

import torch
from botorch.acquisition.multi_objective.objective import MCMultiOutputObjective
from botorch.acquisition.utils import project_to_target_fidelity
from botorch.exceptions.errors import InputDataError
from botorch.models.model import Model
from botorch.utils.sampling import draw_sobol_samples
from torch import Tensor

from botorch_flexibo.optim.space import SearchSpace
from botorch_flexibo.utils.fronts import front_mask
from botorch_flexibo.utils.objective import separable_weights
from botorch_flexibo.utils.pareto_region import (
    ConfidenceRegion,
    confidence_region,
    undominated,
)
from botorch_flexibo.utils.posterior import marginal_moments
from botorch_flexibo.utils.rows import RowIndex

_NUM_SAMPLES = 1024
_NUM_GENERATIONS = 8
# Region designs: Sobol designs, then children per generation.
_NUM_POOL = 512
_NUM_CHILDREN = 256
_NUM_REGION_GENERATIONS = 4


def identified_front(
    model: Model,
    bounds: Tensor,
    *,
    choices: Tensor | None,
    X: Tensor,
    Y: Tensor,
    seed: int,
    fixed_features: dict[int, float] | None = None,
) -> Tensor:
    r"""Designs that are Pareto optimal by the model's posterior mean.

    Where an outcome was measured, its value replaces the mean. On a continuous space a
    population is evolved on the posterior mean from Sobol designs and the measured
    ones, by Gaussian steps around the current front whose length halves per generation.

    Args:
        model: A model with ``m`` outputs, maximised.
        bounds: A ``2 x d``-dim tensor of lower and upper bounds.
        choices: A ``k x d``-dim tensor of designs, or None if the space is continuous.
        X: A ``n x d``-dim tensor of the designs measured so far.
        Y: A ``n x m``-dim tensor of their outcomes, NaN where not measured.
        seed: Seed of the population on a continuous space.
        fixed_features: Columns that are held at these values in all designs, for
            example fidelities at their targets. A value measured elsewhere informs the
            model only.

    Returns:
        A ``k x d``-dim tensor of designs.

    Raises:
        BotorchTensorDimensionError: If a fixed column does not exist.
    """
    fixed, d = fixed_features or {}, bounds.shape[-1]
    with torch.no_grad():
        if choices is not None:
            choices = project_to_target_fidelity(choices, fixed, d)
            first = RowIndex(choices).find(choices)
            rows = torch.arange(len(choices), device=choices.device)
            return _front(model, choices[first == rows], X, Y)
        sobol = draw_sobol_samples(bounds, n=_NUM_SAMPLES, q=1, seed=seed)
        designs = torch.cat([X, sobol.squeeze(-2)])
        front = _front(model, project_to_target_fidelity(designs, fixed, d), X, Y)
        generator = torch.Generator().manual_seed(seed)
        step = 0.1 * (bounds[1] - bounds[0])
        for _ in range(_NUM_GENERATIONS):
            parents = front[
                torch.randint(len(front), (_NUM_SAMPLES,), generator=generator)
            ]
            noise = torch.randn(parents.shape, generator=generator).to(parents)
            children = (parents + step * noise).clamp(bounds[0], bounds[1])
            children = project_to_target_fidelity(children, fixed, d)
            front = _front(model, torch.cat([front, children]), X, Y)
            step = step / 2
        return front


def _front(model: Model, candidates: Tensor, X: Tensor, Y: Tensor) -> Tensor:
    mean, _ = marginal_moments(model, candidates)
    row = RowIndex(X).find(candidates)
    known = Y[row]
    mean = torch.where((row >= 0).unsqueeze(-1) & ~known.isnan(), known, mean)
    return candidates[front_mask(mean)]


def sample_region_designs(
    model: Model,
    space: SearchSpace,
    ref_point: Tensor,
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
    two thirds of the result are designs of the three fronts, the rest is drawn from
    those whose boxes reach the region, in the order of a low-discrepancy sequence.

    Args:
        model: A model with ``m`` outputs, maximised, whose posteriors have moments.
        space: The search space.
        ref_point: A ``m``-dim reference point below the front.
        num_designs: The largest number of designs to return.
        beta: The confidence scale of the boxes.
        objective: None, identity, or one weight per outcome (-1: minimise).
        X: A ``n x d``-dim tensor of designs measured so far.
        seed: Seed of all randomness; the global random state is untouched.

    Returns:
        A ``N x d``-dim tensor of unique designs, ``1 <= N <= num_designs``.

    Raises:
        InputDataError: If ``num_designs`` is less than 1.
    """
    if num_designs < 1:
        raise InputDataError(f"Expected num_designs >= 1, but got {num_designs}.")
    weights = separable_weights(objective, model.num_outputs).to(ref_point)
    scales = (0.0, beta**0.5, -(beta**0.5))

    def fronts(designs: Tensor) -> tuple[Tensor, ConfidenceRegion]:
        mean, variance = marginal_moments(model, designs)
        mean, variance = mean * weights, variance * weights.square()
        region = confidence_region(mean, variance, beta)
        masks = [front_mask(mean + scale * variance.sqrt()) for scale in scales]
        return torch.stack(masks).any(dim=0), region

    with torch.no_grad():
        pool = space.sample(_NUM_POOL, seed=seed)
        if X is not None:
            pool = torch.cat([space.project(X), pool])
        pool = _unique(pool)
        if space.choices is None:
            steps = [0.2 / 2**k for k in range(_NUM_REGION_GENERATIONS)]
            for k, step in enumerate(steps):
                parents = pool[fronts(pool)[0]]
                children = space.mutate(parents, _NUM_CHILDREN, step, seed=seed + k)
                pool = _unique(torch.cat([pool, children]))
        on_front, region = fronts(pool)
        return pool[_select(region, on_front, ref_point, num_designs, seed)]


def _select(
    region: ConfidenceRegion,
    on_front: Tensor,
    ref_point: Tensor,
    num_designs: int,
    seed: int,
) -> Tensor:
    """Indices of the designs to keep."""
    generator = torch.Generator().manual_seed(seed)
    useful = undominated(region.lower, region.upper)
    useful &= (region.upper > ref_point).all(dim=-1)
    front = (on_front & useful).nonzero().squeeze(-1)
    rest = (~on_front & useful).nonzero().squeeze(-1)
    if len(front) + len(rest) == 0:  # nothing reaches the reference point: the nearest
        excess = (region.upper - ref_point).amin(dim=-1)
        return excess.topk(min(num_designs, len(excess))).indices
    num_front = max(num_designs - len(rest), -(-2 * num_designs // 3))
    front = front[torch.randperm(len(front), generator=generator)[:num_front]]
    num_rest = num_designs - len(front)
    rest = rest[torch.randperm(len(rest), generator=generator)[:num_rest]]
    return torch.cat([front, rest])


def _unique(X: Tensor) -> Tensor:
    """Rows without repetitions, in their order."""
    return X[RowIndex(X).find(X) == torch.arange(len(X), device=X.device)]
