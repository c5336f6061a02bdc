r"""Decoupled acquisition functions and cost-aware utilities."""

from botorch_flexibo.acquisition.cost_aware import (
    DecoupledCostUtility,
    LogDamped,
    per_cost,
    unweighted,
)
from botorch_flexibo.acquisition.flexibo import FlexiBO

__all__ = ["DecoupledCostUtility", "FlexiBO", "LogDamped", "per_cost", "unweighted"]
