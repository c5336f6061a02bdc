r"""Look-ahead FlexiBO with batches of models, no data, other dtypes, bounded memory.

Expected values come from plain models one by one, from models built in the other dtype
or from BoTorch's conditioned models. ``moocore`` minimises, hence the signs.
"""

from __future__ import annotations

import itertools
import re

import moocore
import numpy as np
import pytest
import torch
from botorch.acquisition.multi_objective.objective import WeightedMCMultiOutputObjective
from botorch.exceptions.errors import UnsupportedError
from botorch.exceptions.warnings import InputDataWarning
from botorch.models import ModelListGP, SingleTaskGP
from botorch.models.cost import FixedCostModel
from botorch.models.map_saas import EnsembleMapSaasSingleTaskGP
from botorch.models.transforms.outcome import (
    ChainedOutcomeTransform,
    Log,
    OutcomeTransform,
    Standardize,
)
from botorch.posteriors.gpytorch import GPyTorchPosterior
from gpytorch.constraints import GreaterThan
from gpytorch.distributions import MultivariateNormal
from gpytorch.kernels import MaternKernel, ScaleKernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.means import ConstantMean
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from botorch_flexibo import optimize_acqf_decoupled
from botorch_flexibo.acquisition import (
    DecoupledCostUtility,
    HypervolumeLoss,
    qFlexiBOLookahead,
)
from botorch_flexibo.acquisition import lookahead as lookahead_module
from botorch_flexibo.optim import SearchOptions
from botorch_flexibo.utils import moving_front as moving_front_module
from botorch_flexibo.utils.conditioning import ConditionedGP
from botorch_flexibo.utils.moving_front import (
    Joining,
    MovingOutcome,
    expected_hypervolume,
    num_elements,
)

CLOSE = {"rtol": 1e-7, "atol": 1e-9}
Mask = list[list[bool]]


def rand(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def outcomes(X: Tensor, m: int) -> Tensor:
    columns = [(3 * X[..., 0] + 2 * k).sin() + X[..., 1] * (k - 1) for k in range(m)]
    return torch.stack(columns, dim=-1)


def data(m: int = 2) -> list[tuple[Tensor, Tensor]]:
    """Decoupled data: every outcome has been measured at its own designs."""
    designs = [rand(5 + k, 2, seed=10 + k) for k in range(m)]
    return [(X, outcomes(X, m)[:, k : k + 1]) for k, X in enumerate(designs)]


def gp_list(m: int = 2) -> ModelListGP:
    return ModelListGP(*(SingleTaskGP(X, y) for X, y in data(m)))


def reference(m: int = 2) -> Tensor:
    return torch.full((m,), -2.5, dtype=torch.float64)


DESIGNS = rand(9, 2, seed=1)
STRANGERS = rand(6, 2, seed=2)


def lookahead(model: ModelListGP, **kwargs) -> qFlexiBOLookahead:
    ref_point = kwargs.pop("ref_point", reference(model.num_outputs))
    designs = kwargs.pop("X_designs", DESIGNS)
    return qFlexiBOLookahead(model, ref_point, designs, **kwargs)


def value(acqf: qFlexiBOLookahead, X: Tensor, mask: Mask | None = None) -> Tensor:
    acqf.X_evaluation_mask = None if mask is None else torch.tensor(mask)
    with torch.no_grad():
        return acqf(X)


def costs() -> DecoupledCostUtility:
    return DecoupledCostUtility(
        FixedCostModel(torch.tensor([8.0, 0.5], dtype=torch.float64))
    )


# Batches and ensembles of three models ---------------------------------------------

LENGTHSCALES = 0.3 + rand(3, 2, seed=8)
NOISES = torch.tensor([0.01, 0.05, 0.2], dtype=torch.float64)
FACTORS = torch.tensor([1.0, 1.7, -0.8], dtype=torch.float64)


def with_hyperparameters(
    model: SingleTaskGP, lengthscale: Tensor, noise: Tensor
) -> SingleTaskGP:
    model.covar_module.lengthscale = lengthscale
    model.likelihood.noise = noise
    return model.eval()


def batched(m: int = 2) -> ModelListGP:
    """Plain GPs with a batch of three sets of data and hyperparameters."""
    models = []
    for X, y in data(m):
        model = SingleTaskGP(X.expand(3, -1, -1), FACTORS[:, None, None] * y)
        models.append(
            with_hyperparameters(
                model, LENGTHSCALES.unsqueeze(-2), NOISES.unsqueeze(-1)
            )
        )
    return ModelListGP(*models)


def of_batch(k: int, m: int = 2) -> ModelListGP:
    """The `k`-th models of `batched`, on their own."""
    models = [SingleTaskGP(X, FACTORS[k] * y) for X, y in data(m)]
    return ModelListGP(
        *(with_hyperparameters(model, LENGTHSCALES[k], NOISES[k]) for model in models)
    )


def ensemble(m: int = 2) -> ModelListGP:
    models = []
    for X, y in data(m):
        taus = torch.tensor([0.05, 0.1, 0.3], dtype=torch.float64)
        model = EnsembleMapSaasSingleTaskGP(X, y, num_taus=3, taus=taus)
        model.covar_module.base_kernel.lengthscale = LENGTHSCALES.unsqueeze(-2)
        model.covar_module.outputscale = FACTORS.abs()
        model.likelihood.noise = NOISES.unsqueeze(-1)
        model.mean_module.constant.data = FACTORS / 4
        models.append(model.eval())
    return ModelListGP(*models)


def of_ensemble(k: int, m: int = 2) -> ModelListGP:
    """The plain GPs that the members `k` of `ensemble` are."""
    models = []
    for X, y in data(m):
        kernel = ScaleKernel(MaternKernel(ard_num_dims=2)).double()
        kernel.base_kernel.lengthscale = LENGTHSCALES[k]
        kernel.outputscale = FACTORS[k].abs()
        likelihood = GaussianLikelihood(noise_constraint=GreaterThan(1e-6)).double()
        likelihood.noise = NOISES[k]
        mean = ConstantMean().double()
        mean.constant.data = FACTORS[k] / 4
        model = SingleTaskGP(
            X, y, likelihood=likelihood, covar_module=kernel, mean_module=mean
        )
        models.append(model.eval())
    return ModelListGP(*models)


PAIRS: list[Mask] = [
    [[True, False], [True, False]],
    [[True, True], [False, True]],
    [[False, True], [True, True]],
    [[True, True], [True, True]],
]
SINGLES: list[Mask] = [[[True, False]], [[False, True]], [[True, True]]]
pending_or_not = pytest.mark.parametrize("pending", [False, True], ids=["idle", "busy"])


def acquisitions(
    whole: ModelListGP, parts: list[ModelListGP], pending: bool = False, **kwargs
) -> tuple[qFlexiBOLookahead, list[qFlexiBOLookahead]]:
    first, *others = [lookahead(model, **kwargs) for model in (whole, *parts)]
    if pending:
        mask = torch.tensor([[True, False], [True, True]])
        for acqf in (first, *others):
            acqf.set_X_pending(STRANGERS[4:], mask)
    return first, others


def batch_and_parts(
    pending: bool = False, **kwargs
) -> tuple[qFlexiBOLookahead, list[qFlexiBOLookahead]]:
    parts = [of_batch(k) for k in range(3)]
    return acquisitions(batched(), parts, pending, **kwargs)


@pytest.mark.parametrize("nodes", [1, 3])
@pending_or_not
@pytest.mark.parametrize("mask", [*SINGLES, *PAIRS], ids=str)
def test_values_of_batched_models_are_those_of_the_models_one_by_one(
    mask, pending, nodes
):
    acqf, members = batch_and_parts(pending, quadrature_nodes=nodes)
    q = len(mask)
    X = STRANGERS[:4].reshape(4 // q, q, 2)
    for x in X:  # `q x d` meets all models
        expected = torch.stack([value(part, x, mask)[0] for part in members])
        assert expected.std() > 1e-4
        torch.testing.assert_close(value(acqf, x, mask), expected, **CLOSE)
    expected = torch.stack([value(part, X, mask) for part in members], dim=-1)
    actual = value(acqf, X.unsqueeze(1), mask)  # `b x 1 x q x d`
    assert actual.shape == (len(X), 3)
    torch.testing.assert_close(actual, expected, **CLOSE)


@pytest.mark.parametrize("nodes", [1, 3])
@pytest.mark.parametrize("mask", [SINGLES[0], SINGLES[2], PAIRS[1]], ids=str)
def test_every_batched_model_may_have_designs_of_its_own(mask, nodes):
    acqf, members = batch_and_parts(quadrature_nodes=nodes)
    X = rand(2, 4, 3, len(mask), 2, seed=6)
    parts = [value(part, X[:, :, k], mask) for k, part in enumerate(members)]
    actual = value(acqf, X, mask)
    assert actual.shape == (2, 4, 3)
    torch.testing.assert_close(actual, torch.stack(parts, dim=-1), **CLOSE)


@pending_or_not
@pytest.mark.parametrize(
    "loss", [HypervolumeLoss.region, HypervolumeLoss.pessimistic], ids=["region", "low"]
)
def test_batched_models_have_a_loss_each(loss, pending):
    acqf, members = batch_and_parts(pending, loss=loss)
    expected = torch.stack([part.expected_loss for part in members])
    assert acqf.expected_loss.shape == (3,)
    assert expected.std() > 0.1
    torch.testing.assert_close(acqf.expected_loss, expected, **CLOSE)


@pytest.mark.parametrize("m", [1, 3])
def test_batched_models_may_have_one_or_three_outcomes(m):
    parts = [of_batch(k, m) for k in range(3)]
    acqf, members = acquisitions(batched(m), parts, quadrature_nodes=2)
    X = STRANGERS[:3].reshape(3, 1, 1, 2)
    for mask in ([[True, False, False][:m]], [[True] * m]):
        expected = [value(part, X.squeeze(1), mask) for part in members]
        torch.testing.assert_close(
            value(acqf, X, mask), torch.stack(expected, dim=-1), **CLOSE
        )


def test_costs_divide_the_values_of_batched_models():
    X = STRANGERS.reshape(6, 1, 1, 2)
    plain, paid = (
        lookahead(batched(), cost_aware_utility=utility) for utility in (None, costs())
    )
    for mask, cost in zip(SINGLES, (8.0, 0.5, 8.5), strict=True):
        gains = value(plain, X, mask)
        assert gains.shape == (6, 3)
        expected = torch.where(gains > 0, gains / cost, gains * cost)
        torch.testing.assert_close(value(paid, X, mask), expected, **CLOSE)


@pytest.mark.parametrize("mask", [SINGLES[0], PAIRS[1]], ids=str)
def test_the_gradient_of_batched_models_is_right(mask):
    acqf = lookahead(batched(), quadrature_nodes=2, X_designs=DESIGNS[:5])
    acqf.X_evaluation_mask = torch.tensor(mask)
    X = rand(2, 1, len(mask), 2, seed=5).requires_grad_()
    assert torch.autograd.gradcheck(acqf, (X,))


def test_batched_models_are_scored_alike_in_chunks(monkeypatch):
    acqf = lookahead(batched())
    X = rand(40, 1, 1, 2, seed=4)
    expected = {str(mask): value(acqf, X, mask) for mask in SINGLES}
    monkeypatch.setattr(lookahead_module, "_CHUNK_ELEMENTS", 2_000)
    for mask in SINGLES:
        torch.testing.assert_close(value(acqf, X, mask), expected[str(mask)], **CLOSE)


def test_a_batch_of_one_model_is_a_plain_model():
    models = [SingleTaskGP(X.unsqueeze(0), y.unsqueeze(0)) for X, y in data()]
    acqf, plain = lookahead(ModelListGP(*models)), lookahead(gp_list())
    X = STRANGERS.unsqueeze(-2)
    for mask in SINGLES:
        actual = value(acqf, X, mask)
        assert actual.shape == (6,)
        torch.testing.assert_close(actual, value(plain, X, mask), **CLOSE)


@pytest.mark.parametrize("nodes", [1, 3])
@pending_or_not
@pytest.mark.parametrize("mask", PAIRS, ids=str)
def test_pairs_of_points_are_worth_the_mean_over_an_ensemble(mask, pending, nodes):
    parts = [of_ensemble(k) for k in range(3)]
    acqf, members = acquisitions(ensemble(), parts, pending, quadrature_nodes=nodes)
    X = STRANGERS[:4].reshape(2, 2, 2)
    expected = torch.stack([value(part, X, mask) for part in members])
    assert expected.std(dim=0).max() > 1e-4
    torch.testing.assert_close(
        value(acqf, X, mask), expected.mean(dim=0), rtol=1e-5, atol=1e-7
    )


def test_the_gradient_of_pairs_of_points_of_an_ensemble_is_right():
    acqf = lookahead(ensemble(), quadrature_nodes=2, X_designs=DESIGNS[:5])
    acqf.X_evaluation_mask = torch.tensor(PAIRS[1])
    X = rand(2, 2, 2, seed=5).requires_grad_()
    assert torch.autograd.gradcheck(acqf, (X,))


# Nothing to measure, nowhere to measure --------------------------------------------

MODELS = pytest.mark.parametrize(
    ("make", "outside", "shape"),
    [(gp_list, (4,), (4,)), (ensemble, (4,), (4,)), (batched, (4, 1), (4, 3))],
    ids=["plain", "ensemble", "batched"],
)


# The gradient of 0 / 0 reaches X through `torch.where` in DecoupledCostUtility.forward.


@MODELS
@pytest.mark.parametrize("nodes", [1, 4])
@pytest.mark.parametrize("q", [1, 2])
def test_a_mask_without_outcomes_is_worth_zero(q, nodes, make, outside, shape):
    mask = [[False, False]] * q
    X = rand(*outside, q, 2, seed=3)
    for utility in (None, costs()):
        acqf = lookahead(make(), quadrature_nodes=nodes, cost_aware_utility=utility)
        zeros = torch.zeros(shape, dtype=torch.float64)
        assert torch.equal(value(acqf, X, mask), zeros)


@MODELS
@pytest.mark.parametrize("paid", [False, True], ids=["free", "paid"])
@pytest.mark.parametrize("q", [1, 2])
def test_a_mask_without_outcomes_has_gradient_zero(q, paid, make, outside, shape):
    acqf = lookahead(make(), cost_aware_utility=costs() if paid else None)
    acqf.X_evaluation_mask = torch.zeros(q, 2, dtype=torch.bool)
    X = rand(*outside, q, 2, seed=3).requires_grad_()
    values = acqf(X)
    assert values.shape == shape
    (gradient,) = torch.autograd.grad(values.sum(), X)
    assert torch.equal(gradient, torch.zeros_like(X))


# A reshape with -1 in ConditionedGP.directions is ambiguous for tensors without
# elements; strict, so that this line goes with the bug.


@pytest.mark.parametrize("m", [1, 2, 3, 4])
@pytest.mark.parametrize("q", [1, 2])
def test_empty_batches_have_empty_values(q, m):
    for nodes, batch_shape in itertools.product((1, 4), ((0,), (2, 0), (0, 3))):
        acqf = lookahead(gp_list(m), quadrature_nodes=nodes)
        X = torch.zeros(*batch_shape, q, 2, dtype=torch.float64)
        for mask in ([[True] * m] * q, [[k == 0 for k in range(m)]] * q):
            actual = value(acqf, X, mask)
            assert (actual.shape, actual.dtype) == (batch_shape, torch.float64)


def test_empty_batches_have_empty_values_if_nothing_is_measured():
    X = torch.zeros(0, 1, 2, dtype=torch.float64)
    assert value(lookahead(gp_list()), X, [[False, False]]).shape == (0,)


def test_empty_batches_of_batched_models_have_empty_values():
    acqf = lookahead(batched())
    for outside in ((0, 1), (0, 3)):
        X = torch.zeros(*outside, 1, 2, dtype=torch.float64)
        assert value(acqf, X).shape == (0, 3)


# One outcome -----------------------------------------------------------------------


def boxes_after(
    model: SingleTaskGP, X: Tensor, y: Tensor, designs: Tensor
) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        posterior = model.condition_on_observations(X, y).posterior(designs)
    return posterior.mean.squeeze(-1), posterior.variance.squeeze(-1).sqrt()


def interval(mean: Tensor, sd: Tensor, ref: float) -> float:
    """Length between the best upper and the best lower end, above the reference."""
    upper, lower = (mean + sd).max().item(), (mean - sd).max().item()
    return max(upper - ref, 0.0) - max(lower - ref, 0.0)


def expected_reduction(
    model: SingleTaskGP, X: Tensor, designs: Tensor, ref: float, num_nodes: int
) -> float:
    """Product quadrature over the results that BoTorch's posterior predicts."""
    designs = torch.cat([designs, X])
    model.eval()
    with torch.no_grad():
        before = model.posterior(designs)
        prediction = model.posterior(X, observation_noise=True)
    root = torch.linalg.cholesky(prediction.distribution.covariance_matrix)
    points, weights = np.polynomial.hermite_e.hermegauss(num_nodes)
    points, weights = torch.from_numpy(points), weights / weights.sum()
    after = 0.0
    for index in itertools.product(range(num_nodes), repeat=len(X)):
        y = prediction.mean + root @ points[list(index)].unsqueeze(-1)
        length = interval(*boxes_after(model, X, y, designs), ref)
        after += float(np.prod(weights[list(index)])) * length
    mean, sd = before.mean.squeeze(-1), before.variance.squeeze(-1).sqrt()
    return interval(mean, sd, ref) - after


@pytest.mark.parametrize("ref", [-2.5, 0.5], ids=["below", "within"])
@pytest.mark.parametrize("nodes", [1, 2, 5])
@pytest.mark.parametrize("q", [1, 2])
def test_one_outcome_equals_brute_force(q, nodes, ref):
    acqf = lookahead(
        gp_list(1),
        quadrature_nodes=nodes,
        ref_point=torch.tensor([ref], dtype=torch.float64),
    )
    model = gp_list(1).models[0]
    batches = STRANGERS.reshape(6 // q, q, 2)
    expected = [expected_reduction(model, X, DESIGNS, ref, nodes) for X in batches]
    assert max(map(abs, expected)) > 1e-3
    for mask in (None, [[True]] * q):
        actual = value(acqf, batches, mask).tolist()
        assert actual == pytest.approx(expected, abs=1e-6)


def test_the_loss_of_one_outcome_is_the_length_of_an_interval():
    model = gp_list(1).models[0].eval()
    posterior = model.posterior(DESIGNS)
    mean, sd = posterior.mean.squeeze(-1), posterior.variance.squeeze(-1).sqrt()
    acqf = lookahead(gp_list(1), beta=4.0)
    expected = interval(mean.detach(), 2 * sd.detach(), -2.5)
    assert acqf.expected_loss.item() == pytest.approx(expected)


@pytest.mark.parametrize("nodes", [1, 3])
@pytest.mark.parametrize("q", [1, 2])
def test_the_gradient_of_one_outcome_is_right(q, nodes):
    acqf = lookahead(gp_list(1), quadrature_nodes=nodes)
    X = rand(2, q, 2, seed=5).requires_grad_()
    assert torch.autograd.gradcheck(acqf, (X,))


# Moving to another dtype -----------------------------------------------------------


def built_in(dtype: torch.dtype, make: str, busy: bool) -> qFlexiBOLookahead:
    """Model, reference and designs in a dtype from the start."""
    models = []
    for X, y in data():
        X, y = X.to(dtype), y.to(dtype)  # noqa: PLW2901
        if make == "batched":
            X, y = X.expand(3, -1, -1), FACTORS.to(dtype)[:, None, None] * y  # noqa: PLW2901
        if dtype == torch.float32:
            with pytest.warns(InputDataWarning, match="double precision"):
                models.append(SingleTaskGP(X, y))
        else:
            models.append(SingleTaskGP(X, y))
    acqf = qFlexiBOLookahead(
        ModelListGP(*models),
        reference().to(dtype),
        DESIGNS.to(dtype),
        objective=WeightedMCMultiOutputObjective(torch.tensor([0.7, 1.3]).to(dtype)),
        quadrature_nodes=3,
    )
    if busy:
        mask = torch.tensor([[True, False], [False, True]])
        acqf.set_X_pending(STRANGERS[:2].to(dtype), mask)
    return acqf


@pytest.mark.parametrize("make", ["plain", "batched"])
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
@pytest.mark.parametrize(
    ("start", "end"),
    [(torch.float64, torch.float32), (torch.float32, torch.float64)],
    ids=["to-float", "to-double"],
)
def test_a_moved_function_scores_like_one_built_there(start, end, busy, make):
    acqf = built_in(start, make, busy)
    expected = built_in(end, make, busy)
    X = STRANGERS[2:].reshape(2, 1, 2, 2).to(end)
    for mask in PAIRS[:2]:
        moved = acqf.to(end) if end == torch.float32 else acqf.double()
        assert moved is acqf
        actual = value(acqf, X, mask)
        assert (actual.dtype, acqf.expected_loss.dtype) == (end, end)
        wanted = value(expected, X, mask)
        assert wanted.abs().min() > 1e-2
        torch.testing.assert_close(actual, wanted, rtol=1e-2, atol=2e-3)
    torch.testing.assert_close(
        acqf.expected_loss, expected.expected_loss, rtol=1e-3, atol=1e-3
    )


def test_moving_keeps_what_is_pending():
    acqf, idle = (built_in(torch.float64, "plain", busy) for busy in (True, False))
    mask = acqf.X_pending_evaluation_mask
    for dtype in (torch.float32, torch.float64):
        acqf.to(dtype)
        idle.to(dtype)
        assert torch.equal(acqf.X_pending_evaluation_mask, mask)
        torch.testing.assert_close(
            acqf.X_pending.double(), STRANGERS[:2], rtol=1e-6, atol=1e-6
        )
        X = STRANGERS[:2].unsqueeze(-2).to(dtype)
        assert (value(acqf, X, [[True, True]]) < value(idle, X, [[True, True]])).all()
    acqf.set_X_pending(None)
    X = STRANGERS.unsqueeze(-2)
    torch.testing.assert_close(value(acqf, X), value(idle, X), rtol=1e-5, atol=1e-6)


def test_there_and_back_changes_little():
    acqf = built_in(torch.float64, "plain", True)
    X = STRANGERS.unsqueeze(-2)
    before = value(acqf, X)
    after = value(acqf.to(torch.float32).to(torch.float64), X)
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-4)
    assert torch.equal(value(acqf.double(), X), after)


def test_a_moved_function_can_be_optimised_while_something_is_pending():
    acqf = built_in(torch.float64, "plain", True).to(torch.float32)
    choices = STRANGERS.float()
    request = optimize_acqf_decoupled(
        acqf, torch.tensor([[0.0, 0.0], [1.0, 1.0]]), choices=choices, q=2
    )
    assert request.X.shape == (2, 2)
    assert acqf.X_pending is not None
    assert len(acqf.X_pending) == 2
    request = optimize_acqf_decoupled(
        acqf,
        torch.tensor([[0.0, 0.0], [1.0, 1.0]]),
        options=SearchOptions(raw_samples=8, num_restarts=1, maxiter=2),
        q=2,
    )
    assert request.X.shape == (2, 2)


# Memory ----------------------------------------------------------------------------


class LargestTensor(TorchDispatchMode):
    """Keeps the number of elements of the largest tensor that is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for part in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(part, Tensor):
                self.numel = max(self.numel, part.numel())
        return result


def moving_points(
    s: int, b: int, n: int, m: int, variables: list[int], q: int
) -> tuple[Tensor, dict[int, MovingOutcome], Joining]:
    Y = rand(s, n, m, seed=1)
    moving = {
        i: MovingOutcome(
            rand(s, b, n, seed=2 + i), 0.3 * rand(s, b, count, n, seed=9 + i) - 0.1
        )
        for i, count in enumerate(variables)
    }
    own = {
        i: 0.3 * rand(s, b, count, q, seed=16 + i) - 0.1
        for i, count in enumerate(variables)
    }
    return Y, moving, Joining(rand(s, b, q, m, seed=23), own)


VARIABLES = [
    (1, [1]),
    (2, [1]),
    (2, [1, 1]),
    (2, [2, 1]),
    (3, [1]),
    (3, [2]),
    (3, [1, 1]),
    (3, [1, 1, 1]),
    (3, [2, 1]),
    (4, [1]),
    (4, [1, 1]),
    (4, [2, 1, 1]),
]


@pytest.mark.parametrize(
    ("m", "variables", "nodes"),
    [
        *((m, variables, nodes) for m, variables in VARIABLES for nodes in (1, 2, 6)),
        (2, [2], 1),
        (2, [2], 2),
        (2, [2], 6),
    ],
    ids=str,
)
@pytest.mark.parametrize("q", [1, 2], ids=["one-joins", "two-join"])
def test_num_elements_bounds_what_the_expectation_allocates(q, m, variables, nodes):
    s, b, n = 2, 16, 12
    points = moving_points(s, b, n, m, variables, q)
    expected_hypervolume(*points, nodes)  # fills caches of nodes and directions
    with LargestTensor() as largest:
        expected_hypervolume(*points, nodes)
    bound = s * b * num_elements(n, m, variables, nodes, num_joining=q)
    # One of three outcomes moves: what is small is done at once.
    at_once = m == 3 and len(variables) == q == 1
    allowed = max(bound, moving_front_module._SMALL) if at_once else bound
    # And the bound is not far above what is needed.
    assert bound / 20 <= largest.numel <= allowed


@pytest.mark.parametrize(
    ("m", "mask", "limit", "nodes"),
    [
        (2, [[True, False]], 20_000, 1),
        (2, [[True, False]], 20_000, 6),
        (2, [[True, True]], 20_000, 6),
        (2, [[True, False], [True, True]], 50_000, 6),
        (3, [[False, True, False]], 40_000, 6),
        (3, [[True, True, False]], 60_000, 1),
        (3, [[True, True, False]], 60_000, 6),
        (3, [[True, False, False], [False, False, True]], 60_000, 6),
        (3, [[True, False, False], [False, False, False]], 300_000, 6),
        (3, [[True, False, False], [True, False, False]], 300_000, 6),
        (4, [[True, False, False, False]], 200_000, 6),
        (4, [[True, False, True, False]], 400_000, 6),
        (4, [[True, False, False, False], [True, False, False, False]], 400_000, 6),
    ],
    ids=str,
)
def test_chunks_obey_the_limit(m, mask, limit, nodes, monkeypatch):
    acqf = lookahead(gp_list(m), quadrature_nodes=nodes)
    b = 1500 if m == 2 or (len(mask) == 1 and sum(mask[0]) == 1) else 150
    X = rand(b, len(mask), 2, seed=4)
    expected = value(acqf, X, mask)
    monkeypatch.setattr(lookahead_module, "_CHUNK_ELEMENTS", limit)
    with LargestTensor() as largest:
        values = value(acqf, X, mask)
    # Three outcomes: what is small is done at once.
    assert limit / 20 < largest.numel <= max(limit, moving_front_module._SMALL)
    torch.testing.assert_close(values, expected, **CLOSE)


@pytest.mark.parametrize("make", [ensemble, batched])
def test_chunks_of_several_models_obey_the_limit(make, monkeypatch):
    acqf = lookahead(make())
    X = rand(2000, 1, 1, 2, seed=4)
    monkeypatch.setattr(lookahead_module, "_CHUNK_ELEMENTS", 20_000)
    for mask in SINGLES:
        acqf.X_evaluation_mask = torch.tensor(mask)
        with torch.no_grad(), LargestTensor() as largest:
            acqf(X)
        assert 5_000 < largest.numel <= 20_000


# Outcome transforms ----------------------------------------------------------------


class Affine(OutcomeTransform):
    """The GP models ``(y - shift) / slope``."""

    def __init__(self, slope: float, shift: float) -> None:
        super().__init__()
        self.slope, self.shift = slope, shift

    def forward(
        self, Y: Tensor, Yvar: Tensor | None = None, X: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        noise = None if Yvar is None else Yvar / self.slope**2
        return (Y - self.shift) / self.slope, noise

    def untransform(
        self, Y: Tensor, Yvar: Tensor | None = None, X: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        noise = None if Yvar is None else Yvar * self.slope**2
        return self.shift + self.slope * Y, noise

    @property
    def _is_linear(self) -> bool:
        return True

    def untransform_posterior(
        self, posterior: GPyTorchPosterior, X: Tensor | None = None
    ) -> GPyTorchPosterior:
        normal = posterior.distribution
        return GPyTorchPosterior(
            MultivariateNormal(
                self.shift + self.slope * normal.mean,
                self.slope**2 * normal.covariance_matrix,
            )
        )


# GPs are best fed with standardized data, so these standardize, upside down.
SLOPES = [-y.std().item() for _, y in data()]
SHIFTS = [y.mean().item() for _, y in data()]


def mirrored() -> ModelListGP:
    return ModelListGP(
        *(
            SingleTaskGP(X, y, outcome_transform=Affine(slope, shift))
            for (X, y), slope, shift in zip(data(), SLOPES, SHIFTS, strict=True)
        )
    )


def test_a_negative_slope_keeps_deviations_positive_and_means_right():
    for model in mirrored().models:
        gp = ConditionedGP(model)
        mean, sd = gp.moments(gp.whiten(DESIGNS))
        posterior = model.eval().posterior(DESIGNS)
        assert (sd > 0).all()
        torch.testing.assert_close(mean[0], posterior.mean.squeeze(-1), **CLOSE)
        expected = posterior.variance.squeeze(-1).sqrt()
        torch.testing.assert_close(sd[0], expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("nodes", [1, 3])
@pytest.mark.parametrize("mask", [*SINGLES, PAIRS[1]], ids=str)
def test_a_negative_slope_is_a_negative_weight_without_the_transform(mask, nodes):
    inner = [
        SingleTaskGP(X, (y - shift) / slope, outcome_transform=None)
        for (X, y), slope, shift in zip(data(), SLOPES, SHIFTS, strict=True)
    ]
    expected = lookahead(
        ModelListGP(*inner),
        ref_point=reference() - torch.tensor(SHIFTS, dtype=torch.float64),
        objective=WeightedMCMultiOutputObjective(torch.tensor(SLOPES).double()),
        quadrature_nodes=nodes,
    )
    acqf = lookahead(mirrored(), quadrature_nodes=nodes)
    X = STRANGERS.reshape(-1, len(mask), 2)
    assert acqf.expected_loss.item() == pytest.approx(expected.expected_loss.item())
    torch.testing.assert_close(value(acqf, X, mask), value(expected, X, mask), **CLOSE)


@pytest.mark.parametrize("mask", SINGLES, ids=str)
def test_values_under_a_negative_slope_equal_brute_force(mask):
    acqf = lookahead(mirrored(), quadrature_nodes=1)
    models = [model.eval() for model in mirrored().models]
    ref = -reference().numpy()

    def region(measured: list[bool], x: Tensor) -> float:
        columns = []
        for model, asked in zip(models, measured, strict=True):
            with torch.no_grad():
                y = model.posterior(x).mean
                new = model.condition_on_observations(x, y) if asked else model
                posterior = new.posterior(torch.cat([DESIGNS, x]))
            columns.append((posterior.mean, posterior.variance.sqrt()))
        mean, sd = (torch.cat(part, dim=-1) for part in zip(*columns, strict=True))
        upper, lower = (
            moocore.hypervolume(-corner.numpy(), ref=ref)
            for corner in (mean + sd, mean - sd)
        )
        return upper - lower

    for x in STRANGERS.split(1):
        expected = region([False, False], x) - region(mask[0], x)
        assert value(acqf, x, mask).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("scale", [1.0, 1e-9, 1e9])
@pytest.mark.parametrize("standardized", [False, True], ids=["log", "log-standardize"])
def test_logarithms_are_refused_for_outcomes_of_any_size(standardized, scale):
    X, y = data()[0]
    t = (y - y.mean()) / y.std()
    log = Log()
    transform: OutcomeTransform = log
    if standardized:
        transform = ChainedOutcomeTransform(log=log, standardize=Standardize(1))
        name = "ChainedOutcomeTransform"
        model = SingleTaskGP(X, scale * t.exp(), outcome_transform=transform)
    else:
        name = "Log"
        if scale == 1.0:
            model = SingleTaskGP(X, t.exp(), outcome_transform=transform)
        else:
            with pytest.warns(InputDataWarning, match="not standardized"):
                model = SingleTaskGP(X, scale * t.exp(), outcome_transform=transform)
    message = (
        "Expected an affine outcome transform such as Standardize, under which"
        f" posteriors stay Gaussian, but got {name}. Transform the data before"
        " modelling instead."
    )
    with pytest.raises(UnsupportedError, match=f"^{re.escape(message)}$"):
        lookahead(ModelListGP(model, gp_list().models[1]))


@pytest.mark.parametrize("shift", [0.0, 1e6])
@pytest.mark.parametrize("slope", [1e-9, 1.0, 1e9])
def test_affine_transforms_are_taken_for_outcomes_of_any_size(slope, shift):
    X, y = data()[0]
    t = (y - y.mean()) / y.std()
    transform = Affine(slope, slope * shift)
    model = SingleTaskGP(X, slope * (t + shift), outcome_transform=transform)
    assert ConditionedGP(model).scale.item() == pytest.approx(slope, rel=1e-6)
