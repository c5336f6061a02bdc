r"""Which metrics the first designs are measured on."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, cast

from ax.core.experiment import Experiment
from ax.core.parameter import (
    ChoiceParameter,
    FixedParameter,
    Parameter,
    RangeParameter,
)
from ax.core.search_space import SearchSpace
from ax.core.types import TParamValue
from botorch.exceptions.errors import InputDataError

from botorch_flexibo.ax.metadata import Request, is_valid, request_of

# Spaces of separate values with constraints and at most so many designs are counted.
_MAX_COUNTED = 2000


@dataclass(frozen=True)
class MeasurementPlan:
    r"""The metrics of each of the first designs.

    Attributes:
        entries: For each design the names of its metrics. Designs beyond the last entry
            are measured on all objectives.
    """

    entries: tuple[tuple[str, ...], ...] = ()

    @classmethod
    def from_lists(cls, entries: Sequence[Sequence[str]] | None) -> MeasurementPlan:
        """A plan from what Ax stores.

        Args:
            entries: The metrics of each design, or None for an empty plan.

        Returns:
            The plan.

        Raises:
            InputDataError: If an entry is empty or names a metric twice.
        """
        for entry in entries or ():
            known = entry and all(isinstance(name, str) for name in entry)
            if not known or len(set(entry)) < len(entry):
                raise InputDataError(
                    "Expected each entry of a plan to be one or more different metrics,"
                    f" but got {list(entry)}. Give the names of metrics."
                )
        return cls(tuple(tuple(entry) for entry in entries or ()))

    def entry(self, number: int, objectives: Sequence[str]) -> tuple[str, ...]:
        """What to measure at a design.

        Args:
            number: The number of the design, from 0.
            objectives: All objectives.

        Returns:
            The names of metrics.

        Raises:
            InputDataError: If the plan names what is no objective.
        """
        if number >= len(self.entries):
            return tuple(objectives)
        unknown = set(self.entries[number]) - set(objectives)
        if unknown:
            raise InputDataError(
                f"Expected a plan of the objectives {list(objectives)}, but entry"
                f" {number} names {sorted(unknown)}. Set a strategy whose plan names"
                " these objectives."
            )
        return self.entries[number]


@dataclass(frozen=True)
class PlanProgress:
    r"""Which initial designs are still to be asked for.

    A design that fails is replaced once, by another one with the same metrics, after
    all others were asked for: a metric that cannot be measured is not asked for for
    ever.

    Attributes:
        open: The numbers of the entries of the plan to ask for, the next one first.
        num_further: How many designs beyond the plan were asked for.
        next_further: The number of the next one.
    """

    open: tuple[int, ...]
    num_further: int
    next_further: int

    @classmethod
    def of(
        cls,
        experiment: Experiment,
        num_designs: int,
        proposed: Sequence[Request] = (),
    ) -> PlanProgress:
        """The progress of an experiment.

        Args:
            experiment: The experiment. The arms of its valid trials of other origin
                take the place of as many designs, those next in turn.
            num_designs: The number of entries; a small finite space may have fewer
                designs.
            proposed: Requests that are not in the experiment yet.

        Returns:
            The progress.
        """
        num_entries = int(min(num_designs, _num_designs(experiment.search_space)))
        asked = Counter(request.entry for request in proposed)
        lost: Counter[int | None] = Counter()
        for trial in experiment.trials.values():
            for arm in trial.arms:
                request = request_of(trial, arm)
                entry = None if request is None else request.entry
                (asked if is_valid(trial) else lost)[entry] += 1
        entries = range(num_entries)
        first = [k for k in entries if asked[k] == lost[k] == 0]
        again = [k for k in entries if asked[k] == 0 and lost[k] == 1]
        numbers = [k for k in (asked + lost).elements() if k is not None]
        return cls(
            open=(*first, *again)[asked[None] :],
            num_further=sum(k >= num_entries for k in numbers),
            next_further=max([num_entries - 1, *numbers]) + 1,
        )

    @property
    def next_entry(self) -> int:
        """The number of the design to ask for now."""
        return self.open[0] if self.open else self.next_further


def _num_designs(space: SearchSpace) -> float:
    """How many designs a space has; more, if there are many and not all allowed."""
    parameters = space.tunable_parameters
    size = math.prod(parameter.cardinality() for parameter in parameters.values())
    if size > _MAX_COUNTED or not space.parameter_constraints:
        return size
    fixed = {
        name: parameter.value
        for name, parameter in space.parameters.items()
        if isinstance(parameter, FixedParameter)
    }
    rows = product(*(_values(parameter) for parameter in parameters.values()))
    designs = ({**fixed, **dict(zip(parameters, row, strict=True))} for row in rows)
    return sum(
        all(each.check(cast(Any, design)) for each in space.parameter_constraints)
        for design in designs
    )


def _values(parameter: Parameter) -> Sequence[TParamValue]:
    """All values of a choice or of an integer."""
    if isinstance(parameter, RangeParameter):
        return range(int(parameter.lower), int(parameter.upper) + 1)
    return cast(ChoiceParameter, parameter).values


def cheap_first(
    costs: Mapping[str, float], num_designs: int, num_complete: int
) -> list[list[str]]:
    r"""A few designs measured on everything, the others on the cheapest metric only.

    Args:
        costs: The cost of each metric.
        num_designs: The number of designs.
        num_complete: How many of them are measured on all metrics.

    Returns:
        The metrics of each design.

    Raises:
        InputDataError: If the numbers are not ``1 <= num_complete <= num_designs``.
    """
    if not 1 <= num_complete <= num_designs:
        raise InputDataError(
            "Expected 1 <= num_complete <= num_designs, but got"
            f" num_complete={num_complete} and num_designs={num_designs}. Ask for more"
            " designs."
        )
    cheapest = min(costs, key=lambda name: costs[name])
    complete = [list(costs) for _ in range(num_complete)]
    return complete + [[cheapest] for _ in range(num_designs - num_complete)]
