r"""Marginal posterior moments of many single designs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from botorch.exceptions.errors import UnsupportedError
from botorch.models import SingleTaskGP
from botorch.models.model import Model, ModelList
from botorch.posteriors import Posterior
from botorch.posteriors.fully_bayesian import GaussianMixturePosterior
from torch import Tensor

from botorch_flexibo.utils.conditioning import ConditionedGP

# Designs per posterior call. They share the kernel with the data (a batch of single
# designs would copy the data), and covariances between so few designs cost little.
_CHUNK = 512
# Designs at a time where no covariances between them are computed.
_WHITENED_CHUNK = 1024


def marginal_moments(model: Model, X: Tensor) -> tuple[Tensor, Tensor]:
    r"""Posterior means and variances of single designs, in chunks.

    Models that average over an ensemble (fully Bayesian models) give
    the moments of the mixture.

    Args:
        model: A model with ``m`` outputs whose posteriors have a mean and a variance.
        X: A ``batch_shape x d``-dim tensor of designs.

    Returns:
        Two ``batch_shape x m``-dim tensors: means and variances.

    Example:
        >>> mean, variance = marginal_moments(model, designs)
        >>> mean.shape, variance.shape
        (torch.Size([30, 2]), torch.Size([30, 2]))
    """
    return MarginalMoments(model)(X)


class MarginalMoments:
    r"""As ``marginal_moments``, for a model that is asked again and again.

    What it factorised for one set of designs serves for the next ones.
    """

    def __init__(self, model: Model) -> None:
        r"""Posterior moments.

        Args:
            model: A model with ``m`` outputs whose posteriors have a mean and a
                variance. It must not change.
        """
        self._model = model
        self._gp: ConditionedGP | None = None
        self._parts: list[MarginalMoments] = []
        if isinstance(model, ModelList):
            submodels = cast(Iterable[Model], model.models)
            self._parts = [MarginalMoments(submodel) for submodel in submodels]

    def __call__(self, X: Tensor) -> tuple[Tensor, Tensor]:
        r"""Means and variances.

        Args:
            X: A ``batch_shape x d``-dim tensor of designs.

        Returns:
            Two ``batch_shape x m``-dim tensors.
        """
        if self._parts:
            means, variances = zip(*(part(X) for part in self._parts), strict=True)
            return torch.cat(means, dim=-1), torch.cat(variances, dim=-1)
        designs = X.reshape(-1, X.shape[-1])
        gp = self._gp = self._gp or _factorised(self._model, len(designs))
        chunks = (
            [_moments(self._model.posterior(x)) for x in designs.split(_CHUNK)]
            if gp is None
            else [_whitened_moments(gp, x) for x in designs.split(_WHITENED_CHUNK)]
        )
        means, variances = zip(*chunks, strict=True)
        shape = (*X.shape[:-1], self._model.num_outputs)
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


def _factorised(model: Model, num_designs: int) -> ConditionedGP | None:
    """The Cholesky factor of a plain exact GP, if there are enough designs to pay it.

    It leaves out the covariances between designs that a posterior computes.
    """
    if not isinstance(model, SingleTaskGP) or model.train_targets.dim() > 1:
        return None
    if type(model).posterior != SingleTaskGP.posterior:
        return None  # moments of its own
    if num_designs < len(model.train_targets):
        return None
    try:
        return ConditionedGP(model)
    except UnsupportedError:  # such as an outcome transform that is not affine
        return None


def _whitened_moments(gp: ConditionedGP, X: Tensor) -> tuple[Tensor, Tensor]:
    designs = gp.whiten(X)
    mean, variance = gp.moments(designs)[0], gp.scale.square() * designs.variance
    return mean.mT, variance.mT


def _moments(posterior: Posterior) -> tuple[Tensor, Tensor]:
    if isinstance(posterior, GaussianMixturePosterior):
        return posterior.mixture_mean, posterior.mixture_variance
    # Posterior declares neither, but all posteriors with moments define both.
    return posterior.mean, posterior.variance  # pyright: ignore[reportAttributeAccessIssue]
