r"""A GP of the logarithm of one outcome's cost, for few rows and little variation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from typing import cast

import torch
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.models.utils.gpytorch_modules import get_covar_module_with_dim_scaled_prior
from botorch.settings import validate_input_scaling
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import Kernel, ScaleKernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.means import ConstantMean
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import LogNormalPrior, NormalPrior
from torch import Tensor
from torch.nn import Module

from botorch_flexibo.models._kernels import mixed_covar_module
from botorch_flexibo.models._normalize import normalize_numeric
from botorch_flexibo.utils.posterior import marginal_moments

# Priors of the variances of log costs. The modes are standard deviations of 20% for the
# signal and 7% for the noise; the tails admit decades and factors.
_SIGNAL_PRIOR = LogNormalPrior(-1.0, 1.5)
_NOISE_PRIOR = LogNormalPrior(-3.0, 1.5)
_MIN_VARIANCE = 1e-4
_GROWTH = 1.1
# Payments conditioned on: the last ones. Cheap outcomes are paid for many times, and
# every further row makes all predictions slower.
_MAX_ROWS = 128


class LogCost(Module):
    """The expected ratio of cost to guess, ``exp(mu + sigma^2 / 2)``, clamped."""

    X: Tensor
    z: Tensor
    noise: Tensor

    def __init__(
        self, X: Tensor, z: Tensor, *, model: SingleTaskGP, max_ratio: float
    ) -> None:
        r"""Expected ratio, with the data it was learned from.

        Args:
            X: A ``n x d``-dim tensor of designs.
            z: A ``n``-dim tensor of ``log(cost / guess)``.
            model: The GP of ``z``.
            max_ratio: How far beyond the data, and the guess, the ratio may go.
        """
        super().__init__()
        self.register_buffer("X", X)
        self.register_buffer("z", z)
        self.model = model.requires_grad_(False).eval()
        likelihood = cast(GaussianLikelihood, model.likelihood)
        self.register_buffer("noise", likelihood.noise.detach().clone())
        margin = math.log(max_ratio)
        self._lower = min(float(z.min()), 0.0) - margin
        self._upper = max(float(z.max()), 0.0) + margin

    def forward(self, X: Tensor) -> Tensor:
        r"""Expected ratio of cost to guess.

        Args:
            X: A ``batch_shape x d``-dim tensor of designs.

        Returns:
            A ``batch_shape``-dim tensor of ratios.
        """
        mean, variance = marginal_moments(self.model, X)
        variance = variance + self.noise
        log_ratio = (mean + variance / 2).squeeze(-1)
        return log_ratio.clamp(self._lower, self._upper).exp()


class SameCost(Module):
    """The ratio of cost to guess where all payments were equal."""

    ratio: Tensor

    def __init__(self, z: Tensor) -> None:
        r"""Ratio of an outcome whose cost does not vary.

        Args:
            z: A tensor of ``log(cost / guess)``, all the same.
        """
        super().__init__()
        self.register_buffer("ratio", z[0].exp())

    def forward(self, X: Tensor) -> Tensor:
        r"""Ratio of cost to guess.

        Args:
            X: A ``batch_shape x d``-dim tensor of designs.

        Returns:
            A ``batch_shape``-dim tensor of ratios.
        """
        return self.ratio.expand(X.shape[:-1])


def fit_log_cost(
    X: Tensor,
    z: Tensor,
    *,
    bounds: Tensor,
    categorical_features: Sequence[int],
    prior_sd: float,
    max_ratio: float,
    last: Module | None = None,
) -> LogCost | SameCost:
    r"""Learn the cost of one outcome.

    Args:
        X: A ``n x d``-dim tensor of designs, in float64.
        z: A ``n``-dim tensor of ``log(cost / guess)``.
        bounds: A ``2 x d``-dim tensor of lower and upper bounds.
        categorical_features: Columns whose values are labels without an order.
        prior_sd: Prior standard deviation of the mean of ``z``.
        max_ratio: See :class:`LogCost`.
        last: What was learned before with the same options, if anything. Fits are taken
            from it where their data is the same.

    Returns:
        The learned cost.
    """
    if len(z) > 1 and bool((z == z[0]).all()):
        return SameCost(z)
    last = last if isinstance(last, LogCost) else None
    if last is not None and torch.equal(last.X, X) and torch.equal(last.z, z):
        return last

    def build(rows: slice) -> SingleTaskGP:
        return _build(X[rows], z[rows], bounds, list(categorical_features), prior_sd)

    k = _num_fitted(len(z))
    if last is not None and _same_fit(last, X[:k], z[:k]):
        fitted = last.model
    else:
        fitted = build(slice(k))
        fit_gpytorch_mll(ExactMarginalLogLikelihood(fitted.likelihood, fitted))
    model = build(slice(max(0, len(z) - _MAX_ROWS), None))
    model.load_state_dict(fitted.state_dict())
    return LogCost(X, z, model=model, max_ratio=max_ratio)


def _same_fit(last: LogCost, X: Tensor, z: Tensor) -> bool:
    """Whether its hyperparameters were fitted to exactly these rows."""
    k = _num_fitted(len(last.z))
    return torch.equal(last.X[:k], X) and torch.equal(last.z[:k], z)


def _num_fitted(n: int) -> int:
    """The largest of 1, 2, ..., 10, 11, 13, 15, ... (steps of 10%) that is <= n.

    No more than fit into the rows conditioned on.
    """
    k = 1
    while (larger := math.ceil(_GROWTH * k)) <= min(n, _MAX_ROWS):
        k = larger
    return k


def _build(
    X: Tensor, z: Tensor, bounds: Tensor, categorical: list[int], prior_sd: float
) -> SingleTaskGP:
    d = X.shape[-1]
    mean_module = ConstantMean(constant_prior=NormalPrior(0.0, prior_sd))
    mean_module.initialize(constant=z.mean())
    # Log ratios need no standardisation: the priors are in their unit.
    with validate_input_scaling(False):
        return SingleTaskGP(
            X,
            z.unsqueeze(-1),
            mean_module=mean_module.to(X),
            covar_module=_kernel(d, categorical).to(X),
            likelihood=GaussianLikelihood(
                noise_prior=deepcopy(_NOISE_PRIOR),
                noise_constraint=_at_least(_MIN_VARIANCE, _NOISE_PRIOR),
            ).to(X),
            input_transform=normalize_numeric(bounds, categorical),
            outcome_transform=None,
        )


def _kernel(d: int, categorical: list[int]) -> Kernel:
    base = (
        mixed_covar_module(d, categorical)
        if categorical
        else get_covar_module_with_dim_scaled_prior(ard_num_dims=d)
    )
    return ScaleKernel(
        base,
        outputscale_prior=deepcopy(_SIGNAL_PRIOR),
        outputscale_constraint=_at_least(_MIN_VARIANCE, _SIGNAL_PRIOR),
    )


def _at_least(smallest: float, prior: LogNormalPrior) -> GreaterThan:
    """As BoTorch's constraints: no transform, and from the prior's mode."""
    return GreaterThan(
        smallest,
        transform=None,  # pyright: ignore[reportArgumentType]
        initial_value=prior.mode,
    )
