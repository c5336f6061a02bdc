r"""Models of half-filled tables and of costs."""

from botorch_flexibo.models.cost import (
    CostModel,
    LogNormalCostModel,
    PaidCosts,
    SetupCostModel,
    UnreliableCostModel,
)
from botorch_flexibo.models.decoupled import DecoupledModelFitter, fit_decoupled_model
from botorch_flexibo.models.resumed_cost import ResumedCostModel

__all__ = [
    "CostModel",
    "DecoupledModelFitter",
    "LogNormalCostModel",
    "PaidCosts",
    "ResumedCostModel",
    "SetupCostModel",
    "UnreliableCostModel",
    "fit_decoupled_model",
]
