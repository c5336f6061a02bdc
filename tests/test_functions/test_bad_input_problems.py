r"""Problems refuse designs, masks and options that make no sense, unchanged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from botorch.exceptions.errors import BotorchTensorDimensionError, InputDataError

from botorch_flexibo.exceptions import InvalidCostError
from botorch_flexibo.test_functions import (
    DecoupledBraninCurrin,
    DecoupledDTLZ2,
    DecoupledZDT1,
    HPOBenchMLP,
    HPOLib,
    NASBench201,
    TabularProblem,
)
from tests.bad_values import (
    BAD_COUNTS,
    BAD_NUMBERS,
    INF,
    NAN,
    mask_error,
    no_reals,
    no_tensor,
    refused,
    tensor,
)
from tests.test_functions.small_table import MASK, ONES, X, problem

Bad = tuple[Any, type[Exception], str]


def state_of(table: TabularProblem) -> list[object]:
    """What a table is."""
    parts = (table.choices, table.Y, table.costs, table.bounds, table.ref_point)
    values = [None if part is None else part.tolist() for part in parts]
    return [*values, table.noise_std, table.max_hv]


def no_numbers(name: str, got: str) -> str:
    return (
        f"Expected {name} to hold real numbers, but got {got}. Convert it with"
        " `.double()`."
    )


# --- measuring --------------------------------------------------------------------


def outside(number: float) -> str:
    return (
        "Expected designs within the bounds [[0.0, 0.0], [1.0, 2.0]], got row 0 ="
        f" [{number}, {number}]. Pass `X` in the space of `problem.bounds`."
    )


def unknown(row: str) -> str:
    return (
        f"Expected designs of the table, got row 0 = {row}, which is none of its 3"
        " designs. Take rows of `problem.choices` unchanged; rounding makes another"
        " design."
    )


BAD_DESIGNS: dict[str, Bad] = {
    "None": (None, InputDataError, no_tensor("X", None)),
    "string": ("x", InputDataError, no_tensor("X", "x")),
    "list": ([[0.0, 0.0]], InputDataError, no_tensor("X", [])),
    "integers": (X.long(), InputDataError, no_reals("X", X.long())),
    "bools": (X.bool(), InputDataError, no_reals("X", X.bool())),
    "complex": (
        X.to(torch.cdouble),
        InputDataError,
        no_reals("X", X.to(torch.cdouble)),
    ),
    **{
        str(number): (torch.full_like(X, number), InputDataError, outside(number))
        for number in (NAN, INF, -INF, 1e308)
    },
    "a column too many": (
        torch.rand(3, 3, dtype=torch.double),
        BotorchTensorDimensionError,
        "Expected `X` of shape `n x 2`, got (3, 3). Pass one design per row; for a"
        " single design use `x.unsqueeze(0)`.",
    ),
    "another device": (
        X.to("meta"),
        InputDataError,
        "Expected `X` on the device of the bounds, cpu, got meta. Move it with"
        " `X.to(problem.bounds.device)`.",
    ),
}
# Not within the bounds before it is not in the table.
BAD_DESIGNS["not in the table"] = (
    tensor([0.25, 1.0], [0.5, 1.0], [1.0, 2.0]),
    InputDataError,
    unknown("[0.25, 1.0]"),
)


@pytest.mark.parametrize("case", BAD_DESIGNS.values(), ids=BAD_DESIGNS)
def test_designs_that_cannot_be_measured_are_refused(case: Bad) -> None:
    designs, kind, message = case
    table = problem()
    before = state_of(table)
    refused(lambda: table.evaluate(designs, MASK), kind, message)
    assert state_of(table) == before


BAD_MASKS: dict[str, Bad] = {
    "None": (None, InputDataError, mask_error("NoneType", "evaluation_mask")),
    "string": ("x", InputDataError, mask_error("str", "evaluation_mask")),
    "list": ([[True]], InputDataError, mask_error("list", "evaluation_mask")),
    "floats": (ONES, InputDataError, mask_error("torch.float64", "evaluation_mask")),
    "integers": (
        ONES.long(),
        InputDataError,
        mask_error("torch.int64", "evaluation_mask"),
    ),
    **{
        f"of shape {shape}": (
            torch.ones(shape, dtype=torch.bool),
            BotorchTensorDimensionError,
            f"Expected `evaluation_mask` of shape (3, 2) (n x m), got {shape}. Pass one"
            " row per design and one column per outcome.",
        )
        for shape in ((3, 3), (3, 1), (2, 2), (2,), (3, 2, 1))
    },
}


@pytest.mark.parametrize("case", BAD_MASKS.values(), ids=BAD_MASKS)
def test_masks_that_are_none_are_refused(case: Bad) -> None:
    table = problem()
    before = state_of(table)
    refused(lambda: table.evaluate(X, case[0]), case[1], case[2])
    assert state_of(table) == before


PRICED: dict[str, Callable[[], Any]] = {
    "table": problem,
    "constant": lambda: DecoupledBraninCurrin(costs=(10.0, 1.0)),
}


@pytest.mark.parametrize("make", PRICED.values(), ids=PRICED)
def test_designs_without_a_price_are_refused(make: Callable[[], Any]) -> None:
    one = make()
    for value in (None, "x", [[0.0, 0.0]]):
        refused(
            lambda value=value: one.cost(value), InputDataError, no_tensor("X", value)
        )
    refused(
        lambda: one.cost(X.to(torch.cdouble)),
        InputDataError,
        no_numbers("X", "torch.complex128"),
    )
    refused(
        lambda: one.cost(X[:, :1]),
        BotorchTensorDimensionError,
        "Expected `X` of shape `batch_shape x 2`, got (3, 1). Pass one design per row.",
    )


@pytest.mark.parametrize("number", BAD_COUNTS.values(), ids=BAD_COUNTS)
@pytest.mark.parametrize("make", PRICED.values(), ids=PRICED)
def test_numbers_of_designs_that_are_no_counts_are_refused(
    make: Callable[[], Any], number: Any
) -> None:
    refused(
        lambda: make().discretize(number, seed=0),
        ValueError,
        f"Expected a whole number `n` >= 1, got {number!r}. Ask for at least one"
        " design.",
    )
    if number not in (0, -1) or isinstance(number, bool):
        refused(
            lambda: make().discretize(1, seed=number),
            InputDataError,
            "Expected seed to be a whole number from -2^31 to 2^62, but got"
            f" {number!r}. Pass 0 for the default.",
        )


# --- recorded tables and formulas ---------------------------------------------------

RECORDED: dict[str, tuple[Callable[..., Any], str]] = {
    "NASBench201": (NASBench201, "('cifar10', 'cifar100', 'imagenet16-120')"),
    "HPOLib": (
        HPOLib,
        "('naval_propulsion', 'parkinsons_telemonitoring', 'protein_structure',"
        " 'slice_localization')",
    ),
    "HPOBenchMLP": (
        HPOBenchMLP,
        "('blood_transfusion', 'kc1', 'phoneme', 'vehicle')",
    ),
}


@pytest.mark.parametrize("case", RECORDED.values(), ids=RECORDED)
@pytest.mark.parametrize("dataset", [None, "x", "CIFAR10", 1, True, NAN, []], ids=repr)
def test_data_sets_that_are_not_recorded_are_refused(
    case: tuple[Callable[..., Any], str], dataset: Any
) -> None:
    refused(
        lambda: case[0](dataset),
        ValueError,
        f"Expected `dataset` to be one of {case[1]}, got {dataset!r}. Choose one of"
        " these.",
    )


@pytest.mark.parametrize("number", [*BAD_NUMBERS.values(), INF, -1], ids=repr)
def test_seconds_that_are_none_are_refused(number: Any) -> None:
    value: Any = [1.0, 2.0] if isinstance(number, list) else number
    for make in (HPOLib, HPOBenchMLP):
        refused(
            lambda make=make: make(counting_seconds=value),
            ValueError,
            f"Expected `counting_seconds` to be positive and finite, got {value!r}. Say"
            " how long it takes.",
        )
    refused(
        lambda: NASBench201(warmup_seconds=value),
        ValueError,
        "Expected a finite `warmup_seconds` >= 0 and a whole number `latency_runs` >="
        f" 1, got {value!r} and 50. Describe how a latency is measured.",
    )


@pytest.mark.parametrize("number", BAD_COUNTS.values(), ids=BAD_COUNTS)
def test_runs_of_a_latency_that_are_no_count_are_refused(number: Any) -> None:
    refused(
        lambda: NASBench201(latency_runs=number),
        ValueError,
        "Expected a finite `warmup_seconds` >= 0 and a whole number `latency_runs` >="
        f" 1, got 3.0 and {number!r}. Describe how a latency is measured.",
    )


@pytest.mark.parametrize("number", BAD_COUNTS.values(), ids=BAD_COUNTS)
def test_numbers_of_variables_that_are_no_counts_are_refused(number: Any) -> None:
    message = (
        f"Expected a whole number `dim` >= 1, got {number!r}. Ask for a design"
        " variable."
    )
    for make in (DecoupledZDT1, DecoupledDTLZ2):
        refused(lambda make=make: make(dim=number), ValueError, message)
    refused(
        lambda: DecoupledDTLZ2(num_objectives=number),
        ValueError,
        f"Expected a whole number `num_objectives` >= 2, got {number!r}. With a single"
        " outcome there is nothing to decouple.",
    )


@pytest.mark.parametrize("costs", [None, "xy", 3.0, [1.0], [1.0, 2.0, 3.0]], ids=repr)
def test_costs_that_are_not_one_per_outcome_are_refused(costs: Any) -> None:
    refused(
        lambda: DecoupledBraninCurrin(costs=costs),
        InvalidCostError,
        f"Expected 2 costs, one per outcome, got {costs!r}. Pass as many costs as the"
        " problem has objectives.",
    )


@pytest.mark.parametrize("number", [None, "1", True, 1j, NAN, INF, 0.0, -1.0], ids=repr)
def test_costs_of_a_formula_that_are_none_are_refused(number: Any) -> None:
    refused(
        lambda: DecoupledBraninCurrin(costs=[number, 1.0]),
        InvalidCostError,
        f"Expected finite costs > 0, got [{number!r}, 1.0]. Give a measurement that is"
        " free a small positive cost.",
    )
