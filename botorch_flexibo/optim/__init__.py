r"""Optimisation over designs and outcomes."""

from botorch_flexibo.optim.decoupled import EvaluationRequest, optimize_acqf_decoupled
from botorch_flexibo.optim.designs import identified_front

__all__ = ["EvaluationRequest", "identified_front", "optimize_acqf_decoupled"]
