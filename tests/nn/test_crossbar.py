"""The analytic crossbar model against published numbers and a plain recomputation."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from botorch.exceptions.errors import BotorchTensorDimensionError, InputDataError
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

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

# The law of the converter that the check values were computed with.
LINEAR = CrossbarComponents(adc_knee_bits=math.inf)

# 16-bit weights and inputs, by crossbar size: resolution of the converter; energy of a
# product in nJ and its parts (array, DAC, ADC, shift-add); core energy in mJ and number
# of crossbars of AlexNet and of VGG19. Each is given to the digits that are shown.
CHECKS = {
    32: (6, "7.05", ("0.24", "1.60", "5.12", "0.09"), ("7.83", 456288, "2.75", 160624)),
    64: (7, "16.3", ("0.96", "3.20", "11.95", "0.17"), ("4.69", 114368, "1.59", 40192)),
    128: (8, "37.9", ("3.84", "6.40", "27.3", "0.34"), ("2.73", 28720, "1.07", 10096)),
    256: (9, "90.3", ("15.4", "12.8", "61.5", "0.69"), ("2.20", 7360, "0.97", 2592)),
}


def rounds_to(value: Tensor, shown: str) -> bool:
    """Whether a value agrees with a number to the last digit that it shows."""
    digits = len(shown.partition(".")[2])
    return abs(float(value) - float(shown)) <= 0.5 * 10**-digits + 1e-12


def naive(
    layers: list[tuple[int, int, int]], parts: CrossbarComponents, **hardware: int
) -> dict[str, float]:
    """The whole model for one design in plain Python, layer by layer."""
    h = {
        "crossbar_size": 128,
        "weight_bits": 16,
        "input_bits": 16,
        "cell_bits": 2,
        "dac_bits": 1,
        **hardware,
    }
    size, dac, cell = h["crossbar_size"], h["dac_bits"], h["cell_bits"]
    slices = -(-h["weight_bits"] // cell)
    streams = -(-h["input_bits"] // dac)
    log_size = next(k for k in range(60) if 2**k >= size)
    extra = 0 if dac > 1 and cell > 1 else 1
    adc = max(log_size + dac + cell - extra - 1, 1)
    knee = parts.adc_knee_bits
    growth = adc / 8 if adc <= knee else knee / 8 * 2 ** (adc - knee)
    keys = "array dac adc shift_add additions movement leakage latency arrays"
    total: dict[str, float] = {key: 0.0 for key in keys.split()}
    weights = places = 0
    for rows, cols, positions in layers:
        row_blocks, col_blocks = math.ceil(rows / size), math.ceil(cols / size)
        blocks = row_blocks * col_blocks
        conversions = streams * slices * size * positions * blocks
        reads = streams * slices * positions * blocks
        total["array"] += reads * parts.array_energy * size * size / 128 / 128
        total["dac"] += conversions * parts.dac_energy * 2 ** (dac - 1)
        total["adc"] += conversions * parts.adc_energy * growth
        total["shift_add"] += conversions * parts.shift_add_energy
        total["additions"] += positions * (row_blocks - 1) * cols * 0.265e-12
        bits = positions * (rows + cols) * h["input_bits"]
        total["movement"] += bits * (parts.buffer_energy + parts.bus_energy)
        seconds = positions * (streams + 2) * max(parts.read_time, size / 1.2e9)
        power = adc * parts.adc_leakage + parts.tile_leakage / parts.arrays_per_tile
        total["leakage"] += blocks * slices * power * seconds
        total["latency"] += seconds
        total["arrays"] += blocks * slices
        weights += rows * cols
        places += blocks * size * size
    area = (
        25e-12 * size * size / 128 / 128
        + 0.166e-12 * size * 2 ** (dac - 1)
        + 0.04e-12 * size
        + 1200e-12 * growth
        + 30e-12
        + 358.75e-12 * size / 128
        + 214_540e-12 / 96
    )
    total["area"] = total["arrays"] * area
    total["utilization"] = weights / places
    return total


def as_layers(layers: list[tuple[int, int, int]]) -> CrossbarLayers:
    return CrossbarLayers(*torch.tensor(layers, dtype=torch.float64).T)


def all_numbers(cost: CrossbarCost) -> dict[str, Tensor]:
    return {
        **cost.terms._asdict(),
        "latency": cost.latency,
        "area": cost.area,
        "arrays": cost.num_arrays,
        "utilization": cost.utilization,
    }


layer = st.tuples(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 3000))
networks = st.lists(layer, min_size=1, max_size=4)
hardware_settings = st.fixed_dictionaries(
    {
        "crossbar_size": st.integers(1, 600) | st.sampled_from([32, 64, 128, 256]),
        "weight_bits": st.integers(1, 16),
        "input_bits": st.integers(1, 16),
        "cell_bits": st.integers(1, 5),
        "dac_bits": st.integers(1, 4),
    }
)


@pytest.mark.parametrize("size", CHECKS)
def test_check_table_is_met_to_the_digits_shown(size: int) -> None:
    adc, total, parts, (alexnet, alexnet_arrays, vgg, vgg_arrays) = CHECKS[size]
    hardware = CrossbarHardware(crossbar_size=size)
    assert hardware.adc_bits == adc
    energy = mvm_energy(hardware, LINEAR)
    assert rounds_to(1e9 * energy.total, total)
    for part, shown in zip(energy, parts, strict=True):
        assert rounds_to(1e9 * part, shown)
    for layers, energy_shown, arrays in (
        (alexnet_layers(), alexnet, alexnet_arrays),
        (vgg19_layers(), vgg, vgg_arrays),
    ):
        cost = crossbar_cost(layers, hardware, LINEAR)
        assert rounds_to(1e3 * cost.core_energy, energy_shown)
        assert cost.num_arrays == arrays


@pytest.mark.parametrize(
    ("bits", "cell_bits", "shown"), [(8, 2, "0.267"), (16, 4, "0.631")]
)
def test_fewer_bits_and_larger_cells_meet_the_check_values(
    bits: int, cell_bits: int, shown: str
) -> None:
    hardware = CrossbarHardware(weight_bits=bits, input_bits=bits, cell_bits=cell_bits)
    cost = crossbar_cost(vgg19_layers(), hardware, LINEAR)
    assert rounds_to(1e3 * cost.core_energy, shown)


def test_default_product_lies_among_the_published_ones() -> None:
    # PUMA: 35.1 nJ and 52.8 nJ (two releases of its simulator), 44.0 nJ (paper).
    assert 35e-9 < mvm_energy(CrossbarHardware()).total < 53e-9


def test_product_takes_as_long_as_that_of_puma_at_its_rate() -> None:
    puma = CrossbarComponents(adc_rate=1e9)
    assert float(mvm_latency(CrossbarHardware(), puma)) == pytest.approx(2304e-9)


def test_area_of_a_tile_is_that_of_isaac() -> None:
    # 168 tiles and a link of 22.88 mm^2 make the 85.4 mm^2 of ISAAC's chip.
    layers = CrossbarLayers.linear(128, 96 * 128 // 8)
    cost = crossbar_cost(layers, CrossbarHardware())
    assert cost.num_arrays == 96
    assert float(cost.area) * 1e6 == pytest.approx((85.4 - 22.88) / 168, rel=3e-3)


def test_known_networks_have_the_known_size() -> None:
    assert float(alexnet_layers().num_macs) == pytest.approx(1.131e9, rel=1e-3)
    assert float(vgg19_layers().num_macs) == pytest.approx(0.399e9, rel=1e-3)
    assert vgg19_layers().rows.shape == (19,)


def test_converter_energy_doubles_beyond_the_knee_only() -> None:
    bits = torch.tensor([4.0, 8.0, 9.0, 11.0])
    assert ISAAC.resolution_factor(bits).tolist() == [0.5, 1.0, 2.0, 8.0]
    assert LINEAR.resolution_factor(bits).tolist() == [0.5, 1.0, 1.125, 1.375]


@settings(deadline=None, max_examples=150)
@given(networks, hardware_settings)
def test_cost_equals_a_plain_recomputation(
    layers: list[tuple[int, int, int]], hardware: dict[str, int]
) -> None:
    cost = crossbar_cost(as_layers(layers), CrossbarHardware(**hardware))
    expected = naive(layers, ISAAC, **hardware)
    for name, value in all_numbers(cost).items():
        assert float(value) == pytest.approx(expected[name], rel=1e-9), name
    names = "array dac adc shift_add additions movement leakage".split()
    total = sum(expected[name] for name in names)
    assert float(cost.energy) == pytest.approx(total, rel=1e-9)


@settings(deadline=None, max_examples=50)
@given(networks, hardware_settings)
def test_energy_grows_with_bits_and_halves_with_positions(
    layers: list[tuple[int, int, int]], hardware: dict[str, int]
) -> None:
    network = as_layers(layers)
    cost = crossbar_cost(network, CrossbarHardware(**hardware))
    for name in ("weight_bits", "input_bits"):
        more = CrossbarHardware(**hardware | {name: 2 * hardware[name]})
        assert crossbar_cost(network, more).energy >= cost.energy
    doubled = CrossbarLayers(network.rows, network.cols, 2 * network.positions)
    twice = crossbar_cost(doubled, CrossbarHardware(**hardware))
    assert torch.allclose(twice.energy, 2 * cost.energy, rtol=1e-12)
    assert torch.allclose(twice.latency, 2 * cost.latency, rtol=1e-12)
    assert torch.equal(twice.area, cost.area)
    assert torch.equal(twice.utilization, cost.utilization)
    assert 0 < cost.utilization <= 1


@settings(deadline=None, max_examples=50)
@given(networks, hardware_settings, st.integers(1, 200))
def test_a_wider_layer_is_never_cheaper(
    layers: list[tuple[int, int, int]], hardware: dict[str, int], extra: int
) -> None:
    network = as_layers(layers)
    wider = CrossbarLayers(network.rows + extra, network.cols, network.positions)
    costs = [crossbar_cost(n, CrossbarHardware(**hardware)) for n in (network, wider)]
    assert costs[1].energy >= costs[0].energy
    assert costs[1].area >= costs[0].area


def test_an_absent_layer_changes_nothing() -> None:
    padded = as_layers([(27, 8, 64), (0, 0, 0), (128, 10, 1)])
    plain = as_layers([(27, 8, 64), (128, 10, 1)])
    costs = [crossbar_cost(n, CrossbarHardware()) for n in (padded, plain)]
    for name, value in all_numbers(costs[0]).items():
        assert torch.equal(value, all_numbers(costs[1])[name]), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_batch_equals_loop_over_designs_and_settings(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)

    def draw(least: int, most: int, *shape: int) -> Tensor:
        return torch.randint(least, most, shape, generator=generator).to(dtype)

    sizes: list[Any] = [draw(1, 900, 3, 2, 4) for _ in range(3)]
    layers = CrossbarLayers(*sizes)
    hardware = {
        "crossbar_size": draw(16, 300, 3, 1),
        "weight_bits": draw(1, 17, 2),
        "input_bits": draw(1, 17, 3, 2),
        "cell_bits": 3,
    }
    cost = crossbar_cost(layers, CrossbarHardware(**hardware))
    for i in range(3):
        for j in range(2):
            one = crossbar_cost(
                CrossbarLayers(*(size[i, j] for size in sizes)),
                CrossbarHardware(
                    crossbar_size=hardware["crossbar_size"][i, 0],
                    weight_bits=hardware["weight_bits"][j],
                    input_bits=hardware["input_bits"][i, j],
                    cell_bits=3,
                ),
            )
            for name, value in all_numbers(cost).items():
                assert value.shape == (3, 2)
                assert value.dtype == dtype
                alone = all_numbers(one)[name]
                assert torch.allclose(value[i, j], alone, rtol=1e-5, atol=0), name


def test_settings_alone_can_make_the_batch() -> None:
    hardware = CrossbarHardware(crossbar_size=torch.tensor([32, 64, 128, 256]))
    cost = crossbar_cost(vgg19_layers(), hardware)
    for value in all_numbers(cost).values():
        assert value.shape == (4,)
    assert cost.energy.shape == cost.core_energy.shape == (4,)


def test_constructors_follow_the_shapes_of_torch_layers() -> None:
    conv = torch.nn.Conv2d(3, 16, 5, padding=2)
    linear = torch.nn.Linear(40, 7)
    image = torch.zeros(1, 3, 9, 11)
    pixels = conv(image).shape[-2:].numel()
    layers = CrossbarLayers.cat(
        CrossbarLayers.conv(3, 16, kernel_size=5, positions=pixels),
        CrossbarLayers.linear(40, 7),
    )
    assert layers.rows.tolist() == [conv.weight[0].numel(), linear.in_features]
    assert layers.cols.tolist() == [16, 7]
    assert layers.positions.tolist() == [99, 1]
    assert layers.num_weights == conv.weight.numel() + linear.weight.numel()


@pytest.mark.parametrize(
    ("layers", "match"),
    [
        (((9.5,), (4.0,), (1.0,)), "whole numbers >= 0 in rows"),
        (((9.0,), (-4.0,), (1.0,)), "whole numbers >= 0 in cols"),
        (((9.0,), (4.0,), (math.inf,)), "whole numbers >= 0 in positions"),
        (((9.0,), (4.0,), (0.0,)), "all > 0 or all 0"),
        (((0.0,), (0.0,), (0.0,)), "each design to have a layer"),
    ],
)
def test_impossible_layers_are_refused(
    layers: tuple[tuple[float, ...], ...], match: str
) -> None:
    with pytest.raises(InputDataError, match=match):
        CrossbarLayers(*(torch.tensor(part) for part in layers))


@pytest.mark.parametrize("shapes", [((2,), (3,), (2,)), ((), (), ()), ((0,),) * 3])
def test_layers_of_wrong_shape_are_refused(shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(BotorchTensorDimensionError, match="batch_shape x num_layers"):
        CrossbarLayers(*(torch.ones(shape) for shape in shapes))


def test_no_layers_and_shapes_that_do_not_broadcast_are_refused() -> None:
    with pytest.raises(BotorchTensorDimensionError, match="at least one layer"):
        CrossbarLayers.cat()
    with pytest.raises(BotorchTensorDimensionError, match="broadcast"):
        CrossbarLayers.linear(torch.ones(2), torch.ones(3))
    two, three = torch.ones(2), torch.ones(3)
    with pytest.raises(BotorchTensorDimensionError, match="broadcast"):
        CrossbarHardware(crossbar_size=two, weight_bits=three)
    layers = CrossbarLayers.linear(two, 4)
    with pytest.raises(BotorchTensorDimensionError, match="broadcast"):
        crossbar_cost(layers, CrossbarHardware(crossbar_size=three))


@pytest.mark.parametrize(
    "name", ["crossbar_size", "weight_bits", "input_bits", "cell_bits", "dac_bits"]
)
@pytest.mark.parametrize("value", [0, torch.tensor([4.0, 2.5])], ids=["zero", "part"])
def test_impossible_settings_are_refused(name: str, value: Any) -> None:
    with pytest.raises(InputDataError, match=f"whole numbers >= 1 in {name}"):
        CrossbarHardware(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("adc_energy", -1.0),
        ("tile_area", math.nan),
        ("array_energy", math.inf),
        ("adc_rate", 0.0),
        ("arrays_per_tile", 0.0),
    ],
)
def test_impossible_components_are_refused(name: str, value: float) -> None:
    with pytest.raises(InputDataError, match=name):
        CrossbarComponents(**{name: value})
