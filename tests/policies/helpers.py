r"""A model, a state and spaces that tests of policies share."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from botorch.models import ModelListGP
from botorch.models.cost import FixedCostModel
from torch import Tensor

from botorch_flexibo import fit_decoupled_model
from botorch_flexibo.optim import SearchSpace
from botorch_flexibo.policies import DecoupledState
from botorch_flexibo.test_functions import DecoupledBraninCurrin

Fitted = tuple[ModelListGP, DecoupledState]
Pair = tuple[tuple[float, ...], int]

PROBLEM = DecoupledBraninCurrin()
# The candidates include designs of the baseline and, in batches, pending ones. Their
# joint covariance is singular, to which linear_operator adds jitter with a warning.
SINGULAR = pytest.mark.filterwarnings(
    "ignore:A not p.d., added jitter:linear_operator.utils.warnings.NumericalWarning"
)


LEVELS = [0.0, 0.5, 1.0]
# 9 designs, 10,201 (too many for a list), and infinitely many.
SEPARATE = {
    "few": SearchSpace(PROBLEM.bounds, discrete_dims={0: LEVELS, 1: LEVELS}),
    "many": SearchSpace(
        PROBLEM.bounds, discrete_dims=dict.fromkeys((0, 1), np.linspace(0, 1, 101))
    ),
    "mixed": SearchSpace(PROBLEM.bounds, cat_dims={0: LEVELS}),
    "constrained": SearchSpace(
        PROBLEM.bounds,
        discrete_dims={0: LEVELS},
        inequality_constraints=[(torch.tensor([1]), torch.ones(1).double(), 0.95)],
    ),
}
ON_SEPARATE = pytest.mark.parametrize("space", SEPARATE.values(), ids=SEPARATE)


def fixed_costs(*costs: float) -> FixedCostModel:
    return FixedCostModel(torch.tensor(costs, dtype=torch.float64))


def fitted_state(num_choices: int = 20, **changes: object) -> Fitted:
    """Eight designs measured, four of them on one outcome only."""
    choices = PROBLEM.discretize(num_choices, seed=3)
    X = choices[:8]
    Y = PROBLEM(X)
    Y[6:, 0] = math.nan
    Y[:2, 1] = math.nan
    state = DecoupledState(
        X=X,
        Y=Y,
        space=SearchSpace(PROBLEM.bounds, choices),
        # Below all outcomes, so that every design can gain something.
        ref_point=PROBLEM(choices).amin(dim=0) - 1,
        cost_model=fixed_costs(10.0, 1.0),
        seed=5,
    )
    model = fit_decoupled_model(X, Y, bounds=PROBLEM.bounds)
    return model, replace(state, **changes)


def told(
    state: DecoupledState,
    X: Tensor,
    mask: Tensor,
    values: Callable[[Tensor], Tensor] = PROBLEM,
) -> DecoupledState:
    """The state after the true values of a request came in."""
    X_all, Y_all = state.X, state.Y.clone()
    for x, y, measured in zip(X, values(X), mask, strict=True):
        rows = (X_all == x).all(dim=-1).nonzero().flatten().tolist()
        if not rows:
            X_all = torch.cat([X_all, x.unsqueeze(0)])
            Y_all = torch.cat([Y_all, torch.full_like(Y_all[:1], math.nan)])
            rows = [len(X_all) - 1]
        Y_all[rows[0], measured] = y[measured]
    return replace(state, X=X_all, Y=Y_all)


def pairs(X: Tensor, mask: Tensor) -> list[Pair]:
    return [(tuple(X[k].tolist()), int(i)) for k, i in mask.nonzero().tolist()]


def missing_pairs(state: DecoupledState) -> set[Pair]:
    assert state.choices is not None
    known = set(pairs(state.X, state.measured))
    every = torch.ones(len(state.choices), state.Y.shape[-1], dtype=torch.bool)
    return set(pairs(state.choices, every)) - known


def half_known(state: DecoupledState, space: SearchSpace) -> DecoupledState:
    """What is drawn first is measured, and one more design on its first outcome."""
    X = torch.cat([space.sample(1, seed=state.seed), space.sample(9, seed=4)])
    X = X[[0, int((X != X[0]).any(dim=-1).to(torch.int8).argmax())]]
    Y = PROBLEM(X)
    Y[1, 1] = math.nan
    return replace(state, X=X, Y=Y, space=space)
