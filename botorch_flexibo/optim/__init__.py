r"""Optimisation over designs and outcomes."""

from botorch_flexibo.optim.candidates import SearchOptions
from botorch_flexibo.optim.decoupled import EvaluationRequest, optimize_acqf_decoupled
from botorch_flexibo.optim.designs import identified_front, sample_region_designs
from botorch_flexibo.optim.space import SearchSpace

__all__ = [
    "EvaluationRequest",
    "SearchOptions",
    "SearchSpace",
    "identified_front",
    "optimize_acqf_decoupled",
    "sample_region_designs",
]
