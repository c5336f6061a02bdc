from __future__ import annotations

from typing import Any

import pytest
import torch
from botorch.exceptions.errors import InputDataError, UnsupportedError
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torch.utils.flop_counter import FlopCounterMode

from botorch_flexibo.nn import (
    LayerShape,
    ShiftSettings,
    convert_to_shift,
    count_convolutions,
    layer_shapes,
)

INPUT = (3, 12, 10)


def wide_net() -> nn.Sequential:
    """Strides, dilations, groups, paddings, rectangles and a linear layer on rows."""
    return nn.Sequential(
        nn.Conv2d(3, 8, (3, 5), padding=(1, 2)),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2, groups=8, bias=False),
        nn.Conv2d(8, 6, 2, dilation=2, groups=2),
        nn.Linear(2, 4),
        nn.Dropout(),
        nn.Flatten(),
        nn.Linear(72, 5),
    )


def test_shapes_match_the_sizes_worked_out_by_hand() -> None:
    settings = ShiftSettings("Q", 3)
    first = nn.Conv2d(3, 4, (3, 2), stride=2, bias=False)
    net = nn.Sequential(first, nn.Conv2d(4, 6, 1, groups=2), nn.Flatten())
    net.append(nn.Linear(6 * 5 * 5, 10))
    conv, grouped, linear = layer_shapes(
        convert_to_shift(net, 1, settings=settings), INPUT
    )
    assert conv == LayerShape(
        name="0",
        kind="conv",
        in_channels=3,
        out_channels=4,
        kernel=(3, 2),
        groups=1,
        positions=5 * 5,
        input_elements=3 * 12 * 10,
        bias=False,
        shift=None,
    )
    assert (conv.fan_in, conv.weights, conv.output_elements) == (18, 72, 100)
    assert conv.macs == 25 * 4 * 3 * 3 * 2
    assert grouped == LayerShape(
        name="1",
        kind="conv",
        in_channels=4,
        out_channels=6,
        kernel=(1, 1),
        groups=2,
        positions=25,
        input_elements=100,
        bias=True,
        shift=settings,
    )
    assert grouped.macs == 25 * 6 * 2
    assert linear == LayerShape(
        name="3",
        kind="linear",
        in_channels=150,
        out_channels=10,
        kernel=(),
        groups=1,
        positions=1,
        input_elements=150,
        bias=True,
        shift=settings,
    )
    assert linear.macs == linear.weights == 1500


@pytest.mark.parametrize("depth", [0, 2, 3])
def test_macs_are_half_of_the_operations_that_torch_counts(depth: int) -> None:
    net = convert_to_shift(wide_net(), depth).eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        net(torch.zeros(1, *INPUT))
    shapes = layer_shapes(net, INPUT)
    assert counter.get_total_flops() == 2 * sum(shape.macs for shape in shapes)
    assert len(shapes) == count_convolutions(wide_net()) + 2
    assert sum(shape.shift is not None for shape in shapes) == (depth and depth + 2)


@pytest.mark.parametrize("dims", [1, 3])
def test_convolutions_of_other_dimensions_are_counted(dims: int) -> None:
    conv: Any = {1: nn.Conv1d, 3: nn.Conv3d}[dims](2, 3, 2)
    (shape,) = layer_shapes(conv, (2,) + (4,) * dims)
    assert shape.name == ""
    assert shape.macs == 3**dims * 3 * 2 * 2**dims


def test_weights_are_those_of_the_layer() -> None:
    net = wide_net()
    for shape in layer_shapes(net, INPUT):
        layer: Any = net.get_submodule(shape.name)
        assert shape.weights == layer.weight.numel()


def test_layer_used_twice_is_listed_twice_and_an_unused_one_is_not() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Linear(4, 4)
            self.twice = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.twice(self.twice(x))

    assert [shape.name for shape in layer_shapes(Net(), (4,))] == ["twice", "twice"]


def test_normalized_weights_are_counted_once() -> None:
    (shape,) = layer_shapes(nn.Sequential(weight_norm(nn.Linear(4, 3))), (4,))
    assert shape.macs == 12


def test_pass_leaves_no_trace() -> None:
    net: Any = convert_to_shift(wide_net(), 2)
    net[1].eval()
    modes = [module.training for module in net.modules()]
    state = {k: v.clone() for k, v in net.state_dict().items()}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer_shapes(net, INPUT)
        drawn = torch.rand(1)
        torch.manual_seed(0)
        assert torch.equal(drawn, torch.rand(1))
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(state[k], v) for k, v in net.state_dict().items())
    assert not any(module._forward_hooks for module in net.modules())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_failed_pass_leaves_no_trace_either() -> None:
    net = wide_net()
    with pytest.raises(RuntimeError):
        layer_shapes(net, (3, 2, 2))
    assert all(module.training for module in net.modules())
    assert not any(module._forward_hooks for module in net.modules())


def test_network_is_passed_in_its_own_type() -> None:
    net = wide_net()
    assert layer_shapes(net.to(torch.bfloat16), INPUT) == layer_shapes(
        wide_net(), INPUT
    )


@pytest.mark.parametrize(
    "module",
    [
        nn.ConvTranspose2d(3, 2, 3),
        nn.MultiheadAttention(4, 2),
        nn.LSTM(3, 2),
        nn.Bilinear(2, 2, 2),
        nn.Embedding(3, 2),
    ],
    ids=lambda module: type(module).__name__,
)
def test_weights_that_would_be_left_out_are_refused(module: nn.Module) -> None:
    with pytest.raises(UnsupportedError, match=type(module).__name__):
        layer_shapes(nn.Sequential(nn.Conv2d(3, 3, 1), module), INPUT)


@pytest.mark.parametrize("shape", [(), (3, 0, 2), (-1,)])
def test_bad_input_shape_raises(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputDataError, match="input_shape"):
        layer_shapes(wide_net(), shape)
