r"""Neural networks whose numbers fit special hardware, and what they cost on it.

Memristive crossbars (:mod:`~botorch_flexibo.nn.crossbar`) multiply matrices where they
are stored; energy, latency and area follow from a network's layers. Deep shift networks
(:mod:`~botorch_flexibo.nn.deep_shift`) replace multiplications by
shifts. Their energy comes in two kinds that must not be mixed, and every
:class:`~botorch_flexibo.nn.energy.EnergyEstimate` says which it is: *modelled*
(:mod:`~botorch_flexibo.nn.energy`), what hardware with shift units would need, and
*estimated* or *measured* (:mod:`~botorch_flexibo.nn.meters`), what this machine needs.
Here shifts are emulated and cost more than multiplications, not less.
"""

from botorch_flexibo.nn.crossbar import (
    ISAAC,
    CrossbarComponents,
    CrossbarCost,
    CrossbarHardware,
    CrossbarLayers,
    alexnet_layers,
    crossbar_cost,
    mvm_energy,
    mvm_latency,
    vgg19_layers,
)
from botorch_flexibo.nn.data import ClassificationData, digits, fashion_mnist
from botorch_flexibo.nn.deep_shift import (
    ShiftConv2d,
    ShiftLinear,
    ShiftSettings,
    convert_to_shift,
    count_convolutions,
    randomize_shifts,
    shift_parameter_groups,
    shift_penalty,
)
from botorch_flexibo.nn.energy import (
    GERMANY_2023,
    EnergyEstimate,
    EnergyModel,
    GridFactor,
)
from botorch_flexibo.nn.meters import (
    CodeCarbonMeter,
    CPUTimeMeter,
    EnergyMeter,
    ZeusMeter,
)
from botorch_flexibo.nn.shapes import LayerShape, layer_shapes
from botorch_flexibo.nn.training import (
    ClassifierTraining,
    TrainingResult,
    TrainingSettings,
    train_classifier,
)

__all__ = [
    "GERMANY_2023",
    "ISAAC",
    "CPUTimeMeter",
    "ClassificationData",
    "ClassifierTraining",
    "CodeCarbonMeter",
    "CrossbarComponents",
    "CrossbarCost",
    "CrossbarHardware",
    "CrossbarLayers",
    "EnergyEstimate",
    "EnergyMeter",
    "EnergyModel",
    "GridFactor",
    "LayerShape",
    "ShiftConv2d",
    "ShiftLinear",
    "ShiftSettings",
    "TrainingResult",
    "TrainingSettings",
    "ZeusMeter",
    "alexnet_layers",
    "convert_to_shift",
    "count_convolutions",
    "crossbar_cost",
    "digits",
    "fashion_mnist",
    "layer_shapes",
    "mvm_energy",
    "mvm_latency",
    "randomize_shifts",
    "shift_parameter_groups",
    "shift_penalty",
    "train_classifier",
    "vgg19_layers",
]
