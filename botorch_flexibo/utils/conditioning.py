r"""How a measurement moves and narrows the posterior of an exact GP elsewhere.

One Cholesky factor per outcome is computed once. What a candidate measurement would
tell about other designs then costs matrix products only.
"""

from __future__ import annotations

from copy import copy
from typing import NamedTuple, cast

import torch
from botorch.exceptions.errors import UnsupportedError
from botorch.models import SingleTaskGP
from botorch.models.fully_bayesian import AbstractFullyBayesianSingleTaskGP
from botorch.models.gpytorch import BatchedMultiOutputGPyTorchModel
from botorch.models.model import Model
from botorch.models.transforms.outcome import OutcomeTransform
from gpytorch.distributions import MultivariateNormal
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood, GaussianLikelihood
from gpytorch.likelihoods.gaussian_likelihood import _GaussianLikelihoodBase
from gpytorch.models import ExactGP
from gpytorch.settings import lazily_evaluate_kernels
from linear_operator import LinearOperator
from linear_operator.utils.cholesky import psd_safe_cholesky
from torch import Tensor

# Points of an outcome transform at which its slope is compared.
_PROBES = (0.0, 1.0, 3.0)
_LINEARITY = 1e-6
# Means and covariances are those of the modules of models with these, and noise is a
# variance per measurement.
_FORWARDS = (SingleTaskGP.forward, AbstractFullyBayesianSingleTaskGP.forward)
_LIKELIHOODS = (GaussianLikelihood, FixedNoiseGaussianLikelihood)


class WhitenedDesigns(NamedTuple):
    r"""Designs as one GP sees them, ``s`` models in an ensemble (1 for a plain GP).

    Attributes:
        inputs: A ``s x p x d``-dim tensor of designs after the input transform.
        factor: A ``s x n x p``-dim tensor ``L^-1 k(Z, X)``, ``Z`` being the data.
        variance: A ``s x p``-dim tensor of latent posterior variances, in the GP's own
            scale.
    """

    inputs: Tensor
    factor: Tensor
    variance: Tensor


class ConditionedGP:
    r"""Posterior covariances of one exact, single-output GP.

    With ``K = L L^T`` the covariance of the observations, the posterior covariance of
    two designs is ``k(u, x) - (L^-1 k(Z, u))^T (L^-1 k(Z, x))``. Means and variances
    are in the units of the outcome (outcome transforms must be affine, which keeps the
    posterior Gaussian); they are those of ``model.posterior``.
    """

    def __init__(self, model: Model) -> None:
        r"""Factorise the data covariance, once.

        Args:
            model: A single-output exact GP: ``SingleTaskGP``, ``MixedSingleTaskGP``,
                ``SingleTaskMultiFidelityGP``, a fully Bayesian GP, ...

        Raises:
            UnsupportedError: If the model is not such a GP or its outcome transform is
                not affine.
        """
        gp, likelihood = _check_model(model)
        self._gp = gp
        self._batch = gp.batch_shape.numel()
        self.scale = _outcome_scale(gp).expand(self._batch, 1)
        with torch.no_grad():
            gp.eval()  # transforms the training inputs
            inputs = gp.train_inputs[0]
            mean = cast(Tensor, gp.mean_module(inputs))
            covariance = cast(LinearOperator, gp.covar_module(inputs))
            observed = cast(
                MultivariateNormal,
                likelihood(MultivariateNormal(mean, covariance), [inputs]),
            )
            residual = gp.train_targets - observed.mean
            # A new measurement has the mean noise of the old ones, as in BoTorch.
            noise = cast(Tensor, likelihood.noise).mean(dim=-1, keepdim=True)
            self.noise = noise.expand(self._batch, 1)
            self._inputs = self._expand(inputs)
            self._chol = self._expand(psd_safe_cholesky(observed.covariance_matrix))
            self._residual = torch.linalg.solve_triangular(
                self._chol, self._expand(residual.unsqueeze(-1)), upper=False
            )

    @property
    def num_models(self) -> int:
        """Number of GPs in the batch or ensemble, 1 for a plain GP."""
        return self._batch

    def whiten(self, X: Tensor) -> WhitenedDesigns:
        r"""Designs in the form in which covariances between them are products.

        Args:
            X: A ``p x d``-dim or ``s x p x d``-dim tensor of designs.

        Returns:
            The whitened designs.

        Raises:
            UnsupportedError: If the input transform changes the number of designs.
        """
        if self._gp.training:  # transforms would learn from the candidates
            self._gp.eval()
        inputs = self._expand(self._gp.transform_inputs(X))
        if inputs.shape[-2] != X.shape[-2]:
            raise UnsupportedError(
                "Expected an input transform that keeps the number of designs, but it"
                f" made {inputs.shape[-2]} of {X.shape[-2]}. Transform the data before"
                " modelling instead."
            )
        factor = torch.linalg.solve_triangular(
            self._chol, self._kernel(self._inputs, inputs), upper=False
        )
        prior = self._gp.covar_module(inputs, diag=True)
        variance = (prior - factor.square().sum(dim=-2)).clamp_min(0.0)
        return WhitenedDesigns(inputs, factor, variance)

    def moments(self, designs: WhitenedDesigns) -> tuple[Tensor, Tensor]:
        r"""Posterior mean and standard deviation, in the units of the outcome.

        Args:
            designs: ``p`` whitened designs.

        Returns:
            Two ``s x p``-dim tensors.
        """
        mean = self._gp.mean_module(designs.inputs)
        mean = mean + (designs.factor * self._residual).sum(dim=-2)
        return self._untransform(mean), self.scale.abs() * standard_deviation(
            designs.variance
        )

    def directions(
        self, targets: WhitenedDesigns, X: WhitenedDesigns, q: int
    ) -> Tensor:
        r"""Where the posterior means of targets go when batches are measured.

        Measuring ``q`` designs moves the mean of target ``u`` by ``D(u) z`` with ``z``
        standard normal, and lowers its variance by the squared norm of ``D(u)``:
        ``D = k(u, X) chol(k(X, X) + noise)^-T`` with posterior covariances ``k``.

        Args:
            targets: ``N`` whitened designs.
            X: ``b * q`` whitened designs: ``b`` batches of ``q``.
            q: The size of a batch.

        Returns:
            A ``s x b x q x N``-dim tensor, in the units of the outcome.
        """
        s, p = X.variance.shape
        cross = self._kernel(X.inputs, targets.inputs)
        cross = cross - X.factor.mT @ targets.factor  # s x (b q) x N
        return self._moves(cross.reshape(s, p // q, q, cross.shape[-1]), X)

    def own_directions(
        self, own: WhitenedDesigns, X: WhitenedDesigns, b: int
    ) -> Tensor:
        r"""Where the posterior means of other targets in each batch go.

        Args:
            own: ``b * k`` whitened designs: ``k`` targets of each batch.
            X: ``b * q`` whitened designs: ``b`` batches of ``q`` that are measured.
            b: The number of batches.

        Returns:
            A ``s x b x q x k``-dim tensor, in the units of the outcome.
        """
        s, p = X.variance.shape
        if own is X and p == b:
            return self._moves(X.variance.reshape(s, b, 1, 1), X)
        return self._moves(self._covariance(X, own, b), X)

    def _moves(self, cross: Tensor, X: WhitenedDesigns) -> Tensor:
        """Directions from covariances with what is measured, ``s x b x q x k``."""
        s, b, q, _ = cross.shape
        noisy = (X.variance + self.noise).reshape(s, b, q)
        if q == 1 or b == 0:
            moves = cross * _safe_rsqrt(noisy).unsqueeze(-1)
        else:
            noise = self.noise.unsqueeze(-1).expand_as(noisy)
            joint = self._covariance(X, X, b)
            chol = psd_safe_cholesky(joint + torch.diag_embed(noise))
            moves = torch.linalg.solve_triangular(chol, cross, upper=False)
        return moves * self.scale[..., None, None]

    def _covariance(self, A: WhitenedDesigns, B: WhitenedDesigns, b: int) -> Tensor:
        """Posterior covariances within each of ``b`` batches, ``s x b x q x k``."""
        (first, first_factor), (second, second_factor) = (
            _batches(A, b),
            _batches(B, b),
        )
        # The kernels' batch dimension comes last, before the points.
        prior = self._kernel(first.transpose(0, 1), second.transpose(0, 1))
        return prior.transpose(0, 1) - first_factor.mT @ second_factor

    def condition(self, X: Tensor) -> ConditionedGP:
        r"""The same GP, narrowed by measurements that are still running.

        Means stay: the expectation of what is pending changes nothing.

        Args:
            X: A ``n' x d``-dim tensor of designs.

        Returns:
            A new object; its factor has ``n'`` more rows.
        """
        new = copy(self)
        with torch.no_grad():
            designs = self.whiten(X)
            joint = self._kernel(designs.inputs, designs.inputs)
            joint = joint - designs.factor.mT @ designs.factor
            noise = self.noise.expand(-1, len(X))
            corner = psd_safe_cholesky(joint + torch.diag_embed(noise))
            top = torch.cat([self._chol, torch.zeros_like(designs.factor)], dim=-1)
            bottom = torch.cat([designs.factor.mT, corner], dim=-1)
            new._chol = torch.cat([top, bottom], dim=-2)
            new._inputs = torch.cat([self._inputs, designs.inputs], dim=-2)
            expected = self._residual.new_zeros(self._batch, len(X), 1)
            new._residual = torch.cat([self._residual, expected], dim=-2)
        return new

    def condition_masked(
        self, X: Tensor | None, evaluation_mask: Tensor | None, outcome: int
    ) -> ConditionedGP:
        r"""Narrowed by the pending points that measure one outcome.

        Args:
            X: A ``n' x d``-dim tensor of pending designs, or None.
            evaluation_mask: A ``n' x m``-dim boolean tensor of the outcomes being
                measured. None means all.
            outcome: The column of the outcome that this GP models.

        Returns:
            The conditioned GP, itself if nothing is pending.
        """
        if X is not None and evaluation_mask is not None:
            X = X[evaluation_mask[:, outcome]]
        return self if X is None or len(X) == 0 else self.condition(X)

    def _expand(self, x: Tensor) -> Tensor:
        """Give a matrix, or a batch of them, the leading dimension of the ensemble."""
        return x.expand(self._batch, *x.shape[-2:])

    def _kernel(self, a: Tensor, b: Tensor) -> Tensor:
        with lazily_evaluate_kernels(False):  # half the overhead of small matrices
            return cast(LinearOperator, self._gp.covar_module(a, b)).to_dense()

    def _untransform(self, mean: Tensor) -> Tensor:
        transform = _outcome_transform(self._gp)
        if transform is None:
            return mean
        return transform.untransform(mean.unsqueeze(-1))[0].squeeze(-1)


def standard_deviation(variance: Tensor) -> Tensor:
    r"""Square root with gradient zero at and below zero.

    Args:
        variance: A tensor of variances of any shape.

    Returns:
        A tensor of that shape.
    """
    nothing = variance <= 0  # NaN stays what it is: it is to be noticed
    root = torch.where(nothing, 1.0, variance).sqrt()
    return torch.where(nothing, 0.0, root)


def _batches(X: WhitenedDesigns, b: int) -> tuple[Tensor, Tensor]:
    """Inputs ``s x b x q x d`` and factors ``s x b x n x q`` of batches of designs."""
    s, p = X.variance.shape
    q = p // max(1, b)
    inputs = X.inputs.reshape(s, b, q, X.inputs.shape[-1])
    factor = X.factor.reshape(s, X.factor.shape[1], b, q)
    return inputs, factor.permute(0, 2, 1, 3)


def _safe_rsqrt(x: Tensor) -> Tensor:
    """``1 / sqrt(x)``, and 0 where there is nothing to divide by."""
    positive = x > torch.finfo(x.dtype).tiny
    return torch.where(positive, torch.where(positive, x, 1.0).rsqrt(), 0.0)


def _check_model(
    model: Model,
) -> tuple[SingleTaskGP, GaussianLikelihood | FixedNoiseGaussianLikelihood]:
    is_single = (
        isinstance(model, ExactGP)
        and isinstance(model, BatchedMultiOutputGPyTorchModel)
        and isinstance(model.likelihood, _GaussianLikelihoodBase)
        and model.num_outputs == 1
        and len(model.batch_shape) <= 1
    )
    if not is_single:
        raise UnsupportedError(
            "Expected exact single-output GPs with Gaussian noise and at most one batch"
            " dimension (SingleTaskGP, MixedSingleTaskGP, SingleTaskMultiFidelityGP,"
            f" fully Bayesian GPs), but got {type(model).__name__}. Use one such model"
            " per outcome in a ModelListGP."
        )
    likelihood = model.likelihood
    if type(model).forward in _FORWARDS and isinstance(likelihood, _LIKELIHOODS):
        return cast(SingleTaskGP, model), likelihood
    raise UnsupportedError(
        "Expected GPs with the forward of SingleTaskGP and one variance of noise per"
        f" measurement, but got {type(model).__name__} with"
        f" {type(likelihood).__name__}. Give what a forward does to designs as an"
        " input_transform, and noise as train_Yvar."
    )


def _outcome_transform(gp: SingleTaskGP) -> OutcomeTransform | None:
    # BoTorch registers the attribute only when there is a transform.
    transform = dict(gp.named_children()).get("outcome_transform")
    return cast(OutcomeTransform | None, transform)


def _outcome_scale(gp: SingleTaskGP) -> Tensor:
    """Slope of the outcome's untransform, ``s x 1``; the same for all values."""
    transform = _outcome_transform(gp)
    like = gp.train_targets
    if transform is None:
        return like.new_ones(1, 1)
    with torch.no_grad():
        values = [
            transform.untransform(like.new_full((*gp.batch_shape, 1, 1), probe))[0]
            for probe in _PROBES
        ]
    zero, one, three = (value.reshape(-1, 1) for value in values)
    tolerance = _LINEARITY * (three - zero).abs() + 1e2 * _eps(zero) * zero.abs()
    if ((three - zero) - 3 * (one - zero)).abs().gt(tolerance).any():
        raise UnsupportedError(
            "Expected an affine outcome transform such as Standardize, under which"
            f" posteriors stay Gaussian, but got {type(transform).__name__}. Transform"
            " the data before modelling instead."
        )
    return one - zero


def _eps(x: Tensor) -> float:
    return torch.finfo(x.dtype).eps
