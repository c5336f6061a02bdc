r"""Problems, callbacks and policies that misbehave: no run is spoiled by them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import moocore
import numpy as np
import pytest
import torch
from botorch.exceptions.errors import (
    BotorchTensorDimensionError,
    InputDataError,
    UnsupportedError,
)
from botorch.models.cost import FixedCostModel
from torch import Tensor

from botorch_flexibo import (
    AcquisitionPolicy,
    CoupledPolicy,
    DecoupledHistory,
    FlexiBOFactory,
    InitialDesign,
    LookaheadFactory,
    RandomPolicy,
    VariancePerCostPolicy,
    run_decoupled_optimization,
)
from botorch_flexibo.exceptions import (
    ExperimentStorageError,
    InvalidCostError,
    InvalidOutcomesError,
)
from botorch_flexibo.failures import TolerateFailures
from botorch_flexibo.optim import EvaluationRequest
from botorch_flexibo.policies import (
    DecoupledState,
    DiscretizedPolicy,
    PABOPolicy,
    Policy,
    Supervisor,
    qlognparego_factory,
)
from botorch_flexibo.test_functions import (
    DecoupledBraninCurrin,
    DecoupledProblem,
    TabularProblem,
)
from tests.runs import trace


class Plain(DecoupledBraninCurrin):
    """Two columns, two outcomes, costs 10 : 1."""

    def __init__(self) -> None:
        super().__init__(costs=(10.0, 1.0))


class OneOutcome(DecoupledProblem):
    """A parabola whose every value costs 1."""

    dim, num_objectives, continuous_inds = 1, 1, [0]
    _bounds, _ref_point, outcome_names = [(0.0, 1.0)], [-1.0], ("-loss",)

    def cost(self, X: Tensor) -> Tensor:
        return X.new_ones(len(X), 1)

    def _evaluate_true(self, X: Tensor) -> Tensor:
        return -(X - 0.3).square()


def run(problem: Any, *, budget: float = 60.0, **options: Any) -> DecoupledHistory:
    options = {"initial_design": InitialDesign(3)} | options
    return run_decoupled_optimization(problem, RandomPolicy(), budget=budget, **options)


class Diverges(Plain):
    """The truth of one outcome is NaN in a part of the space."""

    def _evaluate_true(self, X: Tensor) -> Tensor:
        Y = super()._evaluate_true(X)
        Y[X[:, 0] > 0.9, 0] = math.nan
        return Y


class DivergesEverywhere(Plain):
    """The first outcome of designs that were not measured is NaN."""

    def _measure(self, X: Tensor, evaluation_mask: Tensor) -> Tensor:
        return super()._evaluate_true(X)

    def _evaluate_true(self, X: Tensor) -> Tensor:
        return torch.full_like(super()._evaluate_true(X), math.nan)


class KnowsNothing(DivergesEverywhere):
    """Its truth cannot be asked for."""

    def _evaluate_true(self, X: Tensor) -> Tensor:
        raise NotImplementedError("only a training tells")


def test_designs_without_a_true_outcome_are_left_out_of_the_front() -> None:
    class Seen(Diverges):
        fronts: list[Tensor] = []

        def _measure(self, X: Tensor, evaluation_mask: Tensor) -> Tensor:
            return -self._evaluate_true(X)

        def evaluate_true(self, X: Tensor) -> Tensor:
            self.fronts.append(super().evaluate_true(X))
            return self.fronts[-1]

    problem = Seen()
    history = run(problem, budget=150.0, initial_design=InitialDesign(6))
    assert history.stop_reason == "budget"
    judged = [r.hv_identified for r in history.records]
    fronts = [Y[~Y.isnan().any(dim=-1)] for Y in problem.fronts]
    assert sum(map(len, fronts)) < sum(map(len, problem.fronts))
    # The truth of BraninCurrin is minimised, as moocore does.
    ref = (-problem.ref_point).numpy()
    expected = [moocore.hypervolume(Y.numpy(), ref=ref) for Y in fronts if len(Y)]
    found = [volume for volume in judged if not math.isnan(volume)]
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("kind", [DivergesEverywhere, KnowsNothing])
@pytest.mark.filterwarnings("ignore:The identified front could not be judged")
def test_a_front_that_cannot_be_judged_ends_no_run(kind: Any, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    history = run(kind(), checkpoint=path)
    assert history.stop_reason == "budget"
    assert history.to_pandas()["hv_identified"].isna().all()
    resumed = run(kind(), checkpoint=path)
    assert torch.equal(resumed.Y.isnan(), history.Y.isnan())


def test_a_warning_says_why_a_front_is_not_judged() -> None:
    with pytest.warns(RuntimeWarning, match=r"only a training tells.*knows_truth"):
        run(KnowsNothing())


def answering(answer: Callable[[Tensor], object]) -> Plain:
    problem = Plain()
    problem._measure = lambda X, _: answer(X)  # pyright: ignore
    return problem


@pytest.mark.parametrize(
    "answer",
    [
        lambda X: X[:, :1],
        lambda X: torch.tensor(1.5),
        lambda X: X.new_ones(len(X), 3),
        lambda X: X.new_ones(len(X) + 2, 2),
        lambda X: [["a", "b"]],
        lambda X: None,
    ],
    ids=["narrow", "scalar", "wide", "long", "text", "nothing"],
)
def test_what_is_no_table_of_outcomes_is_refused_with_what_it_was(
    answer: Callable[[Tensor], object],
) -> None:
    with pytest.raises(InvalidOutcomesError, match=r"shape \(1, 2\).*but got"):
        run(answering(answer))


@pytest.mark.parametrize(
    "answer",
    [
        lambda X: torch.tensor([[3, 4]]),
        lambda X: np.array([[3, 4]]),
        lambda X: np.array([[3.0, 4.0]], dtype=np.float32),
        lambda X: [[3.0, 4.0]],
    ],
    ids=["integers", "numpy_integers", "numpy", "lists"],
)
def test_numbers_of_any_kind_are_outcomes(answer: Callable[[Tensor], object]) -> None:
    history = run(answering(answer), budget=30.0)
    assert sum(history.num_failures.values()) == 0
    assert history.Y[:2].tolist() == [[3.0, 4.0], [3.0, 4.0]]


def test_a_callback_that_changes_tensors_changes_nothing() -> None:
    def spoil(history: DecoupledHistory) -> None:
        history.X.mul_(100.0)
        history.Y[history.Y.isnan()] = 0.0

    assert trace(run(Plain(), callbacks=[spoil])) == trace(run(Plain()))


def test_a_problem_that_changes_its_designs_changes_nothing() -> None:
    class Careless(Plain):
        def _measure(self, X: Tensor, evaluation_mask: Tensor) -> Tensor:
            Y = self.evaluate_true(X)
            X.zero_()
            evaluation_mask.zero_()
            return -Y

        def cost(self, X: Tensor) -> Tensor:
            cost = super().cost(X)
            X.zero_()
            return cost

    history, expected = run(Careless()), run(Plain())
    assert torch.equal(history.X, expected.X)
    assert torch.equal(history.Y.isnan(), expected.Y.isnan())


@pytest.mark.parametrize("returned", [7, "33.0", torch.ones(2), None, 0])
def test_only_true_ends_a_run(returned: object) -> None:
    history = run(Plain(), callbacks=[lambda _: returned])  # pyright: ignore
    assert history.stop_reason == "budget"


@pytest.mark.parametrize("end", [True, np.True_])
def test_true_ends_a_run(end: bool) -> None:
    assert run(Plain(), callbacks=[lambda _: end]).stop_reason == "callback"


def pricing(cost: Callable[[Tensor], Tensor]) -> Plain:
    problem = Plain()
    problem.cost = cost
    return problem


def fails(X: Tensor) -> Tensor:
    raise OSError("billing: timeout")


def later(cost: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
    """Of the right form before anything is measured, and not afterwards."""
    calls: list[Tensor] = []

    def changing(X: Tensor) -> Any:
        calls.append(X)
        return X.new_ones(len(X), 2) if len(calls) == 1 else cost(X)

    return changing


@pytest.mark.parametrize(
    ("cost", "kind"),
    [
        (fails, OSError),
        (later(lambda X: X.new_ones(len(X), 3)), InvalidCostError),
        (later(lambda X: X.new_ones(len(X), 1)), InvalidCostError),
        (later(lambda X: "much"), InvalidCostError),
    ],
    ids=["raises", "wide", "narrow", "no number"],
)
def test_what_was_measured_is_told_if_its_cost_is_not_known(
    cost: Callable[[Tensor], Tensor], kind: type[Exception]
) -> None:
    with pytest.raises(kind) as caught:
        run(pricing(cost))
    (note,) = caught.value.__notes__
    assert note.startswith("Measured at [")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("outcome_names", ("a", "a"), "2 different outcome_names"),
        ("outcome_names", ("a",), "2 different outcome_names"),
        ("outcome_names", ("a", "cost"), r"got \['cost'\]"),
        ("outcome_names", ("x0", "b"), r"got \['x0'\]"),
        ("setup_outcomes", (True,), "2 times True or False"),
        ("setup_features", [9], "among the 2 columns"),
        ("target_fidelities", {7: 1.0}, "among the 2 columns"),
    ],
)
def test_what_a_problem_says_of_itself_is_checked_first(
    name: str, value: object, message: str, tmp_path: Path
) -> None:
    problem, path = Plain(), tmp_path / "run.jsonl"
    setattr(problem, name, value)
    with pytest.raises(InputDataError, match=message):
        run(problem, checkpoint=path)
    assert not path.exists()


def test_an_initial_design_that_makes_no_run_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with pytest.raises(InputDataError, match="a cost_model for a cheap-first"):
        run(Plain(), initial_design=InitialDesign(4, num_complete=1), checkpoint=path)
    assert not path.exists()


def test_counts_of_numpy_are_counts(tmp_path: Path) -> None:
    history = run(
        Plain(),
        initial_design=InitialDesign(np.int64(4)),  # pyright: ignore
        on_failure=TolerateFailures(max_attempts=np.int64(2)),  # pyright: ignore
        checkpoint=tmp_path / "run.jsonl",
    )
    assert history.stop_reason == "budget"


def table(**changes: Any) -> TabularProblem:
    X = torch.linspace(0, 1, 8).double().unsqueeze(-1)
    options: dict[str, Any] = {
        "Y": torch.cat([X.sin(), X.cos()], dim=-1),
        "costs": torch.tensor([10.0, 1.0]).double().expand(8, 2),
        "ref_point": [-1.0, -1.0],
        "outcome_names": ("a", "b"),
        "cost_unit": "s",
    } | changes
    return TabularProblem(X, **options)


def test_the_record_of_another_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    first = run(table(), callbacks=[lambda h: len(h.X) > 3], checkpoint=path)
    for changes in ({"Y": -table().Y}, {"costs": 2 * table().costs}):
        with pytest.raises(ExperimentStorageError, match="data"):
            run(table(**changes), checkpoint=path)
    resumed = run(table(), checkpoint=path)
    assert torch.equal(resumed.X[: len(first.X)], first.X)


def test_a_strict_run_spends_on_what_it_can_pay() -> None:
    costs = FixedCostModel(torch.tensor([10.0, 1.0]).double())
    options: dict[str, Any] = {"strict": True, "cost_model": costs, "budget": 20.0}
    history = run(Plain(), initial_design=InitialDesign(4), **options)
    # The second design costs 11; the cheap outcome alone can be paid nine times more.
    assert history.total_cost == 20.0
    assert history.num_measurements == {
        name: count for name, count in zip(history.outcome_names, (1, 10), strict=True)
    }


@pytest.mark.parametrize(
    ("policy", "kind"),
    [
        (AcquisitionPolicy(FlexiBOFactory()), UnsupportedError),
        (
            AcquisitionPolicy(
                LookaheadFactory(), evaluation_masks=torch.eye(3, dtype=torch.bool)
            ),
            BotorchTensorDimensionError,
        ),
        (
            DiscretizedPolicy(
                AcquisitionPolicy(
                    FlexiBOFactory(),
                    evaluation_masks=torch.eye(3, dtype=torch.bool),
                )
            ),
            BotorchTensorDimensionError,
        ),
        (PABOPolicy(Supervisor(lead=2)), InputDataError),
    ],
    ids=["no_choices", "wide_masks", "discretized_wide_masks", "no_such_lead"],
)
def test_a_policy_that_cannot_choose_is_refused_before_anything_is_paid(
    policy: Policy, kind: type[Exception], tmp_path: Path
) -> None:
    refused_unpaid(Plain(), policy, kind, tmp_path / "run.jsonl")


@pytest.mark.parametrize(
    ("policy", "kind"),
    [
        (CoupledPolicy(), UnsupportedError),
        (VariancePerCostPolicy(), UnsupportedError),
        (PABOPolicy(), InputDataError),
    ],
    ids=["coupled", "variance_per_cost", "pabo"],
)
def test_one_outcome_is_refused_before_it_is_paid_where_two_are_needed(
    policy: Policy, kind: type[Exception], tmp_path: Path
) -> None:
    refused_unpaid(OneOutcome(), policy, kind, tmp_path / "run.jsonl")


@pytest.mark.parametrize(
    "policy",
    [
        CoupledPolicy(qlognparego_factory),
        DiscretizedPolicy(AcquisitionPolicy(FlexiBOFactory()), 16),
    ],
    ids=["scalarised", "discretized"],
)
def test_what_can_choose_among_one_outcome_does(policy: Policy) -> None:
    history = run_decoupled_optimization(
        OneOutcome(), policy, budget=6.0, initial_design=InitialDesign(4)
    )
    assert history.stop_reason == "budget"
    assert history.Y.shape == (6, 1)


def refused_unpaid(
    problem: DecoupledProblem, policy: Policy, kind: type[Exception], path: Path
) -> None:
    problem._measure = lambda X, mask: pytest.fail("measured")  # pyright: ignore
    with pytest.raises(kind):
        run_decoupled_optimization(problem, policy, budget=60.0, checkpoint=path)
    assert not path.exists()


@pytest.mark.parametrize("factory", ["flexibo", LookaheadFactory, None])
def test_what_builds_no_acquisition_function_is_refused(factory: Any) -> None:
    with pytest.raises(InputDataError, match="Pass for example FlexiBOFactory"):
        AcquisitionPolicy(factory)


# --- a reference point of the wrong sign ----------------------------------------------


class Lab(DecoupledProblem):
    """An error between 0 and 0.5 and an energy between 0 and 2, signs turned."""

    dim, num_objectives, continuous_inds = 2, 2, [0, 1]
    _bounds, _ref_point = [(0.0, 1.0), (0.0, 1.0)], [-0.6, -2.1]
    outcome_names, cost_unit, knows_truth = ("-error", "-energy"), "min", False

    def __init__(self, ref_point: tuple[float, float] = (-0.6, -2.1)) -> None:
        self._ref_point = list(ref_point)
        super().__init__()
        self.num_measured = 0

    def _measure(self, X: Tensor, evaluation_mask: Tensor) -> Tensor:
        self.num_measured += int(evaluation_mask.sum())
        error = (X - 0.3).square().mean(dim=-1)
        return -torch.stack([error, X.sum(dim=-1)], dim=-1)

    def cost(self, X: Tensor) -> Tensor:
        return torch.tensor([10.0, 1.0]).to(X).expand(len(X), 2)

    def _evaluate_true(self, X: Tensor) -> Tensor:
        raise NotImplementedError("only a training tells")


def test_an_outcome_far_below_its_reference_is_warned_of_once(tmp_path: Path) -> None:
    options = {"initial_design": InitialDesign(6), "checkpoint": tmp_path / "r.jsonl"}
    with pytest.warns(RuntimeWarning) as warned:
        history = run(Lab((-0.6, 2.1)), budget=90.0, **options)
    energy = history.Y[:6, 1]
    assert [str(one.message) for one in warned] == [
        "Expected values of -energy near or above its reference 2.1, but the best of"
        f" the first 6 is {energy.max():.6g}, the worst {energy.min():.6g}. Outcomes"
        " are maximised, and a design counts only where it is above the reference:"
        " check that what is to be minimised is returned with its sign turned, and"
        " that _ref_point is given likewise."
    ]
    assert warned[0].filename == __file__
    # Read from the record, it is not said again, as warnings are errors.
    run(Lab((-0.6, 2.1)), budget=90.0, **options)


def test_a_run_left_in_its_initial_design_is_warned_when_it_goes_on(
    tmp_path: Path,
) -> None:
    class Interrupted(Lab):
        def _measure(self, X: Tensor, evaluation_mask: Tensor) -> Tensor:
            if self.num_measured == 8:
                raise KeyboardInterrupt
            return super()._measure(X, evaluation_mask)

    Interrupted.__name__ = "Lab"
    options = {"initial_design": InitialDesign(6), "checkpoint": tmp_path / "r.jsonl"}
    history = run(Interrupted((0.6, -2.1)), budget=90.0, **options)
    assert history.stop_reason == "interrupted"
    with pytest.warns(RuntimeWarning, match="values of -error near or above its ref"):
        run(Lab((0.6, -2.1)), budget=90.0, **options)


@pytest.mark.parametrize(
    ("ref_point", "num_designs"),
    [((-0.6, -2.1), 6), ((0.01, 0.1), 6), ((-0.6, 2.1), 3)],
    ids=["above", "below by less than the range", "too few to tell"],
)
def test_a_rough_start_is_no_reason_to_warn(
    ref_point: tuple[float, float], num_designs: int
) -> None:
    history = run(Lab(ref_point), initial_design=InitialDesign(num_designs))
    below = ~(history.Y > torch.tensor(ref_point)).any(dim=0)
    assert bool(below.any()) == (ref_point[1] > 0)


# --- measuring again ------------------------------------------------------------------


class Repeat(Policy):
    """Asks for the first design again and again."""

    uses_model = False

    def __call__(self, model: Any, state: DecoupledState) -> EvaluationRequest:
        return EvaluationRequest(state.X[:1], torch.ones(1, 2, dtype=torch.bool))


def test_what_is_measured_again_is_paid_and_counted_and_its_last_value_kept() -> None:
    class Drifting(Lab):
        def _measure(self, X: Tensor, evaluation_mask: Tensor) -> Tensor:
            Y = super()._measure(X, evaluation_mask)
            return Y - 0.001 * self.num_measured

    history = run_decoupled_optimization(
        Drifting(), Repeat(), budget=66.0, initial_design=InitialDesign(3)
    )
    assert history.num_measurements == {"-error": 6, "-energy": 6}
    assert history.total_cost == 66.0
    again = [record.values for record in history.records if record.design == 0]
    assert len(set(again)) == 4
    assert tuple(history.Y[0].tolist()) == again[-1]


# --- costs of the wrong form ----------------------------------------------------------


class PricedBy(Lab):
    """Its costs are what it is told."""

    def __init__(self, costs: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.costs = costs

    def cost(self, X: Tensor) -> Tensor:
        return self.costs(X)


@pytest.mark.parametrize(
    ("costs", "got"),
    [
        (lambda X: torch.tensor([10.0, 1.0]), r"\(2,\)\. Let .* return `n x m`\."),
        (lambda X: [10.0, 1.0], r"\(2,\)\. Let .* return `n x m`\."),
        (lambda X: [["much", 1.0]], r"\[\['much', 1.0\]\]\. Let .* `n x m` tensor\."),
        (lambda X: None, r"None\. Let .* return an `n x m` tensor\."),
    ],
    ids=["one row", "a list", "text", "nothing"],
)
def test_costs_of_a_wrong_form_are_refused_before_anything_is_measured(
    costs: Callable[[Tensor], Any], got: str, tmp_path: Path
) -> None:
    problem, path = PricedBy(costs), tmp_path / "run.jsonl"
    message = rf"^Expected costs of shape \(1, 2\), one per outcome, but got {got}$"
    with pytest.raises(InvalidCostError, match=message):
        run(problem, checkpoint=path)
    assert problem.num_measured == 0
    assert not path.exists()


def test_costs_may_be_a_list_of_rows() -> None:
    history = run(PricedBy(lambda X: [[10.0, 1.0]] * len(X)))
    assert trace(history) == trace(run(Lab()))


def test_costs_that_are_known_only_after_the_measurement_are_asked_for_then() -> None:
    def costs(X: Tensor) -> Tensor:
        if problem.num_measured == 0:
            raise RuntimeError("nothing was timed yet")
        return torch.tensor([[10.0, 1.0]]).to(X)

    problem = PricedBy(costs)
    assert trace(run(problem)) == trace(run(Lab()))


def test_costs_that_are_drawn_leave_the_random_state_of_the_caller_alone() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        expected = torch.rand(1)
        torch.manual_seed(0)
        run(PricedBy(lambda X: 5 + torch.rand(len(X), 2).to(X)))
        assert torch.equal(torch.rand(1), expected)
