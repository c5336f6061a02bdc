from __future__ import annotations

import copy
import pickle
from typing import Any

import moocore
import numpy as np
import pandas as pd
import pytest
import torch
from botorch.exceptions.errors import BotorchTensorDimensionError, InputDataError
from botorch.utils.testing import (
    BaseTestProblemTestCaseMixIn,
    BotorchTestCase,
    MultiObjectiveTestProblemTestCaseMixin,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from botorch_flexibo.exceptions import InvalidCostError
from botorch_flexibo.test_functions import (
    DecoupledProblem,
    TabularProblem,
)

tkwargs: dict[str, Any] = {"dtype": torch.float64}
X = torch.tensor([[0.1, 0.0], [0.2, 1.0], [0.1, 2.0], [0.3, 0.0]], **tkwargs)
Y = torch.tensor([[1.0, 3.0], [2.0, 2.0], [2.0, 2.0], [0.5, 1.0]], **tkwargs)
COSTS = torch.tensor([[9.0, 1.0], [8.0, 1.0], [7.0, 1.0], [6.0, 2.0]], **tkwargs)
NAMES: dict[str, Any] = {
    "ref_point": [0.0, 0.0],
    "outcome_names": ["accuracy", "speed"],
    "cost_unit": "s",
}


def _problem(**changes: Any) -> TabularProblem:
    arguments = {"X": X, "Y": Y, "costs": COSTS, **NAMES} | changes
    return TabularProblem(**arguments)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "optimizer": ["sgd", "adam", "sgd", "rmsprop"],
            "nesterov": [True, False, False, False],
            "layers": [2, 4, 8, 4],
            "rate": [0.1, 0.01, 0.1, 0.2],
            "size": pd.Categorical(
                ["small", "large", "small", "mid"],
                categories=["small", "mid", "large", "never used"],
            ),
            "error": [0.3, 0.1, 0.2, 0.4],
            "throughput": [10.0, 5.0, 8.0, 9.0],
            "hours": [1.0, 3.0, 2.0, 1.0],
        },
        index=[7, 7, 3, 0],
    )


FRAME_ARGUMENTS: dict[str, Any] = {
    "inputs": ["optimizer", "nesterov", "layers", "rate", "size"],
    "outcomes": ["error", "throughput"],
    "costs": ["hours", 0.1],
    "maximize": {"error": False, "throughput": True},
    "ref_point": [1.0, 0.0],
    "cost_unit": "h",
}


class TestBoTorchContract(
    BotorchTestCase,
    BaseTestProblemTestCaseMixIn,
    MultiObjectiveTestProblemTestCaseMixin,
):
    # The table holds all integers within its bounds, as the first mixin requires.
    functions = [_problem(X=torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]]))]


def test_holds_the_table_and_its_description() -> None:
    problem = _problem(categorical_features=[1])
    assert isinstance(problem, DecoupledProblem)
    assert torch.equal(problem.choices, X)
    assert torch.equal(problem.Y, Y)
    assert torch.equal(problem.costs, COSTS)
    assert problem.bounds.tolist() == [[0.1, 0.0], [0.3, 2.0]]
    assert problem.ref_point.tolist() == [0.0, 0.0]
    assert problem.outcome_names == ("accuracy", "speed")
    assert problem.cost_unit == "s"
    assert problem.categorical_features == problem.categorical_inds == [1]
    assert (problem.continuous_inds, problem.discrete_inds) == ([0], [])


def test_integer_columns_count_as_discrete() -> None:
    problem = _problem()
    assert (problem.continuous_inds, problem.discrete_inds) == ([0], [1])


def test_keeps_its_own_copy_of_the_table() -> None:
    x, y, costs = X.clone(), Y.clone(), COSTS.clone()
    problem = TabularProblem(x, y, costs, **NAMES)
    for tensor in (x, y, costs):
        tensor.zero_()
    assert torch.equal(problem.evaluate(X, Y > 0), Y)
    assert torch.equal(problem.cost(X), COSTS)


def test_noise_does_not_change_the_table() -> None:
    problem = _problem(noise_std=1.0)
    with torch.random.fork_rng():
        assert not torch.equal(problem(X), Y)
    assert torch.equal(problem(X, noise=False), Y)


def test_evaluate_is_nan_exactly_where_unmasked() -> None:
    mask = torch.tensor([[True, False], [False, True], [False, False], [True, True]])
    measured = _problem().evaluate(X, mask)
    assert torch.equal(measured.isnan(), ~mask)
    assert torch.equal(measured[mask], Y[mask])


@pytest.mark.parametrize("batch_shape", [[], [2], [2, 3], [0]], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_look_up_works_for_any_batch_shape_and_precision(
    batch_shape: list[int], dtype: torch.dtype
) -> None:
    problem = _problem()
    rows = torch.randint(4, batch_shape, generator=torch.Generator().manual_seed(0))
    designs = X[rows].to(dtype)
    assert torch.equal(problem.indices(designs), rows)
    assert torch.equal(problem.cost(designs), COSTS[rows].to(dtype))
    assert problem.cost(designs).dtype == dtype
    for moved in (problem, copy.deepcopy(problem).to(dtype)):
        if moved.bounds.dtype == dtype:
            assert torch.equal(moved(designs), Y[rows].to(dtype))


def test_integer_designs_are_looked_up_by_value() -> None:
    problem = _problem(X=torch.tensor([[0.0], [0.5], [1.0], [2.0]]))
    assert problem.indices(torch.tensor([[2], [0], [1]])).tolist() == [3, 0, 2]
    assert problem.cost(torch.tensor([[2]])).tolist() == [[6.0, 2.0]]


def test_negative_zero_is_zero() -> None:
    problem = _problem(X=X.where(X != 0, -0.0))
    assert problem.indices(X).tolist() == [0, 1, 2, 3]
    assert problem.indices(X.where(X != 0, -0.0)).tolist() == [0, 1, 2, 3]
    assert not problem.choices.signbit().any()


@pytest.mark.parametrize(
    "wrong", [[0.1, 1.0], [0.1 + 1e-15, 0.0], [torch.nan, 0.0]], ids=str
)
def test_unknown_design_is_named(wrong: list[float]) -> None:
    designs = X.clone()
    designs[2] = torch.tensor(wrong, **tkwargs)
    match = r"got row 2 = .* none of its 4 designs. Take rows of `problem.choices`"
    for method in (_problem().indices, _problem().cost):
        with pytest.raises(InputDataError, match=match):
            method(designs)


def test_evaluate_names_an_unknown_design() -> None:
    designs = X[:1].index_fill(1, torch.tensor([1]), 1.0)
    with pytest.raises(InputDataError, match=r"got row 0 = \[0.1, 1.0\]"):
        _problem().evaluate(designs, Y[:1] > 0)


def test_wrong_number_of_columns_is_explained() -> None:
    with pytest.raises(BotorchTensorDimensionError, match=r"x 2`, got \(4, 1\)"):
        _problem().cost(X[:, :1])


def test_designs_that_collide_in_single_precision_are_explained() -> None:
    close = torch.tensor([[1.0], [1.0 + 1e-12]], **tkwargs)
    problem = _problem(X=close, Y=Y[:2], costs=COSTS[:2])
    assert problem.indices(close).tolist() == [0, 1]
    with pytest.raises(InputDataError, match=r"rows 0 and 1 .* in torch.float32"):
        problem.indices(close.float())


NAN_Y = Y.index_fill(0, torch.tensor([1]), torch.nan)


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"X": X[0]}, BotorchTensorDimensionError, r"`X` of shape n x d .* \(2,\)"),
        ({"X": X[:0]}, BotorchTensorDimensionError, r"n >= 1 .* \(0, 2\)"),
        ({"Y": Y[:, :1]}, BotorchTensorDimensionError, r"m >= 2, got \(4, 1\)"),
        ({"X": X[:3]}, BotorchTensorDimensionError, r"got \(3, 2\), \(4, 2\)"),
        ({"costs": COSTS[:, :1]}, BotorchTensorDimensionError, r"and \(4, 1\). Pass"),
        ({"ref_point": [0.0]}, BotorchTensorDimensionError, r"2 elements.* shape `1`"),
        ({"ref_point": [0.0, torch.inf]}, InputDataError, r"finite ref_point"),
        ({"X": X / 0}, InputDataError, r"finite values in `X`, got row 0"),
        ({"Y": NAN_Y}, InputDataError, r"finite values in `Y`, got row 1 = \[nan"),
        ({"costs": COSTS / 0}, InvalidCostError, r"finite `costs` > 0, got row 0"),
        ({"costs": COSTS - 7}, InvalidCostError, r"got row 0 = \[2.0, -6.0\]. Give"),
        ({"X": X[[0, 1, 2, 1]]}, InputDataError, r"rows 1 and 3 both equal to \[0.2"),
        ({"categorical_features": [2]}, ValueError, r"in 0..1, got \[2\]"),
        ({"categorical_features": [-1]}, ValueError, r"Negative indices are not"),
        ({"categorical_features": [1, 1]}, ValueError, r"different columns"),
        ({"categorical_features": [0]}, InputDataError, r"fractional values in \[0\]"),
        ({"outcome_names": ["a"]}, ValueError, r"2 different .*, got \('a',\)"),
        ({"outcome_names": ["a", "a"]}, ValueError, r"2 different .* one name per"),
        ({"noise_std": [0.1]}, InputDataError, r"length of noise_std"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_wrong_tables_are_explained(
    changes: dict[str, Any], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        _problem(**changes)


@given(
    outcomes=arrays(
        np.float64,
        st.tuples(st.integers(1, 25), st.integers(2, 3)),
        elements=st.integers(-4, 8).map(lambda v: v / 4),
    )
)
@settings(max_examples=60, deadline=None)
def test_front_and_hypervolume_agree_with_moocore(outcomes: np.ndarray) -> None:
    n, m = outcomes.shape
    problem = TabularProblem(
        torch.arange(n).unsqueeze(-1),
        torch.tensor(outcomes),
        torch.ones(n, m),
        ref_point=[-0.1] * m,
        outcome_names=[str(i) for i in range(m)],
        cost_unit="s",
    )
    front = moocore.is_nondominated(-outcomes, keep_weakly=True)
    assert problem.pareto_indices.tolist() == np.flatnonzero(front).tolist()
    assert torch.equal(problem.pareto_Y, problem.Y[problem.pareto_indices])
    expected = moocore.hypervolume(-outcomes, ref=[0.1] * m)
    assert problem.max_hv == pytest.approx(expected, abs=1e-9)


def test_tied_designs_are_all_on_the_front() -> None:
    assert _problem().pareto_indices.tolist() == [0, 1, 2]
    assert _problem().max_hv == 5.0


def test_front_and_hypervolume_are_computed_once() -> None:
    problem = _problem()
    assert "_max_hv" not in vars(problem)
    assert problem.max_hv == vars(problem)["_max_hv"]
    assert problem._pareto_rows is problem._pareto_rows


def test_pickled_problem_is_the_same() -> None:
    problem = pickle.loads(pickle.dumps(_problem()))
    assert torch.equal(problem.cost(X), COSTS)
    assert problem.max_hv == 5.0


def test_decode_without_categories_gives_the_numbers() -> None:
    decoded = _problem().decode(X)
    assert decoded.columns.tolist() == ["x0", "x1"]
    assert decoded.to_numpy().tolist() == X.tolist()


def test_frame_round_trips_through_codes(frame: pd.DataFrame) -> None:
    problem = TabularProblem.from_pandas(frame, **FRAME_ARGUMENTS)
    assert problem.choices.tolist() == [
        [2.0, 1.0, 2.0, 0.1, 0.0],
        [0.0, 0.0, 4.0, 0.01, 2.0],
        [2.0, 0.0, 8.0, 0.1, 0.0],
        [1.0, 0.0, 4.0, 0.2, 1.0],
    ]
    assert problem.categories == {
        "optimizer": ("adam", "rmsprop", "sgd"),
        "nesterov": (False, True),
        "size": ("small", "mid", "large"),
    }
    assert problem.categorical_features == [0, 1, 4]
    assert (problem.discrete_inds, problem.continuous_inds) == ([2], [3])
    decoded = problem.decode(problem.choices)
    inputs = FRAME_ARGUMENTS["inputs"]
    assert decoded.to_dict("records") == frame[inputs].to_dict("records")
    assert isinstance(decoded["layers"].tolist()[0], int)


def test_minimised_columns_are_negated_with_their_reference(
    frame: pd.DataFrame,
) -> None:
    problem = TabularProblem.from_pandas(frame, **FRAME_ARGUMENTS)
    assert problem.Y[:, 0].tolist() == (-frame["error"]).tolist()
    assert problem.Y[:, 1].tolist() == frame["throughput"].tolist()
    assert problem.ref_point.tolist() == [-1.0, 0.0]
    assert problem.outcome_names == ("error", "throughput")
    expected = moocore.hypervolume(
        np.stack([frame["error"], -frame["throughput"]], axis=-1), ref=[1.0, 0.0]
    )
    assert problem.max_hv == pytest.approx(expected, rel=1e-12)


def test_costs_come_from_columns_or_constants(frame: pd.DataFrame) -> None:
    problem = TabularProblem.from_pandas(frame, **FRAME_ARGUMENTS)
    assert problem.costs.tolist() == [[1.0, 0.1], [3.0, 0.1], [2.0, 0.1], [1.0, 0.1]]
    assert problem.cost_unit == "h"


def test_directions_by_order_and_by_name_agree(frame: pd.DataFrame) -> None:
    by_order = FRAME_ARGUMENTS | {"maximize": [False, True]}
    a = TabularProblem.from_pandas(frame, **FRAME_ARGUMENTS)
    b = TabularProblem.from_pandas(frame, **by_order)
    assert torch.equal(a.Y, b.Y)


def test_codes_do_not_depend_on_the_order_of_the_rows(frame: pd.DataFrame) -> None:
    a = TabularProblem.from_pandas(frame, **FRAME_ARGUMENTS)
    b = TabularProblem.from_pandas(frame.iloc[::-1], **FRAME_ARGUMENTS)
    assert a.categories == b.categories
    assert torch.equal(a.choices, b.choices.flip(0))


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"inputs": []}, ValueError, r"different `inputs`, at least one, got \[\]"),
        ({"inputs": ["rate", "rate"]}, ValueError, r"got \['rate', 'rate'\]. Name"),
        ({"inputs": ["lr"]}, InputDataError, r"columns \['lr'\] once in the frame"),
        ({"inputs": ["layers"]}, InputDataError, r"rows 1 and 3 both equal to \[4.0\]"),
        ({"costs": ["seconds", 1.0]}, InputDataError, r"columns \['seconds'\]"),
        (
            {"costs": ["hours"]},
            ValueError,
            r"2 costs, .*, got \['hours'\]",
        ),
        ({"costs": ["size", 1.0]}, InputDataError, r"column 'size', got category"),
        ({"costs": ["hours", 0.0]}, InvalidCostError, r"costs` > 0, got row 0"),
        ({"maximize": {"error": False}}, ValueError, r"got \['error'\]. Pass True"),
        ({"maximize": [True]}, ValueError, r"2 values in `maximize`.* got \[True\]"),
        ({"ref_point": [1.0]}, BotorchTensorDimensionError, r"2 elements.* shape `1`"),
        (
            {"outcomes": ["error", "optimizer"], "maximize": [True, True]},
            InputDataError,
            r"numbers in column 'optimizer', got",
        ),
    ],
    ids=str,
)
def test_wrong_frame_arguments_are_explained(
    frame: pd.DataFrame, changes: dict[str, Any], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        TabularProblem.from_pandas(frame, **FRAME_ARGUMENTS | changes)


@pytest.mark.parametrize("column", ["optimizer", "rate", "size", "error", "hours"])
def test_missing_value_is_named(frame: pd.DataFrame, column: str) -> None:
    holed = frame.reset_index(drop=True)
    holed.loc[2, column] = None
    match = rf"no missing values in column '{column}', got one in row 2"
    with pytest.raises(InputDataError, match=match):
        TabularProblem.from_pandas(holed, **FRAME_ARGUMENTS)


def test_repeated_column_names_are_refused(frame: pd.DataFrame) -> None:
    twice = pd.concat([frame, frame[["rate"]]], axis=1)
    with pytest.raises(InputDataError, match=r"columns \['rate'\] once"):
        TabularProblem.from_pandas(twice, **FRAME_ARGUMENTS)
