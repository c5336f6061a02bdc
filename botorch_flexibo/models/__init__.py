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
from botorch_flexibo.models.winsorize import Winsorize

__all__ = [
    "CostModel",
    "DecoupledModelFitter",
    "LogNormalCostModel",
    "PaidCosts",
    "ResumedCostModel",
    "SetupCostModel",
    "UnreliableCostModel",
    "Winsorize",
    "fit_decoupled_model",
]
