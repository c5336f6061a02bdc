r"""What users tell of a measurement: values and costs that can be used, or an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

from botorch.exceptions.errors import InputDataError

from botorch_flexibo.exceptions import InvalidCostError
from botorch_flexibo.utils.checks import finite_number

# A value, or a value with its standard error.
Value = float | tuple[float, float]


def check_mapping(values: object, name: str) -> None:
    r"""Refuse what has no names.

    Args:
        values: What was passed.
        name: What the message calls it.

    Raises:
        InputDataError: If it is no mapping from strings.
    """
    if not isinstance(values, Mapping) or not all(isinstance(k, str) for k in values):
        raise InputDataError(
            f"Expected {name} by their names, but got {values!r}. Give a dictionary."
        )


def check_names(
    values: object, asked: Set[str], tracking: Set[str], objectives: Set[str]
) -> None:
    r"""Refuse values of other metrics than those asked for.

    Args:
        values: The values by metric.
        asked: The metrics asked for; each needs a value.
        tracking: Metrics that may have one.
        objectives: Those of the experiment.

    Raises:
        InputDataError: If a metric is missing, or one was not asked for, or these are
            no values by metric.
    """
    if not isinstance(values, Mapping):
        raise InputDataError(
            f"Expected the values of {sorted(asked)} by their names, but got"
            f" {values!r}. Give a dictionary."
        )
    told = set(values)
    unknown = sorted(told - asked - tracking, key=str)
    missing = sorted(asked - told)
    free = " client.attach_data takes values that came for free."
    if unknown or missing:
        raise InputDataError(
            f"Expected values for {sorted(asked)}, but"
            + (f" got some for {unknown}, not asked for" if unknown else "")
            + (" and" if unknown and missing else "")
            + (f" got none for {missing}" if missing else "")
            + ". Tell exactly what the measurement asks for, and tracking metrics."
            + (free if objectives & set(unknown) else "")
        )


def checked_value(name: str, value: Value) -> Value:
    r"""A value as plain numbers.

    Args:
        name: The name of the metric.
        value: A number, or a pair of it and its standard error.

    Returns:
        The value.

    Raises:
        InputDataError: If it is none.
    """
    if not isinstance(value, tuple):
        number = finite_number(value)
        if number is not None:
            return number
    elif len(value) == 2:
        mean, error = (finite_number(part) for part in value)
        if mean is not None and error is not None and error >= 0:
            return mean, error
    raise InputDataError(
        f"Expected a finite number for {name!r}, or a pair of it and its standard error"
        f" (>= 0), but got {value!r}. Use fail_measurement if it could not be measured."
    )


def checked_costs(
    objectives: Sequence[str],
    costs: Mapping[str, float] | None,
    setup_cost: float | None,
    *,
    may_be_zero: bool,
) -> tuple[dict[str, float], float | None]:
    r"""Costs as plain numbers.

    Args:
        objectives: The metrics that were measured.
        costs: What each of them, or some, cost. None means that nothing was told.
        setup_cost: What setting the design up cost, None if nothing was told.
        may_be_zero: Whether measuring may have cost nothing, as it may if it failed.

    Returns:
        The costs of the metrics, and that of the set-up or None.

    Raises:
        InputDataError: If there are costs of something else, or these are no costs by
            metric.
        InvalidCostError: If a cost is negative, not finite, or 0 where it may not be.
    """
    told = {} if costs is None else costs
    if not isinstance(told, Mapping):
        raise InputDataError(
            f"Expected costs of {list(objectives)} by their names, but got {costs!r}."
            " Give a dictionary."
        )
    if set(told) - set(objectives):
        raise InputDataError(
            f"Expected costs of {list(objectives)}, but got costs of"
            f" {sorted(told, key=str)}. Tell those of what was measured."
        )
    checked = {
        name: _checked_cost(name, cost, may_be_zero=may_be_zero)
        for name, cost in told.items()
    }
    if setup_cost is not None:
        setup_cost = _checked_cost("set-up", setup_cost, may_be_zero=True)
    return checked, setup_cost


def _checked_cost(name: str, cost: object, *, may_be_zero: bool) -> float:
    number = finite_number(cost)
    if number is None or number < 0 or (number == 0 and not may_be_zero):
        kind = "non-negative" if may_be_zero else "positive"
        raise InvalidCostError(
            f"Expected a {kind}, finite cost of {name!r}, but got {cost!r}. Leave it"
            " out if it is not known."
        )
    return number
