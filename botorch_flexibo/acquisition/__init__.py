r"""Decoupled acquisition functions and cost-aware utilities."""

from botorch_flexibo.acquisition.cost_aware import (
    DecoupledCostUtility,
    LogDamped,
    per_cost,
    unweighted,
)
from botorch_flexibo.acquisition.flexibo import FlexiBO
from botorch_flexibo.acquisition.lookahead import HypervolumeLoss, qFlexiBOLookahead

__all__ = [
    "DecoupledCostUtility",
    "FlexiBO",
    "HypervolumeLoss",
    "LogDamped",
    "per_cost",
    "qFlexiBOLookahead",
    "unweighted",
]
