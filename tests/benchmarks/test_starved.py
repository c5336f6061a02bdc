r"""Runs of methods that stop buying what is dear."""

from __future__ import annotations

import pytest
import torch

from benchmarks.starved import Starved
from botorch_flexibo import (
    EvaluationRequest,
    InitialDesign,
    RandomPolicy,
    run_decoupled_optimization,
)
from botorch_flexibo.policies import DecoupledState
from tests.runs import Faulty


class Miser(RandomPolicy):
    """Buys the dear outcome at every so many decisions, the cheap one otherwise."""

    def __init__(self, every: int) -> None:
        super().__init__()
        self.every = every

    def __call__(self, model, state: DecoupledState) -> EvaluationRequest:
        dear = state.iteration % self.every == 0
        X = state.space.sample(1, seed=state.seed)
        return EvaluationRequest(X, torch.tensor([[dear, not dear]]))


@pytest.mark.parametrize(("every", "ended"), [(4, False), (6, True)])
def test_a_run_ends_after_so_many_decisions_without_the_dear_outcome(every, ended):
    history = run_decoupled_optimization(
        Faulty(),
        Miser(every),
        budget=80.0,
        initial_design=InitialDesign(3),
        callbacks=[Starved(dear=0, decisions=5)],
    )
    assert (history.stop_reason == "callback") == ended
    if ended:
        bought = [r.decision for r in history.records if r.measured[0]]
        assert history.records[-1].decision - max(bought) == 5


@pytest.mark.parametrize(("target", "ended"), [(None, False), (2.0, True)])
def test_what_is_bought_below_the_target_fidelity_does_not_count(target, ended):
    starved = Starved(0, 3, {} if target is None else {0: target})
    history = run_decoupled_optimization(
        Faulty(),
        Miser(1),
        budget=80.0,
        initial_design=InitialDesign(3),
        callbacks=[starved],
    )
    assert (history.stop_reason == "callback") == ended
