r"""Designs to refine from, and refinement on separate columns of many values."""

from __future__ import annotations

import torch
from botorch.acquisition.analytic import PosteriorMean
from botorch.models.deterministic import GenericDeterministicModel
from torch import Tensor

from botorch_flexibo.optim import SearchOptions, SearchSpace
from botorch_flexibo.optim._refinement import refine, spread

BOUNDS = torch.tensor([[0.0, 0.0], [1.0, 40.0]], dtype=torch.float64)
OPTIMUM = torch.tensor([0.31, 17.4], dtype=torch.float64)
SCALE = torch.tensor([1.0, 40.0], dtype=torch.float64)


def hill(X: Tensor) -> Tensor:
    return -((X - OPTIMUM) / SCALE).square().sum(dim=-1, keepdim=True)


def hill_acqf(evaluated: list[Tensor] | None = None) -> PosteriorMean:
    def f(X: Tensor) -> Tensor:
        if evaluated is not None:
            evaluated.append(X.detach().reshape(-1, 2))
        return hill(X)

    return PosteriorMean(GenericDeterministicModel(f))


def test_every_start_is_refined_to_an_allowed_value_with_the_value_there() -> None:
    space = SearchSpace(BOUNDS, discrete_dims={1: range(41)})
    starts = torch.tensor([[0.9, 3.0], [0.1, 39.0]], dtype=torch.float64)
    evaluated: list[Tensor] = []
    X, values = refine(
        hill_acqf(evaluated), starts, space=space, options=SearchOptions()
    )
    expected = torch.tensor([[0.31, 17.0]] * 2, dtype=torch.float64)
    assert torch.equal(X[:, 1], expected[:, 1])
    assert torch.allclose(X, expected, atol=1e-4)
    assert torch.allclose(values, hill(X).squeeze(-1))
    # Between the allowed values gradients lead on.
    between = torch.cat(evaluated)[:, 1] % 1 > 0
    assert between.any()


def test_designs_to_start_from_are_apart_and_the_best_comes_first() -> None:
    X = torch.rand(200, 2, generator=torch.Generator().manual_seed(0)) * SCALE
    values = hill(X).squeeze(-1)
    chosen = spread(X.double(), values, BOUNDS, 4)
    assert torch.equal(chosen[0], X[values.argmax()].double())
    gaps = torch.pdist(chosen / SCALE)
    assert len(chosen) == 4
    assert gaps.min() >= 0.05 * 2**0.5


def test_a_column_without_width_keeps_designs_apart() -> None:
    """Its difference over its width is not a number: all looked far apart."""
    bounds = torch.tensor([[0.0, 2.0], [1.0, 2.0]], dtype=torch.float64)
    X = torch.linspace(0.0, 1.0, 101, dtype=torch.float64)[:, None]
    X = torch.cat([X, torch.full_like(X, 2.0)], dim=-1)
    chosen = spread(X, -X[:, 0], bounds, 4)
    assert torch.pdist(chosen[:, :1]).min() >= 0.05 * 2**0.5 - 1e-9


def test_values_that_are_not_finite_are_not_refined() -> None:
    X = torch.rand(20, 2, generator=torch.Generator().manual_seed(0)).double()
    assert len(spread(X, torch.full((20,), -torch.inf), BOUNDS, 4)) == 0
