r"""Policies: from a fitted model and the data so far to a request."""

from botorch_flexibo.policies.acquisition import (
    AcquisitionPolicy,
    FlexiBOFactory,
    IntersectedFlexiBOFactory,
    LookaheadFactory,
)
from botorch_flexibo.policies.base import DecoupledState, Effort, Policy
from botorch_flexibo.policies.baselines import (
    CoupledPolicy,
    VariancePerCostPolicy,
    qlognehvi_factory,
    qlognparego_factory,
)
from botorch_flexibo.policies.confidence import ExponentialBeta
from botorch_flexibo.policies.discretized import DiscretizedPolicy
from botorch_flexibo.policies.knowledge_gradient import HVKGFactory, LinearKGFactory
from botorch_flexibo.policies.pabo import (
    PABOMemory,
    PABOPolicy,
    UCBFactory,
    logei_factory,
    logpi_factory,
)
from botorch_flexibo.policies.random_search import RandomPolicy
from botorch_flexibo.policies.supervisor import Decision, Supervisor, supervise

__all__ = [
    "AcquisitionPolicy",
    "CoupledPolicy",
    "Decision",
    "DecoupledState",
    "DiscretizedPolicy",
    "Effort",
    "ExponentialBeta",
    "FlexiBOFactory",
    "HVKGFactory",
    "IntersectedFlexiBOFactory",
    "LinearKGFactory",
    "LookaheadFactory",
    "PABOMemory",
    "PABOPolicy",
    "Policy",
    "RandomPolicy",
    "Supervisor",
    "UCBFactory",
    "VariancePerCostPolicy",
    "logei_factory",
    "logpi_factory",
    "qlognehvi_factory",
    "qlognparego_factory",
    "supervise",
]
