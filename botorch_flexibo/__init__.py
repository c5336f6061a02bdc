r"""Decoupled, cost-aware multi-objective Bayesian optimisation on BoTorch.

One measurement at a time: which design, and which objective. See ``FlexiBO`` for the
acquisition function, ``optimize_acqf_decoupled`` for choosing design and outcomes, and
``run_decoupled_optimization`` for the closed loop.
"""

# Registers the input constructors with BoTorch.
import botorch_flexibo.acquisition.input_constructors  # noqa: F401
from botorch_flexibo.acquisition import (
    DecoupledCostUtility,
    FlexiBO,
    LogDamped,
    qFlexiBOLookahead,
)
from botorch_flexibo.callbacks import ProgressBar
from botorch_flexibo.exceptions import InvalidCostError, InvalidOutcomesError
from botorch_flexibo.failures import RaiseFailures, TolerateFailures
from botorch_flexibo.history import DecoupledHistory
from botorch_flexibo.loop import InitialDesign, run_decoupled_optimization
from botorch_flexibo.models import DecoupledModelFitter, fit_decoupled_model
from botorch_flexibo.optim import (
    EvaluationRequest,
    SearchSpace,
    optimize_acqf_decoupled,
    sample_region_designs,
)
from botorch_flexibo.policies import (
    AcquisitionPolicy,
    CoupledPolicy,
    DecoupledState,
    FlexiBOFactory,
    LookaheadFactory,
    PABOPolicy,
    RandomPolicy,
    VariancePerCostPolicy,
)
from botorch_flexibo.test_functions.base import DecoupledProblem

__version__ = "0.1.0"

__all__ = [
    "AcquisitionPolicy",
    "CoupledPolicy",
    "DecoupledCostUtility",
    "DecoupledHistory",
    "DecoupledModelFitter",
    "DecoupledProblem",
    "DecoupledState",
    "EvaluationRequest",
    "FlexiBO",
    "FlexiBOFactory",
    "InitialDesign",
    "InvalidCostError",
    "InvalidOutcomesError",
    "LogDamped",
    "LookaheadFactory",
    "PABOPolicy",
    "ProgressBar",
    "RaiseFailures",
    "RandomPolicy",
    "SearchSpace",
    "TolerateFailures",
    "VariancePerCostPolicy",
    "fit_decoupled_model",
    "optimize_acqf_decoupled",
    "qFlexiBOLookahead",
    "run_decoupled_optimization",
    "sample_region_designs",
]
