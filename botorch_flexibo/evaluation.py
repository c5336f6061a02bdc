r"""One measurement: what it gave, what went wrong, and what it cost."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from botorch_flexibo.exceptions import (
    InvalidCostError,
    InvalidOutcomesError,
    MeasurementError,
)
from botorch_flexibo.test_functions.base import DecoupledProblem
from botorch_flexibo.utils.costs import check_costs

# Errors of measurements are kept up to so many characters.
_LONGEST_ERROR = 1000


@dataclass(frozen=True, kw_only=True)
class Answer:
    r"""What came back of one request.

    Attributes:
        values: For each outcome its value, NaN where it was not asked for or failed.
        errors: For each outcome why it failed, empty where it did not.
        costs: For each outcome the cost of the attempt, 0 where it was not asked for.
        seconds: How long it took.
        setup_cost: What setting the design up cost.
    """

    values: tuple[float, ...]
    errors: tuple[str, ...]
    costs: tuple[float, ...]
    seconds: float
    setup_cost: float = 0.0

    @property
    def measured(self) -> tuple[bool, ...]:
        """For each outcome whether there is a value."""
        return tuple(not math.isnan(value) for value in self.values)

    @property
    def failed(self) -> tuple[bool, ...]:
        """For each outcome whether its measurement failed."""
        return tuple(error != "" for error in self.errors)


def evaluate(
    problem: DecoupledProblem, X: Tensor, mask: Tensor, *, reraise: bool
) -> Answer:
    r"""Measure one design. What raises an error, or is not finite, has failed.

    Args:
        problem: The problem.
        X: A ``1 x d``-dim tensor: the design.
        mask: A ``1 x m``-dim boolean tensor of the outcomes to measure.
        reraise: Whether the error of a measurement that fails is raised.

    Returns:
        The answer, set-up not included.

    Raises:
        MeasurementError: If ``reraise`` holds and a value is not finite.
        InvalidOutcomesError: If the problem returns no table of numbers.
        InvalidCostError: If a true cost is not allowed. A note of it, and of any other
            error of the costs, says what was measured.
    """
    # A request that makes no sense is a mistake of the policy, not a failure.
    problem._validate_designs(X)
    problem._validate_mask(mask, n=1)
    asked = mask[0].tolist()
    start = time.perf_counter()
    try:
        values = problem.evaluate(X, mask)[0].tolist()
        reason = ""
    except InvalidOutcomesError:  # it would be wrong again
        raise
    except Exception as error:
        if reraise:
            raise
        values = [math.nan] * len(asked)
        reason = f"{type(error).__name__}: {error}"[:_LONGEST_ERROR]
    seconds = time.perf_counter() - start
    lost = [a and not math.isfinite(v) for a, v in zip(asked, values, strict=True)]
    if reraise and any(lost):
        raise MeasurementError(
            f"Expected finite values of {_names(problem, lost)} at {X[0].tolist()}, but"
            f" got {values}. Pass TolerateFailures() to go on all the same."
        )
    # What a measurement cost may be known only once it is made.
    try:
        costs = _prices(problem, X, mask)
    except Exception as error:
        note_values(error, X, values)
        raise
    return Answer(
        values=tuple(
            math.nan if failed else value
            for value, failed in zip(values, lost, strict=True)
        ),
        errors=tuple(
            (reason or f"the value is {value}") if failed else ""
            for value, failed in zip(values, lost, strict=True)
        ),
        costs=tuple(costs[0].tolist()),
        seconds=seconds,
    )


def _prices(problem: DecoupledProblem, X: Tensor, mask: Tensor) -> Tensor:
    """True costs, ``1 x m``, 0 where nothing is measured."""
    costs = _as_costs(problem.cost(X.clone()), mask.shape, X)
    check_costs(costs[mask])
    return torch.where(mask, costs, 0.0)


def _as_costs(costs: object, shape: Sequence[int], X: Tensor) -> Tensor:
    """What a problem returned as costs, which may be nested lists of numbers."""
    if not isinstance(costs, Tensor):
        try:
            costs = torch.as_tensor(costs, dtype=X.dtype, device=X.device)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InvalidCostError(
                f"Expected costs of shape {tuple(shape)}, one per outcome, but got"
                f" {costs!r}. Let the problem's cost return an `n x m` tensor."
            ) from error
    if costs.shape != shape:
        raise InvalidCostError(
            f"Expected costs of shape {tuple(shape)}, one per outcome, but got"
            f" {tuple(costs.shape)}. Let the problem's cost return `n x m`."
        )
    return costs


def check_form_of_costs(problem: DecoupledProblem, X: Tensor) -> None:
    r"""Refuse costs of a wrong kind or shape, before a measurement is paid.

    Only their form: what a measurement costs may be known only once it is made, and a
    ``cost`` that cannot be asked before is asked then.

    Args:
        problem: The problem.
        X: A ``1 x d``-dim tensor: a design.

    Raises:
        InvalidCostError: If ``cost`` returns no ``1 x m`` table of numbers.
    """
    try:
        costs = problem.cost(X.clone())
    except Exception:
        return
    _as_costs(costs, (1, problem.num_objectives), X)


def note_values(error: Exception, X: Tensor, values: Sequence[float]) -> None:
    r"""Say in an error of the costs what was measured, which is not recorded.

    Args:
        error: The error.
        X: A ``1 x d``-dim tensor: the design.
        values: For each outcome its value, NaN where there is none.
    """
    error.add_note(
        f"Measured at {X[0].tolist()}, and not recorded as its cost is not known:"
        f" {list(values)}."
    )


def _names(problem: DecoupledProblem, which: list[bool]) -> list[str]:
    return [n for n, one in zip(problem.outcome_names, which, strict=True) if one]
