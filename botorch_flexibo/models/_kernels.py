r"""The covariance of designs with categorical columns."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from botorch.models.kernels.categorical import CategoricalKernel
from botorch.models.utils.gpytorch_modules import (
    get_covar_module_with_dim_scaled_prior,
)
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import Kernel
from gpytorch.priors import LogNormalPrior
from torch import Tensor

# The prior of the length scales of categories: its median lets two designs that differ
# in all their categories keep a correlation of exp(-1 / e) = 0.69.
CATEGORY_LENGTHSCALE_LOC = 1.0
CATEGORY_LENGTHSCALE_SCALE = 1.0
# Levels per column from which on comparing is faster than a product of indicators.
_MANY_LEVELS = 64


class HammingKernel(CategoricalKernel):
    r"""BoTorch's ``CategoricalKernel`` by one matrix product.

    .. math:: k(x, x') =
        \exp\Big(-\frac{1}{c} \sum_{j=1}^{c} \frac{[x_j \ne x'_j]}{\ell_j}\Big)

    Labels become scaled indicators of their levels, whose inner product counts the
    columns that agree. The parent compares all pairs in all columns at once, which
    takes ``c`` times the memory and several times the time, also for a diagonal. Where
    there are many levels (a relaxation to numbers makes one of each design), columns
    are compared one by one.

    Example:
        >>> X = torch.tensor([[0.0, 2.0], [0.0, 1.0]], dtype=torch.double)
        >>> kernel = HammingKernel(ard_num_dims=2).double()
        >>> kernel.lengthscale = 1.0
        >>> round(kernel(X).to_dense()[0, 1].item(), 4)  # exp(-1 / 2)
        0.6065
    """

    def forward(
        self,
        x1: Tensor,
        x2: Tensor,
        diag: bool = False,
        last_dim_is_batch: bool = False,
    ) -> Tensor:
        r"""Evaluate the kernel.

        Args:
            x1: A ``batch_shape x n x c``-dim tensor of labels.
            x2: A ``batch_shape x n' x c``-dim tensor of labels.
            diag: Whether only pairs of rows at the same place are wanted.
            last_dim_is_batch: Whether every column has a kernel of its own.

        Returns:
            A ``batch_shape x n x n'``-dim tensor, or its ``batch_shape x n``-dim
            diagonal.
        """
        if last_dim_is_batch:
            return super().forward(x1, x2, diag=diag, last_dim_is_batch=True)
        columns = range(x1.shape[-1])
        inverse = 1 / (self.lengthscale * len(columns))
        inverse = inverse.expand(*inverse.shape[:-1], len(columns))
        if diag:
            return (-((x1 != x2) * inverse).sum(dim=-1)).exp()
        fewer = x1 if x1.numel() < x2.numel() else x2
        levels = [fewer[..., j].unique() for j in columns]  # others agree with none
        sizes = torch.tensor([len(level) for level in levels], device=x1.device)
        if sizes.sum() > _MANY_LEVELS * len(columns):
            return (-_distance(x1, x2, inverse)).exp()
        weights = inverse.repeat_interleave(sizes, dim=-1)
        flags1, flags2 = (
            torch.cat([x[..., j, None] == levels[j] for j in columns], dim=-1).to(x)
            for x in (x1, x2)
        )
        agreement = (flags1 * weights) @ flags2.transpose(-1, -2)
        return (agreement - inverse.sum(dim=-1, keepdim=True)).clamp_max(0).exp()


def _distance(x1: Tensor, x2: Tensor, inverse: Tensor) -> Tensor:
    """Weighted number of columns that differ, one column after the other."""
    distance = x1.new_zeros(1)
    for j, weight in enumerate(inverse.unbind(dim=-1)):  # ... x 1 each
        differs = x1[..., :, None, j] != x2[..., None, :, j]
        distance = distance + differs * weight.unsqueeze(-1)
    return distance


def mixed_covar_module(dim: int, categorical_features: Sequence[int]) -> Kernel:
    r"""Product of BoTorch's default kernel of numbers and a Hamming kernel.

    .. math:: k(x, x') = k_\text{num}(x_\text{num}, x'_\text{num})
        \exp\Big(-\frac{1}{c} \sum_{j=1}^{c} \frac{[x_j \ne x'_j]}{\ell_j}\Big)

    with one length scale :math:`\ell_j` per categorical column, each with a log-normal
    prior.

    NOTE: BoTorch's ``MixedSingleTaskGP`` adds a sum of the two kernels to their product
    and leaves the length scales of categories without a prior. With few rows its
    maximum a posteriori runs off to length scales that are nearly infinite, which takes
    up to ten times the steps and makes predictions overconfident.

    Args:
        dim: The number of columns ``d``.
        categorical_features: Columns whose values are labels without an order; at least
            one.

    Returns:
        A kernel on ``n x d``-dim inputs, numbers normalised to the unit cube.

    Example:
        >>> X = torch.tensor([[0.5, 1.0], [0.5, 2.0]], dtype=torch.double)
        >>> kernel = mixed_covar_module(2, [1]).double()
        >>> kernel.kernels[1].lengthscale = 1.0
        >>> round(kernel(X).to_dense()[0, 1].item(), 4)  # exp(-1)
        0.3679
    """
    numeric = [column for column in range(dim) if column not in categorical_features]
    prior = LogNormalPrior(CATEGORY_LENGTHSCALE_LOC, CATEGORY_LENGTHSCALE_SCALE)
    of_categories = HammingKernel(
        ard_num_dims=len(categorical_features),
        active_dims=tuple(categorical_features),
        lengthscale_prior=prior,
        lengthscale_constraint=GreaterThan(
            1e-2,
            transform=None,  # pyright: ignore[reportArgumentType]  (None is allowed)
            initial_value=math.exp(
                CATEGORY_LENGTHSCALE_LOC - CATEGORY_LENGTHSCALE_SCALE**2
            ),
        ),
    )
    if not numeric:
        return of_categories
    of_numbers = get_covar_module_with_dim_scaled_prior(
        ard_num_dims=len(numeric), active_dims=numeric
    )
    return of_numbers * of_categories
