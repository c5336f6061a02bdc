r"""The knowledge gradient of linear scalarisations against BoTorch's fantasies.

What a measurement would tell is computed by conditioning BoTorch's models, scalarising
their means and taking the maximum, over quadrature nodes or random results.
"""

from __future__ import annotations

import itertools
import math
import re

import numpy as np
import pytest
import torch
from botorch.exceptions.errors import (
    BotorchTensorDimensionError,
    InputDataError,
    UnsupportedError,
)
from botorch.models import ModelListGP, SingleTaskGP
from botorch.models.cost import FixedCostModel
from botorch.models.map_saas import EnsembleMapSaasSingleTaskGP
from botorch.models.model import Model
from botorch.sampling import IIDNormalSampler
from botorch.utils.sampling import sample_simplex
from gpytorch.constraints import GreaterThan
from gpytorch.likelihoods import GaussianLikelihood
from scipy.stats import norm
from torch import Tensor

from botorch_flexibo import optimize_acqf_decoupled
from botorch_flexibo.acquisition import (
    DecoupledCostUtility,
    LinearScalarizationKnowledgeGradient,
)
from botorch_flexibo.acquisition import linear_kg as linear_kg_module

CLOSE = {"rtol": 1e-7, "atol": 1e-9}
batch_shapes = pytest.mark.parametrize(
    "batch_shape", [[], [2], [2, 3]], ids=["single", "batch2", "batch2x3"]
)


def rand(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def outcomes(X: Tensor, m: int) -> Tensor:
    columns = [(3 * X[..., 0] + 2 * k).sin() + X[..., 1] * (k - 1) for k in range(m)]
    return torch.stack(columns, dim=-1)


def little_noise() -> GaussianLikelihood:
    constraint = GreaterThan(1e-14)
    likelihood = GaussianLikelihood(noise_constraint=constraint).double()
    likelihood.noise = 1e-12
    return likelihood


def data(m: int = 2) -> list[tuple[Tensor, Tensor]]:
    """Decoupled data: every outcome has been measured at its own designs."""
    designs = [rand(5 + k, 2, seed=10 + k) for k in range(m)]
    return [(X, outcomes(X, m)[:, k : k + 1]) for k, X in enumerate(designs)]


def gp_list(m: int = 2, noise: str = "inferred") -> ModelListGP:
    models = []
    for X, y in data(m):
        if noise == "fixed":
            Yvar = torch.full_like(y, 0.04)
            models.append(SingleTaskGP(X, y, train_Yvar=Yvar))
        else:
            likelihood = little_noise() if noise == "none" else None
            models.append(SingleTaskGP(X, y, likelihood=likelihood))
    return ModelListGP(*models)


DESIGNS = rand(9, 2, seed=1)
STRANGERS = rand(6, 2, seed=2)


def kg(
    m: int = 2, noise: str = "inferred", **kwargs
) -> LinearScalarizationKnowledgeGradient:
    designs = kwargs.pop("X_designs", DESIGNS)
    return LinearScalarizationKnowledgeGradient(gp_list(m, noise), designs, **kwargs)


def value(
    acqf: LinearScalarizationKnowledgeGradient, X: Tensor, mask: list[bool] | None
) -> Tensor:
    acqf.X_evaluation_mask = None if mask is None else torch.tensor([mask])
    with torch.no_grad():
        return acqf(X)


def masks_of(m: int) -> list[list[bool]]:
    every = itertools.product([False, True], repeat=m)
    return [list(mask) for mask in every if any(mask)]


# BoTorch's answers -----------------------------------------------------------------


def means(models: list[Model], X: Tensor) -> Tensor:
    """A `... x N x m`-dim tensor of posterior means."""
    with torch.no_grad():
        columns = [model.posterior(X).mean for model in models]
    return torch.cat(torch.broadcast_tensors(*columns), dim=-1)


def best_scalarizations(
    after: Tensor, before: Tensor, num_scalarizations: int, seed: int
) -> Tensor:
    """Mean over weights of the best weighted sum, per sample of `after`."""
    m = before.shape[-1]
    weights = sample_simplex(m, n=num_scalarizations, seed=seed).double()
    extent = before.amax(dim=-2) - before.amin(dim=-2)
    return ((after / extent) @ weights.T).amax(dim=-2).mean(dim=-1)


def conditioned(model: SingleTaskGP, X: Tensor, y: Tensor) -> Model:
    model.eval()
    with torch.no_grad():
        model.posterior(X)  # fills the caches that BoTorch needs
        return model.condition_on_observations(X, y)


def by_quadrature(
    models: list[SingleTaskGP],
    x: Tensor,
    mask: list[bool],
    num_nodes: int,
    designs: Tensor = DESIGNS,
    num_scalarizations: int = 16,
    seed: int = 0,
) -> float:
    """Product rule over the results that BoTorch's posteriors predict."""
    points, weights = np.polynomial.hermite_e.hermegauss(num_nodes)
    weights = weights / weights.sum()
    before = means([model.eval() for model in models], designs)
    total = 0.0
    for nodes in itertools.product(range(num_nodes), repeat=sum(mask)):
        left = list(nodes)
        new: list[Model] = []
        for model, asked in zip(models, mask, strict=True):
            if not asked:
                new.append(model)
                continue
            with torch.no_grad():
                prediction = model.posterior(x, observation_noise=True)
            y = prediction.mean + points[left.pop(0)] * prediction.variance.sqrt()
            new.append(conditioned(model, x, y))
        best = best_scalarizations(
            means(new, designs), before, num_scalarizations, seed
        )
        total += float(np.prod(weights[list(nodes)])) * best.item()
    return total - best_scalarizations(before, before, num_scalarizations, seed).item()


@pytest.mark.parametrize("nodes", [3, 8])
@pytest.mark.parametrize("noise", ["inferred", "none"])
@pytest.mark.parametrize("m", [1, 2, 3])
def test_values_equal_brute_force_over_the_nodes(m, noise, nodes):
    acqf = kg(m, noise, quadrature_nodes=nodes)
    models = list(gp_list(m, noise).models)
    X = STRANGERS[[0, 3]]
    for mask in masks_of(m):
        if nodes ** sum(mask) > (27 if m == 3 else 64):  # slow, or Sobol nodes
            continue
        expected = [by_quadrature(models, x, mask, nodes) for x in X.split(1)]
        assert max(expected) > 1e-3
        actual = value(acqf, X.unsqueeze(-2), mask).tolist()
        assert actual == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("noise", ["inferred", "none", "fixed"])
@pytest.mark.parametrize("mask", masks_of(2), ids=str)
def test_values_agree_with_monte_carlo_over_fantasies(mask, noise):
    samples = 2000
    acqf = kg(noise=noise, quadrature_nodes=64 if sum(mask) == 1 else 8)
    models = [model.eval() for model in gp_list(noise=noise).models]
    before = means(models, DESIGNS)
    now = best_scalarizations(before, before, 16, 0).item()
    X = STRANGERS[[0, 3, 4]]
    for x, actual in zip(X, value(acqf, X.unsqueeze(-2), mask).tolist(), strict=True):
        new = []
        for k, (model, asked) in enumerate(zip(models, mask, strict=True)):
            sampler = IIDNormalSampler(torch.Size([samples]), seed=7 + k)
            with torch.no_grad():
                new.append(model.fantasize(x[None], sampler) if asked else model)
        gains = best_scalarizations(means(new, DESIGNS), before, 16, 0) - now
        assert gains.shape == (samples,)
        error = gains.std().item() / math.sqrt(samples)
        assert actual == pytest.approx(gains.mean().item(), abs=4 * error)


def expected_maximum(a: Tensor, s: Tensor) -> float:
    """`E max(a_0 + s_0 z, a_1 + s_1 z)` for standard normal `z`."""
    spread = abs(float(s[0] - s[1]))
    distance = float(a[0] - a[1]) / spread
    return (
        float(a[0]) * norm.cdf(distance)
        + float(a[1]) * norm.cdf(-distance)
        + spread * norm.pdf(distance)
    )


@pytest.mark.parametrize("noise", ["inferred", "none"])
@pytest.mark.parametrize("outcome", [0, 1])
def test_for_two_designs_values_are_those_of_the_closed_form(outcome, noise):
    designs = DESIGNS[:2]
    models = [model.eval() for model in gp_list(noise=noise).models]
    before = means(models, designs)
    extent = before.amax(dim=-2) - before.amin(dim=-2)
    weights = sample_simplex(2, n=16, seed=0).double()
    current = (before / extent) @ weights.T
    mask = [k == outcome for k in range(2)]
    expected = []
    for x in STRANGERS:
        joint = torch.cat([x[None], designs])
        with torch.no_grad():
            covariance = models[outcome].posterior(joint).distribution
            noisy = models[outcome].posterior(x[None], observation_noise=True).variance
        s = covariance.covariance_matrix[0, 1:] / noisy.squeeze().sqrt()
        gains = [
            expected_maximum(a, w[outcome] * s / extent[outcome]) - a.max().item()
            for a, w in zip(current.T, weights, strict=True)
        ]
        expected.append(float(np.mean(gains)))
    assert max(expected) > 0.01
    errors = []
    for nodes in (4, 64):
        acqf = kg(noise=noise, X_designs=designs, quadrature_nodes=nodes)
        actual = value(acqf, STRANGERS.unsqueeze(-2), mask).numpy()
        errors.append(np.abs(actual - expected).max() / max(expected))
    assert errors[1] < 0.005
    assert errors[1] < errors[0]


# Properties ------------------------------------------------------------------------


@pytest.mark.parametrize("noise", ["inferred", "none"])
@pytest.mark.parametrize("nodes", [1, 2, 7, 32, 64])
def test_values_of_one_outcome_are_never_negative(nodes, noise):
    acqf = kg(noise=noise, quadrature_nodes=nodes)
    X = torch.cat([rand(60, 2, seed=4), DESIGNS]).unsqueeze(-2)
    for mask in ([True, False], [False, True]):
        values = value(acqf, X, mask)
        assert values.min() > -1e-12
        if nodes > 1:
            assert values.max() > 1e-3


def test_values_of_several_outcomes_are_not_negative_on_a_product_grid():
    X = torch.cat([rand(60, 2, seed=4), DESIGNS]).unsqueeze(-2)
    assert value(kg(quadrature_nodes=8), X, [True, True]).min() > -1e-12
    assert value(kg(3, quadrature_nodes=4), X, None).min() > -1e-12


def test_one_node_moves_nothing():
    X = STRANGERS.unsqueeze(-2)
    for mask in masks_of(2):
        values = value(kg(quadrature_nodes=1), X, mask)
        torch.testing.assert_close(values, torch.zeros_like(values), **CLOSE)


@pytest.mark.parametrize("outcome", [0, 1])
def test_what_was_measured_without_noise_is_worth_nothing(outcome):
    acqf = kg(noise="none")
    mask = [k == outcome for k in range(2)]
    known, others = (data()[k][0].unsqueeze(-2) for k in (outcome, 1 - outcome))
    assert value(acqf, known, mask).abs().max() < 1e-4 * value(acqf, others, mask).max()


def test_no_mask_measures_all_outcomes():
    X = STRANGERS.unsqueeze(-2)
    assert torch.equal(value(kg(), X, None), value(kg(), X, [True, True]))


def test_a_mask_given_at_construction_is_used():
    mask = torch.tensor([[False, True]])
    X = STRANGERS.unsqueeze(-2)
    with torch.no_grad():
        actual = kg(X_evaluation_mask=mask)(X)
    assert torch.equal(actual, value(kg(), X, [False, True]))


@pytest.mark.parametrize("scale", [1e-3, 1e4])
def test_the_units_of_the_outcomes_do_not_matter(scale):
    factors = (scale, 5.0)
    scaled = ModelListGP(
        *(SingleTaskGP(X, f * y) for (X, y), f in zip(data(), factors, strict=True))
    )
    acqf = LinearScalarizationKnowledgeGradient(scaled, DESIGNS)
    X = STRANGERS.unsqueeze(-2)
    for mask in masks_of(2):
        expected = value(kg(), X, mask)
        torch.testing.assert_close(value(acqf, X, mask), expected, rtol=1e-5, atol=1e-8)


def test_the_order_and_copies_of_designs_do_not_matter():
    X = STRANGERS.unsqueeze(-2)
    shuffled = torch.cat([DESIGNS.flip(0), DESIGNS[2:4]])
    for mask in masks_of(2):
        torch.testing.assert_close(
            value(kg(X_designs=shuffled), X, mask), value(kg(), X, mask), **CLOSE
        )


@pytest.mark.parametrize("mask", masks_of(2), ids=str)
def test_a_single_design_is_worth_nothing(mask):
    values = value(kg(X_designs=DESIGNS[:1]), STRANGERS.unsqueeze(-2), mask)
    # The mean of 64 Sobol nodes is not quite zero.
    close = 1e-12 if sum(mask) == 1 else 0.05
    torch.testing.assert_close(values, torch.zeros_like(values), rtol=0, atol=close)


@pytest.mark.filterwarnings("ignore:Data .* is not standardized")
@pytest.mark.parametrize("constant", [0.0, 0.1, 0.3, -7.7])
def test_an_outcome_of_equal_means_does_not_drown_the_other(constant):
    (X, y), (Z, w) = data()
    model = ModelListGP(
        SingleTaskGP(X, torch.full_like(y, constant)), SingleTaskGP(Z, w)
    )
    acqf = LinearScalarizationKnowledgeGradient(model, DESIGNS)
    for mask in masks_of(2):
        values = value(acqf, STRANGERS.unsqueeze(-2), mask)
        assert values.isfinite().all()
        assert values.abs().max() < 10


# Weights ---------------------------------------------------------------------------


def test_weights_depend_on_the_seed_alone():
    X = STRANGERS.unsqueeze(-2)
    values = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(values))
        before = torch.get_rng_state()
        values.append(value(kg(seed=seed), X, [True, False]))
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(values[0], values[1])
    assert not torch.allclose(values[0], values[2])


def test_no_scalarisation_is_refused():
    with pytest.raises(InputDataError, match="num_scalarizations >= 1, but got 0"):
        kg(num_scalarizations=0)


@pytest.mark.parametrize("seed", [0, 3])
@pytest.mark.parametrize("num_scalarizations", [1, 5])
def test_weights_are_uniform_on_the_simplex(num_scalarizations, seed):
    acqf = kg(num_scalarizations=num_scalarizations, seed=seed, quadrature_nodes=3)
    models = list(gp_list().models)
    for x in STRANGERS[:2].split(1):
        expected = by_quadrature(
            models, x, [True, False], 3, DESIGNS, num_scalarizations, seed
        )
        actual = value(acqf, x, [True, False]).item()
        assert actual == pytest.approx(expected, abs=1e-6)


# Pending points --------------------------------------------------------------------


def test_pending_points_count_as_measured_with_their_expectation():
    acqf = kg(quadrature_nodes=5)
    acqf.set_X_pending(STRANGERS[4:], torch.tensor([[True, False], [True, True]]))
    first, second = (model.eval() for model in gp_list().models)
    with torch.no_grad():
        y, z = first.posterior(STRANGERS[4:]).mean, second.posterior(STRANGERS[5:]).mean
    models = [
        conditioned(first, STRANGERS[4:], y),
        conditioned(second, STRANGERS[5:], z),
    ]
    for mask in ([True, False], [False, True], [True, True]):
        for x in STRANGERS[:3].split(1):
            expected = by_quadrature(models, x, mask, 5)
            idle = value(kg(quadrature_nodes=5), x, mask).item()
            actual = value(acqf, x, mask).item()
            assert actual == pytest.approx(expected, abs=1e-6)
            assert actual != pytest.approx(idle, abs=1e-6)


def test_a_pending_pair_is_worth_nothing_without_noise():
    acqf = kg(noise="none")
    x = STRANGERS[3:4]
    gains = [value(acqf, x, mask).item() for mask in ([True, False], [False, True])]
    assert min(gains) > 1e-4
    acqf.set_X_pending(x, torch.tensor([[True, False]]))
    assert value(acqf, x, [True, False]).item() < 1e-3 * gains[0]
    assert value(acqf, x, [False, True]).item() == pytest.approx(gains[1])


def test_pending_points_replace_those_set_before_and_can_be_cleared():
    acqf, once = kg(), kg()
    X = STRANGERS.unsqueeze(-2)
    expected = value(acqf, X, [True, False])
    acqf.set_X_pending(STRANGERS[:2], torch.tensor([[True, False], [True, True]]))
    busy = value(acqf, X, [True, False])
    assert not torch.allclose(busy, expected)
    acqf.set_X_pending(STRANGERS[3:4], torch.tensor([[True, False]]))
    once.set_X_pending(STRANGERS[3:4], torch.tensor([[True, False]]))
    assert torch.equal(value(acqf, X, [True, False]), value(once, X, [True, False]))
    acqf.set_X_pending(None)
    assert acqf.X_pending is None
    assert torch.equal(value(acqf, X, [True, False]), expected)


def test_pending_points_without_a_mask_measure_all_outcomes():
    acqf, masked = kg(), kg()
    acqf.set_X_pending(STRANGERS[:2])
    masked.set_X_pending(STRANGERS[:2], torch.ones(2, 2, dtype=torch.bool))
    X = STRANGERS.unsqueeze(-2)
    for mask in masks_of(2):
        assert torch.equal(value(acqf, X, mask), value(masked, X, mask))


def test_pending_masks_of_another_shape_are_refused():
    with pytest.raises(
        BotorchTensorDimensionError,
        match=r"^Expected `X_pending_evaluation_mask` of shape `2 x 2`, but got `1 x 2`"
        r"\.$",
    ):
        kg().set_X_pending(DESIGNS[:2], torch.tensor([[True, False]]))


# Costs, batches, gradients ---------------------------------------------------------


def test_values_are_gains_per_cost_of_the_masked_outcomes():
    costs = torch.tensor([8.0, 0.5], dtype=torch.float64)
    acqf = kg(cost_aware_utility=DecoupledCostUtility(FixedCostModel(costs)))
    X = STRANGERS.unsqueeze(-2)
    for mask in masks_of(2):
        gains = value(kg(), X, mask)
        total = (costs * torch.tensor(mask)).sum()
        expected = torch.where(gains > 0, gains / total, gains * total)
        torch.testing.assert_close(value(acqf, X, mask), expected)


@batch_shapes
@pytest.mark.parametrize("mask", masks_of(2), ids=str)
def test_a_batch_equals_a_loop(mask, batch_shape, monkeypatch):
    X = rand(*batch_shape, 1, 2, seed=5)
    singles = [value(kg(), x, mask) for x in X.reshape(-1, 1, 2)]
    expected = torch.cat(singles).reshape(batch_shape or [1])
    torch.testing.assert_close(value(kg(), X, mask), expected, **CLOSE)
    for limit in (1, 20_000):  # in chunks
        monkeypatch.setattr(linear_kg_module, "MAX_ELEMENTS", limit)
        torch.testing.assert_close(value(kg(), X, mask), expected, **CLOSE)


@pytest.mark.parametrize("noise", ["inferred", "none"])
@pytest.mark.parametrize("m", [1, 2, 3])
@pytest.mark.parametrize("nodes", [3, 7])
def test_the_gradient_is_right(nodes, m, noise):
    for mask in ([True, False, False], [True, True, True]):
        chosen = torch.tensor([mask[:m]])
        acqf = kg(m, noise, quadrature_nodes=nodes, X_evaluation_mask=chosen)
        X = STRANGERS[3:5].unsqueeze(-2).clone().requires_grad_()
        assert torch.autograd.gradcheck(acqf, (X,))
        (gradient,) = torch.autograd.grad(acqf(X).sum(), X)
        assert (gradient != 0).any()


def test_scoring_leaves_no_trace():
    acqf = kg()
    X = STRANGERS.unsqueeze(-2)
    first = value(acqf, X, [True, False])
    value(acqf, X, [True, True])
    assert torch.equal(value(acqf, X, [True, False]), first)


def test_the_best_pair_of_a_finite_set_is_found():
    costs = torch.tensor([2.0, 1.0], dtype=torch.float64)
    acqf = kg(cost_aware_utility=DecoupledCostUtility(FixedCostModel(costs)))
    bounds = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    request = optimize_acqf_decoupled(acqf, bounds, choices=STRANGERS)
    scores = torch.stack(
        [
            value(acqf, STRANGERS.unsqueeze(-2), m)
            for m in ([True, False], [False, True])
        ]
    )
    outcome, row = divmod(int(scores.argmax()), len(STRANGERS))
    assert torch.equal(request.X, STRANGERS[row : row + 1])
    assert request.evaluation_mask[0].nonzero().item() == outcome
    assert request.acq_value is not None
    assert request.acq_value.item() == pytest.approx(scores.max().item())


# Errors ----------------------------------------------------------------------------


def ensemble() -> ModelListGP:
    return ModelListGP(
        *(EnsembleMapSaasSingleTaskGP(X, y, num_taus=2).eval() for X, y in data())
    )


def batched() -> ModelListGP:
    return ModelListGP(
        *(SingleTaskGP(X.expand(2, -1, -1), y.expand(2, -1, -1)) for X, y in data())
    )


@pytest.mark.parametrize("make", [ensemble, batched])
def test_ensembles_and_batches_of_models_are_refused(make):
    message = (
        "Expected plain GPs, but got a batch or an ensemble of GPs. Use"
        " qFlexiBOLookahead, which averages over ensembles."
    )
    with pytest.raises(UnsupportedError, match=f"^{re.escape(message)}$"):
        LinearScalarizationKnowledgeGradient(make(), DESIGNS)


def test_models_that_are_no_list_are_refused():
    message = "LinearScalarizationKnowledgeGradient requires using a ModelList."
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        LinearScalarizationKnowledgeGradient(gp_list().models[0], DESIGNS)


def test_joint_batches_are_refused():
    message = "Expected X to be `batch_shape x q=1 x d`, but got X with shape "
    with pytest.raises(AssertionError, match=f"^{re.escape(message)}"):
        kg()(STRANGERS.reshape(3, 2, 2))


def test_masks_for_another_number_of_outcomes_are_refused():
    message = "Expected X_evaluation_mask to be `q x m`, but got shape `1 x 3`."
    with pytest.raises(BotorchTensorDimensionError, match=f"^{re.escape(message)}$"):
        kg(X_evaluation_mask=torch.tensor([[True, False, True]]))


def test_moved_to_another_dtype_and_back_the_values_are_the_same():
    acqf = kg()
    acqf.set_X_pending(DESIGNS[:1], torch.tensor([[True, False]]))
    X = torch.cat([DESIGNS, STRANGERS]).unsqueeze(-2)
    expected = value(acqf, X, [False, True])
    single = value(acqf.float(), X.float(), [False, True])
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(
        value(acqf.double(), X, [False, True]), expected, rtol=1e-3, atol=1e-4
    )


def test_measuring_nothing_gains_nothing() -> None:
    X = torch.rand(6, 2, generator=torch.Generator().manual_seed(0)).double()
    model = ModelListGP(*(SingleTaskGP(X, X[:, [i]]) for i in range(2)))
    acqf = LinearScalarizationKnowledgeGradient(model, X)
    acqf.X_evaluation_mask = torch.tensor([[False, False]])
    assert acqf(X.unsqueeze(-2)).tolist() == [0.0] * 6
