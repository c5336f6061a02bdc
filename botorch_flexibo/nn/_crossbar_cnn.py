r"""A small convolutional network that computes with few bits, as crossbars do."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from botorch_flexibo.nn._crossbar_space import CNNSettings


class CrossbarCNN(nn.Module):
    r"""Two blocks of convolution, non-linearity and pooling, then a hidden layer.

    The weights of each layer and its inputs are rounded to the bits of the settings,
    and gradients pass the rounding unchanged ("straight-through"). Biases are not
    rounded: they are added digitally.
    """

    def __init__(
        self, settings: CNNSettings, image_shape: tuple[int, int, int], num_classes: int
    ) -> None:
        r"""Draw initial weights from torch's global random number generator.

        Args:
            settings: The network.
            image_shape: Channels, height and width of an image, at least 4 x 4 pixels.
            num_classes: The number of classes.
        """
        super().__init__()
        channels, height, width = image_shape
        relu = settings.nonlinearity == "relu"
        weights, inputs = settings.weight_bits, settings.activation_bits
        self.conv_1 = _QuantizedConv2d(
            channels, settings.maps_1, settings.kernel_1, weights, _Rounding(inputs)
        )
        self.conv_2 = _QuantizedConv2d(
            settings.maps_1,
            settings.maps_2,
            settings.kernel_2,
            weights,
            _Rounding(inputs, signed=not relu),
        )
        features = settings.maps_2 * (height // 4) * (width // 4)
        self.hidden = _QuantizedLinear(
            features, settings.hidden, weights, _Rounding(inputs, signed=not relu)
        )
        self.output = _QuantizedLinear(
            settings.hidden, num_classes, weights, _Rounding(inputs, signed=not relu)
        )
        self.activation = nn.ReLU() if relu else nn.Tanh()
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, X: Tensor) -> Tensor:
        r"""Classify images.

        Args:
            X: An ``n x channels x height x width`` tensor of images in [0, 1].

        Returns:
            An ``n x num_classes`` tensor of logits.
        """
        X = F.max_pool2d(self.activation(self.conv_1(X)), 2)
        X = F.max_pool2d(self.activation(self.conv_2(X)), 2)
        X = self.dropout(self.activation(self.hidden(X.flatten(start_dim=1))))
        return self.output(X)


def fake_quantize(X: Tensor, peak: Tensor, bits: int, *, signed: bool) -> Tensor:
    r"""Round to evenly spaced levels; the gradient is that of the identity.

    Args:
        X: The values.
        peak: The largest magnitude that has a level, a scalar.
        bits: The number of bits: ``2^bits - 1`` levels, at least 2 bits if signed.
        signed: Levels in ``[-peak, peak]``, symmetric and with a zero, instead of
            ``[0, peak]``.

    Returns:
        A tensor of the shape of ``X``.
    """
    top = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
    step = (peak / top).clamp(min=torch.finfo(X.dtype).tiny)
    levels = (X / step).round().clamp(min=-top if signed else 0, max=top)
    return X + (levels * step - X).detach()


class _Rounding(nn.Module):
    """Rounds inputs; the range is that of the batch, on evaluation a running mean."""

    peak: Tensor

    def __init__(self, bits: int, *, signed: bool = False) -> None:
        super().__init__()
        self.bits, self.signed = bits, signed
        self.register_buffer("peak", torch.tensor(torch.nan))

    def forward(self, X: Tensor) -> Tensor:
        peak = self.peak
        if self.training or bool(peak.isnan()):
            peak = X.detach().abs().amax()
            new = torch.where(self.peak.isnan(), peak, self.peak.lerp(peak, 0.1))
            self.peak.copy_(new)
        return fake_quantize(X, peak, self.bits, signed=self.signed)


class _QuantizedConv2d(nn.Conv2d):
    """A convolution that keeps the size of the maps, with rounded numbers."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        bits: int,
        rounding: _Rounding,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, padding=kernel_size // 2
        )
        self.bits, self.rounding = bits, rounding

    def forward(self, input: Tensor) -> Tensor:
        weight = _rounded_weight(self.weight, self.bits)
        return F.conv2d(self.rounding(input), weight, self.bias, padding=self.padding)


class _QuantizedLinear(nn.Linear):
    """A fully connected layer with rounded numbers."""

    def __init__(
        self, in_features: int, out_features: int, bits: int, rounding: _Rounding
    ) -> None:
        super().__init__(in_features, out_features)
        self.bits, self.rounding = bits, rounding

    def forward(self, input: Tensor) -> Tensor:
        weight = _rounded_weight(self.weight, self.bits)
        return F.linear(self.rounding(input), weight, self.bias)


def _rounded_weight(weight: Tensor, bits: int) -> Tensor:
    """Weights rounded to symmetric levels up to the largest of them."""
    return fake_quantize(weight, weight.detach().abs().amax(), bits, signed=True)
