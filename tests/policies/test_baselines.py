r"""Coupled and variance-per-cost policies against brute force."""

from __future__ import annotations

import math
from dataclasses import replace

import moocore
import numpy as np
import pytest
import torch
from botorch.acquisition.acquisition import AcquisitionFunction
from botorch.acquisition.multi_objective.logei import (
    qLogNoisyExpectedHypervolumeImprovement,
)
from botorch.acquisition.multi_objective.parego import qLogNParEGO
from botorch.exceptions.errors import CandidateGenerationError, InputDataError
from botorch.models.model import ModelList
from botorch.sampling import SobolQMCNormalSampler
from botorch.utils.sampling import manual_seed, sample_simplex
from botorch.utils.transforms import t_batch_mode_transform
from torch import Tensor

from botorch_flexibo import (
    CoupledPolicy,
    RandomPolicy,
    VariancePerCostPolicy,
    fit_decoupled_model,
)
from botorch_flexibo.models import SetupCostModel
from botorch_flexibo.optim import EvaluationRequest, SearchSpace
from botorch_flexibo.policies import (
    DecoupledState,
    Policy,
    qlognehvi_factory,
    qlognparego_factory,
)
from botorch_flexibo.policies.baselines import CoupledFactory
from tests.policies.helpers import (
    LEVELS,
    PROBLEM,
    SEPARATE,
    SINGULAR,
    Fitted,
    fixed_costs,
    half_known,
    pairs,
    told,
)

FACTORIES = pytest.mark.parametrize(
    "factory", [qlognehvi_factory, qlognparego_factory], ids=["nehvi", "parego"]
)


class SumOfInputs(AcquisitionFunction):
    """Prefers the largest inputs, whatever the model says and whatever is pending."""

    X_pending: Tensor | None = None

    @t_batch_mode_transform()
    def forward(self, X: Tensor) -> Tensor:
        return X.sum(dim=(-2, -1))


def sum_of_inputs(model: ModelList, state: DecoupledState) -> AcquisitionFunction:
    return SumOfInputs(model)


# --- spaces with separate values ------------------------------------------------------


@SINGULAR
def test_few_separate_values_are_the_same_as_their_designs_as_choices(
    fitted: Fitted,
) -> None:
    model, state = fitted
    few = SEPARATE["few"]
    state = half_known(state, few)
    choices = torch.cartesian_prod(torch.tensor(LEVELS), torch.tensor(LEVELS)).double()
    for policy in (RandomPolicy(), VariancePerCostPolicy(CoupledPolicy(q=3))):
        request = ask(policy, model, state)
        same = ask(policy, model, state.with_choices(choices))
        assert torch.equal(request.X, same.X)
        assert torch.equal(request.evaluation_mask, same.evaluation_mask)


@pytest.mark.parametrize("space", [SearchSpace(PROBLEM.bounds), *SEPARATE.values()])
@pytest.mark.parametrize("known", [False, True], ids=["open", "measured"])
def test_a_batch_whose_picks_are_one_design_measures_others_too(
    fitted: Fitted, space: SearchSpace, known: bool
) -> None:
    """The preferred design is the upper corner, for each pick of a batch."""
    model, state = fitted
    state = half_known(state, space)
    if not space.is_mixed:  # only there a random design may be measured already
        state = replace(state, seed=state.seed + 1)
    corner = torch.ones(1, 2, dtype=torch.float64)
    if known:
        state = told(state, corner, torch.ones(1, 2, dtype=torch.bool))
    design = CoupledPolicy(sum_of_inputs, q=3, num_restarts=1, raw_samples=16)
    for policy in (design, VariancePerCostPolicy(design)):
        request = ask(policy, model, state)
        assert len(request.X.unique(dim=0)) == len(request.X) == 3
        assert bool((request.X == corner).all(dim=-1).any()) is not known
        assert (request.evaluation_mask.any(dim=-1)).all()
        assert state.open_outcomes(request.X)[request.evaluation_mask].all()
        assert request.acq_value is not None
        assert request.acq_value.shape == (3,)


def test_a_batch_is_smaller_where_fewer_designs_are_left(
    fitted: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("botorch_flexibo.optim.space._MAX_ENUMERATED", 2)
    model, state = fitted
    few = torch.tensor([[0.0, 0.5], [0.5, 0.5], [1.0, 0.5]]).double()
    space = SearchSpace(PROBLEM.bounds, discrete_dims={0: LEVELS, 1: [0.5]})
    policy = CoupledPolicy(sum_of_inputs, q=3, num_restarts=1, raw_samples=16)
    for left in (2, 1):
        state = replace(state, X=few[left:], Y=PROBLEM(few[left:]), space=space)
        request = ask(policy, model, state)
        assert sorted(request.X.tolist()) == few[:left].tolist()
        assert request.acq_value is not None
        assert len(request.acq_value) == left
    state = replace(state, X=few, Y=PROBLEM(few))
    with pytest.raises(CandidateGenerationError, match="are fully measured"):
        ask(policy, model, state)


@SINGULAR
def test_copies_of_a_choice_are_measured_once(fitted: Fitted) -> None:
    model, state = fitted
    state = state.with_choices(state.choices[[12, 12, 13, 12, 13]])
    for design in (CoupledPolicy(q=4), CoupledPolicy(sum_of_inputs, q=4)):
        request = ask(design, model, state)
        assert len(request.X) == len(request.X.unique(dim=0)) == 2


# --- coupled --------------------------------------------------------------------------


def ask(policy: Policy, model: ModelList, state: DecoupledState) -> EvaluationRequest:
    """Ask as the loop does, with torch's generator seeded by the decision."""
    with manual_seed(state.seed):
        return policy(model, state)


def by_hand(
    factory: CoupledFactory, model: ModelList, state: DecoupledState
) -> AcquisitionFunction:
    """BoTorch's own, with the completely measured choices, or all, as the baseline."""
    sampler = SobolQMCNormalSampler(torch.Size([128]), seed=state.seed)
    baseline = state.X
    if state.choices is not None:
        baseline = state.X[~state.Y.isnan().any(dim=-1)]
    with manual_seed(state.seed):  # BoTorch prunes the baseline by samples
        if factory is qlognehvi_factory:
            return qLogNoisyExpectedHypervolumeImprovement(
                model,
                ref_point=state.ref_point,
                X_baseline=baseline,
                sampler=sampler,
                prune_baseline=True,
            )
        return qLogNParEGO(
            model,
            X_baseline=baseline,
            scalarization_weights=sample_simplex(2, seed=state.seed)[0].to(state.X),
            sampler=sampler,
            prune_baseline=True,
        )


@SINGULAR
@FACTORIES
def test_the_coupled_choice_is_the_best_of_all_designs_that_lack_an_outcome(
    fitted: Fitted, factory: CoupledFactory
) -> None:
    model, state = fitted
    acqf = by_hand(factory, model, state)
    lacking = [
        x for x in state.choices if state.known_outcomes(x.unsqueeze(0)).isnan().any()
    ]
    assert len(lacking) == 16
    with torch.no_grad():
        scores = [acqf(x.unsqueeze(0)).item() for x in lacking]
    request = ask(CoupledPolicy(factory, max_candidates=16), model, state)
    best = lacking[int(np.argmax(scores))]
    assert torch.equal(request.X[0], best)
    assert request.acq_value is not None
    assert request.acq_value.item() == pytest.approx(max(scores), rel=1e-6)
    missing = state.known_outcomes(request.X).isnan()
    assert torch.equal(request.evaluation_mask, missing)


@SINGULAR
@FACTORIES
def test_a_coupled_batch_is_greedy_and_of_distinct_designs(
    fitted: Fitted, factory: CoupledFactory
) -> None:
    model, state = fitted
    request = ask(CoupledPolicy(factory, q=4), model, state)
    assert len(request.X.unique(dim=0)) == 4
    acqf = by_hand(factory, model, state)
    missing = state.known_outcomes(state.choices).isnan().any(dim=-1)
    candidates = state.choices[missing]
    for k in range(4):
        acqf.set_X_pending(request.X[:k] if k else None)
        with torch.no_grad():
            scores = acqf(candidates.unsqueeze(-2))
        taken = (candidates.unsqueeze(1) == request.X[:k]).all(dim=-1).any(dim=-1)
        best = scores.masked_fill(taken, -math.inf).argmax()
        assert torch.equal(request.X[k], candidates[best])


@SINGULAR
def test_a_coupled_batch_ends_with_the_designs(fitted: Fitted) -> None:
    model, state = fitted
    state = state.with_choices(state.choices[5:10])
    request = ask(CoupledPolicy(q=9), model, state)
    # Design 5 is fully measured.
    assert sorted(map(tuple, request.X.tolist())) == sorted(
        map(tuple, state.choices[1:].tolist())
    )


def test_only_missing_outcomes_are_measured_and_paid(fitted: Fitted) -> None:
    model, state = fitted
    for row, mask, cost in (
        (0, [False, True], 1.0),
        (7, [True, False], 10.0),
        (12, [True, True], 11.0),
    ):
        one = state.with_choices(state.choices[row : row + 1])
        request = ask(CoupledPolicy(), model, one)
        assert request.evaluation_mask.tolist() == [mask]
        assert request.cost is not None
        assert request.cost.tolist() == [cost]


@SINGULAR
@FACTORIES
def test_coupled_policies_start_without_any_complete_design(
    fitted: Fitted, factory: CoupledFactory
) -> None:
    model, state = fitted
    Y = state.Y.clone()
    Y[2:4, 0] = math.nan
    Y[4:6, 1] = math.nan
    request = ask(CoupledPolicy(factory), model, replace(state, Y=Y))
    assert request.evaluation_mask.any()
    assert request.acq_value is not None
    assert request.acq_value.isfinite().all()


def test_screening_keeps_the_largest_optimistic_hypervolume_improvements(
    fitted: Fitted,
) -> None:
    model, state = fitted
    lacking = state.known_outcomes(state.choices).isnan().any(dim=-1)
    candidates = state.choices[lacking]
    posterior = model.posterior(candidates.unsqueeze(-2))
    mean = posterior.mean.detach().squeeze(-2)
    optimistic = mean + posterior.variance.detach().squeeze(-2).sqrt()
    ref = -state.ref_point.numpy()

    def volume(Y: Tensor) -> float:
        return moocore.hypervolume(-Y.numpy(), ref=ref)

    base = volume(mean)
    promise = [volume(torch.cat([mean, y.unsqueeze(0)])) - base for y in optimistic]
    by_promise = np.argsort(promise)[::-1]
    assert min(promise) < max(promise)
    overall = candidates[candidates.sum(dim=-1).argmax()]
    screened_out = 0
    for count in (1, 2, 3, 5, 8, 12):
        policy = CoupledPolicy(sum_of_inputs, max_candidates=count)
        request = ask(policy, model, state)
        kept = candidates[by_promise[:count].copy()]
        assert torch.equal(request.X[0], kept[kept.sum(dim=-1).argmax()])
        screened_out += not torch.equal(request.X[0], overall)
    assert screened_out > 0


@SINGULAR
@FACTORIES
def test_on_a_continuous_space_the_design_beats_random_ones_and_is_within_bounds(
    fitted: Fitted, factory: CoupledFactory
) -> None:
    model, state = fitted
    state = state.with_choices(None)
    policy = CoupledPolicy(factory, num_restarts=2, raw_samples=32)
    request = ask(policy, model, state)
    assert request.X.shape == (1, 2)
    assert (request.X >= state.bounds[0]).all()
    assert (request.X <= state.bounds[1]).all()
    assert request.evaluation_mask.tolist() == [[True, True]]
    assert request.cost is not None
    assert request.cost.tolist() == [11.0]
    acqf = by_hand(factory, model, state)
    with torch.no_grad():
        value = acqf(request.X).item()
        others = acqf(PROBLEM.discretize(64, seed=9).unsqueeze(-2))
    assert request.acq_value is not None
    assert request.acq_value.item() == pytest.approx(value, rel=1e-6)
    assert value > others.max()


@SINGULAR
def test_a_continuous_batch_has_distinct_designs_and_one_value_each(
    fitted: Fitted,
) -> None:
    model, state = fitted
    state = state.with_choices(None)
    policy = CoupledPolicy(q=3, num_restarts=2, raw_samples=32)
    request = ask(policy, model, state)
    assert request.X.shape == (3, 2)
    assert torch.cdist(request.X, request.X).add(torch.eye(3)).min() > 1e-3
    assert request.acq_value is not None
    assert request.acq_value.shape == (3,)


@SINGULAR
def test_a_coupled_batch_stays_within_max_cost_in_total(fitted: Fitted) -> None:
    model, state = fitted
    fresh = state.with_choices(state.choices[8:])
    whole = ask(CoupledPolicy(q=4), model, fresh)
    assert whole.cost is not None
    assert whole.cost.tolist() == [11.0] * 4
    for budget, expected in ((22.0, 2), (32.9, 2), (33.0, 3), (1e9, 4)):
        part = ask(CoupledPolicy(q=4), model, replace(fresh, max_cost=budget))
        assert torch.equal(part.X, whole.X[:expected])
        for values in (part.evaluation_mask, part.acq_value, part.cost):
            assert values is not None
            assert len(values) == expected
    with pytest.raises(CandidateGenerationError, match=r"at most 10\.9.*costs 11"):
        ask(CoupledPolicy(q=4), model, replace(fresh, max_cost=10.9))


@pytest.mark.parametrize(
    "policy", [CoupledPolicy(), VariancePerCostPolicy()], ids=["coupled", "variance"]
)
def test_nothing_is_left_once_every_choice_is_measured(
    fitted: Fitted, policy: CoupledPolicy | VariancePerCostPolicy
) -> None:
    model, state = fitted
    state = state.with_choices(state.choices[2:6])
    with pytest.raises(CandidateGenerationError, match="every choice is fully"):
        ask(policy, model, state)


@SINGULAR
@pytest.mark.parametrize("finite", [True, False], ids=["finite", "continuous"])
def test_coupled_requests_depend_on_the_seed_of_the_state_alone(
    fitted: Fitted, finite: bool
) -> None:
    model, state = fitted
    if not finite:
        state = state.with_choices(None)
    policy = CoupledPolicy(q=3, num_restarts=2, raw_samples=16)
    requests = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        requests.append(policy(model, state))
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(requests[0].X, requests[1].X)


# --- variance per cost ----------------------------------------------------------------


@SINGULAR
@pytest.mark.parametrize(
    "costs", [(10.0, 1.0), (1.0, 1.0), (1.0, 30.0), (1.0, 1000.0)], ids=str
)
def test_the_outcome_has_the_largest_standardised_variance_per_cost(
    fitted: Fitted, costs: tuple[float, float]
) -> None:
    model, state = fitted
    state = replace(state, cost_model=fixed_costs(*costs))
    request = ask(VariancePerCostPolicy(CoupledPolicy(q=6)), model, state)
    coupled = ask(CoupledPolicy(q=6), model, state)
    assert torch.equal(request.X, coupled.X)
    assert (request.evaluation_mask.sum(dim=-1) == 1).all()
    assert request.acq_value is not None
    assert request.cost is not None
    for k, x in enumerate(request.X):
        scores = []
        for i in range(2):
            data = state.Y[:, i].numpy()
            variance = model.models[i].posterior(x.unsqueeze(0)).variance.item()
            known = not state.known_outcomes(x.unsqueeze(0))[0, i].isnan()
            score = variance / np.nanvar(data) / costs[i]
            scores.append(-math.inf if known else score)
        best = int(np.argmax(scores))
        assert request.evaluation_mask[k].nonzero().item() == best
        assert request.acq_value[k].item() == pytest.approx(scores[best])
        assert request.cost[k].item() == costs[best]


@SINGULAR
def test_dearer_outcomes_are_measured_less(fitted: Fitted) -> None:
    model, state = fitted
    chosen = []
    for costs in ((1000.0, 1.0), (1.0, 1000.0)):
        fresh = state.with_choices(state.choices[8:])
        fresh = replace(fresh, cost_model=fixed_costs(*costs))
        request = ask(VariancePerCostPolicy(CoupledPolicy(q=6)), model, fresh)
        chosen.append(request.evaluation_mask.sum(dim=0).tolist())
    assert chosen == [[0, 6], [6, 0]]


@SINGULAR
@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_the_unit_of_an_outcome_does_not_matter(fitted: Fitted, scale: float) -> None:
    model, state = fitted
    # Costs at which both outcomes are chosen for some designs.
    state = replace(state, cost_model=fixed_costs(1.3, 1.0))
    factor = torch.tensor([scale, 1.0], dtype=torch.float64)
    rescaled = replace(state, Y=state.Y * factor, ref_point=state.ref_point * factor)
    other = fit_decoupled_model(rescaled.X, rescaled.Y, bounds=rescaled.bounds)
    policy = VariancePerCostPolicy(CoupledPolicy(q=6))
    request, expected = ask(policy, other, rescaled), ask(policy, model, state)
    assert expected.evaluation_mask.any(dim=0).all()
    assert torch.equal(request.X, expected.X)
    assert torch.equal(request.evaluation_mask, expected.evaluation_mask)
    assert request.acq_value is not None
    assert request.acq_value.tolist() == pytest.approx(
        expected.acq_value.tolist(), rel=1e-3
    )


def test_the_other_outcome_follows_until_the_design_is_complete(
    fitted: Fitted,
) -> None:
    model, state = fitted
    state = state.with_choices(state.choices[12:13])
    asked = []
    for _ in range(2):
        request = ask(VariancePerCostPolicy(), model, state)
        asked += pairs(request.X, request.evaluation_mask)
        state = told(state, request.X, request.evaluation_mask)
    assert sorted(i for _, i in asked) == [0, 1]
    with pytest.raises(CandidateGenerationError, match="every choice is fully"):
        ask(VariancePerCostPolicy(), model, state)


@SINGULAR
def test_an_outcome_dearer_than_max_cost_gives_way_to_the_other(
    fitted: Fitted,
) -> None:
    model, state = fitted
    fresh = state.with_choices(state.choices[8:])
    # At these costs the dear outcome is preferred ...
    fresh = replace(fresh, cost_model=fixed_costs(1.0, 1000.0))
    policy = VariancePerCostPolicy(CoupledPolicy(q=3))
    assert ask(policy, model, fresh).evaluation_mask[:, 0].all()
    fresh = replace(fresh, cost_model=fixed_costs(2.0, 1.0), max_cost=1.5)
    assert ask(policy, model, fresh).evaluation_mask.tolist() == [[False, True]] * 3
    with pytest.raises(CandidateGenerationError, match=r"at most 0\.5"):
        ask(policy, model, replace(fresh, max_cost=0.5))


def test_a_constant_outcome_does_not_break_the_standardisation(fitted: Fitted) -> None:
    model, state = fitted
    Y = state.Y.clone()
    Y[~Y[:, 1].isnan(), 1] = 2.0
    request = ask(VariancePerCostPolicy(), model, replace(state, Y=Y))
    assert request.acq_value is not None
    assert request.acq_value.isfinite().all()


@SINGULAR
def test_a_coupled_design_on_a_mixed_space_meets_the_constraints(
    fitted: Fitted,
) -> None:
    """Rounded after the search, the best design may not: then another is taken."""
    bounds = torch.tensor([[0.0, 0.0], [1.0, 4.0]], dtype=torch.float64)
    # 4 x0 + x1 <= 3.7
    limit = (torch.tensor([0, 1]), torch.tensor([-4.0, -1.0]).double(), -3.7)
    space = SearchSpace(
        bounds, discrete_dims={1: [0, 1, 2, 3, 4]}, inequality_constraints=[limit]
    )
    X = space.sample(6, seed=0)
    Y = torch.stack([X[:, 1] - X[:, 0], X[:, 1] - X[:, 0].square()], dim=-1)
    model = fit_decoupled_model(X, Y, bounds=bounds)
    policy = CoupledPolicy(q=2, num_restarts=2, raw_samples=32, maxiter=20)
    state = replace(
        fitted[1], X=X, Y=Y, space=space, ref_point=Y.amin(dim=0) - 1, seed=0
    )
    for seed in range(3):
        request = policy(model, replace(state, seed=seed))
        assert len(request.X) == 2
        assert space.is_feasible(request.X).all()


@SINGULAR
@pytest.mark.parametrize(
    "policy",
    [RandomPolicy(), CoupledPolicy(), VariancePerCostPolicy()],
    ids=lambda policy: type(policy).__name__,
)
def test_a_set_up_that_is_being_made_is_not_charged_again(
    fitted: Fitted, policy: Policy
) -> None:
    model, state = fitted
    x = state.choices[-1:]
    costs = SetupCostModel(fixed_costs(1.0, 1.0), fixed_costs(100.0), X_paid=state.X)
    waiting = replace(
        state.with_choices(x),
        cost_model=costs,
        X_pending=x,
        X_pending_evaluation_mask=torch.tensor([[True, False]]),
        max_cost=50.0,
    )
    request = policy(model, waiting)
    assert request.evaluation_mask.tolist() == [[False, True]]
    assert request.cost is not None
    assert request.cost.tolist() == [1.0]
    later = replace(waiting, X_pending_evaluation_mask=None)
    assert later.cost_model_with_pending is not costs
    assert replace(waiting, X_pending=None).cost_model_with_pending is costs


@SINGULAR
def test_pending_designs_are_as_good_as_measured(fitted: Fitted) -> None:
    """On a continuous space the best design would else be next to them again."""
    model, state = fitted
    state = replace(state, space=SearchSpace(state.bounds))
    policy = CoupledPolicy(num_restarts=2, raw_samples=64)
    first = policy(model, state).X
    waiting = replace(
        state,
        X_pending=first,
        X_pending_evaluation_mask=torch.ones(1, 2, dtype=torch.bool),
    )
    second = policy(model, waiting).X
    assert (second - first).norm() > 0.05
    # One that will lack an outcome is not.
    half = replace(waiting, X_pending_evaluation_mask=torch.tensor([[True, False]]))
    assert torch.equal(policy(model, half).X, first)


@pytest.mark.parametrize(
    "name", ["q", "max_candidates", "num_restarts", "raw_samples", "maxiter"]
)
def test_coupled_searches_without_effort_are_refused(name: str) -> None:
    with pytest.raises(InputDataError, match=rf"^Expected {name} >= 1, but got 0\."):
        CoupledPolicy(**{name: 0})
