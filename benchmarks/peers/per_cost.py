"""qLogNEHVI per cost: cost-aware, but coupled."""

from __future__ import annotations

from typing import Any

from botorch.acquisition.acquisition import AcquisitionFunction
from botorch.models.model import ModelList
from torch import Tensor

from botorch_flexibo import CoupledPolicy
from botorch_flexibo.policies import DecoupledState, qlognehvi_factory


class PerCost(AcquisitionFunction):
    """The logarithm of an improvement per cost of a complete measurement."""

    def __init__(
        self, log_improvement: AcquisitionFunction, state: DecoupledState
    ) -> None:
        super().__init__(log_improvement.model)
        self.log_improvement = log_improvement
        self.state = state

    def set_X_pending(self, X_pending: Tensor | None = None) -> None:
        self.log_improvement.set_X_pending(X_pending)

    def forward(self, X: Tensor) -> Tensor:
        """Values of ``batch_shape x 1 x d``-dim designs."""
        costs = self.state.outcome_costs(X.squeeze(-2)).sum(dim=-1)
        return self.log_improvement(X) - costs.log()


def _qlognehvi_per_cost(model: ModelList, state: DecoupledState) -> PerCost:
    return PerCost(qlognehvi_factory(model, state), state)


class PerCostPolicy(CoupledPolicy):
    """Measures all outcomes of the design whose improvement per cost is largest."""

    uses_costs = True

    def __init__(self, **options: Any) -> None:
        super().__init__(_qlognehvi_per_cost, **options)
