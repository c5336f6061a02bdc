r"""Random search: what its masks cost, and which it refuses; more in test_baselines."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from botorch.exceptions.errors import BotorchTensorDimensionError, InputDataError
from botorch.models.cost import FixedCostModel
from botorch.models.model import ModelList

from botorch_flexibo import (
    CoupledPolicy,
    InitialDesign,
    RandomPolicy,
    fit_decoupled_model,
    run_decoupled_optimization,
)
from botorch_flexibo.models import SetupCostModel
from botorch_flexibo.optim import SearchSpace
from botorch_flexibo.policies import DecoupledState
from botorch_flexibo.test_functions import DecoupledBraninCurrin
from tests.runs import FaultyTable

PROBLEM = DecoupledBraninCurrin()
BOTH = torch.tensor([[True, True]])


def state(**options: object) -> DecoupledState:
    X = PROBLEM.discretize(12, seed=3)
    Y = PROBLEM(X[:6])
    Y[4:, 1] = math.nan
    known = DecoupledState(
        X=X[:6],
        Y=Y,
        space=SearchSpace(PROBLEM.bounds, X),
        ref_point=Y[:4].amin(dim=0) - 1,
        cost_model=SetupCostModel(
            FixedCostModel(torch.tensor([2.0, 1.0]).double()),
            FixedCostModel(torch.tensor([10.0]).double()),
            X_paid=X[:6],
        ),
    )
    return replace(known, **options)


@pytest.mark.parametrize("policy", ["random", "coupled"])
def test_a_set_up_that_outcomes_share_is_counted_once(policy: str) -> None:
    if policy == "random":
        request = RandomPolicy(BOTH)(ModelList(), state(max_cost=13.0))
    else:
        known = state(max_cost=13.0)
        model = fit_decoupled_model(known.X, known.Y, bounds=PROBLEM.bounds)
        known = known.with_choices(known.space.choices[6:])
        request = CoupledPolicy()(model, known)
    assert request.evaluation_mask.tolist() == BOTH.tolist()
    assert request.cost is not None
    assert request.cost.tolist() == [13.0]


@pytest.mark.parametrize(
    "policy", [RandomPolicy(BOTH), CoupledPolicy(max_candidates=8)]
)
def test_a_strict_budget_pays_as_many_designs_as_it_can(
    policy: RandomPolicy | CoupledPolicy,
) -> None:
    class WithTraining(FaultyTable):
        def setup_cost(self, X: torch.Tensor) -> torch.Tensor:
            return torch.full(X.shape[:-1], 10.0, dtype=X.dtype)

        def cost(self, X: torch.Tensor) -> torch.Tensor:
            return torch.tensor([2.0, 1.0], dtype=X.dtype).expand(*X.shape[:-1], 2)

    history = run_decoupled_optimization(
        WithTraining(),
        policy,
        budget=6 * 13.0,
        initial_design=InitialDesign(4),
        cost_model=SetupCostModel(
            FixedCostModel(torch.tensor([2.0, 1.0]).double()),
            FixedCostModel(torch.tensor([10.0]).double()),
        ),
        strict=True,
    )
    assert history.total_cost == 6 * 13.0
    assert history.to_pandas()["predicted_cost"].tolist() == [13.0] * 6


def test_costs_in_single_precision_are_costs_too() -> None:
    request = RandomPolicy()(
        ModelList(), state(cost_model=FixedCostModel(torch.tensor([10.0, 1.0])))
    )
    assert request.cost is not None
    assert request.cost.item() in (10.0, 1.0)


def test_masks_that_ask_for_nothing_or_for_other_outcomes_are_refused() -> None:
    with pytest.raises(InputDataError, match=r"^Expected at least one mask, each with"):
        RandomPolicy(torch.tensor([[True, True], [False, False]]))
    with pytest.raises(
        InputDataError, match=r"^Expected evaluation_masks to be a bool"
    ):
        RandomPolicy(torch.ones(1, 2))
    with pytest.raises(BotorchTensorDimensionError, match=r"be `k x m`, but got shape"):
        RandomPolicy(torch.tensor([True, True]))
    wide = RandomPolicy(torch.ones(1, 3, dtype=torch.bool))
    with pytest.raises(BotorchTensorDimensionError, match=r"be `k x 2`, but got shape"):
        wide(ModelList(), state())
