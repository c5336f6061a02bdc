"""Rounding to few bits, and the network that is mapped to crossbars."""

from __future__ import annotations

import itertools
from dataclasses import asdict, replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from botorch_flexibo.nn._crossbar_cnn import CrossbarCNN, fake_quantize
from botorch_flexibo.nn._crossbar_space import (
    LEVELS,
    CNNSettings,
    cnn_layers,
    decoded,
    encoded,
    level_values,
)
from botorch_flexibo.nn.training import seeded

SETTINGS = CNNSettings(
    kernel_1=5,
    kernel_2=3,
    maps_1=8,
    maps_2=24,
    hidden=32,
    dropout=0.2,
    lr=0.01,
    optimizer="adam",
    nonlinearity="relu",
    weight_bits=3,
    activation_bits=2,
)


def build(seed: int = 0, **changes: Any) -> CrossbarCNN:
    with seeded(seed):
        return CrossbarCNN(replace(SETTINGS, **changes), (1, 8, 8), 10)


def images(n: int, seed: int = 0) -> Tensor:
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def recorded_calls(model: CrossbarCNN) -> dict[str, list[tuple[Tensor, Tensor]]]:
    """Inputs (after rounding) and outputs of each layer in one inference."""
    calls: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):

            def note(layer: nn.Module, args: Any, out: Tensor, key: str = name) -> None:
                rounded = layer.get_submodule("rounding")(args[0])
                calls.setdefault(key, []).append((rounded, out))

            layer.register_forward_hook(note)
    model.eval()
    model(images(1))
    return calls


@settings(deadline=None, max_examples=100)
@given(st.integers(2, 8), st.booleans(), st.floats(0.01, 100.0), st.integers(0, 99))
def test_rounding_picks_the_nearest_of_evenly_spaced_levels(
    bits: int, signed: bool, peak: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    X = 3 * peak * (torch.rand(50, generator=generator, dtype=torch.float64) - 0.5)
    top = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
    count = 2 * top + 1 if signed else top + 1
    levels = torch.linspace(-peak if signed else 0.0, peak, count, dtype=torch.float64)
    nearest = levels[(X[:, None] - levels).abs().argmin(dim=-1)]
    limit = torch.tensor(peak, dtype=torch.float64)
    rounded = fake_quantize(X, limit, bits, signed=signed)
    assert torch.allclose(rounded, nearest, atol=1e-9 * peak)
    # Rounding twice changes nothing.
    again = fake_quantize(rounded, limit, bits, signed=signed)
    assert torch.allclose(again, rounded, atol=1e-9 * peak)


def test_gradient_passes_rounding_unchanged() -> None:
    X = torch.linspace(-1, 1, 9, dtype=torch.float64, requires_grad=True)
    fake_quantize(
        X, torch.tensor(1.0).double(), 2, signed=True
    ).square().sum().backward()
    assert X.grad is not None
    rounded = fake_quantize(X.detach(), torch.tensor(1.0).double(), 2, signed=True)
    assert torch.allclose(X.grad, 2 * rounded)


def test_zeros_can_be_rounded() -> None:
    zeros = torch.zeros(4)
    assert torch.equal(fake_quantize(zeros, zeros.amax(), 4, signed=False), zeros)


@pytest.mark.parametrize("nonlinearity", ["relu", "tanh"])
@pytest.mark.parametrize("bits", [2, 4])
def test_layers_see_no_more_levels_than_their_bits_allow(
    nonlinearity: str, bits: int
) -> None:
    model = build(nonlinearity=nonlinearity, activation_bits=bits)
    model.train()
    model(images(20))
    calls = recorded_calls(model)
    assert list(calls) == ["conv_1", "conv_2", "hidden", "output"]
    for ((rounded, _),) in calls.values():
        steps = rounded.unique()
        assert 2 <= len(steps) <= 2**bits
        if nonlinearity == "relu":
            assert steps.min() >= 0


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_weights_have_no_more_levels_than_their_bits_allow(bits: int) -> None:
    model = build(weight_bits=bits, activation_bits=16).eval()
    unit = torch.eye(32)
    model.output.rounding.peak.fill_(1.0)
    weights = model.output(unit) - model.output.bias
    levels = (weights / 1e-5).round().unique()
    assert len(levels) == 2**bits - 1
    assert torch.allclose(levels, -levels.flip(0))


def test_many_bits_are_as_good_as_floating_point() -> None:
    model = build(weight_bits=16, activation_bits=16)
    X = images(30)
    model.train()
    model(X)  # finds the ranges
    model.eval()
    exact = nn.functional.max_pool2d(
        nn.functional.conv2d(
            X, model.conv_1.weight, model.conv_1.bias, padding=2
        ).relu(),
        2,
    )
    exact = nn.functional.max_pool2d(
        nn.functional.conv2d(
            exact, model.conv_2.weight, model.conv_2.bias, padding=1
        ).relu(),
        2,
    ).flatten(start_dim=1)
    exact = (exact @ model.hidden.weight.T + model.hidden.bias).relu()
    exact = exact @ model.output.weight.T + model.output.bias
    assert torch.allclose(model(X), exact, atol=1e-3)


def test_evaluation_changes_nothing_and_ignores_other_images() -> None:
    model = build()
    model.train()
    model(images(30))
    model.eval()
    X = images(5, seed=1)
    together = model(X)
    alone = torch.cat([model(x) for x in X.split(1)])
    assert torch.allclose(together, alone, atol=1e-5)
    assert torch.equal(model(X), together)


def test_mapped_matrices_are_those_of_the_network() -> None:
    model = build()
    calls = recorded_calls(model)
    values = {
        name: torch.tensor(float(value))
        for name, value in asdict(SETTINGS).items()
        if not isinstance(value, str)
    }
    layers = cnn_layers(values, (1, 8, 8), 10)
    for j, (name, ((_, out),)) in enumerate(calls.items()):
        weight = model.get_submodule(name).weight
        assert isinstance(weight, Tensor)
        assert layers.rows[j] == weight[0].numel()
        assert layers.cols[j] == weight.shape[0]
        assert layers.positions[j] == out[0].numel() / weight.shape[0]


def test_levels_span_the_documented_ranges() -> None:
    assert {name: (v[0], v[-1], len(v)) for name, v in LEVELS.items()} == {
        "kernel_1": (3, 7, 3),
        "kernel_2": (3, 7, 3),
        "maps_1": (8, 64, 8),
        "maps_2": (8, 64, 8),
        "hidden": (32, 512, 5),
        "dropout": (0.0, 0.6, 7),
        "lr": (1e-4, 0.1, 8),
        "optimizer": ("sgd", "adam", 2),
        "nonlinearity": ("relu", "tanh", 2),
        "weight_bits": (2, 16, 6),
        "activation_bits": (2, 16, 6),
        "crossbar_size": (32, 256, 4),
        "cell_bits": (2, 4, 2),
        "dac_bits": (1, 2, 2),
    }
    ratios = [b / a for a, b in itertools.pairwise(LEVELS["lr"])]
    assert ratios == pytest.approx(7 * [10 ** (3 / 7)], rel=1e-2)


def test_decoding_and_encoding_are_inverse() -> None:
    levels = torch.tensor([len(v) for v in LEVELS.values()], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    X = (torch.rand(50, len(levels), generator=generator).double() * levels).floor()
    frame = decoded(X)
    assert torch.equal(encoded(frame), X)
    values = level_values(X)
    assert set(LEVELS) - set(values) == {"optimizer", "nonlinearity"}
    for name, column in values.items():
        assert column.tolist() == frame[name].tolist()
