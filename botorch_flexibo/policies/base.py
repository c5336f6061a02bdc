r"""Policies: from a fitted model and the data so far to a request.

An acquisition function maps designs to values; a policy maps what is known to what is
measured next. It keeps no state of its own: all it may use is in the model and in the
:class:`DecoupledState`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from botorch.models.model import Model, ModelList
from torch import Tensor

from botorch_flexibo.acquisition.cost_aware import check_costs
from botorch_flexibo.optim.decoupled import EvaluationRequest
from botorch_flexibo.utils.posterior import posterior_mean
from botorch_flexibo.utils.rows import RowIndex


@dataclass(frozen=True, kw_only=True)
class DecoupledState:
    r"""What an optimiser knows when it chooses the next measurement.

    Attributes:
        X: A ``n x d``-dim tensor of the designs measured so far, each once.
        Y: A ``n x m``-dim tensor of outcomes to maximise, NaN where not measured.
        bounds: A ``2 x d``-dim tensor of lower and upper bounds.
        ref_point: A ``m``-dim reference point below the front.
        cost_model: The believed cost of each outcome: a model with ``m`` outputs. If
            it is a ``CostModel``, it has learned from all payments so far.
        choices: A ``k x d``-dim tensor of designs to choose from, or None if the space
            is continuous.
        iteration: The number of the decision, from 1.
        seed: Seed of all randomness of this decision.
        max_cost: The largest cost a request may have.
        target_fidelities: The columns that are fidelities, and the value at which a
            measurement is worth something in itself.
    """

    X: Tensor
    Y: Tensor
    bounds: Tensor
    ref_point: Tensor
    cost_model: Model
    choices: Tensor | None = None
    iteration: int = 1
    seed: int = 0
    max_cost: float = torch.inf
    target_fidelities: dict[int, float] = field(default_factory=dict)

    @property
    def measured(self) -> Tensor:
        """Which outcomes are measured, a ``n x m``-dim boolean tensor."""
        return ~self.Y.isnan()

    def outcome_costs(self, X: Tensor) -> Tensor:
        r"""Believed cost of measuring each outcome of given designs alone.

        Args:
            X: A ``k x d``-dim tensor of designs.

        Returns:
            A ``k x m``-dim tensor of costs.

        Raises:
            InvalidCostError: If a cost is not positive and finite.
        """
        costs = posterior_mean(self.cost_model, X).detach()
        check_costs(costs)
        return costs

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


class Policy(ABC):
    """Maps a fitted model and the data so far to the next request."""

    @abstractmethod
    def __call__(self, model: ModelList, state: DecoupledState) -> EvaluationRequest:
        r"""Choose the next measurement or batch of measurements.

        Args:
            model: A model of the ``m`` outcomes, fitted to the data of the state.
            state: The data so far and what is known about the problem.

        Returns:
            The designs and, for each, the outcomes to measure.

        Raises:
            CandidateGenerationError: If nothing is left to measure.
        """
