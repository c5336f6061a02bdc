r"""Look-ahead FlexiBO against brute force on BoTorch's own conditioned models.

What a measurement leaves is computed by conditioning each GP with BoTorch and taking
hypervolumes of the new boxes with moocore (which minimises, hence the signs). The boxes
are those of the reference designs and of the candidates, which join them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import moocore
import pytest
import torch
from botorch.models import ModelListGP, SingleTaskGP
from botorch.models.model import Model
from botorch.sampling.normal import IIDNormalSampler
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import RBFKernel
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood, GaussianLikelihood
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from botorch_flexibo.acquisition import FlexiBO, HypervolumeLoss, qFlexiBOLookahead
from botorch_flexibo.utils import quadrature
from botorch_flexibo.utils.pareto_region import region_volume

batch_shapes = pytest.mark.parametrize(
    "batch_shape", [[], [2], [2, 3]], ids=["single", "batch2", "batch2x3"]
)
CLOSE = {"rtol": 1e-7, "atol": 1e-9}
Mask = list[list[bool]]


def rand(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def outcomes(X: Tensor, m: int) -> Tensor:
    columns = [(3 * X[..., 0] + 2 * k).sin() + X[..., 1] * (k - 1) for k in range(m)]
    return torch.stack(columns, dim=-1)


def little_noise(noise: float = 1e-12) -> GaussianLikelihood:
    constraint = GreaterThan(1e-14)
    likelihood = GaussianLikelihood(noise_constraint=constraint).double()
    likelihood.noise = noise
    return likelihood


def gp_list(m: int = 2, noise: str = "inferred") -> ModelListGP:
    """GPs of decoupled data: every outcome has been measured at its own designs."""
    models = []
    for k in range(m):
        X = rand(5 + k, 2, seed=10 + k)
        Y = outcomes(X, m)[:, k : k + 1]
        if noise == "none":
            model = SingleTaskGP(X, Y, likelihood=little_noise())
        elif noise == "low":
            model = SingleTaskGP(X, Y, likelihood=little_noise(1e-4))
        elif noise == "fixed":
            model = SingleTaskGP(X, Y, train_Yvar=0.01 + rand(5 + k, 1, seed=k) / 4)
        else:
            model = SingleTaskGP(X, Y)
        models.append(model)
    return ModelListGP(*models)


def reference(m: int = 2) -> Tensor:
    return torch.full((m,), -2.5, dtype=torch.float64)


DESIGNS = rand(9, 2, seed=1)
STRANGERS = rand(6, 2, seed=2)


def lookahead(m: int = 2, noise: str = "inferred", **kwargs) -> qFlexiBOLookahead:
    designs = kwargs.pop("X_designs", DESIGNS)
    ref_point = kwargs.pop("ref_point", reference(m))
    return qFlexiBOLookahead(gp_list(m, noise), ref_point, designs, **kwargs)


def value(acqf: qFlexiBOLookahead, X: Tensor, mask: Mask | None = None) -> Tensor:
    acqf.X_evaluation_mask = None if mask is None else torch.tensor(mask)
    with torch.no_grad():
        return acqf(X)


def masks_of(m: int, q: int = 1) -> list[Mask]:
    """All masks that measure something."""
    every = itertools.product([False, True], repeat=q * m)
    return [
        [list(bits[j * m : (j + 1) * m]) for j in range(q)]
        for bits in every
        if any(bits)
    ]


# BoTorch's answers -----------------------------------------------------------------


def moments(model: Model, X: Tensor) -> tuple[Tensor, Tensor]:
    """Means and variances, the last dimension being the designs."""
    with torch.no_grad():
        posterior = model.posterior(X)
    return posterior.mean.squeeze(-1), posterior.variance.squeeze(-1)


def observed(model: SingleTaskGP, X: Tensor, y: Tensor) -> Model:
    """BoTorch's model after `y` was measured at `X`, with the mean noise so far."""
    model.eval()
    with torch.no_grad():
        model.posterior(X)  # fills the caches that BoTorch needs
        if not isinstance(model.likelihood, FixedNoiseGaussianLikelihood):
            return model.condition_on_observations(X, y)
        noise = torch.full_like(y, model.likelihood.noise.mean().item())
        return model.condition_on_observations(X, y, noise=noise)


def expected_model(model: SingleTaskGP, X: Tensor) -> Model:
    """BoTorch's model after measuring exactly its own prediction at `X`."""
    return model if len(X) == 0 else observed(model, X, moments(model, X)[0][:, None])


def boxes(models: list[Model], X: Tensor) -> tuple[Tensor, Tensor]:
    mean, variance = zip(*(moments(model, X) for model in models), strict=True)
    return torch.stack(mean, dim=-1), torch.stack(variance, dim=-1).sqrt()


def moocore_volume(Y: Tensor, ref: Tensor) -> float:
    return moocore.hypervolume(-Y.numpy(), ref=-ref.numpy())


def region(mean: Tensor, half: Tensor, ref: Tensor) -> float:
    return moocore_volume(mean + half, ref) - moocore_volume(mean - half, ref)


def pessimistic(mean: Tensor, half: Tensor, ref: Tensor) -> float:
    return -moocore_volume(mean - half, ref)


def knowledge_gradient(mean: Tensor, half: Tensor, ref: Tensor) -> float:
    return -moocore_volume(mean, ref)


LOSSES = [
    (HypervolumeLoss.region, region),
    (HypervolumeLoss.pessimistic, pessimistic),
    (HypervolumeLoss.knowledge_gradient, knowledge_gradient),
]
losses = pytest.mark.parametrize(
    ("loss", "exact"), LOSSES, ids=["region", "pessimistic", "knowledge-gradient"]
)
Loss = Callable[[Tensor, Tensor, Tensor], float]


def brute_force(
    models: ModelListGP,
    X: Tensor,
    mask: Mask,
    *,
    beta: float = 1.0,
    designs: Tensor = DESIGNS,
    exact: Loss = region,
) -> float:
    """The gain of a `q x d` batch if each measurement is what the model predicts."""
    ref, columns = reference(len(models.models)), torch.tensor(mask).T
    everywhere = torch.cat([designs, X])
    after = [
        expected_model(model, X[column])
        for model, column in zip(models.models, columns, strict=True)
    ]
    (mean, sd), (new_mean, new_sd) = (
        boxes(list(m), everywhere) for m in (models.models, after)
    )
    half = math.sqrt(beta)
    return exact(mean, half * sd, ref) - exact(new_mean, half * new_sd, ref)


def monte_carlo(
    models: ModelListGP, X: Tensor, mask: Mask, exact: Loss, draws: int
) -> tuple[float, float]:
    """The gain over BoTorch's fantasies, and its standard error."""
    ref, columns = reference(len(models.models)), torch.tensor(mask).T
    designs = torch.cat([DESIGNS, X])
    means, sds = [], []
    for k, (model, column) in enumerate(zip(models.models, columns, strict=True)):
        model.eval()
        mean, variance = moments(model, designs)
        if column.any():
            sampler = IIDNormalSampler(torch.Size([draws]), seed=100 + k)
            with torch.no_grad():
                fantasies = model.fantasize(X[column], sampler)
            mean, variance = moments(fantasies, designs)
        means.append(mean.expand(draws, len(designs)))
        sds.append(variance.sqrt().expand(draws, len(designs)))
    pairs = zip(torch.stack(means, dim=-1), torch.stack(sds, dim=-1), strict=True)
    after = torch.tensor([exact(mean, sd, ref) for mean, sd in pairs]).double()
    before = exact(*boxes(list(models.models), designs), ref)
    return before - after.mean().item(), after.std().item() / math.sqrt(draws)


# The paper's collapse --------------------------------------------------------------

SPOTS = torch.cartesian_prod(*[torch.tensor([0.1, 0.5, 0.9]).double()] * 2)


def independent_gps(m: int) -> ModelListGP:
    """Designs tell nothing about each other, only about a neighbour of their own."""
    models = []
    for k in range(m):
        neighbours = SPOTS + 0.03 * (0.2 + rand(len(SPOTS), 2, seed=20 + k))
        kernel = RBFKernel(ard_num_dims=2).double()
        kernel.lengthscale = 0.02
        Y = rand(len(SPOTS), 1, seed=30 + k)
        models.append(
            SingleTaskGP(neighbours, Y, covar_module=kernel, likelihood=little_noise())
        )
    return ModelListGP(*models)


@pytest.mark.parametrize("m", [2, 3])
@pytest.mark.parametrize("beta", [0.5, 1.0])
def test_one_node_and_independent_designs_give_the_values_of_flexibo(beta, m):
    ref = torch.full((m,), -1.0, dtype=torch.float64)
    flexibo = FlexiBO(independent_gps(m), ref, SPOTS, beta=beta)
    acqf = qFlexiBOLookahead(
        independent_gps(m), ref, SPOTS, beta=beta, quadrature_nodes=1
    )
    assert acqf.expected_loss.item() == pytest.approx(flexibo.volume.item())
    X = SPOTS.unsqueeze(-2)
    for mask in masks_of(m):
        flexibo.X_evaluation_mask = torch.tensor(mask)
        expected = flexibo(X)
        assert (expected > 0.01).sum() >= 2
        torch.testing.assert_close(value(acqf, X, mask), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("m", [2, 3])
@pytest.mark.parametrize("beta", [0.5, 1.0])
@pytest.mark.parametrize("inside", [1, 4])
def test_independent_designs_outside_the_set_have_the_values_of_flexibo(
    inside, beta, m
):
    ref = torch.full((m,), -1.0, dtype=torch.float64)
    designs, X = SPOTS[:inside], SPOTS[inside:].unsqueeze(-2)
    flexibo = FlexiBO(independent_gps(m), ref, designs, beta=beta)
    acqf = qFlexiBOLookahead(
        independent_gps(m), ref, designs, beta=beta, quadrature_nodes=1
    )
    for mask in masks_of(m):
        flexibo.X_evaluation_mask = torch.tensor(mask)
        expected = flexibo(X)
        assert (expected > 0.01).sum() >= 2
        torch.testing.assert_close(value(acqf, X, mask), expected, rtol=0, atol=1e-5)


# Candidates join the reference designs ---------------------------------------------


@pytest.mark.parametrize("loss", [loss for loss, _ in LOSSES])
@pytest.mark.parametrize("nodes", [1, 2, 6])
@pytest.mark.parametrize("m", [2, 3])
@pytest.mark.parametrize(
    "mask",
    [
        [[True, False, False]],
        [[True, True, True]],
        [[True, False, False], [True, False, False]],
        [[True, False, True], [False, True, False]],
        [[False, True, False], [False, False, False]],
    ],
    ids=["one", "all", "pair-of-one", "pair", "one-of-pair"],
)
def test_a_candidate_counts_as_if_it_were_a_reference_design(mask, m, nodes, loss):
    mask = [row[:m] for row in mask]
    options = {"loss": loss, "quadrature_nodes": nodes, "beta": 1.5}
    X = STRANGERS[: 2 * len(mask)].reshape(2, len(mask), 2)
    actual = value(lookahead(m, **options), X, mask)
    for x, gain in zip(X, actual, strict=True):
        acqf = lookahead(m, X_designs=torch.cat([DESIGNS, x]), **options)
        torch.testing.assert_close(value(acqf, x, mask).squeeze(0), gain, **CLOSE)


@pytest.mark.parametrize("m", [2, 3])
@pytest.mark.parametrize("nodes", [1, 6])
def test_a_candidate_far_from_the_only_reference_design_is_worth_something(nodes, m):
    # Measuring it tells nothing about the reference design.
    ref = torch.full((m,), -1.0, dtype=torch.float64)
    acqf = qFlexiBOLookahead(independent_gps(m), ref, SPOTS[:1], quadrature_nodes=nodes)
    for count in (1, 2):
        X = SPOTS[-count:].unsqueeze(0)
        before = boxes(list(independent_gps(m).models), torch.cat([SPOTS[:1], X[0]]))
        after = [y.clone() for y in before]
        after[1][1:] = 0.0  # next to no noise
        expected = region(*before, ref) - region(*after, ref)
        gain = value(acqf, X).item()
        assert gain > 0.01
        if nodes == 1:
            assert gain == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("nodes", [1, 3])
def test_every_candidate_joins_by_itself(nodes):
    acqf = lookahead(quadrature_nodes=nodes, X_designs=DESIGNS[:1])
    X = STRANGERS.unsqueeze(-2)
    alone = torch.cat([value(acqf, x, [[True, False]]) for x in X])
    torch.testing.assert_close(value(acqf, X, [[True, False]]), alone, **CLOSE)
    assert len(acqf.X_designs) == 1


# One node: means stay --------------------------------------------------------------


@pytest.mark.parametrize("m", [2, 3])
@pytest.mark.parametrize("noise", ["inferred", "fixed", "low"])
@pytest.mark.parametrize("q", [1, 2, 3])
def test_one_node_equals_brute_force_for_any_mask_per_point(q, noise, m):
    acqf = lookahead(m, noise, quadrature_nodes=1, beta=1.5)
    X = torch.cat([DESIGNS[:q], STRANGERS])[: 2 * q].reshape(2, q, 2)
    masks = masks_of(m, q)
    for mask in masks[:: math.ceil(len(masks) / 7)]:
        expected = [brute_force(gp_list(m, noise), x, mask, beta=1.5) for x in X]
        assert value(acqf, X, mask).tolist() == pytest.approx(expected, abs=1e-6)
    assert max(expected) > 0.05


@losses
def test_one_node_equals_brute_force_for_every_loss(loss, exact):
    acqf = lookahead(quadrature_nodes=1, loss=loss, beta=2.0)
    X = STRANGERS.reshape(3, 2, 2)
    mask = [[True, False], [True, True]]
    expected = [brute_force(gp_list(), x, mask, beta=2.0, exact=exact) for x in X]
    assert value(acqf, X, mask).tolist() == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("m", [2, 3])
def test_no_mask_measures_all_outcomes(m):
    X = STRANGERS.reshape(3, 2, 2)
    for nodes in (1, 2):
        acqf = lookahead(m, quadrature_nodes=nodes)
        assert torch.equal(value(acqf, X), value(acqf, X, [[True] * m] * 2))


def test_a_mask_given_at_construction_is_used():
    acqf = lookahead(X_evaluation_mask=torch.tensor([[False, True]]))
    X = STRANGERS.unsqueeze(-2)
    torch.testing.assert_close(
        acqf(X).detach(), value(lookahead(), X, [[False, True]]), **CLOSE
    )


@pytest.mark.parametrize("nodes", [1, 6])
def test_points_of_a_batch_that_measure_nothing_tell_nothing(nodes):
    # They join the reference designs.
    mask = [[True, False], [False, False]]
    for x in STRANGERS.reshape(3, 2, 2):
        values = value(lookahead(quadrature_nodes=nodes), x, mask)
        joined = torch.cat([DESIGNS, x[1:]])
        acqf = lookahead(quadrature_nodes=nodes, X_designs=joined)
        torch.testing.assert_close(values, value(acqf, x[:1], mask[:1]), **CLOSE)
        # Reference designs need not join.
        pair = torch.cat([x[:1], DESIGNS[:1]])
        values = value(lookahead(quadrature_nodes=nodes), pair, mask)
        expected = value(lookahead(quadrature_nodes=nodes), x[:1], mask[:1])
        torch.testing.assert_close(values, expected, **CLOSE)


@pytest.mark.parametrize("column", [0, 1])
def test_one_measurement_narrows_by_the_squared_covariance_over_the_noisy_variance(
    column,
):
    mask = [[k == column for k in range(2)]]
    acqf = lookahead(quadrature_nodes=1)
    models = gp_list().models
    model = models[column]
    noise = model.likelihood.noise.item() * model.outcome_transform.stdvs.item() ** 2
    for x in STRANGERS:
        designs = torch.cat([DESIGNS, x.unsqueeze(0)])
        mean, sd = boxes(list(models), designs)
        # BoTorch's joint posterior of the designs and x.
        covariance = model.posterior(designs).distribution.covariance_matrix.detach()
        left = sd.square()
        left[:, column] -= covariance[:, -1] ** 2 / (covariance[-1, -1] + noise)
        expected = region(mean, sd, reference()) - region(
            mean, left.sqrt(), reference()
        )
        actual = value(acqf, x.reshape(1, 1, 2), mask)
        assert actual.item() == pytest.approx(expected, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    q=st.integers(1, 3),
    m=st.sampled_from([2, 3, 4]),
    noise=st.sampled_from(["inferred", "fixed", "none"]),
    beta=st.floats(0.0, 9.0),
    loss=st.sampled_from([HypervolumeLoss.region, HypervolumeLoss.pessimistic]),
)
def test_with_one_node_gains_are_never_negative_and_grow_with_the_mask(
    seed, q, m, noise, beta, loss
):
    designs = rand(6, 2, seed=seed + 1)
    acqf = lookahead(
        m, noise, X_designs=designs, beta=beta, quadrature_nodes=1, loss=loss
    )
    X = rand(3, q, 2, seed=seed)
    X[0] = designs[:q]
    bits = rand(q, m, seed=seed + 2)
    less, more = (bits < 0.4), (bits < 0.8)
    if not less.any():
        less[0, 0] = more[0, 0] = True
    small, large = (value(acqf, X, mask.tolist()) for mask in (less, more))
    tiny = 1e-9 * max(1.0, abs(acqf.expected_loss.item()))
    assert (small >= -tiny).all()
    assert (large >= small - tiny).all()


@pytest.mark.parametrize("nodes", [1, 6])
def test_what_was_measured_without_noise_is_worth_nothing(nodes):
    acqf = lookahead(noise="none", quadrature_nodes=nodes)
    for column, model in enumerate(gp_list().models):
        X = model.train_inputs[0].unsqueeze(-2)
        mask = [[k == column for k in range(2)]]
        assert value(acqf, X, mask).abs().max() < 1e-5
        other = [[k != column for k in range(2)]]
        assert value(acqf, X, other).max() > 0.05


# Several nodes: means move ---------------------------------------------------------


@losses
@pytest.mark.parametrize("m", [2, 3])
@pytest.mark.parametrize(
    "mask",
    [
        [[True, False, False]],
        [[False, True, True]],
        [[True, False, False], [True, True, False]],
    ],
    ids=["one", "two", "pair"],
)
def test_several_nodes_agree_with_monte_carlo_over_fantasies(mask, m, loss, exact):
    mask = [row[:m] for row in mask]
    acqf = lookahead(m, loss=loss)
    for X in (STRANGERS[: len(mask)], STRANGERS[2 : 2 + len(mask)]):
        expected, error = monte_carlo(gp_list(m), X, mask, exact, draws=1024)
        assert 0 < error < 0.3
        actual = value(acqf, X.unsqueeze(0), mask).item()
        assert abs(actual - expected) < 4 * error


@losses
def test_six_nodes_are_close_to_sixty_four_and_these_to_the_expectation(loss, exact):
    X, mask = STRANGERS[:1], [[True, False]]
    several, many = (
        value(lookahead(loss=loss, quadrature_nodes=nodes), X.unsqueeze(0), mask).item()
        for nodes in (6, 64)
    )
    expected, error = monte_carlo(gp_list(), X, mask, exact, draws=4096)
    assert abs(many - expected) < 4 * error
    assert abs(several - many) < 2e-3


@pytest.mark.parametrize("noise", ["low", "inferred"])
def test_beyond_a_product_grid_the_knowledge_gradient_is_near_that_of_many_nodes(
    noise, monkeypatch
):
    # What the front of means gains is of second order: nodes with a mean of their own
    # (plain Sobol points) are off by 3 % of the largest value here.
    loss = HypervolumeLoss.knowledge_gradient
    X = rand(24, 2, seed=3).unsqueeze(-2)
    few = value(lookahead(noise=noise, loss=loss, quadrature_nodes=9), X)
    monkeypatch.setattr(quadrature, "MAX_NODES", 3600)
    monkeypatch.setattr(quadrature, "_rule", quadrature._rule.__wrapped__)
    many = value(lookahead(noise=noise, loss=loss, quadrature_nodes=60), X)
    assert few.min() > -1e-12
    assert (few - many).abs().max() < 0.02 * many.max()


def test_the_knowledge_gradient_of_one_node_is_zero():
    # Means that stay change no hypervolume of means.
    loss = HypervolumeLoss.knowledge_gradient
    acqf = lookahead(loss=loss, quadrature_nodes=1)
    assert value(acqf, STRANGERS.reshape(3, 2, 2)).abs().max() < 1e-12


# Losses ----------------------------------------------------------------------------


def test_losses_weigh_corners_of_boxes():
    assert HypervolumeLoss.region(4.0).terms == ((1.0, 2.0), (-1.0, -2.0))
    assert HypervolumeLoss.pessimistic(4.0).terms == ((-1.0, -2.0),)
    assert HypervolumeLoss.knowledge_gradient(4.0).terms == ((-1.0, 0.0),)
    assert HypervolumeLoss.region() == HypervolumeLoss.region(1.0)
    assert HypervolumeLoss.pessimistic() == HypervolumeLoss.pessimistic(1.0)


@losses
@pytest.mark.parametrize("beta", [0.25, 4.0])
@pytest.mark.parametrize("m", [2, 3])
def test_the_loss_before_measuring_is_that_of_the_boxes(m, beta, loss, exact):
    mean, sd = boxes(list(gp_list(m).models), DESIGNS)
    half = math.sqrt(beta) * sd
    current = lookahead(m, beta=beta, loss=loss).expected_loss
    assert current.shape == ()
    assert current.item() == pytest.approx(exact(mean, half, reference(m)))
    if exact is region:
        volume = region_volume(mean - half, mean + half, reference(m))
        assert current.item() == pytest.approx(volume.item())


def test_a_loss_of_ones_own_is_taken():
    def optimistic(beta: float) -> HypervolumeLoss:
        return HypervolumeLoss(((2.0, math.sqrt(beta)),))

    def exact(mean: Tensor, half: Tensor, ref: Tensor) -> float:
        return 2 * moocore_volume(mean + half, ref)

    acqf = lookahead(loss=optimistic, quadrature_nodes=1)
    expected = brute_force(gp_list(), STRANGERS[:1], [[True, True]], exact=exact)
    assert value(acqf, STRANGERS[:1].unsqueeze(0)).item() == pytest.approx(expected)


def test_boxes_without_width_have_no_region():
    acqf = lookahead(beta=0.0)
    assert acqf.expected_loss.item() == 0
    assert value(acqf, STRANGERS.unsqueeze(-2)).abs().max() < 1e-12


# Invariances -----------------------------------------------------------------------


@batch_shapes
@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize(
    "mask",
    [None, [[True, False], [False, True]], [[False, True], [False, True]]],
    ids=str,
)
def test_a_batch_equals_a_loop(mask, nodes, batch_shape):
    acqf = lookahead(quadrature_nodes=nodes)
    X = rand(*batch_shape, 2, 2, seed=3)
    values = value(acqf, X, mask)
    # BoTorch takes a single batch as a batch of one.
    assert values.shape == torch.Size(batch_shape or [1])
    loop = torch.cat([value(acqf, x, mask) for x in X.reshape(-1, 2, 2)])
    torch.testing.assert_close(values.flatten(), loop, **CLOSE)


@pytest.mark.parametrize("nodes", [1, 3])
@pytest.mark.parametrize("m", [2, 3])
def test_the_order_of_designs_and_of_points_does_not_matter(m, nodes):
    X = STRANGERS.reshape(3, 2, 2)
    mask = [[True, False, True][:m], [True, True, False][:m]]
    expected = value(lookahead(m, quadrature_nodes=nodes), X, mask)
    acqf = lookahead(m, quadrature_nodes=nodes, X_designs=DESIGNS.flip(0))
    torch.testing.assert_close(value(acqf, X, mask), expected, **CLOSE)
    if nodes == 1:
        torch.testing.assert_close(
            value(acqf, X.flip(1), mask[::-1]), expected, **CLOSE
        )


def test_copies_of_designs_change_nothing():
    X = STRANGERS.unsqueeze(-2)
    acqf = lookahead(X_designs=torch.cat([DESIGNS, DESIGNS[:4]]))
    torch.testing.assert_close(value(acqf, X), value(lookahead(), X), **CLOSE)


def test_scoring_leaves_no_trace():
    acqf = lookahead()
    X = STRANGERS.unsqueeze(-2)
    first, loss = value(acqf, X), acqf.expected_loss
    value(acqf, DESIGNS[:4].reshape(2, 2, 2), [[True, False], [True, True]])
    assert torch.equal(value(acqf, X), first)
    assert torch.equal(acqf.expected_loss, loss)


# Pending points --------------------------------------------------------------------


PENDING = [
    pytest.param(STRANGERS[:1], [[True, False]], id="one"),
    pytest.param(STRANGERS[:3], [[True, False], [True, True], [False, True]], id="mix"),
    pytest.param(DESIGNS[[0, 0]], [[True, True], [True, False]], id="copies"),
    pytest.param(STRANGERS[:2], None, id="all-outcomes"),
    pytest.param(STRANGERS[:2], [[False, False]] * 2, id="nothing"),
    pytest.param(STRANGERS[:0], None, id="empty"),
]


@pytest.mark.parametrize(("pending", "mask"), PENDING)
@pytest.mark.parametrize("noise", ["inferred", "fixed"])
@pytest.mark.parametrize("nodes", [1, 3])
def test_pending_points_count_as_measured_with_their_expectation(
    nodes, noise, pending, mask
):
    columns = torch.ones(len(pending), 2, dtype=torch.bool)
    columns = columns if mask is None else torch.tensor(mask)
    models = [
        expected_model(model, pending[column])
        for model, column in zip(gp_list(noise=noise).models, columns.T, strict=True)
    ]
    expected = qFlexiBOLookahead(
        ModelListGP(*models), reference(), DESIGNS, quadrature_nodes=nodes
    )
    acqf = lookahead(noise=noise, quadrature_nodes=nodes)
    acqf.set_X_pending(pending, None if mask is None else columns)
    assert acqf.expected_loss.item() == pytest.approx(expected.expected_loss.item())
    X = STRANGERS[3:5].unsqueeze(0)
    for choice in ([[True, False], [True, True]], [[False, True], [False, False]]):
        torch.testing.assert_close(
            value(acqf, X, choice), value(expected, X, choice), rtol=1e-5, atol=1e-6
        )
    # The same given at once.
    acqf = lookahead(
        noise=noise,
        quadrature_nodes=nodes,
        X_pending=pending,
        X_pending_evaluation_mask=None if mask is None else columns,
    )
    torch.testing.assert_close(value(acqf, X), value(expected, X), rtol=1e-5, atol=1e-6)


def test_a_pending_pair_is_worth_nothing_without_noise():
    acqf = lookahead(noise="none")
    X = STRANGERS.unsqueeze(-2)
    mask, other = [[True, False]], [[False, True]]
    before = value(acqf, X, mask)
    best = int(before.argmax())
    acqf.set_X_pending(STRANGERS[best : best + 1], torch.tensor(mask))
    after = value(acqf, X, mask)
    assert before[best] > 0.05
    assert abs(after[best]) < 1e-5
    # Its other outcome still tells something, and so do other points.
    assert value(acqf, X, other)[best] > 1e-3
    assert after.max() > 1e-3


@pytest.mark.parametrize("m", [2, 3])
def test_with_one_node_gains_add_up_along_pending_points(m):
    x, y = STRANGERS[:1], STRANGERS[1:2]
    first, second = [True, False, True][:m], [True, True, False][:m]
    # Of one set of designs: neither point is to join it for one value only.
    designs = torch.cat([DESIGNS, x, y])
    acqf = lookahead(m, quadrature_nodes=1, X_designs=designs)
    together = value(acqf, torch.cat([x, y]).unsqueeze(0), [first, second])
    loss = acqf.expected_loss
    alone = value(acqf, x.unsqueeze(0), [first])
    acqf.set_X_pending(x, torch.tensor([first]))
    torch.testing.assert_close(acqf.expected_loss, (loss - alone).squeeze(0), **CLOSE)
    rest = value(acqf, y.unsqueeze(0), [second])
    torch.testing.assert_close(alone + rest, together, **CLOSE)


@pytest.mark.parametrize("q", [0, 1, 5])
def test_clearing_pending_points_restores_the_values_exactly(q):
    acqf = lookahead()
    X = STRANGERS.reshape(3, 2, 2)
    before, loss = value(acqf, X), acqf.expected_loss
    acqf.set_X_pending(DESIGNS[:q], torch.ones(q, 2, dtype=torch.bool))
    if q == 5:
        assert acqf.expected_loss < loss
        assert not torch.equal(value(acqf, X), before)
    acqf.set_X_pending(None)
    assert acqf.X_pending is None
    assert torch.equal(value(acqf, X), before)
    assert torch.equal(acqf.expected_loss, loss)


def test_pending_points_replace_those_set_before():
    acqf, fresh = lookahead(), lookahead()
    acqf.set_X_pending(DESIGNS[:3], torch.tensor([[True, False]] * 3))
    # Without a mask all outcomes are pending.
    acqf.set_X_pending(DESIGNS[3:6])
    fresh.set_X_pending(DESIGNS[3:6])
    X = STRANGERS.unsqueeze(-2)
    assert torch.equal(value(acqf, X), value(fresh, X))
