r"""Look-ahead FlexiBO with other models, objectives, costs, dtypes and bad input.

Expected values come from plain GPs, negated data or BoTorch's conditioned models, with
hypervolumes from moocore (which minimises, hence the signs) of the boxes of reference
designs and candidates.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import moocore
import pytest
import torch
from botorch.acquisition.cost_aware import InverseCostWeightedUtility
from botorch.acquisition.multi_objective.objective import (
    GenericMCMultiOutputObjective,
    IdentityMCMultiOutputObjective,
    WeightedMCMultiOutputObjective,
)
from botorch.exceptions.errors import (
    BotorchTensorDimensionError,
    InputDataError,
    UnsupportedError,
)
from botorch.exceptions.warnings import InputDataWarning
from botorch.models import (
    MixedSingleTaskGP,
    ModelListGP,
    SingleTaskGP,
    SingleTaskMultiFidelityGP,
    SingleTaskVariationalGP,
)
from botorch.models.cost import FixedCostModel
from botorch.models.deterministic import GenericDeterministicModel
from botorch.models.fully_bayesian import SaasFullyBayesianSingleTaskGP
from botorch.models.map_saas import EnsembleMapSaasSingleTaskGP
from botorch.models.model import Model
from botorch.models.transforms.input import Normalize, Warp
from botorch.models.transforms.outcome import Log, Standardize
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import MaternKernel, ScaleKernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.means import ConstantMean
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from botorch_flexibo.acquisition import (
    DecoupledCostUtility,
    HypervolumeLoss,
    qFlexiBOLookahead,
)
from botorch_flexibo.acquisition import (
    lookahead as lookahead_module,
)
from botorch_flexibo.utils import moving_front as moving_front_module

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
CLOSE = {"rtol": 1e-7, "atol": 1e-9}
Mask = list[list[bool]]


def rand(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def outcomes(X: Tensor, m: int) -> Tensor:
    columns = [(3 * X[..., 0] + 2 * k).sin() + X[..., 1] * (k - 1) for k in range(m)]
    return torch.stack(columns, dim=-1)


def little_noise(noise: float = 1e-12) -> GaussianLikelihood:
    constraint = GreaterThan(noise / 100)
    likelihood = GaussianLikelihood(noise_constraint=constraint).double()
    likelihood.noise = noise
    return likelihood


def data(m: int = 2, d: int = 2) -> list[tuple[Tensor, Tensor]]:
    """Decoupled data: every outcome has been measured at its own designs."""
    designs = [rand(5 + k, d, seed=10 + k) for k in range(m)]
    return [(X, outcomes(X, m)[:, k : k + 1]) for k, X in enumerate(designs)]


def gp_list(m: int = 2, noise: str = "inferred") -> ModelListGP:
    likelihoods = [little_noise() if noise == "none" else None for _ in range(m)]
    return ModelListGP(
        *(
            SingleTaskGP(X, Y, likelihood=likelihood)
            for (X, Y), likelihood in zip(data(m), likelihoods, strict=True)
        )
    )


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


def observed_boxes(
    models: list[SingleTaskGP], X: Tensor, mask: Mask, designs: Tensor
) -> tuple[Tensor, Tensor]:
    """BoTorch's means and deviations after each model measured its own prediction."""
    columns = []
    for model, column in zip(models, torch.tensor(mask).T, strict=True):
        model.eval()
        new: Model = model
        with torch.no_grad():
            if column.any():
                y = model.posterior(X[column]).mean
                new = model.condition_on_observations(X[column], y)
            posterior = new.posterior(designs)
        columns.append(torch.cat([posterior.mean, posterior.variance.sqrt()], dim=-1))
    mean, sd = torch.stack(columns, dim=-1).unbind(dim=-2)
    return mean, sd


def region(boxes: tuple[Tensor, Tensor], ref: Tensor) -> float:
    mean, sd = boxes
    upper, lower = (
        moocore.hypervolume(-corner.numpy(), ref=-ref.numpy())
        for corner in (mean + sd, mean - sd)
    )
    return upper - lower


def brute_force(
    models: ModelListGP,
    ref: Tensor,
    X: Tensor,
    mask: Mask,
    designs: Tensor,
    *,
    own: Tensor | None = None,
) -> float:
    """The gain of a `q x d` batch that joins the designs, in place of it `own`."""
    designs = torch.cat([designs, X if own is None else own])
    nothing = torch.zeros_like(torch.tensor(mask)).tolist()
    before, after = (
        region(observed_boxes(list(models.models), X, choice, designs), ref)
        for choice in (nothing, mask)
    )
    return before - after


# Models ----------------------------------------------------------------------------


def normalized(X: Tensor, y: Tensor) -> SingleTaskGP:
    return SingleTaskGP(X, y, input_transform=Normalize(2))


def warped(X: Tensor, y: Tensor) -> SingleTaskGP:
    transform = Warp(2, indices=[0, 1], bounds=torch.tensor([[0.0, 0], [1, 1]]))
    transform.concentration0.data.fill_(2.0)
    return SingleTaskGP(X, y, input_transform=transform)


def mixed(X: Tensor, y: Tensor) -> MixedSingleTaskGP:
    return MixedSingleTaskGP(X, y, cat_dims=[1])


@pytest.mark.parametrize("make", [normalized, warped, mixed])
@pytest.mark.parametrize(
    "mask", [[[True, False]], [[True, True], [False, True]]], ids=str
)
def test_values_of_any_exact_gp_equal_brute_force(mask, make):
    def rounded(X: Tensor) -> Tensor:
        # The second input is a category of three.
        return torch.stack([X[:, 0], (2 * X[:, 1]).round() / 2], dim=-1)

    X = rounded(rand(9, 2, seed=4))
    Y = outcomes(X, 2)
    designs, batch = rounded(DESIGNS), rounded(STRANGERS[: len(mask)])
    model = ModelListGP(*(make(X, Y[:, i : i + 1]) for i in range(2)))
    acqf = qFlexiBOLookahead(model, reference(), designs, quadrature_nodes=1)
    expected = brute_force(model, reference(), batch, mask, designs)
    assert expected > 0.01
    actual = value(acqf, batch.unsqueeze(0), mask).item()
    assert actual == pytest.approx(expected, abs=1e-6)


HYPER = {
    "mean": torch.tensor([-0.3, 0.0, 0.4], dtype=torch.float64),
    "outputscale": torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64),
    "lengthscale": 0.3 + rand(3, 2, seed=8),
    "noise": torch.tensor([0.01, 0.05, 0.2], dtype=torch.float64),
}


def map_saas(X: Tensor, y: Tensor, members: int = 3) -> EnsembleMapSaasSingleTaskGP:
    taus = torch.linspace(0.05, 0.3, members, dtype=torch.float64)
    model = EnsembleMapSaasSingleTaskGP(X, y, num_taus=members, taus=taus)
    if members == 3:
        kernel = model.covar_module
        kernel.base_kernel.lengthscale = HYPER["lengthscale"].unsqueeze(-2)
        kernel.outputscale = HYPER["outputscale"]
        model.likelihood.noise = HYPER["noise"].unsqueeze(-1)
        model.mean_module.constant.data = HYPER["mean"]
    return model.eval()


def fully_bayesian(X: Tensor, y: Tensor) -> SaasFullyBayesianSingleTaskGP:
    model = SaasFullyBayesianSingleTaskGP(X, y, outcome_transform=Standardize(1))
    model.load_mcmc_samples(HYPER)
    return model.eval()


def member(X: Tensor, y: Tensor, k: int) -> SingleTaskGP:
    """The plain GP that member `k` of both ensembles is."""
    kernel = ScaleKernel(MaternKernel(ard_num_dims=2)).double()
    kernel.base_kernel.lengthscale = HYPER["lengthscale"][k]
    kernel.outputscale = HYPER["outputscale"][k]
    likelihood = GaussianLikelihood(noise_constraint=GreaterThan(1e-6)).double()
    likelihood.noise = HYPER["noise"][k]
    mean = ConstantMean().double()
    mean.constant.data = HYPER["mean"][k]
    return SingleTaskGP(
        X, y, likelihood=likelihood, covar_module=kernel, mean_module=mean
    )


def plain(X: Tensor, y: Tensor) -> SingleTaskGP:
    return SingleTaskGP(X, y)


Make = Callable[[Tensor, Tensor], SingleTaskGP]


@pytest.mark.parametrize("nodes", [1, 3])
@pytest.mark.parametrize("pending", [False, True], ids=["idle", "pending"])
@pytest.mark.parametrize(
    "makes",
    [
        (map_saas, map_saas),
        (fully_bayesian, fully_bayesian),
        (map_saas, fully_bayesian),
        (plain, map_saas),
        (fully_bayesian, plain),
        (map_saas, plain, map_saas),
    ],
    ids=lambda makes: "-".join(make.__name__ for make in makes),
)
def test_the_value_of_an_ensemble_is_the_mean_of_its_members(
    makes: tuple[Make, ...], pending, nodes
):
    m = len(makes)

    def acquisition(k: int | None) -> qFlexiBOLookahead:
        models = [
            make(*xy) if k is None or make is plain else member(*xy, k)
            for make, xy in zip(makes, data(m), strict=True)
        ]
        acqf = qFlexiBOLookahead(
            ModelListGP(*models), reference(m), DESIGNS[:6], quadrature_nodes=nodes
        )
        if pending:
            mask = torch.tensor([[True, False, True], [True, True, False]])[:, :m]
            acqf.set_X_pending(STRANGERS[4:], mask)
        return acqf

    ensemble, members = acquisition(None), [acquisition(k) for k in range(3)]
    X = STRANGERS[:4].unsqueeze(-2)
    for mask in ([True, False, False], [False, True, False], [True, True, True]):
        expected = torch.stack([value(acqf, X, [mask[:m]]) for acqf in members])
        assert expected.std(dim=0).max() > 1e-4
        torch.testing.assert_close(
            value(ensemble, X, [mask[:m]]), expected.mean(dim=0), rtol=1e-5, atol=1e-7
        )
    losses = torch.stack([acqf.expected_loss for acqf in members])
    assert ensemble.expected_loss.shape == ()
    assert ensemble.expected_loss.item() == pytest.approx(losses.mean().item())


def test_the_gradient_of_an_ensemble_is_right():
    models = [map_saas(*xy) for xy in data()]
    acqf = qFlexiBOLookahead(
        ModelListGP(*models), reference(), DESIGNS[:5], quadrature_nodes=2
    )
    X = rand(3, 1, 2, seed=5).requires_grad_()
    assert torch.autograd.gradcheck(acqf, (X,))


def test_ensembles_of_different_sizes_are_refused():
    (X, y), (Z, w) = data()
    models = ModelListGP(map_saas(X, y), map_saas(Z, w, members=2))
    message = (
        "Expected ensembles of one size, so that their members can be paired, but got"
        " sizes [3, 2]. Use the same num_samples and thinning for all outcomes."
    )
    with pytest.raises(UnsupportedError, match=f"^{re.escape(message)}$"):
        qFlexiBOLookahead(models, reference(), DESIGNS)


# Fidelities ------------------------------------------------------------------------


def multi_fidelity_list() -> ModelListGP:
    return ModelListGP(
        *(SingleTaskMultiFidelityGP(X, y, data_fidelities=[2]) for X, y in data(d=3))
    )


def at_target(X: Tensor) -> Tensor:
    return torch.cat([X[..., :2], torch.ones_like(X[..., 2:])], dim=-1)


@pytest.mark.parametrize("key", [2, -1])
@pytest.mark.parametrize(
    "mask",
    [[[True, False], [True, True]], [[True, True]] * 2, [[False, True], [False] * 2]],
    ids=str,
)
def test_target_fidelities_project_the_designs_and_not_the_candidates(mask, key):
    designs = rand(9, 3, seed=1)
    designs[5, :2] = designs[6, :2]  # equal at the target
    projected = at_target(designs).unique(dim=0)
    assert len(projected) == 8
    acqf = qFlexiBOLookahead(
        multi_fidelity_list(),
        reference(),
        designs,
        quadrature_nodes=1,
        target_fidelities={key: 1.0},
    )
    assert torch.equal(acqf.X_designs, projected)
    X = rand(2, 2, 3, seed=2)
    X[..., 2] = torch.tensor([[0.1, 0.9], [0.5, 1.0]])
    # Candidates are projected when they join the designs, not when they are measured.
    expected = [
        brute_force(
            multi_fidelity_list(), reference(), x, mask, projected, own=at_target(x)
        )
        for x in X
    ]
    assert value(acqf, X, mask).tolist() == pytest.approx(expected, abs=1e-6)
    # Cheap fidelities tell something else than the target.
    assert not torch.allclose(value(acqf, X, mask), value(acqf, at_target(X), mask))


@pytest.mark.parametrize("nodes", [1, 3])
@pytest.mark.parametrize(
    "mask", [[[True, False]], [[True, True]], [[False, True], [True, True]]], ids=str
)
def test_candidates_join_the_designs_at_the_target_fidelities(mask, nodes):
    X = rand(2, len(mask), 3, seed=2)
    options = {"quadrature_nodes": nodes, "target_fidelities": {2: 1.0}}
    models, designs = multi_fidelity_list(), rand(5, 3, seed=1)
    actual = value(qFlexiBOLookahead(models, reference(), designs, **options), X, mask)
    for x, gain in zip(X, actual, strict=True):
        joined = torch.cat([designs, at_target(x)])
        acqf = qFlexiBOLookahead(models, reference(), joined, **options)
        torch.testing.assert_close(value(acqf, x, mask).squeeze(0), gain, **CLOSE)
        assert gain.abs() > 1e-3


def test_the_gradient_is_right_and_flat_in_no_fidelity():
    acqf = qFlexiBOLookahead(
        multi_fidelity_list(),
        reference(),
        rand(5, 3, seed=1),
        quadrature_nodes=2,
        target_fidelities={2: 1.0},
        X_evaluation_mask=torch.tensor([[True, False], [True, True]]),
    )
    X = rand(2, 2, 3, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(acqf, (X,))
    (gradient,) = torch.autograd.grad(acqf(X).sum(), X)
    assert (gradient != 0).all()


def test_designs_are_not_projected_without_target_fidelities():
    designs = rand(9, 3, seed=1)
    for targets in (None, {}):
        acqf = qFlexiBOLookahead(
            multi_fidelity_list(), reference(), designs, target_fidelities=targets
        )
        assert torch.equal(acqf.X_designs, designs)


# Objectives ------------------------------------------------------------------------


@pytest.mark.parametrize("nodes", [1, 3])
@pytest.mark.parametrize("signs", [(-1.0, 1.0), (1.0, -1.0), (-1.0, -1.0)], ids=str)
def test_weights_of_minus_one_are_models_of_the_negated_outcomes(signs, nodes):
    negated = ModelListGP(
        *(SingleTaskGP(X, s * y) for (X, y), s in zip(data(), signs, strict=True))
    )
    expected = qFlexiBOLookahead(negated, reference(), DESIGNS, quadrature_nodes=nodes)
    objective = WeightedMCMultiOutputObjective(torch.tensor(signs))
    acqf = lookahead(objective=objective, quadrature_nodes=nodes)
    assert acqf.expected_loss.item() == pytest.approx(expected.expected_loss.item())
    X = STRANGERS.reshape(3, 2, 2)
    for mask in ([[True, False], [True, True]], [[False, True], [False, True]]):
        torch.testing.assert_close(
            value(acqf, X, mask), value(expected, X, mask), **CLOSE
        )


@pytest.mark.parametrize("nodes", [1, 3])
def test_weights_scale_the_volume(nodes):
    objective = WeightedMCMultiOutputObjective(torch.tensor([3.0, 0.5]))
    ref = reference() * torch.tensor([3.0, 0.5])
    acqf = lookahead(objective=objective, ref_point=ref, quadrature_nodes=nodes)
    X = STRANGERS.unsqueeze(-2)
    expected = 1.5 * value(lookahead(quadrature_nodes=nodes), X)
    torch.testing.assert_close(value(acqf, X), expected, **CLOSE)


def test_the_identity_changes_nothing():
    X = STRANGERS.unsqueeze(-2)
    acqf = lookahead(objective=IdentityMCMultiOutputObjective())
    assert torch.equal(value(acqf, X), value(lookahead(), X))


# Costs -----------------------------------------------------------------------------


def test_values_are_gains_per_cost_of_the_masked_pairs():
    costs = torch.tensor([8.0, 0.5], dtype=torch.float64)
    utility = DecoupledCostUtility(FixedCostModel(costs))
    acqf = lookahead(cost_aware_utility=utility)
    X = STRANGERS.reshape(3, 2, 2)
    for mask in ([[True, False], [True, True]], [[False, True], [False, False]]):
        gains = value(lookahead(), X, mask)
        assert (gains > 0).all()
        total = (costs * torch.tensor(mask)).sum()
        torch.testing.assert_close(value(acqf, X, mask), gains / total)


def test_botorchs_utility_divides_too():
    costs = torch.tensor([8.0, 0.5], dtype=torch.float64)
    utility = InverseCostWeightedUtility(FixedCostModel(costs))
    acqf = lookahead(cost_aware_utility=utility)
    X = STRANGERS.unsqueeze(-2)
    for mask in ([[True, False]], [[False, True]]):
        expected = value(lookahead(), X, mask) / (costs * torch.tensor(mask)).sum()
        torch.testing.assert_close(value(acqf, X, mask), expected)


@pytest.mark.parametrize("noise", ["inferred", "none"])
@pytest.mark.parametrize(
    "loss", [HypervolumeLoss.region, HypervolumeLoss.knowledge_gradient]
)
def test_a_dearer_twin_is_never_preferred(loss, noise):
    values = []
    X = torch.cat([STRANGERS, DESIGNS]).unsqueeze(-2)
    for factor in (1.0, 7.0):
        model = GenericDeterministicModel(
            lambda X, factor=factor: factor * (1 + X), num_outputs=2
        )
        acqf = lookahead(
            noise=noise, cost_aware_utility=DecoupledCostUtility(model), loss=loss
        )
        values.append(value(acqf, X, [[True, False]]))
    cheap, dear = values
    assert (cheap >= dear).all()
    assert (cheap > dear).any()


# Numbers of outcomes ---------------------------------------------------------------


@pytest.mark.parametrize(("m", "close"), [(3, 1e-7), (4, 0.15), (5, 0.2)])
def test_values_are_exact_for_three_outcomes_and_close_for_more(m, close):
    # Largest errors measured, relative to the largest gain: 10 % (m = 4), 15 % (m = 5).
    acqf = lookahead(m, quadrature_nodes=1)
    X = STRANGERS.reshape(3, 2, 2)
    masks = [
        [[k == 0 for k in range(m)], [k == 1 for k in range(m)]],
        [[True] * m, [k == 2 for k in range(m)]],
    ]
    expected, actual = [], []
    for mask in masks:
        expected += [brute_force(gp_list(m), reference(m), x, mask, DESIGNS) for x in X]
        actual += value(acqf, X, mask).tolist()
    assert actual == pytest.approx(expected, abs=close * max(expected))
    total = region(
        observed_boxes(list(gp_list(m).models), X[0], [[False] * m] * 2, DESIGNS),
        reference(m),
    )
    assert acqf.expected_loss.item() == pytest.approx(total, rel=close)


# Dtypes, devices, memory -----------------------------------------------------------


def there_and_back(
    device: str, dtype: torch.dtype, m: int, **kwargs
) -> tuple[Tensor, Tensor]:
    models = []
    for X, y in data(m):
        X, y = X.to(device, dtype), y.to(device, dtype)  # noqa: PLW2901
        if dtype == torch.float32:
            with pytest.warns(InputDataWarning, match="double precision"):
                models.append(SingleTaskGP(X, y))
        else:
            models.append(SingleTaskGP(X, y))
    acqf = qFlexiBOLookahead(
        ModelListGP(*models),
        reference(m).to(device, dtype),
        DESIGNS.to(device, dtype),
        **kwargs,
    )
    acqf.set_X_pending(STRANGERS[:1].to(device, dtype))
    X = STRANGERS[2:].reshape(2, 2, 2).to(device, dtype).requires_grad_()
    first, second = [True, False, True][:m], [False, True, False][:m]
    acqf.X_evaluation_mask = torch.tensor([first, second], device=device)
    values = acqf(X)
    (gradient,) = torch.autograd.grad(values.sum(), X)
    return values.detach(), gradient


@devices
@pytest.mark.parametrize("m", [2, 3])
@pytest.mark.parametrize("nodes", [1, 4])
@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64], ids=["float32", "float64"]
)
def test_values_and_gradients_have_the_dtype_and_device_of_the_designs(
    dtype, nodes, m, device
):
    actual = there_and_back(device, dtype, m, quadrature_nodes=nodes)
    expected = there_and_back("cpu", torch.float64, m, quadrature_nodes=nodes)
    close = 2e-2 if dtype == torch.float32 else 1e-8
    for one, other in zip(actual, expected, strict=True):
        assert (one.dtype, one.device.type) == (dtype, device)
        assert one.isfinite().all()
        torch.testing.assert_close(one.cpu().double(), other, rtol=close, atol=close)


@pytest.mark.parametrize(
    ("mask", "num_designs"),
    [([[True, False]], 300), ([[True, True]], 10)],
    ids=["one-outcome", "two-outcomes"],
)
def test_ten_thousand_candidates_in_one_call_equal_those_in_pieces(
    mask, num_designs, monkeypatch
):
    acqf = lookahead(X_designs=rand(num_designs, 2, seed=3))
    X = rand(10_000, 1, 2, seed=4)
    values = value(acqf, X, mask)
    monkeypatch.setattr(lookahead_module, "_CHUNK_ELEMENTS", 2**40)
    for size in (10_000, 900):
        pieces = torch.cat([value(acqf, x, mask) for x in X.split(size)])
        torch.testing.assert_close(values, pieces, **CLOSE)


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


@pytest.mark.parametrize("m", [2, 3])
@pytest.mark.parametrize("nodes", [1, 6])
def test_many_candidates_take_bounded_memory_one_outcome_at_a_time(
    nodes, m, monkeypatch
):
    acqf = lookahead(m, quadrature_nodes=nodes)
    mask = [[True, *[False] * (m - 1)]]
    X = rand(4000, 1, 2, seed=4)
    expected = value(acqf, X, mask)
    monkeypatch.setattr(lookahead_module, "_CHUNK_ELEMENTS", 20_000)
    with LargestTensor() as largest:
        values = value(acqf, X, mask)
    assert 1_000 < largest.numel <= (20_000 if m == 2 else moving_front_module._SMALL)
    torch.testing.assert_close(values, expected, **CLOSE)


# Gradients -------------------------------------------------------------------------


@pytest.mark.parametrize("m", [2, 3])
@pytest.mark.parametrize("nodes", [1, 2, 6])
@pytest.mark.parametrize(
    "mask",
    [
        [[True, False, False]],
        [[True, True, False]],
        [[False, True, False], [True, True, False]],
    ],
    ids=["single", "double", "pair"],
)
def test_the_gradient_is_right(mask, nodes, m):
    mask = torch.tensor([row[:m] for row in mask])
    acqf = lookahead(m, quadrature_nodes=nodes, X_evaluation_mask=mask)
    X = rand(2, len(mask), 2, seed=5).requires_grad_()
    assert torch.autograd.gradcheck(acqf, (X,))
    (gradient,) = torch.autograd.grad(acqf(X).sum(), X)
    assert (gradient != 0).all()


@pytest.mark.parametrize(
    "loss", [HypervolumeLoss.pessimistic, HypervolumeLoss.knowledge_gradient]
)
def test_the_gradient_of_every_loss_is_right(loss):
    acqf = lookahead(loss=loss)
    X = rand(2, 1, 2, seed=6).requires_grad_()
    assert torch.autograd.gradcheck(acqf, (X,))


@pytest.mark.parametrize("noise", [1e-12, 1e-16], ids=["little", "lost-in-rounding"])
def test_the_gradient_is_finite_at_designs_and_at_what_was_measured(noise):
    models = [SingleTaskGP(X, Y, likelihood=little_noise(noise)) for X, Y in data()]
    acqf = qFlexiBOLookahead(ModelListGP(*models), reference(), DESIGNS)
    measured = torch.cat([X for X, _ in data()])
    X = torch.cat([DESIGNS, measured]).unsqueeze(-2).requires_grad_()
    (gradient,) = torch.autograd.grad(acqf(X).sum(), X)
    assert gradient.isfinite().all()
    assert (gradient != 0).any()


# Errors ----------------------------------------------------------------------------


def variational() -> ModelListGP:
    X = rand(8, 2, seed=0)
    Y = outcomes(X, 2)
    Y = (Y - Y.mean(dim=0)) / Y.std(dim=0)
    return ModelListGP(SingleTaskGP(X, Y[:, :1]), SingleTaskVariationalGP(X, Y[:, 1:]))


def log_transformed() -> ModelListGP:
    X = rand(8, 2, seed=0)
    y = X.sum(dim=-1, keepdim=True).exp()
    y = ((y.log() - y.log().mean()) / y.log().std()).exp()
    return ModelListGP(SingleTaskGP(X, y), SingleTaskGP(X, y, outcome_transform=Log()))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            variational,
            "Expected exact single-output GPs with Gaussian noise and at most one"
            " batch dimension (SingleTaskGP, MixedSingleTaskGP,"
            " SingleTaskMultiFidelityGP, fully Bayesian GPs), but got"
            " SingleTaskVariationalGP. Use one such model per outcome in a"
            " ModelListGP.",
        ),
        (
            log_transformed,
            "Expected an affine outcome transform such as Standardize, under which"
            " posteriors stay Gaussian, but got Log. Transform the data before"
            " modelling instead.",
        ),
    ],
)
def test_models_without_a_closed_form_are_refused(make, message):
    with pytest.raises(UnsupportedError, match=f"^{re.escape(message)}$"):
        qFlexiBOLookahead(make(), reference(), DESIGNS)


def test_models_that_are_no_list_are_refused():
    model = gp_list().models[0]
    message = "qFlexiBOLookahead requires using a ModelList."
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        qFlexiBOLookahead(model, reference(), DESIGNS)


@pytest.mark.parametrize(
    ("shape", "shown"), [((2,), "2"), ((0, 2), "0 x 2"), ((1, 3, 2), "1 x 3 x 2")]
)
def test_designs_that_are_not_a_matrix_are_refused(shape, shown):
    message = (
        f"Expected X_designs to be `n x d` with n >= 1, but got shape `{shown}`. Pass"
        " one design per row."
    )
    with pytest.raises(BotorchTensorDimensionError, match=f"^{re.escape(message)}$"):
        lookahead(X_designs=torch.zeros(shape, dtype=torch.float64))


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_designs_that_are_not_finite_are_refused(number):
    X = DESIGNS.clone()
    X[3, 1] = number
    message = "Expected finite X_designs, but got NaN or infinity. Leave such rows out."
    with pytest.raises(InputDataError, match=f"^{re.escape(message)}$"):
        lookahead(X_designs=X)


def test_reference_points_that_do_not_fit_are_refused():
    message = (
        "Expected ref_point to have 2 elements, one per outcome, but got shape `3`."
        " Pass a `m`-dim tensor."
    )
    with pytest.raises(BotorchTensorDimensionError, match=f"^{re.escape(message)}$"):
        lookahead(ref_point=reference(3))
    message = (
        "Expected a finite ref_point, but got [0.0, nan]. Pass the worst value of"
        " interest of each outcome."
    )
    with pytest.raises(InputDataError, match=f"^{re.escape(message)}$"):
        lookahead(ref_point=torch.tensor([0.0, math.nan]))


@pytest.mark.parametrize("loss", [HypervolumeLoss.region, HypervolumeLoss.pessimistic])
@pytest.mark.parametrize("beta", [-0.1, math.nan, math.inf])
def test_a_beta_that_is_negative_or_not_finite_is_refused(beta, loss):
    message = (
        f"Expected a finite beta >= 0, but got {beta}. Pass 1 for boxes of one standard"
        " deviation to each side."
    )
    for refused in (loss, lambda beta: lookahead(beta=beta, loss=loss)):
        with pytest.raises(InputDataError, match=f"^{re.escape(message)}$"):
            refused(beta)


def test_no_nodes_are_refused():
    message = (
        "Expected at least one node and one variable, but got num_nodes=0 and dim=1."
        " Pass whole numbers; one node is the mean."
    )
    with pytest.raises(InputDataError, match=f"^{re.escape(message)}$"):
        lookahead(quadrature_nodes=0)


def test_an_objective_that_is_not_separable_is_refused():
    objective = GenericMCMultiOutputObjective(lambda Y, X: Y.exp())
    message = (
        "Expected an objective that maps outcome i to objective i (None,"
        " IdentityMCMultiOutputObjective or WeightedMCMultiOutputObjective), but got"
        " GenericMCMultiOutputObjective. Model the objectives themselves as the"
        " outcomes instead."
    )
    with pytest.raises(UnsupportedError, match=f"^{re.escape(message)}$"):
        lookahead(objective=objective)


def test_a_mask_for_another_number_of_points_is_refused():
    message = (
        "Expected X_evaluation_mask of shape `2 x 2` for X of shape `3 x 2 x 2`, but"
        " got `1 x 2`. Pass one row per point; optimize_acqf_decoupled takes several"
        " one by one."
    )
    with pytest.raises(BotorchTensorDimensionError, match=f"^{re.escape(message)}$"):
        value(lookahead(), STRANGERS.reshape(3, 2, 2), [[True, False]])


def test_pending_masks_of_another_shape_are_refused():
    with pytest.raises(
        BotorchTensorDimensionError,
        match=r"^Expected `X_pending_evaluation_mask` of shape `2 x 2`, but got",
    ):
        lookahead().set_X_pending(DESIGNS[:2], torch.tensor([[True, False]]))
