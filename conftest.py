"""Names that the examples in docstrings may use, and the profile of hypothesis."""

from __future__ import annotations

import pytest
import torch
from botorch.models import ModelListGP, SingleTaskGP
from botorch.models.cost import FixedCostModel
from hypothesis import settings

import botorch_flexibo
import botorch_flexibo.policies
import botorch_flexibo.test_functions
import botorch_flexibo.utils
from botorch_flexibo.optim import SearchSpace

# A deadline per example says how busy the machine is, not whether the code is right.
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")


@pytest.fixture(autouse=True)
def example_names(request: pytest.FixtureRequest) -> None:
    """A small half-filled table with its model, state and acquisition function."""
    if not isinstance(request.node, pytest.DoctestItem):
        return
    names = request.getfixturevalue("doctest_namespace")
    generator = torch.Generator().manual_seed(0)
    designs = torch.rand(30, 2, dtype=torch.double, generator=generator)
    bounds = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.double)
    X = designs[:6]
    Y = torch.stack([X.sum(dim=-1), -X.prod(dim=-1)], dim=-1)
    model = ModelListGP(SingleTaskGP(X, Y[:, :1]), SingleTaskGP(X, Y[:, 1:])).eval()
    state = botorch_flexibo.policies.DecoupledState(
        X=X,
        Y=Y,
        space=SearchSpace(bounds, designs),
        ref_point=torch.tensor([0.0, -1.0], dtype=torch.double),
        cost_model=FixedCostModel(torch.tensor([10.0, 1.0], dtype=torch.double)),
    )
    for module in (
        botorch_flexibo.policies,
        botorch_flexibo.test_functions,
        botorch_flexibo.utils,
        botorch_flexibo,
    ):
        names.update({name: getattr(module, name) for name in module.__all__})
    names.update(
        torch=torch,
        ModelListGP=ModelListGP,
        SingleTaskGP=SingleTaskGP,
        designs=designs,
        bounds=bounds,
        model=model,
        state=state,
        acqf=botorch_flexibo.FlexiBOFactory()(model, state),
    )
