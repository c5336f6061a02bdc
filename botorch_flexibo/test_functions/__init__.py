r"""Test problems whose objectives are measured one at a time, at known true cost."""

from __future__ import annotations

from botorch_flexibo.test_functions.base import DecoupledProblem
from botorch_flexibo.test_functions.crossbar import (
    CrossbarCNNProblem,
    RecordedCrossbarCNN,
)
from botorch_flexibo.test_functions.deep_shift import (
    DeepShiftProblem,
    RecordedDeepShift,
)
from botorch_flexibo.test_functions.gp_sample import DecoupledGPSample
from botorch_flexibo.test_functions.hpo_tables import HPOBenchMLP, HPOLib
from botorch_flexibo.test_functions.multi_fidelity import DecoupledMOMFBraninCurrin
from botorch_flexibo.test_functions.nasbench201 import NASBench201
from botorch_flexibo.test_functions.synthetic import (
    DecoupledBraninCurrin,
    DecoupledDTLZ2,
    DecoupledVehicleSafety,
    DecoupledZDT1,
    DecoupledZDT2,
)
from botorch_flexibo.test_functions.tabular import TabularProblem

__all__ = [
    "CrossbarCNNProblem",
    "DecoupledBraninCurrin",
    "DecoupledDTLZ2",
    "DecoupledGPSample",
    "DecoupledMOMFBraninCurrin",
    "DecoupledProblem",
    "DecoupledVehicleSafety",
    "DecoupledZDT1",
    "DecoupledZDT2",
    "DeepShiftProblem",
    "HPOBenchMLP",
    "HPOLib",
    "NASBench201",
    "RecordedCrossbarCNN",
    "RecordedDeepShift",
    "TabularProblem",
]
