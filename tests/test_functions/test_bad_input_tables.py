r"""Tables that make no sense make no problem."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
import torch
from botorch.exceptions.errors import BotorchTensorDimensionError, InputDataError
from torch import Tensor

from botorch_flexibo.exceptions import InvalidCostError
from botorch_flexibo.test_functions import (
    TabularProblem,
)
from tests.bad_values import (
    INF,
    NAN,
    no_tensor,
    refused,
    tensor,
)
from tests.test_functions.small_table import ONES, X, Y, problem

Bad = tuple[Any, type[Exception], str]


def no_numbers(name: str, got: str) -> str:
    return (
        f"Expected {name} to hold real numbers, but got {got}. Convert it with"
        " `.double()`."
    )


# --- tables -----------------------------------------------------------------------

TABLES = {"X": X, "Y": Y, "costs": ONES}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("value", [None, "x", 1.0, [[0.5, 0.5]]], ids=repr)
def test_tables_that_are_no_tensors_are_refused(name: str, value: Any) -> None:
    refused(lambda: problem(**{name: value}), InputDataError, no_tensor(name, value))


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("dtype", [torch.bool, torch.cfloat], ids=str)
def test_tables_of_no_real_numbers_are_refused(name: str, dtype: torch.dtype) -> None:
    refused(
        lambda: problem(**{name: TABLES[name].to(dtype)}),
        InputDataError,
        no_numbers(name, str(dtype)),
    )


@pytest.mark.parametrize("number", [NAN, INF, -INF])
@pytest.mark.parametrize("name", ["X", "Y"])
def test_tables_with_gaps_are_refused(name: str, number: float) -> None:
    bad = TABLES[name].clone()
    bad[1, 0] = number
    refused(
        lambda: problem(**{name: bad}),
        InputDataError,
        f"Expected finite values in `{name}`, got row 1 = {bad[1].tolist()}. Drop"
        " designs that were not fully measured.",
    )


@pytest.mark.parametrize("number", [0.0, -0.0, -1.0, NAN, INF, -INF])
def test_true_costs_that_are_none_are_refused(number: float) -> None:
    costs = ONES.clone()
    costs[2, 1] = number
    refused(
        lambda: problem(costs=costs),
        InvalidCostError,
        f"Expected finite `costs` > 0, got row 2 = [1.0, {number}]. Give a measurement"
        " that is free a small positive cost.",
    )


@pytest.mark.parametrize("number", [1e-300, 1e300])
def test_true_costs_of_any_scale_are_kept(number: float) -> None:
    table = problem(costs=ONES * number)
    assert table.cost(X).tolist() == [[number, number]] * 3


BAD_SHAPES: dict[str, tuple[dict[str, Any], str]] = {
    "no designs": (
        {"X": X[:0]},
        "Expected `X` of shape n x d with n >= 1 and d >= 1, got (0, 2). Pass one row"
        " per design.",
    ),
    "one outcome": (
        {"Y": Y[:, :1]},
        "Expected `Y` of shape n x m with n >= 1 and m >= 2, got (3, 1). Pass one row"
        " per design.",
    ),
    "a cost too many": (
        {"costs": torch.ones(3, 3)},
        "Expected `X` n x d, `Y` n x m and `costs` n x m with equal n and m, got (3,"
        " 2), (3, 2) and (3, 3). Pass one row per design and one cost per outcome.",
    ),
    "no costs": (
        {"costs": ONES[:0]},
        "Expected `X` n x d, `Y` n x m and `costs` n x m with equal n and m, got (3,"
        " 2), (3, 2) and (0, 2). Pass one row per design and one cost per outcome.",
    ),
    "an outcome too few in the reference point": (
        {"ref_point": [0.0]},
        "Expected ref_point to have 2 elements, one per outcome, but got shape `1`."
        " Pass a `m`-dim tensor.",
    ),
}


@pytest.mark.parametrize("case", BAD_SHAPES.values(), ids=BAD_SHAPES)
def test_tables_that_do_not_fit_are_refused(case: tuple[dict[str, Any], str]) -> None:
    refused(lambda: problem(**case[0]), BotorchTensorDimensionError, case[1])


@pytest.mark.parametrize("copy", [X[1], X[1] + 0.0], ids=["same", "equal"])
def test_designs_that_occur_twice_are_refused(copy: Tensor) -> None:
    refused(
        lambda: problem(X=torch.stack([X[0], X[1], copy])),
        InputDataError,
        "Expected all designs to be different, got rows 1 and 2 both equal to [0.5,"
        " 1.0] in torch.float64. Keep one row per design (for example the mean of its"
        " repetitions), and use torch.float64.",
    )


def test_minus_zero_is_zero() -> None:
    refused(
        lambda: problem(X=tensor([0.0, 1.0], [-0.0, 1.0], [1.0, 1.0])),
        InputDataError,
        "Expected all designs to be different, got rows 0 and 1 both equal to [0.0,"
        " 1.0] in torch.float64. Keep one row per design (for example the mean of its"
        " repetitions), and use torch.float64.",
    )
    assert problem().indices(-0.0 * X[:1]).tolist() == [0]


BAD_OPTIONS: dict[str, tuple[str, Any, type[Exception], str]] = {}
for value in (None, "xy", ["x", "y"], [None, 1.0]):
    BAD_OPTIONS[f"ref_point {value!r}"] = (
        "ref_point",
        value,
        InputDataError,
        f"Expected ref_point to hold real numbers, but got {value!r}. Pass a tensor"
        " with the worst value of interest of each outcome.",
    )
for number in (NAN, INF, -INF):
    BAD_OPTIONS[f"ref_point {number}"] = (
        "ref_point",
        [number, 0.0],
        InputDataError,
        f"Expected a finite ref_point, but got [{number}, 0.0]. Pass the worst value of"
        " interest of each outcome.",
    )
BAD_OPTIONS["ref_point -1e308"] = (
    "ref_point",
    [-1e308, -1e308],
    InputDataError,
    "Expected outcomes and a ref_point that span a finite volume, but got [3.0, 3.0]"
    " and [-1e+308, -1e+308]. Scale the outcomes, or move ref_point closer to the"
    " front.",
)
for value, got in (
    (None, "None"),
    ("ab", "'ab'"),
    (3, "3"),
    (["a"], "('a',)"),
    (["a", "a"], "('a', 'a')"),
    (["a", None], "('a', None)"),
    ([1, 2], "(1, 2)"),
):
    BAD_OPTIONS[f"outcome_names {value!r}"] = (
        "outcome_names",
        value,
        ValueError,
        f"Expected 2 different strings as `outcome_names`, got {got}. Pass one name per"
        " outcome.",
    )
for value in (None, 3, ["s"]):
    BAD_OPTIONS[f"cost_unit {value!r}"] = (
        "cost_unit",
        value,
        InputDataError,
        f"Expected `cost_unit` to be a string, got {value!r}. Pass the label of the"
        ' unit, for example "s".',
    )
for value in (None, "ab", 3, [0.5], [True], [2], [-1], ["x"], [NAN], [1j], [1, 1]):
    BAD_OPTIONS[f"categorical_features {value!r}"] = (
        "categorical_features",
        value,
        ValueError,
        f"Expected `categorical_features` to be different columns in 0..1, got"
        f" {value!r}. Negative indices are not supported.",
    )
for value in ("1", True, 1j, NAN, INF, -1.0, [0.1, NAN], [0.1, "x"], (0.1,)):
    BAD_OPTIONS[f"noise_std {value!r}"] = (
        "noise_std",
        value,
        InputDataError,
        "Expected noise_std to be finite and >= 0, one number or a list of 2, but got"
        f" {value!r}. Pass None for no noise.",
    )
BAD_OPTIONS["noise_std of one outcome, in the words of BoTorch"] = (
    "noise_std",
    [0.1],
    InputDataError,
    "If specified as a list, length of noise_std (1) must match the number of"
    " objectives (2)",
)


@pytest.mark.parametrize("case", BAD_OPTIONS.values(), ids=BAD_OPTIONS)
def test_options_of_a_table_that_make_no_sense_are_refused(
    case: tuple[str, Any, type[Exception], str],
) -> None:
    name, value, kind, message = case
    refused(lambda: problem(**{name: value}), kind, message)


def test_noise_set_later_is_refused_and_the_old_one_kept() -> None:
    table = problem(noise_std=0.25)
    with pytest.raises(InputDataError, match="Expected noise_std to be finite"):
        table.noise_std = NAN
    assert table.noise_std == 0.25


# --- frames -----------------------------------------------------------------------

FRAME = pd.DataFrame({"o": ["a", "b"], "e": [0.1, 0.2], "g": [1.0, 2.0]})


def from_frame(frame: Any = FRAME, **changes: Any) -> TabularProblem:
    arguments: dict[str, Any] = {
        "inputs": ["o"],
        "outcomes": ["e", "g"],
        "costs": [1.0, "g"],
        "maximize": [False, True],
        "ref_point": [1.0, 0.0],
        "cost_unit": "h",
        **changes,
    }
    return TabularProblem.from_pandas(frame, **arguments)


def no_frame(got: str) -> str:
    return (
        f"Expected a pandas data frame, got {got}. Make one with"
        " `pandas.DataFrame(...)`."
    )


def no_names(got: str) -> str:
    return (
        f"Expected two or more different strings as `outcome_names`, got {got}. Pass"
        " one name per outcome."
    )


def no_inputs(got: str) -> str:
    return (
        f"Expected different `inputs`, at least one, got {got}. Name each column of a"
        " design once."
    )


def no_direction(got: str) -> str:
    return (
        f"Expected 2 values in `maximize`, one per outcome, got {got}. Pass True or"
        " False for each outcome."
    )


def no_boolean(got: str) -> str:
    return (
        f"Expected True or False in `maximize`, got {got}. True means that larger is"
        " better."
    )


def no_costs(got: str) -> str:
    return (
        f"Expected 2 costs, one per outcome, got {got}. Pass a column name or a number"
        " for each outcome."
    )


def no_cost(got: str) -> str:
    return (
        f"Expected column names or finite numbers > 0 as `costs`, got {got}. Pass one"
        " of these for each outcome."
    )


BAD_FRAMES: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "no frame": ({"frame": None}, InputDataError, no_frame("NoneType")),
    "a dictionary": ({"frame": FRAME.to_dict()}, InputDataError, no_frame("dict")),
    "an empty frame": (
        {"frame": FRAME.iloc[:0]},
        BotorchTensorDimensionError,
        BAD_SHAPES["no designs"][1].replace("(0, 2)", "(0, 1)"),
    ),
    "inputs None": ({"inputs": None}, ValueError, no_inputs("None")),
    "inputs string": ({"inputs": "o"}, ValueError, no_inputs("'o'")),
    "outcomes None": ({"outcomes": None}, ValueError, no_names("None")),
    "outcomes string": ({"outcomes": "eg"}, ValueError, no_names("'eg'")),
    "one outcome": ({"outcomes": ["e"]}, ValueError, no_names("('e',)")),
    "maximize None": ({"maximize": None}, ValueError, no_direction("None")),
    "maximize string": ({"maximize": "yy"}, ValueError, no_direction("'yy'")),
    "maximize of one": ({"maximize": [True]}, ValueError, no_direction("[True]")),
    "maximize words": (
        {"maximize": ["min", "max"]},
        ValueError,
        no_boolean("['min', 'max']"),
    ),
    "maximize numbers": ({"maximize": [1, 0]}, ValueError, no_boolean("[1, 0]")),
    "costs None": ({"costs": None}, ValueError, no_costs("None")),
    "costs string": ({"costs": "gg"}, ValueError, no_costs("'gg'")),
    "costs of one": ({"costs": ["g"]}, ValueError, no_costs("['g']")),
    **{
        f"cost {value!r}": (
            {"costs": ["g", value]},
            InvalidCostError,
            no_cost(repr(value)),
        )
        for value in (None, True, 1j, NAN, INF, -INF)
    },
}


@pytest.mark.parametrize("case", BAD_FRAMES.values(), ids=BAD_FRAMES)
def test_frames_that_make_no_table_are_refused(
    case: tuple[dict[str, Any], type[Exception], str],
) -> None:
    changes, kind, message = case
    before = FRAME.to_dict()
    refused(lambda: from_frame(**changes), kind, message)
    assert FRAME.to_dict() == before
