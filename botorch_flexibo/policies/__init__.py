r"""Policies: from a fitted model and the data so far to a request."""

from botorch_flexibo.policies.acquisition import (
    AcquisitionPolicy,
    FlexiBOFactory,
    IntersectedFlexiBOFactory,
    LookaheadFactory,
)
from botorch_flexibo.policies.base import DecoupledState, Policy
from botorch_flexibo.policies.baselines import (
    CoupledPolicy,
    RandomPolicy,
    VariancePerCostPolicy,
    qlognehvi_factory,
    qlognparego_factory,
)
from botorch_flexibo.policies.discretized import DiscretizedPolicy
from botorch_flexibo.policies.knowledge_gradient import HVKGFactory, LinearKGFactory

__all__ = [
    "AcquisitionPolicy",
    "CoupledPolicy",
    "DecoupledState",
    "DiscretizedPolicy",
    "FlexiBOFactory",
    "HVKGFactory",
    "IntersectedFlexiBOFactory",
    "LinearKGFactory",
    "LookaheadFactory",
    "Policy",
    "RandomPolicy",
    "VariancePerCostPolicy",
    "qlognehvi_factory",
    "qlognparego_factory",
]
