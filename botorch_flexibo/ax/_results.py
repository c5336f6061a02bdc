r"""What evaluation functions return, as far as it can be told to an experiment."""

from __future__ import annotations

import warnings
from typing import Any

from ax.api.client import Client
from botorch.exceptions.errors import InputDataError

from botorch_flexibo.ax._execution import MeasurementResult, as_result
from botorch_flexibo.ax.metadata import experiment_of
from botorch_flexibo.ax.told import Value, checked_costs, checked_value
from botorch_flexibo.exceptions import InvalidCostError

_Checked = tuple[MeasurementResult, dict[str, Exception]]


class ResultCheck:
    r"""Makes results of what a function returns. No fault costs a good value.

    What was not asked for is dropped: a function that trains a network has all metrics
    at hand, and returns them.
    """

    def __init__(self, client: Client) -> None:
        """Check.

        Args:
            client: The client.
        """
        self._client = client
        self._unasked: set[Any] = set()
        self._has_warned = False

    def __call__(self, objectives: tuple[str, ...], returned: object) -> _Checked:
        """What a function returned, as far as it can be told.

        Args:
            objectives: What the function was asked for.
            returned: What it returned.

        Returns:
            The result, and what is wrong with the rest: why there is no value of the
            other metrics, or no cost of those with a value.

        Raises:
            InputDataError: If there is no value that was asked for.
        """
        result = as_result(objectives, returned)
        metrics = experiment_of(self._client).tracking_metrics
        tracking = {metric.name for metric in metrics}
        told, costs = result.values, result.costs or {}
        values: dict[str, Value] = {}
        faults: dict[str, Exception] = {}
        for name in objectives:
            try:
                values[name] = _value(name, result, objectives)
            except InputDataError as error:
                faults[name] = error
        if not values:
            _value(objectives[0], result, objectives)  # raises what is wrong
        self._unasked |= {*told, *costs} - {*objectives} - tracking
        for name in sorted(tracking & set(told)):
            try:
                values[name] = checked_value(name, told[name])
            except InputDataError as error:
                faults[name] = error
        result, wrong = _paid(objectives, result)
        return result._replace(values=values), wrong | faults

    def warn(self) -> None:
        """Say what was dropped, the first time that something was.

        It is called when the values are told, so that they are safe if it raises.
        """
        if not self._unasked or self._has_warned:
            return
        self._has_warned = True
        warnings.warn(
            f"The function returned {sorted(self._unasked, key=str)}, not asked for:"
            " only what was asked for is kept. If these take time or money, measure"
            " no more than the objectives that the function is passed.",
            RuntimeWarning,
            stacklevel=2,
        )


def _value(name: str, result: MeasurementResult, objectives: tuple[str, ...]) -> Value:
    told = result.values
    if name in told:
        return checked_value(name, told[name])
    missing = [name for name in objectives if name not in told]
    raise InputDataError(
        f"Expected values for {list(objectives)}, but got none for {missing}, only for"
        f" {sorted(told, key=str)}. Return each value under the name of its objective,"
        " or raise an error if nothing could be measured."
    )


def _paid(objectives: tuple[str, ...], result: MeasurementResult) -> _Checked:
    """The costs that can be told, and what is wrong with the others."""
    costs: dict[str, float] = {}
    faults: dict[str, Exception] = {}
    setup = None
    for name in objectives:
        if name not in (result.costs or {}):
            continue
        try:
            told = {name: (result.costs or {})[name]}
            costs |= checked_costs((name,), told, None, may_be_zero=False)[0]
        except InvalidCostError as error:
            faults[name] = error
    try:
        setup = checked_costs((), None, result.setup_cost, may_be_zero=True)[1]
    except InvalidCostError as error:
        faults.setdefault(objectives[0], error)
    return MeasurementResult(result.values, costs, setup), faults
