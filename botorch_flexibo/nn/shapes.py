r"""Sizes of the layers of a network, as one pass of its input through it meets them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from botorch.exceptions.errors import InputDataError, UnsupportedError
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from botorch_flexibo.nn.deep_shift import ShiftConv2d, ShiftLinear, ShiftSettings

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, ShiftConv2d)
_LINEARS = (nn.Linear, ShiftLinear)
_Layer = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear | ShiftConv2d | ShiftLinear


@dataclass(frozen=True, kw_only=True)
class LayerShape:
    r"""One use of a convolution or linear layer on one sample.

    Attributes:
        name: Path of the module in the network.
        kind: "conv" or "linear".
        in_channels: Channels or features that go in.
        out_channels: Channels or features that come out.
        kernel: Size of the kernel in each dimension; empty for linear layers.
        groups: Groups of channels that are convolved apart; 1 for linear layers.
        positions: At how many positions of a sample the layer gives
            ``out_channels`` numbers.
        input_elements: Numbers that go in, per sample.
        bias: Whether the layer has a bias.
        shift: The number formats of a shift layer; None for a float layer.
    """

    name: str
    kind: Literal["conv", "linear"]
    in_channels: int
    out_channels: int
    kernel: tuple[int, ...]
    groups: int
    positions: int
    input_elements: int
    bias: bool
    shift: ShiftSettings | None

    @property
    def fan_in(self) -> int:
        """Products that are summed into one output."""
        return self.in_channels // self.groups * math.prod(self.kernel)

    @property
    def weights(self) -> int:
        """Elements of the weight, without the bias."""
        return self.out_channels * self.fan_in

    @property
    def output_elements(self) -> int:
        """Numbers that come out, per sample."""
        return self.positions * self.out_channels

    @property
    def macs(self) -> int:
        """Multiplications, or shifts, and accumulations per sample, with padding."""
        return self.positions * self.weights


def layer_shapes(model: nn.Module, input_shape: Sequence[int]) -> list[LayerShape]:
    r"""Find the layers that a sample passes, by passing a sample of zeros.

    The network runs once in evaluation mode and without gradients; afterwards every
    module is in the mode it was in. A module that is used several times is listed
    several times, one that is not used is not listed. Convolutions and linear layers
    are found. Products that are not layers, such as those of a hand-written attention,
    are not, nor are normalisations, activations and pooling.

    Args:
        model: The network.
        input_shape: The shape of one sample, for example ``(channels, height, width)``.

    Returns:
        The layers in the order of their use.

    Raises:
        InputDataError: If ``input_shape`` is empty or has a size below 1.
        UnsupportedError: If a module of another kind holds weights of two or more
            dimensions, whose operations would be left out.

    Example:
        >>> from botorch_flexibo.nn import layer_shapes
        >>> net = torch.nn.Sequential(
        ...     torch.nn.Conv2d(1, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 10)
        ... )
        >>> [(layer.kind, layer.macs) for layer in layer_shapes(net, (1, 8, 8))]
        [('conv', 1296), ('linear', 1440)]
    """
    if not input_shape or min(input_shape) < 1:
        raise InputDataError(
            "Expected input_shape to be the positive sizes of one sample, but got"
            f" {tuple(input_shape)}. Leave out the batch dimension."
        )
    shapes: list[LayerShape] = []

    def record(name: str, layer: _Layer) -> RemovableHandle:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            shapes.append(_shape(name, layer, inputs[0], output))

        return layer.register_forward_hook(hook)

    handles = [record(name, layer) for name, layer in _layers(model).items()]
    try:
        with _evaluating(model), torch.no_grad():
            model(_zeros(model, input_shape))
    finally:
        for handle in handles:
            handle.remove()
    return shapes


def _layers(model: nn.Module) -> dict[str, _Layer]:
    """Modules to be counted, by their paths.

    Args:
        model: The network.

    Returns:
        Its convolutions and linear layers.

    Raises:
        UnsupportedError: If another module has weights of two or more dimensions.
    """
    layers: dict[str, _Layer] = {}
    within: str | None = None  # What the paths of a layer's own parts start with.
    for name, module in model.named_modules():
        if within is not None and name.startswith(within):
            continue
        if isinstance(module, (*_CONVOLUTIONS, *_LINEARS)):
            layers[name] = module
            within = f"{name}." if name else ""
        elif any(p.ndim > 1 for p in module.parameters(recurse=False)):
            raise UnsupportedError(
                f"Expected convolutions and linear layers, but {name or 'the network'}"
                f" is of type {type(module).__name__} and has weights of its own, which"
                " would not be counted. Build it from convolutions and linear layers."
            )
    return layers


def _shape(name: str, module: _Layer, x: Tensor, output: Tensor) -> LayerShape:
    """The shape of one use of a layer on a batch of one sample."""
    is_shift = isinstance(module, ShiftConv2d | ShiftLinear)
    common: dict[str, Any] = {
        "name": name,
        "input_elements": x.numel(),
        "bias": module.bias is not None,
        "shift": module.settings if is_shift else None,
    }
    if isinstance(module, _LINEARS):
        return LayerShape(
            kind="linear",
            in_channels=module.in_features,
            out_channels=module.out_features,
            kernel=(),
            groups=1,
            positions=output.numel() // module.out_features,
            **common,
        )
    return LayerShape(
        kind="conv",
        in_channels=module.in_channels,
        out_channels=module.out_channels,
        kernel=tuple(module.kernel_size),
        groups=module.groups,
        positions=math.prod(output.shape[2:]),
        **common,
    )


def _zeros(model: nn.Module, input_shape: Sequence[int]) -> Tensor:
    """A batch of one sample on the device and of the type of the first parameter."""
    like = next(model.parameters(), torch.zeros(()))
    return torch.zeros(1, *input_shape, dtype=like.dtype, device=like.device)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for all modules, and afterwards the mode of each."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
