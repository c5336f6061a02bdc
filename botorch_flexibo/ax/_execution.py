r"""What evaluation functions take and return, and how they are executed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from botorch.exceptions.errors import InputDataError

from botorch_flexibo.ax.told import Value
from botorch_flexibo.utils.checks import check_count, check_switch, finite_number


class MeasurementResult(NamedTuple):
    r"""What a measurement gave, and what it cost. A plain tuple does as well.

    Attributes:
        values: The value of each objective asked for, or a pair of value and standard
            error; those of tracking metrics may be added.
        costs: What each objective really cost; those left out cost what is believed.
        setup_cost: What setting the design up really cost. None means what is believed.
    """

    values: Mapping[str, Value]
    costs: Mapping[str, float] | None = None
    setup_cost: float | None = None


_Costs = Mapping[str, float]
# What an evaluation function takes and returns.
Evaluate = Callable[
    [dict[str, Any], tuple[str, ...]],
    Mapping[str, Value]
    | MeasurementResult
    | tuple[Mapping[str, Value], _Costs]
    | tuple[Mapping[str, Value], _Costs, float],
]
# Makes a result of what a function returned for some objectives, and says why some have
# none; raises if there is none at all.
Check = Callable[
    [tuple[str, ...], object], tuple[MeasurementResult, dict[str, Exception]]
]


@dataclass(frozen=True)
class ExecutionOptions:
    r"""How measurements are executed.

    Attributes:
        retries: How often a task that failed is started again.
        timeout_s: How long a task may run, in seconds. A task of the default pool is
            stopped then. What other executors run goes on, but its result is not used,
            and nothing else is started in its place before it ends. Dask does not say
            when a task starts: there the time in its queue counts.
        cost: ``"told"``: what the function tells, else what is believed; or
            ``"seconds"``: where it tells nothing, the time that its task took, divided
            between several objectives as their believed costs are; failed attempts
            count. The believed costs must be in seconds then, or be learned.
        on_error: ``"raise"``: after a failed measurement nothing new is started, those
            running are completed, and the error is raised; or ``"continue"``.
        in_order: Tell results one by one in the order of the trials, rather than as
            they come. What is suggested then does not depend on how long they take.
        resume: First measure what the experiment says is running. Set it to False if
            something else is measuring that.
    """

    retries: int = 0
    timeout_s: float | None = None
    cost: str = "told"
    on_error: str = "raise"
    in_order: bool = False
    resume: bool = True

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            InputDataError: If one is not valid.
        """
        check_count(self.retries, "retries", least=0)
        if self.timeout_s is not None and not (finite_number(self.timeout_s) or 0) > 0:
            raise InputDataError(
                f"Expected timeout_s > 0 or None, but got {self.timeout_s!r}. Pass"
                " seconds, or None for no limit."
            )
        if self.cost not in ("told", "seconds"):
            raise InputDataError(
                f'Expected cost to be "told" or "seconds", but got {self.cost!r}.'
                " Choose one of these."
            )
        if self.on_error not in ("raise", "continue"):
            raise InputDataError(
                'Expected on_error to be "raise" or "continue", but got'
                f" {self.on_error!r}. Choose one of these."
            )
        check_switch(self.in_order, "in_order")
        check_switch(self.resume, "resume")


def as_result(objectives: tuple[str, ...], returned: object) -> MeasurementResult:
    """What a function returned, whatever its form.

    Args:
        objectives: What it was asked for.
        returned: What it returned.

    Returns:
        The result.

    Raises:
        InputDataError: If it is none.
    """
    if isinstance(returned, Mapping):
        return MeasurementResult(returned)
    if isinstance(returned, tuple) and 1 <= len(returned) <= 3:
        result = MeasurementResult(*returned)
        costs = {} if result.costs is None else result.costs
        if isinstance(result.values, Mapping) and isinstance(costs, Mapping):
            return result
    raise InputDataError(
        f"Expected values of {list(objectives)} by their names, or a MeasurementResult,"
        f" but got {returned!r}. Return a dictionary."
    )
