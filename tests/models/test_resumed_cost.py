from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from botorch.exceptions.errors import BotorchTensorDimensionError, InputDataError
from torch import Tensor

from botorch_flexibo.models import (
    CostModel,
    LogNormalCostModel,
    PaidCosts,
    ResumedCostModel,
)
from botorch_flexibo.models.cost import predicted_costs


class Rates(CostModel):
    """Two seconds per epoch and a tenth of a second."""

    _num_outputs = 2

    def forward(self, X: Tensor) -> Tensor:
        return torch.stack([2 + 0 * X[..., 0], 0.1 + 0 * X[..., 0]], dim=-1)


def resumed(rates: CostModel | None = None) -> ResumedCostModel:
    return ResumedCostModel(
        Rates() if rates is None else rates,
        fidelity=1,
        amounts=(1, 3, 9),
        resumed_outcomes=torch.tensor([True, False]),
        read_off_cost=0.5,
    )


def test_believed_cost_is_that_of_the_epochs_that_are_missing() -> None:
    nan = math.nan
    X = torch.tensor([[0.1, 0.0], [0.1, 1.0], [0.1, 2.0], [0.7, 2.0]]).double()
    model = resumed()
    assert model(X).tolist() == [[2, 0.1], [6, 0.1], [18, 0.1], [18, 0.1]]
    paid = PaidCosts(
        X[[1, 2]],
        torch.tensor([[6.0, nan], [nan, 0.1]]).double(),
        torch.full((2,), nan).double(),
    )
    known = model.update(paid)  # three epochs of the first design; no training else
    assert known(X)[:, 0].tolist() == [0.5, 0.5, 12.0, 18.0]
    assert model(X)[2, 0] == 18
    pending = known.with_pending(X[2:], torch.tensor([[True, False], [False, True]]))
    assert pending(X)[:, 0].tolist() == [0.5, 0.5, 0.5, 18.0]
    assert known(X.reshape(2, 2, 2)).shape == (2, 2, 2)
    assert torch.equal(known.update(paid)(X), known(X))


def test_rates_are_learned_from_the_further_epochs_only() -> None:
    bounds = torch.tensor([[0.0, 0.0], [1.0, 2.0]]).double()
    guess = torch.tensor([1.0, 0.1]).double()
    model = resumed(LogNormalCostModel(guess, bounds=bounds))
    X = torch.tensor([[0.2, 0.0], [0.2, 2.0], [0.2, 1.0], [0.8, 0.0]]).double()
    # Four seconds an epoch: one, eight more, nothing more, one of another design.
    costs = torch.tensor([[4.0], [32.0], [0.01], [4.0]]).double()
    nothing = torch.full_like(costs, math.nan)
    paid = PaidCosts(X, torch.cat([costs, nothing], dim=-1), nothing[:, 0])
    learned = model.update(paid)(torch.tensor([[0.5, 2.0]]).double())
    assert learned[0, 0].item() == pytest.approx(36, rel=0.1)
    assert learned[0, 1].item() == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"amounts": (3, 1)}, InputDataError, "ascending amounts, but got"),
        ({"amounts": (0, 1)}, InputDataError, "positive, ascending amounts"),
        ({"read_off_cost": 0.0}, InputDataError, "read_off_cost, but got 0.0"),
        (
            {"resumed_outcomes": torch.ones(3, dtype=torch.bool)},
            BotorchTensorDimensionError,
            "resumed_outcomes of shape `2`",
        ),
    ],
    ids=str,
)
def test_impossible_believed_costs_are_refused(
    change: dict[str, Any], error: type[Exception], match: str
) -> None:
    options: dict[str, Any] = {
        "fidelity": 1,
        "amounts": (1, 3),
        "resumed_outcomes": torch.tensor([True, False]),
        "read_off_cost": 0.5,
    }
    with pytest.raises(error, match=match):
        ResumedCostModel(Rates(), **(options | change))


class EqualRates(Rates):
    """Two outcomes of the same training, two and three seconds per epoch."""

    def forward(self, X: Tensor) -> Tensor:
        return torch.stack([2 + 0 * X[..., 0], 3 + 0 * X[..., 0]], dim=-1)


@pytest.mark.parametrize("batch_shape", [(), (2,), (2, 3)])
def test_a_training_is_paid_once_together_as_one_after_the_other(
    batch_shape: tuple[int, ...],
) -> None:
    model = ResumedCostModel(
        EqualRates(),
        fidelity=1,
        amounts=(1, 3, 9),
        resumed_outcomes=torch.tensor([True, True]),
        read_off_cost=0.5,
    )
    X = torch.tensor([[0.1, 2.0], [0.1, 1.0], [0.7, 1.0], [0.7, 2.0]]).double()
    mask = torch.tensor([[True, True], [False, True], [True, False], [False, True]])
    # Nine epochs and a look; a look; three epochs; six more.
    expected = [3 * 9 + 0.5, 0.5, 2 * 3, 3 * 6]
    assert predicted_costs(model, X, mask).tolist() == expected
    joint = model.joint_cost(X.expand(*batch_shape, 4, 2), mask)
    assert joint.shape == batch_shape
    assert (joint == sum(expected)).all()
    both = model.joint_cost(X[:1])
    first = model.joint_cost(X[:1], torch.tensor([[False, True]]))
    known = model.with_pending(X[:1], torch.tensor([[False, True]]))
    second = known.joint_cost(X[:1], torch.tensor([[True, False]]))
    assert both == first + second == 27.5


@pytest.mark.parametrize("together", [True, False])
def test_only_the_outcome_that_pays_a_training_tells_its_rate(together: bool) -> None:
    bounds = torch.tensor([[0.0, 0.0], [1.0, 2.0]]).double()
    model = ResumedCostModel(
        LogNormalCostModel(torch.tensor([1.0, 1.0]).double(), bounds=bounds),
        fidelity=1,
        amounts=(1, 3, 9),
        resumed_outcomes=torch.tensor([True, True]),
        read_off_cost=0.01,
    )
    X = torch.tensor([[0.1, 0.0], [0.3, 0.0], [0.5, 1.0], [0.7, 1.0]]).double()
    # Two seconds an epoch, paid by the second outcome; the first one is read off.
    costs = torch.tensor([[0.01, 2.0], [0.01, 2.0], [0.01, 6.0], [0.01, 6.0]]).double()
    if not together:
        X = X.repeat_interleave(2, dim=0)
        costs = costs.repeat_interleave(2, dim=0)
        costs[::2, 0] = costs[1::2, 1] = math.nan
    paid = PaidCosts(X, costs, torch.full((len(X),), math.nan).double())
    learned = model.update(paid)(torch.tensor([[0.9, 2.0]]).double())[0]
    assert learned[0].item() == 9  # as guessed: nobody paid a training for it
    assert learned[1].item() == pytest.approx(18, rel=0.1)


def test_the_joint_cost_of_one_resumed_outcome_is_the_sum() -> None:
    X = torch.tensor([[0.1, 2.0], [0.7, 1.0]]).double()
    mask = torch.tensor([[True, True], [False, True]])
    assert resumed().joint_cost(X, mask).item() == pytest.approx(18 + 0.1 + 0.1)
    with pytest.raises(BotorchTensorDimensionError, match="shape `2 x 2`"):
        resumed().joint_cost(X, mask[:1])


def test_trainings_are_recognised_at_full_precision() -> None:
    X = torch.tensor([[0.1, 1.0], [0.1, 2.0]], dtype=torch.float64)
    paid = PaidCosts(
        X[:1],
        torch.tensor([[6.0, math.nan]], dtype=torch.float64),
        torch.tensor([math.nan], dtype=torch.float64),
    )
    assert resumed().update(paid)(X)[:, 0].tolist() == [0.5, 12.0]
