r"""What a run could hand over now: the designs that are measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from botorch.exceptions.errors import BotorchTensorDimensionError, InputDataError
from botorch.logging import shape_to_str
from torch import Tensor

from botorch_flexibo.utils.checks import check_mask, finite_number
from botorch_flexibo.utils.costs import check_costs
from botorch_flexibo.utils.moving_front import (
    Joining,
    MovingOutcome,
    expected_hypervolume,
    joined_hypervolume,
)
from botorch_flexibo.utils.rows import RowIndex, sum_by_row


class Progress(NamedTuple):
    r"""How far the outcomes asked for take designs towards the end of a stage.

    Attributes:
        paid: A ``batch_shape x q``-dim tensor of what the outcomes cost that the design
            lacks and that are asked for. 0 for designs that are not at the stage, and
            where nothing was measured of what it requires and not all is asked for.
        missing: A ``batch_shape x q``-dim tensor of what all that it lacks cost, at
            least ``paid``.
    """

    paid: Tensor
    missing: Tensor


class MeasuredFront(NamedTuple):
    r"""Points that are to be improved, relative to the reference point.

    Attributes:
        points: A ``s x k x m``-dim tensor.
        hypervolume: A ``s x 1``-dim tensor, theirs.
    """

    points: Tensor
    hypervolume: Tensor

    @classmethod
    def of(cls, points: Tensor) -> MeasuredFront:
        """The front of ``s x k x m``-dim points, at least one."""
        # As volumes are computed when designs join: where none improves, none changes.
        nobody = torch.zeros_like(points[:, None, :1])
        return cls(points, joined_hypervolume(points, nobody))


class Stage(NamedTuple):
    r"""A step of measuring designs, and the front of those that are past it.

    Attributes:
        required: A ``m``-dim boolean tensor: a design is past it once these outcomes
            are measured.
        before: A ``m``-dim boolean tensor: only designs where these are measured
            already are valued at this step.
    """

    required: Tensor
    before: Tensor


@dataclass(frozen=True, eq=False)
class MeasuredBaseline:
    r"""Measured designs whose front further measurements are to improve.

    Look-ahead FlexiBO values what a measurement tells. That alone leaves designs
    unmeasured whose outcomes are predicted well, but a network that was never trained
    cannot be used. With a baseline its value is

    ``gain(X, S) + weight * share(X, S) * (E[HV{B + X}] - HV{B})``

    where ``B`` are the posterior means of designs whose decisive outcomes are measured,
    and a design of ``X`` counts if ``S`` completes it: its decisive outcomes are
    measured or in ``S``, and were not all measured before. If some of them were, it
    counts in part also before: the ``share`` is what the outcomes in ``S`` cost of all
    decisive ones that it lacks, so that what is left to measure is worth the same per
    cost in any order. Outcomes that are not decisive count as predicted: they are cheap
    to measure. Where everything is decisive this is the expected hypervolume
    improvement of completing a design.

    Where the decisive outcomes were measured before, the same is added for each outcome
    ``i`` that is not decisive, with ``B`` the designs where it is measured too, and
    ``X`` those where ``S`` measures it: a trained network whose latency is predicted
    well is worth the little that measuring it costs.

    Attributes:
        X: A ``n x d``-dim tensor of designs, at the fidelities they were measured at.
            Rows of the same design become one.
        evaluation_mask: A ``n x m``-dim boolean tensor of the outcomes measured there.
        decisive: A ``m``-dim boolean tensor of the outcomes without which a design does
            not count, typically the expensive ones.
        weight: The weight of the improvement against the gain.
        costs: A ``m``-dim tensor of typical costs of measuring each outcome. None takes
            them as equal.
        forbidden: Which outcomes of ``n x d``-dim designs will never be measured, an
            ``n x m``-dim boolean tensor. Designs that lack one do not count. None means
            that all may be.

    Example:
        >>> X = torch.rand(3, 2, dtype=torch.double)
        >>> mask = torch.tensor([[True, True], [True, False], [False, True]])
        >>> baseline = MeasuredBaseline(X, mask, decisive=torch.tensor([True, False]))
        >>> training, latency = torch.eye(2, dtype=torch.bool).unsqueeze(-2)
        >>> [stage.paid.tolist() for stage in baseline.progress(X, training)]
        [[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
        >>> [stage.paid.tolist() for stage in baseline.progress(X, latency)]
        [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """

    X: Tensor
    evaluation_mask: Tensor
    decisive: Tensor
    weight: float = 0.1
    costs: Tensor | None = None
    forbidden: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        """Check shapes and weight; a design that has several rows gets one."""
        for mask, name in (
            (self.evaluation_mask, "evaluation_mask"),
            (self.decisive, "decisive"),
        ):
            check_mask(mask, name)
        shape = torch.Size([len(self.X), len(self.decisive)])
        if self.X.ndim != 2 or self.evaluation_mask.shape != shape:
            raise BotorchTensorDimensionError(
                "Expected X `n x d`, evaluation_mask `n x m` and decisive `m`, but got"
                f" {shape_to_str(self.X.shape)},"
                f" {shape_to_str(self.evaluation_mask.shape)} and"
                f" {shape_to_str(self.decisive.shape)}. Pass one row per design."
            )
        if not (finite_number(self.weight) or 0.0) > 0 or not self.decisive.any():
            raise InputDataError(
                "Expected a positive weight and at least one decisive outcome, but got"
                f" {self.weight!r} and {self.decisive.tolist()}. Without them leave the"
                " baseline out."
            )
        designs, counts = sum_by_row(self.X, self.evaluation_mask.long())
        object.__setattr__(self, "X", designs)
        object.__setattr__(self, "evaluation_mask", counts > 0)
        if self.costs is None:
            return
        if self.costs.shape != self.decisive.shape:
            raise BotorchTensorDimensionError(
                f"Expected costs of shape {shape_to_str(self.decisive.shape)}, but got"
                f" {shape_to_str(self.costs.shape)}. Pass a typical cost per outcome."
            )
        check_costs(self.costs)

    def check_shape(self, num_columns: int, num_outcomes: int) -> None:
        """Refuse a baseline that is not of a model's inputs and outcomes.

        Args:
            num_columns: Columns of the model's designs.
            num_outcomes: Outcomes of the model.

        Raises:
            BotorchTensorDimensionError: If it has other columns or outcomes.
        """
        shape = self.X.shape[-1], len(self.decisive)
        if shape != (num_columns, num_outcomes):
            raise BotorchTensorDimensionError(
                f"Expected a baseline of {num_columns} columns and {num_outcomes}"
                f" outcomes, but got {shape[0]} and {shape[1]}. Pass designs and"
                " masks of this model."
            )

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """First what is decisive, then that with each of the other outcomes."""
        others = torch.diag(~self.decisive)[~self.decisive]
        first = Stage(self.decisive, torch.zeros_like(self.decisive))
        return first, *(Stage(self.decisive | one, self.decisive) for one in others)

    def with_pending(
        self, X: Tensor | None, evaluation_mask: Tensor | None
    ) -> MeasuredBaseline:
        r"""The baseline once pending measurements are made.

        Args:
            X: A ``n' x d``-dim tensor of pending designs, or None.
            evaluation_mask: A ``n' x m``-dim boolean tensor of their outcomes. None
                means all.

        Returns:
            The baseline of all these designs.
        """
        if X is None or len(X) == 0:
            return self
        m = len(self.decisive)
        if evaluation_mask is None:
            evaluation_mask = torch.ones_like(self.decisive).expand(len(X), m)
        evaluation_mask = evaluation_mask.to(self.decisive) & ~self._is_forbidden(X)
        masks = torch.cat([self.evaluation_mask, evaluation_mask])
        return replace(self, X=torch.cat([self.X, X]), evaluation_mask=masks)

    def _is_forbidden(self, X: Tensor) -> Tensor:
        """What will never be measured of designs, ``batch_shape x m``."""
        if self.forbidden is None:
            return torch.zeros_like(self.decisive)
        rows = self.forbidden(X.reshape(-1, X.shape[-1]))
        return rows.to(self.decisive).reshape(*X.shape[:-1], len(self.decisive))

    def front_designs(self) -> list[Tensor]:
        r"""Designs that are past each stage.

        Returns:
            A ``k x d``-dim tensor of designs for each of ``stages``.
        """
        known = self.evaluation_mask
        return [self.X[_contains(known, stage.required)] for stage in self.stages]

    def progress(self, X: Tensor, mask: Tensor) -> list[Progress]:
        r"""How far the outcomes asked for take designs towards the end of each stage.

        Args:
            X: A ``batch_shape x q x d``-dim tensor of designs.
            mask: A ``q x m``-dim boolean tensor of the outcomes asked for. What several
                rows ask for at one design counts together, at the first of them.

        Returns:
            The progress of ``batch_shape x q`` designs for each of ``stages``.
        """
        mask = _merged(X, mask)
        known = self._measured(X)
        lost = self._is_forbidden(X) & ~known
        costs = self.X.new_ones(()) if self.costs is None else self.costs
        steps = []
        for stage in self.stages:
            at_it = _contains(known, stage.before).unsqueeze(-1)
            at_it = at_it & ~(lost & stage.required).any(dim=-1, keepdim=True)
            lacks = at_it & stage.required & ~known
            is_begun = (known & stage.required).any(dim=-1, keepdim=True)
            is_completed = _contains(mask, lacks).unsqueeze(-1)
            counts = lacks & mask & (is_begun | is_completed)
            paid, missing = ((part * costs).sum(dim=-1) for part in (counts, lacks))
            steps.append(Progress(paid, missing))
        return steps

    def _measured(self, X: Tensor) -> Tensor:
        """What is measured of designs, ``batch_shape x q x m``."""
        if len(self.X) == 0:
            return self.decisive.new_zeros(*X.shape[:-1], len(self.decisive))
        row = self._rows.find(X)
        return self.evaluation_mask[row] & (row >= 0).unsqueeze(-1)

    @cached_property
    def _rows(self) -> RowIndex:
        return RowIndex(self.X)

    def improvement(
        self,
        front: MeasuredFront,
        joining: Joining,
        progress: Progress,
        num_nodes: int,
    ) -> Tensor:
        r"""Weighted expected improvement of the front, the part that is paid.

        Args:
            front: What is to be improved.
            joining: Where the designs of batches are, and where they may go.
            progress: ``s x b x q``-dim tensors. Designs that pay for nothing do not
                join.
            num_nodes: Quadrature nodes per variable.

        Returns:
            A ``s x b``-dim tensor.
        """
        nothing = (0.0 * joining.start).sum(dim=(-2, -1))
        counts = progress.paid > 0
        rows = counts.any(dim=-1).any(dim=0).nonzero().squeeze(-1)
        if len(rows) == 0:
            return nothing
        counts = counts[:, rows]
        paid, missing = (
            torch.where(counts, costs[:, rows], 0.0).sum(dim=-1) for costs in progress
        )
        weight = self.weight * torch.where(paid > 0, paid / missing, 0.0)
        start = torch.where(counts.unsqueeze(-1), joining.start[:, rows], 0.0)
        directions, still = {}, {}
        points = front.points
        nowhere = points.new_zeros(1)
        for i, moves in joining.directions.items():
            directions[i] = moves[:, rows] * counts.unsqueeze(-2)
            shape = len(points), 1, moves.shape[-2], points.shape[-2]
            still[i] = MovingOutcome(points[:, None, :, i], nowhere.expand(shape))
        joining = Joining(start, directions)
        then = expected_hypervolume(points, still, joining, num_nodes)
        gain = weight * (then - front.hypervolume)
        return nothing.index_copy(1, rows, gain)

    def to(self, like: Tensor) -> MeasuredBaseline:
        """The same with designs of another dtype, on another device."""
        return replace(
            self,
            X=self.X.to(like),
            evaluation_mask=self.evaluation_mask.to(like.device),
            decisive=self.decisive.to(like.device),
            costs=None if self.costs is None else self.costs.to(like),
        )


def _merged(X: Tensor, mask: Tensor) -> Tensor:
    """What rows ask for; equal ones together at the first, ``batch_shape x q x m``."""
    if X.shape[-2] == 1:
        return mask
    mask = mask.expand(X.shape[-2], -1)
    same = (X.unsqueeze(-2) == X.unsqueeze(-3)).all(dim=-1)
    is_first = ~same.tril(diagonal=-1).any(dim=-1, keepdim=True)
    return ((same.to(X) @ mask.to(X)) > 0) & is_first


def _contains(known: Tensor, required: Tensor) -> Tensor:
    return (known | ~required).all(dim=-1)
