r"""Random search: what it draws, what its masks cost, and which it refuses."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from botorch.exceptions.errors import (
    BotorchTensorDimensionError,
    CandidateGenerationError,
    InputDataError,
)
from botorch.models.cost import FixedCostModel
from botorch.models.deterministic import GenericDeterministicModel
from botorch.models.model import ModelList
from torch import Tensor

from botorch_flexibo import (
    CoupledPolicy,
    InitialDesign,
    RandomPolicy,
    fit_decoupled_model,
    run_decoupled_optimization,
)
from botorch_flexibo.acquisition import unweighted
from botorch_flexibo.models import SetupCostModel
from botorch_flexibo.optim import SearchSpace
from botorch_flexibo.policies import DecoupledState
from tests.policies.helpers import (
    ON_SEPARATE,
    PROBLEM,
    Fitted,
    fixed_costs,
    half_known,
    missing_pairs,
    pairs,
    told,
)
from tests.runs import FaultyTable

BOTH = torch.tensor([[True, True]])


def with_set_ups(**options: object) -> DecoupledState:
    """Six designs are trained, which the others have to be first."""
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
        request = RandomPolicy(BOTH)(ModelList(), with_set_ups(max_cost=13.0))
    else:
        known = with_set_ups(max_cost=13.0)
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
        ModelList(), with_set_ups(cost_model=FixedCostModel(torch.tensor([10.0, 1.0])))
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
        wide(ModelList(), with_set_ups())


# --- what is drawn --------------------------------------------------------------------


def test_random_measures_every_pair_exactly_once_until_none_is_left(
    fitted: Fitted,
) -> None:
    model, state = fitted
    missing = missing_pairs(state)
    policy = RandomPolicy()
    proposed = []
    for seed in range(len(missing)):
        request = policy(model, replace(state, seed=seed))
        assert request.X.shape == (1, 2)
        assert request.cost is not None
        assert request.cost.tolist() == [10.0 if request.evaluation_mask[0, 0] else 1.0]
        proposed += pairs(request.X, request.evaluation_mask)
        state = told(state, request.X, request.evaluation_mask)
    assert len(proposed) == len(missing) == 28
    assert set(proposed) == missing
    with pytest.raises(CandidateGenerationError, match="not measured and costs"):
        policy(model, state)


@pytest.mark.parametrize("finite", [True, False], ids=["finite", "continuous"])
def test_the_same_seed_draws_the_same_pair_and_others_differ(
    fitted: Fitted, finite: bool
) -> None:
    model, state = fitted
    if not finite:
        state = state.with_choices(None)
    drawn = []
    for seed in range(12):
        torch.manual_seed(seed)  # the caller's state plays no part
        first = RandomPolicy()(model, replace(state, seed=seed))
        before = torch.get_rng_state()
        second = RandomPolicy()(model, replace(state, seed=seed))
        assert torch.equal(torch.get_rng_state(), before)
        assert torch.equal(first.X, second.X)
        assert torch.equal(first.evaluation_mask, second.evaluation_mask)
        drawn += pairs(first.X, first.evaluation_mask)
    assert len(set(drawn)) > 6


def outcome_counts(state: DecoupledState, policy: RandomPolicy, n: int) -> Tensor:
    model = ModelList()
    masks = [policy(model, replace(state, seed=s)).evaluation_mask for s in range(n)]
    return torch.cat(masks).sum(dim=0)


def test_every_outcome_receives_the_same_money(fitted: Fitted) -> None:
    _, state = fitted
    n = 1100
    dear, cheap = outcome_counts(state, RandomPolicy(), n).tolist()
    assert dear + cheap == n
    # Binomial with chance 1 / 11; four standard deviations.
    spread = math.sqrt(n * (1 / 11) * (10 / 11))
    assert abs(dear - n / 11) < 4 * spread


def test_without_weighting_every_outcome_is_measured_as_often(fitted: Fitted) -> None:
    _, state = fitted
    n = 600
    dear, cheap = outcome_counts(state, RandomPolicy(weighting=unweighted), n).tolist()
    assert dear + cheap == n
    assert abs(dear - n / 2) < 4 * math.sqrt(n / 4)


@pytest.mark.parametrize("finite", [True, False], ids=["finite", "continuous"])
def test_designs_are_uniform_and_independent_of_the_outcome(
    fitted: Fitted, finite: bool
) -> None:
    _, state = fitted
    state = replace(
        state,
        X=state.X[:1],
        Y=torch.full_like(state.Y[:1], math.nan),
        cost_model=fixed_costs(1.0, 1.0),
    )
    state = state if finite else state.with_choices(None)
    n = 600
    requests = [RandomPolicy()(ModelList(), replace(state, seed=s)) for s in range(n)]
    X = torch.cat([request.X for request in requests])
    assert (X >= state.bounds[0]).all()
    assert (X <= state.bounds[1]).all()
    first = torch.cat([request.evaluation_mask for request in requests])[:, 0]
    # Means of uniform draws within four standard errors, for either outcome.
    expected = torch.full((2,), 0.5).double()
    sd = torch.full((2,), 1 / math.sqrt(12)).double()
    if finite:
        expected, sd = state.choices.mean(dim=0), state.choices.std(dim=0)
    for rows in (first, ~first):
        error = 4 * sd / rows.sum().sqrt()
        assert ((X[rows].mean(dim=0) - expected).abs() < error).all()
    if finite:
        counts = (X.unsqueeze(1) == state.choices).all(dim=-1).sum(dim=0)
        assert counts.sum() == n
        # 5 x the chance that a Poisson variable of mean 30 is at most 8 is < 1e-4.
        assert counts.min() > 8
        assert counts.max() < 60


def test_a_coupled_mask_measures_all_outcomes_of_fresh_designs(fitted: Fitted) -> None:
    model, state = fitted
    policy = RandomPolicy(torch.ones(1, 2, dtype=torch.bool))
    seen = []
    for seed in range(12):
        request = policy(model, replace(state, seed=seed))
        assert request.evaluation_mask.tolist() == [[True, True]]
        assert state.known_outcomes(request.X).isnan().all()
        assert request.cost is not None
        assert request.cost.tolist() == [11.0]
        seen.append(tuple(request.X[0].tolist()))
        state = told(state, request.X, request.evaluation_mask)
    assert len(set(seen)) == 12
    # Only designs that lack one outcome are left; no coupled measurement fits.
    with pytest.raises(CandidateGenerationError, match="none of 20 is left"):
        policy(model, state)


def test_random_never_exceeds_max_cost(fitted: Fitted) -> None:
    model, state = fitted
    # The cheap outcome is dearer than 4.5 on the right half.
    cost_model = GenericDeterministicModel(
        lambda X: torch.stack([0 * X[..., 0] + 10, 4 + X[..., 0]], dim=-1),
        num_outputs=2,
    )
    state = replace(state, cost_model=cost_model, max_cost=4.5)
    for seed in range(40):
        request = RandomPolicy()(model, replace(state, seed=seed))
        assert request.evaluation_mask.tolist() == [[False, True]]
        assert request.X[0, 0] <= 0.5
        assert request.cost is not None
        assert request.cost.item() == pytest.approx(4 + request.X[0, 0].item())
    with pytest.raises(CandidateGenerationError, match=r"costs at most 3\.9"):
        RandomPolicy()(model, replace(state, max_cost=3.9))


# --- spaces with separate values ------------------------------------------------------


@ON_SEPARATE
def test_random_goes_on_where_the_first_draw_is_measured(
    fitted: Fitted, space: SearchSpace
) -> None:
    model, state = fitted
    for seed in range(8):
        state = half_known(replace(state, seed=seed), space)
        request = RandomPolicy()(model, state)
        assert request.X.shape == (1, 2)
        assert request.evaluation_mask.sum() == 1
        assert state.open_outcomes(request.X)[request.evaluation_mask].all()
        assert torch.equal(space.feasible(space.project(request.X)), request.X)


@ON_SEPARATE
def test_random_ends_when_all_it_could_draw_is_too_dear(
    fitted: Fitted, space: SearchSpace
) -> None:
    model, state = fitted
    state = replace(half_known(state, space), max_cost=0.5)
    with pytest.raises(CandidateGenerationError, match=r"at most 0\.5"):
        RandomPolicy()(model, state)
