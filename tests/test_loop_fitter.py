r"""Runs whose user says how outcomes are modelled."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from botorch.exceptions.errors import BotorchTensorDimensionError, InputDataError
from botorch.models import ModelListGP
from botorch.models.model import ModelList
from torch import Tensor

from botorch_flexibo import (
    DecoupledHistory,
    DecoupledModelFitter,
    InitialDesign,
    RandomPolicy,
    run_decoupled_optimization,
)
from botorch_flexibo.models import Winsorize
from botorch_flexibo.optim import EvaluationRequest
from botorch_flexibo.policies import DecoupledState
from tests.runs import FaultyTable


class Onlooker(RandomPolicy):
    """The random policy; keeps the models that it is given."""

    uses_model = True

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[ModelList, Tensor, Tensor]] = []

    def __call__(self, model: ModelList, state: DecoupledState) -> EvaluationRequest:
        self.seen.append((model, state.X, state.Y))
        return super().__call__(model, state)


def run(policy: RandomPolicy, **options: Any) -> DecoupledHistory:
    return run_decoupled_optimization(
        FaultyTable(), policy, budget=50.0, initial_design=InitialDesign(5), **options
    )


def fitter(**options: Any) -> DecoupledModelFitter:
    return DecoupledModelFitter(FaultyTable().bounds, **options)


def test_models_are_those_of_the_fitter_and_it_is_left_as_it_was():
    rule = Winsorize([0.8, -0.5], num_ranges=0.0)
    given, policy = fitter(winsorize=rule, refit_growth=0.0), Onlooker()
    history = run(policy, fitter=given)
    assert given.state_dict() == {}
    raised = 0
    expected = fitter(winsorize=rule, refit_growth=0.0)
    for model, X, Y in policy.seen:
        assert isinstance(model, ModelListGP)
        by_hand = expected.fit(X, Y)
        for one, two in zip(model.models, by_hand.models, strict=True):
            assert torch.equal(one.train_targets, two.train_targets)
            assert torch.equal(one.posterior(X).mean, two.posterior(X).mean)
        raised += int((rule(Y) > Y).sum())
    assert raised > 5
    # What was measured is kept as it was.
    assert history.Y[~history.Y.isnan()].min() < -0.5


def test_without_a_fitter_a_run_is_that_of_the_default_one():
    plain, given = Onlooker(), Onlooker()
    histories = run(plain), run(given, fitter=fitter())
    assert torch.equal(*(history.X for history in histories))
    for (one, X, _), (two, *_) in zip(plain.seen, given.seen, strict=True):
        assert torch.equal(one.posterior(X).mean, two.posterior(X).mean)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (
            DecoupledModelFitter(torch.tensor([[0.0, 0.0], [2.0, 1.0]]).double()),
            InputDataError,
            "Expected a fitter with the problem's bounds [[0.0, 0.0], [1.0, 1.0]]",
        ),
        (
            fitter(categorical_features=[1]),
            InputDataError,
            "and categorical_features [], but got [[0.0, 0.0], [1.0, 1.0]] and [1]",
        ),
        (
            DecoupledModelFitter(torch.tensor([[0.0], [1.0]]).double()),
            InputDataError,
            "Expected a fitter with the problem's bounds [[0.0, 0.0], [1.0, 1.0]]",
        ),
        (
            fitter(winsorize=Winsorize([0.0])),
            BotorchTensorDimensionError,
            "Expected ref_point to have 2 elements",
        ),
        (DecoupledModelFitter, InputDataError, "Expected fitter of type"),
    ],
    ids=["other bounds", "labels", "other space", "other outcomes", "a class"],
)
def test_a_fitter_of_another_problem_is_refused_before_anything_is_paid(
    wrong, error, message
):
    problem = FaultyTable()
    with pytest.raises(error, match=re.escape(message)):
        run_decoupled_optimization(problem, RandomPolicy(), budget=50.0, fitter=wrong)
    assert problem.num_asked == 0
