r"""Energies of operations, of memory accesses and of grids, each with its source."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from typing import Literal

from botorch.exceptions.errors import InputDataError

Operation = Literal[
    "float_multiply", "float_add", "integer_multiply", "integer_add", "shift"
]

_HOROWITZ = "Horowitz, ISSCC 2014, 45 nm"
# Those of 8 and 32 bits also stand in the code that the authors published with
# ShiftAddNAS; that of 16 bits has no second source here.
_SHIFT_ADD_NET = "You et al. (ShiftAddNet), NeurIPS 2020, 45 nm"
_SHIFT_ADD_LLM = "You et al. (ShiftAddLLM), NeurIPS 2024, 45 nm"


@dataclass(frozen=True)
class GridFactor:
    r"""How much greenhouse gas a kilowatt-hour of a grid stands for.

    Attributes:
        region: The grid, an ISO 3166 code.
        grams_per_kwh: gCO2eq per kWh.
        source: Where the number is from.
    """

    region: str
    grams_per_kwh: float
    source: str

    def __post_init__(self) -> None:
        """Check the factor.

        Raises:
            InputDataError: If it is negative or not finite.
        """
        if not 0 <= self.grams_per_kwh < math.inf:
            raise InputDataError(
                "Expected grams_per_kwh to be finite and not negative, but got"
                f" {self.grams_per_kwh}. Give gCO2eq per kWh."
            )


GERMANY_2023 = GridFactor(
    "DEU", 380.95, "Our World in Data, 2023, as shipped with CodeCarbon 3.3.2"
)
r"""The German grid: 380.95 gCO2eq/kWh."""


@dataclass(frozen=True)
class UnitEnergy:
    r"""The energy of one operation.

    Attributes:
        operation: The operation.
        bits: Width of its operands.
        picojoules: Its energy, in pJ.
        source: Where the number is from.
    """

    operation: Operation
    bits: int
    picojoules: float
    source: str


UNIT_ENERGIES_45NM = (
    UnitEnergy("float_multiply", 16, 1.1, _HOROWITZ),
    UnitEnergy("float_multiply", 32, 3.7, _HOROWITZ),
    UnitEnergy("float_add", 16, 0.4, _HOROWITZ),
    UnitEnergy("float_add", 32, 0.9, _HOROWITZ),
    UnitEnergy("integer_multiply", 8, 0.2, _HOROWITZ),
    UnitEnergy("integer_multiply", 32, 3.1, _HOROWITZ),
    UnitEnergy("integer_add", 8, 0.03, _HOROWITZ),
    UnitEnergy("integer_add", 32, 0.1, _HOROWITZ),
    UnitEnergy("shift", 8, 0.024, _SHIFT_ADD_NET),
    UnitEnergy("shift", 16, 0.057, _SHIFT_ADD_LLM),
    UnitEnergy("shift", 32, 0.13, _SHIFT_ADD_NET),
)
r"""Energies of operations in a 45 nm process."""


@dataclass(frozen=True)
class MemoryLevel:
    r"""The energy of moving data to or from a memory.

    Attributes:
        name: The memory.
        picojoules: The energy of an access of 64 bits, in pJ.
        source: Where the number is from.
    """

    name: str
    picojoules: float
    source: str

    @property
    def picojoules_per_bit(self) -> float:
        """The energy of one bit, in pJ."""
        return self.picojoules / 64


CACHE_8KB = MemoryLevel("8 KB cache", 10.0, _HOROWITZ)
CACHE_32KB = MemoryLevel("32 KB cache", 20.0, _HOROWITZ)
CACHE_1MB = MemoryLevel("1 MB cache", 100.0, _HOROWITZ)
DRAM = MemoryLevel("DRAM", 1950.0, f"{_HOROWITZ}: middle of 1.3..2.6 nJ")


@dataclass(frozen=True)
class EnergyTable:
    r"""Energies of operations at any width.

    Between the listed widths energies are interpolated linearly in the number of bits;
    below the smallest they are proportional to it; beyond the largest they grow as
    between the last two. Adders and shifters grow about linearly with their width. The
    multipliers of the table grow with its square, so between their widths the straight
    line is an upper bound.

    Attributes:
        units: The listed energies.

    Example:
        >>> from botorch_flexibo.nn.energy import EnergyTable
        >>> table = EnergyTable()
        >>> table.picojoules("shift", 32), round(table.picojoules("integer_add", 20), 3)
        (0.13, 0.065)
    """

    units: tuple[UnitEnergy, ...] = UNIT_ENERGIES_45NM

    def picojoules(self, operation: Operation, bits: int) -> float:
        r"""The energy of one operation.

        Args:
            operation: The operation.
            bits: Width of its operands, at least 1.

        Returns:
            The energy in pJ.

        Raises:
            InputDataError: If the operation is not in the table or the width is below
                1.
        """
        points = sorted(
            (unit.bits, unit.picojoules)
            for unit in self.units
            if unit.operation == operation
        )
        if not points or bits < 1:
            raise InputDataError(
                "Expected an operation of the table and bits >= 1, but got"
                f" {operation!r} and {bits}. Add a UnitEnergy for the operation."
            )
        points.insert(0, (0, 0.0))
        right = min(bisect_left(points, bits, key=lambda p: p[0]), len(points) - 1)
        (b0, e0), (b1, e1) = points[right - 1], points[right]
        return e1 + (e1 - e0) * (bits - b1) / (b1 - b0)
