r"""BoTorch's cost models and utilities in the place of this package's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from botorch.acquisition.cost_aware import InverseCostWeightedUtility
from botorch.acquisition.multi_objective import qHypervolumeKnowledgeGradient
from botorch.models.cost import FixedCostModel
from botorch.models.deterministic import GenericDeterministicModel
from botorch.models.model import Model, ModelList
from botorch.utils.sampling import manual_seed
from torch import Tensor

from botorch_flexibo import (
    AcquisitionPolicy,
    DecoupledCostUtility,
    DecoupledHistory,
    FlexiBO,
    FlexiBOFactory,
    InitialDesign,
    fit_decoupled_model,
    optimize_acqf_decoupled,
    run_decoupled_optimization,
)
from botorch_flexibo.optim import SearchOptions, SearchSpace
from botorch_flexibo.policies import DecoupledState
from botorch_flexibo.test_functions import DecoupledBraninCurrin
from botorch_flexibo.utils.fronts import hypervolume


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
            space=SearchSpace(PROBLEM.bounds, choices),
            ref_point=Y.amin(dim=0),
            cost_model=cost_model,
        )
        request = AcquisitionPolicy(FlexiBOFactory(), q=8)(model, state)
        chosen.append(request.X[:, 0].mean().item())
    assert chosen[1] < chosen[0] - 0.1


def steep_costs() -> GenericDeterministicModel:
    return GenericDeterministicModel(
        lambda X: (8 * X[..., :1]).exp().expand(*X.shape[:-1], 2), num_outputs=2
    )


# Hypervolume knowledge gradient, a one-shot acquisition function ----------------------

FEW = SearchOptions(raw_samples=16, num_restarts=1, maxiter=8)
# BoTorch 0.18.1: fantasize() with a mask conditions on X without a sample dimension.
fantasies = pytest.mark.filterwarnings(
    "ignore:Non-strict enforcement of botorch tensor conventions"
)


def knowledge_gradient(
    model: ModelList,
    ref_point: Tensor,
    cost_model: Model,
    *,
    current_value: float | None = None,
    X: Tensor | None = None,
    **kwargs: Any,
) -> qHypervolumeKnowledgeGradient:
    with manual_seed(0):  # it draws the seeds of its samplers
        value = torch.tensor(0.0 if current_value is None else current_value).double()
        if X is not None:
            value = hypervolume(model.posterior(X).mean.detach(), ref_point)
        return qHypervolumeKnowledgeGradient(
            model,
            ref_point,
            num_fantasies=2,
            num_pareto=2,
            current_value=value,
            cost_aware_utility=DecoupledCostUtility(cost_model, **kwargs),
        )


@pytest.fixture(scope="module")
def fitted() -> tuple[ModelList, Tensor]:
    X = PROBLEM.discretize(8, seed=0)
    return fit_decoupled_model(X, PROBLEM(X), bounds=PROBLEM.bounds), X


@fantasies
def test_hvkg_is_optimised_over_designs_and_masks(
    fitted: tuple[ModelList, Tensor],
) -> None:
    model, X = fitted
    acqf = knowledge_gradient(model, PROBLEM.ref_point, fixed_costs(10.0, 1.0), X=X)
    state = torch.get_rng_state()
    request, again = (
        optimize_acqf_decoupled(acqf, PROBLEM.bounds, q=q, options=FEW) for q in (2, 1)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert request.X.shape == (2, 2)  # the fantasies' designs are left out
    assert (request.X >= PROBLEM.bounds[0]).all()
    assert (request.X <= PROBLEM.bounds[1]).all()
    assert not request.X.requires_grad
    costs = torch.tensor([10.0, 1.0], dtype=torch.float64)
    assert request.cost is not None
    assert request.acq_value is not None
    assert torch.equal(request.cost, request.evaluation_mask.double() @ costs)
    assert request.acq_value.isfinite().all()
    for one, other in zip(request, again, strict=True):
        assert torch.equal(one[:1], other)
    assert acqf.X_pending is None
    assert acqf.X_evaluation_mask is None


@fantasies
def test_hvkg_pays_for_a_decision_once(fitted: tuple[ModelList, Tensor]) -> None:
    model, _ = fitted
    acqf = knowledge_gradient(
        model, PROBLEM.ref_point, fixed_costs(10.0, 1.0), decision_cost=1e6
    )
    request = optimize_acqf_decoupled(acqf, PROBLEM.bounds, q=2, options=FEW)
    assert request.cost is not None
    assert request.acq_value is not None
    assert request.cost.max() <= 10.0
    # Without a current value both are of the same size, but for what they cost.
    assert request.acq_value[1] > 1e4 * request.acq_value[0] > 0


@fantasies
@pytest.mark.parametrize("dear", [0, 1])
@pytest.mark.parametrize("current_value", [0.0, 1e9], ids=["gains", "losses"])
def test_of_two_twins_hvkg_never_prefers_the_dearer(
    current_value: float, dear: int
) -> None:
    X = PROBLEM.discretize(8, seed=0)
    y = PROBLEM(X)[:, :1]
    model = fit_decoupled_model(X, torch.cat([y, y], dim=-1), bounds=PROBLEM.bounds)
    costs = [1.0, 1.0]
    costs[dear] = 50.0
    acqf = knowledge_gradient(
        model,
        y.amin(dim=0).expand(2) - 1,
        fixed_costs(*costs),
        current_value=current_value,
    )
    request = optimize_acqf_decoupled(acqf, PROBLEM.bounds, options=FEW)
    assert request.acq_value is not None
    assert (request.acq_value > 0).item() is (current_value == 0)
    assert not request.evaluation_mask[0, dear]


@fantasies
def test_hvkg_runs_in_the_loop_on_a_continuous_space() -> None:
    def factory(
        model: ModelList, state: DecoupledState
    ) -> qHypervolumeKnowledgeGradient:
        return knowledge_gradient(model, state.ref_point, state.cost_model, X=state.X)

    history = run_decoupled_optimization(
        PROBLEM,
        AcquisitionPolicy(factory, options=FEW),
        budget=1e6,
        initial_design=InitialDesign(6),
        cost_model=fixed_costs(10.0, 1.0),
        callbacks=[stop_after(2)],
    )
    requests = [record for record in history.records if record.decision > 0]
    assert len(requests) == 2
    assert all(sum(record.measured) == 1 for record in requests)
    assert (history.X >= 0).all()
    assert (history.X <= 1).all()
    pairs = [(r.design, r.measured) for r in requests]
    assert len(set(pairs)) == 2
