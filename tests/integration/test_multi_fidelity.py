"""The fidelity that look-ahead FlexiBO pays for."""

import pytest
import torch
from botorch.models import ModelListGP, SingleTaskGP
from botorch.models.deterministic import GenericDeterministicModel
from gpytorch.kernels import RBFKernel

from botorch_flexibo import (
    AcquisitionPolicy,
    InitialDesign,
    LookaheadFactory,
    run_decoupled_optimization,
)
from botorch_flexibo.optim import SearchOptions, SearchSpace
from botorch_flexibo.policies import DecoupledState
from botorch_flexibo.test_functions import DecoupledMOMFBraninCurrin

BOUNDS = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.double)
TARGET = {1: 1.0}
COSTS = GenericDeterministicModel(
    lambda X: torch.exp(4.8 * (X[..., 1:] - 1)).expand(*X.shape[:-1], 2), num_outputs=2
)


def outcome(X: torch.Tensor, phase: float, correlation_length: float) -> SingleTaskGP:
    """A GP over (x, s); outcomes at fidelities further apart than the length differ."""
    kernel = RBFKernel(ard_num_dims=2)
    kernel.lengthscale = torch.tensor([[0.25, correlation_length]])
    y = torch.sin(4 * X[:, :1] + phase)
    noise = torch.full_like(y, 1e-4)
    model = SingleTaskGP(X, y, noise, covar_module=kernel, outcome_transform=None)
    return model.eval()


def chosen_fidelities(correlation_length: float) -> list[float]:
    X = torch.tensor([[0.1, 1.0], [0.5, 1.0], [0.9, 1.0]], dtype=torch.double)
    models = [outcome(X, phase, correlation_length) for phase in (0.0, 1.5)]
    state = DecoupledState(
        X=X,
        Y=torch.cat([torch.sin(4 * X[:, :1]), torch.sin(4 * X[:, :1] + 1.5)], dim=-1),
        space=SearchSpace(BOUNDS),
        ref_point=torch.tensor([-1.5, -1.5], dtype=torch.double),
        cost_model=COSTS,
        target_fidelities=TARGET,
    )
    policy = AcquisitionPolicy(LookaheadFactory(num_designs=48), q=3)
    return policy(ModelListGP(*models), state).X[:, 1].tolist()


def test_a_low_fidelity_that_tells_as_much_is_not_outbid_by_a_high_one() -> None:
    assert max(chosen_fidelities(correlation_length=100.0)) < 0.05


def test_the_lowest_fidelity_is_left_when_it_tells_nothing_about_the_target() -> None:
    assert min(chosen_fidelities(correlation_length=0.15)) > 0.5


@pytest.mark.slow
def test_a_run_over_fidelities_improves_the_front_at_the_target_at_little_cost() -> (
    None
):
    problem = DecoupledMOMFBraninCurrin()
    full = float(problem.cost(BOUNDS.new_tensor([[0.5, 0.5, 1.0]])).sum())
    history = run_decoupled_optimization(
        problem,
        AcquisitionPolicy(
            LookaheadFactory(num_designs=64), options=SearchOptions(num_restarts=2)
        ),
        budget=100 * full,
        initial_design=InitialDesign(8),
        cost_model=GenericDeterministicModel(problem.cost, num_outputs=2),
        callbacks=[lambda history: history.records[-1].decision >= 25],
    )
    frame = history.to_pandas()
    start, end = frame["hv_identified"].iloc[[8, -1]]
    assert end > start
    spent = frame["cost"].iloc[8:].sum()
    assert spent < 12.5 * full  # 25 measurements at the target cost more on average
    fidelities = history.X[8:, 2]
    assert (fidelities < 0.3).any()
    assert (fidelities > 0.0).any()
