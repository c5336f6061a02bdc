r"""Marginal posterior moments of many single designs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from botorch.models.model import Model, ModelList
from botorch.posteriors import Posterior
from botorch.posteriors.fully_bayesian import GaussianMixturePosterior
from torch import Tensor

# Single designs per posterior call. Larger calls are no faster and take more memory.
_CHUNK = 1024


def marginal_moments(model: Model, X: Tensor) -> tuple[Tensor, Tensor]:
    r"""Posterior means and variances of single designs, in chunks.

    The designs are passed as a batch of single points, so that no covariance between
    them is computed. Models that average over an ensemble (fully Bayesian models) give
    the moments of the mixture.

    Args:
        model: A model with ``m`` outputs whose posteriors have a mean and a variance.
        X: A ``batch_shape x d``-dim tensor of designs.

    Returns:
        Two ``batch_shape x m``-dim tensors: means and variances.
    """
    if isinstance(model, ModelList):
        submodels = cast(Iterable[Model], model.models)
        parts = [marginal_moments(submodel, X) for submodel in submodels]
        means, variances = zip(*parts, strict=True)
        return torch.cat(means, dim=-1), torch.cat(variances, dim=-1)
    chunks = [
        _moments(model.posterior(x.unsqueeze(-2)))
        for x in X.reshape(-1, X.shape[-1]).split(_CHUNK)
    ]
    means, variances = zip(*chunks, strict=True)
    shape = (*X.shape[:-1], model.num_outputs)
    return torch.cat(means).reshape(shape), torch.cat(variances).reshape(shape)


def posterior_mean(model: Model, X: Tensor) -> Tensor:
    r"""Posterior mean, for example the predicted cost of a cost model.

    Args:
        model: A model with ``m`` outputs.
        X: A ``batch_shape x q x d``-dim tensor of designs.

    Returns:
        A ``batch_shape x q x m``-dim tensor of means.
    """
    return _moments(model.posterior(X))[0]


def _moments(posterior: Posterior) -> tuple[Tensor, Tensor]:
    if isinstance(posterior, GaussianMixturePosterior):
        return posterior.mixture_mean, posterior.mixture_variance
    # Posterior declares neither, but all posteriors with moments define both.
    return posterior.mean, posterior.variance  # pyright: ignore[reportAttributeAccessIssue]
