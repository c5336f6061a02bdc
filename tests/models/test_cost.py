r"""Cost models against closed forms and a ledger kept by hand."""

from __future__ import annotations

import math
import pickle
import re
from typing import Any

import pytest
import torch
from botorch.exceptions.errors import BotorchTensorDimensionError, InputDataError
from botorch.models.cost import FixedCostModel
from botorch.models.deterministic import GenericDeterministicModel
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from botorch_flexibo.exceptions import InvalidCostError
from botorch_flexibo.models import (
    CostModel,
    LogNormalCostModel,
    PaidCosts,
    SetupCostModel,
    _log_cost,
)
from botorch_flexibo.models.cost import predicted_costs
from botorch_flexibo.utils.posterior import posterior_mean

PROPERTY = settings(deadline=None, max_examples=150)
NAN = math.nan
BOUNDS = torch.tensor([[0.0, -5.0], [2.0, 5.0]], dtype=torch.float64)
# A number, and a label with three values.
MIXED_BOUNDS = torch.tensor([[0.0, 0.0], [1.0, 2.0]], dtype=torch.float64)

dtypes = pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64], ids=["float32", "float64"]
)
batch_shapes = pytest.mark.parametrize(
    "batch_shape", [[], [2], [2, 3]], ids=["single", "batch2", "batch2x3"]
)


def rand(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64).to(dtype)


def designs(n: int, bounds: Tensor = BOUNDS, seed: int = 0) -> Tensor:
    engine = torch.quasirandom.SobolEngine(bounds.shape[-1], scramble=True, seed=seed)
    return bounds[0] + engine.draw(n, dtype=torch.float64) * (bounds[1] - bounds[0])


def tensor(*values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def mask(*rows: tuple[int, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.bool)


def payments(X: Tensor, costs: Tensor, setup: Tensor | None = None) -> PaidCosts:
    costs = costs.unsqueeze(-1) if costs.ndim == 1 else costs
    nothing = torch.full((len(X),), NAN, dtype=X.dtype)
    return PaidCosts(X, costs, nothing if setup is None else setup)


def learned(
    X: Tensor, costs: Tensor, guess: float = 1.0, **options: Any
) -> LogNormalCostModel:
    options = {"bounds": BOUNDS} | options
    return LogNormalCostModel(tensor(guess), **options).update(payments(X, costs))


def mixed_designs(n: int, seed: int = 0) -> Tensor:
    X = designs(n, MIXED_BOUNDS, seed=seed)
    X[:, 1] = torch.arange(n) % 3
    return X


class Fees(CostModel):
    """Costs of two outcomes; pending measurements make everything dearer by one."""

    def __init__(self, fee: float = 0.0) -> None:
        super().__init__()
        self._num_outputs = 2
        self.fee = fee

    def forward(self, X: Tensor) -> Tensor:
        return torch.stack([1 + X[..., 0], 3 + X[..., 1]], dim=-1) + self.fee

    def update(self, paid: PaidCosts) -> Fees:
        return Fees(float(paid.costs.nansum()))

    def with_pending(self, X: Tensor, evaluation_mask: Tensor) -> Fees:
        return Fees(self.fee + len(X))


def test_costs_are_learned_where_a_column_has_one_value_only() -> None:
    wide, narrow = BOUNDS.clone(), BOUNDS.clone()
    narrow[:, 1] = 0.5
    X = designs(3, narrow)
    costs = tensor(20.0, 24.0, 21.0)
    ours = learned(X, costs, 10.0, bounds=narrow)(X)
    torch.testing.assert_close(
        ours, learned(X, costs, 10.0, bounds=wide)(X), rtol=0.02, atol=0
    )


# The contract ----------------------------------------------------------------------


@dtypes
@batch_shapes
def test_by_default_costs_of_a_batch_add_up(
    batch_shape: list[int], dtype: torch.dtype
) -> None:
    X = rand(*batch_shape, 3, 2, seed=1, dtype=dtype)
    pairs = mask((1, 0), (1, 1), (0, 1))
    expected = 1 + X[..., 0, 0] + 4 + X[..., 1, :].sum(-1) + 3 + X[..., 2, 1]
    joint = Fees().joint_cost(X, pairs)
    assert joint.shape == tuple(batch_shape)
    assert joint.dtype == dtype
    torch.testing.assert_close(joint, expected)
    torch.testing.assert_close(Fees().joint_cost(X), 12 + X.sum(dim=(-2, -1)))


def test_by_default_nothing_is_learned_and_nothing_shared() -> None:
    class Plain(CostModel):
        def forward(self, X: Tensor) -> Tensor:
            return 1 + X

    model, X = Plain(), designs(2)
    assert model.update(payments(X, torch.ones(2, 2))) is model
    assert model.with_pending(X, mask((1, 0), (0, 1))) is model


def test_a_cost_model_is_a_botorch_model_whose_mean_is_forward() -> None:
    X = rand(3, 1, 2, seed=0)
    for model in (
        Fees(),
        LogNormalCostModel(tensor(1.0, 2.0), bounds=BOUNDS),
        SetupCostModel(Fees(), FixedCostModel(tensor(2.0))),
    ):
        assert model.num_outputs == 2
        assert torch.equal(posterior_mean(model, X), model(X))


def test_a_cost_model_needs_a_forward() -> None:
    class Nothing(CostModel):
        pass

    with pytest.raises(TypeError, match="abstract"):
        Nothing()  # pyright: ignore[reportAbstractUsage]


@pytest.mark.parametrize(
    "model",
    [
        Fees(),
        LogNormalCostModel(tensor(1.0, 2.0), bounds=BOUNDS),
        SetupCostModel(Fees(), FixedCostModel(tensor(2.0))),
    ],
    ids=["default", "learned", "setup"],
)
@pytest.mark.parametrize("shape", [(3, 2), (2, 3), (1, 2, 2)], ids=str)
def test_masks_that_do_not_fit_are_refused(
    shape: tuple[int, ...], model: CostModel
) -> None:
    got = " x ".join(map(str, shape))
    message = (
        "Expected X_evaluation_mask of shape `2 x 2` (points x outputs of the cost"
        f" model), but got `{got}`. Pass one row per point."
    )
    with pytest.raises(BotorchTensorDimensionError, match=f"^{re.escape(message)}$"):
        model.joint_cost(designs(2), torch.ones(shape, dtype=torch.bool))


# Learned from payments: no or few ---------------------------------------------------


@dtypes
@batch_shapes
@pytest.mark.parametrize("q", [0, 1, 3])
def test_without_payments_costs_are_exactly_the_guess(
    q: int, batch_shape: list[int], dtype: torch.dtype
) -> None:
    guess = torch.tensor([3.0, 0.1, 1e7], dtype=dtype)
    model = LogNormalCostModel(guess, bounds=BOUNDS)
    empty = PaidCosts(torch.empty(0, 2), torch.empty(0, 3), torch.empty(0))
    X = rand(*batch_shape, q, 2, seed=0, dtype=dtype)
    for candidate in (model, model.update(empty)):
        costs = candidate(X)
        assert costs.dtype == dtype
        assert torch.equal(costs, guess.expand(*batch_shape, q, 3))


@dtypes
@batch_shapes
def test_predictions_are_those_of_single_designs_in_dtype_of_the_guess(
    batch_shape: list[int], dtype: torch.dtype
) -> None:
    X_paid = designs(6)
    costs = torch.stack([2 + X_paid[:, 0], torch.full((6,), NAN)], dim=-1)
    model = LogNormalCostModel(torch.tensor([1.0, 5.0], dtype=dtype), bounds=BOUNDS)
    model = model.update(payments(X_paid.to(dtype), costs.to(dtype)))
    X = rand(*batch_shape, 3, 2, seed=3, dtype=dtype)
    predicted = model(X)
    assert predicted.shape == (*batch_shape, 3, 2)
    assert predicted.dtype == dtype
    assert not predicted.requires_grad
    for x, cost in zip(X.reshape(-1, 2), predicted.reshape(-1, 2), strict=True):
        torch.testing.assert_close(model(x.unsqueeze(0))[0], cost)
    assert (predicted[..., 1] == 5.0).all()
    assert model(X[..., :0, :]).shape == (*batch_shape, 0, 2)


@pytest.mark.parametrize("guess", [1e-3, 0.5, 7.0, 1e4])
def test_one_payment_corrects_the_guess_everywhere(guess: float) -> None:
    ratio = learned(designs(1), tensor(7.0), guess)(designs(64, seed=1)) / 7.0
    assert (ratio - 1).abs().max() < 0.05


@pytest.mark.parametrize("guess", [1e-3, 7.0, 1e4])
@pytest.mark.parametrize("n", [5, 10, 30])
def test_costs_that_do_not_depend_on_the_design_are_recovered(
    n: int, guess: float
) -> None:
    costs = learned(designs(n), torch.full((n,), 7.0), guess)(designs(64, seed=1))
    assert (costs / 7.0 - 1).abs().max() < 0.01


@pytest.mark.parametrize("guess", [1e-3, 7.0, 1e4])
def test_costs_that_never_varied_are_believed_to_the_last_digit(guess: float) -> None:
    costs = learned(designs(2), tensor(7.0, 7.0), guess)(designs(64, seed=1))
    assert costs.flatten().tolist() == pytest.approx([7.0] * 64, rel=1e-14)
    assert len(costs.unique()) == 1
    # One that differs, and they are learned.
    X = designs(3)
    varied = learned(X, tensor(7.0, 7.0, 9.0), guess)(designs(64, seed=1))
    assert 7.0 < varied.mean() < 9.0
    assert len(varied.unique()) > 1


def test_of_many_payments_the_last_ones_are_conditioned_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_log_cost, "_MAX_ROWS", 12)
    X, X_test = designs(40), designs(16, seed=1)
    costs = 2 + X[:, 0]
    costs[:28] *= 1.5  # prices fell
    model = learned(X, costs)
    rows = model._learned["0"].model.train_targets
    assert rows.tolist() == pytest.approx(costs[28:].log().tolist())
    error = model(X_test).squeeze(-1) / (2 + X_test[:, 0]) - 1
    assert error.abs().mean() < 0.1
    # Only new rows of the first twelve are fitted to.
    fit = _log_cost.fit_gpytorch_mll
    sizes = []
    monkeypatch.setattr(
        _log_cost, "fit_gpytorch_mll", lambda mll: sizes.append(1) or fit(mll)
    )
    more = torch.cat([X, designs(1, seed=2)])
    model.update(payments(more, torch.cat([costs, tensor(2.5)])))
    assert sizes == []


@pytest.mark.parametrize("asked", [(1, 0), (0, 1), (1, 1), (0, 0)], ids=str)
def test_joint_costs_are_sums_of_those_asked_for(asked: tuple[int, int]) -> None:
    X = designs(5)
    costs = torch.stack([2 + X[:, 0], 9 - X[:, 1]], dim=-1)
    model = LogNormalCostModel(tensor(1.0, 1.0), bounds=BOUNDS)
    model = model.update(payments(X, costs))
    batch = rand(3, 2, 2, seed=4)
    pairs = mask(asked, (1, 0))
    expected = (model(batch) * pairs).sum(dim=(-2, -1))
    torch.testing.assert_close(model.joint_cost(batch, pairs), expected)


def test_the_same_design_may_be_paid_for_many_times() -> None:
    X = designs(1).expand(20, 2)
    costs = learned(X, torch.full((20,), 7.0).double())(designs(64, seed=1))
    assert (costs / 7.0 - 1).abs().max() < 0.03


# Learned from payments: many --------------------------------------------------------


def test_smooth_costs_are_learned() -> None:
    def cost(X: Tensor) -> Tensor:
        return 10 * (1 + X[:, 0] + (0.3 * X[:, 1]).sin())

    X = designs(20)
    assert (cost(X) > 0).all()
    X_test = designs(64, seed=1)
    ratio = learned(X, cost(X))(X_test)[:, 0] / cost(X_test)
    assert ratio.log().square().mean().sqrt() < 0.1


def test_costs_that_span_decades_are_learned() -> None:
    def cost(X: Tensor) -> Tensor:
        return 1e-2 * 10 ** (2.5 * X[:, 0])  # five decades

    X, X_test = designs(12), designs(64, seed=1)
    ratio = learned(X, cost(X))(X_test)[:, 0] / cost(X_test)
    assert ratio.log().abs().max() < math.log(1.3)


def test_noisy_costs_give_the_mean_of_what_will_be_paid() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(100, generator=generator, dtype=torch.float64)
    paid = 5 * (0.4 * noise).exp()
    costs = learned(designs(100), paid)(designs(64, seed=1))
    # Above the median, 5, by the factor of a log-normal mean.
    assert costs.mean().item() == pytest.approx(5 * math.exp(0.08), rel=0.1)
    assert costs.mean().item() == pytest.approx(paid.mean().item(), rel=0.05)
    assert costs.log().std() < 0.2


def test_the_cost_is_the_mean_of_a_log_normal_of_a_gp_written_out() -> None:
    X, X_test, guess = designs(8), designs(16, seed=1), 2.5
    cost = 4 + X[:, 0] + 0.2 * X[:, 1]
    model = learned(X, cost, guess)
    gp = model._learned["0"].model
    scale = gp.covar_module.outputscale
    length = gp.covar_module.base_kernel.lengthscale.reshape(-1)
    noise, c = gp.likelihood.noise, gp.mean_module.constant

    def kernel(A: Tensor, B: Tensor) -> Tensor:
        scaled = [(x - BOUNDS[0]) / (BOUNDS[1] - BOUNDS[0]) / length for x in (A, B)]
        return scale * (-torch.cdist(*scaled).square() / 2).exp()

    K = kernel(X, X) + noise * torch.eye(8)
    k = kernel(X_test, X)
    mu = c + k @ torch.linalg.solve(K, (cost / guess).log() - c)
    variance = scale + noise - (k * torch.linalg.solve(K, k.T).T).sum(dim=-1)
    expected = guess * (mu + variance / 2).exp()
    torch.testing.assert_close(model(X_test)[:, 0], expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("max_ratio", [1.0, 1.5, 10.0])
def test_costs_stay_near_what_was_paid(max_ratio: float) -> None:
    # Steep where it was paid for, in a quarter of the space.
    X = BOUNDS[0] + 0.5 * (designs(12) - BOUNDS[0])
    cost = 2.0 * (4 * X[:, 0] + 0.3 * X[:, 1]).exp()
    corners = torch.cartesian_prod(BOUNDS[:, 0], BOUNDS[:, 1])
    X_test = torch.cat([designs(256, seed=1), corners])
    for guess in (2.0, 1e-2, 1e6):
        model = learned(X, cost, guess, max_ratio=max_ratio)
        costs = model(X_test)
        lower, upper = min(float(cost.min()), guess), max(float(cost.max()), guess)
        assert costs.min() >= lower / max_ratio * (1 - 1e-9)
        assert costs.max() <= upper * max_ratio * (1 + 1e-9)
    # The bounds do bind: without them, costs leave the range of payments.
    wide = learned(X, cost, 2.0, max_ratio=1e6)(X_test)
    narrow = learned(X, cost, 2.0, max_ratio=1.0)(X_test)
    lower, upper = min(float(cost.min()), 2.0), float(cost.max())
    torch.testing.assert_close(narrow, wide.clamp(lower, upper))
    assert not torch.allclose(narrow, wide)


@settings(deadline=None, max_examples=15)
@given(factor=st.floats(1e-6, 1e6), n=st.integers(1, 8), seed=st.integers(0, 99))
def test_the_unit_of_cost_does_not_matter(factor: float, n: int, seed: int) -> None:
    X, X_test = designs(n, seed=seed), designs(8, seed=seed + 1)
    cost = 1 + rand(n, seed=seed)
    expected = factor * learned(X, cost, 3.0)(X_test)
    actual = learned(X, factor * cost, factor * 3.0)(X_test)
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=0)


@pytest.mark.parametrize("only_labels", [False, True], ids=["mixed", "labels-only"])
def test_costs_of_labels_are_learned_whatever_their_names(only_labels: bool) -> None:
    keep = [1] if only_labels else [0, 1]
    categorical = [0] if only_labels else [1]
    price = tensor(1.0, 30.0, 5.0)

    def cost(X: Tensor) -> Tensor:
        return price[X[:, 1].long()] * (1 if only_labels else 1 + X[:, 0])

    def fit(X: Tensor, paid: Tensor) -> LogNormalCostModel:
        bounds = MIXED_BOUNDS[:, keep]
        return learned(
            X[:, keep], paid, bounds=bounds, categorical_features=categorical
        )

    X, X_test = mixed_designs(15), mixed_designs(30, seed=1)
    predicted = fit(X, cost(X))(X_test[:, keep])[:, 0]
    assert (predicted / cost(X_test)).log().abs().max() < math.log(1.3)
    names = tensor(2.0, 0.0, 1.0)
    X_new, X_test_new = X.clone(), X_test.clone()
    X_new[:, 1], X_test_new[:, 1] = names[X[:, 1].long()], names[X_test[:, 1].long()]
    renamed = fit(X_new, cost(X))(X_test_new[:, keep])[:, 0]
    torch.testing.assert_close(renamed, predicted, rtol=1e-6, atol=0)


def test_the_gradient_of_learned_costs_is_that_of_finite_differences() -> None:
    X = designs(8)
    costs = torch.stack([4 + X[:, 0] + 0.2 * X[:, 1], 1 + X[:, 0].square()], dim=-1)
    model = LogNormalCostModel(tensor(1.0, 1.0), bounds=BOUNDS)
    model = model.update(payments(X, costs))
    X_test = designs(6, seed=1).reshape(2, 3, 2).requires_grad_()
    assert torch.autograd.gradcheck(model, (X_test,))
    pairs = mask((1, 0), (1, 1), (0, 1))
    assert torch.autograd.gradcheck(lambda x: model.joint_cost(x, pairs), (X_test,))


# Learned from payments: updates -----------------------------------------------------


def test_an_update_leaves_the_model_as_it_is() -> None:
    X, X_test = designs(4), designs(8, seed=1)
    costs = tensor(5.0, 6.0, 5.0, 7.0)
    model = LogNormalCostModel(tensor(1.0), bounds=BOUNDS)
    first = model.update(payments(X, costs))
    before = first(X_test)
    second = first.update(payments(designs(6), 3 * tensor(5.0, 6.0, 5.0, 7.0, 9.0, 8)))
    assert (model(X_test) == 1.0).all()
    assert torch.equal(first(X_test), before)
    assert (second(X_test) > 2 * before).all()


@pytest.mark.parametrize("n", [3, 23])
def test_learning_in_steps_or_at_once_is_the_same(n: int) -> None:
    X, X_test = designs(n), designs(16, seed=1)
    costs = torch.stack([2 + X[:, 0], 9 - X[:, 1]], dim=-1)
    costs[::2, 1] = NAN
    empty = LogNormalCostModel(tensor(1.0, 1.0), bounds=BOUNDS)
    stepwise = empty
    for k in range(1, n + 1):
        stepwise = stepwise.update(payments(X[:k], costs[:k]))
    at_once = empty.update(payments(X, costs))
    torch.testing.assert_close(stepwise(X_test), at_once(X_test), rtol=1e-9, atol=0)


def test_only_outcomes_with_new_payments_are_fitted_and_only_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = []

    def counting(mll: Any) -> Any:
        sizes.append(len(mll.model.train_targets))
        return fit(mll)

    fit = _log_cost.fit_gpytorch_mll
    monkeypatch.setattr(_log_cost, "fit_gpytorch_mll", counting)
    X = designs(16)
    costs = torch.stack([2 + X[:, 0], 9 - X[:, 1]], dim=-1)
    costs[2:, 1] = NAN
    model = LogNormalCostModel(tensor(1.0, 1.0), bounds=BOUNDS)
    last = None
    for n in range(2, 17):
        model = model.update(payments(X[:n], costs[:n]))
        assert model.update(payments(X[:n].clone(), costs[:n].clone()))(X).equal(
            model(X)
        )
        if last is not None:
            assert model._learned["1"] is last
        last = model._learned["1"]
        # New payments are always conditioned on.
        assert len(model._learned["0"].model.train_targets) == n
    assert sizes == [2, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15]


def test_a_payment_that_was_corrected_is_learned_again() -> None:
    X, X_test = designs(4), designs(8, seed=1)
    wrong = learned(X, tensor(5.0, 6.0, 5.0, 70.0))
    right = wrong.update(payments(X, tensor(5.0, 6.0, 5.0, 7.0)))
    expected = learned(X, tensor(5.0, 6.0, 5.0, 7.0))
    assert torch.equal(right(X_test), expected(X_test))


def test_payments_of_one_outcome_do_not_touch_another() -> None:
    X, X_test = designs(5), designs(8, seed=1)
    costs = torch.stack([2 + X[:, 0], 9 - X[:, 1]], dim=-1)
    empty = LogNormalCostModel(tensor(1.0, 1.0), bounds=BOUNDS)
    both = empty.update(payments(X, costs))(X_test)
    costs[:, 1] = NAN
    first = empty.update(payments(X, costs))(X_test)
    assert torch.equal(first[:, 0], both[:, 0])
    assert (first[:, 1] == 1.0).all()


def test_a_learned_model_survives_pickling() -> None:
    model = learned(designs(5), tensor(5.0, 6.0, 5.0, 7.0, 6.0))
    X_test = designs(8, seed=1)
    assert torch.equal(pickle.loads(pickle.dumps(model))(X_test), model(X_test))


# Learned from payments: errors ------------------------------------------------------


@pytest.mark.parametrize("bad", [0.0, -1.0, math.inf, NAN])
def test_guesses_that_are_not_positive_and_finite_are_refused(bad: float) -> None:
    message = (
        f"Expected prior_costs that are positive and finite, but got {bad}. Guess a"
        " positive cost of each outcome."
    )
    with pytest.raises(InvalidCostError, match=f"^{re.escape(message)}$"):
        LogNormalCostModel(tensor(1.0, bad), bounds=BOUNDS)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.inf, -math.inf])
def test_payments_that_are_not_positive_and_finite_are_refused(bad: float) -> None:
    message = (
        "Expected payments that are positive and finite, or NaN where nothing was"
        f" measured, but got {bad}. Leave out measurements that were free."
    )
    with pytest.raises(InvalidCostError, match=f"^{re.escape(message)}$"):
        learned(designs(3), tensor(1.0, bad, NAN))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"prior_costs": torch.tensor(1.0)},
            BotorchTensorDimensionError,
            "Expected prior_costs to have one element per outcome, but got shape ``."
            " Pass a `m`-dim tensor.",
        ),
        (
            {"prior_costs": torch.ones(1, 2)},
            BotorchTensorDimensionError,
            "Expected prior_costs to have one element per outcome, but got shape"
            " `1 x 2`. Pass a `m`-dim tensor.",
        ),
        (
            {"prior_costs": torch.tensor([1, 2])},
            InputDataError,
            "Expected prior_costs of a floating-point dtype, but got torch.int64."
            " Convert it with `prior_costs.double()`.",
        ),
        (
            {"bounds": torch.zeros(3, 2)},
            BotorchTensorDimensionError,
            "Expected bounds to be `2 x d`, but got `3 x 2`. Pass the lower bounds in"
            " the first row and the upper ones in the second.",
        ),
        (
            {"categorical_features": [0, 2]},
            InputDataError,
            "Expected categorical_features within 0..1, but got [0, 2]. Pass column"
            " indices of the designs.",
        ),
        (
            {"prior_sd": 0.0},
            InputDataError,
            "Expected a positive, finite prior_sd and a finite max_ratio >= 1, but got"
            " prior_sd=0.0 and max_ratio=10.0. Leave them out for the defaults.",
        ),
        (
            {"prior_sd": 1.0, "max_ratio": 0.9},
            InputDataError,
            "Expected a positive, finite prior_sd and a finite max_ratio >= 1, but got"
            " prior_sd=1.0 and max_ratio=0.9. Leave them out for the defaults.",
        ),
    ],
    ids=["scalar", "matrix", "integers", "bounds", "column", "prior_sd", "max_ratio"],
)
def test_wrong_options_are_explained(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    options = {"prior_costs": tensor(1.0), "bounds": BOUNDS} | options
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        LogNormalCostModel(options.pop("prior_costs"), **options)


@pytest.mark.parametrize(
    ("shapes", "got"),
    [
        (((3,), (3, 2), (3,)), "`3`, `3 x 2` and `3`"),
        (((3, 2), (3, 1), (3,)), "`3 x 2`, `3 x 1` and `3`"),
        (((3, 2), (2, 2), (3,)), "`3 x 2`, `2 x 2` and `3`"),
        (((3, 2), (3, 2), (3, 1)), "`3 x 2`, `3 x 2` and `3 x 1`"),
    ],
    ids=["X", "outcomes", "rows", "setup"],
)
def test_payments_that_do_not_fit_are_refused(shapes: Any, got: str) -> None:
    message = (
        "Expected payments with X `n x d`, costs `n x 2` and setup_costs `n`, but got"
        f" {got}. Pass one row per request."
    )
    paid = PaidCosts(*(torch.ones(shape) for shape in shapes))
    for model in (
        LogNormalCostModel(tensor(1.0, 2.0), bounds=BOUNDS),
        SetupCostModel(Fees(), FixedCostModel(tensor(2.0))),
    ):
        with pytest.raises(
            BotorchTensorDimensionError, match=f"^{re.escape(message)}$"
        ):
            model.update(paid)


def test_payments_for_other_designs_are_refused() -> None:
    message = (
        "Expected payments for designs with 2 columns, as the bounds, but got 3. Pass"
        " X in the space of the bounds."
    )
    with pytest.raises(BotorchTensorDimensionError, match=f"^{re.escape(message)}$"):
        learned(torch.zeros(4, 3), torch.ones(4))


# Set-ups ----------------------------------------------------------------------------


def run_costs() -> GenericDeterministicModel:
    return GenericDeterministicModel(
        lambda X: torch.stack([1 + X[..., 0], 3 + X[..., 1]], dim=-1), num_outputs=2
    )


def setup_costs() -> GenericDeterministicModel:
    """A set-up that depends on the first column only."""
    return GenericDeterministicModel(lambda X: 10 * (1 + X[..., :1]), num_outputs=1)


def by_hand(
    X: Tensor,
    pairs: Tensor,
    free: Tensor,
    *,
    features: list[int],
    needs: list[bool],
) -> list[float]:
    """What each of the requests costs, one after the other."""
    set_up = {tuple(x[j] for j in features) for x in free.tolist()}
    costs = []
    for x, asked in zip(X.tolist(), pairs.tolist(), strict=True):
        cost = asked[0] * (1 + x[0]) + asked[1] * (3 + x[1])
        key = tuple(x[j] for j in features)
        if any(a and n for a, n in zip(asked, needs, strict=True)):
            cost += 0.0 if key in set_up else 10 * (1 + x[0])
            set_up.add(key)
        costs.append(cost)
    return costs


bits = st.integers(0, 1)
pair_of_bits = st.tuples(bits, bits)


@PROPERTY
@given(
    X=st.lists(st.tuples(bits, bits, st.integers(0, 2)), min_size=1, max_size=6),
    asked=st.lists(pair_of_bits, min_size=6, max_size=6),
    free=st.lists(st.tuples(bits, bits, st.integers(0, 2)), max_size=2),
    pending=st.lists(st.tuples(bits, bits, st.integers(0, 2)), max_size=2),
    needs=pair_of_bits,
    features=st.sampled_from([None, [0], [0, 1], [2, 0]]),
)
def test_a_batch_pays_every_measurement_and_every_set_up_once(
    X: Any, asked: Any, free: Any, pending: Any, needs: Any, features: Any
) -> None:
    designs, pairs = tensor(*X), mask(*asked)[: len(X)]
    X_paid = tensor(*free).reshape(-1, 3)
    X_pending = tensor(*pending).reshape(-1, 3)
    model = SetupCostModel(
        run_costs(),
        setup_costs(),
        setup_features=features,
        setup_outcomes=mask(needs)[0],
        X_paid=X_paid if free else None,
    ).with_pending(X_pending, torch.ones(len(pending), 2, dtype=torch.bool))
    known = torch.cat([X_paid, X_pending]) if any(needs) else X_paid
    options = {"features": features or [0, 1, 2], "needs": [n == 1 for n in needs]}
    expected = by_hand(designs, pairs, known, **options)
    assert model.joint_cost(designs, pairs).item() == sum(expected)
    assert predicted_costs(model, designs, pairs).tolist() == expected
    # Measured alone: a batch of one point and one outcome.
    alone = model(designs).tolist()
    for k in range(len(X)):
        for i, row in enumerate((mask((1, 0)), mask((0, 1)))):
            one = by_hand(designs[k : k + 1], row, known, **options)
            assert [alone[k][i]] == one
            assert [model.joint_cost(designs[k : k + 1], row).item()] == one


@dtypes
@batch_shapes
@pytest.mark.parametrize("q", [1, 3])
def test_batches_of_batches_are_priced_one_by_one(
    q: int, batch_shape: list[int], dtype: torch.dtype
) -> None:
    X = (2 * rand(*batch_shape, q, 2, seed=3, dtype=dtype)).round()
    model = SetupCostModel(
        run_costs(),
        setup_costs(),
        setup_features=[0],
        setup_outcomes=torch.tensor([True, False]),
        X_paid=torch.tensor([[1.0, 7.0]], dtype=dtype),
    )
    pairs = mask((1, 0), (1, 1), (0, 1))[:q]
    joint, alone = model.joint_cost(X, pairs), model(X)
    assert joint.shape == tuple(batch_shape)
    assert alone.shape == (*batch_shape, q, 2)
    assert joint.dtype == alone.dtype == dtype
    options = {"features": [0], "needs": [True, False]}
    for x, cost in zip(X.reshape(-1, q, 2), joint.reshape(-1), strict=True):
        expected = by_hand(x, pairs, tensor([1.0, 7.0]), **options)
        assert cost.item() == pytest.approx(sum(expected))
    every = torch.ones(q, 2, dtype=torch.bool)
    assert torch.equal(model.joint_cost(X), model.joint_cost(X, every))


def test_an_empty_batch_costs_nothing() -> None:
    model = SetupCostModel(run_costs(), setup_costs(), X_paid=torch.zeros(1, 2))
    assert model.joint_cost(torch.empty(3, 0, 2)).tolist() == [0.0] * 3
    assert model(torch.empty(0, 1, 2)).shape == (0, 1, 2)


def test_predicted_costs_of_other_models_are_masked_sums() -> None:
    X = rand(3, 2, seed=0)
    pairs = mask((1, 0), (1, 1), (0, 1))
    expected = (run_costs()(X) * pairs).sum(dim=-1)
    assert torch.equal(predicted_costs(run_costs(), X, pairs), expected)


def test_pending_measurements_set_up_only_what_they_need() -> None:
    X = tensor([0.0, 0.0], [1.0, 0.0])
    model = SetupCostModel(
        run_costs(), setup_costs(), setup_outcomes=torch.tensor([True, False])
    )
    before = model(X).tolist()
    assert before == [[11.0, 3.0], [22.0, 3.0]]
    after = model.with_pending(X, mask((1, 0), (0, 1)))
    assert after(X).tolist() == [[1.0, 3.0], [22.0, 3.0]]
    assert after.with_pending(X[1:], mask((1, 1)))(X).tolist() == [[1.0, 3], [2.0, 3]]
    # The models before are as they were, and an update forgets what was pending.
    assert model(X).tolist() == before
    nothing = torch.full((1,), NAN)
    paid = PaidCosts(X[1:], tensor([NAN, 3.0]), nothing)
    assert after.update(paid)(X).tolist() == before


def test_inner_models_learn_and_know_what_is_pending() -> None:
    X = tensor([0.0, 0.0], [1.0, 0.0])
    model = SetupCostModel(Fees(), setup_costs())
    pending = model.with_pending(X, mask((1, 0), (1, 0)))
    assert pending(X).tolist() == [[3.0, 5.0], [4.0, 5.0]]
    paid = PaidCosts(X, tensor([4.0, NAN], [NAN, 5.0]), tensor(10.0, NAN))
    assert model.update(paid)(X).tolist() == [[10.0, 12.0], [11.0, 12.0]]


def test_a_set_up_is_paid_for_or_was_needed() -> None:
    X = tensor([0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [4.0, 0.0])
    model = SetupCostModel(
        run_costs(),
        setup_costs(),
        setup_outcomes=torch.tensor([True, False]),
        X_paid=X[4:],
    )
    paid = PaidCosts(
        X[:3],
        tensor([1.0, NAN], [NAN, 3.0], [NAN, 3.0]),
        tensor(NAN, NAN, 10.0),
    )
    updated = model.update(paid)
    is_open = updated(X)[:, 0] - run_costs()(X)[:, 0] > 0
    assert is_open.tolist() == [False, True, False, True, False]
    assert updated.X_paid is not None
    # Again with the same payments: nothing is remembered twice.
    again = updated.update(paid).X_paid
    assert again is not None
    assert torch.equal(again, updated.X_paid)
    assert len(again) == 3


def test_run_and_set_up_costs_are_learned_apart() -> None:
    X = designs(6)
    n = len(X)
    paid = PaidCosts(
        X,
        torch.stack([torch.full((n,), 2.0), torch.full((n,), 0.5)], dim=-1).double(),
        torch.full((n,), 100.0).double(),
    )
    model = SetupCostModel(
        LogNormalCostModel(tensor(1.0, 1.0), bounds=BOUNDS),
        LogNormalCostModel(tensor(5.0), bounds=BOUNDS),
        setup_outcomes=torch.tensor([True, False]),
    )
    X_new = designs(8, seed=1)
    torch.testing.assert_close(model(X_new), tensor([6.0, 1.0]).expand(8, 2))
    updated = model.update(paid)
    new, old = tensor([102.0, 0.5]).expand(8, 2), tensor([2.0, 0.5]).expand(6, 2)
    torch.testing.assert_close(updated(X_new), new, rtol=0.01, atol=0)
    torch.testing.assert_close(updated(X), old, rtol=0.01, atol=0)


def test_the_gradient_of_joint_costs_is_that_of_finite_differences() -> None:
    # The first column defines the set-up; it is fixed, the look-up being a step.
    keys = tensor([[0.0], [1.0], [1.0]], [[1.0], [0.0], [2.0]])
    X_paid = designs(7)
    inner = LogNormalCostModel(tensor(1.0, 1.0), bounds=BOUNDS)
    inner = inner.update(
        payments(X_paid, torch.stack([2 + X_paid[:, 0], 7 - X_paid[:, 1]], dim=-1))
    )
    setup = learned(X_paid, 20 + X_paid[:, 0] + X_paid[:, 1])
    model = SetupCostModel(
        inner,
        setup,
        setup_features=[0],
        setup_outcomes=torch.tensor([True, False]),
        X_paid=tensor([2.0, 0.0]),
    )
    pairs = mask((1, 0), (1, 1), (1, 1))
    rest = designs(6, seed=1)[:, 1].reshape(2, 3, 1).requires_grad_()

    def joint(x: Tensor) -> Tensor:
        return model.joint_cost(torch.cat([keys, x], dim=-1), pairs)

    assert torch.autograd.gradcheck(joint, (rest,))
    grad = torch.autograd.grad(joint(rest).sum(), rest)[0]
    assert (grad != 0).all()


def test_gradients_of_set_up_costs_reach_the_columns_that_define_it() -> None:
    model = SetupCostModel(run_costs(), setup_costs(), setup_features=[0])
    X = designs(4, seed=1).reshape(2, 2, 2).requires_grad_()
    assert torch.autograd.gradcheck(model.joint_cost, (X,))
    assert torch.autograd.gradcheck(model, (X,))


@pytest.mark.parametrize("bad", [-1.0, math.inf, NAN])
def test_set_up_costs_that_are_negative_or_not_finite_are_refused(bad: float) -> None:
    model = SetupCostModel(run_costs(), FixedCostModel(tensor(bad)))
    message = (
        f"Expected set-up costs that are non-negative and finite, but got {bad}. Bound"
        " the setup_cost_model."
    )
    for price in (model, model.joint_cost):
        with pytest.raises(InvalidCostError, match=f"^{re.escape(message)}$"):
            price(designs(2))


def test_a_free_set_up_costs_nothing() -> None:
    model = SetupCostModel(run_costs(), FixedCostModel(tensor(0.0)))
    assert torch.equal(model(designs(3)), run_costs()(designs(3)))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"setup_cost_model": FixedCostModel(tensor(1.0, 2.0))},
            BotorchTensorDimensionError,
            "Expected a setup_cost_model with one output, but got 2. Pass the cost of"
            " the set-up alone.",
        ),
        *(
            (
                {"setup_features": columns},
                InputDataError,
                "Expected setup_features to be one or more distinct column indices from"
                f" 0, but got {columns}. Pass None for all columns.",
            )
            for columns in ([], [0, 0], [-1])
        ),
        (
            {"setup_outcomes": mask((1, 0, 1))[0]},
            BotorchTensorDimensionError,
            "Expected setup_outcomes of shape `2`, one per outcome of the"
            " run_cost_model, but got `3`. Leave it out if all need the set-up.",
        ),
        (
            {"setup_outcomes": torch.tensor([1, 0])},
            InputDataError,
            "Expected setup_outcomes of dtype torch.bool, but got torch.int64. Convert"
            " it with `setup_outcomes.bool()`.",
        ),
        (
            {"X_paid": torch.zeros(3)},
            BotorchTensorDimensionError,
            "Expected X_paid to be `n x d`, but got `3`. Pass one design per row.",
        ),
    ],
    ids=["outputs", "no-column", "twice", "negative", "outcomes", "dtype", "X_paid"],
)
def test_wrong_set_ups_are_explained(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    options = {"setup_cost_model": setup_costs()} | options
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        SetupCostModel(run_costs(), options.pop("setup_cost_model"), **options)
