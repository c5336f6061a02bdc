r"""Ax: a generation strategy that chooses the design and the objectives to measure.

Importing this package registers its classes with Ax's storage; do so before an
experiment that uses them is loaded. It needs the extra ``botorch-flexibo[ax]``.
"""

from botorch_flexibo.ax._compat import check_ax_version

check_ax_version()

from botorch_flexibo.ax.client import (  # noqa: E402
    Measurement,
    complete_measurement,
    fail_measurement,
    get_next_measurements,
    measurements,
    objectives_for,
    spent,
)
from botorch_flexibo.ax.costs import (  # noqa: E402
    Costs,
    NamedCost,
    SetupCost,
    register_cost_function,
)
from botorch_flexibo.ax.executors import (  # noqa: E402
    ExecutionOptions,
    MeasurementReport,
    MeasurementResult,
    configure_executor,
    run_measurements,
)
from botorch_flexibo.ax.metadata import Payment  # noqa: E402
from botorch_flexibo.ax.orchestration import (  # noqa: E402
    DecoupledMetric,
    DecoupledRunner,
)
from botorch_flexibo.ax.registry import FlexiboGenerators, register  # noqa: E402
from botorch_flexibo.ax.storage import (  # noqa: E402
    experiment_lock,
    load_experiment,
    release_experiment,
    save_experiment,
)
from botorch_flexibo.ax.strategy import flexibo_generation_strategy  # noqa: E402

register()

__all__ = [
    "Costs",
    "DecoupledMetric",
    "DecoupledRunner",
    "ExecutionOptions",
    "FlexiboGenerators",
    "Measurement",
    "MeasurementReport",
    "MeasurementResult",
    "NamedCost",
    "Payment",
    "SetupCost",
    "complete_measurement",
    "configure_executor",
    "experiment_lock",
    "fail_measurement",
    "flexibo_generation_strategy",
    "get_next_measurements",
    "load_experiment",
    "measurements",
    "objectives_for",
    "register_cost_function",
    "release_experiment",
    "run_measurements",
    "save_experiment",
    "spent",
]
