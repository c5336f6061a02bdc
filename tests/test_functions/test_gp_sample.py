from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from botorch.utils.testing import (
    BaseTestProblemTestCaseMixIn,
    BotorchTestCase,
    MultiObjectiveTestProblemTestCaseMixin,
)
from gpytorch.kernels import Kernel, MaternKernel, RBFKernel
from torch import Tensor

from botorch_flexibo.exceptions import InvalidCostError
from botorch_flexibo.test_functions import (
    DecoupledGPSample,
    DecoupledProblem,
    _gp_paths,
)
from botorch_flexibo.utils.fronts import hypervolume

PRIOR: dict[str, Any] = {
    "lengthscales": [[0.4, 0.8], 0.3],
    "outputscales": [1.0, 4.0],
    "kernels": ["rbf", "matern"],
    "costs": [10.0, 1.0],
}
FAMILIES = [
    pytest.param(lambda seed: DecoupledGPSample(2, **PRIOR, seed=seed), id="own"),
    pytest.param(DecoupledGPSample.network_like, id="A"),
    pytest.param(lambda seed: DecoupledGPSample.network_like(seed, dim=5), id="B"),
    pytest.param(DecoupledGPSample.cmokg, id="C-MOKG"),
]
Family = Callable[[int], DecoupledGPSample]
DEVICES = ["cpu"]
if torch.cuda.is_available():
    DEVICES.append(pytest.param("cuda", marks=pytest.mark.gpu))


def three_outcomes(**kwargs: Any) -> DecoupledGPSample:
    return DecoupledGPSample(
        2,
        lengthscales=[0.5, 0.3, 1.0],
        outputscales=[1.0, 1.0, 2.0],
        kernels=["rbf", "matern", "matern"],
        costs=[1.0, 2.0, 3.0],
        **kwargs,
    )


class TestBoTorchContract(
    BotorchTestCase,
    BaseTestProblemTestCaseMixIn,
    MultiObjectiveTestProblemTestCaseMixin,
):
    functions = [
        DecoupledGPSample.network_like(0, noise_std=0.1),
        DecoupledGPSample.cmokg(0, noise_std=[0.1, 0.2]),
        three_outcomes(),
    ]


def kernel_matrices(X: Tensor) -> list[Tensor]:
    # Of `PRIOR`, by GPyTorch.
    kernels: list[Kernel] = [RBFKernel(ard_num_dims=2), MaternKernel(nu=2.5)]
    kernels[0].lengthscale = torch.tensor([0.4, 0.8])
    kernels[1].lengthscale = 0.3
    matrices = [k.double()(X).to_dense().detach() for k in kernels]
    return [v * K for v, K in zip(PRIOR["outputscales"], matrices, strict=True)]


@pytest.fixture(scope="module")
def samples() -> tuple[Tensor, Tensor]:
    # `2000 x 5 x 2` outcomes of 5 designs over the seeds.
    X = torch.rand(
        5, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_gp_paths, "_REF_DESIGNS", 4)  # not used here, takes the time
        Y = [DecoupledGPSample(2, **PRIOR, seed=seed)(X) for seed in range(2000)]
    return X, torch.stack(Y)


@pytest.mark.parametrize("outcome", [0, 1], ids=["rbf", "matern"])
def test_moments_over_seeds_are_those_of_the_kernel(
    samples: tuple[Tensor, Tensor], outcome: int
) -> None:
    X, Y = samples
    y, n = Y[..., outcome], len(Y)
    K = kernel_matrices(X)[outcome]
    variances = K.diagonal()
    assert (y.mean(dim=0).abs() < 4 * (variances / n).sqrt()).all()
    # Of a product of two Gaussians: Var(y_i y_j) = K_ii K_jj + K_ij^2.
    error = ((variances.outer(variances) + K.square()) / n).sqrt()
    assert ((y.mT @ y / n - K).abs() < 4 * error).all()
    # The kernels are told apart: the other one does not pass.
    other = kernel_matrices(X)[1 - outcome] * variances[0] / 4 ** (1 - outcome)
    assert ((y.mT @ y / n - other).abs() > 4 * error).any()


def test_outcomes_are_independent(samples: tuple[Tensor, Tensor]) -> None:
    Y = samples[1] / torch.tensor(PRIOR["outputscales"]).sqrt()
    n = len(Y)
    assert (Y[..., 0].mT @ Y[..., 1] / n).abs().max() < 4 / n**0.5


def test_a_single_path_has_the_moments_of_its_features() -> None:
    # Conditional on the frequencies the variance is the output scale, exactly.
    problem = DecoupledGPSample(2, **PRIOR)
    X = problem.discretize(3, seed=0)
    angles = torch.einsum("nd,mfd->nmf", X, problem.frequencies)
    a = problem.amplitudes * problem.phases.cos()
    b = problem.amplitudes * problem.phases.sin()
    expected = (a * angles.cos() + b * angles.sin()).sum(dim=-1)
    torch.testing.assert_close(problem(X), expected)
    variance = problem.amplitudes.square().sum(dim=-1) / 2
    torch.testing.assert_close(
        variance, torch.tensor([1.0, 4.0], dtype=torch.float64), rtol=0.15, atol=0
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_the_seed_determines_the_problem_and_the_global_rng_is_untouched(
    family: Family,
) -> None:
    state = torch.get_rng_state()
    first = family(3)
    torch.manual_seed(123)
    changed = torch.get_rng_state()
    second, other = family(3), family(4)
    X = first.discretize(16, seed=0)
    assert torch.equal(first(X), second(X))
    assert torch.equal(first.ref_point, second.ref_point)
    assert not torch.isclose(first(X), other(X)).any()
    assert isinstance(first, DecoupledProblem)
    assert torch.equal(torch.get_rng_state(), changed)
    torch.set_rng_state(state)


def test_max_hv_is_deterministic_and_leaves_rng_and_grad_mode_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_gp_paths, "_SEARCH_DIRECTIONS", 8)
    state = torch.get_rng_state()
    with torch.no_grad():
        first = DecoupledGPSample(1, **one_dimensional()).max_hv
    assert DecoupledGPSample(1, **one_dimensional()).max_hv == first
    single = DecoupledGPSample(1, **one_dimensional()).to(torch.float32)
    assert single.max_hv == pytest.approx(first, rel=1e-4)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("batch_shape", [[], [2], [2, 3], [0]], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_dtype_and_batch_shape_are_those_of_the_designs(
    dtype: torch.dtype, batch_shape: list[int], device: str
) -> None:
    problem = DecoupledGPSample(2, **PRIOR).to(device)
    X = torch.rand(*batch_shape, 2, dtype=dtype, device=device)
    Y = problem(X)
    assert Y.shape == (*batch_shape, 2)
    assert Y.dtype == dtype
    assert Y.device == X.device
    assert problem.frequencies.dtype == torch.float64
    # The paths stay in double precision: only the result is rounded.
    assert torch.equal(Y, problem(X.double()).to(dtype))
    rows = [problem(x) for x in X.reshape(-1, 2)]
    if rows:
        torch.testing.assert_close(Y.reshape(-1, 2), torch.stack(rows))


def test_integer_designs_are_not_rounded() -> None:
    problem = DecoupledGPSample(2, **PRIOR)
    corner = torch.tensor([[0, 1]])
    assert torch.equal(problem(corner), problem(corner.double()))


@pytest.mark.parametrize("family", FAMILIES)
def test_outcomes_are_differentiable(family: Family) -> None:
    problem = family(0)
    X = problem.discretize(3, seed=0).requires_grad_()
    assert torch.autograd.gradcheck(problem, (X,))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("family", FAMILIES)
def test_ref_point_is_strictly_below_the_sampled_front(
    family: Family, seed: int
) -> None:
    problem = family(seed)
    Y = problem(problem.discretize(4096, seed=0))
    dominated = (Y.unsqueeze(0) > Y.unsqueeze(1)).all(dim=-1).any(dim=-1)
    front = Y[~dominated]
    margin = 0.1 * (Y.amax(dim=0) - Y.amin(dim=0))
    assert (problem.ref_point < front).all()
    torch.testing.assert_close(problem.ref_point, front.amin(dim=0) - margin)


def one_dimensional() -> dict[str, Any]:
    return {
        "lengthscales": [0.5, 0.15],
        "outputscales": [1.0, 1.0],
        "kernels": ["rbf", "matern"],
        "costs": [10.0, 1.0],
    }


@pytest.mark.parametrize("seed", range(3))
def test_max_hv_of_one_variable_is_that_of_a_dense_grid(seed: int) -> None:
    problem = DecoupledGPSample(1, **one_dimensional(), seed=seed)
    grid = torch.linspace(0, 1, 10_001, dtype=torch.float64).unsqueeze(-1)
    best = float(hypervolume(problem(grid), problem.ref_point))
    assert problem.max_hv == pytest.approx(best, rel=1e-3)


@pytest.mark.parametrize("seed", [1])
@pytest.mark.parametrize("family", FAMILIES)
def test_max_hv_is_not_exceeded_by_random_designs(family: Family, seed: int) -> None:
    problem = family(seed)
    Y = torch.cat([problem(X) for X in problem.discretize(20_000, seed=9).split(5000)])
    found = float(hypervolume(Y, problem.ref_point))
    assert 0.5 * problem.max_hv < found < problem.max_hv
    assert problem.max_hv is problem.max_hv  # searched once


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3])
@pytest.mark.parametrize("family", FAMILIES[1:])
def test_max_hv_is_that_of_a_far_bigger_search(
    family: Family, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = family(seed).max_hv
    bigger = {"DESIGNS": 2**15, "DIRECTIONS": 64, "STARTS": 64, "STEPS": 60}
    bigger |= {"KEPT": 64, "GENERATIONS": 40, "CHILDREN": 2048}
    for name, value in bigger.items():
        monkeypatch.setattr(_gp_paths, f"_SEARCH_{name}", value)
    assert found == pytest.approx(family(seed).max_hv, rel=1e-3)


def test_max_hv_of_three_outcomes_is_not_known() -> None:
    problem = three_outcomes()
    assert problem.ref_point.shape == (3,)
    with pytest.raises(NotImplementedError, match="does not specify maximal"):
        _ = problem.max_hv


def test_network_like_has_a_smooth_dear_and_a_rough_cheap_outcome() -> None:
    problem = DecoupledGPSample.network_like(0, dim=5)
    assert problem.dim == 5
    assert problem.outcome_names == ("accuracy", "speed")
    X = problem.discretize(512, seed=0).requires_grad_()
    Y = problem(X)
    slopes = [torch.autograd.grad(y.sum(), X, retain_graph=True)[0] for y in Y.T]
    # Var(df/dx) is 1 / lengthscale^2 for RBF, 5 / (3 lengthscale^2) for Matern-5/2.
    smooth, rough = (s.square().mean(dim=0) for s in slopes)
    assert smooth.max() < rough.min()
    assert smooth[:2].min() > smooth[2:].max()
    assert problem.cost(X.detach()[:2]).tolist() == [[10.0, 1.0]] * 2
    assert DecoupledGPSample.network_like(0, dim=1).dim == 1


def test_cmokg_has_a_rough_cheap_and_a_smooth_dear_outcome() -> None:
    problem = DecoupledGPSample.cmokg(0)
    assert (problem.dim, problem.outcome_names) == (2, ("f1", "f2"))
    assert problem.cost(problem.discretize(1, seed=0)).tolist() == [[1.0, 10.0]]
    spread = problem.frequencies.abs().median(dim=1).values.mean(dim=-1)
    assert (spread[0] / spread[1]).item() == pytest.approx(9.0, rel=0.2)
    variance = problem.amplitudes.square().sum(dim=-1) / 2
    assert (variance[1] / variance[0]).item() == pytest.approx(50.0, rel=0.2)


def test_noise_and_names_are_passed_on() -> None:
    problem = DecoupledGPSample(
        2, **PRIOR, noise_std=[0.0, 1.0], outcome_names=["a", "b"]
    )
    X = problem.discretize(4, seed=0)
    with torch.random.fork_rng():
        noise = problem(X) - problem(X, noise=False)
    assert (noise[:, 0] == 0).all()
    assert (noise[:, 1] != 0).all()
    assert problem.outcome_names == ("a", "b")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"lengthscales": [0.5]},
            "Expected `lengthscales` of at least 2 outcomes, got [0.5]. With a single "
            "outcome there is nothing to decouple.",
        ),
        (
            {"outputscales": [1.0]},
            "Expected 2 `outputscales`, one per outcome, got [1.0]. Pass as many as "
            "there are `lengthscales`.",
        ),
        (
            {"kernels": ["rbf"] * 3},
            "Expected 2 `kernels`, one per outcome, got ['rbf', 'rbf', 'rbf']. Pass "
            "as many as there are `lengthscales`.",
        ),
        (
            {"kernels": ["rbf", "linear"]},
            'Expected `kernels` of "rbf" and "matern", got \'linear\'. Choose one of '
            "these two for each outcome.",
        ),
        (
            {"lengthscales": [0.5, [0.1, 0.2, 0.3]]},
            "Expected 1 or 2 length scales per outcome, got 3 for outcome 1. Pass one "
            "for each column, or a single number.",
        ),
        (
            {"lengthscales": [0.5, [0.1, 0.0]]},
            "Expected finite `lengthscales` > 0, got [0.5, 0.5, 0.1, 0.0]. Give a "
            "column that does not matter a large length scale.",
        ),
        (
            {"outputscales": [1.0, float("inf")]},
            "Expected finite `outputscales` > 0, got [1.0, inf]. Give each outcome the "
            "variance of its values.",
        ),
        (
            {"outcome_names": ["a", "a"]},
            "Expected 2 different strings as `outcome_names`, got ('a', 'a'). Pass one "
            "name per outcome.",
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_a_wrong_prior_is_explained(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        DecoupledGPSample(2, **(PRIOR | change))


def test_no_design_variable_is_explained() -> None:
    message = "Expected a whole number `dim` >= 1, got 0. Ask for a design variable."
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        DecoupledGPSample.network_like(0, dim=0)


def test_wrong_costs_are_explained() -> None:
    message = (
        "Expected 2 costs, one per outcome, got [1.0]. Pass as many costs as the "
        "problem has objectives."
    )
    with pytest.raises(InvalidCostError, match=f"^{re.escape(message)}$"):
        DecoupledGPSample.cmokg(0, costs=[1.0])
