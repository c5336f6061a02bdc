r"""What a run starts with: distinct designs, and nothing that is refused later."""

from __future__ import annotations

import pytest
import torch
from botorch.exceptions.errors import InputDataError
from botorch.models.cost import FixedCostModel
from torch import Tensor

from botorch_flexibo import (
    AcquisitionPolicy,
    CoupledPolicy,
    FlexiBOFactory,
    InitialDesign,
    RandomPolicy,
    run_decoupled_optimization,
)
from botorch_flexibo.test_functions import DecoupledBraninCurrin, DecoupledProblem
from tests.runs import Faulty


class Small(DecoupledProblem):
    """Two integers, six designs; counts what it measures."""

    dim = 2
    num_objectives = 2
    outcome_names = ("a", "b")
    discrete_inds = [0, 1]
    continuous_inds: list[int] = []
    _bounds = [(0.0, 1.0), (0.0, 2.0)]
    _ref_point = [-1.0, -5.0]
    _max_hv = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.num_measured = 0

    def cost(self, X: Tensor) -> Tensor:
        return torch.tensor([10.0, 1.0]).to(X).expand(*X.shape[:-1], 2)

    def _evaluate_true(self, X: Tensor) -> Tensor:
        return torch.stack([X.sum(dim=-1), -X[..., 0] - 2 * X[..., 1]], dim=-1)

    def _measure(self, X: Tensor, evaluation_mask: Tensor) -> Tensor:
        self.num_measured += int(evaluation_mask.sum())
        return super()._measure(X, evaluation_mask)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("num_designs", [4, 6, 10])
def test_no_design_is_drawn_twice_and_as_many_as_there_are(
    seed: int, num_designs: int
) -> None:
    request = InitialDesign(num_designs).request(Small(), None, seed)
    rows = {tuple(x) for x in request.X.tolist()}
    assert len(rows) == len(request.X) == min(num_designs, 6)


def test_a_small_space_is_measured_and_paid_once() -> None:
    problem = Small()
    history = run_decoupled_optimization(problem, RandomPolicy(), budget=1e5)
    assert history.stop_reason == "exhausted"
    assert problem.num_measured == 12
    assert history.total_cost == 66.0


@pytest.mark.parametrize(
    "policy", [RandomPolicy(), AcquisitionPolicy(FlexiBOFactory())]
)
def test_copies_of_choices_are_one_choice(
    policy: RandomPolicy | AcquisitionPolicy,
) -> None:
    problem = DecoupledBraninCurrin(costs=(10.0, 1.0))
    designs = problem.discretize(4, seed=0)
    history = run_decoupled_optimization(
        problem,
        policy,
        budget=1e3,
        choices=torch.cat([designs, designs.flip(0)]),
        initial_design=InitialDesign(3),
    )
    assert history.stop_reason == "exhausted"
    assert history.total_cost == 44.0


def test_choices_between_integers_are_refused_before_anything_is_measured() -> None:
    problem = Small()
    choices = torch.tensor([[0.0, 1.0], [1.0, 0.5]], dtype=torch.float64)
    choices = choices.to(problem.bounds)
    with pytest.raises(InputDataError, match=r"^Expected integers in the columns"):
        run_decoupled_optimization(problem, RandomPolicy(), budget=9.0, choices=choices)
    assert problem.num_measured == 0


@pytest.mark.parametrize("costs", [[10.0], [10.0, 1.0, 1.0]], ids=len)
def test_costs_of_other_outcomes_are_refused_before_anything_is_measured(
    costs: list[float],
) -> None:
    problem = Faulty()
    model = FixedCostModel(torch.tensor(costs, dtype=torch.float64))
    with pytest.raises(InputDataError, match=rf"with 2 outputs.*but got {len(costs)}"):
        run_decoupled_optimization(
            problem, CoupledPolicy(), budget=60.0, cost_model=model
        )
    assert problem.asked == []
