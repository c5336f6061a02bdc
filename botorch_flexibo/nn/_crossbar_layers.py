r"""What is mapped to crossbars, and the settings of the crossbars."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from botorch.exceptions.errors import BotorchTensorDimensionError, InputDataError
from torch import Tensor


@dataclass(frozen=True, eq=False)
class CrossbarLayers:
    r"""The layers of networks as weight matrices, one design per batch element.

    A layer with zeros in all three tensors is absent, so that networks of different
    depths fit into one batch.

    Attributes:
        rows: A ``batch_shape x num_layers`` tensor: inputs of each weight matrix,
            ``in_channels * kernel_size**2`` of a convolution.
        cols: A ``batch_shape x num_layers`` tensor: outputs of each weight matrix.
        positions: A ``batch_shape x num_layers`` tensor: how often each matrix is
            applied in an inference, the output pixels of a convolution.

    Example:
        >>> import torch
        >>> from botorch_flexibo.nn.crossbar import CrossbarLayers
        >>> maps = torch.tensor([8, 16])  # two designs
        >>> layers = CrossbarLayers.cat(
        ...     CrossbarLayers.conv(1, maps, kernel_size=3, positions=64),
        ...     CrossbarLayers.linear(64 * maps, 10),
        ... )
        >>> layers.rows.tolist(), layers.num_macs.tolist()
        ([[9.0, 512.0], [9.0, 1024.0]], [9728.0, 19456.0])
    """

    rows: Tensor
    cols: Tensor
    positions: Tensor

    def __post_init__(self) -> None:
        """Check the tensors.

        Raises:
            BotorchTensorDimensionError: If the shapes differ or there is no layer.
            InputDataError: If a value is not a whole number >= 0, a layer is neither
                absent nor complete, or a design has no layer at all.
        """
        shapes = {field.name: getattr(self, field.name).shape for field in fields(self)}
        shape = self.rows.shape
        if len(set(shapes.values())) > 1 or len(shape) == 0 or shape[-1] == 0:
            listed = ", ".join(f"{name} {tuple(s)}" for name, s in shapes.items())
            raise BotorchTensorDimensionError(
                "Expected rows, cols and positions of one shape `batch_shape x "
                f"num_layers`, but got {listed}. Use CrossbarLayers.conv and .linear."
            )
        for name in shapes:
            _check_whole(name, getattr(self, name), least=0)
        there = [getattr(self, name) > 0 for name in shapes]
        partial = (there[0] != there[1]) | (there[0] != there[2])
        if partial.any() or not there[0].any(dim=-1).all():
            raise InputDataError(
                "Expected each layer to have rows, cols and positions that are all > 0 "
                "or all 0 (absent), and each design to have a layer, but got "
                f"rows={self.rows.tolist()}, cols={self.cols.tolist()}, "
                f"positions={self.positions.tolist()}."
            )

    @classmethod
    def conv(
        cls,
        in_channels: Tensor | int,
        out_channels: Tensor | int,
        *,
        kernel_size: Tensor | int,
        positions: Tensor | int,
    ) -> CrossbarLayers:
        r"""One two-dimensional convolution without groups, with square kernels.

        Args:
            in_channels: Feature maps that come in, a number or ``batch_shape``.
            out_channels: Feature maps that go out, likewise.
            kernel_size: Side of the kernel, likewise.
            positions: Pixels of an output map, height times width, likewise.

        Returns:
            The layer, ``num_layers`` = 1.

        Raises:
            BotorchTensorDimensionError: If the shapes do not broadcast.
            InputDataError: If a value is not a whole number >= 0.
        """
        shape = (in_channels, out_channels, kernel_size, positions)
        channels, cols, side, pixels = _broadcast([_number(value) for value in shape])
        layer = (channels * side**2, cols, pixels)
        return cls(*(value.unsqueeze(-1) for value in layer))

    @classmethod
    def linear(
        cls, in_features: Tensor | int, out_features: Tensor | int
    ) -> CrossbarLayers:
        r"""One fully connected layer.

        Args:
            in_features: Inputs, a number or ``batch_shape``.
            out_features: Outputs, likewise.

        Returns:
            The layer, ``num_layers`` = 1 and one position.

        Raises:
            BotorchTensorDimensionError: If the shapes do not broadcast.
            InputDataError: If a value is not a whole number >= 0.
        """
        return cls.conv(in_features, out_features, kernel_size=1, positions=1)

    @classmethod
    def cat(cls, *layers: CrossbarLayers) -> CrossbarLayers:
        r"""Layers one after the other.

        Args:
            *layers: Layers with batch shapes that broadcast, at least one.

        Returns:
            All layers, of the broadcast batch shape.

        Raises:
            BotorchTensorDimensionError: If there are none or they do not broadcast.
        """
        if not layers:
            raise BotorchTensorDimensionError(
                "Expected at least one layer, but got none. Pass the layers in order."
            )
        shape = _broadcast_shapes([layer.rows.shape[:-1] for layer in layers])
        parts = []
        for field in fields(cls):
            tensors = [getattr(layer, field.name) for layer in layers]
            full = [t.expand(*shape, t.shape[-1]) for t in tensors]
            parts.append(torch.cat(full, dim=-1))
        return cls(*parts)

    @property
    def num_macs(self) -> Tensor:
        """Multiply-accumulate operations of one inference, ``batch_shape``."""
        return (self.rows * self.cols * self.positions).sum(dim=-1)

    @property
    def num_weights(self) -> Tensor:
        """Weights of the network, ``batch_shape``."""
        return (self.rows * self.cols).sum(dim=-1)


@dataclass(frozen=True, eq=False)
class CrossbarHardware:
    r"""Settings of the accelerator, by default those of ISAAC and PUMA.

    Each is a whole number, or a tensor of them that broadcasts with the batch shape of
    the designs.

    Attributes:
        crossbar_size: Rows, and columns, of a crossbar.
        weight_bits: Bits of a weight.
        input_bits: Bits of an input (an activation of the layer before).
        cell_bits: Bits that one memristive cell holds.
        dac_bits: Bits of an input that are applied at a time.

    Example:
        >>> import torch
        >>> from botorch_flexibo.nn.crossbar import CrossbarHardware
        >>> hardware = CrossbarHardware(crossbar_size=torch.tensor([32, 128]))
        >>> hardware.adc_bits.tolist(), float(hardware.num_slices)
        ([6.0, 8.0], 8.0)
    """

    crossbar_size: Tensor | int = 128
    weight_bits: Tensor | int = 16
    input_bits: Tensor | int = 16
    cell_bits: Tensor | int = 2
    dac_bits: Tensor | int = 1

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            BotorchTensorDimensionError: If they do not broadcast with each other.
            InputDataError: If one is not a whole number >= 1.
        """
        for field in fields(self):
            _check_whole(field.name, self.tensor(field.name), least=1)
        _broadcast_shapes([self.tensor(field.name).shape for field in fields(self)])

    def tensor(self, name: str) -> Tensor:
        r"""One setting as a floating-point tensor.

        Args:
            name: Its attribute.

        Returns:
            A tensor, in double precision unless the setting has a precision itself.
        """
        return _number(getattr(self, name))

    def to(self, like: Tensor) -> CrossbarHardware:
        r"""The same settings as tensors.

        Args:
            like: A tensor whose dtype and device they get.

        Returns:
            The settings.
        """
        names = [field.name for field in fields(self)]
        return CrossbarHardware(**{name: self.tensor(name).to(like) for name in names})

    @property
    def size(self) -> Tensor:
        """Rows, and columns, of a crossbar."""
        return self.tensor("crossbar_size")

    @property
    def num_slices(self) -> Tensor:
        """Cells, and thus crossbars, that share the bits of a weight."""
        return (self.tensor("weight_bits") / self.tensor("cell_bits")).ceil()

    @property
    def num_streams(self) -> Tensor:
        """Steps in which an input is applied."""
        return (self.tensor("input_bits") / self.tensor("dac_bits")).ceil()

    @property
    def adc_bits(self) -> Tensor:
        r"""Resolution that the sum of a column needs, at least 1.

        ``ceil(log2 R) + dac_bits + cell_bits``, one less if either has one bit only,
        and one less by ISAAC's encoding, which flips columns of large weights.
        """
        mantissa, exponent = torch.frexp(self.size)  # exact, unlike log2
        log_size = exponent - (mantissa == 0.5).to(exponent.dtype)
        dac, cell = self.tensor("dac_bits"), self.tensor("cell_bits")
        one_bit = (torch.minimum(dac, cell) <= 1).to(dac.dtype)
        return (log_size + dac + cell - one_bit - 1).clamp(min=1)


def broadcast_design_shape(
    layers: CrossbarLayers, hardware: CrossbarHardware
) -> torch.Size:
    r"""Batch shape of designs and settings together.

    Args:
        layers: The layers.
        hardware: The settings.

    Returns:
        The broadcast batch shape.

    Raises:
        BotorchTensorDimensionError: If they do not broadcast.
    """
    settings = [hardware.tensor(field.name).shape for field in fields(hardware)]
    return _broadcast_shapes([layers.rows.shape[:-1], *settings])


def _number(value: Tensor | float) -> Tensor:
    r"""A number or tensor as a floating-point tensor, whole numbers in double.

    Args:
        value: The number or tensor.

    Returns:
        The tensor.
    """
    tensor = torch.as_tensor(value)
    keep = isinstance(value, Tensor) and value.is_floating_point()
    return tensor if keep else tensor.to(torch.float64)


def _broadcast(tensors: list[Tensor]) -> list[Tensor]:
    """Tensors expanded to their common shape."""
    shape = _broadcast_shapes([tensor.shape for tensor in tensors])
    return [tensor.expand(shape) for tensor in tensors]


def _broadcast_shapes(shapes: list[torch.Size]) -> torch.Size:
    r"""The common shape of some shapes.

    Args:
        shapes: The shapes.

    Returns:
        Their broadcast shape.

    Raises:
        BotorchTensorDimensionError: If they do not broadcast.
    """
    try:
        return torch.broadcast_shapes(*shapes)
    except RuntimeError as error:
        raise BotorchTensorDimensionError(
            "Expected shapes that broadcast to one batch shape, but got "
            f"{[tuple(shape) for shape in shapes]}. Use equal shapes, or numbers for "
            "what all designs share."
        ) from error


def _check_whole(name: str, tensor: Tensor, least: int) -> None:
    r"""Raise unless all values are whole numbers.

    Args:
        name: What the values are.
        tensor: The values.
        least: The least value that is allowed.

    Raises:
        InputDataError: If one is fractional, too small or not finite.
    """
    good = tensor.isfinite() & (tensor == tensor.round()) & (tensor >= least)
    if not good.all():
        raise InputDataError(
            f"Expected whole numbers >= {least} in {name}, but got "
            f"{tensor[~good].flatten()[0].item()}. Round them first."
        )
