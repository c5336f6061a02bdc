r"""Policies: from a fitted model and the data so far to a request.

An acquisition function maps designs to values; a policy maps what is known to what is
measured next. All it may use is in the model and in the :class:`DecoupledState`; a
policy that remembers more than these says so.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass, field, fields, replace
from types import FunctionType
from typing import Any, ClassVar

import torch
from botorch.exceptions.errors import CandidateGenerationError
from botorch.models.model import Model, ModelList
from torch import Tensor

from botorch_flexibo.failures import Failures
from botorch_flexibo.models.cost import CostModel
from botorch_flexibo.optim.decoupled import EvaluationRequest
from botorch_flexibo.optim.space import SearchSpace
from botorch_flexibo.utils.costs import check_costs
from botorch_flexibo.utils.posterior import posterior_mean
from botorch_flexibo.utils.rows import RowIndex


@dataclass(frozen=True, kw_only=True)
class Effort:
    r"""What a policy did to reach its decisions, and what it left out.

    Attributes:
        num_fits: Hyperparameter fits of single-outcome models of its own.
        fit_seconds: Their wall time.
        num_acquisitions: Acquisition functions maximised.
        acquisition_seconds: Their wall time.
        num_skipped: Turns at which an acquisition function was left as it was.
        num_gated: Proposals that were kept from being shared or measured further.
        num_expensive: Measurements asked for of outcomes it regards as expensive.

    Example:
        >>> Effort(num_fits=3) - Effort(num_fits=1) == Effort(num_fits=2)
        True
    """

    num_fits: int = 0
    fit_seconds: float = 0.0
    num_acquisitions: int = 0
    acquisition_seconds: float = 0.0
    num_skipped: int = 0
    num_gated: int = 0
    num_expensive: int = 0

    def __add__(self, other: Effort) -> Effort:
        return self._combined(other, sign=1)

    def __sub__(self, other: Effort) -> Effort:
        return self._combined(other, sign=-1)

    def _combined(self, other: Effort, sign: int) -> Effort:
        pairs = zip(fields(self), astuple(self), astuple(other), strict=True)
        return Effort(**{f.name: mine + sign * theirs for f, mine, theirs in pairs})


@dataclass(frozen=True, kw_only=True)
class DecoupledState:
    r"""What an optimiser knows when it chooses the next measurement.

    Attributes:
        X: A ``n x d``-dim tensor of the designs measured so far, each once.
        Y: A ``n x m``-dim tensor of outcomes to maximise, NaN where not measured.
        space: Where designs may lie.
        ref_point: A ``m``-dim reference point below the front.
        cost_model: The believed cost of each outcome: a model with ``m`` outputs. If
            it is a ``CostModel``, it has learned from all payments so far. Where
            measurements failed, it is the cost per success.
        iteration: The number of the decision, from 1.
        seed: Seed of all randomness of this decision.
        max_cost: The largest cost a request may have.
        budget_left: The part of the budget for decisions, initial designs left out,
            that is not spent: from 1 down to 0, and 1 where there is no budget.
        target_fidelities: The columns that are fidelities, and the value at which a
            measurement is worth something in itself.
        X_pending: A ``n' x d``-dim tensor of designs being measured, or None.
        X_pending_evaluation_mask: A ``n' x m``-dim boolean tensor of the outcomes being
            measured there.
        failures: The measurements that failed, None if there were none.
    """

    X: Tensor
    Y: Tensor
    space: SearchSpace
    ref_point: Tensor
    cost_model: Model
    iteration: int = 1
    seed: int = 0
    max_cost: float = torch.inf
    budget_left: float = 1.0
    target_fidelities: dict[int, float] = field(default_factory=dict)
    X_pending: Tensor | None = None
    X_pending_evaluation_mask: Tensor | None = None
    failures: Failures | None = None

    @property
    def bounds(self) -> Tensor:
        """The bounds of the space, ``2 x d``."""
        return self.space.bounds

    @property
    def choices(self) -> Tensor | None:
        """The designs of a finite space, ``k x d``, None if it is continuous."""
        return self.space.choices

    def with_choices(self, choices: Tensor | None) -> DecoupledState:
        r"""This state with another set of designs to choose from.

        Args:
            choices: A ``k x d``-dim tensor of designs, None for the whole space.

        Returns:
            The state.
        """
        return replace(self, space=replace(self.space, choices=choices))

    def enumerated(self) -> DecoupledState:
        """This state with choices if they are few, see ``SearchSpace.enumerated``."""
        return replace(self, space=self.space.enumerated())

    @property
    def measured(self) -> Tensor:
        """Which outcomes are measured, a ``n x m``-dim boolean tensor."""
        return ~self.Y.isnan()

    @property
    def complete(self) -> Tensor:
        """Which designs have all outcomes at the target fidelity, ``n``-dim boolean."""
        return self.measured.all(dim=-1) & at_target(self.X, self.target_fidelities)

    def outcome_variances(self) -> Tensor:
        """Variance of the data of each outcome, ``m``-dim, 1 where it is not known."""
        variance = (self.Y - self.Y.nanmean(dim=0)).square().nanmean(dim=0)
        return torch.where(variance > 0, variance, 1.0)

    def outcome_costs(self, X: Tensor) -> Tensor:
        r"""Believed cost of measuring each outcome of given designs alone.

        Args:
            X: A ``k x d``-dim tensor of designs.

        Returns:
            A ``k x m``-dim tensor of costs.

        Raises:
            InvalidCostError: If a cost is not positive and finite.
        """
        costs = posterior_mean(self.cost_model_with_pending, X).detach()
        check_costs(costs)
        return costs

    @property
    def pending(self) -> tuple[Tensor, Tensor]:
        """Designs being measured, ``n' x d``, and their boolean mask, ``n' x m``."""
        X, mask = self.X_pending, self.X_pending_evaluation_mask
        if X is None:
            return self.X[:0], self.measured[:0]
        if mask is None:
            shape = len(X), self.Y.shape[-1]
            mask = torch.ones(shape, dtype=torch.bool, device=X.device)
        return X, mask

    @property
    def cost_model_with_pending(self) -> Model:
        """The cost model, once what is being measured has paid for its set-ups."""
        model = self.cost_model
        if self.X_pending is None or not isinstance(model, CostModel):
            return model
        return model.with_pending(*self.pending)

    def known_outcomes(self, X: Tensor) -> Tensor:
        r"""Measured outcomes of given designs.

        Args:
            X: A ``k x d``-dim tensor of designs.

        Returns:
            A ``k x m``-dim tensor of outcomes, NaN where not measured.
        """
        if len(self.X) == 0:
            return torch.full((len(X), self.Y.shape[-1]), torch.nan).to(X)
        row = RowIndex(self.X).find(X)
        return torch.where((row >= 0).unsqueeze(-1), self.Y[row], torch.nan)

    def open_outcomes(self, X: Tensor) -> Tensor:
        r"""Which outcomes of given designs may be asked for.

        Args:
            X: A ``k x d``-dim tensor of designs.

        Returns:
            A ``k x m``-dim boolean tensor: False where an outcome is measured, being
            measured, or given up after failures.
        """
        free = self.known_outcomes(X).isnan()
        mask = self.X_pending_evaluation_mask
        if self.X_pending is not None and len(self.X_pending) > 0:
            for i in range(free.shape[-1]):  # a design may be pending more than once
                pending = self.X_pending if mask is None else self.X_pending[mask[:, i]]
                free[:, i] &= RowIndex(pending).find(X) < 0
        if self.failures is not None:
            free &= ~self.failures.forbidden(X)
        return free

    def open_masks(self, evaluation_masks: Tensor | None) -> Tensor | None:
        r"""Masks without the outcomes that are closed after failures.

        Args:
            evaluation_masks: A ``k x m``-dim boolean tensor of masks to choose from.
                None means every outcome on its own.

        Returns:
            The masks that are left, unchanged if nothing failed.

        Raises:
            CandidateGenerationError: If none is left.
        """
        if self.failures is None:
            return evaluation_masks
        if evaluation_masks is None:
            m = self.Y.shape[-1]
            evaluation_masks = torch.eye(m, dtype=torch.bool, device=self.Y.device)
        masks = self.failures.open_masks(evaluation_masks)
        if len(masks) == 0:
            raise CandidateGenerationError(
                "Expected a mask with an outcome that is not closed, but got"
                f" {evaluation_masks.tolist()} with all of it closed after failures."
                " Stop, or allow more masks."
            )
        return masks


def at_target(X: Tensor, target_fidelities: Mapping[int, float]) -> Tensor:
    r"""Which designs have all fidelities at their targets.

    Args:
        X: A ``n x d``-dim tensor of designs.
        target_fidelities: The columns that are fidelities, with their targets.

    Returns:
        A ``n``-dim boolean tensor, all True if there are no fidelities.
    """
    hit = torch.ones(len(X), dtype=torch.bool, device=X.device)
    for column, target in target_fidelities.items():
        hit &= X[:, column] == target
    return hit


def callable_name(factory: Callable[..., Any]) -> str:
    """The name of a function, or the class of another callable object."""
    if isinstance(factory, FunctionType):
        return factory.__qualname__
    return type(factory).__name__


class Policy(ABC):
    """Maps a fitted model and the data so far to the next request.

    Attributes:
        uses_model: Whether the policy looks at the model it is passed. The loop fits
            none before the decisions of a policy that does not, and passes an empty
            list.
        uses_costs: Whether what it asks for depends on what designs cost. The loop
            learns costs per design only for a policy that uses them and a model; to
            others each outcome costs the mean of what was paid for it.
    """

    uses_model: ClassVar[bool] = True
    uses_costs: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """What a checkpoint calls the policy: its class, and what it is made of."""
        return type(self).__name__

    @property
    def has_memory(self) -> bool:
        """Whether a request depends on more than its model and state.

        A run that is resumed makes the earlier decisions of such a policy again, so
        that it remembers what it did; those of others are taken from the record. True
        unless a policy says otherwise, which is always safe.
        """
        return True

    @property
    def effort(self) -> Effort:
        """What the policy did since it was made, in all runs together.

        Nothing is reported by default: what the loop fits for a policy is in the
        history's ``fit_seconds``, and what it computes itself in ``policy_seconds``.
        """
        return Effort()

    def check(self, space: SearchSpace, num_outcomes: int) -> None:  # noqa: B027
        r"""Refuse what the policy cannot choose from; the loop asks before it pays.

        Everything is accepted by default.

        Args:
            space: Where designs may lie.
            num_outcomes: The number of outcomes ``m``.
        """

    @abstractmethod
    def __call__(self, model: ModelList, state: DecoupledState) -> EvaluationRequest:
        r"""Choose the next measurement or batch of measurements.

        Args:
            model: A model of the ``m`` outcomes, fitted to the data of the state; an
                empty list where ``uses_model`` is False.
            state: The data so far and what is known about the problem.

        Returns:
            The designs and, for each, the outcomes to measure.

        Raises:
            CandidateGenerationError: If nothing is left to measure.
        """
