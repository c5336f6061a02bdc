r"""Deep shift networks: convolutions and linear layers whose weights are shifts.

A weight that is a power of two turns a multiplication into a shift of the activation's
bits (DeepShift, Elhoushi et al., CVPR Workshops 2021, arXiv 1905.13298). The layers
here *emulate* that: they compute with floating-point numbers which are exactly the
powers of two and the fixed-point activations that shift hardware would use.

NOTE: on ordinary hardware an emulated shift is a multiplication plus the work of
rounding, so these layers cost more time and energy than the float layers they replace,
not less. What a shift unit would save is the business of
:class:`~botorch_flexibo.nn.energy.EnergyModel`; what this machine really spends is that
of :mod:`botorch_flexibo.nn.meters`. The two answer different questions.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from botorch.exceptions.errors import InputDataError, UnsupportedError
from torch import Tensor, nn
from torch.nn import functional as F

from botorch_flexibo.nn._quantizers import ShiftSettings, ShiftSignWeight


class _ShiftLayer(nn.Module):
    """A weight of shifts, a bias and the rounding of what they act on."""

    bias: nn.Parameter | None
    # Range of latent shifts drawn at random; None for all exponents.
    initial_shifts: tuple[float, float] | None = None

    def __init__(
        self, layer: nn.Linear | nn.Conv2d, settings: ShiftSettings | None
    ) -> None:
        super().__init__()
        self.settings = ShiftSettings() if settings is None else settings
        self.quantizer = self.settings.weight(layer.weight)
        self.quantizer.requires_grad_(layer.weight.requires_grad)
        bias = None
        if layer.bias is not None:
            bias = nn.Parameter(
                layer.bias.detach().clone(), requires_grad=layer.bias.requires_grad
            )
        self.register_parameter("bias", bias)
        self._fixed_point = self.settings.activation
        self.train(layer.training)

    @property
    def weight(self) -> Tensor:
        """The rounded weight, every element a signed power of two."""
        return self.quantizer()

    def _operands(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Input, weight and bias as the shift unit sees them."""
        fixed, bias = self._fixed_point, self.bias
        if fixed is None:
            return x, self.weight, bias
        return fixed(x), self.weight, None if bias is None else fixed(bias)


class ShiftLinear(_ShiftLayer):
    r"""A linear layer whose weights are signed powers of two.

    It computes ``fixed(x) W^T + fixed(b)`` with ``W`` the rounded latents, see
    :class:`~botorch_flexibo.nn.deep_shift.ShiftSettings`.

    NOTE: in the published code linear PS layers skip the rounding of activations, where
    linear Q layers and all convolutions do it. Here all do it.

    Example:
        >>> from botorch_flexibo.nn import ShiftLinear, ShiftSettings
        >>> layer = ShiftLinear(torch.nn.Linear(8, 3), ShiftSettings("Q", 3))
        >>> layer(torch.zeros(4, 8)).shape
        torch.Size([4, 3])
        >>> layer.weight.abs().unique().log2().tolist()  # 3 bits: exponents -3..0
        [-3.0, -2.0]
    """

    def __init__(self, layer: nn.Linear, settings: ShiftSettings | None = None) -> None:
        r"""Take over a float layer, which stays as it is.

        Args:
            layer: The layer whose sizes, weights, bias, device and dtype to take over.
            settings: The kind of shift and the numbers of bits.
        """
        super().__init__(layer, settings)
        self.in_features = layer.in_features
        self.out_features = layer.out_features

    def forward(self, x: Tensor) -> Tensor:
        r"""Apply the layer.

        Args:
            x: A ``batch_shape x in_features``-dim tensor.

        Returns:
            A ``batch_shape x out_features``-dim tensor.
        """
        return F.linear(*self._operands(x))

    def extra_repr(self) -> str:
        """What ``repr`` shows in the brackets."""
        return f"{self.in_features}, {self.out_features}, {self.settings}"


class ShiftConv2d(_ShiftLayer):
    r"""A two-dimensional convolution whose weights are signed powers of two.

    It computes the convolution of ``fixed(x)`` with the rounded latents plus
    ``fixed(b)``, see :class:`~botorch_flexibo.nn.deep_shift.ShiftSettings`. Strides,
    dilations, groups and all padding modes of ``torch.nn.Conv2d`` are supported.

    Example:
        >>> from botorch_flexibo.nn import ShiftConv2d
        >>> layer = ShiftConv2d(torch.nn.Conv2d(3, 8, 3, stride=2, padding=1))
        >>> layer(torch.zeros(1, 3, 8, 8)).shape
        torch.Size([1, 8, 4, 4])
    """

    initial_shifts = (-10.0, -1.0)

    def __init__(self, layer: nn.Conv2d, settings: ShiftSettings | None = None) -> None:
        r"""Take over a float layer, which stays as it is.

        Args:
            layer: The layer whose geometry, weights, bias, device and dtype to take
                over.
            settings: The kind of shift and the numbers of bits.
        """
        super().__init__(layer, settings)
        self.in_channels = layer.in_channels
        self.out_channels = layer.out_channels
        self.kernel_size = layer.kernel_size
        self.stride = layer.stride
        self.padding = layer.padding
        self.dilation = layer.dilation
        self.groups = layer.groups
        self.padding_mode = layer.padding_mode

    def forward(self, x: Tensor) -> Tensor:
        r"""Apply the layer.

        Args:
            x: A ``batch x in_channels x height x width``-dim tensor.

        Returns:
            A ``batch x out_channels x height' x width'``-dim tensor.
        """
        x, weight, bias = self._operands(x)
        padding = self.padding
        if self.padding_mode != "zeros":
            x = F.pad(x, self._pad_amounts(), mode=self.padding_mode)
            padding = 0
        return F.conv2d(
            x, weight, bias, self.stride, padding, self.dilation, self.groups
        )

    def _pad_amounts(self) -> list[int]:
        """Left, right, top and bottom, as ``torch.nn.functional.pad`` takes them."""
        amounts: list[int] = []
        for i in (1, 0):
            if isinstance(self.padding, str):
                spread = self.dilation[i] * (self.kernel_size[i] - 1)
                total = spread if self.padding == "same" else 0
                amounts += [total // 2, total - total // 2]
            else:
                amounts += [self.padding[i], self.padding[i]]
        return amounts

    def extra_repr(self) -> str:
        """What ``repr`` shows in the brackets."""
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size},"
            f" stride={self.stride}, {self.settings}"
        )


_CONVERTERS: dict[type[nn.Module], Callable[[Any, ShiftSettings | None], nn.Module]] = {
    nn.Conv2d: ShiftConv2d,
    nn.Linear: ShiftLinear,
}


def count_convolutions(model: nn.Module) -> int:
    r"""The number of two-dimensional convolutions that can become shifts.

    Args:
        model: The network.

    Returns:
        The largest depth that :func:`convert_to_shift` accepts.

    Example:
        >>> from botorch_flexibo.nn import count_convolutions
        >>> count_convolutions(torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3)))
        1
    """
    return len(_layers(model, nn.Conv2d))


def convert_to_shift(
    model: nn.Module, depth: int, *, settings: ShiftSettings | None = None
) -> nn.Module:
    r"""Replace the last convolutions, and all linear layers, by shift layers.

    Modules are met in the reverse order of their registration, so that the ``depth``
    convolutions nearest to the output are replaced. Linear layers are not counted: all
    of them are replaced as soon as ``depth > 0``. This is what the published code does;
    its description says that the depth counts from the input.

    The new layers take over the float weights at the nearest exponent, so a trained
    network can be converted. Where few bits leave only large magnitudes, small weights
    become larger by orders of magnitude: a batch normalisation behind each convolution
    absorbs that, networks without one may diverge.

    Args:
        model: The network. It stays as it is; forward hooks of replaced layers are not
            taken over.
        depth: How many convolutions to replace, 0..:func:`count_convolutions`. 0 gives
            an unchanged copy of the network. A network without convolutions thus stays
            as it is: build it with :class:`ShiftLinear`.
        settings: The kind of shift and the numbers of bits.

    Returns:
        A converted deep copy.

    Raises:
        InputDataError: If ``depth`` is not among 0..:func:`count_convolutions`.
        UnsupportedError: If a layer to replace is of a class derived from
            ``torch.nn.Conv2d`` or ``torch.nn.Linear``, whose own behaviour would be
            lost.

    Example:
        >>> from botorch_flexibo.nn import convert_to_shift
        >>> net = torch.nn.Sequential(
        ...     torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 4, 3)
        ... )
        >>> [type(layer).__name__ for layer in convert_to_shift(net, 1)]
        ['Conv2d', 'ReLU', 'ShiftConv2d']
    """
    limit = count_convolutions(model)
    if isinstance(depth, bool) or not isinstance(depth, int) or not 0 <= depth <= limit:
        raise InputDataError(
            f"Expected depth to be an integer in 0..{limit}, the number of"
            f" convolutions, but got {depth!r}. Choose one in this range."
        )
    model = copy.deepcopy(model)
    if depth == 0:
        return model
    replaced = _layers(model, nn.Conv2d)[-depth:] + _layers(model, nn.Linear)
    shifts: dict[nn.Module, nn.Module] = {}
    for layer in replaced:
        if type(layer) not in _CONVERTERS:
            raise UnsupportedError(
                "Expected plain Conv2d and Linear layers, but got one of type"
                f" {type(layer).__name__}. Replace it before the conversion, or choose"
                " a smaller depth."
            )
        shifts[layer] = _CONVERTERS[type(layer)](layer, settings)
    return _substitute(model, shifts)


def randomize_shifts(model: nn.Module) -> None:
    r"""Draw all latent shifts and signs at random, in place.

    This is how the published code starts PS networks that are trained from scratch:
    signs uniform in [-1, 1], so that about half of the weights start at zero, and
    shifts uniform in [-10, -1] for convolutions and over all exponents for linear
    layers. Draws come from torch's default generator. Q layers stay as they are.

    Args:
        model: A converted network, see :func:`convert_to_shift`.
    """
    for layer in model.modules():
        if isinstance(layer, _ShiftLayer):
            weight = layer.quantizer
            if isinstance(weight, ShiftSignWeight):
                low, high = layer.initial_shifts or (weight.min_exponent, 0.0)
                weight.draw_latents(low, high)


def shift_parameter_groups(
    model: nn.Module, *, weight_decay: float
) -> list[dict[str, Any]]:
    r"""Parameters grouped for an optimiser: latent shifts and signs do not decay.

    Decay would pull a latent shift towards 0, which is the largest magnitude. Add
    :func:`shift_penalty` to the loss instead.

    Args:
        model: The network.
        weight_decay: The decay of all other parameters, among them the latents of Q.

    Returns:
        Groups for the constructor of an optimiser: all others, signs, shifts. Empty
        groups are left out.

    Example:
        >>> from botorch_flexibo.nn import ShiftLinear, shift_parameter_groups
        >>> groups = shift_parameter_groups(
        ...     ShiftLinear(torch.nn.Linear(8, 3)), weight_decay=1e-4
        ... )
        >>> [(len(g["params"]), g["weight_decay"]) for g in groups]
        [(1, 0.0001), (1, 0.0), (1, 0.0)]
    """
    pairs = [m for m in model.modules() if isinstance(m, ShiftSignWeight)]
    signs = [pair.sign for pair in pairs]
    shifts = [pair.shift for pair in pairs]
    latents = {id(parameter) for parameter in signs + shifts}
    others = [p for p in model.parameters() if id(p) not in latents]
    decays = ((others, weight_decay), (signs, 0.0), (shifts, 0.0))
    return [{"params": ps, "weight_decay": decay} for ps, decay in decays if ps]


def shift_penalty(model: nn.Module, *, weight_decay: float) -> Tensor:
    r"""Weight decay for latent shifts: ``weight_decay / 2`` times the sum of (2^s)^2.

    Args:
        model: The network.
        weight_decay: The decay, not negative.

    Returns:
        A scalar to add to the loss; 0 for a network without PS layers.

    Example:
        >>> from botorch_flexibo.nn import ShiftLinear, shift_penalty
        >>> layer = ShiftLinear(torch.nn.Linear(8, 3))
        >>> bool(shift_penalty(layer, weight_decay=1e-4) > 0)
        True
    """
    total = torch.zeros(())
    for module in model.modules():
        if isinstance(module, ShiftSignWeight):
            total = total + module.squared_magnitudes()
    return weight_decay / 2 * total


def _layers(model: nn.Module, kind: type[nn.Module]) -> list[nn.Module]:
    """Modules of a class in the order of their registration, each once."""
    return [module for module in model.modules() if isinstance(module, kind)]


def _substitute(model: nn.Module, new: dict[nn.Module, nn.Module]) -> nn.Module:
    """Put new modules in the place of old ones, wherever these are registered."""
    if model in new:
        return new[model]
    for path, module in list(model.named_modules(remove_duplicate=False)):
        if module in new:
            parent, _, name = path.rpartition(".")
            setattr(model.get_submodule(parent), name, new[module])
    return model
