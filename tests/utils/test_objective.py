r"""Weights of separable objectives."""

from __future__ import annotations

import math

import pytest
import torch
from botorch.acquisition.multi_objective.objective import (
    GenericMCMultiOutputObjective,
    IdentityMCMultiOutputObjective,
    WeightedMCMultiOutputObjective,
)
from botorch.exceptions.errors import InputDataError, UnsupportedError

from botorch_flexibo.utils.objective import separable_weights


@pytest.mark.parametrize(
    "objective",
    [
        pytest.param(None, id="none"),
        pytest.param(IdentityMCMultiOutputObjective(), id="identity"),
        pytest.param(IdentityMCMultiOutputObjective([0, 1, 2]), id="all-outcomes"),
        pytest.param(
            IdentityMCMultiOutputObjective([0, -2, -1], num_outcomes=3), id="from-end"
        ),
    ],
)
def test_objectives_without_weights_weigh_every_outcome_one(objective):
    weights = separable_weights(objective, num_outcomes=3)
    assert torch.equal(weights, torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("outcomes", [None, [0, 1]], ids=["implicit", "explicit"])
def test_weights_times_outcomes_equal_the_objective(outcomes, dtype):
    objective = WeightedMCMultiOutputObjective(
        torch.tensor([-1.0, 2.5], dtype=dtype), outcomes=outcomes
    )
    samples = torch.randn(4, 3, 2, dtype=torch.float64, generator=torch.Generator())
    weights = separable_weights(objective, num_outcomes=2)
    assert weights.dtype == torch.float64
    torch.testing.assert_close(samples * weights, objective(samples))


def test_weights_carry_no_gradient():
    weights = torch.tensor([1.0, -1.0], requires_grad=True)
    objective = WeightedMCMultiOutputObjective(weights)
    assert not separable_weights(objective, num_outcomes=2).requires_grad


def test_nonlinear_objectives_are_refused():
    objective = GenericMCMultiOutputObjective(lambda Y, X: Y.square())
    with pytest.raises(
        UnsupportedError,
        match=r"maps outcome i to objective i .* but got GenericMCMultiOutputObjective",
    ):
        separable_weights(objective, num_outcomes=2)


@pytest.mark.parametrize("outcomes", [[0, 1], [0, 2, 1], [1, 2]], ids=str)
@pytest.mark.parametrize("weighted", [False, True], ids=["identity", "weighted"])
def test_subsets_and_other_orders_of_outcomes_are_refused(weighted, outcomes):
    objective = (
        WeightedMCMultiOutputObjective(torch.ones(len(outcomes)), outcomes=outcomes)
        if weighted
        else IdentityMCMultiOutputObjective(outcomes)
    )
    with pytest.raises(
        UnsupportedError, match=r"over all 3 outcomes in their order, but got outcomes="
    ):
        separable_weights(objective, num_outcomes=3)


@pytest.mark.parametrize("count", [1, 3])
def test_another_number_of_weights_than_outcomes_is_refused(count):
    objective = WeightedMCMultiOutputObjective(torch.ones(count))
    with pytest.raises(InputDataError, match=r"Expected 2 weights, one per outcome"):
        separable_weights(objective, num_outcomes=2)


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf, -math.inf])
def test_weights_that_are_zero_or_not_finite_are_refused(value):
    objective = WeightedMCMultiOutputObjective(torch.tensor([1.0, value]))
    with pytest.raises(InputDataError, match=r"finite, non-zero weights, but got \[1"):
        separable_weights(objective, num_outcomes=2)
