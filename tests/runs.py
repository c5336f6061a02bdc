r"""Cheap problems that fail on demand, and what runs are compared by."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from botorch_flexibo import DecoupledHistory
from botorch_flexibo.test_functions import DecoupledBraninCurrin, TabularProblem

# Maps a design, the outcomes asked for and the number of the request to the outcomes
# that come back as NaN; it may also raise.
Fault = Callable[[Tensor, Tensor, int], Tensor | None]


class Faulty(DecoupledBraninCurrin):
    """BraninCurrin that fails on demand, and remembers what it was asked for.

    Its truth takes no part: judging fronts would take most of the time.
    """

    knows_truth = False

    def __init__(
        self,
        fault: Fault | None = None,
        costs: tuple[float, float] = (10.0, 1.0),
        noise_std: float | None = None,
    ) -> None:
        super().__init__(costs=costs, noise_std=noise_std)
        # Below all values, so that every design is of interest.
        self.ref_point = torch.tensor([-310.0, -14.0], dtype=torch.float64)
        self.fault = fault
        self.asked: list[tuple[tuple[float, ...], tuple[bool, ...]]] = []

    def _measure(self, X: Tensor, evaluation_mask: Tensor) -> Tensor:
        mask = evaluation_mask[0]
        self.asked.append((tuple(X[0].tolist()), tuple(mask.tolist())))
        Y = super()._measure(X, evaluation_mask)
        if self.fault is not None:
            lost = self.fault(X[0], mask, len(self.asked))
            if lost is not None:
                Y = torch.where(lost, torch.nan, Y)
        return Y


class FaultyTable(TabularProblem):
    """A grid of designs that fails on demand. Its truth takes no part either."""

    knows_truth = False

    def __init__(self, fault: Fault | None = None, num_rows: int = 4) -> None:
        grid = torch.cartesian_prod(
            torch.linspace(0, 1, num_rows), torch.linspace(0, 1, 3)
        ).double()
        a, b = grid.unbind(dim=-1)
        super().__init__(
            grid,
            torch.stack([(3 * a).sin() + b, (2 * b).cos() - a * b - a], dim=-1),
            torch.stack([7.1 + 2.3 * a, 0.13 + 0.01 * a], dim=-1),
            ref_point=[-0.1, -2.1],
            outcome_names=["dear", "cheap"],
            cost_unit="s",
        )
        self.fault = fault
        self.num_asked = 0

    def _measure(self, X: Tensor, evaluation_mask: Tensor) -> Tensor:
        self.num_asked += 1
        Y = super()._measure(X, evaluation_mask)
        if self.fault is not None:
            lost = self.fault(X[0], evaluation_mask[0], self.num_asked)
            if lost is not None:
                Y = torch.where(lost, torch.nan, Y)
        return Y


def broken(outcome: int, *, after: int = 0) -> Fault:
    """An outcome whose measurements raise an error from some request on."""

    def fault(x: Tensor, mask: Tensor, count: int) -> None:
        if count > after and bool(mask[outcome]):
            raise RuntimeError(f"outcome {outcome} is broken")

    return fault


def diverging(x: Tensor, mask: Tensor, count: int) -> None:
    """The first outcome raises an error in a region, as a training that diverges."""
    if bool(mask[0]) and bool(x[0] + x[1] > 1.0):
        raise ArithmeticError("the loss is NaN")


def numbers(values: tuple[float, ...]) -> tuple[float | None, ...]:
    """Values that can be compared: None for NaN."""
    return tuple(None if math.isnan(value) else value for value in values)


def trace(history: DecoupledHistory) -> list[tuple[Any, ...]]:
    """All of a run but wall times, to the last bit."""
    return [
        (
            r.decision,
            tuple(history.X[r.design].tolist()),
            r.measured,
            numbers(r.values),
            r.costs,
            r.setup_cost,
            r.cumulative_cost,
            numbers((r.predicted_cost, r.hv_measured, r.hv_identified)),
            r.errors,
            (r.effort.num_fits, r.effort.num_acquisitions, r.effort.num_skipped),
        )
        for r in history.records
    ]


def attempts(history: DecoupledHistory) -> dict[tuple[tuple[float, ...], int], int]:
    """How often each pair failed."""
    counts: dict[tuple[tuple[float, ...], int], int] = {}
    for record in history.records:
        design = tuple(history.X[record.design].tolist())
        for outcome, failed in enumerate(record.failed):
            if failed:
                pair = design, outcome
                counts[pair] = counts.get(pair, 0) + 1
    return counts
