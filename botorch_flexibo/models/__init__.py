r"""Models of half-filled tables and of costs."""

from botorch_flexibo.models.cost import (
    CostModel,
    LogNormalCostModel,
    PaidCosts,
    SetupCostModel,
    UnreliableCostModel,
)
from botorch_flexibo.models.decoupled import DecoupledModelFitter, fit_decoupled_model

__all__ = [
    "CostModel",
    "DecoupledModelFitter",
    "LogNormalCostModel",
    "PaidCosts",
    "SetupCostModel",
    "UnreliableCostModel",
    "fit_decoupled_model",
]
