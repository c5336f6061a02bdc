r"""Pure functions that check, encode and index the tables of look-up problems."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from botorch.exceptions.errors import BotorchTensorDimensionError, InputDataError
from pandas.api.types import is_bool_dtype, is_numeric_dtype
from torch import Tensor

from botorch_flexibo.exceptions import InvalidCostError
from botorch_flexibo.utils.checks import finite_number, is_count
from botorch_flexibo.utils.rows import RowIndex


def index_designs(X: Tensor, dtype: torch.dtype) -> RowIndex:
    r"""Index the designs of a table.

    Args:
        X: The ``n x d`` designs.
        dtype: The floating-point dtype of the designs that will be looked up.

    Returns:
        The index of the designs, rounded to ``dtype``.

    Raises:
        InputDataError: If two designs are the same in ``dtype``.
    """
    rows = X.to(dtype)
    index = RowIndex(rows)
    first = index.find(rows)
    repeated = (first != torch.arange(len(X), device=X.device)).nonzero()
    if len(repeated) > 0:
        i = int(repeated[0])
        raise InputDataError(
            f"Expected all designs to be different, got rows {int(first[i])} and {i} "
            f"both equal to {X[i].tolist()} in {dtype}. Keep one row per design (for "
            "example the mean of its repetitions), and use torch.float64."
        )
    return index


def check_table(X: Tensor, Y: Tensor, costs: Tensor) -> None:
    r"""Check shapes and values of a table.

    Args:
        X: The ``n x d`` designs.
        Y: The ``n x m`` outcomes.
        costs: The ``n x m`` costs.

    Raises:
        BotorchTensorDimensionError: If a shape is wrong or a size is too small.
        InputDataError: If a design or an outcome is not finite.
        InvalidCostError: If a cost is not finite or not positive.
    """
    for name, tensor, least, letter in (("X", X, 1, "d"), ("Y", Y, 2, "m")):
        if tensor.ndim != 2 or tensor.shape[0] == 0 or tensor.shape[1] < least:
            raise BotorchTensorDimensionError(
                f"Expected `{name}` of shape n x {letter} with n >= 1 and {letter} >= "
                f"{least}, got {tuple(tensor.shape)}. Pass one row per design."
            )
    if X.shape[0] != Y.shape[0] or Y.shape != costs.shape:
        raise BotorchTensorDimensionError(
            "Expected `X` n x d, `Y` n x m and `costs` n x m with equal n and m, got "
            f"{tuple(X.shape)}, {tuple(Y.shape)} and {tuple(costs.shape)}. Pass one "
            "row per design and one cost per outcome."
        )
    for name, tensor in (("X", X), ("Y", Y)):
        bad = ~tensor.isfinite().all(dim=-1)
        if bad.any():
            row = int(bad.nonzero()[0])
            raise InputDataError(
                f"Expected finite values in `{name}`, got row {row} = "
                f"{tensor[row].tolist()}. Drop designs that were not fully measured."
            )
    bad = ~(costs.isfinite() & (costs > 0)).all(dim=-1)
    if bad.any():
        row = int(bad.nonzero()[0])
        raise InvalidCostError(
            f"Expected finite `costs` > 0, got row {row} = {costs[row].tolist()}. Give "
            "a measurement that is free a small positive cost."
        )


def split_columns(
    X: Tensor, categorical_features: Sequence[int]
) -> tuple[list[int], list[int], list[int]]:
    r"""Sort the columns of a table into BoTorch's three kinds.

    Args:
        X: The ``n x d`` designs.
        categorical_features: The columns that hold category codes.

    Returns:
        The continuous, the discrete (ordered integers) and the categorical columns.

    Raises:
        ValueError: If ``categorical_features`` are not distinct columns of ``X``.
        InputDataError: If a categorical column holds a fractional value.
    """
    d = X.shape[-1]
    given = as_list(categorical_features)
    categorical = [int(i) for i in given or [] if is_count(i, least=0) and i < d]
    if given is None or len(set(categorical)) != len(given):
        got = categorical_features if given is None else given
        raise ValueError(
            f"Expected `categorical_features` to be different columns in 0..{d - 1}, "
            f"got {got!r}. Negative indices are not supported."
        )
    integer = (X == X.round()).all(dim=0).tolist()
    fractional = [i for i in categorical if not integer[i]]
    if fractional:
        raise InputDataError(
            f"Expected integer codes in the categorical columns {categorical}, got "
            f"fractional values in {fractional}. Encode the categories as 0, 1, ...; "
            "`TabularProblem.from_pandas` does so for columns of strings."
        )
    rest = [i for i in range(d) if i not in categorical]
    continuous = [i for i in rest if not integer[i]]
    return continuous, [i for i in rest if integer[i]], categorical


def check_names(outcome_names: Sequence[str], m: int | None) -> tuple[str, ...]:
    r"""Read the outcome names.

    Args:
        outcome_names: One name per outcome.
        m: The number of outcomes, None for two or more.

    Returns:
        The names.

    Raises:
        ValueError: If they are not ``m`` different strings.
    """
    given = as_list(outcome_names)
    names = tuple(name for name in given or [] if isinstance(name, str))
    wanted = max(2, len(names)) if m is None else m
    if given is None or len(given) != wanted or len(set(names)) != wanted:
        got = outcome_names if given is None else tuple(given)
        raise ValueError(
            f"Expected {m or 'two or more'} different strings as `outcome_names`, got "
            f"{got!r}. Pass one name per outcome."
        )
    return names


def outcome_signs(
    outcomes: Sequence[str], maximize: Mapping[str, bool] | Sequence[bool]
) -> Tensor:
    r"""Translate the direction of each outcome.

    Args:
        outcomes: The outcome names.
        maximize: Whether larger is better, by name or in the order of ``outcomes``.

    Returns:
        An ``m`` tensor of 1.0 (maximised) and -1.0 (minimised).

    Raises:
        ValueError: If there is not exactly one direction per outcome.
    """
    flags = as_list(maximize)
    if isinstance(maximize, Mapping):
        if set(maximize) != set(outcomes):
            raise ValueError(
                f"Expected `maximize` for exactly the outcomes {list(outcomes)}, got "
                f"{list(maximize)}. Pass True or False for each outcome."
            )
        flags = [maximize[name] for name in outcomes]
    if flags is None or len(flags) != len(outcomes):
        raise ValueError(
            f"Expected {len(outcomes)} values in `maximize`, one per outcome, got "
            f"{maximize!r}. Pass True or False for each outcome."
        )
    if not all(isinstance(flag, (bool, np.bool_)) for flag in flags):
        raise ValueError(
            f"Expected True or False in `maximize`, got {maximize!r}. True means that "
            "larger is better."
        )
    return torch.tensor([1.0 if f else -1.0 for f in flags], dtype=torch.float64)


def check_frame(frame: object, inputs: Sequence[str], others: Sequence[str]) -> None:
    r"""Check that columns exist and have no missing values.

    Args:
        frame: The data frame.
        inputs: The columns that make up a design.
        others: The other columns that will be read.

    Raises:
        InputDataError: If the frame is none, or a column does not exist, exists twice
            or has a missing value.
        ValueError: If there are no inputs, or one is given twice.
    """
    if not isinstance(frame, pd.DataFrame):
        raise InputDataError(
            f"Expected a pandas data frame, got {type(frame).__name__}. Make one with "
            "`pandas.DataFrame(...)`."
        )
    given = as_list(inputs)
    if not given or len(set(given)) != len(given):
        raise ValueError(
            "Expected different `inputs`, at least one, got "
            f"{inputs if given is None else given!r}. Name each column of a design "
            "once."
        )
    columns = [*inputs, *others]
    found = frame.columns.tolist()
    wrong = [c for c in columns if found.count(c) != 1]
    if wrong:
        raise InputDataError(
            f"Expected each of the columns {wrong} once in the frame, got {found}. "
            "Check the spelling."
        )
    for column in columns:
        gaps = frame[column].isna().to_numpy()
        if gaps.any():
            raise InputDataError(
                f"Expected no missing values in column '{column}', got one in row "
                f"{int(gaps.argmax())}. Drop designs that were not fully measured."
            )


def numeric_columns(frame: pd.DataFrame, columns: Sequence[str]) -> Tensor:
    r"""Read numeric columns.

    Args:
        frame: The data frame.
        columns: The columns to read.

    Returns:
        A tensor in double precision with one column each.

    Raises:
        InputDataError: If a column is not numeric.
    """
    for column in columns:
        if not _is_number(frame.dtypes[column]):
            raise InputDataError(
                f"Expected numbers in column '{column}', got {frame[column].dtype}. "
                "Convert it with `pandas.to_numeric`."
            )
    # The copy is there because torch refuses the negative strides of a reversed frame.
    return torch.tensor(frame[list(columns)].to_numpy(dtype=np.float64).copy())


def cost_columns(frame: pd.DataFrame, costs: Sequence[str | float]) -> Tensor:
    r"""Read the costs of a table.

    Args:
        frame: The data frame.
        costs: For each outcome the name of a column, or one number for all designs.

    Returns:
        An ``n x m`` tensor in double precision.

    Raises:
        InvalidCostError: If a cost is neither a name nor a number.
    """
    columns = []
    for cost in costs:
        if isinstance(cost, str):
            columns.append(numeric_columns(frame, [cost]))
            continue
        number = finite_number(cost)
        if number is None:
            raise InvalidCostError(
                f"Expected column names or finite numbers > 0 as `costs`, got {cost!r}."
                " Pass one of these for each outcome."
            )
        columns.append(torch.full((len(frame), 1), number, dtype=torch.float64))
    return torch.cat(columns, dim=-1)


def encode_inputs(
    frame: pd.DataFrame, inputs: Sequence[str]
) -> tuple[Tensor, dict[str, tuple[Any, ...]]]:
    r"""Encode designs as numbers.

    Args:
        frame: The data frame.
        inputs: The columns that make up a design.

    Returns:
        The ``n x d`` designs, and the categories of each column that is not numeric.
    """
    columns: list[Tensor] = []
    categories: dict[str, tuple[Any, ...]] = {}
    for name in inputs:
        if _is_number(frame.dtypes[name]):
            columns.append(numeric_columns(frame, [name]).squeeze(-1))
            continue
        # `astype` sorts the values; a categorical keeps the order of its categories.
        coded = frame[name].astype("category").cat.remove_unused_categories()
        categories[name] = tuple(coded.cat.categories.tolist())
        codes = coded.cat.codes.to_numpy(dtype=np.float64)
        columns.append(torch.tensor(codes))
    return torch.stack(columns, dim=-1), categories


def as_list(values: object) -> list[Any] | None:
    """The items of a collection; None for what is none, strings included."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        return None
    try:
        return list(values)
    except TypeError:  # a tensor of one number
        return None


def _is_number(dtype: Any) -> bool:
    """Tell numbers from booleans, strings, pandas categoricals and all the rest."""
    return is_numeric_dtype(dtype) and not is_bool_dtype(dtype)
