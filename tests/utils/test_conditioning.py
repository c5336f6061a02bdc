r"""Posterior updates of exact GPs against BoTorch's own conditioned models."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable

import pytest
import torch
from botorch.exceptions.errors import UnsupportedError
from botorch.exceptions.warnings import InputDataWarning
from botorch.models import (
    MixedSingleTaskGP,
    MultiTaskGP,
    SingleTaskGP,
    SingleTaskMultiFidelityGP,
    SingleTaskVariationalGP,
)
from botorch.models.fully_bayesian import SaasFullyBayesianSingleTaskGP
from botorch.models.map_saas import EnsembleMapSaasSingleTaskGP
from botorch.models.model import Model
from botorch.models.robust_relevance_pursuit_model import (
    RobustRelevancePursuitSingleTaskGP,
)
from botorch.models.transforms.input import (
    ChainedInputTransform,
    InputPerturbation,
    Normalize,
    Warp,
)
from botorch.models.transforms.outcome import (
    Bilog,
    ChainedOutcomeTransform,
    Log,
    Power,
    Standardize,
)
from botorch.posteriors import Posterior
from botorch.sampling.normal import IIDNormalSampler
from gpytorch.constraints import GreaterThan
from gpytorch.distributions import MultivariateNormal
from gpytorch.kernels import MaternKernel, RBFKernel, ScaleKernel
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood, GaussianLikelihood
from gpytorch.means import ConstantMean
from torch import Tensor

from botorch_flexibo.utils.conditioning import ConditionedGP
from botorch_flexibo.utils.posterior import marginal_moments

devices = pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda",
            marks=[
                pytest.mark.gpu,
                pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
            ],
        ),
    ],
)
CLOSE = {"rtol": 1e-6, "atol": 1e-8}


def rand(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def designs(count: int, d: int = 2, *, seed: int) -> Tensor:
    """Designs whose second input is one of three levels: a category for some models."""
    X = rand(count, d, seed=seed)
    X[:, 1] = (2 * X[:, 1]).round() / 2
    return X


def outcome(X: Tensor) -> Tensor:
    return 30 * ((5 * X[:, :1]).sin() + X[:, 1:2] * X[:, -1:]) + 100


def standard(y: Tensor) -> Tensor:
    return (y - y.mean()) / y.std()


X, Y = designs(8, seed=1), outcome(designs(8, seed=1))
U, P = designs(6, seed=2), designs(6, seed=3)
X3, U3, P3 = (designs(n, 3, seed=s) for n, s in ((8, 4), (6, 5), (6, 6)))


# Models ----------------------------------------------------------------------------


def warp() -> Warp:
    transform = Warp(2, indices=[0, 1], bounds=torch.tensor([[0.0, 0], [1, 1]]))
    transform.concentration0.data.fill_(2.0)
    transform.concentration1.data.fill_(0.7)
    return transform


def no_transform() -> SingleTaskGP:
    return SingleTaskGP(X, standard(Y), outcome_transform=None)


def standardize() -> SingleTaskGP:
    return SingleTaskGP(X, Y)


def normalize() -> SingleTaskGP:
    return SingleTaskGP(X, Y, input_transform=Normalize(2))


def warped() -> SingleTaskGP:
    return SingleTaskGP(X, Y, input_transform=warp())


def chained_inputs() -> SingleTaskGP:
    bounds = torch.tensor([[-1.0, -2.0], [2.0, 1.0]], dtype=torch.float64)
    transform = ChainedInputTransform(first=Normalize(2, bounds=bounds), second=warp())
    return SingleTaskGP(X, Y, input_transform=transform)


def fixed_noise() -> SingleTaskGP:
    return SingleTaskGP(X, Y, train_Yvar=1 + 200 * rand(8, 1, seed=7))


def fixed_noise_no_transform() -> SingleTaskGP:
    noise = 0.01 + 0.3 * rand(8, 1, seed=7)
    return SingleTaskGP(X, standard(Y), train_Yvar=noise, outcome_transform=None)


def mixed() -> MixedSingleTaskGP:
    return MixedSingleTaskGP(X, Y, cat_dims=[1])


def multi_fidelity() -> SingleTaskMultiFidelityGP:
    return SingleTaskMultiFidelityGP(X3, outcome(X3), data_fidelities=[2])


def chained_outcome() -> SingleTaskGP:
    second = Standardize(1)
    transform = ChainedOutcomeTransform(first=Standardize(1), second=second)
    model = SingleTaskGP(X, Y, outcome_transform=transform)
    # Two transforms of which neither does nothing.
    second.means += 0.3
    second.stdvs *= 2.0
    second._stdvs_sq *= 4.0
    return model


def batched() -> SingleTaskGP:
    model = SingleTaskGP(X.expand(3, 8, 2), Y.expand(3, 8, 1))
    model.covar_module.lengthscale = 0.3 + rand(3, 1, 2, seed=8)
    model.likelihood.noise = torch.tensor([[0.01], [0.05], [0.2]])
    return model


def map_saas() -> EnsembleMapSaasSingleTaskGP:
    taus = torch.tensor([0.05, 0.1, 0.3], dtype=torch.float64)
    model = EnsembleMapSaasSingleTaskGP(X, Y, num_taus=3, taus=taus)
    model.covar_module.base_kernel.lengthscale = 0.3 + rand(3, 1, 2, seed=8)
    model.covar_module.outputscale = torch.tensor([0.5, 1.0, 2.0])
    model.likelihood.noise = torch.tensor([[0.01], [0.05], [0.2]])
    model.mean_module.constant.data = torch.tensor([-0.3, 0.0, 0.4]).double()
    return model.eval()


def fully_bayesian() -> SaasFullyBayesianSingleTaskGP:
    model = SaasFullyBayesianSingleTaskGP(X, Y, outcome_transform=Standardize(1))
    model.load_mcmc_samples(
        {
            "mean": torch.tensor([-0.3, 0.0, 0.4]).double(),
            "outputscale": torch.tensor([0.5, 1.0, 2.0]).double(),
            "lengthscale": 0.3 + rand(3, 2, seed=8),
            "noise": torch.tensor([0.01, 0.05, 0.2]).double(),
        }
    )
    return model.eval()


PLAIN = [
    no_transform,
    standardize,
    normalize,
    warped,
    chained_inputs,
    fixed_noise,
    fixed_noise_no_transform,
    mixed,
    multi_fidelity,
    chained_outcome,
]
ENSEMBLES = [batched, map_saas, fully_bayesian]
plain_models = pytest.mark.parametrize("make", PLAIN)
ensembles = pytest.mark.parametrize("make", ENSEMBLES)
all_models = pytest.mark.parametrize("make", PLAIN + ENSEMBLES)
batch_sizes = pytest.mark.parametrize("q", [1, 2, 3])
Make = Callable[[], Model]


def inputs_of(make: Make) -> tuple[Tensor, Tensor]:
    """Targets and candidates with as many inputs as the model has."""
    return (U3, P3) if make is multi_fidelity else (U, P)


def members_of(model: Model) -> list[SingleTaskGP]:
    """An ensemble as plain GPs, built from its hyper-parameters."""
    if not model.batch_shape:
        return [model]
    kernel, (s,) = model.covar_module, model.batch_shape
    scaled = isinstance(kernel, ScaleKernel)
    base = kernel.base_kernel if scaled else kernel
    members = []
    for k in range(s):
        part = MaternKernel(ard_num_dims=2) if scaled else RBFKernel(ard_num_dims=2)
        part = part.double()
        part.lengthscale = base.lengthscale[k].detach()
        if scaled:
            part = ScaleKernel(part).double()
            part.outputscale = kernel.outputscale[k].detach()
        likelihood = GaussianLikelihood(noise_constraint=GreaterThan(1e-6)).double()
        likelihood.noise = model.likelihood.noise[k].detach()
        mean = ConstantMean().double()
        mean.constant.data = model.mean_module.constant[k].detach().reshape(())
        member = SingleTaskGP(
            X, Y, likelihood=likelihood, covar_module=part, mean_module=mean
        )
        members.append(member)
    return members


# BoTorch's answers -----------------------------------------------------------------


def moments(posterior: Posterior) -> tuple[Tensor, Tensor]:
    return posterior.mean.squeeze(-1).detach(), posterior.variance.squeeze(-1).detach()


def observed(model: SingleTaskGP, X: Tensor, y: Tensor) -> Model:
    """BoTorch's model after `y` was measured at `X`, with the mean noise so far."""
    model.eval()
    with torch.no_grad():
        model.posterior(X)  # fills the caches that BoTorch needs
        if not isinstance(model.likelihood, FixedNoiseGaussianLikelihood):
            return model.condition_on_observations(X, y)
        noise = torch.full_like(y, model.likelihood.noise.mean().item())
        return model.condition_on_observations(X, y, noise=noise)


def botorch_update(
    model: SingleTaskGP, targets: Tensor, X: Tensor, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """What BoTorch makes of a random measurement.

    Returns:
        The measurement's standard normal variables, the shift of the means and the
        reduction of the variances.
    """
    model.eval()
    mean, variance = moments(model.posterior(targets))
    predicted = model.posterior(X, observation_noise=True).distribution
    z = 2 * rand(len(X), seed=seed) - 1
    covariance = predicted.covariance_matrix.detach()
    y = predicted.mean.detach() + torch.linalg.cholesky(covariance) @ z
    after = moments(observed(model, X, y.unsqueeze(-1)).posterior(targets))
    return z, after[0] - mean, variance - after[1]


def directions(gp: ConditionedGP, targets: Tensor, batches: Tensor) -> Tensor:
    b, q, d = batches.shape
    whitened = gp.whiten(batches.reshape(b * q, d))
    with torch.no_grad():
        return gp.directions(gp.whiten(targets), whitened, q=q)


# Moments ---------------------------------------------------------------------------


@all_models
def test_moments_are_those_of_the_posterior(make):
    model, (targets, _) = make(), inputs_of(make)
    gp = ConditionedGP(model)
    mean, sd = gp.moments(gp.whiten(targets))
    s = model.batch_shape.numel()
    assert gp.num_models == s
    assert mean.shape == sd.shape == (s, len(targets))
    expected = moments(model.posterior(targets))
    for actual, other in zip((mean, sd.square()), expected, strict=True):
        torch.testing.assert_close(actual, other.reshape(s, -1), **CLOSE)
    assert mean.std() > 0.1


@all_models
def test_a_model_in_training_mode_is_taken_as_in_evaluation_mode(make):
    model, (targets, _) = make(), inputs_of(make)
    if make is fully_bayesian:  # training would forget its samples
        return
    gp = ConditionedGP(model.train())
    mean, _ = gp.moments(gp.whiten(targets))
    expected, _ = moments(make().posterior(targets))
    torch.testing.assert_close(mean, expected.reshape(mean.shape), **CLOSE)


def test_a_model_that_goes_into_training_mode_later_learns_nothing_from_designs():
    X = torch.rand(8, 2, generator=torch.Generator().manual_seed(0)).double()
    model = SingleTaskGP(X, X.sum(-1, keepdim=True), input_transform=Normalize(2))
    gp = ConditionedGP(model)
    targets = 3 * X[:4]  # outside the data
    expected, _ = gp.moments(gp.whiten(targets))
    model.train()
    found, _ = gp.moments(gp.whiten(targets))
    assert torch.equal(found, expected)
    mean = model.posterior(targets).mean.squeeze(-1)
    torch.testing.assert_close(mean, expected.reshape(-1), **CLOSE)


@ensembles
def test_members_of_an_ensemble_are_plain_gps(make):
    gp = ConditionedGP(make())
    mean, sd = gp.moments(gp.whiten(U))
    for k, member in enumerate(members_of(make())):
        plain = ConditionedGP(member)
        assert plain.num_models == 1
        expected = plain.moments(plain.whiten(U))
        torch.testing.assert_close((mean[k], sd[k]), tuple(x[0] for x in expected))
    assert not torch.allclose(sd[0], sd[1])


@ensembles
def test_designs_may_differ_between_the_members(make):
    gp = ConditionedGP(make())
    each = torch.stack([designs(4, seed=20 + k) for k in range(3)])
    mean, sd = gp.moments(gp.whiten(each))
    for k in range(3):
        expected = gp.moments(gp.whiten(each[k]))
        torch.testing.assert_close((mean[k], sd[k]), tuple(x[k] for x in expected))


def test_the_posterior_at_the_data_without_noise_is_the_data():
    likelihood = GaussianLikelihood(noise_constraint=GreaterThan(1e-12)).double()
    likelihood.noise = 1e-10
    gp = ConditionedGP(SingleTaskGP(X, Y, likelihood=likelihood))
    mean, sd = gp.moments(gp.whiten(X))
    torch.testing.assert_close(mean[0], Y.squeeze(-1), rtol=1e-5, atol=0)
    assert (sd >= 0).all()
    assert (sd < 1e-2).all()


# Directions ------------------------------------------------------------------------


@all_models
@batch_sizes
def test_squared_directions_are_botorchs_reduction_of_the_variance(q, make):
    model, (targets, points) = make(), inputs_of(make)
    batches = points.reshape(-1, q, points.shape[-1])
    D = directions(ConditionedGP(model), targets, batches)
    assert D.shape == (model.batch_shape.numel(), len(batches), q, len(targets))
    for k, member in enumerate(members_of(make())):
        for b, batch in enumerate(batches):
            _, _, reduction = botorch_update(member, targets, batch, seed=b)
            actual = D[k, b].square().sum(dim=-2)
            torch.testing.assert_close(actual, reduction, rtol=1e-5, atol=1e-7)
            assert (reduction > 1e-3 * actual.max()).any()


@all_models
@batch_sizes
def test_means_move_as_those_of_botorchs_conditioned_model(q, make):
    model, (targets, points) = make(), inputs_of(make)
    batches = points.reshape(-1, q, points.shape[-1])
    D = directions(ConditionedGP(model), targets, batches)
    for k, member in enumerate(members_of(make())):
        for b, batch in enumerate(batches):
            z, shift, _ = botorch_update(member, targets, batch, seed=b)
            torch.testing.assert_close(z @ D[k, b], shift, rtol=1e-5, atol=1e-6)
            assert (shift != 0).any()


@plain_models
def test_fantasised_means_spread_as_the_directions_say(make):
    model, (targets, points) = make(), inputs_of(make)
    D = directions(ConditionedGP(model), targets, points[None, :2])[0, 0]
    sampler = IIDNormalSampler(torch.Size([2000]), seed=0)
    with torch.no_grad():
        means, _ = moments(make().fantasize(points[:2], sampler).posterior(targets))
    covariance = D.T @ D
    scale = covariance.diagonal().sqrt()
    # The standard error of a correlation is at most 1 / sqrt(2000), 1.4 times that on
    # the diagonal.
    actual = torch.cov(means.T) / scale / scale.unsqueeze(-1)
    expected = covariance / scale / scale.unsqueeze(-1)
    torch.testing.assert_close(actual, expected, rtol=0, atol=4 * (2 / 2000) ** 0.5)


@all_models
def test_the_order_within_a_batch_does_not_change_what_it_tells(make):
    targets, points = inputs_of(make)
    gp = ConditionedGP(make())
    forth, back = (
        directions(gp, targets, points[None, rows]) for rows in ([0, 1, 2], [2, 0, 1])
    )
    torch.testing.assert_close(forth.mT @ forth, back.mT @ back, **CLOSE)


def test_a_twin_in_the_batch_halves_the_noise():
    gp = ConditionedGP(standardize())
    twins = directions(gp, U, P[:1].expand(1, 2, 2))[0, 0]
    # Independent of the package: the joint posterior of BoTorch.
    joint = standardize().posterior(torch.cat([U, P[:1]])).distribution
    covariance = joint.covariance_matrix.detach()
    model = standardize()
    noise = (model.likelihood.noise * model.outcome_transform.stdvs**2).item()
    expected = covariance[-1, :-1] ** 2 / (covariance[-1, -1] + noise / 2)
    torch.testing.assert_close(twins.square().sum(dim=0), expected, **CLOSE)


# Own designs of every batch --------------------------------------------------------


def nearly_no_noise() -> SingleTaskGP:
    likelihood = GaussianLikelihood(noise_constraint=GreaterThan(1e-12)).double()
    likelihood.noise = 1e-10
    return SingleTaskGP(X, Y, likelihood=likelihood)


def batched_with_nearly_no_noise() -> SingleTaskGP:
    likelihood = GaussianLikelihood(
        noise_constraint=GreaterThan(1e-12), batch_shape=torch.Size([3])
    ).double()
    likelihood.noise = torch.tensor([[1e-10], [1e-9], [1e-8]])
    model = SingleTaskGP(X.expand(3, 8, 2), Y.expand(3, 8, 1), likelihood=likelihood)
    model.covar_module.lengthscale = 0.3 + rand(3, 1, 2, seed=8)
    return model


noisy_or_not = pytest.mark.parametrize(
    "make", [*PLAIN, *ENSEMBLES, nearly_no_noise, batched_with_nearly_no_noise]
)


def own_directions(gp: ConditionedGP, own: Tensor, batches: Tensor) -> Tensor:
    whitened = gp.whiten(own.flatten(0, 1)), gp.whiten(batches.flatten(0, 1))
    with torch.no_grad():
        return gp.own_directions(*whitened, len(batches))


@noisy_or_not
@batch_sizes
def test_own_directions_of_what_is_measured_are_those_of_targets(q, make):
    _, points = inputs_of(make)
    gp = ConditionedGP(make())
    batches = points.reshape(-1, q, points.shape[-1])
    whitened = gp.whiten(points)
    with torch.no_grad():
        actual = gp.own_directions(whitened, whitened, len(batches))
    assert actual.shape == (gp.num_models, len(batches), q, q)
    for b, batch in enumerate(batches):
        expected = directions(gp, batch, batch.unsqueeze(0))[:, 0]
        assert (expected.abs() > 1e-3).any()
        torch.testing.assert_close(actual[:, b], expected, **CLOSE)
    # Equal designs that are whitened again.
    torch.testing.assert_close(own_directions(gp, batches, batches), actual, **CLOSE)


@noisy_or_not
@batch_sizes
@pytest.mark.parametrize("k", [1, 2, 3])
def test_own_directions_of_other_designs_are_those_of_targets(k, q, make):
    targets, points = inputs_of(make)
    gp = ConditionedGP(make())
    d = points.shape[-1]
    b = 6 // max(q, k)
    batches, own = points[: b * q].reshape(b, q, d), targets[: b * k].reshape(b, k, d)
    actual = own_directions(gp, own, batches)
    assert actual.shape == (gp.num_models, b, q, k)
    for j in range(b):
        expected = directions(gp, own[j], batches[j : j + 1])[:, 0]
        torch.testing.assert_close(actual[:, j], expected, **CLOSE)


@all_models
@batch_sizes
def test_own_directions_move_and_narrow_as_botorchs_conditioned_model(q, make):
    model, (_, points) = make(), inputs_of(make)
    gp = ConditionedGP(model)
    own = points.reshape(2, 3, -1)
    D = own_directions(gp, own, own[:, :q])
    for k, member in enumerate(members_of(make())):
        for b, designs_of_batch in enumerate(own):
            measured = designs_of_batch[:q]
            z, shift, reduction = botorch_update(
                member, designs_of_batch, measured, seed=b
            )
            torch.testing.assert_close(z @ D[k, b], shift, rtol=1e-5, atol=1e-6)
            actual = D[k, b].square().sum(dim=-2)
            torch.testing.assert_close(actual, reduction, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("make", [nearly_no_noise, batched_with_nearly_no_noise])
@pytest.mark.parametrize("q", [1, 2])
def test_measuring_without_noise_leaves_no_variance_there(q, make):
    gp = ConditionedGP(make())
    whitened = gp.whiten(P)
    with torch.no_grad():
        D = gp.own_directions(whitened, whitened, 6 // q)
        _, sd = gp.moments(whitened)
    narrowed = D.square().sum(dim=-2).flatten(1)
    assert sd.max() > 1.0
    torch.testing.assert_close(narrowed, sd.square(), rtol=1e-3, atol=1e-4)


@all_models
@batch_sizes
def test_own_directions_after_conditioning_are_those_of_targets(q, make):
    _, points = inputs_of(make)
    gp = ConditionedGP(make()).condition(points[4:])
    batch = points[None, :q]
    torch.testing.assert_close(
        own_directions(gp, batch, batch), directions(gp, batch[0], batch), **CLOSE
    )


@pytest.mark.parametrize("make", [standardize, batched])
@pytest.mark.parametrize("q", [1, 2])
def test_no_batches_have_no_directions(q, make):
    gp = ConditionedGP(make())
    empty, s = gp.whiten(U[:0]), gp.num_models
    assert gp.directions(gp.whiten(U), empty, q=q).shape == (s, 0, q, len(U))


@pytest.mark.parametrize("make", [standardize, chained_inputs, fixed_noise, map_saas])
@batch_sizes
def test_gradients_of_own_directions_are_right(q, make):
    gp = ConditionedGP(make())

    def moved(own: Tensor, X: Tensor) -> tuple[Tensor, ...]:
        targets, measured = gp.whiten(own), gp.whiten(X)
        b = len(X) // q
        return (
            gp.own_directions(measured, measured, b),
            gp.own_directions(targets, measured, b),
        )

    candidates = rand(6, 2, seed=9).requires_grad_()
    others = rand(6 // q, 2, seed=10).requires_grad_()
    assert torch.autograd.gradcheck(moved, (others, candidates), atol=1e-4)


# Pending measurements --------------------------------------------------------------


@all_models
def test_conditioning_narrows_as_botorchs_conditioned_model_and_keeps_the_means(make):
    model, (targets, points) = make(), inputs_of(make)
    gp = ConditionedGP(model)
    new = gp.condition(points[:3])
    mean, sd = new.moments(new.whiten(targets))
    old_mean, old_sd = gp.moments(gp.whiten(targets))
    torch.testing.assert_close(mean, old_mean, **CLOSE)
    D = directions(gp, targets, points[None, :3])[:, 0]
    torch.testing.assert_close(
        sd.square(), old_sd.square() - D.square().sum(dim=-2), **CLOSE
    )
    for k, member in enumerate(members_of(make())):
        with torch.no_grad():
            y = member.eval().posterior(points[:3]).mean
        expected = moments(observed(member, points[:3], y).posterior(targets))
        torch.testing.assert_close(mean[k], expected[0], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(sd[k].square(), expected[1], rtol=1e-5, atol=1e-6)


@all_models
@batch_sizes
def test_directions_after_conditioning_are_those_of_the_conditioned_model(q, make):
    model, (targets, points) = make(), inputs_of(make)
    new = ConditionedGP(model).condition(points[4:])
    batch = points[:q]
    D = directions(new, targets, batch.unsqueeze(0))[:, 0]
    for k, member in enumerate(members_of(make())):
        with torch.no_grad():
            y = member.eval().posterior(points[4:]).mean
        narrowed = observed(member, points[4:], y)
        z, shift, reduction = botorch_update(narrowed, targets, batch, seed=0)
        torch.testing.assert_close(
            D[k].square().sum(dim=-2), reduction, rtol=1e-5, atol=1e-7
        )
        torch.testing.assert_close(z @ D[k], shift, rtol=1e-5, atol=1e-6)


@all_models
def test_conditioning_twice_is_conditioning_at_once_and_leaves_the_first_alone(make):
    targets, points = inputs_of(make)
    gp = ConditionedGP(make())
    before = gp.moments(gp.whiten(targets))
    once, twice = (
        gp.condition(points[:5]),
        gp.condition(points[:2]).condition(points[2:5]),
    )
    for one, other in zip(
        once.moments(once.whiten(targets)),
        twice.moments(twice.whiten(targets)),
        strict=True,
    ):
        torch.testing.assert_close(one, other, **CLOSE)
    after = gp.moments(gp.whiten(targets))
    assert all(map(torch.equal, before, after))


PENDING_MASK = torch.tensor([[True, False], [False, False], [True, True]])


@pytest.mark.parametrize(
    ("mask", "column", "rows"),
    [
        (None, 1, [0, 1, 2]),
        (PENDING_MASK, 0, [0, 2]),
        (PENDING_MASK, 1, [2]),
        (PENDING_MASK[:, :1].expand(3, 2), 0, [0, 2]),
    ],
    ids=["no-mask", "first", "second", "equal-columns"],
)
def test_a_mask_says_which_pending_designs_count(mask, column, rows):
    gp = ConditionedGP(standardize())
    new, expected = gp.condition_masked(P[:3], mask, column), gp.condition(P[rows])
    torch.testing.assert_close(
        new.moments(new.whiten(U)), expected.moments(expected.whiten(U)), **CLOSE
    )


@pytest.mark.parametrize(
    ("pending", "mask"),
    [(None, None), (P[:0], None), (P[:2], torch.tensor([[False, True]] * 2))],
    ids=["none", "empty", "other-outcome"],
)
def test_nothing_pending_changes_nothing(pending, mask):
    gp = ConditionedGP(standardize())
    assert gp.condition_masked(pending, mask, 0) is gp


# Gradients, dtypes, devices --------------------------------------------------------


@pytest.mark.parametrize("make", [standardize, chained_inputs, fixed_noise, map_saas])
@batch_sizes
def test_gradients_of_moments_and_directions_are_right(q, make):
    gp = ConditionedGP(make())
    with torch.no_grad():
        targets = gp.whiten(U)

    def update(X: Tensor) -> tuple[Tensor, ...]:
        whitened = gp.whiten(X)
        moved = gp.directions(targets, whitened, q=q)
        return *gp.moments(whitened), moved

    candidates = rand(6, 2, seed=9).requires_grad_()
    assert torch.autograd.gradcheck(update, (candidates,), atol=1e-4)


@devices
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_results_have_the_dtype_and_device_of_the_model(dtype, device):
    def there(x: Tensor) -> Tensor:
        return x.to(device, dtype)

    def results(model: SingleTaskGP, *inputs: Tensor) -> list[Tensor]:
        gp = ConditionedGP(model)
        targets, points, pending = (gp.whiten(x) for x in inputs)
        moved = gp.directions(targets, points, q=2)
        later = gp.condition(inputs[2])
        return [*gp.moments(pending), moved, *later.moments(later.whiten(inputs[0]))]

    if dtype == torch.float32:
        with pytest.warns(InputDataWarning, match="double precision"):
            model = SingleTaskGP(there(X), there(Y))
    else:
        model = SingleTaskGP(there(X), there(Y))
    actual = results(model, there(U), there(P), there(P[:3]))
    expected = results(standardize(), U, P, P[:3])
    close = {"rtol": 1e-3, "atol": 1e-2} if dtype == torch.float32 else CLOSE
    for one, other in zip(actual, expected, strict=True):
        assert (one.dtype, one.device.type) == (dtype, device)
        torch.testing.assert_close(one.detach().cpu().double(), other.detach(), **close)


# Errors ----------------------------------------------------------------------------


def two_outputs() -> SingleTaskGP:
    return SingleTaskGP(X, torch.cat([Y, -Y + X[:, :1]], dim=-1))


def variational() -> SingleTaskVariationalGP:
    return SingleTaskVariationalGP(X, standard(Y))


def multi_task() -> MultiTaskGP:
    tasks = torch.tensor([[0.0], [1.0]] * 4, dtype=torch.float64)
    return MultiTaskGP(torch.cat([X, tasks], dim=-1), Y, task_feature=-1)


def doubly_batched() -> SingleTaskGP:
    return SingleTaskGP(X.expand(2, 3, 8, 2), Y.expand(2, 3, 8, 1))


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (two_outputs, "SingleTaskGP"),
        (variational, "SingleTaskVariationalGP"),
        (multi_task, "MultiTaskGP"),
        (doubly_batched, "SingleTaskGP"),
    ],
)
def test_models_that_are_no_exact_single_output_gps_are_refused(make, what):
    message = (
        "Expected exact single-output GPs with Gaussian noise and at most one batch"
        " dimension (SingleTaskGP, MixedSingleTaskGP, SingleTaskMultiFidelityGP, fully"
        f" Bayesian GPs), but got {what}. Use one such model per outcome in a"
        " ModelListGP."
    )
    with pytest.raises(UnsupportedError, match=f"^{re.escape(message)}$"):
        ConditionedGP(make())


@pytest.mark.parametrize(
    ("transform", "name"),
    [
        (Log(), "Log"),
        (Bilog(), "Bilog"),
        (Power(power=0.5), "Power"),
        (
            ChainedOutcomeTransform(log=Log(), standardize=Standardize(1)),
            "ChainedOutcomeTransform",
        ),
    ],
    ids=["log", "bilog", "power", "chained-log"],
)
def test_outcome_transforms_that_are_not_affine_are_refused(transform, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputDataWarning)  # not standardised
        model = SingleTaskGP(X, Y / 100, outcome_transform=transform)
    message = (
        "Expected an affine outcome transform such as Standardize, under which"
        f" posteriors stay Gaussian, but got {name}. Transform the data before"
        " modelling instead."
    )
    with pytest.raises(UnsupportedError, match=f"^{re.escape(message)}$"):
        ConditionedGP(model)


def test_input_transforms_that_add_designs_are_refused():
    transform = InputPerturbation(torch.tensor([[0.0, 0.0], [0.1, 0.1]]).double())
    gp = ConditionedGP(SingleTaskGP(X, Y, input_transform=transform))
    message = (
        "Expected an input transform that keeps the number of designs, but it made"
        " 12 of 6. Transform the data before modelling instead."
    )
    with pytest.raises(UnsupportedError, match=f"^{re.escape(message)}$"):
        gp.whiten(U)


class _Warped(SingleTaskGP):
    """A GP of features of its inputs, such as a deep kernel has."""

    def forward(self, x: Tensor) -> MultivariateNormal:
        return super().forward(torch.tanh(3 * x))


@pytest.mark.parametrize("kind", [_Warped, RobustRelevancePursuitSingleTaskGP])
def test_models_with_moments_or_noise_of_their_own_are_refused(kind: type) -> None:
    X = torch.rand(12, 2, generator=torch.Generator().manual_seed(0)).double()
    model = kind(X, X.sum(dim=-1, keepdim=True))
    with pytest.raises(UnsupportedError, match=f"but got {kind.__name__} with"):
        ConditionedGP(model)
    # FlexiBO asks for their posterior instead, whatever the number of designs.
    designs = torch.rand(20, 2, generator=torch.Generator().manual_seed(1)).double()
    mean, variance = marginal_moments(model, designs)
    posterior = model.posterior(designs)
    torch.testing.assert_close(mean, posterior.mean)
    torch.testing.assert_close(variance, posterior.variance)
