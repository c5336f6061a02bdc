from __future__ import annotations

import copy
import math
import pickle
from functools import partial
from typing import Any

import pytest
import torch
from botorch.exceptions.errors import InputDataError, UnsupportedError
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from botorch_flexibo.nn import (
    ShiftConv2d,
    ShiftLinear,
    ShiftSettings,
    convert_to_shift,
    count_convolutions,
    randomize_shifts,
    shift_parameter_groups,
    shift_penalty,
)
from botorch_flexibo.nn.data import digits
from botorch_flexibo.nn.training import (
    TrainingSettings,
    seeded,
    train_classifier,
    validate,
)

PROPERTY = settings(deadline=None)
TYPES = ("Q", "PS")
# DeepShift's smallest exponents by bits; the largest is 0.
MIN_EXPONENT = {
    "Q": {2: -1, 3: -3, 4: -7, 5: -15, 8: -127},
    "PS": {2: 0, 3: -2, 4: -6, 5: -14, 8: -126},
}
DEVICES: list[Any] = ["cpu"]
if torch.cuda.is_available():
    DEVICES.append(pytest.param("cuda", marks=pytest.mark.gpu))


def floating(shift_type: Any = "Q", weight_bits: int = 5, **changes: Any) -> Any:
    """Settings that leave activations floating."""
    bits = {"activation_integer_bits": None, "activation_fraction_bits": None}
    return ShiftSettings(shift_type, weight_bits, **{**bits, **changes})


def row(values: Tensor, settings: ShiftSettings) -> Any:
    """A layer of one output without bias, converted from the given weights."""
    linear = nn.Linear(values.numel(), 1, bias=False, dtype=values.dtype)
    with torch.no_grad():
        linear.weight.copy_(values.reshape(1, -1))
    return ShiftLinear(linear, settings)


def small_net() -> nn.Sequential:
    with seeded(0):
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Sequential(nn.Conv2d(4, 8, 3, stride=2), nn.ReLU()),
            nn.Conv2d(8, 8, 3, groups=4),
            nn.Flatten(),
            nn.Linear(8, 6),
            nn.ReLU(),
            nn.Linear(6, 3),
        )


def kinds(model: nn.Module) -> dict[str, str]:
    """Class names of the convolutions and linear layers by path."""
    layers = nn.Conv2d | nn.Linear | ShiftConv2d | ShiftLinear
    return {
        n: type(m).__name__ for n, m in model.named_modules() if isinstance(m, layers)
    }


@pytest.fixture
def x() -> Tensor:
    return torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))


# --- code books ---------------------------------------------------------------------


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 8])
def test_q_weights_are_exactly_the_code_book_without_zero(bits: int) -> None:
    low = MIN_EXPONENT["Q"][bits]
    magnitudes = 2.0 ** torch.arange(-140, 2, 0.25, dtype=torch.float64)
    latents = torch.cat([magnitudes, -magnitudes, torch.zeros(1, dtype=torch.float64)])
    codes = set(row(latents, floating("Q", bits)).weight.flatten().tolist())
    assert codes == {s * 2.0**p for p in range(low, 1) for s in (-1, 1)}
    assert len(codes) == 2**bits


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 8])
def test_ps_weights_are_exactly_the_code_book_with_zero(bits: int) -> None:
    low = MIN_EXPONENT["PS"][bits]
    shifts = torch.arange(-140, 2, 0.25, dtype=torch.float64)
    signs = torch.arange(-2, 2.1, 0.25, dtype=torch.float64)
    grid = torch.cartesian_prod(shifts, signs)
    layer = row(grid[:, 0], floating("PS", bits))
    with torch.no_grad():
        layer.quantizer.shift.copy_(grid[:, 0].reshape(1, -1))
        layer.quantizer.sign.copy_(grid[:, 1].reshape(1, -1))
    codes = set(layer.weight.flatten().tolist())
    assert codes == {s * 2.0**p for p in range(low, 1) for s in (-1, 0, 1)}
    assert len(codes) == 2**bits - 1


@pytest.mark.parametrize("shift_type", TYPES)
def test_few_bits_make_small_weights_larger(shift_type: Any) -> None:
    weights = torch.tensor([0.05, -0.01])
    smallest = 2.0 ** MIN_EXPONENT[shift_type][3]
    layer = row(weights, floating(shift_type, 3))
    assert layer.weight.tolist() == [[smallest, -smallest]]


@PROPERTY
@given(st.floats(-8, 0), st.sampled_from(TYPES))
def test_conversion_takes_the_nearest_exponent(exponent: float, kind: Any) -> None:
    weight = torch.tensor([2.0**exponent, -(2.0**exponent)], dtype=torch.float64)
    converted = row(weight, floating(kind, 5)).weight.flatten().detach()
    distance = (converted.abs().log2() - exponent).abs()
    assert distance.max() <= 0.5 + 1e-12
    assert torch.equal(converted.sign(), weight.sign())


def test_only_a_weight_of_zero_becomes_the_ps_code_zero() -> None:
    weights = torch.tensor([0.0, 1e-30, -1e-30])
    smallest = 2.0 ** MIN_EXPONENT["PS"][5]
    assert row(weights, floating("PS")).weight.tolist() == [[0.0, smallest, -smallest]]


# --- activations --------------------------------------------------------------------


def test_activations_are_truncated_to_fixed_point() -> None:
    layer = row(torch.ones(1), ShiftSettings("Q", 5, 4, 2))
    x = torch.tensor([[-0.3], [0.3], [9.0], [-9.0]])
    assert layer(x).flatten().tolist() == [-0.5, 0.25, 7.0, -8.0]


@pytest.mark.parametrize("shift_type", TYPES)
@pytest.mark.parametrize("dims", [1, 2])
def test_all_layers_truncate_input_and_bias(shift_type: Any, dims: int) -> None:
    settings = ShiftSettings(shift_type, 5, 4, 2)
    layer: Any = nn.Linear(1, 1) if dims == 1 else nn.Conv2d(1, 1, 1)
    with torch.no_grad():
        layer.weight.fill_(1.0)
        layer.bias.fill_(-0.3)
    convert: Any = ShiftLinear if dims == 1 else ShiftConv2d
    x = torch.full((1,) * (2 * dims), 0.3)
    assert convert(layer, settings)(x).item() == 0.25 - 0.5


@PROPERTY
@given(
    st.floats(-1e6, 1e6, width=32),
    st.integers(2, 16),
    st.integers(0, 16),
)
def test_fixed_point_agrees_with_exact_arithmetic(
    value: float, integer: int, fraction: int
) -> None:
    layer = row(
        torch.ones(1, dtype=torch.float64), ShiftSettings("Q", 5, integer, fraction)
    )
    expected = math.floor(value * 2**fraction) / 2**fraction
    expected = min(max(expected, -(2.0 ** (integer - 1))), 2.0 ** (integer - 1) - 1)
    assert layer(torch.tensor([[value]], dtype=torch.float64)).item() == expected


def test_without_activation_bits_activations_stay_floating() -> None:
    layer = row(torch.tensor([0.5]), floating())
    assert layer(torch.tensor([[0.3]])).item() == torch.tensor(0.3).item() / 2


# --- gradients ----------------------------------------------------------------------


def random_problem() -> tuple[nn.Linear, Tensor, Tensor]:
    with seeded(3):
        linear = nn.Linear(7, 4, dtype=torch.float64)
        with torch.no_grad():  # from far below to above the range
            linear.weight.mul_(torch.logspace(-7, 3, 28, base=2).reshape(4, 7) * 8)
        x = 4 * torch.randn(6, 7, dtype=torch.float64)
        return linear, x, torch.randn(6, 4, dtype=torch.float64)


def test_q_gradient_passes_unchanged_to_the_latent() -> None:
    linear, x, grad = random_problem()
    layer: Any = ShiftLinear(linear, ShiftSettings("Q", 3, 3, 2))
    assert (linear.weight.abs() > 1).any() and (linear.weight.abs() < 2**-4).any()
    fixed = ((x * 4).floor() / 4).clamp(-4, 3)
    layer(x).backward(grad)
    torch.testing.assert_close(layer.quantizer.latent.grad, grad.T @ fixed)
    torch.testing.assert_close(layer.bias.grad, grad.sum(dim=0))


def test_ps_gradients_follow_the_published_rule() -> None:
    linear, x, grad = random_problem()
    layer: Any = ShiftLinear(linear, floating("PS", 3))
    shift, sign = layer.quantizer.shift, layer.quantizer.sign
    with torch.no_grad():
        shift.copy_(torch.linspace(-4, 2, 28).reshape(4, 7))  # the range is -2..0
        sign.copy_(torch.linspace(-1.2, 1.1, 28).reshape(7, 4).T)
    layer(x).backward(grad)
    power = 2.0 ** shift.detach().clamp(-2, 0).round()
    ternary = sign.detach().round().sign()
    assert set(ternary.flatten().tolist()) == {-1.0, 0.0, 1.0}
    d_weight = grad.T @ x
    torch.testing.assert_close(shift.grad, d_weight * ternary * math.log(2) * power)
    torch.testing.assert_close(sign.grad, d_weight)


def test_activation_gradient_is_not_cut_where_the_value_is() -> None:
    linear, x, grad = random_problem()
    x = (10 * x).requires_grad_()
    assert (x.abs() > 4).any()
    layer = ShiftLinear(linear, ShiftSettings("Q", 3, 3, 2))
    layer(x).backward(grad)
    torch.testing.assert_close(x.grad, grad @ layer.weight.detach())


def test_convolution_gradients_equal_those_of_the_rounded_convolution() -> None:
    with seeded(0):
        conv = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2, dtype=torch.float64)
        x = torch.randn(2, 4, 7, 7, dtype=torch.float64)
    layer: Any = ShiftConv2d(conv, floating("Q", 4))
    with torch.no_grad():
        conv.weight.copy_(layer.weight)
    layer(x).square().sum().backward()
    conv(x).square().sum().backward()
    torch.testing.assert_close(layer.quantizer.latent.grad, conv.weight.grad)


# --- stochastic rounding ------------------------------------------------------------


@pytest.mark.parametrize("shift_type", TYPES)
def test_stochastic_rounding_is_unbiased_in_the_exponent(shift_type: Any) -> None:
    n, fraction = 20_000, 0.7
    weights = torch.full((n,), 2.0 ** (fraction - 3), dtype=torch.float64)
    layer = row(weights, floating(shift_type, 5, rounding="stochastic"))
    with seeded(0):
        exponents = layer.weight.detach().abs().log2()
    assert set(exponents.flatten().tolist()) == {-3.0, -2.0}
    deviation = math.sqrt(fraction * (1 - fraction) / n)
    assert abs(exponents.mean().item() - (fraction - 3)) < 4 * deviation


def test_stochastic_rounding_is_unbiased_in_the_sign() -> None:
    n = 20_000
    layer = row(torch.ones(n), floating("PS", 2, rounding="stochastic"))
    with torch.no_grad():
        layer.quantizer.sign.fill_(-0.3)
    with seeded(0):
        weight = layer.weight.detach()
    assert set(weight.flatten().tolist()) == {-1.0, 0.0}
    assert abs(weight.mean().item() + 0.3) < 4 * math.sqrt(0.3 * 0.7 / n)


@pytest.mark.parametrize("shift_type", TYPES)
def test_stochastic_rounding_follows_the_seed(shift_type: Any, x: Tensor) -> None:
    settings = floating(shift_type, 5, rounding="stochastic")
    net = convert_to_shift(small_net(), 3, settings=settings).train()
    with seeded(0):
        first, second = net(x), net(x)
    with seeded(0):
        again = net(x)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("shift_type", TYPES)
def test_evaluation_rounds_to_the_nearest(shift_type: Any, x: Tensor) -> None:
    stochastic, nearest = (
        convert_to_shift(
            small_net(), 3, settings=floating(shift_type, 5, rounding=rounding)
        ).eval()
        for rounding in ("stochastic", "deterministic")
    )
    assert torch.equal(stochastic(x), nearest(x))


# --- layers -------------------------------------------------------------------------


@pytest.mark.parametrize("padding_mode", ["zeros", "circular", "reflect", "replicate"])
@pytest.mark.parametrize(
    "geometry",
    [
        {"kernel_size": 3},
        {"kernel_size": (3, 2), "padding": (2, 1), "stride": (1, 2)},
        {"kernel_size": 3, "padding": 2, "dilation": (2, 1), "groups": 2},
        {"kernel_size": (5, 3), "padding": "same", "dilation": (1, 2)},
        {"kernel_size": 2, "padding": "valid", "groups": 4, "bias": False},
    ],
)
def test_convolution_has_the_geometry_of_the_float_one(
    geometry: dict[str, Any], padding_mode: Any
) -> None:
    with seeded(0):
        conv = nn.Conv2d(4, 8, padding_mode=padding_mode, **geometry)
        x = torch.randn(2, 4, 9, 8)
        with torch.no_grad():  # weights that are codes stay what they are
            powers = 2.0 ** torch.randint(-14, 1, conv.weight.shape)
            conv.weight.copy_(powers * conv.weight.sign())
    for shift_type in TYPES:
        torch.testing.assert_close(
            ShiftConv2d(conv, floating(shift_type))(x), conv(x), rtol=0, atol=0
        )


def test_even_kernels_pad_like_the_float_convolution() -> None:
    with seeded(0):
        conv = nn.Conv2d(1, 1, (2, 4), padding="same", padding_mode="circular")
        x = torch.randn(1, 1, 6, 6)
    layer = ShiftConv2d(conv, floating())
    with torch.no_grad():
        conv.weight.copy_(layer.weight)
    torch.testing.assert_close(layer(x), conv(x), rtol=0, atol=0)


@pytest.mark.parametrize("shift_type", TYPES)
def test_forward_leaves_latents_as_they_are(shift_type: Any, x: Tensor) -> None:
    net = small_net()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(50.0)
    net = convert_to_shift(net, 3, settings=ShiftSettings(shift_type, 2))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(3.0)
    before = {k: v.clone() for k, v in net.named_parameters()}
    for module in (net.train(), net.eval()):
        module(x)
    assert all(torch.equal(before[k], v) for k, v in net.named_parameters())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16]
)
@pytest.mark.parametrize("shift_type", TYPES)
def test_layers_keep_device_and_type(
    shift_type: Any, dtype: torch.dtype, device: str, x: Tensor
) -> None:
    net = convert_to_shift(small_net(), 3, settings=ShiftSettings(shift_type, 5))
    net, x = net.to(device, dtype), x.to(device, dtype)
    y = net(x)
    y.sum().backward()
    assert (y.dtype, y.device.type) == (dtype, device)
    for module in net.modules():
        if isinstance(module, ShiftConv2d | ShiftLinear):
            weight = module.weight.detach()
            exponents = weight[weight != 0].abs().double().log2()
            assert torch.equal(exponents, exponents.round())
    assert all(p.grad is not None for p in net.parameters())


def test_half_precision_activations_do_not_overflow() -> None:
    layer = row(torch.ones(1, dtype=torch.float16), ShiftSettings("Q", 5, 16, 16))
    x = torch.tensor([[1000.0], [0.25]], dtype=torch.float16)
    assert layer(x).flatten().tolist() == [1000.0, 0.25]


@pytest.mark.parametrize("shift_type", TYPES)
def test_state_dict_round_trip_is_strict_and_exact(shift_type: Any, x: Tensor) -> None:
    settings = ShiftSettings(shift_type, 4)
    net = convert_to_shift(small_net(), 2, settings=settings)
    randomize_shifts(net)
    fresh = convert_to_shift(copy.deepcopy(small_net()), 2, settings=settings)
    with torch.no_grad():
        for parameter in fresh.parameters():
            parameter.add_(1.0)
    fresh.load_state_dict(net.state_dict(), strict=True)
    for loaded in (fresh, copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.equal(loaded.eval()(x), net.eval()(x))


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("shift_type", TYPES)
def test_compiled_network_gives_the_same_values_and_gradients(
    shift_type: Any, backend: str, x: Tensor
) -> None:
    net = convert_to_shift(small_net(), 3, settings=ShiftSettings(shift_type, 3, 8, 4))
    torch.compiler.reset()
    copied = copy.deepcopy(net)
    compiled = torch.compile(copied, fullgraph=True, backend=backend)
    for model in (net, compiled):
        model(x).square().sum().backward()
    torch.testing.assert_close(compiled(x), net(x))
    expected = dict(net.named_parameters())
    for name, parameter in copied.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name].grad)


def test_compiled_stochastic_rounding_stays_random_and_seeded(x: Tensor) -> None:
    settings = floating("Q", 5, rounding="stochastic")
    net = convert_to_shift(small_net(), 3, settings=settings)
    torch.compiler.reset()
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    with seeded(0):
        first, second = compiled(x), compiled(x)
    with seeded(0):
        assert torch.equal(compiled(x), first)
    assert not torch.equal(first, second)


# --- conversion ---------------------------------------------------------------------


def test_depth_zero_gives_an_unchanged_copy(x: Tensor) -> None:
    net = small_net().eval()
    converted = convert_to_shift(net, 0)
    assert converted is not net
    assert kinds(converted) == kinds(net)
    assert torch.equal(converted(x), net(x))


@pytest.mark.parametrize(
    "depth, shifted", [(1, ["4"]), (2, ["3.0", "4"]), (3, ["0", "3.0", "4"])]
)
def test_convolutions_are_converted_from_the_output_side(
    depth: int, shifted: list[str]
) -> None:
    found = kinds(convert_to_shift(small_net(), depth))
    assert [n for n, kind in found.items() if kind == "ShiftConv2d"] == shifted
    # Linear layers are all converted, and not counted.
    assert [n for n, kind in found.items() if kind == "ShiftLinear"] == ["6", "8"]


def test_depth_follows_the_registration_not_the_use() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used_last = nn.Conv2d(4, 4, 1)
            self.used_first = nn.Conv2d(1, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.used_last(self.used_first(x))

    found = kinds(convert_to_shift(Net(), 1))
    assert found == {"used_last": "Conv2d", "used_first": "ShiftConv2d"}


def test_conversion_leaves_the_original_as_it_was() -> None:
    net = small_net()
    before = copy.deepcopy(net.state_dict())
    layers = kinds(net)
    convert_to_shift(net, 3)
    assert kinds(net) == layers
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())


def test_shared_layer_counts_once_and_is_replaced_everywhere() -> None:
    shared = nn.Conv2d(2, 2, 1)
    net = nn.Sequential(nn.Conv2d(2, 2, 1), shared, nn.ReLU(), shared)
    assert count_convolutions(net) == 2
    converted: Any = convert_to_shift(net, 1)
    assert isinstance(converted[1], ShiftConv2d)
    assert converted[1] is converted[3]
    assert isinstance(converted[0], nn.Conv2d)


def test_network_of_one_layer_is_converted() -> None:
    assert isinstance(convert_to_shift(nn.Conv2d(1, 1, 1), 1), ShiftConv2d)


def test_conversion_keeps_mode_and_frozen_parameters() -> None:
    net = small_net().eval()
    net[4].requires_grad_(False)
    converted: Any = convert_to_shift(net, 3)
    assert not any(module.training for module in converted.modules())
    assert not any(p.requires_grad for p in converted[4].parameters())
    assert all(p.requires_grad for p in converted[0].parameters())


@pytest.mark.parametrize("shift_type", TYPES)
def test_more_weight_bits_keep_outputs_closer(shift_type: Any, x: Tensor) -> None:
    net = small_net().eval()
    expected = net(x)
    errors = []
    for bits in (2, 3, 5):
        settings = ShiftSettings(shift_type, bits)
        output = convert_to_shift(net, 3, settings=settings).eval()(x)
        errors.append(((output - expected).norm() / expected.norm()).item())
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.25


def test_converted_network_can_be_converted_further() -> None:
    once = convert_to_shift(small_net(), 1)
    assert count_convolutions(once) == 2
    assert kinds(convert_to_shift(once, 2)) == kinds(convert_to_shift(small_net(), 3))


# --- optimisers ---------------------------------------------------------------------


@pytest.mark.parametrize("shift_type", TYPES)
def test_groups_hold_every_parameter_once(shift_type: Any) -> None:
    settings = ShiftSettings(shift_type)
    net = convert_to_shift(small_net(), 2, settings=settings)
    groups = shift_parameter_groups(net, weight_decay=0.1)
    grouped = [id(p) for group in groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in net.parameters())


def test_decay_spares_shifts_and_signs_only() -> None:
    net = convert_to_shift(small_net(), 2)
    optimizer = torch.optim.SGD(shift_parameter_groups(net, weight_decay=0.1), lr=1.0)
    before = {k: v.clone() for k, v in net.named_parameters()}
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in net.named_parameters():
        decayed = not name.endswith(("quantizer.shift", "quantizer.sign"))
        expected = 0.9 * before[name] if decayed else before[name]
        torch.testing.assert_close(parameter, expected)


def test_penalty_and_its_gradient_match_the_formula() -> None:
    layer = row(torch.ones(3, dtype=torch.float64), floating("PS", 3))
    shift = torch.tensor([[-3.0, -0.7, 1.0]], dtype=torch.float64)  # range -2..0
    with torch.no_grad():
        layer.quantizer.shift.copy_(shift)
    penalty = shift_penalty(layer, weight_decay=0.2)
    penalty.backward()
    squares = 4.0 ** shift.clamp(-2, 0)
    torch.testing.assert_close(penalty, 0.1 * squares.sum())
    torch.testing.assert_close(layer.quantizer.shift.grad, 0.2 * math.log(2) * squares)


def test_penalty_of_a_network_without_shifts_is_zero() -> None:
    net = convert_to_shift(small_net(), 3, settings=ShiftSettings("Q"))
    assert shift_penalty(net, weight_decay=0.2).item() == 0


def test_random_start_has_the_published_ranges() -> None:
    layers = nn.Sequential(nn.Conv2d(8, 32, 3), nn.Flatten(), nn.Linear(32, 100))
    net: Any = convert_to_shift(layers, 1)
    with seeded(0):
        randomize_shifts(net)
    conv, linear = net[0].quantizer, net[2].quantizer
    for shift, low, high in ((conv.shift, -10, -1), (linear.shift, -14, 0)):
        assert low <= shift.min() < low + 0.1 and high - 0.1 < shift.max() <= high
    for sign in (conv.sign, linear.sign):
        assert -1 <= sign.min() < -0.95 and 0.95 < sign.max() <= 1
    assert (conv() == 0).double().mean().item() == pytest.approx(0.5, abs=0.05)


def test_random_start_leaves_q_as_it_is() -> None:
    net = convert_to_shift(small_net(), 3, settings=ShiftSettings("Q"))
    before = copy.deepcopy(net.state_dict())
    randomize_shifts(net)
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())


# --- bad input ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"weight_bits": 1},
        {"weight_bits": 9},
        {"weight_bits": 2.5},
        {"weight_bits": True},
        {"shift_type": "ps"},
        {"rounding": "nearest"},
        {"activation_integer_bits": 1},
        {"activation_integer_bits": 33},
        {"activation_fraction_bits": -1},
        {"activation_integer_bits": None},
        {"activation_fraction_bits": None},
    ],
)
def test_bad_settings_raise(settings: dict[str, Any]) -> None:
    with pytest.raises(InputDataError, match=next(iter(settings))):
        ShiftSettings(**settings)


@pytest.mark.parametrize("depth", [-1, 4, 1.0, True])
def test_bad_depth_raises(depth: Any) -> None:
    with pytest.raises(InputDataError, match=r"depth to be an integer in 0\.\.3"):
        convert_to_shift(small_net(), depth)


def test_derived_layers_are_refused() -> None:
    class Scaled(nn.Conv2d):
        def forward(self, input: Tensor) -> Tensor:
            return 2 * super().forward(input)

    net = nn.Sequential(Scaled(1, 1, 1), nn.Conv2d(1, 1, 1))
    assert kinds(convert_to_shift(net, 1))["1"] == "ShiftConv2d"
    with pytest.raises(UnsupportedError, match="Scaled"):
        convert_to_shift(net, 2)


# --- training -----------------------------------------------------------------------


def digits_net() -> nn.Module:
    def block(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
        conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        return [conv, nn.BatchNorm2d(outputs), nn.ReLU()]

    with seeded(0):
        blocks = [*block(1, 16, 1), *block(16, 32, 2), *block(32, 32, 1)]
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)]
        return nn.Sequential(*blocks, *head)


def trained_error(net: nn.Module) -> float:
    """Error on the validation and test images after two phases of training."""
    data = digits()
    for epochs, lr in ((15, 0.02), (6, 0.001)):
        train_classifier(
            net,
            data,
            TrainingSettings(epochs=epochs, batch_size=32, lr=lr),
            seed=0,
            parameters=shift_parameter_groups(net, weight_decay=0.0),
            penalty=partial(shift_penalty, weight_decay=1e-4),
        )
    X = torch.cat([data.X_val, data.X_test])
    return validate(net, X, torch.cat([data.y_val, data.y_test]))[0]


@pytest.fixture(scope="module")
def float_error() -> float:
    pytest.importorskip("sklearn")
    error = trained_error(digits_net())
    assert error < 0.03
    return error


@pytest.mark.parametrize("shift_type", TYPES)
def test_shift_networks_learn_digits_like_the_float_network(
    shift_type: Any, float_error: float
) -> None:
    net = convert_to_shift(digits_net(), 3, settings=ShiftSettings(shift_type, 5))
    assert trained_error(net) <= float_error + 0.03
