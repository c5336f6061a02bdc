r"""Confidence scales that change from decision to decision.

References:

.. [Takeno2023randomized]
    S. Takeno, Y. Inatsu, and M. Karasuyama. Randomized Gaussian Process Upper
    Confidence Bound with Tighter Bayesian Regret Bounds. ICML 2023.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from botorch.exceptions.errors import InputDataError

from botorch_flexibo.utils.checks import finite_number


@dataclass(frozen=True)
class ExponentialBeta:
    r"""An exponentially distributed ``beta``, drawn anew at every decision.

    ``beta = shift + (mean - shift) e`` with ``e`` standard exponential, as randomised
    upper confidence bounds draw it [Takeno2023randomized]_. Most boxes are narrow, so
    that decisions go after the front that is nearly known, and from time to time a wide
    one asks for what a narrow one takes for certain: with the default,
    ``sqrt(beta)`` is above 1 in three of eight decisions, above 2 in one of 55.

    Attributes:
        mean: The mean of ``beta``.
        shift: The smallest ``beta``: at least 0, less than the mean.

    Example:
        >>> ExponentialBeta(shift=0.5)(seed=0) > 0.5
        True
        >>> ExponentialBeta()(seed=0) == ExponentialBeta()(seed=0)
        True
    """

    mean: float = 1.0
    shift: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        mean, shift = finite_number(self.mean), finite_number(self.shift)
        if mean is None or shift is None or not 0 <= shift < mean:
            raise InputDataError(
                f"Expected finite numbers 0 <= shift < mean, but got {self.shift!r} and"
                f" {self.mean!r}. Pass a number as beta for boxes that are always of"
                " the same width."
            )

    def __call__(self, seed: int) -> float:
        r"""Draw a confidence scale.

        Args:
            seed: The seed of the decision.

        Returns:
            The scale, to be used as ``sqrt(beta) * sd``.
        """
        generator = torch.Generator().manual_seed(seed)
        draw = torch.empty(1, dtype=torch.float64).exponential_(generator=generator)
        return self.shift + (self.mean - self.shift) * draw.item()
