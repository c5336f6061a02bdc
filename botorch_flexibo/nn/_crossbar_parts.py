r"""Energies, times and areas of the parts of a crossbar accelerator."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from botorch.exceptions.errors import InputDataError
from torch import Tensor

# The crossbar that the numbers of an array and of its registers belong to.
_REFERENCE_SIZE = 128
_REFERENCE_BITS = 8


@dataclass(frozen=True)
class CrossbarComponents:
    r"""Numbers of the parts, by default those of ISAAC at 32 nm; SI units.

    ISAAC [Shafiee2016isaac]_ gives powers and areas; an energy is power times duration.
    Arrays are those of 128 x 128 cells of 2 bits and scale with the number of cells.

    NOTE: published energies of one 8-bit conversion differ by a factor of ten and more,
    and so do the laws by which they grow with the resolution. Here the energy is linear
    in the bits up to ``adc_knee_bits`` and doubles with each bit beyond; ``math.inf``
    makes it linear throughout. The area of a converter follows the same law, and energy
    and area of a digital-to-analog converter double with each bit: assumptions.

    Attributes:
        array_energy: One read of a 128 x 128 array, in J: 0.3 mW for 100 ns (ISAAC).
        array_area: A 128 x 128 array, in m^2: 25 um^2 (ISAAC).
        read_time: One read of an array, in s: 100 ns (ISAAC).
        dac_energy: One 1-bit digital-to-analog conversion, in J: 4 mW for 8 x 128 of
            them during 100 ns (ISAAC).
        dac_area: One 1-bit digital-to-analog converter, in m^2: 0.166 um^2 (ISAAC).
        adc_energy: One 8-bit analog-to-digital conversion, in J: 2 mW at 1.2 GS/s
            (ISAAC); 1.8 pJ in PUMA's simulator.
        adc_area: One 8-bit analog-to-digital converter, in m^2: 1200 um^2 (ISAAC).
        adc_rate: Conversions per second of one converter (ISAAC). PUMA's published
            product of 2304 ns needs 1e9.
        adc_knee_bits: Resolution beyond which energy and area double with each bit.
        adc_leakage: Leakage of a converter per bit of resolution, in W: 0.025 mW
            (PUMA's simulator).
        shift_add_energy: One shift and add, in J: 0.05 mW, shared by two converters at
            1.2 GS/s (ISAAC).
        shift_add_area: Share of one array in a shift-and-add unit, in m^2: half of 60
            um^2 (ISAAC).
        sample_hold_area: The sample-and-hold of one column, in m^2: 0.04 um^2 (ISAAC).
        register_area: Share of one array of size 128 in input and output registers, in
            m^2: (2100 + 770) um^2 for eight arrays (ISAAC). Grows with the size.
        addition_energy: One digital addition, in J: 0.265 pJ (PUMA's simulator).
        buffer_energy: One bit from or to the buffer (eDRAM) of a tile, in J: 20.5 pJ
            for 256 bits (ISAAC).
        bus_energy: One bit over the bus of a tile, in J: 0.054 pJ (ISAAC).
        arrays_per_tile: Arrays that share a tile, whatever their size: 12 x 8 (ISAAC).
        tile_area: What a tile holds besides, in m^2: buffer 83,000, bus 90,000, a
            quarter of a router of 150,000, sigmoids 600, pooling 240, output register
            3,200 um^2 (ISAAC).
        tile_leakage: Leakage of a tile, in W: buffer 0.46, bus 0.5, router 0.41 mW
            (PUMA's simulator).

    Example:
        >>> import math
        >>> from botorch_flexibo.nn.crossbar import CrossbarComponents
        >>> linear = CrossbarComponents(adc_knee_bits=math.inf)
    """

    array_energy: float = 30e-12
    array_area: float = 25e-12
    read_time: float = 100e-9
    dac_energy: float = 0.390625e-12
    dac_area: float = 0.166e-12
    adc_energy: float = 1.667e-12
    adc_area: float = 1200e-12
    adc_rate: float = 1.2e9
    adc_knee_bits: float = 8.0
    adc_leakage: float = 0.025e-3
    shift_add_energy: float = 0.021e-12
    shift_add_area: float = 30e-12
    sample_hold_area: float = 0.04e-12
    register_area: float = 358.75e-12
    addition_energy: float = 0.265e-12
    buffer_energy: float = 0.0801e-12
    bus_energy: float = 0.054e-12
    arrays_per_tile: float = 96.0
    tile_area: float = 214_540e-12
    tile_leakage: float = 1.37e-3

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InputDataError: If one is negative or not finite, or a rate, time or number
                that divides is zero.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            least = field.name in ("adc_rate", "adc_knee_bits", "arrays_per_tile")
            finite = value < math.inf or field.name == "adc_knee_bits"
            if not (value >= 0 and finite) or (least and value == 0):
                raise InputDataError(
                    f"Expected a finite {field.name} {'>' if least else '>='} 0 in SI "
                    f"units, but got {value}. See CrossbarComponents for the units."
                )

    @property
    def movement_energy(self) -> float:
        """Energy of one bit between the buffer of a tile and an array, in J."""
        return self.buffer_energy + self.bus_energy

    @staticmethod
    def relative_cells(size: Tensor) -> Tensor:
        r"""Cells of an array relative to one of 128 x 128.

        Args:
            size: Rows (and columns) of crossbars, a tensor of any shape.

        Returns:
            A tensor of the same shape.
        """
        return (size / _REFERENCE_SIZE) ** 2

    def resolution_factor(self, bits: Tensor) -> Tensor:
        r"""Energy of an analog-to-digital conversion relative to one of 8 bits.

        Args:
            bits: Resolutions in bits, a tensor of any shape.

        Returns:
            A tensor of the same shape.
        """
        beyond = (bits - self.adc_knee_bits).clamp(min=0)
        return (bits - beyond) / _REFERENCE_BITS * 2.0**beyond

    def array_leakage(self, adc_bits: Tensor) -> Tensor:
        r"""Leakage of one array with its converter and its share of a tile.

        Args:
            adc_bits: Resolution of the converter in bits, a tensor of any shape.

        Returns:
            A tensor of the same shape, in W.
        """
        return adc_bits * self.adc_leakage + self.tile_leakage / self.arrays_per_tile

    def array_area_total(
        self, size: Tensor, adc_bits: Tensor, dac_bits: Tensor
    ) -> Tensor:
        r"""Area of one array with its converters and its shares of what it needs.

        Args:
            size: Rows (and columns) of crossbars, a tensor of any shape.
            adc_bits: Resolution of the analog-to-digital converter in bits, a tensor of
                any shape.
            dac_bits: Resolution of the digital-to-analog converters in bits, a tensor
                of any shape.

        Returns:
            A tensor of the broadcast shape, in m^2.
        """
        per_row = self.dac_area * 2.0 ** (dac_bits - 1) + self.sample_hold_area
        return (
            self.array_area * self.relative_cells(size)
            + size * per_row
            + self.adc_area * self.resolution_factor(adc_bits)
            + self.shift_add_area
            + self.register_area * size / _REFERENCE_SIZE
            + self.tile_area / self.arrays_per_tile
        )


ISAAC = CrossbarComponents()
r"""The default numbers."""
