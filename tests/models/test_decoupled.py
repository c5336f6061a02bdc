r"""GPs of half-filled tables against models built by hand on the same rows."""

from __future__ import annotations

import itertools
import math
import re
from typing import Any

import pytest
import torch
from botorch.acquisition.multi_objective.logei import (
    qLogNoisyExpectedHypervolumeImprovement,
)
from botorch.exceptions.errors import BotorchTensorDimensionError, InputDataError
from botorch.fit import fit_gpytorch_mll
from botorch.models import ModelListGP, SingleTaskGP
from botorch.models.kernels.categorical import CategoricalKernel
from botorch.models.transforms import Normalize, Standardize
from botorch.sampling import SobolQMCNormalSampler
from gpytorch.mlls import ExactMarginalLogLikelihood
from torch import Tensor

from botorch_flexibo import DecoupledModelFitter, fit_decoupled_model
from botorch_flexibo.models import Winsorize

BOUNDS = torch.tensor([[0.0, -5.0], [2.0, 5.0]], dtype=torch.float64)
RENAME = torch.tensor([2.0, 0.0, 1.0], dtype=torch.float64)
# Two numbers and a label in the middle.
MIXED_BOUNDS = torch.tensor([[0.0, 0.0, -1.0], [1.0, 2.0, 1.0]], dtype=torch.float64)


def designs(n: int, bounds: Tensor = BOUNDS, seed: int = 0) -> Tensor:
    engine = torch.quasirandom.SobolEngine(bounds.shape[-1], scramble=True, seed=seed)
    return bounds[0] + engine.draw(n, dtype=torch.float64) * (bounds[1] - bounds[0])


def truth(X: Tensor) -> Tensor:
    first = (2 * X[:, 0]).sin() + 0.1 * X[:, 1]
    second = 100 + 30 * (X[:, 0] - 1) * (0.4 * X[:, 1]).cos()
    return torch.stack([first, second], dim=-1)


def half_filled(n: int = 12, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Outcome 0 at every second design, outcome 1 at the first two thirds."""
    X = designs(n, seed=seed)
    Y = truth(X)
    Y[1::2, 0] = torch.nan
    Y[2 * n // 3 :, 1] = torch.nan
    return X, Y


def by_hand(X: Tensor, y: Tensor, bounds: Tensor = BOUNDS) -> SingleTaskGP:
    return SingleTaskGP(
        X,
        y.unsqueeze(-1),
        input_transform=Normalize(X.shape[-1], bounds=bounds),
        outcome_transform=Standardize(m=1),
    )


def hyperparameters(model: SingleTaskGP) -> list[float]:
    return [float(x) for p in model.parameters() for x in p.detach().reshape(-1)]


def mixed_data(n: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    X = designs(n, MIXED_BOUNDS, seed=seed)
    X[:, 1] = torch.arange(n) % 3
    offset = torch.tensor([0.0, 3.0, 1.0], dtype=X.dtype)[X[:, 1].long()]
    Y = torch.stack([X[:, 0].sin() + offset, X[:, 2] - 0.5 * offset], dim=-1)
    return X, Y


def prior_covariance(model: SingleTaskGP, X: Tensor) -> Tensor:
    return model.covar_module(model.transform_inputs(X)).to_dense().detach()


def categorical_kernels(model: SingleTaskGP) -> list[CategoricalKernel]:
    return [k for k in model.modules() if isinstance(k, CategoricalKernel)]


def test_each_outcome_is_trained_on_its_own_rows_with_untransformed_values() -> None:
    X, Y = half_filled()
    model = fit_decoupled_model(X, Y, bounds=BOUNDS)
    assert isinstance(model, ModelListGP)
    assert [len(m.train_targets) for m in model.models] == [6, 8]
    for i, single in enumerate(model.models):
        rows = ~Y[:, i].isnan()
        unit = (X[rows] - BOUNDS[0]) / (BOUNDS[1] - BOUNDS[0])
        assert torch.allclose(single.train_inputs[0], unit, rtol=1e-12)
        values = single.outcome_transform.untransform(
            single.train_targets.unsqueeze(-1)
        )[0]
        assert torch.allclose(values.squeeze(-1), Y[rows, i], rtol=1e-12)


def test_the_fit_equals_single_task_gps_fitted_by_hand_on_the_same_rows() -> None:
    X, Y = half_filled()
    X_test = designs(20, seed=1)
    model = fit_decoupled_model(X, Y, bounds=BOUNDS)
    for i, single in enumerate(model.models):
        rows = ~Y[:, i].isnan()
        expected = by_hand(X[rows], Y[rows, i])
        fit_gpytorch_mll(ExactMarginalLogLikelihood(expected.likelihood, expected))
        posterior, wanted = single.posterior(X_test), expected.posterior(X_test)
        assert torch.allclose(posterior.mean, wanted.mean, rtol=1e-6)
        assert torch.allclose(posterior.variance, wanted.variance, rtol=1e-6)


def test_values_of_one_outcome_do_not_touch_the_model_of_another() -> None:
    X, Y = half_filled()
    other = Y.clone()
    other[:, 1] = 7 - 3 * other[:, 1].square()
    X_test = designs(5, seed=1)
    first = fit_decoupled_model(X, Y, bounds=BOUNDS).models[0]
    second = fit_decoupled_model(X, other, bounds=BOUNDS).models[0]
    assert torch.equal(first.posterior(X_test).mean, second.posterior(X_test).mean)


def test_only_the_outcome_with_new_data_is_modelled_again() -> None:
    X, Y = half_filled()
    fitter = DecoupledModelFitter(BOUNDS)
    before = fitter.fit(X, Y).models
    again = fitter.fit(X.clone(), Y.clone()).models
    assert [a is b for a, b in zip(again, before, strict=True)] == [True, True]
    Y[1, 0] = truth(X)[1, 0]
    after = fitter.fit(X, Y).models
    assert [a is b for a, b in zip(after, before, strict=True)] == [False, True]
    # A new row without outcome 1 leaves its model as it is, too.
    X_new = torch.cat([X, designs(1, seed=9)])
    row = torch.tensor([[0.5, torch.nan]], dtype=Y.dtype)
    last = fitter.fit(X_new, torch.cat([Y, row])).models
    assert [a is b for a, b in zip(last, after, strict=True)] == [False, True]


def test_a_changed_value_alone_gives_a_new_model() -> None:
    X, Y = half_filled()
    fitter = DecoupledModelFitter(BOUNDS)
    before = fitter.fit(X, Y).models
    Y[0, 0] += 0.1
    after = fitter.fit(X, Y).models
    assert [a is b for a, b in zip(after, before, strict=True)] == [False, True]
    assert after[0].posterior(X[:1]).mean > before[0].posterior(X[:1]).mean


def test_little_new_data_keeps_hyperparameters_but_is_conditioned_on() -> None:
    X = designs(12)
    Y = truth(X)
    # Far from what the first ten rows suggest there.
    Y[10:, 0] += 2.0
    fitter = DecoupledModelFitter(BOUNDS, refit_growth=0.5)
    before = fitter.fit(X[:10], Y[:10]).models[0]
    kept = hyperparameters(before)
    mean_before = before.posterior(X[10:]).mean.squeeze(-1)
    after = fitter.fit(X, Y).models[0]
    assert hyperparameters(after) == kept
    mean_after = after.posterior(X[10:]).mean.squeeze(-1)
    error_before = (mean_before - Y[10:, 0]).abs()
    error_after = (mean_after - Y[10:, 0]).abs()
    assert (error_after < 0.8 * error_before).all()
    # Exactly the GP on all rows with the hyperparameters of the first ten.
    expected = by_hand(X, Y[:, 0])
    with torch.no_grad():
        for target, source in zip(
            expected.parameters(), before.parameters(), strict=True
        ):
            target.copy_(source)
    X_test = designs(8, seed=3)
    assert torch.allclose(
        after.posterior(X_test).mean, expected.posterior(X_test).mean, rtol=1e-6
    )


def test_hyperparameters_are_fitted_again_once_growth_since_the_last_fit_suffices() -> (
    None
):
    X = designs(17)
    Y = truth(X)
    Y[10:, 0] += (5 * X[10:, 1]).sin()  # rougher than the first rows
    fitter = DecoupledModelFitter(BOUNDS, refit_growth=0.5)
    fitted = {
        n: hyperparameters(fitter.fit(X[:n], Y[:n]).models[0]) for n in range(10, 18)
    }
    changed = [n for n in range(11, 18) if fitted[n] != fitted[n - 1]]
    assert changed == [15]  # 10 rows, plus half of them, counted from the last fit


def test_zero_growth_fits_at_every_change() -> None:
    X = designs(13)
    Y = truth(X)
    Y[10:, 0] += (5 * X[10:, 1]).sin()
    fitter = DecoupledModelFitter(BOUNDS, refit_growth=0.0)
    fitted = [
        hyperparameters(fitter.fit(X[:n], Y[:n]).models[0]) for n in range(10, 14)
    ]
    assert all(a != b for a, b in itertools.pairwise(fitted))


def test_reordered_rows_give_the_same_model() -> None:
    X, Y = half_filled()
    order = torch.randperm(len(X), generator=torch.Generator().manual_seed(3))
    X_test = designs(9, seed=2)
    model = fit_decoupled_model(X, Y, bounds=BOUNDS)
    shuffled = fit_decoupled_model(X[order], Y[order], bounds=BOUNDS)
    for a, b in zip(model.models, shuffled.models, strict=True):
        mean = a.posterior(X_test).mean.detach()
        tolerance = 1e-3 * mean.std().item()
        assert torch.allclose(b.posterior(X_test).mean, mean, atol=tolerance)


def test_reordered_rows_keep_the_fitted_hyperparameters() -> None:
    X, Y = half_filled()
    fitter = DecoupledModelFitter(BOUNDS)
    before = fitter.fit(X, Y).models
    order = torch.arange(len(X)).flip(0)
    after = fitter.fit(X[order], Y[order]).models
    for a, b in zip(after, before, strict=True):
        assert hyperparameters(a) == hyperparameters(b)
        mean = b.posterior(X[:4]).mean
        assert torch.allclose(a.posterior(X[:4]).mean, mean, rtol=1e-6)


def test_two_fitters_do_not_share_what_they_remember() -> None:
    X, Y = half_filled()
    first = DecoupledModelFitter(BOUNDS).fit(X, Y).models[0]
    second = DecoupledModelFitter(BOUNDS).fit(X, Y).models[0]
    assert first is not second
    assert hyperparameters(first) == hyperparameters(second)


def test_one_row_per_outcome_predicts_its_value() -> None:
    X = designs(2)
    Y = torch.tensor([[3.0, torch.nan], [torch.nan, -7.0]], dtype=torch.float64)
    model = fit_decoupled_model(X, Y, bounds=BOUNDS)
    for i, value in ((0, 3.0), (1, -7.0)):
        posterior = model.models[i].posterior(torch.cat([X[i : i + 1], BOUNDS]))
        assert posterior.mean.flatten().tolist() == pytest.approx([value] * 3)
        # Surer about what was measured than about the corners of the space.
        variance = posterior.variance.flatten()
        assert variance[0] < variance[1:].min()


# BoTorch warns that constant outcomes are not standardised; nothing can be.
@pytest.mark.filterwarnings(
    "ignore:Data .outcome observations. is not standardized"
    ":botorch.exceptions.warnings.InputDataWarning"
)
def test_a_constant_outcome_is_predicted_as_that_constant() -> None:
    X = designs(6)
    Y = truth(X)
    Y[:, 1] = 4.25
    posterior = fit_decoupled_model(X, Y, bounds=BOUNDS).posterior(designs(5, seed=1))
    assert posterior.mean[:, 1].tolist() == pytest.approx([4.25] * 5)
    assert (posterior.variance > 0).all()
    assert posterior.variance.isfinite().all()


def test_inputs_are_scaled_by_the_bounds_and_not_by_the_data() -> None:
    X, Y = half_filled()
    stretch = torch.tensor([1000.0, 0.001], dtype=X.dtype)
    X_test = designs(7, seed=4)
    model = fit_decoupled_model(X, Y, bounds=BOUNDS)
    stretched = fit_decoupled_model(X * stretch, Y, bounds=BOUNDS * stretch)
    mean = model.posterior(X_test).mean
    assert torch.allclose(stretched.posterior(X_test * stretch).mean, mean, rtol=1e-4)
    for single in model.models:
        corners = single.transform_inputs(BOUNDS)
        assert torch.equal(corners, torch.tensor([[0.0, 0.0], [1.0, 1.0]]).double())


@pytest.fixture(scope="module")
def mixed_model() -> ModelListGP:
    X, Y = mixed_data()
    return fit_decoupled_model(X, Y, bounds=MIXED_BOUNDS, categorical_features=[1])


def test_categorical_columns_get_a_hamming_kernel_and_numbers_do_not(
    mixed_model: ModelListGP,
) -> None:
    X, _ = mixed_data()
    for single in mixed_model.models:
        kernels = categorical_kernels(single)
        assert len(kernels) > 0
        assert all(kernel.active_dims.tolist() == [1] for kernel in kernels)
        # Numbers are normalised, labels are not.
        scaled = single.transform_inputs(X)
        unit = (X - MIXED_BOUNDS[0]) / (MIXED_BOUNDS[1] - MIXED_BOUNDS[0])
        assert torch.allclose(scaled[:, [0, 2]], unit[:, [0, 2]])
        assert torch.equal(scaled[:, 1], X[:, 1])
        # All pairs of different labels are equally far apart.
        x = X[:1].repeat(3, 1)
        x[:, 1] = torch.arange(3)
        covariance = prior_covariance(single, x)
        off = covariance[~torch.eye(3, dtype=torch.bool)]
        assert torch.allclose(off, off[0].expand(6))
        assert off[0] < covariance[0, 0]


def test_renaming_labels_changes_no_prediction(mixed_model: ModelListGP) -> None:
    X, Y = mixed_data()
    renamed = X.clone()
    renamed[:, 1] = RENAME[X[:, 1].long()]
    mean = mixed_model.posterior(X).mean
    model = fit_decoupled_model(
        renamed, Y, bounds=MIXED_BOUNDS, categorical_features=[1]
    )
    assert torch.allclose(model.posterior(renamed).mean, mean, atol=1e-3)
    assert (mean.amax(dim=0) - mean.amin(dim=0) > 0.5).all()  # not a flat model


def test_renaming_labels_changes_no_prediction_without_numbers() -> None:
    X = torch.cartesian_prod(torch.arange(3.0), torch.arange(3.0)).double()
    Y = torch.stack([X[:, 0] - X[:, 1], (X[:, 0] - 1).square()], dim=-1)
    Y[::4, 0] = torch.nan
    renamed = RENAME[X.long()]
    bounds = torch.tensor([[0.0, 0.0], [2.0, 2.0]]).double()
    model = fit_decoupled_model(X, Y, bounds=bounds, categorical_features=[0, 1])
    other = fit_decoupled_model(renamed, Y, bounds=bounds, categorical_features=[0, 1])
    mean = model.posterior(X).mean
    assert torch.allclose(other.posterior(renamed).mean, mean, atol=1e-3)
    assert (mean.amax(dim=0) - mean.amin(dim=0) > 0.5).all()


def test_all_categorical_inputs_are_covered_by_hamming_kernels_alone() -> None:
    X = torch.cartesian_prod(torch.arange(3.0), torch.arange(3.0)).double()
    Y = torch.stack([X[:, 0] - X[:, 1], (X[:, 0] - 1).square()], dim=-1)
    bounds = torch.tensor([[0.0, 0.0], [2.0, 2.0]]).double()
    model = fit_decoupled_model(X, Y, bounds=bounds, categorical_features=[1, 0])
    assert all(len(categorical_kernels(single)) == 1 for single in model.models)
    for single in model.models:
        covariance = prior_covariance(single, X)
        # Rows with the same set of differing columns have the same covariance.
        for pattern in ([True, False], [False, True], [True, True]):
            differs = X.unsqueeze(0) != X.unsqueeze(1)
            same = (differs == torch.tensor(pattern)).all(dim=-1)
            values = covariance[same]
            assert len(values) > 0
            assert torch.allclose(values, values[0].expand_as(values))
            assert values[0] < covariance[0, 0]


def test_ordinal_integers_are_numbers() -> None:
    X = torch.arange(6.0, dtype=torch.float64).unsqueeze(-1)
    Y = torch.cat([X, (X - 2).square()], dim=-1)
    bounds = torch.tensor([[0.0], [5.0]], dtype=torch.float64)
    model = fit_decoupled_model(X, Y, bounds=bounds)
    for single in model.models:
        assert not categorical_kernels(single)
        covariance = prior_covariance(single, X)[0]
        assert (covariance[1:] < covariance[:-1]).all()
    between = model.posterior(torch.tensor([[2.5]], dtype=torch.float64)).mean[0]
    assert between.tolist() == pytest.approx([2.5, 0.25], abs=0.1)


def test_the_model_works_in_botorch_acquisition_functions() -> None:
    X, Y = half_filled()
    model = fit_decoupled_model(X, Y, bounds=BOUNDS)
    posterior = model.posterior(designs(5, seed=1))
    assert posterior.mean.shape == (5, 2)
    for i, single in enumerate(model.models):
        expected = single.posterior(designs(5, seed=1)).mean.squeeze(-1)
        assert torch.allclose(posterior.mean[:, i], expected)
    acqf = qLogNoisyExpectedHypervolumeImprovement(
        model,
        ref_point=torch.tensor([-2.0, 50.0], dtype=torch.float64),
        X_baseline=X,
        sampler=SobolQMCNormalSampler(torch.Size([32]), seed=0),
    )
    candidates = designs(6, seed=5).unsqueeze(-2).requires_grad_(True)
    values = acqf(candidates)
    assert values.shape == (6,)
    assert values.isfinite().all()
    values.sum().backward()
    assert candidates.grad is not None
    assert candidates.grad.isfinite().all()
    assert candidates.grad.abs().sum() > 0


def test_the_caller_keeps_data_and_random_state() -> None:
    X, Y = half_filled()
    X_before, Y_before = X.clone(), Y.clone()
    state = torch.get_rng_state()
    fit_decoupled_model(X, Y, bounds=BOUNDS)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(X, X_before)
    assert torch.equal(Y.nan_to_num(nan=-99.0), Y_before.nan_to_num(nan=-99.0))


@pytest.mark.parametrize("columns", [[2], [-1], [0, 5]])
def test_a_categorical_column_that_does_not_exist_is_refused(
    columns: list[int],
) -> None:
    with pytest.raises(InputDataError, match=r"categorical_features within 0\.\.1"):
        DecoupledModelFitter(BOUNDS, categorical_features=columns)


@pytest.mark.parametrize("growth", [-0.1, math.nan, math.inf])
def test_a_growth_that_is_negative_or_not_finite_is_refused(growth: float) -> None:
    with pytest.raises(InputDataError, match="finite refit_growth >= 0"):
        DecoupledModelFitter(BOUNDS, refit_growth=growth)


@pytest.mark.parametrize(
    ("X_shape", "Y_shape"),
    [((4,), (4, 2)), ((4, 2), (4,)), ((4, 2), (3, 2)), ((1, 4, 2), (4, 2))],
)
def test_tables_that_do_not_match_are_refused(
    X_shape: tuple[int, ...], Y_shape: tuple[int, ...]
) -> None:
    X = torch.ones(X_shape, dtype=torch.float64)
    with pytest.raises(BotorchTensorDimensionError, match="with the same n"):
        fit_decoupled_model(X, torch.zeros(Y_shape).double(), bounds=BOUNDS)


def test_designs_with_other_columns_than_the_bounds_are_refused() -> None:
    X = torch.ones(4, 3, dtype=torch.float64)
    with pytest.raises(BotorchTensorDimensionError, match="X with 2 columns"):
        fit_decoupled_model(X, torch.zeros(4, 2).double(), bounds=BOUNDS)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_designs_that_are_not_finite_are_refused(bad: float) -> None:
    X, Y = half_filled()
    X[3, 1] = bad
    with pytest.raises(InputDataError, match="finite X"):
        fit_decoupled_model(X, Y, bounds=BOUNDS)


@pytest.mark.parametrize("bad", [math.inf, -math.inf])
def test_infinite_outcomes_are_refused(bad: float) -> None:
    X, Y = half_filled()
    Y[0, 0] = bad
    with pytest.raises(InputDataError, match="finite values or NaN"):
        fit_decoupled_model(X, Y, bounds=BOUNDS)


def test_outcomes_never_measured_are_named() -> None:
    X, Y = half_filled()
    Y = torch.cat([Y, torch.full_like(Y[:, :1], torch.nan)], dim=-1)
    with pytest.raises(InputDataError, match=r"outcomes \[2\] never were"):
        fit_decoupled_model(X, Y, bounds=BOUNDS)


def test_a_refused_table_leaves_the_fitter_usable() -> None:
    X, Y = half_filled()
    fitter = DecoupledModelFitter(BOUNDS)
    before = fitter.fit(X, Y).models
    with pytest.raises(InputDataError, match="never were"):
        fitter.fit(X, torch.full_like(Y, torch.nan))
    again = fitter.fit(X, Y).models
    assert [a is b for a, b in zip(again, before, strict=True)] == [True, True]


# --- going on in another process ------------------------------------------------------


def test_a_fitter_goes_on_from_its_state_to_the_last_bit() -> None:
    # Growing data, some fits and some updates without; then a copy takes over.
    X, Y = half_filled(n=16)
    fitter = DecoupledModelFitter(BOUNDS)
    for n in (8, 9, 12):
        fitter.fit(X[:n], Y[:n])
    state = fitter.state_dict()
    other = DecoupledModelFitter(BOUNDS)
    other.load_state_dict(state, X[:12], Y[:12])
    test = designs(50, seed=9)
    for n in (12, 13, 16):
        expected, models = fitter.fit(X[:n], Y[:n]), other.fit(X[:n], Y[:n])
        for one, two in zip(expected.models, models.models, strict=True):
            assert hyperparameters(one) == hyperparameters(two)
            a, b = one.posterior(test), two.posterior(test)
            assert torch.equal(a.mean, b.mean)
            assert torch.equal(a.variance, b.variance)
    assert [p.num_rows for p in other.state_dict().values()] == [
        p.num_rows for p in fitter.state_dict().values()
    ]


def test_a_winsorising_fitter_models_winsorised_outcomes_and_goes_on() -> None:
    X, Y = half_filled(n=16)
    Y[2, 0], Y[1, 1] = -500.0, -9000.0
    rule = Winsorize([-1.0, 50.0])
    assert (rule(Y)[:, 0].nan_to_num() != Y[:, 0].nan_to_num()).sum() == 1
    fitter = DecoupledModelFitter(BOUNDS, winsorize=rule)
    state = {}
    for n in (12, 13):
        fitter.fit(X[:n], Y[:n])
        state = fitter.state_dict()
    other = fitter.unfitted()
    assert other.state_dict() == {}
    other.load_state_dict(state, X[:13], Y[:13])
    test = designs(50, seed=9)
    models = (
        fitter.fit(X, Y),
        other.fit(X, Y),
        fit_decoupled_model(X, rule(Y), bounds=BOUNDS),
    )
    for one, two, alone in zip(*(m.models for m in models), strict=True):
        assert torch.equal(one.posterior(test).mean, two.posterior(test).mean)
        assert torch.equal(one.train_targets, alone.train_targets)
    at_once = fit_decoupled_model(X, Y, bounds=BOUNDS, winsorize=rule)
    for one, two in zip(at_once.models, models[2].models, strict=True):
        assert torch.equal(one.posterior(test).mean, two.posterior(test).mean)


def test_a_fitter_that_has_not_fitted_has_the_settings_of_the_other() -> None:
    X, Y = half_filled()
    rule = Winsorize([0.0, 0.0])
    fitter = DecoupledModelFitter(
        BOUNDS, refit_growth=0.5, max_fit_rows=7, winsorize=rule
    )
    first = fitter.fit(X, Y).models
    other = fitter.unfitted()
    assert (other.refit_growth, other.max_fit_rows, other.winsorize) == (0.5, 7, rule)
    assert torch.equal(other.bounds, BOUNDS)
    assert other.fit(X, Y).models[0] is not first[0]
    assert fitter.fit(X, Y).models[0] is first[0]


def test_a_state_of_other_models_is_refused() -> None:
    X, Y = half_filled()
    fitter = DecoupledModelFitter(BOUNDS)
    fitter.fit(X, Y)
    other = DecoupledModelFitter(MIXED_BOUNDS, categorical_features=[1])
    X3 = torch.cat([X, X[:, :1].round()], dim=-1)[:, [0, 2, 1]]
    with pytest.raises(InputDataError, match="parameters"):
        other.load_state_dict(fitter.state_dict(), X3, Y)


# --- bad input -----------------------------------------------------------------------


TABLE_X = torch.rand(4, 2, dtype=torch.float64)
TABLE_Y = torch.rand(4, 2, dtype=torch.float64)
UNIT = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("X", "Y", "message"),
    [
        (None, TABLE_Y, "X"),
        ("rows", TABLE_Y, "X"),
        ([[0.1, 0.2]], TABLE_Y, "X"),
        (TABLE_X.long(), TABLE_Y, "X"),
        (TABLE_X, None, "Y"),
        (TABLE_X, TABLE_Y > 0, "Y"),
        (TABLE_X, TABLE_Y.to(torch.complex128), "Y"),
    ],
    ids=["None", "string", "list", "integers", "no Y", "bools", "complex"],
)
def test_what_is_no_floating_tensor_is_named(X: Any, Y: Any, message: str) -> None:
    with pytest.raises(InputDataError, match=rf"^Expected {message} (to be|of a)"):
        fit_decoupled_model(X, Y, bounds=UNIT)


@pytest.mark.parametrize(
    ("Y", "got"), [(TABLE_Y[:, :0], "4 x 0"), (TABLE_Y[:3], "3 x 2")]
)
def test_tables_of_other_shapes_are_refused(Y: torch.Tensor, got: str) -> None:
    message = (
        "Expected X to be `n x d` and Y `n x m` with the same n, but got `4 x 2` and"
        f" `{got}`. Pass a row per design and a column per outcome."
    )
    with pytest.raises(BotorchTensorDimensionError, match=f"^{re.escape(message)}$"):
        fit_decoupled_model(TABLE_X, Y, bounds=UNIT)


@pytest.mark.parametrize(
    ("bounds", "error"),
    [
        (UNIT[0], BotorchTensorDimensionError),
        (UNIT.flip(0), InputDataError),
        (UNIT * torch.inf, InputDataError),
        (None, InputDataError),
    ],
    ids=["one row", "reversed", "infinite", "None"],
)
def test_bounds_that_are_none_are_refused(bounds: Any, error: type[Exception]) -> None:
    with pytest.raises(
        error, match=r"^Expected .*, but got .*\. Pass|^Expected bounds"
    ):
        DecoupledModelFitter(bounds)


@pytest.mark.parametrize("columns", [[2], [-1], [0.5], ["0"], [None]])
def test_categorical_columns_that_do_not_exist_are_refused(columns: Any) -> None:
    with pytest.raises(InputDataError, match=r"^Expected categorical_features within"):
        DecoupledModelFitter(UNIT, categorical_features=columns)


@pytest.mark.parametrize("Y", [torch.ones(500, 2), torch.rand(1, 2).expand(500, 2)])
def test_constant_outcomes_of_repeated_designs_are_modelled(Y: torch.Tensor) -> None:
    X = torch.full((500, 2), 0.5, dtype=torch.float64)
    model = fit_decoupled_model(X, Y.double(), bounds=UNIT)
    assert torch.allclose(model.posterior(X[:1]).mean, Y[:1].double(), atol=1e-6)


def test_a_column_with_one_value_is_modelled() -> None:
    bounds = torch.tensor([[0.0, 3.0], [1.0, 3.0]], dtype=torch.float64)
    X = torch.cat([TABLE_X[:, :1], torch.full((4, 1), 3.0).double()], dim=-1)
    mean = fit_decoupled_model(X, TABLE_Y, bounds=bounds).posterior(X).mean
    assert mean.isfinite().all()
