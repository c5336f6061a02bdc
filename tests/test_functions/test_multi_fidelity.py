from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
from botorch.exceptions.errors import BotorchTensorDimensionError
from botorch.test_functions.multi_objective_multi_fidelity import MOMFBraninCurrin
from botorch.utils.testing import (
    BaseTestProblemTestCaseMixIn,
    BotorchTestCase,
    MultiObjectiveTestProblemTestCaseMixin,
)

from botorch_flexibo.exceptions import InvalidCostError
from botorch_flexibo.test_functions import DecoupledMOMFBraninCurrin, DecoupledProblem
from botorch_flexibo.utils.fronts import front_mask, hypervolume


class TestBoTorchContract(
    BotorchTestCase,
    BaseTestProblemTestCaseMixIn,
    MultiObjectiveTestProblemTestCaseMixin,
):
    functions = [
        DecoupledMOMFBraninCurrin(negate=False),
        DecoupledMOMFBraninCurrin(negate=False, noise_std=[0.1, 0.2]),
    ]


def test_is_the_negated_botorch_problem() -> None:
    problem, minimised = DecoupledMOMFBraninCurrin(), MOMFBraninCurrin()
    assert isinstance(problem, DecoupledProblem)
    X = problem.discretize(32, seed=0)
    assert torch.equal(problem(X), -minimised(X))
    assert torch.equal(DecoupledMOMFBraninCurrin(negate=False)(X), minimised(X))
    assert (problem.ref_point == 0).all()
    mask = torch.zeros(32, 2, dtype=torch.bool)
    mask[::2, 0], mask[1::2, 1] = True, True
    Y = problem.evaluate(X, mask)
    assert torch.equal(Y[mask], -minimised(X)[mask])
    assert torch.equal(Y.isnan(), ~mask)


def test_the_target_is_the_last_column_at_one() -> None:
    problem = DecoupledMOMFBraninCurrin()
    assert problem.target_fidelities == {problem.dim - 1: 1.0}
    assert problem.outcome_names == ("branin", "currin")


def test_max_hv_is_that_of_the_front_at_the_target() -> None:
    # At s = 1 Currin depends on x1 only, and Branin is best where its square is 0.
    problem = DecoupledMOMFBraninCurrin()
    x1 = torch.linspace(0, 1, 1_000_001, dtype=torch.float64)
    u = 15 * x1 - 5
    x2 = (5.1 / (4 * math.pi**2) * u.square() - 5 / math.pi * u + 6) / 15
    X = torch.stack([x1, x2.clamp(0, 1), torch.ones_like(x1)], dim=-1)
    Y = problem(X)
    Y = Y[front_mask(Y)]
    attained = float(hypervolume(Y, problem.ref_point))
    # The curve between two neighbours lies below their componentwise maximum.
    Y = Y[Y[:, 0].argsort()]
    corners = torch.maximum(Y[1:], Y[:-1])
    bound = float(hypervolume(torch.cat([corners, Y]), problem.ref_point))
    assert attained < problem.max_hv < bound
    assert bound - attained < 1e-5
    # The deviation from BoTorch, which is not reachable at the target.
    assert MOMFBraninCurrin().max_hv > 1.03 * bound


def test_random_designs_at_the_target_do_not_exceed_max_hv() -> None:
    problem = DecoupledMOMFBraninCurrin()
    X = problem.discretize(50_000, seed=0)
    X[:, 2] = 1.0
    found = float(hypervolume(problem(X), problem.ref_point))
    assert 0.95 * problem.max_hv < found < problem.max_hv


@pytest.mark.parametrize("batch_shape", [[], [2], [2, 3], [0]], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_cost_grows_exponentially_with_the_fidelity(
    dtype: torch.dtype, batch_shape: list[int]
) -> None:
    problem = DecoupledMOMFBraninCurrin(costs=(6.0, 2.0))
    X = torch.rand(*batch_shape, 3, dtype=dtype)
    cost = problem.cost(X)
    assert cost.shape == (*batch_shape, 2)
    assert cost.dtype == dtype
    assert (cost > 0).all()
    for x, c in zip(X.reshape(-1, 3), cost.reshape(-1, 2), strict=True):
        factor = math.exp(4.8 * (x[2].item() - 1))
        assert c.tolist() == pytest.approx([6.0 * factor, 2.0 * factor], rel=1e-5)


def test_cost_at_the_target_is_that_of_the_outcome_at_any_rate() -> None:
    X = torch.tensor([[0.3, 0.2, 1.0]], dtype=torch.float64)
    for rate in (0.0, 4.8, [1.0, 2.0]):
        problem = DecoupledMOMFBraninCurrin(costs=(5.0, 0.5), rate=rate)
        assert problem.cost(X).tolist() == [[5.0, 0.5]]


def test_an_outcome_of_rate_zero_costs_the_same_at_all_fidelities() -> None:
    problem = DecoupledMOMFBraninCurrin(rate=(2.0, 0.0))
    cost = problem.cost(torch.tensor([[0, 0, 0], [0, 0, 1]]))
    assert cost.dtype == torch.float64
    assert cost[:, 1].tolist() == [1.0, 1.0]
    assert cost[:, 0].tolist() == pytest.approx([10 * math.exp(-2), 10])


def test_cost_is_differentiable_in_the_fidelity() -> None:
    problem = DecoupledMOMFBraninCurrin()
    X = problem.discretize(4, seed=0).requires_grad_()
    assert torch.autograd.gradcheck(problem.cost, (X,))


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        (
            {"rate": -1.0},
            ValueError,
            "Expected `rate` finite and >= 0, one number or 2, got -1.0. Use 0 for an "
            "outcome whose cost does not depend on the fidelity.",
        ),
        (
            {"rate": [1.0, math.nan]},
            ValueError,
            "Expected `rate` finite and >= 0, one number or 2, got [1.0, nan]. Use 0 "
            "for an outcome whose cost does not depend on the fidelity.",
        ),
        (
            {"rate": [1.0]},
            ValueError,
            "Expected `rate` finite and >= 0, one number or 2, got [1.0]. Use 0 for an "
            "outcome whose cost does not depend on the fidelity.",
        ),
        (
            {"costs": (1.0,)},
            InvalidCostError,
            "Expected 2 costs, one per outcome, got (1.0,). Pass as many costs as "
            "the problem has objectives.",
        ),
        (
            {"costs": (1.0, 0.0)},
            InvalidCostError,
            "Expected finite costs > 0, got [1.0, 0.0]. Give a measurement that is "
            "free a small positive cost.",
        ),
    ],
    ids=["negative", "nan", "too few rates", "too few costs", "zero cost"],
)
def test_wrong_arguments_are_explained(
    kwargs: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        DecoupledMOMFBraninCurrin(**kwargs)


def test_cost_explains_a_wrong_dimension() -> None:
    message = (
        "Expected `X` of shape `batch_shape x 3`, got (4, 2). Pass one design per row."
    )
    with pytest.raises(BotorchTensorDimensionError, match=f"^{re.escape(message)}$"):
        DecoupledMOMFBraninCurrin().cost(torch.zeros(4, 2))
