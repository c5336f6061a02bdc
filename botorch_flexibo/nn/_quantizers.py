r"""How real-valued latents become powers of two and fixed-point numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from botorch.exceptions.errors import InputDataError
from torch import Tensor, nn

ShiftType = Literal["Q", "PS"]
Rounding = Literal["deterministic", "stochastic"]

_MIN_BITS = 2
# Beyond 8 bits the smallest magnitude, 2^-(2^(b-1) - 1), underflows in float32.
_MAX_BITS = 8
_MAX_ACTIVATION_BITS = 32


def round_stochastically(x: Tensor) -> Tensor:
    r"""Round up with a probability equal to the fraction, else down.

    The draws come from torch's default generator of the device of ``x``, so
    ``torch.manual_seed`` and ``torch.random.fork_rng`` make them reproducible.

    Args:
        x: A tensor of any shape.

    Returns:
        Whole numbers of the shape of ``x``, with expectation ``x``.
    """
    low = x.floor()
    return low + (torch.rand_like(x) < x - low).to(x)


ROUNDINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "deterministic": torch.round,
    "stochastic": round_stochastically,
}


def straight_through(latent: Tensor, value: Tensor) -> Tensor:
    r"""A value that passes its gradient on to a latent as well, unchanged.

    It is built of plain operations, which compile where custom gradients may not.
    Adding the difference of equal numbers leaves ``value`` exactly as it is, unless the
    latent is not finite.

    Args:
        latent: A tensor.
        value: A tensor of the same shape; its own gradient, if any, stays.

    Returns:
        ``value``.
    """
    if not (torch.is_grad_enabled() and latent.requires_grad):
        return value
    return value + (latent - latent.detach())


@dataclass(frozen=True)
class FixedPoint:
    r"""Truncation to fixed-point numbers of ``I`` integer and ``F`` fraction bits.

    It maps ``x`` to ``clamp(floor(x 2^F) / 2^F, -2^(I-1), 2^(I-1) - 1)``. The sign is
    among the integer bits. The gradient is that of the identity, also where the value
    is clamped (DeepShift, Elhoushi et al., 2021). Half-precision inputs are rounded in
    float32 and returned in their own type.

    Attributes:
        integer_bits: ``I``, 2..32.
        fraction_bits: ``F``, 0..32.
    """

    integer_bits: int
    fraction_bits: int

    def __post_init__(self) -> None:
        """Check the numbers of bits.

        Raises:
            InputDataError: If a number of bits is out of range.
        """
        _check_bits("activation_integer_bits", self.integer_bits, low=2)
        _check_bits("activation_fraction_bits", self.fraction_bits, low=0)

    @property
    def bits(self) -> int:
        """Bits of one number."""
        return self.integer_bits + self.fraction_bits

    def __call__(self, x: Tensor) -> Tensor:
        r"""Truncate a tensor.

        Args:
            x: A floating-point tensor of any shape.

        Returns:
            A tensor of the same shape and type, with the gradient of ``x``.
        """
        scale, bound = 2.0**self.fraction_bits, 2.0 ** (self.integer_bits - 1)
        wide = x.detach().to(torch.promote_types(x.dtype, torch.float32))
        value = ((wide * scale).floor() / scale).clamp(-bound, bound - 1).to(x.dtype)
        return straight_through(x, value)


class ShiftWeight(nn.Module, ABC):
    r"""A weight of which every element is a signed power of two.

    It holds real-valued latent parameters. Calling it gives the weight, to which the
    latents are rounded anew each time.

    NOTE: the published code clamps the latents in place at every forward pass, also
    during evaluation. Here only the rounded value is clamped: a forward pass then has
    no side effect, works under ``torch.compile`` and lets a Q weight cross zero, which
    at few bits the in-place clamp forbids (it puts each small weight back to the
    smallest magnitude). The straight-through gradient is the identity there too, so
    a latent outside of the range still receives its gradient.

    NOTE: the published code rounds stochastically during evaluation as well, which
    makes the validation error of a fixed network random. Here evaluation always rounds
    to the nearest.
    """

    def __init__(self, *, bits: int, rounding: str) -> None:
        r"""Set up the code book.

        Args:
            bits: Bits of one weight, 2..8.
            rounding: How exponents are rounded in training: "deterministic" (to the
                nearest) or "stochastic" (up with a probability equal to the fraction).

        Raises:
            InputDataError: If ``bits`` is out of range or ``rounding`` unknown.
        """
        super().__init__()
        _check_bits("weight_bits", bits, low=_MIN_BITS, high=_MAX_BITS)
        if rounding not in ROUNDINGS:
            raise InputDataError(
                f"Expected rounding to be one of {tuple(ROUNDINGS)}, but got"
                f" {rounding!r}. Choose one of these."
            )
        self.bits = bits
        self.rounding = rounding

    @property
    @abstractmethod
    def min_exponent(self) -> int:
        """The exponent of the smallest magnitude; the largest is 0."""

    @abstractmethod
    def forward(self) -> Tensor:
        r"""The rounded weight.

        Returns:
            A tensor of the shape of the latents, each element a code.
        """

    def _round(self, x: Tensor) -> Tensor:
        return ROUNDINGS[self.rounding if self.training else "deterministic"](x)

    def extra_repr(self) -> str:
        """What ``repr`` shows in the brackets."""
        return f"bits={self.bits}, rounding={self.rounding!r}"


class RoundedWeight(ShiftWeight):
    r"""DeepShift-Q: the sign of the latent times the nearest power of two.

    With ``b`` bits and the latent ``w``::

        p = R(clamp(log2|w|, -(2^(b-1) - 1), 0)),    weight = sign(w) 2^p

    These are ``2^b`` codes. Zero is not among them: a latent of exactly zero counts as
    positive. The gradient goes to ``w`` unchanged.
    """

    def __init__(self, weight: Tensor, *, bits: int, rounding: str) -> None:
        r"""Take over a float weight.

        Args:
            weight: The latent to start from, of any shape.
            bits: Bits of one weight, 2..8.
            rounding: "deterministic" or "stochastic", see :class:`ShiftWeight`.

        Raises:
            InputDataError: If ``bits`` is out of range or ``rounding`` unknown.
        """
        super().__init__(bits=bits, rounding=rounding)
        self.latent = nn.Parameter(weight.detach().clone())

    @property
    def min_exponent(self) -> int:
        """The exponent of the smallest magnitude, ``-(2^(b-1) - 1)``."""
        return 1 - 2 ** (self.bits - 1)

    def forward(self) -> Tensor:
        r"""The rounded weight.

        Returns:
            A tensor of the shape of the latent, each element a code.
        """
        latent = self.latent.detach()
        exponent = self._round(latent.abs().log2().clamp(self.min_exponent, 0))
        magnitude = torch.exp2(exponent)
        value = torch.where(latent < 0, -magnitude, magnitude)
        return straight_through(self.latent, value)


class ShiftSignWeight(ShiftWeight):
    r"""DeepShift-PS: a power of two times a ternary sign, with a latent for each.

    With ``b`` bits, the latent shift ``s`` and the latent sign ``g``::

        p = R(clamp(s, -(2^(b-1) - 2), 0)),    t = sign(R(g)),    weight = 2^p t

    These are ``2^b - 1`` codes, zero among them. With ``v`` the weight, the gradients
    are those of the published code: ``dL/ds = dL/dv t ln(2) 2^p`` and
    ``dL/dg = dL/dv``, which is not scaled by ``2^p``.

    NOTE: latents start at ``s = log2|w|`` and ``g = sign(w)`` of a float weight ``w``,
    also where few bits make zero the code nearest in value: at 2 or 3 bits that is the
    case for nearly all weights of a usual initialisation, and the network would be
    dead. Only a weight of exactly zero starts at code zero.
    """

    def __init__(self, weight: Tensor, *, bits: int, rounding: str) -> None:
        r"""Take over a float weight.

        Args:
            weight: The float weight to start from, of any shape.
            bits: Bits of one weight, 2..8.
            rounding: "deterministic" or "stochastic", see :class:`ShiftWeight`.

        Raises:
            InputDataError: If ``bits`` is out of range or ``rounding`` unknown.
        """
        super().__init__(bits=bits, rounding=rounding)
        weight = weight.detach()
        self.shift = nn.Parameter(weight.abs().log2().clamp(self.min_exponent, 0))
        self.sign = nn.Parameter(weight.sign())

    @property
    def min_exponent(self) -> int:
        """The exponent of the smallest magnitude, ``-(2^(b-1) - 2)``."""
        return 2 - 2 ** (self.bits - 1)

    def forward(self) -> Tensor:
        r"""The rounded weight.

        Returns:
            A tensor of the shape of the latents, each element a code.
        """
        exponent = self._round(self.shift.detach().clamp(self.min_exponent, 0))
        ternary = self._round(self.sign.detach()).sign()
        magnitude = torch.exp2(straight_through(self.shift, exponent))
        return straight_through(self.sign, magnitude * ternary)

    @torch.no_grad()
    def draw_latents(self, low: float, high: float) -> None:
        r"""Draw the latents anew: shifts uniform in a range, signs uniform in [-1, 1].

        Args:
            low: The smallest shift.
            high: The largest shift.
        """
        self.shift.uniform_(low, high)
        self.sign.uniform_(-1, 1)

    def squared_magnitudes(self) -> Tensor:
        r"""The sum of ``(2^s)^2``, with the gradient of an unclamped ``s``.

        Returns:
            A scalar.
        """
        clamped = self.shift.detach().clamp(self.min_exponent, 0)
        return torch.exp2(2 * straight_through(self.shift, clamped)).sum()


_WEIGHTS: dict[str, type[RoundedWeight] | type[ShiftSignWeight]] = {
    "Q": RoundedWeight,
    "PS": ShiftSignWeight,
}


@dataclass(frozen=True)
class ShiftSettings:
    r"""What the numbers in a shift layer look like.

    Attributes:
        shift_type: "Q", a latent weight that is rounded to a power of two, or "PS", a
            latent shift and a latent sign.
        weight_bits: Bits of one weight, 2..8. Beyond 5 the further codes are so small
            that they change next to nothing.
        activation_integer_bits: Bits before the point of a layer's input and bias, with
            the sign, 2..32. None, together with the next, leaves them floating.
        activation_fraction_bits: Bits after the point, 0..32.
        rounding: How exponents are rounded in training: "deterministic" (to the
            nearest) or "stochastic" (up with a probability equal to the fraction).
            Evaluation always rounds to the nearest.

    Example:
        >>> from botorch_flexibo.nn import ShiftSettings
        >>> ShiftSettings(weight_bits=4).activation
        FixedPoint(integer_bits=16, fraction_bits=16)
    """

    shift_type: ShiftType = "PS"
    weight_bits: int = 5
    activation_integer_bits: int | None = 16
    activation_fraction_bits: int | None = 16
    rounding: Rounding = "deterministic"

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            InputDataError: If a name is unknown, a number of bits is out of range, or
                just one of the activations' numbers of bits is None.
        """
        if self.shift_type not in get_args(ShiftType):
            raise InputDataError(
                f"Expected shift_type to be one of {get_args(ShiftType)}, but got"
                f" {self.shift_type!r}. Choose one of these."
            )
        activation_bits = (self.activation_integer_bits, self.activation_fraction_bits)
        if activation_bits.count(None) == 1:
            raise InputDataError(
                "Expected both activation_integer_bits and activation_fraction_bits or"
                f" neither, but got {activation_bits}. Pass None for both to leave"
                " activations floating."
            )
        # What they build checks the numbers of bits and the rounding.
        _ = self.activation
        self.weight(torch.zeros(0))

    @property
    def activation(self) -> FixedPoint | None:
        """The format of activations and biases; None if they stay floating."""
        integer, fraction = self.activation_integer_bits, self.activation_fraction_bits
        if integer is None or fraction is None:
            return None
        return FixedPoint(integer, fraction)

    def weight(self, weight: Tensor) -> ShiftWeight:
        r"""Latent parameters that start from a float weight.

        Args:
            weight: The float weight, of any shape.

        Returns:
            The module that holds the latents and gives the rounded weight.

        Raises:
            InputDataError: If the bits are out of range or the rounding unknown.
        """
        return _WEIGHTS[self.shift_type](
            weight, bits=self.weight_bits, rounding=self.rounding
        )


def _check_bits(
    name: str, bits: int, *, low: int, high: int = _MAX_ACTIVATION_BITS
) -> None:
    if isinstance(bits, bool) or not isinstance(bits, int) or not low <= bits <= high:
        raise InputDataError(
            f"Expected {name} to be an integer in {low}..{high}, but got {bits!r}."
            " Choose one in this range."
        )
