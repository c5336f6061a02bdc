r"""Decoupled acquisition functions and cost-aware utilities."""

from botorch_flexibo.acquisition.baseline import MeasuredBaseline
from botorch_flexibo.acquisition.cost_aware import (
    DecoupledCostUtility,
    LogDamped,
    SharedPrice,
    per_cost,
    unweighted,
)
from botorch_flexibo.acquisition.flexibo import FlexiBO
from botorch_flexibo.acquisition.linear_kg import LinearScalarizationKnowledgeGradient
from botorch_flexibo.acquisition.lookahead import qFlexiBOLookahead
from botorch_flexibo.acquisition.losses import HypervolumeLoss

__all__ = [
    "DecoupledCostUtility",
    "FlexiBO",
    "HypervolumeLoss",
    "LinearScalarizationKnowledgeGradient",
    "LogDamped",
    "MeasuredBaseline",
    "SharedPrice",
    "per_cost",
    "qFlexiBOLookahead",
    "unweighted",
]
