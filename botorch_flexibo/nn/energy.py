r"""Modelled energy of one inference: operations counted, energies looked up.

The model says what hardware *with* shift units and the given number formats would need.
It is deterministic, and it is not what any ordinary machine needs: there, emulated
shifts cost more energy than multiplications (see
:mod:`~botorch_flexibo.nn.deep_shift`), and what that machine spends is measured or
estimated by :mod:`~botorch_flexibo.nn.meters`. Every :class:`EnergyEstimate` carries
the label of its kind, so that the two are never mixed unawares.

Energies per operation are those of a 45 nm process: arithmetic and memory after
Horowitz, "Computing's energy problem (and what we can do about it)", ISSCC 2014;
shifts as in the tables of ShiftAddNet (You et al., NeurIPS 2020) and of its successor
ShiftAddLLM (You et al., NeurIPS 2024), which adds the one of 16 bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

from botorch.exceptions.errors import InputDataError
from torch import nn

from botorch_flexibo.nn._energy_tables import (
    CACHE_1MB,
    CACHE_8KB,
    CACHE_32KB,
    DRAM,
    GERMANY_2023,
    UNIT_ENERGIES_45NM,
    EnergyTable,
    GridFactor,
    MemoryLevel,
    Operation,
    UnitEnergy,
)
from botorch_flexibo.nn.shapes import LayerShape, layer_shapes

__all__ = [
    "CACHE_1MB",
    "CACHE_8KB",
    "CACHE_32KB",
    "DRAM",
    "GERMANY_2023",
    "JOULES_PER_KWH",
    "UNIT_ENERGIES_45NM",
    "EnergyEstimate",
    "EnergyModel",
    "EnergySource",
    "EnergyTable",
    "GridFactor",
    "MemoryLevel",
    "OperationCounts",
    "UnitEnergy",
]

EnergySource = Literal["modelled", "estimated", "measured"]

JOULES_PER_KWH = 3.6e6

# Multiplying a float by a power of two adds to its exponent.
_EXPONENT_BITS = 8
_FLOAT_WIDTHS = (16, 32)
_PICO = 1e-12


@dataclass(frozen=True)
class EnergyEstimate:
    r"""An amount of energy, and how it came about.

    Attributes:
        joules: The energy, > 0. What cannot be known is None instead of an estimate,
            never zero.
        source: "modelled" (operations counted, energies looked up: what shift hardware
            would need), "estimated" (this machine, from its load and nominal powers) or
            "measured" (this machine, by hardware counters).
        method: What gave the number.

    Example:
        >>> from botorch_flexibo.nn import EnergyEstimate
        >>> round(EnergyEstimate(3.6e6, "measured", "RAPL").grams_co2eq(), 2)
        380.95
    """

    joules: float
    source: EnergySource
    method: str

    def __post_init__(self) -> None:
        """Check amount and label.

        Raises:
            InputDataError: If the energy is not positive and finite, or the source
                unknown.
        """
        if not 0 < self.joules < math.inf:
            raise InputDataError(
                f"Expected joules to be positive and finite, but got {self.joules}."
                " Use None where the energy is not known."
            )
        if self.source not in get_args(EnergySource):
            raise InputDataError(
                f"Expected source to be one of {get_args(EnergySource)}, but got"
                f" {self.source!r}. Choose one of these."
            )

    def grams_co2eq(self, grid: GridFactor = GERMANY_2023) -> float:
        r"""The greenhouse gas of that energy.

        Args:
            grid: The grid that the energy is drawn from.

        Returns:
            gCO2eq.
        """
        return self.joules / JOULES_PER_KWH * grid.grams_per_kwh


@dataclass(frozen=True, kw_only=True)
class OperationCounts:
    r"""What one layer does to one sample.

    Attributes:
        multiply_accumulates: Products of floats, each added to a sum.
        shift_accumulates: Shifted activations, each added to a sum.
        bias_adds: Additions of a bias.
        parameter_bits: Bits of weights and biases that are read.
        activation_bits: Bits of inputs that are read and of outputs that are written.
    """

    multiply_accumulates: int
    shift_accumulates: int
    bias_adds: int
    parameter_bits: int
    activation_bits: int

    @property
    def memory_bits(self) -> int:
        """Bits that are moved."""
        return self.parameter_bits + self.activation_bits


class _Arithmetic(NamedTuple):
    """The operations of a layer, each with its width, and the widths of its numbers."""

    product: tuple[Operation, int]
    accumulation: tuple[Operation, int]
    weight_bits: int
    activation_bits: int


@dataclass(frozen=True)
class EnergyModel:
    r"""The energy of an inference on hardware that has shift units.

    For each layer it is::

        macs (E_product + E_sum) + outputs E_sum (if there is a bias) + moved bits E_bit

    - A float layer multiplies and adds floats of ``float_bits``.
    - A shift layer of ``b`` weight bits and fixed-point activations of ``A = I + F``
      bits shifts words of ``A`` bits and adds them in an accumulator of
      ``A + ceil(log2(fan_in))`` bits, which no sum overflows. What a shift moves beyond
      the last fraction bit is dropped.
    - A shift layer whose activations stay floating adds to an exponent of 8 bits and
      adds floats.

    Weights, biases, inputs and outputs move once per inference, from and to ``memory``:
    perfect reuse on chip. Weights are ``b`` bits wide, biases as wide as activations.
    Weight bits thus act through memory only. Normalisation, activations, pooling,
    leakage and control are left out.

    NOTE: activations of more than ``float_bits`` bits move more data than floats. In a
    layer with few products per output, they can make a shift layer cost more than the
    float layer it replaces.

    Attributes:
        table: Energies of operations.
        memory: Where weights and activations come from. One level for the whole
            network, so that the energy does not jump with its size.
        float_bits: Width of the floats in layers that are not shifts, 16 or 32.

    Example:
        >>> from botorch_flexibo.nn import EnergyModel, convert_to_shift
        >>> layers = torch.nn.Conv2d(1, 8, 3), torch.nn.Conv2d(8, 8, 3)
        >>> net = torch.nn.Sequential(*layers)
        >>> energy = EnergyModel()
        >>> [
        ...     round(1e9 * energy.estimate(convert_to_shift(net, d), (1, 8, 8)).joules)
        ...     for d in (0, 1, 2)
        ... ]  # nJ
        [126, 62, 47]
    """

    table: EnergyTable = field(default_factory=EnergyTable)
    memory: MemoryLevel = CACHE_1MB
    float_bits: int = 32

    def __post_init__(self) -> None:
        """Check the width of floats.

        Raises:
            InputDataError: If it is neither 16 nor 32.
        """
        if self.float_bits not in _FLOAT_WIDTHS:
            raise InputDataError(
                f"Expected float_bits to be one of {_FLOAT_WIDTHS}, but got"
                f" {self.float_bits!r}. Choose one of these."
            )

    def count(self, layer: LayerShape) -> OperationCounts:
        r"""Count what a layer does.

        Args:
            layer: The layer.

        Returns:
            The counts for one sample.
        """
        numbers = self._arithmetic(layer)
        biases = layer.out_channels if layer.bias else 0
        return OperationCounts(
            multiply_accumulates=0 if layer.shift else layer.macs,
            shift_accumulates=layer.macs if layer.shift else 0,
            bias_adds=layer.output_elements if layer.bias else 0,
            parameter_bits=numbers.weight_bits * layer.weights
            + numbers.activation_bits * biases,
            activation_bits=numbers.activation_bits
            * (layer.input_elements + layer.output_elements),
        )

    def layer_joules(self, layer: LayerShape) -> float:
        r"""The energy of a layer.

        Args:
            layer: The layer.

        Returns:
            Joules for one sample.
        """
        counts, numbers = self.count(layer), self._arithmetic(layer)
        product = self.table.picojoules(*numbers.product)
        accumulation = self.table.picojoules(*numbers.accumulation)
        return _PICO * (
            layer.macs * (product + accumulation)
            + counts.bias_adds * accumulation
            + counts.memory_bits * self.memory.picojoules_per_bit
        )

    def estimate_layers(self, layers: Iterable[LayerShape]) -> EnergyEstimate:
        r"""The energy of given layers.

        Args:
            layers: The layers, as from :func:`~botorch_flexibo.nn.shapes.layer_shapes`.

        Returns:
            The modelled energy for one sample.

        Raises:
            InputDataError: If there are none.
        """
        energies = [self.layer_joules(layer) for layer in layers]
        if not energies:
            raise InputDataError(
                "Expected at least one convolution or linear layer, but got none. Check"
                " that the network uses its layers."
            )
        method = f"45 nm operations, {self.memory.name}, {self.float_bits}-bit floats"
        return EnergyEstimate(math.fsum(energies), "modelled", method)

    def estimate(self, model: nn.Module, input_shape: Sequence[int]) -> EnergyEstimate:
        r"""The energy of one inference of a network.

        Args:
            model: The network.
            input_shape: The shape of one sample, without the batch dimension.

        Returns:
            The modelled energy for one sample.

        Raises:
            InputDataError: If the shape is no shape or no layer is found.
            UnsupportedError: If a module has weights that would not be counted.
        """
        return self.estimate_layers(layer_shapes(model, input_shape))

    def _arithmetic(self, layer: LayerShape) -> _Arithmetic:
        """Operations and widths of a layer."""
        add_floats: tuple[Operation, int] = ("float_add", self.float_bits)
        if layer.shift is None:
            multiply: tuple[Operation, int] = ("float_multiply", self.float_bits)
            return _Arithmetic(multiply, add_floats, self.float_bits, self.float_bits)
        bits, fixed = layer.shift.weight_bits, layer.shift.activation
        if fixed is None:
            scale: tuple[Operation, int] = ("integer_add", _EXPONENT_BITS)
            return _Arithmetic(scale, add_floats, bits, self.float_bits)
        carry = math.ceil(math.log2(layer.fan_in))
        return _Arithmetic(
            ("shift", fixed.bits), ("integer_add", fixed.bits + carry), bits, fixed.bits
        )
