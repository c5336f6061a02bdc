r"""Outliers among the worst outcomes, which would stretch a stationary model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from botorch.exceptions.errors import InputDataError
from torch import Tensor

from botorch_flexibo.utils.checks import finite_number
from botorch_flexibo.utils.fronts import as_ref_point


@dataclass(frozen=True)
class Winsorize:
    r"""Raises outcomes that are outliers and worse than the reference point.

    A few designs that fail altogether, such as networks that did not converge, stretch
    the scale of an outcome and shorten the length scales of its model. An outcome is an
    outlier if it lies more than 1.5 interquartile ranges below the lower quartile of
    those measured (Tukey's fence). It is raised to the fence, or to the reference point
    where that is lower. What is better than the reference point stays as it is, and so
    do hypervolumes.

    NOTE: Ax's transform of this name starts from the threshold if that is below the
    lower quartile, and takes the range from there: with a threshold among the worst
    values it changes nothing.

    Attributes:
        ref_point: The ``m``-dim reference point; outcomes are maximised.
        num_ranges: How many interquartile ranges below the lower quartile outliers
            begin.

    Example:
        >>> Y = torch.tensor([[1.0], [2.0], [3.0], [4.0], [-90.0]])
        >>> Winsorize(ref_point=torch.tensor([0.0]))(Y).flatten().tolist()
        [1.0, 2.0, 3.0, 4.0, -2.0]
    """

    ref_point: Tensor | Sequence[float]
    num_ranges: float = 1.5

    def __post_init__(self) -> None:
        """Check the number of ranges.

        Raises:
            InputDataError: If it is negative or not finite.
        """
        ranges = finite_number(self.num_ranges)
        if ranges is None or ranges < 0:
            raise InputDataError(
                f"Expected a finite num_ranges >= 0, but got {self.num_ranges!r}. Pass"
                " how far below the lower quartile outliers begin, 1.5 by default."
            )

    def __call__(self, Y: Tensor) -> Tensor:
        r"""Outcomes to model.

        Args:
            Y: A ``n x m``-dim tensor of outcomes, NaN where not measured.

        Returns:
            The ``n x m``-dim outcomes, with the same NaN.

        Raises:
            BotorchTensorDimensionError: If the reference point is not ``m``-dim.
            InputDataError: If it is not made of finite numbers.
        """
        ref_point = as_ref_point(self.ref_point, Y, num_outcomes=Y.shape[-1])
        levels = torch.tensor([0.25, 0.75], dtype=Y.dtype, device=Y.device)
        lower, upper = Y.nanquantile(levels, dim=0)
        fence = lower - self.num_ranges * (upper - lower)
        return Y.maximum(fence.minimum(ref_point))
