r"""Marginal moments against the models' own posteriors."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from botorch.exceptions.warnings import InputDataWarning
from botorch.models import MixedSingleTaskGP, ModelListGP, SingleTaskGP
from botorch.models.deterministic import GenericDeterministicModel
from botorch.models.ensemble import EnsembleModel
from botorch.models.model import Model, ModelList
from botorch.models.transforms import Log, Normalize, Standardize
from botorch.models.transforms.outcome import OutcomeTransform
from botorch.posteriors.fully_bayesian import MCMC_DIM, GaussianMixturePosterior
from torch import Tensor

from botorch_flexibo.models._kernels import mixed_covar_module
from botorch_flexibo.utils import posterior as posterior_module
from botorch_flexibo.utils.posterior import (
    MarginalMoments,
    marginal_moments,
    posterior_mean,
)

dtypes = pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64], ids=["float32", "float64"]
)
batch_shapes = pytest.mark.parametrize(
    "batch_shape", [[], [2], [2, 3]], ids=["single", "batch2", "batch2x3"]
)


def rand(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64).to(dtype)


def gp(seed: int, outputs: int = 1, dtype: torch.dtype = torch.float64) -> SingleTaskGP:
    X = rand(7, 2, seed=seed, dtype=dtype)
    Y = torch.stack([(3 * X.sum(dim=-1) + k).sin() for k in range(outputs)], dim=-1)
    with warnings.catch_warnings():
        # BoTorch advises float64.
        warnings.simplefilter("ignore", InputDataWarning)
        return SingleTaskGP(X, Y)


class Members(EnsembleModel):
    """An ensemble of two random features models with two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self._num_outputs = 2
        self.members = 2 * rand(5, 2, 2, seed=11)  # s x d x m

    def forward(self, X: Tensor) -> Tensor:
        return (X.unsqueeze(-3) @ self.members).sin()


class MixtureGP(Model):
    """A GP averaged over samples of its hyper-parameters, as BoTorch's are.

    BoTorch's fully Bayesian models need NumPyro to be built, this one does not.
    """

    num_outputs = 1

    def __init__(self, seed: int, samples: int = 3) -> None:
        super().__init__()
        X = rand(7, 2, seed=seed).expand(samples, 7, 2)
        self.gp = SingleTaskGP(X, (3 * X.sum(dim=-1, keepdim=True)).sin())
        kernel = self.gp.covar_module
        kernel.lengthscale = 0.3 + rand(samples, 1, 2, seed=seed)

    def posterior(self, X: Tensor, *args, **kwargs) -> GaussianMixturePosterior:
        posterior = self.gp.posterior(X.unsqueeze(MCMC_DIM), *args, **kwargs)
        return GaussianMixturePosterior(posterior.distribution)


def deterministic() -> GenericDeterministicModel:
    return GenericDeterministicModel(lambda X: X.square(), num_outputs=2)


@dtypes
@batch_shapes
@pytest.mark.parametrize("outputs", [1, 2])
def test_moments_of_a_gp_equal_its_posterior_at_single_points(
    outputs, batch_shape, dtype
):
    model = gp(0, outputs, dtype)
    X = rand(*batch_shape, 2, seed=5, dtype=dtype)
    mean, variance = marginal_moments(model, X)
    assert mean.shape == variance.shape == (*batch_shape, outputs)
    assert mean.dtype == variance.dtype == dtype
    posterior = model.posterior(X.unsqueeze(-2))
    rtol = 1e-3 if dtype == torch.float32 else 1e-9
    close = {"rtol": rtol, "atol": rtol * 1e-2}
    torch.testing.assert_close(mean, posterior.mean.squeeze(-2), **close)
    torch.testing.assert_close(variance, posterior.variance.squeeze(-2), **close)


def test_moments_equal_those_of_the_joint_posterior():
    model = gp(0, outputs=2)
    X = rand(20, 2, seed=5)
    joint = model.posterior(X)
    mean, variance = marginal_moments(model, X)
    torch.testing.assert_close(mean, joint.mean, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(variance, joint.variance, rtol=1e-6, atol=1e-8)


def transformed(outcome_transform: OutcomeTransform | None) -> SingleTaskGP:
    X, Y = 4.0 * rand(9, 3, seed=0), rand(9, 1, seed=1) + 0.5
    return SingleTaskGP(
        X, Y, input_transform=Normalize(3), outcome_transform=outcome_transform
    )


def categorical() -> SingleTaskGP:
    X = (3 * rand(9, 3, seed=0)).floor()
    return SingleTaskGP(X, rand(9, 1, seed=1), covar_module=mixed_covar_module(3, [1]))


@dtypes
@pytest.mark.parametrize(
    "model",
    [
        pytest.param(lambda: transformed(Standardize(1)), id="standardised"),
        pytest.param(lambda: transformed(Log()), id="not affine: takes the posterior"),
        pytest.param(categorical, id="categorical"),
        pytest.param(
            lambda: MixedSingleTaskGP(
                rand(9, 3, seed=0).round(), rand(9, 1, seed=1), [1]
            ),
            id="BoTorch's categorical",
        ),
        pytest.param(
            lambda: SingleTaskGP(
                rand(9, 3, seed=0), rand(9, 1, seed=1), 0.01 * rand(9, 1, seed=2)
            ),
            id="known noise",
        ),
    ],
)
@pytest.mark.parametrize("chunk", [7, 1024])
def test_moments_of_more_designs_than_rows_equal_the_posterior(
    model, chunk, dtype, monkeypatch
):
    monkeypatch.setattr(posterior_module, "_WHITENED_CHUNK", chunk)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputDataWarning)
        gp = model().to(dtype)
    X = (3 * rand(2, 10, 3, seed=3)).round().to(dtype)
    mean, variance = marginal_moments(gp, X)
    posterior = gp.posterior(X)
    rtol = 1e-3 if dtype == torch.float32 else 1e-9
    torch.testing.assert_close(mean, posterior.mean, rtol=rtol, atol=rtol)
    torch.testing.assert_close(variance, posterior.variance, rtol=rtol, atol=rtol)


@batch_shapes
def test_moments_of_a_list_equal_those_of_its_models_side_by_side(batch_shape):
    models: list[Model] = [
        gp(1),
        gp(2, outputs=2),
        Members(),
        deterministic(),
        MixtureGP(3),
    ]
    X = rand(*batch_shape, 2, seed=6)
    mean, variance = marginal_moments(ModelList(*models), X)
    assert mean.shape == variance.shape == (*batch_shape, 8)
    parts = [marginal_moments(model, X) for model in models]
    assert torch.equal(mean, torch.cat([part[0] for part in parts], dim=-1))
    assert torch.equal(variance, torch.cat([part[1] for part in parts], dim=-1))


@batch_shapes
def test_moments_of_a_gp_list_equal_its_own_posterior(batch_shape):
    model = ModelListGP(gp(1), gp(2))
    X = rand(*batch_shape, 2, seed=6)
    mean, variance = marginal_moments(model, X)
    posterior = model.posterior(X.unsqueeze(-2))
    torch.testing.assert_close(mean, posterior.mean.squeeze(-2))
    torch.testing.assert_close(variance, posterior.variance.squeeze(-2))


@batch_shapes
def test_moments_of_an_ensemble_are_the_sample_moments_of_its_members(batch_shape):
    model = Members()
    X = rand(*batch_shape, 2, seed=7)
    mean, variance = marginal_moments(model, X)
    values = torch.stack([(X.unsqueeze(-2) @ A).sin() for A in model.members])
    torch.testing.assert_close(mean, values.mean(dim=0).squeeze(-2))
    torch.testing.assert_close(variance, values.var(dim=0).squeeze(-2))


@batch_shapes
def test_moments_of_a_fully_bayesian_gp_are_those_of_the_mixture(batch_shape):
    model = MixtureGP(3, samples=4)
    X = rand(*batch_shape, 2, seed=8)
    mean, variance = marginal_moments(model, X)
    assert mean.shape == variance.shape == (*batch_shape, 1)
    posterior = model.posterior(X.reshape(-1, 1, 2))  # n x samples x 1 x 1
    means, variances = posterior.mean.flatten(1), posterior.variance.flatten(1)
    assert means.shape[-1] == 4
    torch.testing.assert_close(mean.flatten(), means.mean(dim=-1))
    # The law of total variance.
    total = variances.mean(dim=-1) + means.var(dim=-1, correction=0)
    torch.testing.assert_close(variance.flatten(), total)


@batch_shapes
def test_deterministic_models_have_no_variance(batch_shape):
    X = rand(*batch_shape, 2, seed=9)
    mean, variance = marginal_moments(deterministic(), X)
    assert torch.equal(mean, X.square())
    assert torch.equal(variance, torch.zeros_like(X))


@pytest.mark.parametrize("chunk", [1, 4, 10, 11])
def test_moments_do_not_depend_on_the_size_of_the_chunks(chunk, monkeypatch):
    model = ModelListGP(gp(1), gp(2))
    X = rand(2, 5, 2, seed=10)
    expected = marginal_moments(model, X)
    monkeypatch.setattr(posterior_module, "_CHUNK", chunk)
    for actual, moment in zip(marginal_moments(model, X), expected, strict=True):
        torch.testing.assert_close(actual, moment)


def test_many_designs_take_few_posterior_calls():
    class CountingGP(SingleTaskGP):
        calls = 0

        def posterior(self, X, *args, **kwargs):
            self.calls += 1
            return super().posterior(X, *args, **kwargs)

    X = rand(7, 2, seed=0)
    model = CountingGP(X, X.sum(dim=-1, keepdim=True))
    mean, _ = marginal_moments(model, rand(5000, 2, seed=1))
    assert mean.shape == (5000, 1)
    assert model.calls == math.ceil(5000 / posterior_module._CHUNK)


def test_a_model_that_is_asked_again_is_factorised_once(monkeypatch):
    built = []

    class CountingGP(posterior_module.ConditionedGP):
        def __init__(self, model):
            built.append(model)
            super().__init__(model)

    monkeypatch.setattr(posterior_module, "ConditionedGP", CountingGP)
    model = ModelListGP(gp(1), gp(2))
    moments = MarginalMoments(model)
    few, many = rand(3, 2, seed=20), rand(30, 2, seed=21)
    for X in (few, many, few, many):  # the data have seven rows
        for actual, own in zip(moments(X), marginal_moments(model, X), strict=True):
            torch.testing.assert_close(actual, own)
    # Two calls of the function with many designs, all calls of the object.
    assert len(built) == 2 * 2 + 2


def test_moments_are_differentiable():
    model = ModelListGP(gp(1), gp(2))
    for designs in (3, 8):  # fewer and more than rows
        X = rand(designs, 2, seed=12).requires_grad_()
        assert torch.autograd.gradcheck(lambda x: marginal_moments(model, x), (X,))


@batch_shapes
@pytest.mark.parametrize("q", [1, 3])
def test_posterior_mean_is_the_mean_of_any_model(q, batch_shape):
    X = rand(*batch_shape, q, 2, seed=13)
    model = gp(0, outputs=2)
    assert torch.equal(posterior_mean(model, X), model.posterior(X).mean)
    mixture = MixtureGP(3)
    mean = posterior_mean(mixture, X)
    assert mean.shape == (*batch_shape, q, 1)
    single, _ = marginal_moments(mixture, X)
    torch.testing.assert_close(mean, single)
