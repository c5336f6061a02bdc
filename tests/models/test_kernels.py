r"""The kernel of mixed designs against its formula and BoTorch's own kernels."""

from __future__ import annotations

import math

import pytest
import torch
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.models.kernels.categorical import CategoricalKernel
from botorch.models.utils.gpytorch_modules import (
    get_covar_module_with_dim_scaled_prior,
)
from gpytorch.mlls import ExactMarginalLogLikelihood

from botorch_flexibo.models import _kernels
from botorch_flexibo.models._kernels import HammingKernel, mixed_covar_module


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch_shape", [[], [2], [2, 3]])
def test_kernel_is_product_of_numbers_and_hamming(
    dtype: torch.dtype, batch_shape: list[int]
) -> None:
    generator = torch.Generator().manual_seed(0)
    X = torch.rand(*batch_shape, 6, 4, generator=generator, dtype=dtype)
    X[..., [1, 3]] = (3 * X[..., [1, 3]]).floor()
    kernel = mixed_covar_module(4, [1, 3]).to(dtype)
    of_numbers, of_categories = kernel.kernels
    of_numbers.lengthscale = torch.tensor([0.3, 0.7])
    of_categories.lengthscale = torch.tensor([0.5, 2.0])
    differs = X[..., :, None, [1, 3]] != X[..., None, :, [1, 3]]
    hamming = (differs / torch.tensor([0.5, 2.0], dtype=dtype)).mean(dim=-1)
    reference = get_covar_module_with_dim_scaled_prior(ard_num_dims=2).to(dtype)
    reference.lengthscale = torch.tensor([0.3, 0.7])
    expected = reference(X[..., [0, 2]]).to_dense() * (-hamming).exp()
    assert torch.allclose(kernel(X).to_dense(), expected, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch_shape", [[], [2], [2, 3]])
@pytest.mark.parametrize("ard", [True, False])
@pytest.mark.parametrize("many_levels", [64, 0], ids=["few levels", "many levels"])
def test_hamming_kernel_is_that_of_botorch_with_its_gradients(
    dtype: torch.dtype,
    batch_shape: list[int],
    ard: bool,
    many_levels: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_kernels, "_MANY_LEVELS", many_levels)
    generator = torch.Generator().manual_seed(0)
    X1 = torch.randint(4, (*batch_shape, 7, 3), generator=generator).to(dtype) / 3
    X2 = torch.randint(5, (*batch_shape, 5, 3), generator=generator).to(dtype) / 3
    lengthscale = torch.tensor([0.5, 1.0, 3.0] if ard else [0.7], dtype=dtype)
    results = []
    for kind in (HammingKernel, CategoricalKernel):
        kernel = kind(ard_num_dims=3 if ard else None).to(dtype)
        kernel.lengthscale = lengthscale
        value = kernel(X1, X2).to_dense()
        value.square().sum().backward()
        gradient = kernel.raw_lengthscale.grad
        assert gradient is not None
        diagonal = kernel(X1[..., :5, :], X2, diag=True)
        results.append((value, gradient, diagonal))
    for ours, theirs in zip(*results, strict=True):
        assert torch.allclose(
            ours, theirs, rtol=1e-4 if dtype == torch.float32 else 1e-9
        )


def test_only_categories_need_no_kernel_of_numbers() -> None:
    kernel = mixed_covar_module(2, [0, 1]).double()
    X = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0]]).double()
    kernel.lengthscale = torch.tensor([1.0, 2.0])
    row = kernel(X).to_dense()[0]
    expected = [1.0, math.exp(-0.25), math.exp(-0.75)]
    assert row.tolist() == pytest.approx(expected)


def test_lengthscales_stay_moderate_where_a_category_says_nothing() -> None:
    """The prior's work: without it they run off to infinity."""
    generator = torch.Generator().manual_seed(1)
    X = torch.rand(20, 3, generator=generator, dtype=torch.float64)
    X[:, 1:] = (3 * X[:, 1:]).floor()
    y = (6 * X[:, :1]).sin()  # depends on the number alone
    model = SingleTaskGP(X, y, covar_module=mixed_covar_module(3, [1, 2]))
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    lengthscales = model.covar_module.kernels[1].lengthscale.flatten()
    assert (lengthscales > math.e).all()  # beyond the prior's median
    assert (lengthscales < 1e3).all()
