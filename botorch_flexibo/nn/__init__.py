r"""Neural networks whose numbers fit special hardware, and what they cost on it.

Deep shift networks (:mod:`~botorch_flexibo.nn.deep_shift`) replace multiplications by
shifts. Their energy comes in two kinds that must not be mixed, and every
:class:`~botorch_flexibo.nn.energy.EnergyEstimate` says which it is: *modelled*
(:mod:`~botorch_flexibo.nn.energy`), what hardware with shift units would need, and
*estimated* or *measured* (:mod:`~botorch_flexibo.nn.meters`), what this machine needs.
Here shifts are emulated and cost more than multiplications, not less.
"""

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

__all__ = [
    "GERMANY_2023",
    "CPUTimeMeter",
    "CodeCarbonMeter",
    "EnergyEstimate",
    "EnergyMeter",
    "EnergyModel",
    "GridFactor",
    "LayerShape",
    "ShiftConv2d",
    "ShiftLinear",
    "ShiftSettings",
    "ZeusMeter",
    "convert_to_shift",
    "count_convolutions",
    "layer_shapes",
    "randomize_shifts",
    "shift_parameter_groups",
    "shift_penalty",
]
