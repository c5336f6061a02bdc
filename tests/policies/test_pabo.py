r"""PABO-style agents: what they propose, learn, leave out and report."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, cast

import pytest
import torch
from botorch.acquisition.acquisition import AcquisitionFunction
from botorch.acquisition.analytic import (
    LogExpectedImprovement,
    LogProbabilityOfImprovement,
    UpperConfidenceBound,
)
from botorch.exceptions.errors import CandidateGenerationError, InputDataError
from botorch.models import SingleTaskGP
from botorch.models.cost import FixedCostModel
from botorch.models.deterministic import GenericDeterministicModel
from botorch.models.model import ModelList
from botorch.optim import optimize_acqf_discrete
from botorch.utils.multi_objective.pareto import is_non_dominated
from torch import Tensor

from botorch_flexibo import (
    DecoupledHistory,
    InitialDesign,
    fit_decoupled_model,
    run_decoupled_optimization,
)
from botorch_flexibo.acquisition import per_cost
from botorch_flexibo.exceptions import InvalidCostError
from botorch_flexibo.optim import EvaluationRequest, SearchOptions, SearchSpace
from botorch_flexibo.policies import DecoupledState
from botorch_flexibo.policies.pabo import (
    PABOMemory,
    PABOPolicy,
    Supervisor,
    UCBFactory,
    logei_factory,
    logpi_factory,
)
from botorch_flexibo.test_functions import (
    DecoupledBraninCurrin,
    DecoupledDTLZ2,
    DecoupledMOMFBraninCurrin,
    DecoupledProblem,
    DecoupledZDT1,
    TabularProblem,
)
from tests.policies.helpers import PROBLEM, told

NO_MODEL = ModelList()
ROUND_ROBIN = Supervisor(schedule="round_robin")
DEVICES: list[Any] = ["cpu"]
if torch.cuda.is_available():
    DEVICES.append(pytest.param("cuda", marks=pytest.mark.gpu))


def fixed_costs(*costs: float) -> FixedCostModel:
    return FixedCostModel(torch.tensor(costs, dtype=torch.float64))


def example(
    problem: DecoupledProblem = PROBLEM,
    *,
    num_choices: int | None = 64,
    num_measured: int = 6,
    costs: tuple[float, ...] | None = None,
    **changes: Any,
) -> DecoupledState:
    """Some designs measured completely."""
    designs = problem.discretize(64 if num_choices is None else num_choices, seed=3)
    X = designs[:num_measured]
    m = problem.num_objectives
    values = {
        "X": X,
        "Y": problem(X),
        "space": SearchSpace(problem.bounds, None if num_choices is None else designs),
        "ref_point": problem.ref_point,
        "cost_model": fixed_costs(*([1.0] * m if costs is None else costs)),
        "seed": 5,
    }
    return DecoupledState(**(values | changes))


def choices_of(state: DecoupledState) -> Tensor:
    assert state.choices is not None
    return state.choices


def next_state(
    state: DecoupledState,
    request: EvaluationRequest,
    values: Callable[[Tensor], Tensor] = PROBLEM,
) -> DecoupledState:
    """The next decision's state, once the requested outcomes came in."""
    state = told(state, request.X, request.evaluation_mask, values)
    return replace(state, iteration=state.iteration + 1, seed=state.seed + 1)


def run(
    problem: DecoupledProblem,
    policy: PABOPolicy,
    num_designs: int,
    *,
    num_choices: int | None = 256,
    seed: int = 0,
    **options: Any,
) -> DecoupledHistory:
    """The real loop, until so many designs were chosen."""
    choices = None
    if num_choices is not None and problem.choices is None:
        choices = problem.discretize(num_choices, seed=seed)
    return run_decoupled_optimization(
        problem,
        policy,
        # So large that the front is judged at the beginning and the end only.
        budget=1e6,
        initial_design=InitialDesign(6),
        choices=choices,
        seed=seed,
        callbacks=[lambda history: len(history.X) >= 6 + num_designs],
        **options,
    )


def masks(request: EvaluationRequest) -> list[list[bool]]:
    return request.evaluation_mask.tolist()


class Recorder:
    """Builds log EI and remembers the data it is built from."""

    def __init__(self) -> None:
        self.num_rows: list[int] = []
        self.best: list[float] = []

    def __call__(self, model: SingleTaskGP, best_f: Tensor) -> AcquisitionFunction:
        self.num_rows.append(len(model.train_targets))
        self.best.append(best_f.item())
        return logei_factory(model, best_f)


# --- what an agent proposes -----------------------------------------------------------

ACQUISITIONS = pytest.mark.parametrize(
    ("factory", "build"),
    [
        (logei_factory, lambda gp, best: LogExpectedImprovement(gp, best_f=best)),
        (logpi_factory, lambda gp, best: LogProbabilityOfImprovement(gp, best_f=best)),
        (UCBFactory(beta=2.0), lambda gp, best: UpperConfidenceBound(gp, beta=2.0)),
    ],
    ids=["logei", "logpi", "ucb"],
)


@ACQUISITIONS
@pytest.mark.parametrize("lead", [0, 1])
def test_an_agent_proposes_what_botorch_maximises_among_unseen_choices(
    factory: Any, build: Any, lead: int
) -> None:
    state = example()
    model = fit_decoupled_model(state.X, state.Y, bounds=state.bounds)
    acqf = build(model.models[lead], state.Y[:, lead].max())
    expected, _ = optimize_acqf_discrete(
        acqf, q=1, choices=choices_of(state), X_avoid=state.X
    )
    policy = PABOPolicy(Supervisor(lead=lead), acquisitions=factory)
    assert torch.equal(policy(NO_MODEL, state).X, expected)


def test_every_objective_can_have_an_acquisition_of_its_own() -> None:
    state = example()
    builders = [logei_factory, UCBFactory(beta=9.0)]
    mixed = PABOPolicy(ROUND_ROBIN, acquisitions=builders, q=2)(NO_MODEL, state)
    same = [
        PABOPolicy(ROUND_ROBIN, acquisitions=build, q=2)(NO_MODEL, state)
        for build in builders
    ]
    assert torch.equal(mixed.X[0], same[0].X[0])
    assert torch.equal(mixed.X[1], same[1].X[1])
    assert not torch.equal(same[0].X[1], same[1].X[1])


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_larger_values_are_better(sign: float) -> None:
    # Both outcomes grow with the first column, or shrink. The middle is known.
    first = torch.linspace(0, 1, 21, dtype=torch.float64)
    choices = torch.stack([first, torch.full_like(first, 0.5)], dim=-1)
    X = choices[6:15:2]
    Y = sign * torch.stack([X[:, 0], 3 * X[:, 0]], dim=-1)
    state = example(X=X, Y=Y, space=SearchSpace(PROBLEM.bounds, choices))
    proposed = PABOPolicy(ROUND_ROBIN, q=2)(NO_MODEL, state).X
    assert (sign * proposed[:, 0] > (sign * X[:, 0]).max()).all()


@pytest.mark.parametrize("factory", [logei_factory, UCBFactory()], ids=["log", "ucb"])
def test_values_per_cost_are_those_of_brute_force(factory: Any) -> None:
    state = example()
    model = fit_decoupled_model(state.X, state.Y, bounds=state.bounds)
    choices = choices_of(state)[6:]
    acqf = factory(model.models[0], state.Y[:, 0].max())
    with torch.no_grad():
        value = acqf(choices.unsqueeze(-2))
    if factory is logei_factory:
        value = value.exp()
    favourite = choices[value.argmax()]

    def costs(X: Tensor) -> Tensor:
        near = (-10 * (X - favourite).square().sum(dim=-1)).exp()
        return torch.stack([0.1 + 30 * near, 1 + X[..., 1]], dim=-1)

    cost_model = GenericDeterministicModel(costs, num_outputs=2)
    state = replace(state, cost_model=cost_model)
    price = costs(choices).sum(dim=-1)
    best = choices[torch.where(value > 0, value / price, value * price).argmax()]
    assert not torch.equal(best, favourite)
    request = PABOPolicy(acquisitions=factory, weighting=per_cost)(NO_MODEL, state)
    assert torch.equal(request.X[0], best)
    plain = PABOPolicy(acquisitions=factory)(NO_MODEL, state)
    assert torch.equal(plain.X[0], favourite)


def test_a_continuous_proposal_is_no_worse_than_thousands_of_random_designs() -> None:
    state = example(num_choices=None)
    request = PABOPolicy()(NO_MODEL, state)
    model = fit_decoupled_model(state.X, state.Y, bounds=state.bounds)
    acqf = LogExpectedImprovement(
        cast(SingleTaskGP, model.models[0]), best_f=state.Y[:, 0].max()
    )
    with torch.no_grad():
        raw = acqf(SearchSpace(state.bounds).sample(4096, seed=1).unsqueeze(-2))
        value = acqf(request.X)
    assert value > raw.max() - 1e-3
    assert (request.X >= state.bounds[0]).all()
    assert (request.X <= state.bounds[1]).all()


BELOW = (torch.tensor([0, 1]), torch.tensor([-1.0, -1.0]).double(), -0.8)


@pytest.mark.parametrize(
    "columns",
    [
        {"fixed_features": {1: 0.25}, "inequality_constraints": [BELOW]},
        {"discrete_dims": {1: [0.0, 0.5, 1.0]}, "cat_dims": {2: [0.0, 1.0]}},
    ],
    ids=["constrained", "mixed"],
)
def test_a_space_with_columns_of_its_own_is_kept(columns: dict[str, Any]) -> None:
    bounds = torch.tensor([[0.0] * 3, [1.0] * 3], dtype=torch.float64)
    space = SearchSpace(bounds, **columns)
    X = space.sample(8, seed=0)
    Y = torch.stack([X.sum(dim=-1), -X.square().sum(dim=-1)], dim=-1)
    state = example(X=X, Y=Y, space=space)
    options = SearchOptions(raw_samples=16, num_restarts=1, maxiter=5)
    proposed = PABOPolicy(options=options)(NO_MODEL, state).X
    assert len(proposed) == 1
    assert torch.equal(space.project(proposed), proposed)
    assert len(space.feasible(proposed)) == 1


def test_labels_without_an_order_get_a_kernel_of_their_own() -> None:
    X = torch.tensor(list(itertools.product([0.25, 0.75], [0, 1], [0, 1, 2])))
    X = X.double()
    Y = torch.stack([X.sum(dim=-1), -X.square().sum(dim=-1)], dim=-1)
    bounds = torch.stack([X.amin(dim=0), X.amax(dim=0)])
    state = example(X=X[:8], Y=Y[:8], space=SearchSpace(bounds, X))
    recorded: list[type] = []

    def record(model: SingleTaskGP, best_f: Tensor) -> AcquisitionFunction:
        recorded.append(type(model.covar_module))
        return logei_factory(model, best_f)

    for columns in ((), (2,)):
        PABOPolicy(acquisitions=record, categorical_features=columns)(NO_MODEL, state)
    assert recorded[0] is not recorded[1]


@pytest.mark.parametrize("device", DEVICES)
def test_requests_are_on_the_device_of_the_data(device: str) -> None:
    state = example()
    assert state.choices is not None
    moved = replace(
        state,
        X=state.X.to(device),
        Y=state.Y.to(device),
        space=SearchSpace(state.bounds.to(device), state.choices.to(device)),
        ref_point=state.ref_point.to(device),
        cost_model=fixed_costs(1.0, 1.0).to(device),
    )
    request = PABOPolicy(Supervisor(gate="predicted"))(NO_MODEL, moved)
    assert request.X.device.type == request.evaluation_mask.device.type == device


# --- what is asked for ----------------------------------------------------------------


@pytest.mark.parametrize("gate", ["observed", "none"])
def test_without_predictions_a_proposal_asks_for_everything(gate: Any) -> None:
    state = example(costs=(10.0, 1.0))
    request = PABOPolicy(Supervisor(gate=gate))(NO_MODEL, state)
    assert masks(request) == [[True, True]]
    assert request.cost is not None
    assert request.cost.tolist() == [11.0]


@pytest.mark.parametrize(
    ("costs", "expensive", "expected"),
    [
        ((1.0, 1.0, 1.0), None, [False, True, False]),
        ((100.0, 50.0, 1.0), None, [False, True, True]),
        ((100.0, 1.0, 1.0), None, [False, True, True]),
        ((1.0, 1.0, 1.0), (2,), [True, True, False]),
        ((1.0, 1.0, 1.0), (), [True, True, True]),
    ],
)
def test_the_predicted_gate_asks_for_cheap_outcomes_and_the_own_one_first(
    costs: tuple[float, ...], expensive: tuple[int, ...] | None, expected: list[bool]
) -> None:
    state = example(DecoupledDTLZ2(4, 3), costs=costs)
    policy = PABOPolicy(Supervisor(gate="predicted", lead=1, expensive=expensive))
    request = policy(NO_MODEL, state)
    assert masks(request) == [expected]
    paid = sum(c for c, asked in zip(costs, expected, strict=True) if asked)
    assert request.cost is not None
    assert request.cost.tolist() == [paid]


def own_value(value: float, other: float = 0.0) -> Callable[[Tensor], Tensor]:
    return lambda X: torch.tensor([[value, other]], dtype=X.dtype).expand(len(X), 2)


def test_a_promising_proposal_is_completed_without_acquisition_work() -> None:
    state = example()
    policy = PABOPolicy(Supervisor(gate="predicted"))
    first = policy(NO_MODEL, state)
    assert masks(first) == [[True, False]]
    # Better than anything known: nothing can dominate it.
    state = next_state(state, first, own_value(float(state.Y[:, 0].max()) + 1))
    before = policy.effort
    second = policy(NO_MODEL, state)
    assert torch.equal(second.X, first.X)
    assert masks(second) == [[False, True]]
    effort = policy.effort - before
    assert effort.num_acquisitions == effort.num_skipped == effort.num_gated == 0
    assert effort.num_expensive == 1


def test_a_proposal_waits_as_long_as_other_values_are_fixed() -> None:
    state = example(num_choices=None)
    policy = PABOPolicy(Supervisor(gate="predicted"))
    first = policy(NO_MODEL, state)
    state = next_state(state, first, own_value(float(state.Y[:, 0].max()) + 1))
    other = 0.75 if first.X[0, 0] < 0.5 else 0.25
    space = replace(state.space, fixed_features={0: other})
    second = policy(NO_MODEL, replace(state, space=space))
    assert second.X[:, 0].tolist() == [other]
    memory = cast(PABOMemory, policy.memory)
    assert tuple(first.X[0].tolist()) in [p.design for p in memory.pending]
    state = next_state(state, second)
    third = policy(NO_MODEL, state)
    assert torch.equal(third.X[:1], first.X)
    assert masks(third)[0] == [False, True]


def test_standing_designs_without_the_fixed_values_are_not_proposed() -> None:
    state = example(num_choices=None)
    policy = PABOPolicy(Supervisor(gate="predicted", patience=9))
    hopeless = own_value(float(state.Y.min()) - 9, float(state.Y.min()) - 9)
    for _ in range(2):
        state = next_state(state, policy(NO_MODEL, state), hopeless)
    assert any(cast(PABOMemory, policy.memory).standing)
    space = replace(state.space, fixed_features={0: 0.625})
    for _ in range(2):
        request = policy(NO_MODEL, replace(state, space=space))
        assert request.X[:, 0].tolist() == [0.625]
        state = next_state(state, request, hopeless)


def test_a_hopeless_proposal_is_never_completed() -> None:
    state = example()
    policy = PABOPolicy(Supervisor(gate="predicted", beta=0.0))
    first = policy(NO_MODEL, state)
    # Worse than the worst in outcome 0. The best known outcome 1 dominates unless its
    # prediction is better still.
    best = state.Y[:, 1].max()
    model = fit_decoupled_model(state.X, state.Y, bounds=state.bounds)
    with torch.no_grad():
        assert model.posterior(first.X).mean[0, 1] < best
    state = next_state(state, first, own_value(float(state.Y[:, 0].min()) - 1))
    second = policy(NO_MODEL, state)
    assert policy.effort.num_gated == 1
    assert not torch.equal(second.X, first.X)
    for _ in range(4):  # nor is it proposed by another agent
        state = next_state(state, second)
        second = policy(NO_MODEL, state)
        assert not (second.X == first.X).all(dim=-1).any()


def test_a_wide_posterior_saves_a_proposal_that_its_mean_would_not() -> None:
    requests = []
    for beta in (0.0, 1e6):
        state = example()
        policy = PABOPolicy(Supervisor(gate="predicted", beta=beta))
        first = policy(NO_MODEL, state)
        state = next_state(state, first, own_value(float(state.Y[:, 0].min()) - 1))
        requests.append((first, policy(NO_MODEL, state)))
    assert not torch.equal(requests[0][1].X, requests[0][0].X)
    assert torch.equal(requests[1][1].X, requests[1][0].X)


def test_outcomes_that_are_known_already_are_not_measured_again() -> None:
    state = example()
    # Only designs are left whose second outcome is known, as after a cheap start.
    X = torch.cat([state.X, choices_of(state)[6:10]])
    Y = PROBLEM(X)
    Y[6:, 0] = math.nan
    state = replace(
        state, X=X, Y=Y, space=SearchSpace(state.bounds, choices_of(state)[:10])
    )
    policy = PABOPolicy(Supervisor(gate="none"))
    asked = []
    for _ in range(4):
        request = policy(NO_MODEL, state)
        assert masks(request) == [[True, False]]
        asked.append(tuple(request.X[0].tolist()))
        state = next_state(state, request)
    assert sorted(asked) == sorted(map(tuple, X[6:].tolist()))
    with pytest.raises(CandidateGenerationError, match="every agent has seen all"):
        policy(NO_MODEL, state)


def test_a_failed_measurement_does_not_stop_the_agents() -> None:
    state = example()
    policy = PABOPolicy(Supervisor(gate="predicted"))
    seen = []
    for _ in range(4):
        request = policy(NO_MODEL, state)
        seen.append(tuple(request.X[0].tolist()))
        state = next_state(state, request, own_value(math.nan, math.nan))
    assert len(set(seen)) == 4


def test_proposals_being_measured_are_awaited() -> None:
    state = example()
    policy = PABOPolicy(Supervisor(gate="predicted"))
    first = policy(NO_MODEL, state)
    state = replace(
        state,
        iteration=2,
        X_pending=torch.cat([first.X, choices_of(state)[9:10]]),
        X_pending_evaluation_mask=torch.ones(2, 2, dtype=torch.bool),
    )
    second = policy(NO_MODEL, state)
    assert masks(second) == [[False, True]]  # of the other agent
    third = policy(NO_MODEL, replace(state, iteration=3))
    designs = torch.cat([first.X, second.X, third.X, choices_of(state)[9:10]])
    assert len(designs.unique(dim=0)) == 4
    state = next_state(replace(state, X_pending=None), first, own_value(99.0))
    last = policy(NO_MODEL, state)
    assert torch.equal(last.X[:1], first.X)
    assert masks(last)[0] == [False, True]


# --- what agents learn ----------------------------------------------------------------


@pytest.mark.parametrize("gate", ["observed", "none"])
@pytest.mark.parametrize("promising", [True, False])
def test_only_proposals_on_the_front_are_shared_unless_there_is_no_gate(
    gate: Any, promising: bool
) -> None:
    recorders = [Recorder(), Recorder()]
    policy = PABOPolicy(
        Supervisor(gate=gate, schedule="round_robin"), acquisitions=recorders
    )
    state = example()
    bad = own_value(float(state.Y[:, 0].min()) - 1, float(state.Y[:, 1].min()) - 1)
    good = own_value(float(state.Y[:, 0].max()) + 1, float(state.Y[:, 1].max()) + 1)
    values = good if promising else bad
    state = next_state(state, policy(NO_MODEL, state), values)
    state = next_state(state, policy(NO_MODEL, state), bad)
    policy(NO_MODEL, state)
    shared = promising or gate == "none"
    # The second agent before its turn, the lead at its second: its own one always.
    assert recorders[1].num_rows == [7 if shared else 6]
    assert recorders[0].num_rows == [6, 8 if gate == "none" else 7]
    best = values(state.X[:1])[0, 1] if shared else example().Y[:, 1].max()
    assert recorders[1].best == [max(best, example().Y[:, 1].max())]
    assert policy.effort.num_gated == (0 if gate == "none" else 2 - shared)


def test_what_was_known_before_a_proposal_is_not_withheld() -> None:
    state = example(num_measured=10)
    Y = state.Y.clone()
    Y[6:, 0] = math.nan  # a cheap start
    choices = choices_of(state)[:10]
    state = replace(state, Y=Y, space=SearchSpace(state.bounds, choices))
    recorders = [Recorder(), Recorder()]
    policy = PABOPolicy(ROUND_ROBIN, acquisitions=recorders)
    for _ in range(2):  # the second agent knows all choices and passes
        state = next_state(state, policy(NO_MODEL, state), own_value(-1e3))
    state = replace(state, space=SearchSpace(state.bounds))
    policy(NO_MODEL, state)
    assert policy.memory is not None
    assert [p.shared for p in policy.memory.closed] == [False, False]
    assert recorders[1].num_rows == [10]


def test_a_proposal_is_shared_iff_nothing_known_dominates_it() -> None:
    policy = PABOPolicy(ROUND_ROBIN)
    history = run(PROBLEM, policy, 8)
    assert policy.memory is not None
    closed = policy.memory.closed
    assert len(closed) == 7  # the last proposal is not judged yet
    for k, proposal in enumerate(closed):
        known = history.Y[: 7 + k]
        assert history.X[6 + k].tolist() == list(proposal.design)
        assert proposal.shared == bool(is_non_dominated(known, deduplicate=False)[-1])
        assert proposal.agent == k % 2
    assert len({proposal.shared for proposal in closed}) == 2


def test_measured_designs_it_does_not_remember_are_everyones() -> None:
    recorders = [Recorder(), Recorder()]
    state = replace(example(num_measured=9), iteration=40)
    PABOPolicy(ROUND_ROBIN, acquisitions=recorders, q=2)(NO_MODEL, state)
    assert [recorder.num_rows for recorder in recorders] == [[9], [9]]


def test_a_policy_forgets_at_the_first_decision_of_a_run() -> None:
    policy = PABOPolicy(Supervisor(gate="predicted"))
    state = example()
    first = policy(NO_MODEL, state)
    policy(NO_MODEL, next_state(state, first, own_value(99.0)))
    again = policy(NO_MODEL, state)
    assert torch.equal(again.X, first.X)
    assert policy.memory is not None
    assert len(policy.memory.proposed) == 1
    assert policy.effort.num_acquisitions == 2  # the effort goes on


def test_a_run_is_resumed_with_a_memory_from_json() -> None:
    state = example()
    policy = PABOPolicy(Supervisor(gate="predicted"), q=2)
    for values in (own_value(0.0, 0.0), own_value(-1.0, -1.0), PROBLEM):
        state = next_state(state, policy(NO_MODEL, state), values)
    assert policy.memory is not None
    text = json.dumps(asdict(policy.memory))
    resumed = PABOPolicy(Supervisor(gate="predicted"), q=2)
    resumed.memory = PABOMemory.from_dict(json.loads(text))
    assert resumed.memory == policy.memory
    assert resumed.memory.pending
    assert resumed.memory.closed
    for _ in range(3):
        expected, request = policy(NO_MODEL, state), resumed(NO_MODEL, state)
        assert torch.equal(request.X, expected.X)
        assert masks(request) == masks(expected)
        state = next_state(state, request)


# --- turns ----------------------------------------------------------------------------


def test_in_round_robin_agents_propose_in_turn_beginning_with_the_lead() -> None:
    problem = DecoupledDTLZ2(4, 3)
    policy = PABOPolicy(Supervisor(schedule="round_robin", lead=1))
    run(problem, policy, 4, num_choices=64)
    assert policy.memory is not None
    agents = [p.agent for p in [*policy.memory.closed, *policy.memory.pending]]
    assert agents == [1, 0, 2, 1]
    assert policy.effort.num_acquisitions == policy.effort.num_fits == 4
    assert policy.effort.num_skipped == 0


def test_a_batch_of_all_agents_is_one_pass_of_different_designs() -> None:
    problem = DecoupledDTLZ2(4, 3)
    state = example(problem)
    policy = PABOPolicy(ROUND_ROBIN, q=3)
    request = policy(NO_MODEL, state)
    assert len(request.X.unique(dim=0)) == 3
    assert policy.effort.num_acquisitions == policy.effort.num_fits == 3
    # One after the other they propose the same, as long as nothing comes in.
    single = PABOPolicy(ROUND_ROBIN)
    for k in range(3):
        pending = request.X[:k] if k else None
        one = single(NO_MODEL, replace(state, iteration=k + 1, X_pending=pending))
        assert torch.equal(one.X[0], request.X[k])


def test_an_agent_is_updated_once_in_a_batch_in_which_it_has_several_turns() -> None:
    policy = PABOPolicy(ROUND_ROBIN, q=5)
    request = policy(NO_MODEL, example())
    assert len(request.X.unique(dim=0)) == 5
    assert policy.effort.num_acquisitions == 2


@pytest.mark.parametrize("patience", [0, 2])
def test_no_agent_idles_longer_than_patience(patience: int) -> None:
    recorders = [Recorder(), Recorder()]
    policy = PABOPolicy(Supervisor(patience=patience), acquisitions=recorders)
    state = example(DecoupledZDT1(3, costs=(1.0, 1.0)), num_choices=128)
    # Everything proposed is bad: nobody learns from others.
    bad = own_value(-20.0, -20.0)
    turns = 0
    for k in range(4 * patience + 4):
        updates = len(recorders[1].num_rows)
        state = next_state(state, policy(NO_MODEL, state), bad)
        assert policy.memory is not None
        assert max(policy.memory.idle) <= patience
        if k % 2 == 1:
            turns += 1
            updated = len(recorders[1].num_rows) > updates
            assert updated == ((turns - 1) % (patience + 1) == 0)
    assert len(recorders[0].num_rows) == turns  # the lead never idles
    assert policy.effort.num_skipped == turns - len(recorders[1].num_rows)


def test_who_learned_from_another_agent_does_not_idle() -> None:
    policy = PABOPolicy(Supervisor(gate="none"))
    state = example()
    for _ in range(6):
        state = next_state(state, policy(NO_MODEL, state))
    assert policy.effort.num_skipped == 0
    assert policy.effort.num_acquisitions == 6


def test_the_surrogate_proposes_the_most_uncertain_design_of_the_predicted_front() -> (
    None
):
    state = example()
    assert state.choices is not None
    policy = PABOPolicy(ROUND_ROBIN, q=3, pareto_surrogate=True)
    request = policy(NO_MODEL, state)
    assert policy.effort.num_acquisitions == 3
    model = fit_decoupled_model(state.X, state.Y, bounds=state.bounds)
    with torch.no_grad():
        posterior = model.posterior(state.choices)
        mean, variance = posterior.mean, posterior.variance
    mean[:6] = state.Y
    free = is_non_dominated(mean)
    free[:6] = False
    for x in request.X[:2]:
        free &= (state.choices != x).any(dim=-1)
    spread = state.Y.var(dim=0, correction=0)
    doubt = (variance / spread).sqrt().sum(dim=-1).masked_fill(~free, -1.0)
    assert free.sum() > 1
    assert torch.equal(request.X[2], state.choices[doubt.argmax()])
    assert policy.memory is not None
    assert [p.agent for p in policy.memory.pending] == [0, 1, 0]


# --- budgets --------------------------------------------------------------------------


def test_an_agent_that_cannot_pay_gives_way_to_one_that_can() -> None:
    state = example(costs=(10.0, 1.0), max_cost=5.0)
    policy = PABOPolicy(Supervisor(gate="predicted", expensive=(0, 1)))
    request = policy(NO_MODEL, state)
    assert masks(request) == [[False, True]]
    assert policy.effort.num_fits == 1
    with pytest.raises(CandidateGenerationError, match=r"costs at most 0\.5"):
        policy(NO_MODEL, replace(state, max_cost=0.5))


def test_a_batch_ends_where_the_money_does() -> None:
    state = example(costs=(10.0, 1.0), max_cost=25.0)
    request = PABOPolicy(q=4)(NO_MODEL, state)
    assert masks(request) == [[True, True]] * 2


def test_what_cannot_be_completed_any_more_is_left() -> None:
    state = example(costs=(1.0, 10.0))
    policy = PABOPolicy(Supervisor(gate="predicted", expensive=(0, 1)))
    first = policy(NO_MODEL, state)
    state = replace(next_state(state, first, own_value(99.0)), max_cost=5.0)
    second = policy(NO_MODEL, state)
    assert masks(second) == [[True, False]]
    assert not torch.equal(second.X, first.X)


@pytest.mark.parametrize("gate", ["observed", "predicted"])
def test_a_strict_budget_is_never_exceeded(gate: Any) -> None:
    history = run_decoupled_optimization(
        PROBLEM,
        PABOPolicy(Supervisor(gate=gate), q=2),
        budget=75.5,
        initial_design=InitialDesign(4),
        cost_model=fixed_costs(10.0, 1.0),
        choices=PROBLEM.discretize(32, seed=0),
        strict=True,
    )
    assert history.stop_reason == "unaffordable"
    assert 75.5 - 11 < history.total_cost <= 75.5


# --- runs -----------------------------------------------------------------------------


def table(num_rows: int) -> TabularProblem:
    X = DecoupledBraninCurrin().discretize(num_rows, seed=1)
    return TabularProblem(
        X,
        PROBLEM(X),
        torch.ones(num_rows, 2, dtype=torch.float64),
        ref_point=[-300.0, -20.0],
        outcome_names=["a", "b"],
        cost_unit="s",
    )


@pytest.mark.parametrize("gate", ["observed", "predicted", "none"])
def test_a_run_measures_every_pair_at_most_once_until_nothing_is_left(
    gate: Any,
) -> None:
    policy = PABOPolicy(Supervisor(gate=gate), q=2)
    history = run(table(12), policy, num_designs=1000)
    assert history.stop_reason == "exhausted"
    assert len(history.X) == 12
    asked = [
        (record.design, i)
        for record in history.records
        for i in range(2)
        if record.measured[i]
    ]
    assert len(set(asked)) == len(asked)
    if gate != "predicted":
        assert len(asked) == 24
    assert policy.memory is not None
    assert all(p.asked != (False, False) for p in policy.memory.closed)


@pytest.mark.parametrize("num_choices", [64, None], ids=["choices", "continuous"])
def test_the_same_seed_gives_the_same_run_and_the_callers_state_is_untouched(
    num_choices: int | None,
) -> None:
    runs = []
    for global_seed, seed in ((0, 1), (7, 1)):
        torch.manual_seed(global_seed)
        before = torch.get_rng_state()
        policy = PABOPolicy(Supervisor(gate="predicted"), q=2)
        history = run(PROBLEM, policy, 3, num_choices=num_choices, seed=seed)
        assert torch.equal(torch.get_rng_state(), before)
        measured = [(r.design, r.measured) for r in history.records]
        runs.append((history.X.tolist(), measured))
    assert runs[0] == runs[1]


def test_three_objectives_run_through_the_same_code() -> None:
    problem = DecoupledDTLZ2(4, 3, costs=(20.0, 1.0, 1.0))
    policy = PABOPolicy(Supervisor(gate="predicted", beta=0.0))
    history = run(problem, policy, 5, num_choices=64)
    known = ~history.Y.isnan()
    assert known[:, 1:].all()  # cheap ones are never shielded
    assert not known[:, 0].all()
    assert policy.memory is not None
    for proposal in policy.memory.closed:
        # Nothing but the dear outcome is asked for later.
        assert proposal.asked[1:] == (True, True)
        if proposal.agent == 0:
            assert proposal.asked[0]


def test_designs_are_proposed_at_the_target_fidelity() -> None:
    problem = DecoupledMOMFBraninCurrin()
    (column, target), *_ = problem.target_fidelities.items()
    X = problem.discretize(6, seed=0)
    X[:4, column] = target
    X[4:, column] = 0.25
    state = example(
        problem,
        X=X,
        Y=problem(X),
        space=SearchSpace(problem.bounds),
        target_fidelities=problem.target_fidelities,
    )
    recorders = [Recorder(), Recorder()]
    request = PABOPolicy(ROUND_ROBIN, q=2, acquisitions=recorders)(NO_MODEL, state)
    assert (request.X[:, column] == target).all()
    # Cheaper fidelities inform the models, but are not what is to be improved on.
    assert [r.num_rows for r in recorders] == [[6], [6]]
    assert [r.best for r in recorders] == [[v] for v in state.Y[:4].amax(0).tolist()]
    with pytest.raises(InputDataError, match="archive of at least one design"):
        PABOPolicy()(NO_MODEL, replace(state, X=X[4:], Y=state.Y[4:]))


# --- what it saves --------------------------------------------------------------------


def test_lead_skip_does_less_work_than_round_robin_for_the_same_evaluations() -> None:
    problem = DecoupledZDT1(4, costs=(1.0, 1.0))
    efforts = []
    for supervisor in (Supervisor(), ROUND_ROBIN):
        history = run(problem, PABOPolicy(supervisor), 14, num_choices=512)
        assert history.num_measurements == {"f1": 20, "f2": 20}
        efforts.append(history.effort)
    lead_skip, round_robin = efforts
    assert round_robin.num_fits == round_robin.num_acquisitions == 14
    assert lead_skip.num_fits <= 0.85 * round_robin.num_fits
    assert lead_skip.num_acquisitions <= 0.85 * round_robin.num_acquisitions
    assert lead_skip.num_skipped == 14 - lead_skip.num_acquisitions


@pytest.mark.parametrize(
    ("problem", "num_designs"),
    [
        pytest.param(
            DecoupledBraninCurrin(costs=(1.0, 1.0)), 30, marks=pytest.mark.slow
        ),
        (DecoupledZDT1(4, costs=(1.0, 1.0)), 12),
    ],
    ids=["branin-currin", "zdt1"],
)
def test_the_predicted_gate_saves_a_fifth_of_the_expensive_evaluations(
    problem: DecoupledProblem, num_designs: int
) -> None:
    counts = []
    for gate in ("none", "predicted"):
        policy = PABOPolicy(Supervisor(gate=gate))
        history = run(problem, policy, num_designs, num_choices=512)
        assert len(history.X) == 6 + num_designs
        measured = sum(history.num_measurements.values()) - 12
        assert measured == history.effort.num_expensive
        counts.append(measured)
    assert counts[0] == 2 * num_designs
    assert counts[1] <= 0.8 * counts[0]


def test_the_history_counts_what_the_policy_did() -> None:
    policy = PABOPolicy(Supervisor(gate="predicted"))
    history = run(PROBLEM, policy, 5, num_choices=64)
    assert history.effort == policy.effort
    frame = history.to_pandas()
    for name, value in asdict(history.effort).items():
        assert sum(frame[f"effort_{name}"].tolist()) == pytest.approx(value)
    assert history.effort.num_fits > 0
    policy_seconds = sum(record.policy_seconds for record in history.records)
    assert 0 < history.effort.fit_seconds < policy_seconds
    assert 0 < history.effort.acquisition_seconds < policy_seconds
    follow_ups = [
        record
        for k, record in enumerate(history.records)
        if any(record.design == r.design for r in history.records[:k])
    ]
    assert follow_ups
    assert all(record.effort.num_acquisitions == 0 for record in follow_ups)


# --- bad input ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (PABOPolicy(Supervisor(lead=2)), "lead objective within"),
        (PABOPolicy(Supervisor(expensive=(5,))), "expensive objectives within"),
        (PABOPolicy(acquisitions=[logei_factory]), "Expected 2 acquisitions.*got 1"),
    ],
)
def test_objectives_that_do_not_exist_are_refused(
    policy: PABOPolicy, message: str
) -> None:
    with pytest.raises(InputDataError, match=message):
        policy(NO_MODEL, example())


@pytest.mark.parametrize("bad", [0.0, -1.0, math.inf, math.nan])
def test_costs_that_make_no_sense_are_refused(bad: float) -> None:
    cost_model = GenericDeterministicModel(
        lambda X: torch.stack([0 * X[..., 0] + bad, 0 * X[..., 0] + 1], dim=-1),
        num_outputs=2,
    )
    with pytest.raises(InvalidCostError, match="positive and finite"):
        PABOPolicy()(NO_MODEL, example(cost_model=cost_model))


def test_an_empty_archive_is_refused() -> None:
    state = example()
    Y = state.Y.clone()
    Y[:3, 0] = math.nan
    Y[3:, 1] = math.nan
    with pytest.raises(InputDataError, match="archive of at least one design"):
        PABOPolicy()(NO_MODEL, replace(state, Y=Y))


def test_a_policy_that_never_proposes_is_refused() -> None:
    with pytest.raises(InputDataError, match="Expected q >= 1, but got 0"):
        PABOPolicy(q=0)


def test_acquisition_values_that_are_no_numbers_are_refused() -> None:
    class Broken(AcquisitionFunction):
        def forward(self, X: Tensor) -> Tensor:
            return X[..., 0, 0] * math.nan

    policy = PABOPolicy(acquisitions=lambda model, best_f: Broken(model))
    with pytest.raises(InputDataError, match="without NaN, but got 64 NaN of 64"):
        policy(NO_MODEL, example())
