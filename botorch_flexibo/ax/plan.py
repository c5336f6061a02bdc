r"""Which metrics the first designs are measured on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from botorch.exceptions.errors import InputDataError


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
            if not entry or len(set(entry)) < len(entry):
                raise InputDataError(
                    "Expected each entry of a plan to be one or more different metrics,"
                    f" but got {list(entry)}."
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
                f" {number} names {sorted(unknown)}."
            )
        return self.entries[number]


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
            f" num_complete={num_complete} and num_designs={num_designs}."
        )
    cheapest = min(costs, key=lambda name: costs[name])
    complete = [list(costs) for _ in range(num_complete)]
    return complete + [[cheapest] for _ in range(num_designs - num_complete)]
