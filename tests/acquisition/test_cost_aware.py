r"""Value per cost, with any mask per point."""

from __future__ import annotations

import math
import re

import pytest
import torch
from botorch.acquisition.analytic import PosteriorMean
from botorch.acquisition.cost_aware import (
    GenericCostAwareUtility,
    InverseCostWeightedUtility,
)
from botorch.exceptions.errors import BotorchTensorDimensionError, InputDataError
from botorch.models import ModelListGP, SingleTaskGP
from botorch.models.cost import FixedCostModel
from botorch.models.deterministic import GenericDeterministicModel
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from botorch_flexibo.acquisition import (
    DecoupledCostUtility,
    FlexiBO,
    LogDamped,
    SharedPrice,
    per_cost,
    unweighted,
)
from botorch_flexibo.acquisition.cost_aware import check_costs, decoupled_utility
from botorch_flexibo.exceptions import InvalidCostError
from botorch_flexibo.models import CostModel, SetupCostModel
from botorch_flexibo.optim import optimize_acqf_decoupled

PROPERTY = settings(deadline=None, max_examples=150)

dtypes = pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64], ids=["float32", "float64"]
)
batch_shapes = pytest.mark.parametrize(
    "batch_shape", [[], [2], [2, 3]], ids=["single", "batch2", "batch2x3"]
)
WEIGHTINGS = [
    pytest.param(per_cost, id="per_cost"),
    pytest.param(LogDamped(unit=2.0), id="log_damped"),
    pytest.param(unweighted, id="unweighted"),
]


def rand(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64).to(dtype)


def fixed_costs(*costs: float, dtype: torch.dtype = torch.float64) -> FixedCostModel:
    return FixedCostModel(torch.tensor(costs, dtype=dtype))


def varying_costs() -> GenericDeterministicModel:
    """Costs of three outcomes that depend on the design."""

    def cost(X: Tensor) -> Tensor:
        return torch.stack([1 + X[..., 0], 5 * X[..., 1] + 2, X.sum(-1).exp()], dim=-1)

    return GenericDeterministicModel(cost, num_outputs=3)


def cost_models(dtype: torch.dtype) -> list:
    return [fixed_costs(10.0, 1.0, 0.3, dtype=dtype), varying_costs()]


def random_masks(q: int, seed: int) -> Tensor:
    masks = rand(q, 3, seed=seed) < 0.5
    masks[:, 0] |= ~masks.any(dim=-1)
    return masks


# Against BoTorch and loops ---------------------------------------------------------


@dtypes
@batch_shapes
@pytest.mark.parametrize("q", [1, 3])
@pytest.mark.parametrize("sample_shape", [[], [4]], ids=["no-samples", "samples"])
@pytest.mark.parametrize("mask", [None, [1, 0, 0], [0, 1, 1], [1, 1, 1]], ids=str)
def test_equal_masks_give_what_botorch_gives(mask, sample_shape, q, batch_shape, dtype):
    X = rand(*batch_shape, q, 2, seed=1, dtype=dtype)
    deltas = rand(*sample_shape, *batch_shape, seed=2, dtype=dtype) - 0.5
    if mask is not None:
        mask = torch.tensor(mask, dtype=torch.bool).expand(q, 3)
    for cost_model in cost_models(dtype):
        value = DecoupledCostUtility(cost_model)(X, deltas, X_evaluation_mask=mask)
        expected = InverseCostWeightedUtility(cost_model)(
            X, deltas, X_evaluation_mask=mask
        )
        assert value.shape == (*sample_shape, *batch_shape)
        torch.testing.assert_close(value, expected)


@dtypes
@batch_shapes
def test_different_masks_in_one_batch_sum_their_own_costs(batch_shape, dtype):
    q = 4
    X = rand(*batch_shape, q, 2, seed=1, dtype=dtype)
    mask = random_masks(q, seed=3)
    assert len(torch.unique(mask, dim=0)) > 1
    for cost_model in cost_models(dtype):
        costs = cost_model(X)
        expected = torch.zeros(batch_shape, dtype=dtype)
        for point in range(q):
            for outcome in range(3):
                if mask[point, outcome]:
                    expected = expected + costs[..., point, outcome]
        utility = DecoupledCostUtility(cost_model)
        torch.testing.assert_close(utility.cost(X, mask), expected)
        deltas = torch.full(batch_shape, 6.0, dtype=dtype)
        torch.testing.assert_close(
            utility(X, deltas, X_evaluation_mask=mask), 6 / expected
        )


@batch_shapes
def test_no_mask_costs_as_much_as_all_outcomes(batch_shape):
    X = rand(*batch_shape, 2, 2, seed=1)
    utility = DecoupledCostUtility(varying_costs())
    every = torch.ones(2, 3, dtype=torch.bool)
    assert torch.equal(utility.cost(X), utility.cost(X, every))
    assert torch.equal(utility.outcome_costs(X).sum(dim=(-2, -1)), utility.cost(X))


def test_an_empty_batch_costs_nothing():
    utility = DecoupledCostUtility(varying_costs())
    assert utility.cost(torch.empty(0, 1, 2)).shape == (0,)


@pytest.mark.parametrize(
    ("weighting", "divisor"),
    [
        pytest.param(per_cost, 11.0, id="per_cost"),
        pytest.param(LogDamped(unit=2.0), math.log(1 + 11 / 2), id="log_damped"),
        pytest.param(unweighted, 1.0, id="unweighted"),
    ],
)
def test_weightings_divide_gains_and_multiply_losses(weighting, divisor):
    utility = DecoupledCostUtility(fixed_costs(10.0, 1.0), weighting)
    deltas = torch.tensor([3.0, 0.0, -3.0], dtype=torch.float64)
    value = utility(torch.zeros(3, 1, 2), deltas)
    expected = torch.tensor([3 / divisor, 0.0, -3 * divisor], dtype=torch.float64)
    torch.testing.assert_close(value, expected)


@PROPERTY
@given(cost=st.floats(1e-6, 1e6), factor=st.floats(1e-3, 1e3), unit=st.floats(0.01, 99))
def test_the_log_damped_weight_depends_on_the_ratio_to_the_unit_only(
    cost, factor, unit
):
    cost = torch.tensor(cost, dtype=torch.float64)
    weight = LogDamped(unit)(cost)
    assert weight > 0
    torch.testing.assert_close(LogDamped(unit * factor)(cost * factor), weight)


@pytest.mark.parametrize("unit", [0.0, -1.0, math.nan, math.inf])
def test_log_damping_refuses_units_that_are_not_positive_and_finite(unit):
    with pytest.raises(
        InvalidCostError, match=rf"positive, finite unit of cost, but got {unit}"
    ):
        LogDamped(unit)


# What a cost may change ------------------------------------------------------------


@PROPERTY
@given(
    delta=st.floats(-1e6, 1e6),
    costs=st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=2),
)
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_a_dearer_twin_is_never_preferred(weighting, delta, costs):
    utility = DecoupledCostUtility(fixed_costs(*sorted(costs)), weighting)
    X = torch.zeros(1, 1, 1)
    delta = torch.tensor([delta], dtype=torch.float64)
    cheap, dear = (
        utility(X, delta, X_evaluation_mask=torch.tensor([mask]))
        for mask in ([True, False], [False, True])
    )
    assert cheap >= dear
    # Measuring both costs more than either.
    assert dear >= utility(X, delta)


@PROPERTY
@given(
    # Positive values far from the smallest float, where a division gives zero.
    deltas=st.lists(st.just(0.0) | st.floats(1e-9, 10), min_size=2, max_size=8),
    factor=st.floats(1e-4, 1e4),
    power=st.integers(-30, 30),
    seed=st.integers(0, 50),
)
@pytest.mark.parametrize("weighting", [per_cost, LogDamped, unweighted])
def test_a_common_factor_of_all_costs_changes_no_choice(
    weighting, deltas, factor, power, seed
):
    # Choices are compared among gains only, or among losses only: zero divides them.
    deltas = torch.tensor(deltas, dtype=torch.float64)
    X = rand(len(deltas), 1, 2, seed=seed)

    def value(scale: float, sign: int) -> Tensor:
        weigh = LogDamped(2.0 * scale) if weighting is LogDamped else weighting
        model = GenericDeterministicModel(lambda X: scale * (0.1 + X), num_outputs=2)
        return DecoupledCostUtility(model, weigh)(X, sign * deltas)

    for sign in (1, -1):
        before = value(1.0, sign)
        after = value(factor, sign)
        # Rounding may swap pairs that are equal but for rounding.
        gap = before.max() - before[after.argmax()]
        assert gap <= 1e-12 * before.abs().max()
        if weighting is not LogDamped:  # no rounding at all
            assert value(2.0**power, sign).argmax() == before.argmax()


def gp_list(seed: int = 0) -> ModelListGP:
    X = rand(6, 2, seed=seed)
    Y = torch.stack([(4 * X[:, 0]).sin(), (3 * X[:, 1]).cos() - X[:, 0]], dim=-1)
    return ModelListGP(SingleTaskGP(X, Y[:, :1]), SingleTaskGP(X, Y[:, 1:]))


@pytest.mark.parametrize("outcome", [0, 1])
@pytest.mark.parametrize("weighting", [per_cost, LogDamped(unit=1.0)])
def test_a_hundredfold_cost_moves_choices_to_the_other_outcome(weighting, outcome):
    model, designs = gp_list(), rand(40, 2, seed=3)
    bounds = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)

    def count(cost: float) -> int:
        costs = [1.0, 1.0]
        costs[outcome] = cost
        acqf = FlexiBO(
            model,
            ref_point=torch.tensor([-2.0, -2.0]),
            X_designs=designs,
            cost_aware_utility=DecoupledCostUtility(fixed_costs(*costs), weighting),
        )
        request = optimize_acqf_decoupled(acqf, bounds, choices=designs, q=10)
        assert request.cost.tolist() == [
            cost if row[outcome] else 1.0 for row in request.evaluation_mask
        ]
        return int(request.evaluation_mask[:, outcome].sum())

    assert count(1.0) > 2
    assert count(100.0) < count(1.0)
    assert count(0.01) > count(1.0)


# Shared costs and the price of a decision -------------------------------------------


@dtypes
@batch_shapes
def test_what_a_cost_model_says_a_batch_costs_is_believed(batch_shape, dtype):
    X = (2 * rand(*batch_shape, 4, 2, seed=1, dtype=dtype)).round()
    mask = random_masks(4, seed=3)
    model = SetupCostModel(
        varying_costs(),
        fixed_costs(50.0, dtype=dtype),
        setup_outcomes=torch.tensor([False, True, True]),
    )
    expected = []
    for batch in X.reshape(-1, 4, 2):
        trained = {
            tuple(x)
            for x, asked in zip(batch.tolist(), mask.tolist(), strict=True)
            if any(asked[1:])
        }
        run = (varying_costs()(batch) * mask).sum().item()
        expected.append(run + 50.0 * len(trained))
    utility = DecoupledCostUtility(model)
    cost = utility.cost(X, mask)
    assert cost.dtype == dtype
    torch.testing.assert_close(
        cost, torch.tensor(expected, dtype=dtype).reshape(batch_shape)
    )
    torch.testing.assert_close(
        utility(X, 6 * torch.ones_like(cost), X_evaluation_mask=mask), 6 / cost
    )
    # Outcome by outcome, each pays for the set-up alone.
    alone = varying_costs()(X) + torch.tensor([0.0, 50.0, 50.0], dtype=dtype)
    torch.testing.assert_close(utility.outcome_costs(X), alone)


@dtypes
@batch_shapes
@pytest.mark.parametrize("price", [0.0, 2.5])
def test_a_decision_is_paid_once_per_batch(price, batch_shape, dtype):
    X = rand(*batch_shape, 4, 2, seed=1, dtype=dtype)
    mask = random_masks(4, seed=3)
    shared = SetupCostModel(varying_costs(), fixed_costs(50.0, dtype=dtype))
    for cost_model in (*cost_models(dtype), shared):
        free = DecoupledCostUtility(cost_model)
        utility = DecoupledCostUtility(cost_model, decision_cost=price)
        for asked in (mask, None):
            cost = utility.cost(X, asked)
            assert cost.dtype == dtype
            torch.testing.assert_close(cost, free.cost(X, asked) + price)
        assert torch.equal(utility.outcome_costs(X), free.outcome_costs(X))


def test_a_dear_measurement_may_be_worth_more_per_decision_than_a_cheap_one():
    masks = torch.tensor([[True, False]]), torch.tensor([[False, True]])
    X, gains = torch.zeros(1, 1, 1), (torch.tensor([12.0]), torch.tensor([2.0]))

    def values(price: float) -> list[float]:
        utility = DecoupledCostUtility(fixed_costs(10.0, 1.0), decision_cost=price)
        return [
            utility(X, gain, X_evaluation_mask=mask).item()
            for gain, mask in zip(gains, masks, strict=True)
        ]

    assert values(0.0) == pytest.approx([1.2, 2.0])
    # 12 / (10 + p) exceeds 2 / (1 + p) from p = .8 on.
    assert values(0.8) == pytest.approx([12 / 10.8] * 2)
    assert values(9.0) == pytest.approx([12 / 19, 0.2])


@dtypes
@pytest.mark.parametrize("batch_cost", [0.7, 12.0, math.inf])
@pytest.mark.parametrize("q", [1, 3, 25])
def test_measurements_of_a_full_batch_bear_one_price_together(q, batch_cost, dtype):
    costs = torch.tensor([[1e-3, 0.5, 0.7], [2.0, 12.0, 400.0]], dtype=dtype)
    utility = DecoupledCostUtility(fixed_costs(1.0), decision_cost=6.0)
    utility.decision_share = share = SharedPrice(q, batch_cost)
    parts = share(costs)
    assert parts.dtype == dtype
    for cost, part in zip(costs.flatten(), parts.flatten(), strict=True):
        size = min(q, batch_cost / cost.item())
        assert part.item() == pytest.approx(1 / max(1.0, size), rel=1e-6)
    torch.testing.assert_close(utility.with_decision(costs), costs + 6.0 * parts)


@pytest.mark.parametrize("q", [0, 1.5, True])
def test_a_batch_of_no_measurement_is_refused(q):
    with pytest.raises(InputDataError, match=r"^Expected q >= 1, but got"):
        SharedPrice(q)


@pytest.mark.parametrize("batch_cost", [0.0, -1.0, math.nan])
def test_a_batch_that_may_cost_nothing_is_refused(batch_cost):
    with pytest.raises(InputDataError, match=r"^Expected batch_cost > 0, but got"):
        SharedPrice(2, batch_cost)


def test_the_utility_of_an_acquisition_function_is_found():
    model = fixed_costs(1.0)
    utility = DecoupledCostUtility(model)
    acqf = PosteriorMean(model)
    assert decoupled_utility(acqf) is None
    acqf.cost_aware_utility = GenericCostAwareUtility(lambda X, deltas: deltas)
    assert decoupled_utility(acqf) is None
    acqf.cost_aware_utility = utility
    assert decoupled_utility(acqf) is utility


@pytest.mark.parametrize("price", [-1.0, math.nan, math.inf])
def test_prices_of_a_decision_that_make_no_sense_are_refused(price):
    message = (
        f"Expected a finite decision_cost >= 0, but got {price}. Use 0 if only"
        " measurements cost something."
    )
    with pytest.raises(InvalidCostError, match=f"^{re.escape(message)}$"):
        DecoupledCostUtility(fixed_costs(1.0), decision_cost=price)


# Errors ----------------------------------------------------------------------------


@pytest.mark.parametrize("cost", [0.0, -1.0, math.nan, math.inf])
def test_joint_costs_that_are_not_positive_and_finite_are_refused(cost):
    class Together(CostModel):
        def __init__(self) -> None:
            super().__init__()
            self._num_outputs = 2

        def forward(self, X: Tensor) -> Tensor:
            return torch.ones(*X.shape[:-1], 2)

        def joint_cost(self, X: Tensor, evaluation_mask: Tensor | None = None):
            return torch.full(X.shape[:-2], cost)

    utility = DecoupledCostUtility(Together())
    message = (
        f"Expected costs that are positive and finite, but got {cost}. Bound the cost"
        " model away from zero."
    )
    for mask in (None, torch.tensor([[True, False]])):
        with pytest.raises(InvalidCostError, match=f"^{re.escape(message)}$"):
            utility.cost(torch.zeros(3, 1, 2), mask)


def test_measuring_nothing_costs_the_decision_only():
    nothing = torch.zeros(1, 2, dtype=torch.bool)
    shared = SetupCostModel(fixed_costs(2.0, 1.0), fixed_costs(5.0))
    for cost_model in (fixed_costs(2.0, 1.0), shared):
        utility = DecoupledCostUtility(cost_model, decision_cost=3.0)
        assert utility.cost(torch.zeros(1, 2), nothing) == 3.0


@pytest.mark.parametrize("cost", [0.0, -1.0, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("position", [0, 1])
def test_costs_that_are_not_positive_and_finite_are_refused(position, cost):
    costs = [2.0, 3.0]
    costs[position] = cost
    utility = DecoupledCostUtility(fixed_costs(*costs))
    X, deltas = torch.zeros(2, 1, 1), torch.ones(2)
    message = rf"positive and finite, but got {cost}\. Bound the cost model away"
    with pytest.raises(InvalidCostError, match=message):
        utility(X, deltas)
    # Also when the outcome is not asked for.
    mask = torch.tensor([[position == 1, position == 0]])
    with pytest.raises(InvalidCostError, match=message):
        utility.cost(X, mask)


def test_costs_whose_ratio_overflows_are_refused():
    utility = DecoupledCostUtility(fixed_costs(1e-300, 1e300))
    with pytest.raises(
        InvalidCostError, match=r"ratio is finite, but got 1e-300 and 1e\+300\. Express"
    ):
        utility(torch.zeros(1, 1, 1), torch.ones(1))


def test_a_regression_model_that_predicts_negative_costs_is_refused():
    X = torch.linspace(0, 1, 5, dtype=torch.float64).unsqueeze(-1)
    utility = DecoupledCostUtility(SingleTaskGP(X, X - 0.5))
    assert utility.cost(torch.ones(1, 1, 1, dtype=torch.float64)) > 0
    with pytest.raises(InvalidCostError, match=r"positive and finite, but got -0\.\d+"):
        utility.cost(torch.zeros(1, 1, 1, dtype=torch.float64))


def test_an_invalid_cost_is_a_value_error():
    with pytest.raises(ValueError, match=r"positive and finite, but got 0\.0"):
        check_costs(torch.tensor([1.0, 0.0]))


@pytest.mark.parametrize("shape", [(2, 2), (1, 3), (2, 1, 2)], ids=str)
def test_masks_that_do_not_fit_are_refused(shape):
    utility = DecoupledCostUtility(fixed_costs(10.0, 1.0))
    mask = torch.ones(shape, dtype=torch.bool)
    with pytest.raises(
        BotorchTensorDimensionError,
        match=r"X_evaluation_mask of shape `1 x 2` \(points x outputs of the cost",
    ):
        utility.cost(torch.zeros(5, 1, 3), mask)
