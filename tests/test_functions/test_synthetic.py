from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
from botorch.exceptions.errors import BotorchTensorDimensionError
from botorch.test_functions.base import MultiObjectiveTestProblem
from botorch.test_functions.multi_objective import (
    DTLZ2,
    ZDT1,
    ZDT2,
    BraninCurrin,
    VehicleSafety,
)
from botorch.utils.testing import (
    BaseTestProblemTestCaseMixIn,
    BotorchTestCase,
    MultiObjectiveTestProblemTestCaseMixin,
)

from botorch_flexibo.exceptions import InvalidCostError
from botorch_flexibo.test_functions import (
    DecoupledBraninCurrin,
    DecoupledDTLZ2,
    DecoupledProblem,
    DecoupledVehicleSafety,
    DecoupledZDT1,
    DecoupledZDT2,
)

# (class, BoTorch's class, arguments of both)
CASES = [
    pytest.param(DecoupledBraninCurrin, BraninCurrin, {}, id="BraninCurrin"),
    pytest.param(DecoupledZDT1, ZDT1, {"dim": 4}, id="ZDT1"),
    pytest.param(DecoupledZDT2, ZDT2, {"dim": 6}, id="ZDT2"),
    pytest.param(DecoupledDTLZ2, DTLZ2, {"dim": 4}, id="DTLZ2-2"),
    pytest.param(DecoupledDTLZ2, DTLZ2, {"dim": 5, "num_objectives": 3}, id="DTLZ2-3"),
    pytest.param(DecoupledVehicleSafety, VehicleSafety, {}, id="VehicleSafety"),
]


class TestBoTorchContract(
    BotorchTestCase,
    BaseTestProblemTestCaseMixIn,
    MultiObjectiveTestProblemTestCaseMixin,
):
    # BoTorch's `test_ref_point` expects `negate=False`.
    functions = [
        DecoupledBraninCurrin(negate=False),
        DecoupledZDT1(negate=False, noise_std=0.1),
        DecoupledZDT2(negate=False, noise_std=[0.1, 0.2]),
        DecoupledDTLZ2(negate=False),
        DecoupledDTLZ2(dim=4, num_objectives=3, negate=False),
        DecoupledVehicleSafety(negate=False),
    ]


@pytest.mark.parametrize(("decoupled", "botorch_class", "kwargs"), CASES)
def test_is_the_negated_botorch_problem(
    decoupled: type[Any],
    botorch_class: type[MultiObjectiveTestProblem],
    kwargs: dict[str, int],
) -> None:
    problem, minimised = decoupled(**kwargs), botorch_class(**kwargs)
    assert isinstance(problem, DecoupledProblem)
    assert isinstance(problem, botorch_class)
    X = problem.discretize(32, seed=0)
    assert torch.equal(problem(X), -minimised(X))
    mask = torch.zeros(32, problem.num_objectives, dtype=torch.bool)
    mask[::2, 0], mask[1::2, -1] = True, True
    Y = problem.evaluate(X, mask)
    assert torch.equal(Y[mask], -minimised(X)[mask])
    assert torch.equal(Y.isnan(), ~mask)
    assert torch.equal(problem.ref_point, -minimised.ref_point)
    assert problem.max_hv == minimised.max_hv
    assert torch.equal(decoupled(**kwargs, negate=False)(X), minimised(X))


@pytest.mark.parametrize(("decoupled", "botorch_class", "kwargs"), CASES)
def test_attributes_are_consistent(
    decoupled: type[Any],
    botorch_class: type[MultiObjectiveTestProblem],
    kwargs: dict[str, int],
) -> None:
    problem = decoupled(**kwargs)
    assert len(set(problem.outcome_names)) == problem.num_objectives
    assert problem.choices is None
    assert problem.categorical_features == []
    assert problem.bounds.dtype == problem.costs.dtype == torch.float64


@pytest.mark.parametrize("batch_shape", [[], [2], [2, 3], [0]], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("decoupled", "botorch_class", "kwargs"), CASES)
def test_cost_is_constant_and_positive_for_any_batch_shape(
    decoupled: type[Any],
    botorch_class: type[MultiObjectiveTestProblem],
    kwargs: dict[str, int],
    dtype: torch.dtype,
    batch_shape: list[int],
) -> None:
    problem = decoupled(**kwargs)
    X = torch.zeros(*batch_shape, problem.dim, dtype=dtype)
    cost = problem.cost(X)
    assert cost.shape == (*batch_shape, problem.num_objectives)
    assert cost.dtype == dtype
    assert (cost > 0).all()
    assert (cost == problem.costs).all()


def test_cost_of_integer_designs_is_not_rounded() -> None:
    problem = DecoupledZDT1(dim=2, costs=(2.5, 0.5))
    assert problem.cost(torch.zeros(1, 2, dtype=torch.long)).tolist() == [[2.5, 0.5]]


def test_changing_a_returned_cost_does_not_change_the_problem() -> None:
    problem = DecoupledZDT1(dim=2)
    problem.cost(torch.zeros(1, 2, dtype=torch.float64)).zero_()
    assert problem.costs.tolist() == [10.0, 1.0]


@pytest.mark.parametrize("m", [2, 3, 4])
def test_default_costs_of_dtlz2_are_decreasing_powers_of_ten(m: int) -> None:
    problem = DecoupledDTLZ2(dim=m + 1, num_objectives=m)
    assert problem.costs.tolist() == [10.0 ** (m - 1 - i) for i in range(m)]


def test_default_costs_of_vehicle_safety() -> None:
    problem = DecoupledVehicleSafety()
    assert problem.costs.tolist() == [1.0, 3.0, 10.0]
    assert problem.outcome_names == ("mass", "acceleration", "intrusion")


def test_vehicle_safety_refuses_two_costs() -> None:
    message = (
        "Expected 3 costs, one per outcome, got (1.0, 2.0). Pass as many costs as "
        "the problem has objectives."
    )
    with pytest.raises(InvalidCostError, match=f"^{re.escape(message)}$"):
        DecoupledVehicleSafety(costs=(1.0, 2.0))


@pytest.mark.parametrize(
    ("costs", "match"),
    [
        ((1.0,), r"Expected 2 costs, one per outcome, got \(1.0,\). Pass"),
        ((1.0, 2.0, 3.0), r"Expected 2 costs, one per outcome, got \(1.0, 2.0, 3.0\)"),
        ((0.0, 1.0), r"finite costs > 0, got \[0.0, 1.0\]. Give"),
        ((-1.0, 1.0), r"finite costs > 0, got \[-1.0, 1.0\]"),
        ((math.inf, 1.0), r"finite costs > 0, got \[inf, 1.0\]"),
        ((math.nan, 1.0), r"finite costs > 0, got \[nan, 1.0\]"),
    ],
    ids=["too few", "too many", "zero", "negative", "infinite", "nan"],
)
@pytest.mark.parametrize(("decoupled", "botorch_class", "kwargs"), CASES[:4])
def test_wrong_costs_are_explained(
    decoupled: type[Any],
    botorch_class: type[MultiObjectiveTestProblem],
    kwargs: dict[str, int],
    costs: tuple[float, ...],
    match: str,
) -> None:
    with pytest.raises(ValueError, match=match) as info:
        decoupled(**kwargs, costs=costs)
    assert isinstance(info.value, InvalidCostError)


def test_cost_explains_a_wrong_dimension() -> None:
    with pytest.raises(BotorchTensorDimensionError, match=r"x 6`, got \(4, 2\)"):
        DecoupledZDT1(dim=6).cost(torch.zeros(4, 2))


def test_a_single_outcome_is_refused() -> None:
    with pytest.raises(ValueError, match="`num_objectives` >= 2, got 1"):
        DecoupledDTLZ2(dim=4, num_objectives=1)


@pytest.mark.parametrize(("decoupled", "botorch_class", "kwargs"), CASES)
def test_without_noise_the_global_rng_is_untouched(
    decoupled: type[Any],
    botorch_class: type[MultiObjectiveTestProblem],
    kwargs: dict[str, int],
) -> None:
    state = torch.get_rng_state()
    problem = decoupled(**kwargs)
    X = problem.discretize(4, seed=0)
    problem.evaluate(X, torch.ones(4, problem.num_objectives, dtype=torch.bool))
    problem.cost(X)
    assert torch.equal(torch.get_rng_state(), state)
