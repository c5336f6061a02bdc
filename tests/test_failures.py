r"""Measurements that fail: what is paid, kept, tried again and given up."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from botorch.exceptions.errors import InputDataError
from botorch.models.cost import FixedCostModel
from botorch.models.model import ModelList
from torch import Tensor

from botorch_flexibo import (
    AcquisitionPolicy,
    CoupledPolicy,
    DecoupledHistory,
    FlexiBOFactory,
    InitialDesign,
    LookaheadFactory,
    PABOPolicy,
    RandomPolicy,
    VariancePerCostPolicy,
    run_decoupled_optimization,
)
from botorch_flexibo.exceptions import MeasurementError
from botorch_flexibo.failures import (
    FailureLog,
    Failures,
    RaiseFailures,
    TolerateFailures,
)
from botorch_flexibo.models import SetupCostModel, UnreliableCostModel
from botorch_flexibo.models.cost import predicted_costs
from botorch_flexibo.optim import EvaluationRequest
from botorch_flexibo.optim.candidates import SearchOptions
from botorch_flexibo.policies import (
    DecoupledState,
    DiscretizedPolicy,
    Policy,
    Supervisor,
)
from botorch_flexibo.test_functions import DecoupledProblem
from tests.runs import Fault, Faulty, FaultyTable, attempts, broken, diverging, trace

BOUNDS = torch.tensor([[0.0, 0.0], [1.0, 10.0]], dtype=torch.float64)
pytestmark = [
    # A batch that is stuck is searched again, of which BoTorch warns.
    pytest.mark.filterwarnings("ignore:Optimization failed:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:A not p.d., added jitter"),
]


def run(
    problem: DecoupledProblem,
    policy: Policy | None = None,
    *,
    budget: float = 100.0,
    initial: InitialDesign | None = None,
    **options: Any,
) -> DecoupledHistory:
    return run_decoupled_optimization(
        problem,
        RandomPolicy() if policy is None else policy,
        budget=budget,
        initial_design=InitialDesign(4) if initial is None else initial,
        **options,
    )


class Recording(RandomPolicy):
    """The random policy; remembers what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.states: list[DecoupledState] = []

    def __call__(self, model: ModelList, state: DecoupledState) -> EvaluationRequest:
        self.states.append(state)
        return super().__call__(model, state)


# --- one failure ----------------------------------------------------------------------


def test_an_error_is_paid_for_and_recorded_and_the_run_goes_on() -> None:
    def once(x: Tensor, mask: Tensor, count: int) -> None:
        if count == 7:
            raise ZeroDivisionError("no luck")

    plain, history = run(Faulty(), budget=80.0), run(Faulty(once), budget=80.0)
    failed = [k for k, r in enumerate(history.records) if any(r.failed)]
    assert failed == [6]
    record = history.records[6]
    # The same request as without, at the same price.
    assert trace(history)[:6] == trace(plain)[:6]
    assert record.costs == plain.records[6].costs
    assert record.failed == plain.records[6].measured
    assert not any(record.measured)
    assert [e for e in record.errors if e] == ["ZeroDivisionError: no luck"]
    assert all(math.isnan(value) for value in record.values)
    assert history.total_cost == sum(sum(r.costs) for r in history.records) >= 80.0
    assert history.stop_reason == "budget"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_has_failed_and_the_others_count(bad: float) -> None:
    class Overflowing(Faulty):
        def _measure(self, X: Tensor, evaluation_mask: Tensor) -> Tensor:
            Y = super()._measure(X, evaluation_mask)
            return torch.where(torch.tensor(len(self.asked) == 2), bad, 1.0) * Y.abs()

    history = run(Overflowing(), budget=60.0)
    record = history.records[1]
    assert record.failed == (True, True)
    assert record.errors == (f"the value is {bad}",) * 2
    assert bool(history.Y[1].isnan().all())

    def first_only(x: Tensor, mask: Tensor, count: int) -> Tensor:
        return torch.tensor([count == 2, False])

    record = run(Faulty(first_only), budget=60.0).records[1]
    assert (record.failed, record.measured) == ((True, False), (False, True))
    assert record.costs == (10.0, 1.0)


def test_a_request_that_makes_no_sense_is_no_failed_measurement() -> None:
    class Outside(RandomPolicy):
        def __call__(self, model: ModelList, state: DecoupledState) -> Any:
            request = super().__call__(model, state)
            return request._replace(X=request.X + 7.0)

    with pytest.raises(InputDataError, match="within the bounds"):
        run(Faulty(), Outside())


def test_the_first_failure_is_raised_on_demand() -> None:
    with pytest.raises(RuntimeError, match="outcome 1 is broken"):
        run(Faulty(broken(1, after=6)), on_failure=RaiseFailures())

    def lost(x: Tensor, mask: Tensor, count: int) -> Tensor:
        return torch.tensor([False, count == 3])

    with pytest.raises(MeasurementError, match="currin"):
        run(Faulty(lost), on_failure=RaiseFailures())


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_ends_a_program_ends_the_run(kind: type[BaseException]) -> None:
    def stop(x: Tensor, mask: Tensor, count: int) -> None:
        if count == 6:
            raise kind

    if kind is SystemExit:
        with pytest.raises(SystemExit):
            run(Faulty(stop))
        return
    history = run(Faulty(stop))
    assert history.stop_reason == "interrupted"
    assert len(history.records) == 5


@pytest.mark.parametrize("numbers", [(0, 1), (1, 0), (-1, 5)])
def test_impossible_limits_are_refused(numbers: tuple[int, int]) -> None:
    with pytest.raises(InputDataError, match="RaiseFailures"):
        TolerateFailures(max_attempts=numbers[0], max_in_a_row=numbers[1])


# --- what is learned ------------------------------------------------------------------


def test_policies_are_told_of_failures_and_pay_per_success() -> None:
    def sometimes(x: Tensor, mask: Tensor, count: int) -> Tensor:
        return mask & torch.tensor([count % 3 == 0, False])

    policy = Recording()
    history = run(Faulty(sometimes), policy, budget=150.0)
    assert sum(history.num_failures.values()) > 2
    for state in policy.states:
        before = [r for r in history.records if r.decision < state.iteration]
        tried = torch.tensor([r.measured for r in before]).sum(dim=0)
        failed = torch.tensor([r.failed for r in before]).sum(dim=0)
        price = torch.tensor([10.0, 1.0]) * (tried + failed + 1) / (tried + 1)
        assert torch.allclose(state.outcome_costs(state.X[:1])[0], price.double())
        assert not bool(state.Y.isnan().all(dim=-1).any())
        if not failed.any():
            assert state.failures is None
            assert isinstance(state.cost_model, FixedCostModel)
            continue
        assert isinstance(state.cost_model, UnreliableCostModel)
        assert state.failures is not None
        # A later success at the same pair would have emptied its entry.
        assert int(state.failures.counts.sum()) == int(failed.sum())


def test_a_failed_measurement_sets_nothing_up() -> None:
    class Trained(Faulty):
        def setup_cost(self, X: Tensor) -> Tensor:
            return torch.full_like(X[..., 0], 5.0)

    def twice(x: Tensor, mask: Tensor, count: int) -> None:
        if count in (1, 2):
            raise RuntimeError("training died")

    costs = SetupCostModel(
        FixedCostModel(torch.tensor([10.0, 1.0]).double()),
        FixedCostModel(torch.tensor([5.0]).double()),
    )
    policy = Recording()
    initial = InitialDesign(2)
    history = run(Trained(twice), policy, initial=initial, cost_model=costs)
    # The first design dies, the second with its first outcome; its other one lives.
    # Then the first outcome is tried again at the first design.
    first = history.records[:4]
    assert [record.design for record in first] == [0, 1, 1, 0]
    assert [record.failed.count(True) for record in first] == [2, 1, 0, 0]
    assert [record.setup_cost for record in first] == [5.0, 5.0, 5.0, 5.0]
    belief = policy.states[0].cost_model
    assert isinstance(belief, UnreliableCostModel)
    assert belief.factor.tolist() == [2.0, 1.5]
    assert belief(history.X[:2]).tolist() == [[20.0, 1.5], [20.0, 1.5]]


def trained_costs() -> SetupCostModel:
    """What BraninCurrin costs with a training: the truth of the next two tests."""
    return SetupCostModel(
        FixedCostModel(torch.tensor([2.0, 1.0]).double()),
        FixedCostModel(torch.tensor([10.0]).double()),
    )


class TrainedFirst(Faulty):
    """A training of ten units comes before all measurements of a design."""

    def __init__(self, fault: Fault | None) -> None:
        super().__init__(fault, costs=(2.0, 1.0))

    def setup_cost(self, X: Tensor) -> Tensor:
        return torch.full_like(X[..., 0], 10.0)


class RowByRow(Policy):
    """Asks for both outcomes of a new design, in two rows or in one."""

    uses_model = False

    def __init__(self, *, rows: int) -> None:
        self.rows = rows

    def __call__(self, model: ModelList, state: DecoupledState) -> EvaluationRequest:
        X = state.space.sample(1, seed=state.seed).repeat(self.rows, 1)
        mask = torch.eye(2, dtype=torch.bool)
        if self.rows == 1:
            mask = mask.any(dim=0, keepdim=True)
        cost = predicted_costs(state.cost_model, X, mask)
        return EvaluationRequest(X, mask, cost=cost)


@pytest.mark.parametrize(("left", "num_paid"), [(13.5, 1), (22.5, 1), (23.5, 2)])
def test_a_strict_budget_is_kept_when_a_set_up_failed_within_a_request(
    left: float, num_paid: int
) -> None:
    budget = 2 * 13.0 + left
    problem = TrainedFirst(broken(0, after=2))
    history = run(
        problem,
        RowByRow(rows=2),
        initial=InitialDesign(2),
        budget=budget,
        cost_model=trained_costs(),
        strict=True,
    )
    # The first row pays twelve and fails, and the second has to pay the training.
    assert [r.decision for r in history.records[:3]] == [0, 0, 1]
    assert history.total_cost <= budget
    assert history.stop_reason == "unaffordable"
    assert len(history.records) == 2 + num_paid


def test_a_strict_budget_is_kept_when_outcomes_are_measured_apart() -> None:
    # The third request blames both: then they are measured one after the other, for
    # twelve and eleven units. Together they would cost 13 * 4 / 3 per success.
    budget = 3 * 13.0 + 20.0
    history = run(
        TrainedFirst(lambda x, mask, count: torch.tensor([count > 2, count > 2])),
        RowByRow(rows=1),
        initial=InitialDesign(2),
        budget=budget,
        cost_model=trained_costs(),
        strict=True,
    )
    assert history.records[2].failed == (True, True)
    assert history.records[3].failed == (True, False)
    assert history.total_cost == 3 * 13.0 + 12.0
    assert history.stop_reason == "unaffordable"


def test_outcomes_that_failed_together_are_measured_apart() -> None:
    class Both(Policy):
        uses_model = False

        def __call__(
            self, model: ModelList, state: DecoupledState
        ) -> EvaluationRequest:
            X = torch.rand(1, 2, dtype=torch.float64)
            return EvaluationRequest(X, torch.tensor([[True, True]]))

    problem = Faulty(broken(0, after=4))
    history = run(problem, Both(), budget=200.0)
    asked = [mask for _, mask in problem.asked]
    together, first, second = (True, True), (True, False), (False, True)
    # One error blames both, then it is seen that only one is to blame.
    assert asked[4:7] == [together, first, second]
    assert asked[7:9] == [second, first]
    assert set(history.closed_outcomes) == {"branin"}
    assert history.num_failures["currin"] == 1
    assert history.num_measurements["currin"] > 20


# --- giving up ------------------------------------------------------------------------

# Searches with little effort: what is found matters little here.
LITTLE = SearchOptions(raw_samples=32, num_restarts=1, maxiter=10)
LOOKAHEAD = LookaheadFactory(num_designs=16, quadrature_nodes=2)


def quick_coupled() -> CoupledPolicy:
    return CoupledPolicy(num_restarts=1, raw_samples=16, maxiter=10)


POLICIES: dict[str, tuple[Callable[[], Policy], int | None]] = {
    "random": (RandomPolicy, 24),
    "coupled": (CoupledPolicy, 24),
    "variance": (VariancePerCostPolicy, 24),
    "flexibo": (lambda: AcquisitionPolicy(FlexiBOFactory(), q=2), 24),
    "lookahead": (lambda: AcquisitionPolicy(LOOKAHEAD), 24),
    "pabo": (PABOPolicy, 24),
    "predicted pabo": (lambda: PABOPolicy(Supervisor(gate="predicted"), q=2), 24),
    "discretized": (
        lambda: DiscretizedPolicy(AcquisitionPolicy(FlexiBOFactory()), 50),
        None,
    ),
    "continuous lookahead": (
        lambda: AcquisitionPolicy(LOOKAHEAD, options=LITTLE),
        None,
    ),
    "continuous coupled": (quick_coupled, None),
    "continuous pabo": (lambda: PABOPolicy(options=LITTLE), None),
}
ALL_POLICIES = pytest.mark.parametrize("name", POLICIES)


@ALL_POLICIES
@pytest.mark.parametrize("max_attempts", [1, 2], ids=["once", "twice"])
def test_no_pair_is_tried_more_often_than_allowed(name: str, max_attempts: int) -> None:
    build, num_choices = POLICIES[name]
    problem = Faulty(diverging, costs=(1.0, 1.0))
    history = run(
        problem,
        build(),
        budget=130.0,
        choices=None
        if num_choices is None
        else problem.discretize(num_choices, seed=1),
        on_failure=TolerateFailures(max_attempts=max_attempts, max_in_a_row=100),
        callbacks=[lambda history: len(history.records) > 15],
    )
    counts = attempts(history)
    assert len(counts) > 0
    assert max(counts.values()) <= max_attempts
    assert len(history.records) > 10


@ALL_POLICIES
def test_an_outcome_that_fails_for_ever_is_closed_and_the_others_go_on(
    name: str,
) -> None:
    build, num_choices = POLICIES[name]
    problem = Faulty(broken(0, after=4), costs=(1.0, 1.0))
    history = run(
        problem,
        build(),
        choices=None
        if num_choices is None
        else problem.discretize(num_choices, seed=1),
        on_failure=TolerateFailures(max_attempts=1, max_in_a_row=2),
        callbacks=[lambda history: len(history.records) > 18],
    )
    assert history.closed_outcomes == {
        "branin": "failed at 2 designs in a row, at last: RuntimeError: outcome 0 is"
        " broken"
    }
    failed = [k for k, r in enumerate(history.records) if r.failed[0]]
    later = history.records[failed[1] + 1 :]
    assert len(failed) == 2
    assert len(later) > 4
    assert all(r.measured == (False, True) for r in later)


def test_a_run_stops_when_only_what_is_closed_is_left() -> None:
    history = run(FaultyTable(broken(0, after=4)), budget=1e6)
    assert history.stop_reason == "failing"
    assert "dear" in history.closed_outcomes
    assert history.num_measurements == {"dear": 4, "cheap": 12}
    assert history.num_failures["dear"] in range(5, 11)


def test_a_run_stops_when_every_outcome_is_closed() -> None:
    def all_broken(x: Tensor, mask: Tensor, count: int) -> None:
        if count > 4:
            raise OSError("no device")

    history = run(Faulty(all_broken), budget=1e6)
    assert history.stop_reason == "failing"
    assert set(history.closed_outcomes) == {"branin", "currin"}
    assert history.num_measurements == {"branin": 4, "currin": 4}


@pytest.mark.parametrize("num_designs", [1, 3, 8])
def test_an_outcome_that_never_worked_ends_the_run_with_its_history(
    num_designs: int,
) -> None:
    history = run(Faulty(broken(0)), initial=InitialDesign(num_designs), budget=1e6)
    assert history.stop_reason == "failing"
    assert "branin" in history.closed_outcomes
    assert history.num_measurements["branin"] == 0
    # One error of a joint measurement is held against both.
    assert history.num_measurements["currin"] >= max(1, num_designs - 1)
    assert max(attempts(history).values()) <= 2


def test_initial_designs_are_tried_again_for_an_outcome_without_a_value() -> None:
    tries: list[int] = []

    def twice(x: Tensor, mask: Tensor, count: int) -> Tensor:
        tries.extend([count] * int(mask[0]))
        return torch.tensor([len(tries) <= 2, False])

    history = run(Faulty(twice), initial=InitialDesign(2), budget=100.0)
    assert [record.decision for record in history.records[:5]] == [0, 0, 0, 0, 1]
    assert [record.design for record in history.records[:4]] == [0, 1, 1, 0]
    assert history.records[3].measured == (True, False)
    assert history.stop_reason == "budget"


def test_each_attempt_has_its_own_random_numbers() -> None:
    draws: list[float] = []

    def unlucky(x: Tensor, mask: Tensor, count: int) -> Tensor:
        if mask[0]:
            draws.append(float(torch.rand(())))
        return torch.tensor([True, False])

    rule = TolerateFailures(max_attempts=6, max_in_a_row=9)
    history = run(
        Faulty(unlucky), initial=InitialDesign(2), budget=1e6, on_failure=rule
    )
    assert history.stop_reason == "failing"
    assert {r.decision for r in history.records} == {0}
    assert len(set(draws)) == len(draws) == 2 * 6


def test_a_policy_that_ignores_failures_does_not_run_for_ever() -> None:
    class Stubborn(Policy):
        uses_model = False

        def __call__(
            self, model: ModelList, state: DecoupledState
        ) -> EvaluationRequest:
            return EvaluationRequest(
                torch.full((1, 2), 0.5).double(), torch.tensor([[True, False]])
            )

    problem = Faulty(broken(0, after=4))
    history = run(problem, Stubborn(), budget=1e6)
    assert history.stop_reason == "failing"
    assert len(problem.asked) == 4 + 2


# --- what policies are told -----------------------------------------------------------


def known(**changes: Any) -> Failures:
    values: dict[str, Any] = {
        "X": torch.tensor([[0.5, 5.0], [0.125, 1.0], [0.75, 9.0]]).double(),
        "counts": torch.tensor([[2, 0], [1, 0], [0, 0]]),
        "max_attempts": 2,
        "closed": torch.tensor([False, False]),
    }
    return Failures(**(values | changes))


def test_pairs_given_up_and_closed_outcomes_are_forbidden() -> None:
    X = torch.tensor([[0.125, 1.0], [0.5, 5.0], [0.5, 5.1]]).double()
    forbidden = known().forbidden(X)
    assert forbidden.tolist() == [[False, False], [True, False], [False, False]]
    closed = known(closed=torch.tensor([False, True]))
    assert closed.forbidden(X).tolist() == [[False, True], [True, True], [False, True]]
    nowhere = known(X=X[:0], counts=torch.zeros(0, 2), closed=closed.closed)
    assert nowhere.forbidden(X).tolist() == [[False, True]] * 3


def test_designs_to_retry_have_an_attempt_left() -> None:
    assert known().to_retry().tolist() == [[0.125, 1.0]]
    assert len(known(max_attempts=1).to_retry()) == 0
    assert len(known(closed=torch.tensor([True, False])).to_retry()) == 0


def test_masks_lose_what_is_closed() -> None:
    masks = torch.tensor([[True, False], [True, True], [False, True]])
    assert known().open_masks(masks).tolist() == masks.tolist()
    closed = known(closed=torch.tensor([True, False]))
    assert closed.open_masks(masks).tolist() == [[False, True]]
    assert len(closed.open_masks(masks[:1])) == 0


def test_a_near_copy_is_recognised_where_the_same_measurement_failed() -> None:
    failures = known()
    first, second = torch.tensor([True, False]), torch.tensor([False, True])
    near = torch.tensor([0.505, 5.09]).double()
    assert failures.original(near, first, BOUNDS).tolist() == [0.5, 5.0]
    assert failures.original(near, second, BOUNDS) is near
    far = torch.tensor([0.505, 5.2]).double()
    assert failures.original(far, first, BOUNDS) is far
    # Measured after all: no failure any more.
    healed = torch.tensor([0.751, 9.001]).double()
    assert failures.original(healed, first, BOUNDS) is healed


def test_a_success_is_forgotten_failures_and_restarts_the_count() -> None:
    log = FailureLog(2, TolerateFailures(max_in_a_row=2))
    a, b, c = (torch.tensor([v]).double() for v in (0.1, 0.2, 0.3))
    yes, no = [True, False], [False, False]
    assert log.note(a, no, yes) == []
    assert log.note(a, no, yes) == []  # the same design counts once
    assert log.note(a, yes, no) == []
    assert log.note(b, no, yes) == []
    assert log.note(c, no, yes) == [0]
    assert log.closed == [2, 0]
    told = log.failures(a)
    assert told is not None
    assert told.counts.tolist() == [[0, 0], [1, 0], [1, 0]]
    assert told.closed.tolist() == [True, False]


def test_a_search_on_a_continuous_space_tries_a_failed_design_again() -> None:
    failed: list[tuple[float, ...]] = []

    def first_try(x: Tensor, mask: Tensor, count: int) -> None:
        if count > 4 and bool(mask[0]) and tuple(x.tolist()) not in failed:
            failed.append(tuple(x.tolist()))
            raise RuntimeError("try again")

    problem = Faulty(first_try)
    policy = AcquisitionPolicy(LOOKAHEAD, options=LITTLE)
    history = run(
        problem, policy, budget=150.0, callbacks=[lambda h: len(h.records) > 20]
    )
    again = [
        tuple(history.X[r.design].tolist()) for r in history.records if r.measured[0]
    ]
    assert len(set(failed) & set(again)) > 0
