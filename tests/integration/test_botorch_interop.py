r"""BoTorch's cost models and utilities in the place of this package's own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from botorch.acquisition.cost_aware import InverseCostWeightedUtility
from botorch.models.cost import FixedCostModel
from botorch.models.deterministic import GenericDeterministicModel
from botorch.models.model import Model, ModelList
from torch import Tensor

from botorch_flexibo import (
    AcquisitionPolicy,
    DecoupledCostUtility,
    DecoupledHistory,
    FlexiBO,
    FlexiBOFactory,
    InitialDesign,
    fit_decoupled_model,
    run_decoupled_optimization,
)
from botorch_flexibo.policies import DecoupledState
from botorch_flexibo.test_functions import DecoupledBraninCurrin


class LowReference(DecoupledBraninCurrin):
    """Every design counts, so that FlexiBO finds something to gain from the start."""

    _ref_point = [310.0, 15.0]


PROBLEM = LowReference(costs=(10.0, 1.0))


def fixed_costs(*costs: float) -> FixedCostModel:
    return FixedCostModel(torch.tensor(costs, dtype=torch.float64))


def slope(X: Tensor) -> Tensor:
    """Costs that depend on the design, 2 to 12 and 1 to 3."""
    return torch.stack([2 + 10 * X[..., 0], 1 + 2 * X[..., 1]], dim=-1)


def generic_costs() -> GenericDeterministicModel:
    return GenericDeterministicModel(slope, num_outputs=2)


def stop_after(num_decisions: int) -> Callable[[DecoupledHistory], bool]:
    return lambda history: history.records[-1].decision >= num_decisions


def later_measurements(costs: tuple[float, float]) -> list[int]:
    """How often each outcome is measured in 14 decisions after the same start."""
    problem = LowReference(costs=costs)
    history = run_decoupled_optimization(
        problem,
        AcquisitionPolicy(FlexiBOFactory()),
        budget=1e6,
        initial_design=InitialDesign(6),
        cost_model=fixed_costs(*costs),
        choices=problem.discretize(60, seed=1),
        callbacks=[stop_after(14)],
    )
    masks = [record.measured for record in history.records if record.decision > 0]
    return torch.tensor(masks).sum(dim=0).tolist()


def test_a_hundredfold_cost_moves_the_choices_away_from_that_outcome() -> None:
    even = later_measurements((1.0, 1.0))
    dear_first = later_measurements((100.0, 1.0))
    dear_second = later_measurements((1.0, 100.0))
    assert sum(even) == sum(dear_first) == sum(dear_second) == 14
    assert min(even) > 2
    assert dear_first[0] < even[0]
    assert dear_second[1] < even[1]


def test_a_common_factor_of_all_costs_changes_no_choice() -> None:
    assert later_measurements((5.0, 1.0)) == later_measurements((500.0, 100.0))


@pytest.mark.parametrize(
    "cost_model", [fixed_costs(10.0, 1.0), generic_costs()], ids=["fixed", "generic"]
)
def test_botorchs_utility_gives_equal_values_for_one_outcome_at_a_time(
    cost_model: Model,
) -> None:
    X = PROBLEM.discretize(10, seed=0)
    Y = PROBLEM(X)
    model = fit_decoupled_model(X, Y, bounds=PROBLEM.bounds)
    designs = PROBLEM.discretize(40, seed=1)
    values = []
    for utility in (
        DecoupledCostUtility(cost_model),
        InverseCostWeightedUtility(cost_model),
    ):
        acqf = FlexiBO(model, Y.amin(dim=0), designs, cost_aware_utility=utility)
        for mask in ([[True, False]], [[False, True]]):
            acqf.X_evaluation_mask = torch.tensor(mask)
            # Designs of the set and others.
            others = PROBLEM.discretize(20, seed=2)
            values.append(acqf(torch.cat([designs, others]).unsqueeze(-2)))
    for ours, botorchs in zip(values[:2], values[2:], strict=True):
        assert (ours > 0).sum() > 5
        assert torch.allclose(ours, botorchs, rtol=1e-9)


def test_botorchs_utility_makes_the_same_requests_in_the_loop() -> None:
    def with_botorchs_utility(model: ModelList, state: DecoupledState) -> FlexiBO:
        acqf = FlexiBOFactory(beta=1.0)(model, state)
        acqf.cost_aware_utility = InverseCostWeightedUtility(state.cost_model)
        return acqf

    asked = []
    for factory in (FlexiBOFactory(beta=1.0), with_botorchs_utility):
        history = run_decoupled_optimization(
            PROBLEM,
            AcquisitionPolicy(factory),
            budget=1e6,
            initial_design=InitialDesign(6),
            cost_model=generic_costs(),
            choices=PROBLEM.discretize(60, seed=1),
            callbacks=[stop_after(6)],
        )
        asked.append(
            [(history.X[r.design].tolist(), r.measured) for r in history.records]
        )
    assert asked[0] == asked[1]
    assert len(asked[0]) == 12


def test_a_generic_deterministic_model_of_cost_works_in_the_loop() -> None:
    cost_model = generic_costs()
    history = run_decoupled_optimization(
        PROBLEM,
        AcquisitionPolicy(FlexiBOFactory(), q=2),
        budget=100.0,
        initial_design=InitialDesign(8, num_complete=6),
        cost_model=cost_model,
        choices=PROBLEM.discretize(60, seed=1),
    )
    assert len(history.records) > 8
    for record in history.records:
        mask = torch.tensor(record.measured)
        believed = slope(history.X[record.design])[mask].sum().item()
        assert record.predicted_cost == pytest.approx(believed)
    # By its means over the designs the second outcome is the cheap one.
    assert [r.measured for r in history.records[6:8]] == [(False, True)] * 2


def test_of_two_equal_outcomes_the_design_with_the_lower_cost_is_measured() -> None:
    # The same model and box everywhere, costs that grow along the first input.
    X = PROBLEM.discretize(8, seed=0)
    Y = PROBLEM(X)
    model = fit_decoupled_model(X, Y, bounds=PROBLEM.bounds)
    choices = PROBLEM.discretize(60, seed=1)
    chosen = []
    for cost_model in (fixed_costs(1.0, 1.0), steep_costs()):
        state = DecoupledState(
            X=X,
            Y=Y,
            bounds=PROBLEM.bounds,
            ref_point=Y.amin(dim=0),
            cost_model=cost_model,
            choices=choices,
        )
        request = AcquisitionPolicy(FlexiBOFactory(), q=8)(model, state)
        chosen.append(request.X[:, 0].mean().item())
    assert chosen[1] < chosen[0] - 0.1


def steep_costs() -> GenericDeterministicModel:
    return GenericDeterministicModel(
        lambda X: (8 * X[..., :1]).exp().expand(*X.shape[:-1], 2), num_outputs=2
    )
