r"""Measurements that fail: what is tolerated, and what is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from botorch.exceptions.errors import InputDataError
from botorch.models.model import Model
from torch import Tensor

from botorch_flexibo.models.cost import UnreliableCostModel
from botorch_flexibo.utils.checks import is_count
from botorch_flexibo.utils.rows import RowIndex, unique_rows

# A design this close to one that failed, as a share of each column's range, is it.
_SAME = 0.01


@dataclass(frozen=True, kw_only=True)
class TolerateFailures:
    r"""Failed measurements are paid for and recorded, and the run goes on.

    Attributes:
        max_attempts: A (design, outcome) pair that has failed so often is given up: it
            is never asked for again.
        max_in_a_row: An outcome that failed at so many designs in a row is closed: it
            is never asked for again.

    Example:
        >>> TolerateFailures(max_attempts=1).max_in_a_row
        5
    """

    max_attempts: int = 2
    max_in_a_row: int = 5

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InputDataError: If one is less than 1.
        """
        if not (is_count(self.max_attempts) and is_count(self.max_in_a_row)):
            raise InputDataError(
                "Expected max_attempts >= 1 and max_in_a_row >= 1, but got"
                f" {self.max_attempts!r} and {self.max_in_a_row!r}. Pass whole numbers,"
                " or RaiseFailures() to stop at the first failure."
            )
        # NumPy's integers are no JSON.
        object.__setattr__(self, "max_attempts", int(self.max_attempts))
        object.__setattr__(self, "max_in_a_row", int(self.max_in_a_row))


@dataclass(frozen=True)
class RaiseFailures:
    """The first failed measurement ends the run with its error, to debug it."""


FailureRule = TolerateFailures | RaiseFailures


@dataclass(frozen=True, kw_only=True)
class Failures:
    r"""What a policy is told of failed measurements.

    Attributes:
        X: A ``n' x d``-dim tensor of designs at which a measurement failed, each once.
        counts: A ``n' x m``-dim tensor: how often each outcome failed there, 0 if it
            was measured after all.
        max_attempts: A pair that has failed so often is given up.
        closed: A ``m``-dim boolean tensor of the outcomes that are closed.
    """

    X: Tensor
    counts: Tensor
    max_attempts: int
    closed: Tensor

    @property
    def given_up(self) -> Tensor:
        """The pairs never to be asked for again, a ``n' x m``-dim boolean tensor."""
        return (self.counts >= self.max_attempts) & ~self.closed

    def forbidden(self, X: Tensor) -> Tensor:
        r"""Which pairs must not be asked for, whether they were measured or not.

        Args:
            X: A ``k x d``-dim tensor of designs.

        Returns:
            A ``k x m``-dim boolean tensor: pairs given up and closed outcomes.
        """
        closed = self.closed.expand(len(X), -1)
        if len(self.X) == 0:
            return closed
        row = RowIndex(self.X).find(X)
        return (self.given_up[row] & (row >= 0).unsqueeze(-1)) | closed

    def to_retry(self) -> Tensor:
        """The designs with a failed outcome that may be asked for again, ``k x d``."""
        open_pairs = (self.counts > 0) & (self.counts < self.max_attempts)
        return self.X[(open_pairs & ~self.closed).any(dim=-1)]

    def open_masks(self, evaluation_masks: Tensor) -> Tensor:
        r"""Masks without the closed outcomes.

        Args:
            evaluation_masks: A ``k x m``-dim boolean tensor.

        Returns:
            A ``k' x m``-dim boolean tensor: each mask once, and none that is empty.
        """
        masks = evaluation_masks & ~self.closed.to(evaluation_masks.device)
        masks = unique_rows(masks[masks.any(dim=-1)].to(torch.float64))
        return masks.to(torch.bool)

    def original(self, x: Tensor, evaluation_mask: Tensor, bounds: Tensor) -> Tensor:
        r"""The design at which the same measurement failed before, if it is close.

        A search on a continuous space hardly ever proposes the same design twice. A
        copy that is hardly different would fail as the original did, and not be
        recognised as another attempt.

        Args:
            x: A ``d``-dim tensor: a design.
            evaluation_mask: A ``m``-dim boolean tensor of its outcomes.
            bounds: A ``2 x d``-dim tensor of lower and upper bounds.

        Returns:
            The nearest design at which one of these outcomes failed, if it is within 1%
            of each column's range; else ``x``.
        """
        failed = self.X[(evaluation_mask & (self.counts > 0)).any(dim=-1)]
        span = bounds[1] - bounds[0]
        distance = (failed - x).abs() / torch.where(span > 0, span, 1.0)
        distance = distance.amax(dim=-1)
        if not bool((distance <= _SAME).any()):
            return x
        return failed[int(distance.argmin())]


class FailureLog:
    r"""Counts attempts, successes and failures of a run.

    Attributes:
        closed: For each outcome at how many designs in a row it had failed when it was
            closed, 0 if it is open.
    """

    def __init__(self, num_outcomes: int, rule: TolerateFailures) -> None:
        r"""Nothing was measured yet.

        Args:
            num_outcomes: The number of outcomes ``m``.
            rule: What is tolerated.
        """
        self.closed = [0] * num_outcomes
        self._rule = rule
        self._attempts = [0] * num_outcomes
        self._successes = [0] * num_outcomes
        self._in_a_row = [0] * num_outcomes
        self._last_failed = [False] * num_outcomes
        self._failed: dict[tuple[float, ...], list[int]] = {}

    def note(
        self, x: Tensor, measured: Sequence[bool], failed: Sequence[bool]
    ) -> list[int]:
        r"""Note a request that was answered.

        A success opens its outcome again, if it was closed.

        Args:
            x: A ``d``-dim tensor: the design.
            measured: For each outcome whether it was measured.
            failed: For each outcome whether that failed.

        Returns:
            The outcomes that are closed by it.
        """
        design = tuple(x.tolist())
        closed = []
        for i in range(len(self.closed)):
            if not (measured[i] or failed[i]):
                continue
            self._attempts[i] += 1
            self._last_failed[i] = failed[i]
            if measured[i]:
                self._successes[i] += 1
                self._in_a_row[i] = 0
                self.closed[i] = 0
                if design in self._failed:
                    self._failed[design][i] = 0
            if not failed[i]:
                continue
            counts = self._failed.setdefault(design, [0] * len(self.closed))
            counts[i] += 1
            self._in_a_row[i] += counts[i] == 1
            if self._in_a_row[i] >= self._rule.max_in_a_row and not self.closed[i]:
                self.closed[i] = self._in_a_row[i]
                closed.append(i)
        return closed

    @property
    def suspects(self) -> list[bool]:
        """For each outcome whether its last attempt failed."""
        return self._last_failed[:]

    @property
    def all_closed(self) -> bool:
        """Whether no outcome is left to measure."""
        return all(self.closed)

    def failures(self, like: Tensor) -> Failures | None:
        r"""What a policy is told.

        Args:
            like: A tensor with the dtype and device of the designs.

        Returns:
            The failures, None if there were none.
        """
        if not self._failed:
            return None
        return Failures(
            X=like.new_tensor(list(self._failed)),
            counts=torch.tensor(list(self._failed.values()), device=like.device),
            max_attempts=self._rule.max_attempts,
            closed=torch.tensor(self.closed, device=like.device) > 0,
        )

    def believed_costs(self, cost_model: Model, failures: Failures | None) -> Model:
        r"""Costs per success: failures make an outcome more expensive.

        Args:
            cost_model: What one attempt is believed to cost.
            failures: The failures so far.

        Returns:
            The model of the costs per success, the same model without failures.
        """
        if failures is None:
            return cost_model
        return UnreliableCostModel(
            cost_model,
            attempts=torch.tensor(self._attempts),
            successes=torch.tensor(self._successes),
            X_failed=failures.X,
            X_failed_evaluation_mask=failures.given_up,
        )
