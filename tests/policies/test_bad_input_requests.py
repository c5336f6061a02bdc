r"""Requests and records that make no sense are refused; nothing is measured or lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from botorch.exceptions.errors import BotorchTensorDimensionError, InputDataError
from botorch.models.model import ModelList
from torch import Tensor

from botorch_flexibo import (
    DecoupledHistory,
    EvaluationRequest,
    FlexiBOFactory,
    InitialDesign,
    LookaheadFactory,
    run_decoupled_optimization,
)
from botorch_flexibo.exceptions import ExperimentStorageError, InvalidCostError
from botorch_flexibo.policies import (
    DecoupledState,
    DiscretizedPolicy,
    HVKGFactory,
    PABOPolicy,
    Policy,
    RandomPolicy,
    Supervisor,
)
from botorch_flexibo.test_functions import DecoupledBraninCurrin
from tests.bad_values import (
    BAD_COUNTS,
    BAD_NUMBERS,
    BAD_PATHS,
    INF,
    NAN,
    mask_error,
    no_path,
    no_reals,
    no_tensor,
    other_place,
    refused,
    tensor,
)


class Watched(DecoupledBraninCurrin):
    """Remembers what was measured."""

    def __init__(self) -> None:
        super().__init__(costs=(10.0, 1.0))
        self.asked: list[list[list[bool]]] = []

    def _measure(self, X: Tensor, evaluation_mask: Tensor) -> Tensor:
        self.asked.append(evaluation_mask.tolist())
        return super()._measure(X, evaluation_mask)


class Scripted(Policy):
    """Returns what it is told to, after a request that makes sense."""

    uses_model = False

    def __init__(self, *answers: Any) -> None:
        self._answers = answers

    @property
    def has_memory(self) -> bool:
        return False

    def __call__(self, model: ModelList, state: DecoupledState) -> Any:
        return self._answers[min(state.iteration, len(self._answers)) - 1]


x = tensor([0.25, 0.75])
MASK = torch.tensor([[True, False]])
GOOD = EvaluationRequest(x, MASK)


def run(
    *answers: Any, problem: Watched | None = None, **options: Any
) -> DecoupledHistory:
    return run_decoupled_optimization(
        Watched() if problem is None else problem,
        Scripted(*answers),
        budget=40.0,
        initial_design=InitialDesign(1),
        **options,
    )


def no_request(got: str) -> str:
    return (
        f"Expected an EvaluationRequest from Scripted, but got {got}. Return"
        " EvaluationRequest(X, evaluation_mask), or raise CandidateGenerationError if"
        " nothing is left to measure."
    )


def columns(shape: str) -> str:
    return (
        "Expected X to be `n x 2`, with the columns of the bounds, but got shape"
        f" `{shape}`. Pass one design per row."
    )


def outside(number: float) -> str:
    return (
        "Expected designs within the bounds [[0.0, 0.0], [1.0, 1.0]], got row 0 ="
        f" [{number}, {number}]. Pass `X` in the space of `problem.bounds`."
    )


def mask_shape(shape: tuple[int, ...]) -> str:
    return (
        f"Expected `evaluation_mask` of shape (1, 2) (n x m), got {shape}. Pass one row"
        " per design and one column per outcome."
    )


def with_mask(mask: Any) -> EvaluationRequest:
    return EvaluationRequest(x, mask)


def with_cost(cost: Any) -> EvaluationRequest:
    return EvaluationRequest(x, MASK, None, cost)


def with_designs(X: Any) -> EvaluationRequest:
    return EvaluationRequest(X, MASK)


Case = tuple[Any, type[Exception], str]
BAD_REQUESTS: dict[str, Case] = {
    "None": (None, InputDataError, no_request("NoneType")),
    "string": ("x", InputDataError, no_request("str")),
    "a tensor": (x, InputDataError, no_request("Tensor")),
    "a pair": ((x, MASK), InputDataError, no_request("tuple")),
    "X None": (with_designs(None), InputDataError, no_tensor("X", None)),
    "X list": (with_designs([[0.5, 0.5]]), InputDataError, no_tensor("X", [])),
    **{
        f"X {dtype}": (
            with_designs(x.to(dtype)),
            InputDataError,
            no_reals("X", x.to(dtype)),
        )
        for dtype in (torch.long, torch.bool, torch.cdouble)
    },
    "X f32": (
        with_designs(x.float()),
        InputDataError,
        other_place("X", "the bounds", "torch.float32 on cpu"),
    ),
    "X on another device": (
        with_designs(x.to("meta")),
        InputDataError,
        other_place("X", "the bounds", "torch.float64 on meta"),
    ),
    **{
        f"X {number}": (
            with_designs(torch.full_like(x, number)),
            InputDataError,
            outside(number),
        )
        for number in (NAN, INF, -INF, 1e308, 1.5)
    },
    "X 1-dim": (with_designs(x[0]), BotorchTensorDimensionError, columns("2")),
    "X 3-dim": (
        with_designs(x.unsqueeze(0)),
        BotorchTensorDimensionError,
        columns("1 x 1 x 2"),
    ),
    "X wide": (
        with_designs(torch.rand(1, 3, dtype=torch.double)),
        BotorchTensorDimensionError,
        columns("1 x 3"),
    ),
    "mask None": (
        with_mask(None),
        InputDataError,
        mask_error("NoneType", "evaluation_mask"),
    ),
    "mask list": (
        with_mask([[True, False]]),
        InputDataError,
        mask_error("list", "evaluation_mask"),
    ),
    **{
        f"mask {dtype}": (
            with_mask(MASK.to(dtype)),
            InputDataError,
            mask_error(str(dtype), "evaluation_mask"),
        )
        for dtype in (torch.float32, torch.float64, torch.long, torch.cdouble)
    },
    **{
        f"mask of shape {shape}": (
            with_mask(torch.ones(shape, dtype=torch.bool)),
            BotorchTensorDimensionError,
            mask_shape(shape),
        )
        for shape in ((2,), (1, 1), (1, 3), (2, 2), (1, 1, 2))
    },
    "cost string": (with_cost("x"), InputDataError, no_tensor("cost", "x")),
    "cost number": (with_cost(1.0), InputDataError, no_tensor("cost", 1.0)),
    "cost complex": (
        with_cost(torch.ones(1, dtype=torch.cdouble)),
        InputDataError,
        no_reals("cost", torch.ones(1, dtype=torch.cdouble)),
    ),
    "costs of two": (
        with_cost(torch.ones(2)),
        BotorchTensorDimensionError,
        "Expected cost of shape `1`, one per design, but got shape `2`. Leave it out if"
        " costs are not known.",
    ),
    **{
        f"cost {number}": (
            with_cost(tensor(number)),
            InvalidCostError,
            "Expected predicted costs that are finite and not negative, or NaN if not"
            f" known, but got {number}. Bound the cost model of the policy.",
        )
        for number in (-1.0, INF, -INF)
    },
}


@pytest.mark.parametrize("case", BAD_REQUESTS.values(), ids=BAD_REQUESTS)
def test_a_request_that_makes_no_sense_is_refused_and_the_record_goes_on(
    case: Case, tmp_path: Path
) -> None:
    """It is neither measured nor recorded: a corrected policy goes on with the run."""
    bad, kind, message = case
    record, problem = tmp_path / "run.jsonl", Watched()
    refused(lambda: run(GOOD, bad, problem=problem, checkpoint=record), kind, message)
    assert problem.asked == [[[True, True]], [[True, False]]]
    before = record.read_bytes()
    refused(lambda: run(GOOD, bad, checkpoint=record), kind, message)
    assert record.read_bytes() == before
    history = run(GOOD, checkpoint=record)
    assert history.stop_reason == "budget"
    assert [r.measured for r in history.records] == [(True, True)] + [(True, False)] * 3


def test_a_batch_with_a_design_that_makes_no_sense_measures_none_of_it() -> None:
    problem = Watched()
    batch = EvaluationRequest(torch.cat([x, x + 1.0]), MASK.repeat(2, 1))
    refused(
        lambda: run(batch, problem=problem),
        InputDataError,
        "Expected designs within the bounds [[0.0, 0.0], [1.0, 1.0]], got row 1 ="
        " [1.25, 1.75]. Pass `X` in the space of `problem.bounds`.",
    )
    assert problem.asked == [[[True, True]]]  # the initial design


@pytest.mark.parametrize("again", [[True, False], [True, True]], ids=["equal", "more"])
def test_a_batch_that_pays_for_a_pair_twice_measures_none_of_it(
    again: list[bool],
) -> None:
    problem = Watched()
    batch = EvaluationRequest(
        torch.cat([x, x + 0.1, x, x]),
        torch.tensor([[False, True], [True, True], [True, False], again]),
    )
    refused(
        lambda: run(batch, problem=problem),
        InputDataError,
        "Expected each outcome of a design at most once in a request of Scripted, but"
        " got outcome 0 at [0.25, 0.75] in rows [2, 3]. Leave out all but one.",
    )
    assert problem.asked == [[[True, True]]]  # the initial design


def test_a_batch_may_measure_the_outcomes_of_a_design_one_by_one() -> None:
    problem = Watched()
    batch = EvaluationRequest(
        x.repeat(3, 1), torch.tensor([[0, 1], [0, 0], [1, 0]]) > 0
    )
    history = run(batch, problem=problem)
    assert history.stop_reason == "budget"
    assert problem.asked[1:3] == [[[False, True]], [[True, False]]]


@pytest.mark.parametrize(
    "empty",
    [with_mask(MASK & False), EvaluationRequest(x[:0], MASK[:0])],
    ids=["no outcome", "no design"],
)
def test_requests_for_nothing_cost_nothing_and_end_the_run(
    empty: EvaluationRequest,
) -> None:
    problem = Watched()
    history = run(empty, problem=problem)
    assert (history.stop_reason, history.total_cost) == ("exhausted", 11.0)
    assert problem.asked == [[[True, True]]]


def test_a_predicted_cost_that_is_not_known_is_none() -> None:
    history = run(with_cost(tensor(NAN)))
    assert history.stop_reason == "budget"


# --- numbers of policies -------------------------------------------------------------

COUNTS: dict[str, Any] = {
    "quadrature_nodes": LookaheadFactory,
    "num_pareto": HVKGFactory,
    "num_fantasies": HVKGFactory,
    "q": PABOPolicy,
}


@pytest.mark.parametrize("number", BAD_COUNTS.values(), ids=BAD_COUNTS)
@pytest.mark.parametrize("name", COUNTS)
def test_numbers_of_policies_that_are_no_counts_are_refused(
    name: str, number: Any
) -> None:
    refused(
        lambda: COUNTS[name](**{name: number}),
        InputDataError,
        f"Expected {name} >= 1, but got {number!r}. Pass a whole number.",
    )
    if number is not None:
        refused(
            lambda: DiscretizedPolicy(RandomPolicy(), number),
            InputDataError,
            f"Expected num_designs >= 1, but got {number!r}. Pass a whole number.",
        )


@pytest.mark.parametrize("make", [LookaheadFactory, FlexiBOFactory, Supervisor])
@pytest.mark.parametrize("beta", ["1", True, 1j, NAN, INF, -1.0, [1, 2]], ids=repr)
def test_betas_of_policies_that_are_none_are_refused(make: Any, beta: Any) -> None:
    refused(
        lambda: make(beta=beta),
        InputDataError,
        f"Expected a finite beta >= 0, but got {beta!r}. Pass 1 for boxes of one"
        " standard deviation to each side.",
    )


@pytest.mark.parametrize("value", [0, 1, None, "yes", NAN], ids=repr)
def test_switches_are_true_or_false(value: Any) -> None:
    message = (
        "Expected {} to be True or False, but got {!r}. Leave it out for the default."
    )
    refused(
        lambda: FlexiBOFactory(noise_free=value),
        InputDataError,
        message.format("noise_free", value),
    )
    refused(
        lambda: PABOPolicy(pareto_surrogate=value),
        InputDataError,
        message.format("pareto_surrogate", value),
    )


@pytest.mark.parametrize("price", [*BAD_NUMBERS.values(), INF, -1.0], ids=repr)
def test_prices_of_decisions_that_are_none_are_refused(price: Any) -> None:
    value: Any = [1, 2] if isinstance(price, list) else price
    refused(
        lambda: LookaheadFactory(decision_cost=value),
        InvalidCostError,
        f"Expected a finite decision_cost >= 0, but got {value!r}. Use 0 if only"
        " measurements cost something.",
    )


# --- records -------------------------------------------------------------------------


@pytest.mark.parametrize("path", BAD_PATHS.values(), ids=BAD_PATHS)
def test_checkpoints_that_are_no_paths_are_refused_and_nothing_is_measured(
    path: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    problem = Watched()
    refused(
        lambda: run(GOOD, problem=problem, checkpoint=path),
        InputDataError,
        no_path(path),
    )
    assert problem.asked == []
    assert list(tmp_path.iterdir()) == []


def test_a_directory_is_no_checkpoint(tmp_path: Path) -> None:
    folder, problem = tmp_path / "folder", Watched()
    folder.mkdir()
    refused(
        lambda: run(GOOD, problem=problem, checkpoint=folder),
        ExperimentStorageError,
        f"Expected {folder} to be a file, but got a directory or device. Name a file.",
    )
    assert problem.asked == []
    assert list(folder.iterdir()) == []


def test_a_folder_that_does_not_exist_is_not_made(tmp_path: Path) -> None:
    path, problem = tmp_path / "none" / "run.jsonl", Watched()
    refused(
        lambda: run(GOOD, problem=problem, checkpoint=path),
        ExperimentStorageError,
        f"Expected to write {path}, but got [Errno 2] No such file or directory:"
        f" '{path}.lock'. Choose a directory that exists and that you may write to.",
    )
    assert problem.asked == []
    assert list(tmp_path.iterdir()) == []
