r"""Costs per success against their definition and against simulated attempts."""

from __future__ import annotations

import pytest
import torch
from botorch.exceptions.errors import BotorchTensorDimensionError, InputDataError
from botorch.models.cost import FixedCostModel
from torch import Tensor

from botorch_flexibo.models import (
    LogNormalCostModel,
    PaidCosts,
    SetupCostModel,
    UnreliableCostModel,
)
from botorch_flexibo.models.cost import predicted_costs

X = torch.tensor([[0.25], [0.5], [0.5]], dtype=torch.float64)
BOTH = torch.tensor([[True, True]])


def fixed(*costs: float) -> FixedCostModel:
    return FixedCostModel(torch.tensor(costs, dtype=torch.float64))


def counts(*numbers: int) -> Tensor:
    return torch.tensor(numbers)


def trained() -> SetupCostModel:
    return SetupCostModel(fixed(2.0, 1.0), fixed(10.0))


def test_an_outcome_costs_attempts_per_success_times_as_much() -> None:
    model = UnreliableCostModel(
        fixed(7.0, 3.0), attempts=counts(9, 4), successes=counts(1, 4)
    )
    assert model(X).tolist() == [[35.0, 3.0]] * 3
    mask = torch.tensor([[True, False], [True, True], [False, True]])
    assert predicted_costs(model, X, mask).tolist() == [35.0, 38.0, 3.0]


def test_the_factor_approaches_the_expected_number_of_attempts() -> None:
    generator = torch.Generator().manual_seed(0)
    succeeds = torch.rand(100_000, generator=generator) < 0.2
    model = UnreliableCostModel(
        fixed(1.0), attempts=counts(len(succeeds)), successes=succeeds.sum().reshape(1)
    )
    assert float(model(X)[0, 0]) == pytest.approx(5.0, rel=0.02)


def test_without_failures_costs_are_exactly_those_of_the_model() -> None:
    plain = trained()
    model = UnreliableCostModel(plain, attempts=counts(3, 5), successes=counts(3, 5))
    for mask in (BOTH, BOTH & counts(1, 0).bool(), BOTH & counts(0, 1).bool()):
        assert torch.equal(model(X), plain(X))
        cost = model.joint_cost(X[:1], mask)
        assert torch.equal(cost, plain.joint_cost(X[:1], mask))


def test_what_outcomes_share_is_still_shared() -> None:
    model = UnreliableCostModel(
        trained(), attempts=counts(3, 3), successes=counts(1, 1)
    )
    assert model(X[:1]).tolist() == [[24.0, 22.0]]
    # 2 + 1 + 10 together, twice.
    assert model.joint_cost(X[:1], BOTH).item() == pytest.approx(26.0)
    set_up = model.with_pending(X[:1], BOTH)
    assert set_up(X[:2]).tolist() == [[4.0, 2.0], [24.0, 22.0]]


def test_a_joint_cost_lies_between_those_of_its_factors() -> None:
    model = UnreliableCostModel(
        trained(), attempts=counts(3, 3), successes=counts(1, 3)
    )
    joint = model.joint_cost(X[:1], BOTH).item()
    assert 13.0 < joint < 26.0
    # Weighted by what each costs alone: 12 and 11.
    assert joint == pytest.approx(13.0 * (12 * 2 + 11) / (12 + 11))


def test_nothing_measured_costs_nothing() -> None:
    model = UnreliableCostModel(
        trained(), attempts=counts(3, 3), successes=counts(1, 3)
    )
    assert model.joint_cost(X[:1], ~BOTH).item() == 0.0


def test_what_is_given_up_sets_nothing_up() -> None:
    model = UnreliableCostModel(
        trained(),
        attempts=counts(1, 1),
        successes=counts(1, 1),
        X_failed=X[:2],
        X_failed_evaluation_mask=torch.tensor([[True, True], [True, False]]),
    )
    pending = model.with_pending(X[:2], torch.tensor([[True, True], [True, False]]))
    assert torch.equal(pending(X), model(X))
    pending = model.with_pending(X[:2], torch.tensor([[True, True], [True, True]]))
    assert pending(X).tolist() == [[12.0, 11.0], [2.0, 1.0], [2.0, 1.0]]


def test_payments_are_learned_and_counts_kept() -> None:
    bounds = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    plain = LogNormalCostModel(torch.tensor([10.0, 1.0]).double(), bounds=bounds)
    model = UnreliableCostModel(plain, attempts=counts(3, 1), successes=counts(1, 1))
    paid = PaidCosts(
        X, torch.tensor([[20.0, torch.nan]] * 3).double(), torch.full((3,), torch.nan)
    )
    learned = model.update(paid)
    assert torch.equal(learned(X), 2 ** counts(1, 0) * plain.update(paid)(X))
    unlearned = UnreliableCostModel(
        fixed(1.0, 1.0), attempts=X[:2, 0], successes=X[:2, 0]
    )
    assert unlearned.update(paid) is unlearned
    assert unlearned.with_pending(X[:1], BOTH) is unlearned


@pytest.mark.parametrize(
    ("attempts", "successes", "error"),
    [
        (counts(1), counts(1, 1), BotorchTensorDimensionError),
        (counts(1, 1), counts(1), BotorchTensorDimensionError),
        (counts(1, 1), counts(2, 1), InputDataError),
        (counts(1, 1), counts(-1, 1), InputDataError),
    ],
)
def test_impossible_counts_are_refused(
    attempts: Tensor, successes: Tensor, error: type[Exception]
) -> None:
    with pytest.raises(error, match="Expected"):
        UnreliableCostModel(fixed(1.0, 1.0), attempts=attempts, successes=successes)


def test_no_failures_leave_pending_measurements_as_they_are() -> None:
    model = UnreliableCostModel(
        trained(),
        attempts=counts(1, 1),
        successes=counts(1, 1),
        X_failed=X[:0],
        X_failed_evaluation_mask=BOTH[:0],
    )
    expected = trained().with_pending(X[:1], BOTH)
    assert torch.equal(model.with_pending(X[:1], BOTH)(X), expected(X))
