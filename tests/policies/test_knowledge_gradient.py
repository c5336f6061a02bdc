r"""Knowledge-gradient factories, built by hand and through a policy."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
import torch
from botorch.acquisition.multi_objective.hypervolume_knowledge_gradient import (
    qHypervolumeKnowledgeGradient,
)
from botorch.exceptions.errors import UnsupportedError
from botorch.models.cost import FixedCostModel
from botorch.utils.sampling import draw_sobol_samples
from torch import Tensor

from botorch_flexibo import (
    AcquisitionPolicy,
    DecoupledCostUtility,
    SearchSpace,
    sample_region_designs,
)
from botorch_flexibo.acquisition import LinearScalarizationKnowledgeGradient
from botorch_flexibo.optim import EvaluationRequest, SearchOptions
from botorch_flexibo.policies import HVKGFactory, LinearKGFactory
from botorch_flexibo.utils.fronts import hypervolume
from tests.policies.helpers import PROBLEM, Fitted

COSTS = (10.0, 1.0)
SMALL = LinearKGFactory(num_scalarizations=4, num_designs=16)
TINY = HVKGFactory(num_pareto=2, num_fantasies=2, value_restarts=2, value_samples=16)
FEW = SearchOptions(raw_samples=16, num_restarts=1, maxiter=3)
# BoTorch 0.18.1: fantasize() with a mask conditions on X without a sample dimension.
fantasies = pytest.mark.filterwarnings(
    "ignore:Non-strict enforcement of botorch tensor conventions"
)
finite_or_not = pytest.mark.parametrize("finite", [True, False], ids=["finite", "cube"])


def on(fitted: Fitted, finite: bool, **changes: object) -> Fitted:
    model, state = fitted
    state = state if finite else state.with_choices(None)
    return model, replace(state, **changes)


def scores(acqf: LinearScalarizationKnowledgeGradient, X: Tensor, i: int) -> Tensor:
    acqf.X_evaluation_mask = torch.tensor([[k == i for k in range(2)]])
    with torch.no_grad():
        return acqf(X.unsqueeze(-2))


# --- C-MOKG ---------------------------------------------------------------------------


@finite_or_not
def test_the_linear_function_has_region_designs_weights_and_costs_of_the_state(
    fitted: Fitted, finite: bool
) -> None:
    model, state = on(fitted, finite)
    designs = sample_region_designs(
        model,
        SearchSpace(state.bounds, state.choices),
        state.ref_point,
        num_designs=16,
        X=state.X,
        seed=5,
    )
    if not finite:  # as many Sobol designs join them
        sobol = draw_sobol_samples(state.bounds, n=16, q=1, seed=5).squeeze(-2)
        designs = torch.cat([designs, sobol])
    by_hand = LinearScalarizationKnowledgeGradient(
        model,
        designs,
        num_scalarizations=4,
        cost_aware_utility=DecoupledCostUtility(state.cost_model),
        seed=5,
    )
    acqf = SMALL(model, state)
    assert torch.equal(acqf.X_designs, designs)
    for i in range(2):
        expected = scores(by_hand, PROBLEM.discretize(9, seed=1), i)
        assert torch.equal(scores(acqf, PROBLEM.discretize(9, seed=1), i), expected)
        assert expected.max() > 0


def test_on_a_finite_set_the_maximum_is_over_choices_only(fitted: Fitted) -> None:
    model, state = fitted
    designs = SMALL(model, state).X_designs
    assert state.choices is not None
    assert len(designs) <= 16
    assert (designs.unsqueeze(1) == state.choices).all(dim=-1).any(dim=-1).all()


def test_the_request_on_choices_is_the_best_pair_of_a_brute_force_search(
    fitted: Fitted,
) -> None:
    model, state = fitted
    assert state.choices is not None
    acqf = SMALL(model, state)
    table = torch.stack([scores(acqf, state.choices, i) for i in range(2)], dim=-1)
    known = ~state.known_outcomes(state.choices).isnan()
    table = table.masked_fill(known, -math.inf)
    row, outcome = divmod(int(table.argmax()), 2)
    request = AcquisitionPolicy(SMALL)(model, state)
    assert torch.equal(request.X, state.choices[row : row + 1])
    assert request.evaluation_mask.tolist() == [[k == outcome for k in range(2)]]
    assert request.acq_value is not None
    assert request.acq_value.item() == pytest.approx(table.max().item())
    assert table.max() > 0
    assert request.cost is not None
    assert request.cost.tolist() == [COSTS[outcome]]


def test_the_request_on_a_cube_beats_random_pairs(fitted: Fitted) -> None:
    model, state = on(fitted, False)
    request = AcquisitionPolicy(SMALL)(model, state)
    assert request.X.shape == (1, 2)
    assert (request.X >= state.bounds[0]).all()
    assert (request.X <= state.bounds[1]).all()
    assert request.evaluation_mask.sum() == 1
    acqf = SMALL(model, state)
    outcome = int(request.evaluation_mask[0].nonzero())
    value = scores(acqf, request.X, outcome).item()
    assert request.acq_value is not None
    assert request.acq_value.item() == pytest.approx(value)
    others = torch.cat(
        [scores(acqf, PROBLEM.discretize(64, seed=9), i) for i in (0, 1)]
    )
    assert value > others.max()


@finite_or_not
def test_a_batch_has_pairs_that_are_new_and_different(
    fitted: Fitted, finite: bool
) -> None:
    model, state = on(fitted, finite)
    request = AcquisitionPolicy(SMALL, q=4, options=FEW)(model, state)
    outcomes = request.evaluation_mask.nonzero()[:, 1].tolist()
    pairs = [(*x, i) for x, i in zip(request.X.tolist(), outcomes, strict=True)]
    assert len(set(pairs)) == 4
    for x, i in zip(request.X, outcomes, strict=True):
        assert state.known_outcomes(x.unsqueeze(0))[0, i].isnan()


def test_dear_outcomes_are_left_alone(fitted: Fitted) -> None:
    model, state = fitted
    for costs, outcome in (((1e6, 1.0), 1), ((1.0, 1e6), 0)):
        cost_model = FixedCostModel(torch.tensor(costs, dtype=torch.float64))
        request = AcquisitionPolicy(SMALL)(model, replace(state, cost_model=cost_model))
        assert request.evaluation_mask[0].nonzero().item() == outcome


def test_the_defaults_take_sixteen_weights_and_128_designs(fitted: Fitted) -> None:
    model, state = on(fitted, False)
    acqf = LinearKGFactory()(model, state)
    assert 128 < len(acqf.X_designs) <= 256
    by_hand = LinearScalarizationKnowledgeGradient(
        model,
        acqf.X_designs,
        num_scalarizations=16,
        cost_aware_utility=DecoupledCostUtility(state.cost_model),
        seed=5,
    )
    X = PROBLEM.discretize(4, seed=1)
    assert torch.equal(scores(acqf, X, 0), scores(by_hand, X, 0))


# --- HVKG -----------------------------------------------------------------------------


def test_hvkg_is_botorchs_with_the_settings_of_the_factory(fitted: Fitted) -> None:
    model, state = fitted
    acqf = TINY(model, state)
    assert type(acqf) is qHypervolumeKnowledgeGradient
    assert (acqf.num_pareto, acqf.num_fantasies) == (2, 2)
    assert torch.equal(acqf.ref_point, state.ref_point)
    assert [s.sample_shape for s in acqf.sampler.samplers] == [torch.Size([2])] * 2
    assert [s.seed for s in acqf.sampler.samplers] == [5, 6]
    utility = acqf.cost_aware_utility
    assert isinstance(utility, DecoupledCostUtility)
    assert utility.cost_model is state.cost_model


def test_the_current_value_of_hvkg_is_the_largest_volume_of_that_many_means(
    fitted: Fitted,
) -> None:
    model, state = fitted
    factory = replace(TINY, value_restarts=4, value_samples=64)
    value = factory(model, state).current_value.item()
    generator = torch.Generator().manual_seed(0)
    X = torch.rand(2000, 2, 2, generator=generator, dtype=torch.float64)
    lower, upper = state.bounds
    with torch.no_grad():
        means = model.posterior(lower + (upper - lower) * X).mean
        volumes = hypervolume(means, state.ref_point)
    assert value >= volumes.max().item()
    assert value == pytest.approx(volumes.max().item(), rel=0.2)


# SciPy's search under constraints gives up at kinks; BoTorch starts it again.
@pytest.mark.filterwarnings("ignore:Optimization failed in `gen_candidates_scipy`")
@pytest.mark.parametrize("restriction", ["fixed_features", "inequality_constraints"])
def test_the_current_value_of_hvkg_is_that_of_designs_of_the_space(
    fitted: Fitted, restriction: str
) -> None:
    """Gains of the restricted space would else be compared with the whole."""
    model, state = fitted
    constraint = torch.tensor([0]), -torch.ones(1).double(), -0.1  # x0 <= 0.1
    options = {"fixed_features": {0: 0.05}, "inequality_constraints": [constraint]}
    space = SearchSpace(state.bounds, **{restriction: options[restriction]})
    factory = replace(TINY, value_restarts=4, value_samples=64)
    value = factory(model, replace(state, space=space)).current_value.item()
    X = space.sample(400, seed=0)
    if restriction == "fixed_features":
        assert (X[:, 0] == 0.05).all()
    with torch.no_grad():
        means = model.posterior(X).mean
        pairs = means[torch.randint(len(X), (4000, 2))]
        best = hypervolume(pairs, state.ref_point).max().item()
    assert value == pytest.approx(best, rel=0.2)
    whole = factory(model, state.with_choices(None)).current_value.item()
    assert value < whole


@fantasies
@pytest.mark.parametrize("paid", [0, 1])
def test_hvkg_makes_one_decision(fitted: Fitted, paid: int) -> None:
    costs = [1.0, 1.0]
    costs[paid] = 1e6
    cost_model = FixedCostModel(torch.tensor(costs, dtype=torch.float64))
    model, state = on(fitted, False, cost_model=cost_model)
    request = AcquisitionPolicy(TINY, options=FEW)(model, state)
    assert request.X.shape == (1, 2)
    assert (request.X >= state.bounds[0]).all()
    assert (request.X <= state.bounds[1]).all()
    assert request.evaluation_mask.tolist() == [[k != paid for k in range(2)]]
    assert request.cost is not None
    assert request.cost.tolist() == [1.0]
    assert request.acq_value is not None
    assert request.acq_value.isfinite().all()


def test_hvkg_refuses_choices(fitted: Fitted) -> None:
    message = (
        "Expected a continuous space for a one-shot acquisition function, but got"
        " choices, separate values or designs to revisit for"
        " qHypervolumeKnowledgeGradient. Leave them out."
    )
    with pytest.raises(UnsupportedError, match=f"^{re.escape(message)}$"):
        AcquisitionPolicy(TINY, options=FEW)(*fitted)


# --- randomness -----------------------------------------------------------------------


def same(first: EvaluationRequest, second: EvaluationRequest) -> bool:
    return torch.equal(first.X, second.X) and torch.equal(
        first.evaluation_mask, second.evaluation_mask
    )


@fantasies
@pytest.mark.parametrize(
    ("factory", "finite"),
    [(SMALL, True), (SMALL, False), (TINY, False)],
    ids=["linear-finite", "linear-cube", "hvkg-cube"],
)
def test_requests_depend_on_the_seed_of_the_state_alone(
    fitted: Fitted, factory: LinearKGFactory | HVKGFactory, finite: bool
) -> None:
    model, state = on(fitted, finite)
    requests = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        requests.append(AcquisitionPolicy(factory, options=FEW)(model, state))
        assert torch.equal(torch.get_rng_state(), before)
    assert same(*requests)


def test_weights_and_designs_are_drawn_anew_at_every_decision(fitted: Fitted) -> None:
    model, state = on(fitted, False)
    X = PROBLEM.discretize(9, seed=1)
    first, second = (SMALL(model, replace(state, seed=seed)) for seed in (0, 1))
    assert first.X_designs.shape != second.X_designs.shape or not torch.equal(
        first.X_designs, second.X_designs
    )
    assert not torch.allclose(scores(first, X, 0), scores(second, X, 0))


@pytest.mark.parametrize("factory", [SMALL, TINY], ids=["linear", "hvkg"])
def test_factories_are_values(factory: LinearKGFactory | HVKGFactory) -> None:
    assert factory == replace(factory)
    assert hash(factory) == hash(replace(factory))
