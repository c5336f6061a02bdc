r"""Sets of designs: the front that a model identifies."""

from __future__ import annotations

import torch
from botorch.models.model import Model
from botorch.utils.sampling import draw_sobol_samples
from torch import Tensor

from botorch_flexibo.utils.fronts import front_mask
from botorch_flexibo.utils.posterior import marginal_moments
from botorch_flexibo.utils.rows import RowIndex

_NUM_SAMPLES = 1024
_NUM_GENERATIONS = 8


def identified_front(
    model: Model,
    bounds: Tensor,
    *,
    choices: Tensor | None,
    X: Tensor,
    Y: Tensor,
    seed: int,
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

    Returns:
        A ``k x d``-dim tensor of designs.
    """
    with torch.no_grad():
        if choices is not None:
            return _front(model, choices, X, Y)
        sobol = draw_sobol_samples(bounds, n=_NUM_SAMPLES, q=1, seed=seed)
        front = _front(model, torch.cat([X, sobol.squeeze(-2)]), X, Y)
        generator = torch.Generator().manual_seed(seed)
        step = 0.1 * (bounds[1] - bounds[0])
        for _ in range(_NUM_GENERATIONS):
            parents = front[
                torch.randint(len(front), (_NUM_SAMPLES,), generator=generator)
            ]
            noise = torch.randn(parents.shape, generator=generator).to(parents)
            children = (parents + step * noise).clamp(bounds[0], bounds[1])
            front = _front(model, torch.cat([front, children]), X, Y)
            step = step / 2
        return front


def _front(model: Model, candidates: Tensor, X: Tensor, Y: Tensor) -> Tensor:
    mean, _ = marginal_moments(model, candidates)
    row = RowIndex(X).find(candidates)
    known = Y[row]
    mean = torch.where((row >= 0).unsqueeze(-1) & ~known.isnan(), known, mean)
    return candidates[front_mask(mean)]
