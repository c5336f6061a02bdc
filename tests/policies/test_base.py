r"""What a policy is told."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
import torch
from botorch.exceptions.errors import CandidateGenerationError
from botorch.models.cost import FixedCostModel
from botorch.models.deterministic import GenericDeterministicModel
from botorch.models.model import ModelList
from torch import Tensor

from botorch_flexibo import (
    AcquisitionPolicy,
    CoupledPolicy,
    FlexiBOFactory,
    InvalidCostError,
    LookaheadFactory,
    PABOPolicy,
    RandomPolicy,
    VariancePerCostPolicy,
)
from botorch_flexibo.failures import Failures
from botorch_flexibo.optim import EvaluationRequest, SearchSpace
from botorch_flexibo.policies import (
    DecoupledState,
    DiscretizedPolicy,
    HVKGFactory,
    IntersectedFlexiBOFactory,
    LinearKGFactory,
    Policy,
)

X = torch.tensor([[0.0, 0.0], [0.5, 1.0], [1.0, 0.25]], dtype=torch.float64)
NAN = math.nan
Y = torch.tensor([[1.0, NAN], [NAN, NAN], [3.0, -4.0]], dtype=torch.float64)


def state(costs: Any = (10.0, 1.0), **changes: Any) -> DecoupledState:
    if not callable(costs):
        cost_model = FixedCostModel(torch.tensor(costs, dtype=torch.float64))
    else:
        cost_model = GenericDeterministicModel(costs, num_outputs=2)
    values = {
        "X": X,
        "Y": Y,
        "space": SearchSpace(
            torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
        ),
        "ref_point": torch.zeros(2, dtype=torch.float64),
        "cost_model": cost_model,
    }
    return DecoupledState(**(values | changes))


def test_measured_is_true_where_a_value_is_known() -> None:
    expected = [[True, False], [False, False], [True, True]]
    assert state().measured.tolist() == expected


def test_known_outcomes_are_the_measured_values_and_nan_elsewhere() -> None:
    # A measured design, one that differs in the last bit only, one never seen, twice
    # the same.
    near = X[2].clone()
    near[0] -= 2**-53
    asked = torch.stack([X[2], near, torch.tensor([0.3, 0.3]).to(X), X[0], X[0]])
    known = state().known_outcomes(asked)
    assert known.dtype == torch.float64
    assert known.nan_to_num(nan=99.0).tolist() == [
        [3.0, -4.0],
        [99.0, 99.0],
        [99.0, 99.0],
        [1.0, 99.0],
        [1.0, 99.0],
    ]


def test_known_outcomes_of_measured_designs_are_the_table() -> None:
    known = state().known_outcomes(X)
    assert torch.equal(known.isnan(), Y.isnan())
    assert torch.equal(known.nan_to_num(), Y.nan_to_num())


def test_nothing_is_known_before_the_first_measurement() -> None:
    empty = state(X=X[:0], Y=Y[:0])
    assert empty.measured.shape == (0, 2)
    assert empty.known_outcomes(X).isnan().all()


def test_variances_are_those_of_known_values_and_one_where_there_is_no_spread() -> None:
    values = torch.tensor([[3.0, 6.0, torch.nan], [9.0, torch.nan, torch.nan]])
    X = torch.rand(2, 2, dtype=torch.float64)
    three = state((1.0, 1.0, 1.0), X=X, Y=values.double())
    assert three.outcome_variances().tolist() == [9.0, 1.0, 1.0]


def test_outcome_costs_are_the_means_of_the_cost_model() -> None:
    assert state().outcome_costs(X).tolist() == [[10.0, 1.0]] * 3

    def per_design(X: Tensor) -> Tensor:
        return torch.cat([5 + X[..., :1], 1 + 2 * X[..., 1:]], dim=-1)

    costs = state(per_design).outcome_costs(X)
    assert costs.tolist() == [[5.0, 1.0], [5.5, 3.0], [6.0, 1.5]]


@pytest.mark.parametrize("bad", [0.0, -1.0, math.inf, NAN])
def test_costs_that_cannot_be_compared_are_refused(bad: float) -> None:
    def one_bad(X: Tensor) -> Tensor:
        costs = torch.ones(*X.shape[:-1], 2, dtype=X.dtype)
        costs[-1, 0] = bad
        return costs

    with pytest.raises(InvalidCostError, match="positive and finite"):
        state(one_bad).outcome_costs(X)


def test_a_state_cannot_be_changed_by_a_policy() -> None:
    with pytest.raises(FrozenInstanceError, match="cannot assign"):
        state().max_cost = 1.0  # pyright: ignore[reportAttributeAccessIssue]


def test_the_base_class_demands_a_call() -> None:
    class Silent(Policy):
        pass

    with pytest.raises(TypeError, match="abstract"):
        Silent()  # pyright: ignore[reportAbstractUsage]

    class First(Policy):
        def __call__(
            self, model: ModelList, state: DecoupledState
        ) -> EvaluationRequest:
            return EvaluationRequest(state.X[:1], torch.tensor([[True, False]]))

    assert First()(ModelList(), state()).X.tolist() == [[0.0, 0.0]]


# --- what may be asked for ------------------------------------------------------------


def failed(**changes: Any) -> Failures:
    values: dict[str, Any] = {
        "X": torch.tensor([[0.0, 0.0], [0.25, 0.25]], dtype=torch.float64),
        "counts": torch.tensor([[0, 2], [1, 2]]),
        "max_attempts": 2,
        "closed": torch.tensor([False, False]),
    }
    return Failures(**(values | changes))


def test_what_is_measured_pending_or_given_up_is_not_open() -> None:
    new = torch.tensor([[0.25, 0.25], [0.75, 0.5]], dtype=torch.float64)
    asked = torch.cat([X, new])
    everything_else = [[False, True], [True, True], [False, False]]
    assert state().open_outcomes(asked).tolist() == everything_else + [[True, True]] * 2
    # The last one is being measured twice, on one outcome each time.
    twice = state(
        X_pending=torch.stack([X[1], new[1], new[1]]),
        X_pending_evaluation_mask=torch.tensor(
            [[True, False], [True, False], [False, True]]
        ),
    )
    assert twice.open_outcomes(asked).tolist() == [
        [False, True], [False, True], [False, False], [True, True], [False, False]
    ]  # fmt: skip
    without_mask = state(X_pending=new[:1])
    assert without_mask.open_outcomes(new).tolist() == [[False, False], [True, True]]
    given_up = state(failures=failed())
    assert given_up.open_outcomes(asked).tolist() == [
        [False, False], [True, True], [False, False], [True, False], [True, True]
    ]  # fmt: skip
    closed = state(failures=failed(closed=torch.tensor([True, False])))
    assert not closed.open_outcomes(asked)[:, 0].any()


def test_masks_are_open_without_their_closed_outcomes() -> None:
    masks = torch.tensor([[True, True], [True, False]])
    assert state().open_masks(masks) is masks
    assert state().open_masks(None) is None
    closed = state(failures=failed(closed=torch.tensor([True, False])))
    for asked in (masks, None):
        assert closed.open_masks(asked).tolist() == [[False, True]]  # pyright: ignore
    with pytest.raises(CandidateGenerationError, match="closed"):
        closed.open_masks(masks[1:])


# --- checkpoints ----------------------------------------------------------------------


def test_policies_have_a_memory_unless_they_are_known_to_have_none() -> None:
    flexibo = AcquisitionPolicy(FlexiBOFactory())
    memoryless = [
        RandomPolicy(),
        flexibo,
        AcquisitionPolicy(LookaheadFactory()),
        AcquisitionPolicy(HVKGFactory()),
        AcquisitionPolicy(LinearKGFactory()),
        CoupledPolicy(),
        VariancePerCostPolicy(),
        DiscretizedPolicy(flexibo),
    ]
    assert [policy.has_memory for policy in memoryless] == [False] * len(memoryless)
    intersected = AcquisitionPolicy(IntersectedFlexiBOFactory(FlexiBOFactory()))
    coupled = CoupledPolicy(lambda model, state: model)  # pyright: ignore
    remembering = [
        PABOPolicy(),
        intersected,
        DiscretizedPolicy(intersected),
        coupled,
        VariancePerCostPolicy(coupled),
    ]
    assert [policy.has_memory for policy in remembering] == [True] * len(remembering)


def test_names_tell_what_a_policy_is_made_of() -> None:
    policy = DiscretizedPolicy(AcquisitionPolicy(FlexiBOFactory(), q=3), 50)
    assert (
        policy.name == "DiscretizedPolicy(AcquisitionPolicy(FlexiBOFactory, q=3), 50)"
    )
    assert PABOPolicy().name == "PABOPolicy"
    coupled = "CoupledPolicy(qlognehvi_factory, q=1)"
    assert VariancePerCostPolicy().name == f"VariancePerCostPolicy({coupled})"
