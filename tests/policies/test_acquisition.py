r"""Policies that optimise a decoupled acquisition function."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from botorch.exceptions.errors import (
    CandidateGenerationError,
    InputDataError,
    UnsupportedError,
)
from botorch.models.cost import FixedCostModel
from botorch.models.deterministic import GenericDeterministicModel
from botorch.utils.multi_objective.pareto import is_non_dominated
from torch import Tensor

from botorch_flexibo import (
    AcquisitionPolicy,
    DecoupledCostUtility,
    FlexiBOFactory,
    InitialDesign,
    LogDamped,
    fit_decoupled_model,
    run_decoupled_optimization,
)
from botorch_flexibo.acquisition import unweighted
from botorch_flexibo.acquisition.lookahead import HypervolumeLoss, qFlexiBOLookahead
from botorch_flexibo.failures import Failures
from botorch_flexibo.models.cost import SetupCostModel
from botorch_flexibo.optim import SearchOptions, SearchSpace
from botorch_flexibo.policies import (
    DecoupledState,
    ExponentialBeta,
    IntersectedFlexiBOFactory,
    LookaheadFactory,
)
from botorch_flexibo.test_functions import DecoupledBraninCurrin
from tests.policies.helpers import Fitted, fitted_state, fixed_costs, pairs, told

COSTS = (10.0, 1.0)
NUM_CHOICES = 24


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    return fitted_state(NUM_CHOICES, iteration=5, seed=0)


def test_every_pair_is_proposed_exactly_once_until_none_is_left(
    fitted: Fitted,
) -> None:
    model, state = fitted
    state = state.with_choices(state.choices[4:14])
    policy = AcquisitionPolicy(FlexiBOFactory(), q=3)
    missing = {
        (tuple(x.tolist()), i)
        for x in state.choices
        for i in range(2)
        if bool(state.known_outcomes(x.unsqueeze(0))[0, i].isnan())
    }
    proposed = []
    for _ in range(math.ceil(len(missing) / 3)):
        request = policy(model, state)
        assert (request.evaluation_mask.sum(dim=-1) == 1).all()
        proposed += pairs(request.X, request.evaluation_mask)
        state = told(state, request.X, request.evaluation_mask)
    assert len(proposed) == len(missing) == 14
    assert set(proposed) == missing
    with pytest.raises(CandidateGenerationError, match="at least one pair"):
        policy(model, state)


def test_a_single_request_is_the_best_pair_of_a_brute_force_search(
    fitted: Fitted,
) -> None:
    model, state = fitted
    acqf = FlexiBOFactory(beta=4.0)(model, state)
    best = (-math.inf, -1, -1)
    for i in range(2):
        acqf.X_evaluation_mask = torch.tensor([[j == i for j in range(2)]])
        for k, x in enumerate(state.choices):
            if state.known_outcomes(x.unsqueeze(0))[0, i].isnan():
                best = max(best, (acqf(x.unsqueeze(0)).item(), k, i))
    request = AcquisitionPolicy(FlexiBOFactory(beta=4.0))(model, state)
    assert request.acq_value is not None
    assert best[0] > 0
    assert request.acq_value.item() == pytest.approx(best[0])
    assert torch.equal(request.X[0], state.choices[best[1]])
    assert request.evaluation_mask[0].nonzero().item() == best[2]
    assert request.cost is not None
    assert request.cost.tolist() == [COSTS[best[2]]]


def test_a_batch_ends_once_its_cost_reaches_the_limit(fitted: Fitted) -> None:
    model, state = fitted
    whole = AcquisitionPolicy(FlexiBOFactory(), q=12)(model, state)
    assert whole.cost is not None
    assert len(whole.X) == 12
    total = whole.cost.cumsum(dim=0)
    for limit in (0.5, 3.0, float(total[4]), float(total[4]) + 0.1):
        policy = AcquisitionPolicy(FlexiBOFactory(), q=12, batch_cost=limit)
        request = policy(model, state)
        expected = int((total < limit).sum()) + 1
        assert len(request.X) == expected
        assert torch.equal(request.X, whole.X[:expected])
        assert torch.equal(request.evaluation_mask, whole.evaluation_mask[:expected])


def test_no_pair_costs_more_than_max_cost(fitted: Fitted) -> None:
    model, state = fitted
    # Without weighting the dear outcome is wanted as much as the cheap one.
    policy = AcquisitionPolicy(FlexiBOFactory(weighting=unweighted), q=6)
    free = policy(model, state).evaluation_mask
    assert free[:, 0].any()
    request = policy(model, replace(state, max_cost=9.99))
    assert not request.evaluation_mask[:, 0].any()
    assert request.cost is not None
    assert request.cost.tolist() == [1.0] * 6
    with pytest.raises(CandidateGenerationError, match="above max_cost"):
        policy(model, replace(state, max_cost=0.99))


def test_only_the_masks_asked_for_compete(fitted: Fitted) -> None:
    model, state = fitted
    both = torch.ones(1, 2, dtype=torch.bool)
    policy = AcquisitionPolicy(FlexiBOFactory(), q=NUM_CHOICES, evaluation_masks=both)
    request = policy(model, state)
    # Designs of which one outcome is known cannot be measured on both any more.
    assert len(request.X) == NUM_CHOICES - 8
    assert request.evaluation_mask.all()
    assert state.known_outcomes(request.X).isnan().all()
    assert request.cost is not None
    assert request.cost.tolist() == [sum(COSTS)] * len(request.X)


def test_continuous_spaces_are_refused_with_a_hint_at_choices(fitted: Fitted) -> None:
    model, state = fitted
    state = state.with_choices(None)
    with pytest.raises(UnsupportedError, match=r"state\.choices.*discretize"):
        AcquisitionPolicy(FlexiBOFactory())(model, state)
    with pytest.raises(UnsupportedError, match=r"state\.choices.*discretize"):
        FlexiBOFactory()(model, state)


@pytest.mark.parametrize("iteration", [1, 2, 50])
def test_the_scheduled_beta_follows_the_iteration(
    fitted: Fitted, iteration: int
) -> None:
    model, state = fitted
    acqf = FlexiBOFactory()(model, replace(state, iteration=iteration))
    pairs_and_time = 2 * NUM_CHOICES * math.pi**2 * iteration**2
    expected = 2 / 9 * math.log(pairs_and_time / (6 * 0.1))
    assert acqf.beta.item() == pytest.approx(expected)


@pytest.mark.parametrize("beta", [0.0, 2.5])
def test_a_constant_beta_ignores_the_iteration(fitted: Fitted, beta: float) -> None:
    model, state = fitted
    for iteration in (1, 40):
        acqf = FlexiBOFactory(beta=beta)(model, replace(state, iteration=iteration))
        assert acqf.beta.item() == beta


def test_noise_free_outcomes_are_points_and_noisy_ones_keep_the_posterior_box(
    fitted: Fitted,
) -> None:
    model, state = fitted
    posterior = model.posterior(state.choices.unsqueeze(-2))
    mean, sd = posterior.mean.squeeze(-2), posterior.variance.squeeze(-2).sqrt()
    known = state.known_outcomes(state.choices)
    unknown = known.isnan()
    noisy = FlexiBOFactory(beta=4.0, noise_free=False)(model, state).design_region
    exact = FlexiBOFactory(beta=4.0)(model, state).design_region
    for region, rows in ((noisy, torch.ones_like(unknown)), (exact, unknown)):
        assert torch.allclose(region.lower[rows], (mean - 2 * sd)[rows], atol=1e-8)
        assert torch.allclose(region.upper[rows], (mean + 2 * sd)[rows], atol=1e-8)
    for side in exact:
        assert torch.equal(side[~unknown], known[~unknown])


@pytest.mark.parametrize(
    ("options", "divisor"),
    [
        ({}, lambda cost: cost),
        ({"weighting": unweighted}, lambda cost: 1.0),
        ({"weighting": LogDamped(unit=2.0)}, lambda cost: math.log(1 + cost / 2)),
    ],
    ids=["per cost", "unweighted", "log"],
)
@pytest.mark.parametrize("outcome", [0, 1])
def test_the_weighting_divides_the_volume_gained(
    fitted: Fitted, options: dict[str, Any], divisor: Any, outcome: int
) -> None:
    model, state = fitted

    # The cost of the first outcome depends on the design.
    def costs(X: Tensor) -> Tensor:
        return torch.cat([3 + X[..., :1], torch.ones_like(X[..., :1])], dim=-1)

    state = replace(state, cost_model=GenericDeterministicModel(costs, num_outputs=2))
    acqf = FlexiBOFactory(beta=1.0, **options)(model, state)
    assert isinstance(acqf.cost_aware_utility, DecoupledCostUtility)
    acqf.X_evaluation_mask = torch.tensor([[outcome == 0, outcome == 1]])
    values = acqf(state.choices.unsqueeze(-2))
    acqf.cost_aware_utility = None
    gains = acqf(state.choices.unsqueeze(-2))
    assert (gains > 0).sum() > 3
    expected = [
        gain / divisor(cost)
        for gain, cost in zip(
            gains.tolist(), costs(state.choices)[:, outcome].tolist(), strict=True
        )
    ]
    assert values.tolist() == pytest.approx(expected)


def test_requests_do_not_depend_on_random_state(fitted: Fitted) -> None:
    model, state = fitted
    policy = AcquisitionPolicy(FlexiBOFactory(), q=4)
    before = torch.get_rng_state()
    first = policy(model, state)
    assert torch.equal(torch.get_rng_state(), before)
    second = policy(model, replace(state, seed=77))
    assert torch.equal(first.X, second.X)
    assert torch.equal(first.evaluation_mask, second.evaluation_mask)


def test_intersected_boxes_never_grow_over_the_iterations_of_a_run(
    fitted: Fitted,
) -> None:
    model, state = fitted
    plain = FlexiBOFactory(beta=1.0)
    # The second model knows less, so its own boxes are wider at many designs.
    X, Y = state.X[2:7], state.Y[2:7]
    worse = fit_decoupled_model(X, Y, bounds=state.bounds)
    factory = IntersectedFlexiBOFactory(plain)
    first = factory(model, replace(state, iteration=1)).design_region
    for side, own in zip(
        first, plain(model, replace(state, iteration=1)).design_region, strict=True
    ):
        assert torch.equal(side, own)
    second = factory(worse, replace(state, iteration=2)).design_region
    own = plain(worse, replace(state, iteration=2)).design_region
    assert (own.upper > first.upper + 1e-6).any()  # alone, they would grow
    unknown = state.known_outcomes(state.choices).isnan()
    overlap = (own.lower <= first.upper) & (own.upper >= first.lower) & unknown
    assert overlap.sum() > 20
    lower = torch.maximum(own.lower, first.lower)
    upper = torch.minimum(own.upper, first.upper)
    assert torch.allclose(second.lower[overlap], lower[overlap])
    assert torch.allclose(second.upper[overlap], upper[overlap])


@pytest.mark.parametrize("change", ["first decision", "other choices"])
def test_the_memory_of_boxes_ends_with_the_run_or_the_design_set(
    fitted: Fitted, change: str
) -> None:
    model, state = fitted
    X, Y = state.X[2:7], state.Y[2:7]
    worse = fit_decoupled_model(X, Y, bounds=state.bounds)
    factory = IntersectedFlexiBOFactory(FlexiBOFactory(beta=1.0))
    factory(model, replace(state, iteration=4))
    if change == "first decision":
        state = replace(state, iteration=1)
    else:
        state = replace(state.with_choices(state.choices[1:]), iteration=5)
    region = factory(worse, state).design_region
    expected = FlexiBOFactory(beta=1.0)(worse, state).design_region
    for side, own in zip(region, expected, strict=True):
        assert torch.equal(side, own)


# Look-ahead ---------------------------------------------------------------------------

QUICK = SearchOptions(raw_samples=32, num_restarts=2, maxiter=15)
SMALL = LookaheadFactory(quadrature_nodes=2, num_designs=24)


def continuous(state: DecoupledState) -> DecoupledState:
    return state.with_choices(None)


def test_the_factory_hands_on_its_options(fitted: Fitted) -> None:
    model, state = fitted
    state = continuous(state)
    factory = LookaheadFactory(
        beta=4.0,
        loss=HypervolumeLoss.pessimistic,
        quadrature_nodes=3,
        num_designs=17,
        weighting=unweighted,
        decision_cost=5.0,
    )
    acqf = factory(model, state)
    assert isinstance(acqf, qFlexiBOLookahead)
    assert acqf.loss == HypervolumeLoss.pessimistic(4.0)
    assert acqf.quadrature_nodes == 3
    assert acqf.X_designs.shape == (17, 2)
    assert torch.equal(acqf.ref_point, state.ref_point)
    utility = acqf.cost_aware_utility
    assert isinstance(utility, DecoupledCostUtility)
    assert utility.cost_model is state.cost_model
    assert utility.weighting is unweighted
    assert utility.decision_cost == 5.0
    same = factory(model, state)
    other = factory(model, replace(state, seed=1))
    assert torch.equal(acqf.X_designs, same.X_designs)
    assert not torch.equal(acqf.X_designs, other.X_designs)


def test_the_confidence_scale_is_drawn_with_the_seed_of_the_decision(
    fitted: Fitted,
) -> None:
    model, state = fitted
    for seed in (0, 7):
        acqf = LookaheadFactory()(model, replace(state, seed=seed))
        assert acqf.loss == HypervolumeLoss.balanced(ExponentialBeta()(seed))
    fixed = LookaheadFactory(beta=0.25)(model, state)
    assert fixed.loss == HypervolumeLoss.balanced(0.25)


@pytest.mark.parametrize("beta", [-1.0, math.nan, None])
def test_drawn_confidence_scales_that_are_none_are_refused(
    fitted: Fitted, beta: Any
) -> None:
    with pytest.raises(InputDataError, match=r"^Expected a finite beta >= 0"):
        LookaheadFactory(beta=lambda _: beta)(*fitted)


def test_reference_designs_of_a_finite_space_are_choices(fitted: Fitted) -> None:
    model, state = fitted
    acqf = LookaheadFactory()(model, state)
    found = (acqf.X_designs.unsqueeze(1) == state.choices).all(dim=-1).any(dim=-1)
    assert found.all()
    assert 1 < len(acqf.X_designs) <= NUM_CHOICES


def test_what_is_decisive_goes_by_designs_whose_set_up_is_not_paid(
    fitted: Fitted,
) -> None:
    model, state = fitted
    # At measured designs the first outcome is the cheaper one: its training is paid.
    run_costs = FixedCostModel(torch.tensor([0.01, 1.0], dtype=torch.float64))
    costs = SetupCostModel(
        run_costs,
        FixedCostModel(torch.tensor([50.0], dtype=torch.float64)),
        setup_outcomes=torch.tensor([True, False]),
        X_paid=state.X,
    )
    acqf = LookaheadFactory()(model, replace(state, cost_model=costs))
    assert acqf._baseline is not None
    assert acqf._baseline.decisive.tolist() == [True, False]
    assert LookaheadFactory(improvement_weight=0)(model, state)._baseline is None


def test_closed_outcomes_are_not_decisive_and_what_is_given_up_is_forbidden(
    fitted: Fitted,
) -> None:
    model, state = fitted
    state = replace(state, cost_model=fixed_costs(10.0, 9.0))
    counts = torch.tensor([[0, 2], [1, 0]])
    for closed, decisive in (
        ([False, True], [True, False]),
        ([False, False], [True, True]),
        ([True, True], [True, True]),  # the run ends
    ):
        failures = Failures(
            X=state.choices[-2:],
            counts=counts,
            max_attempts=2,
            closed=torch.tensor(closed),
        )
        acqf = LookaheadFactory()(model, replace(state, failures=failures))
        baseline = acqf._baseline
        assert baseline is not None
        assert baseline.decisive.tolist() == decisive
        assert baseline.forbidden is not None
        lost = baseline.forbidden(state.choices[-2:])
        assert torch.equal(lost, failures.forbidden(state.choices[-2:]))


@pytest.mark.parametrize("dear", [5.0, 1000.0])
def test_cheap_outcomes_of_trained_designs_are_worth_more_than_what_they_tell(
    fitted: Fitted, dear: float
) -> None:
    problem, (_, state) = DecoupledBraninCurrin(), fitted
    Y = problem(state.X)
    trained = is_non_dominated(Y)
    Y[trained, 1] = math.nan
    model = fit_decoupled_model(state.X, Y, bounds=problem.bounds)
    costs = FixedCostModel(torch.tensor([dear, 1.0], dtype=torch.float64))
    state = replace(state, Y=Y, cost_model=costs)
    values = []
    for weight in (0.0, 0.1):
        acqf = LookaheadFactory(beta=1.0, improvement_weight=weight)(model, state)
        acqf.X_evaluation_mask = torch.tensor([[False, True]])
        with torch.no_grad():
            values.append(acqf(state.choices.unsqueeze(-2)))
    worth = values[1] - values[0]
    assert trained.sum() > 1
    assert (worth[:8][trained] > 1e-4).any()
    # Where both are decisive, what completes a design is worth as much.
    assert worth[:8][~trained].abs().max() == worth[8:].abs().max() == 0


@pytest.mark.parametrize("unit", [0.01, 0.029, 1.0, 1e6])
def test_the_unit_of_the_costs_does_not_change_what_is_decisive(
    fitted: Fitted, unit: float
) -> None:
    model, state = fitted
    costs = FixedCostModel(torch.tensor([10 * unit, 1 * unit], dtype=torch.float64))
    acqf = LookaheadFactory()(model, replace(state, cost_model=costs))
    assert acqf._baseline is not None
    assert acqf._baseline.decisive.tolist() == [True, True]


def test_the_search_also_starts_from_the_designs_of_the_options(
    fitted: Fitted,
) -> None:
    model, state = fitted
    corner = (torch.tensor([0, 1]), torch.ones(2, dtype=torch.float64), 2.0 - 1e-6)
    space = SearchSpace(state.bounds, inequality_constraints=[corner])
    # No reference design and hardly a sample lies in the corner.
    X_start = torch.ones(1, 2, dtype=torch.float64)
    request = AcquisitionPolicy(
        LookaheadFactory(num_designs=8),
        options=SearchOptions(raw_samples=4, maxiter=1, X_start=X_start),
    )(model, replace(state, space=space))
    assert torch.equal(request.X, X_start)


@pytest.mark.parametrize("weight", [-0.1, math.nan, math.inf, "1", None])
def test_weights_of_improvement_that_are_none_are_refused(weight: Any) -> None:
    with pytest.raises(InputDataError, match=r"^Expected a finite improvement_weight"):
        LookaheadFactory(improvement_weight=weight)


@pytest.mark.parametrize("weight", [-0.1, math.nan, math.inf, "1", None])
def test_functions_that_give_no_weight_are_refused(fitted: Fitted, weight: Any) -> None:
    with pytest.raises(InputDataError, match=r"^Expected a finite improvement_weight"):
        LookaheadFactory(improvement_weight=lambda _: weight)(*fitted)


@pytest.mark.parametrize("left", [1.0, 0.25])
def test_a_weight_may_depend_on_what_is_left_of_the_budget(
    fitted: Fitted, left: float
) -> None:
    model, state = fitted
    state = replace(state, budget_left=left)
    values = []
    for weight in (lambda part: 0.1 / part, 0.1 / left):
        acqf = LookaheadFactory(improvement_weight=weight)(model, state)
        acqf.X_evaluation_mask = torch.tensor([[True, True]])
        with torch.no_grad():
            values.append(acqf(state.choices.unsqueeze(-2)))
    assert torch.equal(*values)
    acqf = LookaheadFactory(improvement_weight=lambda part: part - left)(model, state)
    assert acqf._baseline is None


def test_reference_designs_lie_at_the_target_fidelity(fitted: Fitted) -> None:
    model, state = fitted
    state = replace(continuous(state), target_fidelities={1: 0.5})
    acqf = LookaheadFactory(num_designs=12)(model, state)
    assert (acqf.X_designs[:, 1] == 0.5).all()
    request = AcquisitionPolicy(SMALL, options=QUICK)(model, state)
    assert request.X.shape == (1, 2)


@pytest.mark.parametrize("finite", [True, False], ids=["finite", "continuous"])
def test_a_lookahead_batch_holds_new_pairs_only(fitted: Fitted, finite: bool) -> None:
    model, state = fitted
    state = state if finite else continuous(state)
    policy = AcquisitionPolicy(SMALL, q=5, options=QUICK)
    before = torch.get_rng_state()
    request = policy(model, state)
    assert torch.equal(torch.get_rng_state(), before)
    assert len(request.X) == 5
    proposed = pairs(request.X, request.evaluation_mask)
    assert len(set(proposed)) == 5
    assert not set(proposed) & set(pairs(state.X, state.measured))
    assert (request.X >= state.bounds[0]).all()
    assert (request.X <= state.bounds[1]).all()
    again = policy(model, state)
    assert torch.equal(request.X, again.X)
    assert torch.equal(request.evaluation_mask, again.evaluation_mask)
    assert request.cost is not None
    costs = torch.tensor(COSTS, dtype=torch.float64)
    assert torch.equal(request.cost, request.evaluation_mask.double() @ costs)


def test_on_a_finite_space_a_lookahead_is_a_brute_force_search(fitted: Fitted) -> None:
    model, state = fitted
    acqf = SMALL(model, state)
    best = (-math.inf, -1, -1)
    for i in range(2):
        acqf.X_evaluation_mask = torch.tensor([[j == i for j in range(2)]])
        for k, x in enumerate(state.choices):
            if state.known_outcomes(x.unsqueeze(0))[0, i].isnan():
                best = max(best, (acqf(x.reshape(1, 1, -1)).item(), k, i))
    request = AcquisitionPolicy(SMALL)(model, state)
    assert request.acq_value is not None
    assert request.acq_value.item() == pytest.approx(best[0])
    assert torch.equal(request.X[0], state.choices[best[1]])
    assert request.evaluation_mask[0].nonzero().item() == best[2]


def test_on_a_continuous_space_a_request_beats_all_choices(fitted: Fitted) -> None:
    model, state = fitted
    acqf = SMALL(model, continuous(state))
    request = AcquisitionPolicy(SMALL)(model, continuous(state))
    assert request.acq_value is not None
    designs = DecoupledBraninCurrin().discretize(2000, seed=9)
    for mask in torch.eye(2, dtype=torch.bool):
        acqf.X_evaluation_mask = mask.unsqueeze(0)
        with torch.no_grad():
            values = acqf(designs.unsqueeze(-2))
        assert request.acq_value.item() >= 0.99 * values.max().item()


def test_on_a_continuous_space_a_design_that_is_set_up_is_completed(
    fitted: Fitted,
) -> None:
    model, state = fitted
    run = FixedCostModel(torch.tensor([1.0, 1.0], dtype=torch.float64))
    setup = FixedCostModel(torch.tensor([1e4], dtype=torch.float64))
    cost_model = SetupCostModel(run, setup, X_paid=state.X)
    state = replace(continuous(state), cost_model=cost_model)
    request = AcquisitionPolicy(SMALL, options=QUICK)(model, state)
    row = (state.X == request.X).all(dim=-1)
    assert row.sum() == 1
    assert not (state.measured[row] & request.evaluation_mask).any()
    assert request.cost is not None
    assert request.cost.tolist() == [1.0]


def test_on_a_continuous_space_the_other_outcome_of_what_is_running_competes(
    fitted: Fitted,
) -> None:
    model, state = fitted
    running = torch.tensor([[0.123, 0.456]], dtype=torch.float64)
    run = FixedCostModel(torch.tensor([1.0, 1.0], dtype=torch.float64))
    setup = FixedCostModel(torch.tensor([1e4], dtype=torch.float64))
    known = state.measured.all(dim=-1)  # nothing else to complete
    state = replace(
        continuous(state),
        X=state.X[known],
        Y=state.Y[known],
        cost_model=SetupCostModel(run, setup, X_paid=running),
        X_pending=running,
        X_pending_evaluation_mask=torch.tensor([[True, False]]),
    )
    request = AcquisitionPolicy(SMALL, options=QUICK)(model, state)
    assert torch.equal(request.X, running)
    assert request.evaluation_mask.tolist() == [[False, True]]


def test_the_seed_of_the_state_replaces_that_of_the_options(fitted: Fitted) -> None:
    model, state = fitted
    state = replace(continuous(state), seed=11)
    requests = [
        AcquisitionPolicy(SMALL, options=replace(QUICK, seed=seed))(model, state)
        for seed in (0, 1)
    ]
    assert torch.equal(requests[0].X, requests[1].X)


@pytest.mark.parametrize("finite", [True, False], ids=["finite", "continuous"])
def test_a_run_with_a_lookahead_never_measures_a_pair_twice(finite: bool) -> None:
    problem = DecoupledBraninCurrin(costs=COSTS)
    history = run_decoupled_optimization(
        problem,
        AcquisitionPolicy(SMALL, q=4, batch_cost=10.0, options=QUICK),
        budget=80.0,
        initial_design=InitialDesign(6),
        choices=problem.discretize(16, seed=1) if finite else None,
    )
    measured = [
        (record.design, i)
        for record in history.records
        for i in range(2)
        if record.measured[i]
    ]
    assert len(measured) == len(set(measured)) > 12
    assert history.stop_reason == "budget"
    assert 80.0 <= history.total_cost < 90.0
    assert len(torch.unique(history.X, dim=0)) == len(history.X)
    assert torch.equal(
        problem(history.X)[~history.Y.isnan()], history.Y[~history.Y.isnan()]
    )
    assert history.records[-1].decision >= 2
    if finite:
        choices = problem.discretize(16, seed=1)
        assert (history.X.unsqueeze(1) == choices).all(dim=-1).any(dim=-1).all()


def test_a_run_ends_when_a_lookahead_has_measured_all_choices() -> None:
    problem = DecoupledBraninCurrin(costs=COSTS)
    history = run_decoupled_optimization(
        problem,
        AcquisitionPolicy(SMALL, q=4, options=QUICK),
        budget=1e4,
        initial_design=InitialDesign(5),
        choices=problem.discretize(8, seed=1),
    )
    assert history.stop_reason == "exhausted"
    assert not history.Y.isnan().any()
    assert history.total_cost == pytest.approx(8 * sum(COSTS))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"q": 0}, "Expected q >= 1, but got 0"),
        ({"batch_cost": -1.0}, r"Expected batch_cost > 0, but got -1\.0"),
        ({"batch_cost": math.nan}, "Expected batch_cost > 0, but got nan"),
        (
            {"evaluation_masks": torch.zeros(1, 2, dtype=torch.bool)},
            "Expected at least one mask, each with at least one outcome",
        ),
    ],
    ids=str,
)
def test_options_that_make_no_request_are_refused_at_once(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputDataError, match=message):
        AcquisitionPolicy(LookaheadFactory(), **options)


@pytest.mark.parametrize(
    ("factory", "got"),
    [
        (lambda model: None, r"<lambda>\(model\): too many positional arguments"),
        (lambda m, s, ref: None, r"<lambda>\(m, s, ref\): missing a required arg"),
        (lambda *, model, state: None, r"<lambda>\(\*, model, state\): too many pos"),
    ],
    ids=["one", "three", "by name"],
)
def test_a_factory_that_does_not_take_model_and_state_is_refused(
    factory: Any, got: str
) -> None:
    message = (
        r"^Expected acqf_factory to be called as acqf_factory\(model, state\), but got"
        rf" .*{got}.*\. Let it take these two, in this order\.$"
    )
    with pytest.raises(InputDataError, match=message):
        AcquisitionPolicy(factory)


@pytest.mark.parametrize(
    "factory",
    [
        lambda model, state, more=None: None,
        lambda *arguments: None,
        partial(LookaheadFactory.__call__, LookaheadFactory()),
        max,  # a builtin without a signature
    ],
    ids=["optional", "any", "partial", "builtin"],
)
def test_a_factory_that_takes_model_and_state_is_taken(factory: Any) -> None:
    assert AcquisitionPolicy(factory).acqf_factory is factory
