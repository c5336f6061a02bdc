from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from botorch.exceptions.errors import InputDataError
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from botorch_flexibo.nn import (
    GERMANY_2023,
    EnergyEstimate,
    EnergyModel,
    GridFactor,
    LayerShape,
    ShiftSettings,
    convert_to_shift,
    layer_shapes,
)
from botorch_flexibo.nn.energy import (
    CACHE_1MB,
    CACHE_8KB,
    CACHE_32KB,
    DRAM,
    UNIT_ENERGIES_45NM,
    EnergyTable,
    UnitEnergy,
)

PROPERTY = settings(deadline=None)
INPUT = (1, 8, 8)
TABLE = EnergyTable()
# A 3x3 convolution of 4 to 6 channels on 5 x 5 positions, from 7 x 7.
CONV = LayerShape(
    name="conv",
    kind="conv",
    in_channels=4,
    out_channels=6,
    kernel=(3, 3),
    groups=1,
    positions=25,
    input_elements=4 * 49,
    bias=True,
    shift=None,
)
MACS = 25 * 6 * 4 * 9


def net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3),
        nn.Conv2d(8, 16, 3, bias=False),
        nn.Conv2d(16, 8, 3, groups=2),
        nn.Flatten(),
        nn.Linear(32, 10),
    )


def joules(depth: int, settings: ShiftSettings, **options: Any) -> float:
    model = convert_to_shift(net(), depth, settings=settings)
    return EnergyModel(**options).estimate(model, INPUT).joules


# --- counts and energies by hand ----------------------------------------------------


def test_counts_of_a_float_layer() -> None:
    counts = EnergyModel().count(CONV)
    assert counts.multiply_accumulates == MACS
    assert counts.shift_accumulates == 0
    assert counts.bias_adds == 150
    assert counts.parameter_bits == (6 * 4 * 9 + 6) * 32
    assert counts.activation_bits == (196 + 150) * 32
    assert counts.memory_bits == (216 + 6 + 196 + 150) * 32


def test_counts_of_a_shift_layer() -> None:
    counts = EnergyModel().count(replace(CONV, shift=ShiftSettings("Q", 3, 4, 6)))
    assert counts.multiply_accumulates == 0
    assert counts.shift_accumulates == MACS
    assert counts.bias_adds == 150
    assert counts.parameter_bits == 216 * 3 + 6 * 10
    assert counts.activation_bits == (196 + 150) * 10


def test_layer_without_bias_adds_none() -> None:
    counts = EnergyModel().count(replace(CONV, bias=False))
    assert (counts.bias_adds, counts.parameter_bits) == (0, 216 * 32)


def test_energy_of_a_float_layer() -> None:
    memory = (216 + 6 + 196 + 150) * 32 * 100 / 64
    picojoules = MACS * (3.7 + 0.9) + 150 * 0.9 + memory
    assert EnergyModel().layer_joules(CONV) == pytest.approx(picojoules * 1e-12)


def test_energy_of_a_shift_layer() -> None:
    layer = replace(CONV, shift=ShiftSettings("PS", 4, 10, 6))
    add = 0.03 + (0.1 - 0.03) * (22 - 8) / 24  # 16 bits and 6 for the sum of 36
    memory = (216 * 4 + (6 + 196 + 150) * 16) * 20 / 64
    picojoules = MACS * (0.057 + add) + 150 * add + memory
    model = EnergyModel(memory=CACHE_32KB)
    assert model.layer_joules(layer) == pytest.approx(picojoules * 1e-12)


def test_energy_of_a_shift_layer_with_floating_activations() -> None:
    layer = replace(CONV, shift=ShiftSettings("Q", 5, None, None))
    memory = (216 * 5 + (6 + 196 + 150) * 32) * 10 / 64
    picojoules = MACS * (0.03 + 0.9) + 150 * 0.9 + memory
    model = EnergyModel(memory=CACHE_8KB)
    assert model.layer_joules(layer) == pytest.approx(picojoules * 1e-12)


def test_half_precision_floats_have_their_own_energies() -> None:
    memory = (216 + 6 + 196 + 150) * 16 * 1950 / 64
    picojoules = MACS * (1.1 + 0.4) + 150 * 0.4 + memory
    model = EnergyModel(memory=DRAM, float_bits=16)
    assert model.layer_joules(CONV) == pytest.approx(picojoules * 1e-12)


def test_energy_of_a_network_is_the_sum_over_its_layers() -> None:
    model = EnergyModel()
    layers = layer_shapes(net(), INPUT)
    estimate = model.estimate(net(), INPUT)
    assert len(layers) == 4
    assert estimate.joules == math.fsum(model.layer_joules(layer) for layer in layers)
    assert estimate == model.estimate_layers(layers)
    assert estimate.source == "modelled"


# --- what the model must order ------------------------------------------------------


@pytest.mark.parametrize("shift_type", ["Q", "PS"])
@pytest.mark.parametrize("activation", [(16, 16), (4, 4), (None, None)])
def test_energy_falls_with_depth(shift_type: Any, activation: Any) -> None:
    settings = ShiftSettings(shift_type, 5, *activation)
    values = [joules(depth, settings) for depth in range(4)]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == 4


def test_energy_rises_with_weight_bits() -> None:
    values = [joules(3, ShiftSettings("Q", bits)) for bits in range(2, 9)]
    assert values == sorted(set(values))


@pytest.mark.parametrize("fixed", ["integer", "fraction"])
def test_energy_rises_with_activation_bits(fixed: str) -> None:
    pairs = [(8, b) if fixed == "integer" else (b, 8) for b in range(2, 33)]
    values = [joules(2, ShiftSettings("PS", 4, *pair)) for pair in pairs]
    assert values == sorted(set(values))


def test_energy_depends_on_the_number_formats_only() -> None:
    base = joules(2, ShiftSettings("Q", 4))
    assert base == joules(2, ShiftSettings("PS", 4, rounding="stochastic"))
    assert base == joules(2, ShiftSettings("Q", 4))


def test_energy_rises_with_the_distance_of_the_memory() -> None:
    levels = (CACHE_8KB, CACHE_32KB, CACHE_1MB, DRAM)
    values = [joules(1, ShiftSettings(), memory=level) for level in levels]
    assert values == sorted(set(values))


@PROPERTY
@given(st.integers(1, 64))
def test_shift_is_cheaper_than_multiplication_at_equal_width(bits: int) -> None:
    shift = TABLE.picojoules("shift", bits)
    assert shift < TABLE.picojoules("integer_multiply", bits)
    assert shift < TABLE.picojoules("float_multiply", bits)


# --- table --------------------------------------------------------------------------


@pytest.mark.parametrize("unit", UNIT_ENERGIES_45NM, ids=str)
def test_table_returns_what_is_listed(unit: UnitEnergy) -> None:
    assert TABLE.picojoules(unit.operation, unit.bits) == unit.picojoules
    assert "45 nm" in unit.source


@pytest.mark.parametrize(
    "bits, expected",
    [(4, 0.012), (12, 0.0405), (24, 0.0935), (48, 0.203), (64, 0.276)],
)
def test_table_interpolates_linearly_in_bits(bits: int, expected: float) -> None:
    assert TABLE.picojoules("shift", bits) == pytest.approx(expected)


@PROPERTY
@given(
    st.sampled_from(sorted({unit.operation for unit in UNIT_ENERGIES_45NM})),
    st.integers(1, 127),
)
def test_table_rises_with_width(operation: Any, bits: int) -> None:
    assert 0 < TABLE.picojoules(operation, bits) < TABLE.picojoules(operation, bits + 1)


def test_own_energies_replace_the_table() -> None:
    units = [replace(unit, picojoules=2 * unit.picojoules) for unit in TABLE.units]
    doubled = EnergyModel(EnergyTable(tuple(units)), replace(CACHE_1MB, picojoules=200))
    expected = 2 * EnergyModel().layer_joules(CONV)
    assert doubled.layer_joules(CONV) == pytest.approx(expected)


# --- units --------------------------------------------------------------------------


def test_a_kilowatt_hour_emits_the_grid_factor() -> None:
    estimate = EnergyEstimate(3.6e6, "measured", "test")
    assert estimate.grams_co2eq() == 380.95
    assert estimate.grams_co2eq(GridFactor("X", 12.5, "made up")) == 12.5


def test_german_factor_is_the_one_codecarbon_ships() -> None:
    pytest.importorskip("codecarbon")
    from codecarbon.input import DataSource

    mix = DataSource().get_global_energy_mix_data()
    assert GERMANY_2023.grams_per_kwh == mix["DEU"]["carbon_intensity"]


# --- bad input ----------------------------------------------------------------------


@pytest.mark.parametrize("amount", [0.0, -1.0, math.inf, math.nan])
def test_energy_that_is_none_must_not_be_a_number(amount: float) -> None:
    with pytest.raises(InputDataError, match="joules"):
        EnergyEstimate(amount, "measured", "test")


def test_unknown_source_raises() -> None:
    source: Any = "guessed"
    with pytest.raises(InputDataError, match="source"):
        EnergyEstimate(1.0, source, "test")


@pytest.mark.parametrize("factor", [-1.0, math.nan, math.inf])
def test_bad_grid_factor_raises(factor: float) -> None:
    with pytest.raises(InputDataError, match="grams_per_kwh"):
        GridFactor("X", factor, "made up")


def test_bad_float_width_raises() -> None:
    with pytest.raises(InputDataError, match="float_bits"):
        EnergyModel(float_bits=64)


def test_network_without_layers_raises() -> None:
    with pytest.raises(InputDataError, match="at least one"):
        EnergyModel().estimate(nn.Flatten(), INPUT)


@pytest.mark.parametrize("operation, bits", [("divide", 8), ("shift", 0)])
def test_unknown_operation_or_width_raises(operation: Any, bits: int) -> None:
    with pytest.raises(InputDataError, match="table"):
        TABLE.picojoules(operation, bits)
