r"""The closed loop: what is paid, what is known, and when it ends."""

from __future__ import annotations

import io
import itertools
import json
import math
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import moocore
import numpy as np
import pytest
import torch
from botorch.acquisition.acquisition import AcquisitionFunction
from botorch.exceptions.errors import (
    CandidateGenerationError,
    InputDataError,
    UnsupportedError,
)
from botorch.models.cost import FixedCostModel
from botorch.models.deterministic import GenericDeterministicModel
from botorch.models.model import ModelList
from botorch.utils.transforms import t_batch_mode_transform
from torch import Tensor

from botorch_flexibo import (
    AcquisitionPolicy,
    CoupledPolicy,
    DecoupledHistory,
    DecoupledModelFitter,
    FlexiBOFactory,
    InitialDesign,
    LookaheadFactory,
    PABOPolicy,
    ProgressBar,
    RandomPolicy,
    VariancePerCostPolicy,
    run_decoupled_optimization,
)
from botorch_flexibo.acquisition import unweighted
from botorch_flexibo.exceptions import InvalidCostError
from botorch_flexibo.models import (
    CostModel,
    LogNormalCostModel,
    PaidCosts,
    SetupCostModel,
)
from botorch_flexibo.optim import EvaluationRequest, SearchOptions
from botorch_flexibo.policies import (
    DecoupledState,
    DiscretizedPolicy,
    Policy,
    qlognparego_factory,
)
from botorch_flexibo.policies.base import Effort
from botorch_flexibo.test_functions import (
    DecoupledBraninCurrin,
    DecoupledProblem,
    TabularProblem,
)

AnyProblem = TypeVar("AnyProblem", bound=DecoupledProblem)


class Table(TabularProblem):
    """Designs on a grid, smooth outcomes; the first one has an uneven price.

    It counts how often a price was asked for and remembers what was measured.
    """

    def __init__(
        self, num_rows: int = 4, noise_std: float | None = None, interrupt_at: int = -1
    ) -> None:
        grid = torch.cartesian_prod(
            torch.linspace(0, 1, num_rows), torch.linspace(0, 1, 3)
        ).double()
        a, b = grid.unbind(dim=-1)
        Y = torch.stack([(3 * a).sin() + b, (2 * b).cos() - a * b - a], dim=-1)
        # Not representable exactly, so that sums in single precision would show.
        costs = torch.stack([7.1 + 2.3 * a + 0.7 * b, 0.13 + 0.01 * a], dim=-1)
        super().__init__(
            grid,
            Y,
            costs,
            ref_point=[-0.1, -2.1],
            outcome_names=["dear", "cheap"],
            cost_unit="s",
            noise_std=noise_std,
        )
        self.num_prices = 0
        self.asked: list[tuple[int, int]] = []
        self.interrupt_at = interrupt_at

    def cost(self, X: Tensor) -> Tensor:
        self.num_prices += X[..., 0].numel()
        return super().cost(X)

    def _measure(self, X: Tensor, evaluation_mask: Tensor) -> Tensor:
        if len(self.asked) == self.interrupt_at:
            raise KeyboardInterrupt
        rows = self.indices(X).tolist()
        self.asked += [(rows[k], i) for k, i in evaluation_mask.nonzero().tolist()]
        return super()._measure(X, evaluation_mask)


class Recording(RandomPolicy):
    """The random policy; remembers what it was told."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.states: list[DecoupledState] = []

    def __call__(self, model: ModelList, state: DecoupledState) -> EvaluationRequest:
        self.states.append(state)
        return super().__call__(model, state)


class Priced(Recording):
    """To the loop, one that decides by model and costs."""

    uses_model = True


def unjudged(problem: AnyProblem) -> AnyProblem:
    """The same problem, but that no model is fitted to judge its identified front."""
    problem.knows_truth = False
    return problem


def run(
    problem: DecoupledProblem | None = None,
    policy: Policy | None = None,
    *,
    budget: float = 60.0,
    initial: InitialDesign | None = None,
    **options: Any,
) -> DecoupledHistory:
    return run_decoupled_optimization(
        Table() if problem is None else problem,
        RandomPolicy() if policy is None else policy,
        budget=budget,
        initial_design=InitialDesign(4) if initial is None else initial,
        **options,
    )


def true_costs(problem: TabularProblem) -> GenericDeterministicModel:
    """A belief that happens to be the truth, from a copy of the prices."""
    X, costs = problem.choices.clone(), problem.costs.clone()

    def look_up(asked: Tensor) -> Tensor:
        equal = (asked.unsqueeze(-2) == X).all(dim=-1)
        return costs[equal.long().argmax(dim=-1)]

    return GenericDeterministicModel(look_up, num_outputs=2)


def fixed_costs(*costs: float) -> FixedCostModel:
    return FixedCostModel(torch.tensor(costs, dtype=torch.float64))


def requests(history: DecoupledHistory) -> list[tuple[Any, ...]]:
    """What was asked and answered, without wall times."""
    return [
        (
            r.decision,
            history.X[r.design].tolist(),
            r.measured,
            [None if math.isnan(v) else v for v in r.values],
            r.costs,
        )
        for r in history.records
    ]


def stop_after(num_calls: int) -> Callable[[DecoupledHistory], bool]:
    calls = itertools.count(1)
    return lambda history: next(calls) >= num_calls


def volume(Y: Tensor, ref_point: Tensor) -> float:
    if len(Y) == 0:
        return 0.0
    return moocore.hypervolume(-Y.numpy(), ref=-ref_point.numpy())


def flexibo(q: int = 1) -> AcquisitionPolicy:
    return AcquisitionPolicy(FlexiBOFactory(), q=q)


# --- the ledger -----------------------------------------------------------------------


@pytest.mark.parametrize("budget", [0.5, 20.0, 45.0, 61.7])
def test_the_budget_is_overspent_by_the_last_request_at_most(budget: float) -> None:
    history = run(unjudged(Table()), flexibo(q=3), budget=budget)
    assert history.stop_reason == "budget"
    assert history.total_cost >= budget
    assert history.total_cost - sum(history.records[-1].costs) < budget


def test_every_measurement_is_paid_with_its_true_cost() -> None:
    problem = Table()
    history = run(problem, budget=70.0)
    spent = 0.0
    for record in history.records:
        row = int(problem.indices(history.X[record.design]))
        price = problem.costs[row].tolist()
        expected = [
            p if m else 0.0 for p, m in zip(price, record.measured, strict=True)
        ]
        assert list(record.costs) == expected
        spent += sum(expected)
        assert record.cumulative_cost == pytest.approx(spent, rel=1e-12)
    assert history.total_cost == pytest.approx(spent, rel=1e-12)
    assert history.total_cost == pytest.approx(
        sum(history.cost_by_outcome.values()), abs=1e-9
    )


def test_values_are_the_true_ones_where_measured_and_nan_elsewhere() -> None:
    problem = Table()
    history = run(problem, budget=50.0)
    for record in history.records:
        truth = problem.evaluate_true(history.X[record.design : record.design + 1])[0]
        for i, measured in enumerate(record.measured):
            assert any(record.measured)
            if measured:
                assert record.values[i] == truth[i].item()
            else:
                assert math.isnan(record.values[i])
    assert len(history.X.unique(dim=0)) == len(history.X)


def test_an_outcome_that_nobody_paid_for_is_nowhere_in_the_data() -> None:
    problem = Table()
    history = run(problem, budget=50.0)
    paid = torch.zeros_like(history.Y, dtype=torch.bool)
    for record in history.records:
        for i, cost in enumerate(record.costs):
            assert (cost > 0) == record.measured[i]
            paid[record.design, i] |= cost > 0
    assert torch.equal(paid, ~history.Y.isnan())
    assert not paid.all()
    measured = {
        (int(problem.indices(history.X[row])), i) for row, i in paid.nonzero().tolist()
    }
    assert set(problem.asked) == measured
    assert len(problem.asked) == len(measured) == sum(history.num_measurements.values())


def test_only_complete_designs_count_in_the_measured_hypervolume() -> None:
    problem = Table()
    # Two complete designs, ten with the cheap outcome only, then random measurements.
    history = run(
        problem,
        budget=60.0,
        initial=InitialDesign(12, num_complete=2),
        cost_model=true_costs(problem),
        seed=1,
    )
    Y = torch.full_like(history.Y, math.nan)
    volumes = []
    for record in history.records:
        for i, measured in enumerate(record.measured):
            if measured:
                Y[record.design, i] = record.values[i]
        complete = Y[~Y.isnan().any(dim=-1)]
        volumes.append(volume(complete, problem.ref_point))
        assert record.hv_measured == pytest.approx(volumes[-1], abs=1e-12)
    assert torch.equal(Y.nan_to_num(nan=-99.0), history.Y.nan_to_num(nan=-99.0))
    assert volumes[0] < volumes[1] == volumes[11] < volumes[-1]


@pytest.mark.parametrize("noise_std", [None, 5.0])
def test_the_identified_hypervolume_is_that_of_the_true_values(
    noise_std: float | None,
) -> None:
    problem = Table(num_rows=3, noise_std=noise_std)
    history = run(problem, budget=1e6)
    assert history.stop_reason == "exhausted"
    # Everything is measured: the identified front is that of the measured values.
    rows = problem.indices(history.X)
    front = moocore.is_nondominated(history.Y.numpy(), maximise=True)
    truth = problem.Y[rows][torch.from_numpy(front)]
    expected = volume(truth, problem.ref_point)
    last = history.records[-1].hv_identified
    assert last == pytest.approx(expected, rel=1e-12)
    assert history.max_hv == problem.max_hv
    if noise_std is None:
        assert last == pytest.approx(problem.max_hv, rel=1e-12)
    else:
        assert last < problem.max_hv


def test_the_identified_hypervolume_never_exceeds_that_of_the_true_front() -> None:
    problem = Table()
    history = run(problem, flexibo(), budget=60.0)
    volumes = [r.hv_identified for r in history.records]
    known = [v for v in volumes if not math.isnan(v)]
    assert len(known) > 3
    assert max(known) <= problem.max_hv * (1 + 1e-12)
    assert not math.isnan(volumes[-1])


def test_a_problem_that_is_negated_has_its_truth_negated_too() -> None:
    problem = DecoupledBraninCurrin(costs=(2.0, 1.0))
    choices = problem.discretize(6, seed=11)
    history = run(problem, budget=1e6, choices=choices, seed=11)
    assert history.stop_reason == "exhausted"
    expected = volume(problem(choices), problem.ref_point)
    assert expected > 0
    assert history.records[-1].hv_identified == pytest.approx(expected)


# --- what the optimiser sees ----------------------------------------------------------


@pytest.mark.parametrize("kind", ["without a model", "without costs"])
def test_a_policy_that_asks_no_price_believes_the_mean_of_what_was_paid(
    kind: str,
) -> None:
    class Frugal(Recording):
        uses_model = kind != "without a model"
        uses_costs = kind != "without costs"

    problem, policy = Table(), Frugal()
    history = run(problem, policy, budget=60.0)
    assert len(policy.states) >= 5
    for state in policy.states:
        before = [r for r in history.records if r.decision < state.iteration]
        paid = np.array([r.costs for r in before])
        expected = [column[column > 0].mean() for column in paid.T]
        believed = state.outcome_costs(problem.choices)
        assert (believed == believed[0]).all()
        assert believed[0].tolist() == pytest.approx(expected, rel=1e-12)


def test_by_default_the_policy_believes_what_it_learned_from_payments() -> None:
    problem, policy = unjudged(Table()), Priced()
    history = run(problem, policy, budget=60.0)
    assert len(policy.states) >= 5
    for state in policy.states:
        before = [r for r in history.records if r.decision < state.iteration]
        paid = torch.tensor([r.costs for r in before], dtype=torch.float64)
        start = paid[[r.decision == 0 for r in before]]
        guess = torch.stack([column[column > 0].mean() for column in start.T])
        expected = LogNormalCostModel(
            guess,
            bounds=problem.bounds,
            categorical_features=problem.categorical_features,
        ).update(
            PaidCosts(
                history.X[[r.design for r in before]],
                torch.where(paid > 0, paid, math.nan),
                torch.full((len(before),), math.nan),
            )
        )
        believed = state.outcome_costs(problem.choices)
        assert believed.shape == (12, 2)
        torch.testing.assert_close(
            believed, expected(problem.choices), rtol=1e-6, atol=0
        )


def test_learned_costs_tell_dear_designs_from_cheap_ones() -> None:
    problem, policy = unjudged(Table()), Priced()
    run(problem, policy, budget=200.0)
    believed = policy.states[-1].outcome_costs(problem.choices)[:, 0]
    truth = problem.cost(problem.choices)[:, 0]
    assert torch.corrcoef(torch.stack([believed, truth]))[0, 1] > 0.8


def test_a_cost_model_is_believed_even_if_it_is_wrong() -> None:
    policy, cost_model = Recording(), fixed_costs(3.0, 2.0)
    history = run(policy=policy, budget=60.0, cost_model=cost_model)
    assert all(state.cost_model is cost_model for state in policy.states)
    for record in history.records:
        expected = 3.0 * record.measured[0] + 2.0 * record.measured[1]
        assert record.predicted_cost == expected
        assert sum(record.costs) != expected


def test_the_first_requests_have_no_predicted_cost_without_a_cost_model() -> None:
    history = run(budget=45.0)
    predicted = [record.predicted_cost for record in history.records]
    assert all(math.isnan(cost) for cost in predicted[:4])
    assert all(cost > 0 for cost in predicted[4:])
    assert len(predicted) > 4


@pytest.mark.parametrize(
    "policy",
    [
        RandomPolicy(),
        flexibo(),
        pytest.param(
            VariancePerCostPolicy(),
            # Half-measured candidates are in the baseline: a singular covariance.
            marks=pytest.mark.filterwarnings(
                "ignore:A not p.d., added jitter"
                ":linear_operator.utils.warnings.NumericalWarning"
            ),
        ),
    ],
    ids=["random", "flexibo", "variance"],
)
def test_true_prices_are_asked_for_only_when_paying(policy: Policy) -> None:
    problem = Table()
    history = run(problem, policy, budget=40.0)
    assert len(history.records) > 4
    # Once before anything is measured, to see that they have the right form.
    assert problem.num_prices == len(history.records) + 1


def test_the_policy_is_told_data_and_iteration_of_its_decision() -> None:
    problem, policy = Table(), Recording()
    history = run(problem, policy, budget=50.0)
    assert [s.iteration for s in policy.states] == list(
        range(1, len(policy.states) + 1)
    )
    assert len({state.seed for state in policy.states}) == len(policy.states)
    for state in policy.states:
        before = [r for r in history.records if r.decision < state.iteration]
        known = {(r.design, i) for r in before for i in range(2) if r.measured[i]}
        assert {tuple(pair) for pair in state.measured.nonzero().tolist()} == known
        assert torch.equal(state.X, history.X[: len(state.X)])
        assert torch.equal(state.Y[state.measured], history.Y[: len(state.X)][
            state.measured
        ])  # fmt: skip
        assert torch.equal(state.bounds, problem.bounds)
        assert torch.equal(state.ref_point, problem.ref_point)
        assert torch.equal(state.choices, problem.choices)
        assert state.max_cost == math.inf


def test_choices_restrict_what_is_asked_for() -> None:
    problem = DecoupledBraninCurrin(costs=(2.0, 1.0))
    choices = problem.discretize(9, seed=8)
    policy = Recording()
    history = run(problem, policy, budget=24.0, choices=choices)
    assert all(torch.equal(state.choices, choices) for state in policy.states)
    asked = [history.X[r.design] for r in history.records if r.decision > 0]
    assert len(asked) > 5
    assert all((x == choices).all(dim=-1).any() for x in asked)


# --- strict budgets -------------------------------------------------------------------


@pytest.mark.parametrize("budget", [0.1, 7.0, 33.3, 41.0, 52.0])
@pytest.mark.parametrize(
    "policy",
    [RandomPolicy(), flexibo(), AcquisitionPolicy(FlexiBOFactory(), q=3)],
    ids=["random", "flexibo", "batches"],
)
def test_a_strict_budget_is_never_exceeded(policy: Policy, budget: float) -> None:
    problem = Table()
    history = run(
        problem, policy, budget=budget, cost_model=true_costs(problem), strict=True
    )
    assert history.total_cost <= budget
    assert history.stop_reason in ("unaffordable", "budget", "exhausted")


def test_a_strict_run_without_beliefs_pays_its_first_design_unseen() -> None:
    history = run(budget=2.0, strict=True)
    assert history.total_cost == sum(history.records[0].costs) > 2.0
    assert len(history.records) == 1


def test_a_strict_budget_is_exceeded_by_what_costs_more_than_is_believed() -> None:
    believed = FixedCostModel(torch.tensor([5.0, 0.1], dtype=torch.float64))
    history = run(budget=16.0, strict=True, cost_model=believed)
    assert history.total_cost > 16.0


def test_a_strict_budget_can_be_spent_to_the_last_unit() -> None:
    problem = DecoupledBraninCurrin(costs=(10.0, 1.0))
    history = run(
        problem,
        budget=47.0,
        cost_model=fixed_costs(10.0, 1.0),
        choices=problem.discretize(20, seed=0),
        strict=True,
    )
    assert history.stop_reason == "budget"
    assert history.total_cost == 47.0
    # Four complete designs cost 44; the rest buys the cheap outcome only.
    assert history.num_measurements == {"branin": 4, "currin": 7}


def test_the_policy_knows_what_is_left_of_a_strict_budget() -> None:
    problem, policy = Table(), Recording()
    history = run(
        problem, policy, budget=50.0, cost_model=true_costs(problem), strict=True
    )
    assert len(policy.states) > 2
    for state in policy.states:
        before = [r for r in history.records if r.decision < state.iteration]
        left = 50.0 - before[-1].cumulative_cost
        assert state.max_cost == pytest.approx(left, abs=1e-12)


@pytest.mark.parametrize("strict", [False, True])
def test_the_policy_knows_which_part_of_the_budget_is_left(
    strict: bool, tmp_path: Path
) -> None:
    problem, first, second = Table(), Recording(), Recording()
    path, options = tmp_path / "run.jsonl", {"strict": strict, "budget": 50.0}
    if strict:
        options["cost_model"] = true_costs(problem)
    run(problem, first, checkpoint=path, callbacks=[stop_after(3)], **options)
    history = run(problem, second, checkpoint=path, **options)
    frame = history.to_pandas()
    begun = 50.0 - frame["cost"][frame["decision"] == 0].sum()
    seen = {state.iteration: state for state in (*first.states, *second.states)}
    assert set(seen) >= {1, 2, 3, 4}
    assert seen[1].budget_left == 1.0
    for state in seen.values():
        before = frame["decision"] < state.iteration
        left = (50.0 - frame["cost"][before].sum()) / begun
        assert 0 < left <= 1
        assert state.budget_left == pytest.approx(left, abs=1e-12)


@pytest.mark.parametrize(
    "policy",
    [
        RandomPolicy(),
        AcquisitionPolicy(FlexiBOFactory(weighting=unweighted)),
        AcquisitionPolicy(FlexiBOFactory(weighting=unweighted), q=3),
    ],
    ids=["random", "single", "batches of three"],
)
def test_a_strict_run_goes_on_while_a_missing_pair_is_affordable(
    policy: Policy,
) -> None:
    problem = unjudged(DecoupledBraninCurrin(costs=(10.0, 1.0)))
    choices = problem.discretize(30, seed=0)
    history = run(
        problem,
        policy,
        budget=62.0,
        cost_model=fixed_costs(10.0, 1.0),
        choices=choices,
        strict=True,
    )
    # Some of the 30 cheap measurements are missing, and each costs one unit.
    assert history.num_measurements["currin"] < 30
    assert history.total_cost > 61.0


def test_what_is_unaffordable_from_the_start_is_not_started() -> None:
    problem = Table()
    history = run(problem, budget=0.05, cost_model=true_costs(problem), strict=True)
    assert history.stop_reason == "unaffordable"
    assert history.records == ()
    assert history.total_cost == 0.0
    assert len(history.X) == len(history.Y) == 0


class Uncosted(Policy):
    """Asks for three designs at once, and does not say what they should cost."""

    uses_model = False

    def __call__(self, model: ModelList, state: DecoupledState) -> EvaluationRequest:
        X = state.space.sample(3, seed=state.seed)
        return EvaluationRequest(X, torch.ones(3, 2, dtype=torch.bool))


@pytest.mark.parametrize("costs", ["stated", "learned", "mean"])
@pytest.mark.parametrize("budget", [25.0, 50.0, 55.0])
def test_a_strict_budget_is_kept_by_requests_without_costs(
    costs: str, budget: float
) -> None:
    problem = DecoupledBraninCurrin(costs=(10.0, 1.0))
    guess = torch.tensor([9.0, 2.0]).double()
    models = {
        "stated": fixed_costs(10.0, 1.0),
        "learned": LogNormalCostModel(guess, bounds=problem.bounds),
        "mean": None,
    }
    history = run(
        problem, Uncosted(), budget=budget, cost_model=models[costs], strict=True
    )
    assert history.total_cost <= budget
    # A learned cost is not quite eleven, and may be a little more.
    assert history.total_cost > budget - 11.0 - (costs == "learned")
    assert history.stop_reason in ("unaffordable", "budget")


# --- how it ends ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "policy", [RandomPolicy(), flexibo(q=2)], ids=["random", "flexibo"]
)
def test_an_exhausted_table_was_measured_once_everywhere(policy: Policy) -> None:
    problem = Table(num_rows=3)
    history = run(problem, policy, budget=1e6)
    assert history.stop_reason == "exhausted"
    assert len(problem.asked) == 18
    assert set(problem.asked) == set(itertools.product(range(9), range(2)))
    assert torch.equal(history.Y, problem.Y[problem.indices(history.X)])
    assert history.total_cost == pytest.approx(problem.costs.sum().item(), rel=1e-12)


class Grid(DecoupledProblem):
    """Six designs of integers, without choices; the first outcome is dear."""

    num_objectives = 2
    dim = 2
    discrete_inds = [0, 1]
    continuous_inds: list[int] = []
    outcome_names = ("dear", "cheap")
    cost_unit = "s"
    _bounds = [(0.0, 2.0), (0.0, 1.0)]
    _ref_point = [-10.0, -10.0]
    _max_hv = 100.0

    def _evaluate_true(self, X: Tensor) -> Tensor:
        return torch.stack([-(X - 1).square().sum(dim=-1), -X.sum(dim=-1)], dim=-1)

    def cost(self, X: Tensor) -> Tensor:
        return torch.tensor([10.0, 1.0]).to(X).expand(*X.shape[:-1], 2)


LITTLE = SearchOptions(raw_samples=16, num_restarts=1, maxiter=5)
LOOKAHEAD = LookaheadFactory(num_designs=6, quadrature_nodes=2)
# Each exported policy, by the size of its batches.
EXHAUSTIVE: dict[str, Callable[[int], Policy]] = {
    "random": lambda q: RandomPolicy(),
    "random, coupled": lambda q: RandomPolicy(torch.ones(1, 2, dtype=torch.bool)),
    "coupled": lambda q: CoupledPolicy(q=q),
    "coupled parego": lambda q: CoupledPolicy(qlognparego_factory, q=q),
    "variance": lambda q: VariancePerCostPolicy(CoupledPolicy(q=q)),
    "lookahead": lambda q: AcquisitionPolicy(LOOKAHEAD, q=q, options=LITTLE),
    "discretized": lambda q: DiscretizedPolicy(flexibo(q)),
    "pabo": lambda q: PABOPolicy(q=q, options=LITTLE),
}


@pytest.mark.filterwarnings(
    "ignore:A not p.d., added jitter:linear_operator.utils.warnings.NumericalWarning"
)
@pytest.mark.parametrize("q", [1, 3])
@pytest.mark.parametrize("name", EXHAUSTIVE)
def test_every_pair_of_a_grid_of_integers_is_paid_exactly_once(
    name: str, q: int
) -> None:
    history = run(
        Grid(),
        EXHAUSTIVE[name](q),
        budget=1e6,
        initial=InitialDesign(2),
        cost_model=fixed_costs(10.0, 1.0),
    )
    assert history.stop_reason == "exhausted"
    asked = [
        (r.design, outcome)
        for r in history.records
        for outcome, measured in enumerate(r.measured)
        if measured
    ]
    assert sorted(asked) == list(itertools.product(range(6), range(2)))
    assert history.total_cost == 66.0


def test_a_strict_run_that_measured_a_whole_grid_lacked_no_money() -> None:
    history = run(Grid(), budget=1e6, initial=InitialDesign(2), strict=True)
    assert history.num_measurements == {"dear": 6, "cheap": 6}
    assert history.stop_reason == "exhausted"


def test_a_coupled_policy_exhausts_a_table_that_was_half_measured() -> None:
    problem = Table(num_rows=2)
    history = run(
        problem,
        CoupledPolicy(largest_inputs),
        budget=1e6,
        initial=InitialDesign(5, num_complete=2),
        cost_model=true_costs(problem),
    )
    assert history.stop_reason == "exhausted"
    assert sorted(problem.asked) == list(itertools.product(range(6), range(2)))


def test_a_callback_that_returns_true_ends_the_run() -> None:
    history = run(callbacks=[lambda history: None, stop_after(3)], budget=1e6)
    assert history.stop_reason == "callback"
    assert history.records[-1].decision == 2
    assert not math.isnan(history.records[-1].hv_identified)


def test_callbacks_see_the_run_after_the_initial_design_and_every_decision() -> None:
    seen: list[DecoupledHistory] = []

    def watch(history: DecoupledHistory) -> None:
        seen.append(history)

    history = run(callbacks=[watch], budget=50.0)
    decisions = [record.decision for record in history.records]
    assert [h.records[-1].decision for h in seen] == list(range(decisions[-1] + 1))
    assert [h.stop_reason for h in seen[:-1]] == ["running"] * (len(seen) - 1)
    assert seen[-1].stop_reason == "budget"
    assert len(seen[0].records) == 4
    for early, late in itertools.pairwise(seen):
        assert early.total_cost < late.total_cost
    assert requests(seen[-1]) == requests(history)


def test_all_callbacks_are_called_even_if_the_first_ends_the_run() -> None:
    calls = []
    run(
        callbacks=[lambda history: True, calls.append],
        budget=1e6,
    )
    assert len(calls) == 1


def test_an_interrupted_callback_keeps_everything_measured() -> None:
    def interrupt(history: DecoupledHistory) -> None:
        if len(history.records) == 7:
            raise KeyboardInterrupt

    problem = Table()
    history = run(problem, callbacks=[interrupt], budget=1e6)
    assert history.stop_reason == "interrupted"
    assert len(history.records) == 7
    assert len(problem.asked) == sum(history.num_measurements.values()) == 11


@pytest.mark.parametrize("interrupt_at", [0, 4, 8, 11])
def test_an_interrupted_measurement_keeps_everything_measured_before(
    interrupt_at: int,
) -> None:
    problem = Table(interrupt_at=interrupt_at)
    history = run(problem, budget=1e6)
    assert history.stop_reason == "interrupted"
    assert sum(history.num_measurements.values()) == interrupt_at
    assert len(problem.asked) == interrupt_at
    # The interrupted measurement is not paid for, and the others are the same.
    whole = run(budget=1e6, callbacks=[stop_after(5)])
    assert requests(history) == requests(whole)[: len(history.records)]


def test_an_interrupted_policy_keeps_everything_measured() -> None:
    class Interrupted(RandomPolicy):
        def __call__(
            self, model: ModelList, state: DecoupledState
        ) -> EvaluationRequest:
            if state.iteration == 3:
                raise KeyboardInterrupt
            return super().__call__(model, state)

    history = run(policy=Interrupted(), budget=1e6)
    assert history.stop_reason == "interrupted"
    assert len(history.records) == 6
    assert not math.isnan(history.records[-1].hv_identified)


def test_an_interrupt_while_the_last_callback_runs_keeps_the_history() -> None:
    def interrupt(history: DecoupledHistory) -> None:
        if history.stop_reason != "running":
            raise KeyboardInterrupt

    try:
        history = run(callbacks=[interrupt], budget=40.0)
    except KeyboardInterrupt:
        pytest.fail("The interrupt reached the caller, who now has no history.")
    assert history.total_cost >= 40.0


def test_a_run_that_can_only_measure_whole_designs_is_not_called_unaffordable() -> None:
    problem = Table(num_rows=2)
    coupled = RandomPolicy(torch.ones(1, 2, dtype=torch.bool))
    history = run(
        problem,
        coupled,
        budget=1e6,
        initial=InitialDesign(5, num_complete=2),
        cost_model=true_costs(problem),
    )
    # The three half-measured designs fit no coupled request. Money is not the reason.
    assert history.num_measurements == {"dear": 3, "cheap": 6}
    assert history.stop_reason != "unaffordable"


def test_errors_of_a_policy_reach_the_caller() -> None:
    problem = DecoupledBraninCurrin()
    with pytest.raises(UnsupportedError, match="finite set of designs"):
        run(problem, flexibo(), budget=1e3)


# --- seeds ----------------------------------------------------------------------------


class LargestInputs(AcquisitionFunction):
    """Prefers the largest inputs, whatever the model says."""

    @t_batch_mode_transform()
    def forward(self, X: Tensor) -> Tensor:
        return X.sum(dim=(-2, -1))


def largest_inputs(model: ModelList, state: DecoupledState) -> AcquisitionFunction:
    return LargestInputs(model)


@pytest.mark.parametrize(
    ("policy", "noise_std"),
    [(RandomPolicy(), None), (RandomPolicy(), 0.1), (flexibo(), 0.1)],
    ids=["random", "noisy", "noisy flexibo"],
)
def test_the_same_seed_gives_the_same_run_and_another_one_differs(
    policy: Policy, noise_std: float | None
) -> None:
    runs = []
    for global_seed, seed in ((0, 3), (1, 3), (0, 4)):
        torch.manual_seed(global_seed)
        problem = Table(noise_std=noise_std)
        runs.append(run(problem, policy, budget=50.0, seed=seed))
    assert requests(runs[0]) == requests(runs[1])
    assert [r.hv_identified for r in runs[0].records] == pytest.approx(
        [r.hv_identified for r in runs[1].records], rel=1e-12, nan_ok=True
    )
    assert requests(runs[0]) != requests(runs[2])


def test_the_random_state_of_the_caller_is_untouched() -> None:
    problem = Table(noise_std=0.1)
    random.seed(5)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    run(problem, flexibo(q=2), budget=45.0)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert (np.random.get_state()[1] == before[2]).all()


SCRIPT = """
import json, sys
sys.path.insert(0, {folder!r})
from test_loop import Table, flexibo, requests, run
history = run(Table(noise_std=0.1), flexibo(q=2), budget=50.0, seed=11)
print(json.dumps(requests(history)))
"""


def test_the_same_seed_gives_the_same_run_in_another_process() -> None:
    here = Path(__file__).resolve().parent
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(folder=str(here))],
        capture_output=True,
        text=True,
        check=True,
        cwd=here.parent,
        env=os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": str(here.parent)},
    )
    history = run(Table(noise_std=0.1), flexibo(q=2), budget=50.0, seed=11)
    expected = json.loads(json.dumps(requests(history)))
    assert json.loads(result.stdout.splitlines()[-1]) == expected
    assert len(expected) > 6


def test_noise_is_added_to_measurements_and_differs_between_them() -> None:
    problem = unjudged(Table(noise_std=0.1))
    history = run(problem, budget=60.0)
    noise = history.Y - problem.Y[problem.indices(history.X)]
    noise = noise[~history.Y.isnan()]
    assert len(noise) > 10
    assert len(noise.unique()) == len(noise)
    assert 0.05 < noise.std() < 0.2


def test_noise_is_independent_of_what_a_policy_draws_from_its_seed() -> None:
    class Drawing(Recording):
        """Draws from a generator seeded as it was told, as RandomPolicy does."""

        drawn: list[list[float]] = []

        def __call__(
            self, model: ModelList, state: DecoupledState
        ) -> EvaluationRequest:
            generator = torch.Generator().manual_seed(state.seed)
            draw = torch.randn(1, 2, dtype=torch.float64, generator=generator)
            self.drawn.append(draw[0].tolist())
            return super().__call__(model, state)

    problem, policy = Table(noise_std=1.0), Drawing()
    history = run(problem, policy, budget=1e6, callbacks=[stop_after(7)])
    records = [record for record in history.records if record.decision > 0]
    assert len(records) == len(policy.drawn) == 6
    for record, draw in zip(records, policy.drawn, strict=True):
        truth = problem.evaluate_true(history.X[record.design : record.design + 1])[0]
        i = record.measured.index(True)
        noise = record.values[i] - truth[i].item()
        assert noise != pytest.approx(draw[i], abs=1e-6)


# --- initial designs ------------------------------------------------------------------


def test_by_default_ten_designs_are_measured_completely_first() -> None:
    problem = Table()
    history = run_decoupled_optimization(problem, RandomPolicy(), budget=95.0)
    initial = [record for record in history.records if record.decision == 0]
    assert [record.measured for record in initial] == [(True, True)] * 10
    assert len({record.design for record in initial}) == 10


def test_cheap_first_measures_the_cheapest_outcome_of_the_other_designs() -> None:
    problem = Table()
    initial = InitialDesign(6, num_complete=2)
    history = run(
        problem, initial=initial, cost_model=true_costs(problem), budget=1e3,
        callbacks=[stop_after(1)],
    )  # fmt: skip
    measured = [record.measured for record in history.records]
    assert measured == [(True, True)] * 2 + [(False, True)] * 4
    # The believed costs decide, not the true ones.
    history = run(
        problem, initial=initial, cost_model=fixed_costs(1.0, 2.0), budget=1e3,
        callbacks=[stop_after(1)],
    )  # fmt: skip
    measured = [record.measured for record in history.records]
    assert measured == [(True, True)] * 2 + [(True, False)] * 4
    assert [r.predicted_cost for r in history.records] == [3.0] * 2 + [1.0] * 4


def test_initial_designs_of_equal_seeds_are_equal_whatever_the_policy() -> None:
    first, second, other = (
        run(policy=policy, seed=seed, budget=1e3, callbacks=[stop_after(1)])
        for policy, seed in ((RandomPolicy(), 0), (flexibo(), 0), (flexibo(), 1))
    )
    assert requests(first) == requests(second)
    assert requests(first) != requests(other)


def test_cheap_first_needs_to_know_which_outcome_is_cheap() -> None:
    with pytest.raises(InputDataError, match="cost_model for a cheap-first"):
        run(initial=InitialDesign(4, num_complete=2))
    # Complete designs need no costs, however they are asked for.
    history = run(initial=InitialDesign(4, num_complete=4), budget=30.0)
    assert history.records[0].measured == (True, True)


@pytest.mark.parametrize(
    ("num_designs", "num_complete"), [(0, None), (-1, None), (4, 0), (4, 5), (4, -2)]
)
def test_impossible_initial_designs_are_refused(
    num_designs: int, num_complete: int | None
) -> None:
    with pytest.raises(InputDataError, match="1 <= num_complete <= num_designs"):
        InitialDesign(num_designs, num_complete)


@pytest.mark.parametrize("budget", [0.0, -1.0, math.inf, math.nan])
def test_budgets_that_are_not_positive_and_finite_are_refused(budget: float) -> None:
    with pytest.raises(InputDataError, match="positive, finite budget in s"):
        run(budget=budget)


# --- continuous problems --------------------------------------------------------------


def test_a_coupled_policy_runs_on_a_continuous_problem() -> None:
    problem = DecoupledBraninCurrin(costs=(2.0, 1.0))
    policy = CoupledPolicy(num_restarts=1, raw_samples=16)
    history = run(problem, policy, budget=24.0, initial=InitialDesign(5))
    assert history.stop_reason == "budget"
    assert history.total_cost == 24.0
    assert history.Y.shape == (8, 2)
    assert torch.equal(history.Y, problem(history.X))
    assert history.max_hv == problem.max_hv
    assert 0 < history.records[-1].hv_identified <= problem.max_hv


def test_no_request_of_a_continuous_run_is_empty() -> None:
    # The preferred design is a corner, which is fully measured after one decision.
    problem = DecoupledBraninCurrin(costs=(2.0, 1.0))
    policy = CoupledPolicy(largest_inputs, num_restarts=1, raw_samples=16)
    history = run(problem, policy, budget=1e3, callbacks=[stop_after(4)])
    for record in history.records:
        assert any(record.measured)
        assert sum(record.costs) > 0


def test_max_hv_is_nan_if_the_true_front_is_unknown() -> None:
    class NoFront(DecoupledBraninCurrin):
        @property
        def max_hv(self) -> float:
            raise NotImplementedError

    history = run(NoFront(), budget=20.0)
    assert math.isnan(history.max_hv)


# --- what a policy costs --------------------------------------------------------------


class Busy(Recording):
    """Claims two fits per decision, and finds nothing after four."""

    num_decisions = 0

    @property
    def effort(self) -> Effort:
        return Effort(num_fits=2 * self.num_decisions, num_skipped=1)

    def __call__(self, model: ModelList, state: DecoupledState) -> EvaluationRequest:
        self.num_decisions += 1
        if state.iteration > 4:
            raise CandidateGenerationError("Expected another decision, but got tired.")
        one = super().__call__(model, state)
        return EvaluationRequest(
            one.X.repeat(2, 1), torch.eye(2, dtype=torch.bool), one.acq_value
        )


def test_the_effort_of_a_decision_is_booked_once_on_its_first_request() -> None:
    policy = Busy()
    for _ in range(2):  # what was done before the run is not booked
        policy.num_decisions += 7
        history = run(policy=policy, budget=1e6)
        assert history.stop_reason == "exhausted"
        booked = [(r.decision, r.effort) for r in history.records if r.effort.num_fits]
        assert booked == [(k, Effort(num_fits=2)) for k in range(1, 5)]
        # The decision that found nothing counts too.
        assert history.effort == Effort(num_fits=10)


def count_fits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the calls of the fitter, which does its work."""
    counts: list[int] = []
    fit = DecoupledModelFitter.fit

    def counted(self: DecoupledModelFitter, X: Tensor, Y: Tensor) -> ModelList:
        counts.append(len(X))
        return fit(self, X, Y)

    monkeypatch.setattr(DecoupledModelFitter, "fit", counted)
    return counts


def test_a_policy_that_ignores_the_model_gets_none_and_pays_for_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Looking(RandomPolicy):
        def __call__(
            self, model: ModelList, state: DecoupledState
        ) -> EvaluationRequest:
            models.append(len(model.models))
            return super().__call__(model, state)

    models: list[int] = []
    counts = count_fits(monkeypatch)
    history = run(policy=Looking(), budget=1e6, callbacks=[stop_after(6)])
    assert models == [0] * 5
    assert all(record.fit_seconds == 0.0 for record in history.records)
    # So large a budget has its front judged at the beginning and at the end only.
    assert len(counts) == 2
    judged = [not math.isnan(r.hv_identified) for r in history.records]
    assert judged == [k in (3, 8) for k in range(9)]


def test_a_policy_that_looks_at_the_model_gets_one_of_all_data() -> None:
    class Looking(RandomPolicy):
        uses_model = True

        def __call__(
            self, model: ModelList, state: DecoupledState
        ) -> EvaluationRequest:
            rows = [len(m.train_targets) for m in model.models]
            assert rows == state.measured.sum(dim=0).tolist()
            return super().__call__(model, state)

    history = run(policy=Looking(), budget=1e6, callbacks=[stop_after(4)])
    # The same requests as without, and the fits are paid for.
    plain = run(budget=1e6, callbacks=[stop_after(4)])
    assert requests(history) == requests(plain)
    first = {r.decision: r.fit_seconds for r in reversed(history.records)}
    assert all(first[decision] > 0 for decision in (1, 2, 3))


def test_the_identified_front_does_not_depend_on_who_asked_for_the_model() -> None:
    class Looking(RandomPolicy):
        uses_model = True

    problem = Table(num_rows=3)
    for policy in (RandomPolicy(), Looking()):
        history = run(problem, policy, budget=1e6)
        last = history.records[-1].hv_identified
        assert last == pytest.approx(problem.max_hv, rel=1e-12)


def test_the_time_a_measurement_takes_is_recorded() -> None:
    class Slow(Table):
        def _measure(self, X: Tensor, evaluation_mask: Tensor) -> Tensor:
            if evaluation_mask.all():
                time.sleep(0.02)
            return super()._measure(X, evaluation_mask)

    history = run(Slow(), budget=50.0)
    assert {all(record.measured) for record in history.records} == {True, False}
    for record in history.records:
        assert record.measure_seconds > (0.02 if all(record.measured) else 0.0)


# --- set-ups --------------------------------------------------------------------------


class Trained(Table):
    """A table whose designs are trained, per value of the first column, before use.

    Only the dear outcome needs the training.
    """

    setup_features = [0]
    setup_outcomes = (True, False)

    def setup_cost(self, X: Tensor) -> Tensor:
        return 3.3 + X[..., 0]


def stated_costs(problem: DecoupledProblem) -> SetupCostModel:
    """A belief about runs and trainings that happens to be the truth."""
    training = GenericDeterministicModel(
        lambda X: 3.3 + X[..., :1].detach(), num_outputs=1
    )
    return SetupCostModel(
        true_costs(problem),
        training,
        setup_features=[0],
        setup_outcomes=torch.tensor([True, False]),
    )


@pytest.mark.parametrize(
    ("features", "outcomes"),
    [([0], (True, False)), (None, (True, False)), ([0], None), ([1], (False, False))],
    ids=["shared", "each", "both", "none"],
)
def test_every_set_up_is_paid_once_by_the_first_that_needs_it(
    features: list[int] | None, outcomes: tuple[bool, bool] | None
) -> None:
    problem = unjudged(Trained())
    problem.setup_features, problem.setup_outcomes = features, outcomes
    initial = InitialDesign(9, num_complete=2)
    history = run(
        problem, initial=initial, budget=80.0, cost_model=fixed_costs(8.0, 0.1)
    )
    trained, spent = set(), 0.0
    for record in history.records:
        x = history.X[record.design].tolist()
        key = tuple(x if features is None else [x[j] for j in features])
        needs = [
            measured and needed
            for measured, needed in zip(
                record.measured, outcomes or (True, True), strict=True
            )
        ]
        expected = 3.3 + x[0] if any(needs) and key not in trained else 0.0
        if any(needs):
            trained.add(key)
        assert record.setup_cost == pytest.approx(expected, rel=1e-15)
        spent += sum(record.costs) + expected
        assert record.cumulative_cost == pytest.approx(spent, rel=1e-12)
    assert (len(trained) > 2) == (outcomes != (False, False))
    assert history.total_cost == pytest.approx(
        sum(history.cost_by_outcome.values()) + history.total_setup_cost, rel=1e-12
    )
    assert history.total_cost >= 80.0 > history.records[-2].cumulative_cost


def test_set_ups_count_against_the_budget() -> None:
    class Dear(Trained):
        def setup_cost(self, X: Tensor) -> Tensor:
            return torch.full_like(X[..., 0], 1e3)

    history = run(Dear(), budget=500.0)
    assert history.stop_reason == "budget"
    assert len(history.records) == 1
    assert history.total_cost == pytest.approx(1e3 + sum(history.records[0].costs))


def test_what_a_measurement_really_took_is_paid() -> None:
    class Timed(Table):
        def cost(self, X: Tensor) -> Tensor:
            return super().cost(X) * (3.0 if len(self.asked) > 0 else 1.0)

    problem = Timed()
    first = run(problem).records[0]
    assert sum(first.costs) == pytest.approx(
        3.0 * problem.costs[problem.asked[0][0]].sum().item(), rel=1e-12
    )


@pytest.mark.parametrize("kind", ["cost", "setup_cost"])
@pytest.mark.parametrize("bad", [-1.0, math.inf, math.nan])
def test_true_costs_that_make_no_sense_are_refused_with_what_was_measured(
    bad: float, kind: str
) -> None:
    class Wrong(Trained):
        def _measure(self, X: Tensor, evaluation_mask: Tensor) -> Tensor:
            self.values = super()._measure(X, evaluation_mask)
            return self.values

    def wrong(self: Wrong, X: Tensor) -> Tensor:
        return torch.full_like(getattr(Trained, kind)(self, X), bad)

    setattr(Wrong, kind, wrong)
    problem = Wrong()
    expected = {
        "cost": "costs that are positive and finite",
        "setup_cost": "set-up costs that are non-negative and finite",
    }
    message = rf"^Expected {expected[kind]}, but got {bad}\. Bound the"
    with pytest.raises(InvalidCostError, match=message) as error:
        run(problem)
    (note,) = error.value.__notes__
    assert note.startswith("Measured at [")
    assert note.endswith(f"as its cost is not known: {problem.values[0].tolist()}.")


def test_set_up_costs_may_be_known_only_once_they_are_paid() -> None:
    """As the seconds that a training took are."""

    class Timed(Trained):
        def __init__(self) -> None:
            super().__init__()
            self.trained: set[float] = set()

        def _measure(self, X: Tensor, evaluation_mask: Tensor) -> Tensor:
            self.trained.update(X[:, 0].tolist())
            return super()._measure(X, evaluation_mask)

        def setup_cost(self, X: Tensor) -> Tensor:
            assert self.trained.issuperset(X[..., 0].tolist())
            return super().setup_cost(X)

    assert sum(record.setup_cost > 0 for record in run(Timed()).records) > 1


class Learning(FixedCostModel, CostModel):
    """Remembers the payments it was updated with."""

    def __init__(self, paid: tuple[PaidCosts, ...] = ()) -> None:
        super().__init__(torch.tensor([8.0, 0.1], dtype=torch.float64))
        self.paid = paid

    def update(self, paid: PaidCosts) -> Learning:
        return Learning((*self.paid, paid))


def test_a_cost_model_learns_all_payments_before_every_decision() -> None:
    problem, policy, cost_model = Trained(), Recording(), Learning()
    history = run(problem, policy, budget=70.0, cost_model=cost_model)
    assert len(policy.states) > 3
    assert cost_model.paid == ()
    for k, state in enumerate(policy.states):
        assert isinstance(state.cost_model, Learning)
        assert len(state.cost_model.paid) == k + 1
        paid = state.cost_model.paid[-1]
        before = [r for r in history.records if r.decision < state.iteration]
        assert paid.X.tolist() == [history.X[r.design].tolist() for r in before]
        costs = paid.costs.nan_to_num(nan=0.0)
        assert costs.tolist() == [list(r.costs) for r in before]
        measured = [list(r.measured) for r in before]
        assert (~paid.costs.isnan()).tolist() == measured
        set_ups = [r.setup_cost for r in before]
        assert paid.setup_costs.nan_to_num(nan=0.0).tolist() == set_ups
        assert (~paid.setup_costs.isnan()).tolist() == [c > 0 for c in set_ups]
    assert any(r.setup_cost == 0 for r in history.records)


def test_nothing_is_learned_where_nothing_was_paid() -> None:
    class Empty(RandomPolicy):
        def __call__(
            self, model: ModelList, state: DecoupledState
        ) -> EvaluationRequest:
            models.append(state.cost_model)
            request = super().__call__(model, state)
            first = len(models) % 2
            return EvaluationRequest(request.X[:first], request.evaluation_mask[:first])

    models: list[Any] = []
    run(policy=Empty(), budget=1e6, cost_model=Learning(), callbacks=[stop_after(6)])
    assert [len(model.paid) for model in models] == [1, 2, 2, 3, 3]


def test_learned_costs_approach_the_true_ones() -> None:
    problem, policy = unjudged(Trained()), Recording()
    bounds = problem.bounds
    cost_model = SetupCostModel(
        LogNormalCostModel(torch.tensor([1.0, 1.0]).to(bounds), bounds=bounds),
        LogNormalCostModel(torch.tensor([1.0]).to(bounds), bounds=bounds),
        setup_features=[0],
        setup_outcomes=torch.tensor([True, False]),
    )
    run(problem, policy, budget=80.0, cost_model=cost_model)
    believed = policy.states[-1].cost_model
    assert isinstance(believed, SetupCostModel)
    run_costs = believed.run_cost_model(problem.choices)
    assert (run_costs / problem.costs).log().abs().max() < math.log(1.15)
    open_setup = believed(problem.choices)[:, 0] - run_costs[:, 0]
    set_up = problem.choices[:, :1] == problem.choices[:, :1].unique()
    for column in set_up.T:  # of one value of the first column: all or none
        assert len((open_setup[column] > 0).unique()) == 1


def test_initial_designs_are_predicted_to_share_their_set_ups() -> None:
    problem = Trained()
    history = run(
        problem,
        initial=InitialDesign(12, num_complete=8),
        budget=1e3,
        cost_model=stated_costs(problem),
        callbacks=[stop_after(1)],
    )
    assert len(history.records) == 12
    assert 0 < sum(r.setup_cost > 0 for r in history.records) <= 4
    for record in history.records:
        paid = sum(record.costs) + record.setup_cost
        assert record.predicted_cost == pytest.approx(paid, rel=1e-12)


@pytest.mark.parametrize("budget", [7.0, 33.3, 52.0])
def test_a_strict_budget_is_kept_with_set_ups(budget: float) -> None:
    problem = unjudged(Trained())
    history = run(
        problem,
        flexibo(),
        budget=budget,
        cost_model=stated_costs(problem),
        strict=True,
    )
    assert history.total_cost <= budget
    for record in history.records:
        paid = sum(record.costs) + record.setup_cost
        assert record.predicted_cost == pytest.approx(paid, rel=1e-12)


# --- fidelities -----------------------------------------------------------------------


class Epochs(DecoupledBraninCurrin):
    """The second column is a fidelity: measurements at low values flatter."""

    target_fidelities = {1: 0.5}

    def __init__(self) -> None:
        super().__init__(costs=(2.0, 1.0))
        self.ref_point = self.ref_point.new_tensor([-200.0, -20.0])

    def _evaluate_true(self, X: Tensor) -> Tensor:
        return super()._evaluate_true(X) + 100 * (X[..., 1:] - 0.5)


def epochs_choices() -> Tensor:
    """Seven designs at three fidelities."""
    grid = torch.linspace(0, 1, 7, dtype=torch.float64)
    return torch.cartesian_prod(grid, torch.tensor([0.1, 0.5, 0.9]).double())


def test_only_measurements_at_the_target_count_as_measured() -> None:
    problem, policy = unjudged(Epochs()), Recording()
    history = run(problem, policy, budget=40.0, choices=epochs_choices(), seed=2)
    assert all(state.target_fidelities == {1: 0.5} for state in policy.states)
    Y = torch.full_like(history.Y, math.nan)
    for record in history.records:
        for i, measured in enumerate(record.measured):
            if measured:
                Y[record.design, i] = record.values[i]
        at_target = history.X[:, 1] == 0.5
        complete = Y[~Y.isnan().any(dim=-1) & at_target]
        expected = volume(complete, problem.ref_point)
        assert record.hv_measured == pytest.approx(expected, abs=1e-9)
    everywhere = volume(Y[~Y.isnan().any(dim=-1)], problem.ref_point)
    assert 0 < history.records[-1].hv_measured < everywhere


def test_the_identified_front_is_judged_at_the_target() -> None:
    problem, choices = Epochs(), epochs_choices()
    history = run(problem, budget=1e6, choices=choices)
    assert history.stop_reason == "exhausted"
    target = choices[choices[:, 1] == 0.5]
    expected = volume(problem(target), problem.ref_point)
    assert 0 < expected < volume(problem(choices), problem.ref_point)
    last = history.records[-1]
    assert last.hv_identified == pytest.approx(expected, rel=1e-12)
    assert last.hv_measured == pytest.approx(expected, rel=1e-12)


def test_without_fidelities_the_policy_is_told_of_none() -> None:
    policy = Recording()
    run(policy=policy, budget=50.0)
    assert all(state.target_fidelities == {} for state in policy.states)


# --- seeds ----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 7, 2**40 - 1, -1, -(2**31)])
def test_policies_are_given_even_seeds_that_never_changed(seed: int) -> None:
    policy = Recording()
    run(unjudged(Table()), policy, seed=seed, budget=45.0)
    assert len(policy.states) > 1
    for state in policy.states:
        assert state.seed == 2 * (seed * 1_000_003 + state.iteration)


@pytest.mark.parametrize("seed", [2**45, 1_760_000_000_000_000_000, 2**62 - 1])
def test_large_seeds_are_seeds_as_well(seed: int) -> None:
    policy, other = Recording(), Recording()
    history = run(unjudged(Table(noise_std=0.1)), policy, seed=seed, budget=45.0)
    before = run(unjudged(Table(noise_std=0.1)), other, seed=seed - 1, budget=45.0)
    assert history.stop_reason == "budget"
    assert requests(history) != requests(before)
    seeds = [state.seed for state in [*policy.states, *other.states]]
    assert len(set(seeds)) == len(seeds)
    assert all(one % 2 == 0 and 0 <= one < 2**63 for one in seeds)


# --- progress -------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_progress_bar_shows_spending_and_measurements(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    history = run(callbacks=[ProgressBar("tuning")], budget=50.0)
    assert history.stop_reason == "budget"
    last = sys.stderr.getvalue().split("\r")[-1]
    assert "tuning: 100%" in last
    counts = history.num_measurements
    assert f"dear={counts['dear']}" in last
    assert f"cheap={counts['cheap']}" in last


def test_a_progress_bar_starts_anew_with_every_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bar = ProgressBar("tuning")
    run(callbacks=[bar], budget=50.0)
    monkeypatch.setattr(sys, "stderr", Terminal())
    run(callbacks=[bar], budget=100.0)
    shown = sys.stderr.getvalue()
    assert "/100" in shown
    assert "/50" not in shown


def test_the_progress_bar_is_silent_without_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    history = run(unjudged(Table()), callbacks=[ProgressBar()], budget=50.0)
    assert history.stop_reason == "budget"
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
