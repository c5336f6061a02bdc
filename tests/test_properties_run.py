r"""Long runs and runs on any finite space: nothing is asked for twice."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from botorch_flexibo import (
    DecoupledHistory,
    InitialDesign,
    RandomPolicy,
    run_decoupled_optimization,
)
from botorch_flexibo.acquisition import unweighted
from botorch_flexibo.failures import TolerateFailures
from botorch_flexibo.test_functions import DecoupledProblem

Pair = tuple[int, int]


class Auditor(DecoupledProblem):
    """A finite problem that checks whether it may be asked for what it is asked for.

    Pairs in ``flaky`` fail as often as they say; outcomes in ``dead`` always fail from
    the request on that they say.
    """

    knows_truth = False
    cost_unit = "s"

    def __init__(
        self,
        num_designs: int,
        num_outcomes: int,
        *,
        flaky: dict[Pair, int],
        dead: dict[int, int],
        rule: TolerateFailures,
    ) -> None:
        self.dim, self.num_objectives = 1, num_outcomes
        self._bounds = [(0.0, float(num_designs))]
        self._ref_point = [-1.0] * num_outcomes
        self.continuous_inds = [0]
        super().__init__()
        self.outcome_names = tuple(f"y{i}" for i in range(num_outcomes))
        self.choices = torch.arange(num_designs, dtype=torch.float64).unsqueeze(-1)
        self.flaky, self.dead, self.rule = dict(flaky), dead, rule
        self.measured: set[Pair] = set()
        self.failed: dict[Pair, int] = {}
        self.in_a_row = [0] * num_outcomes
        self.closed: set[int] = set()
        self.num_requests = 0

    def cost(self, X: Tensor) -> Tensor:
        return torch.ones(*X.shape[:-1], self.num_objectives, dtype=torch.float64)

    def _evaluate_true(self, X: Tensor) -> Tensor:
        return torch.cat([X.sin() + i for i in range(self.num_objectives)], dim=-1)

    def _measure(self, X: Tensor, evaluation_mask: Tensor) -> Tensor:
        self.num_requests += 1
        design = int(X[0, 0])
        Y = self._evaluate_true(X)
        for outcome in evaluation_mask[0].nonzero().flatten().tolist():
            pair = design, outcome
            assert pair not in self.measured
            assert self.failed.get(pair, 0) < self.rule.max_attempts
            assert outcome not in self.closed
            if self._fails(pair):
                Y[0, outcome] = torch.nan
                self._note_failure(pair)
            else:
                self.measured.add(pair)
                self.in_a_row[outcome] = 0
        return Y

    def _fails(self, pair: Pair) -> bool:
        left = self.flaky.get(pair, 0)
        self.flaky[pair] = left - 1
        return left > 0 or self.num_requests > self.dead.get(pair[1], 10**9)

    def _note_failure(self, pair: Pair) -> None:
        first = pair not in self.failed
        self.failed[pair] = self.failed.get(pair, 0) + 1
        self.in_a_row[pair[1]] += first
        if self.in_a_row[pair[1]] >= self.rule.max_in_a_row:
            self.closed.add(pair[1])


def run_to_the_end(problem: Auditor, **options: Any) -> DecoupledHistory:
    """Measure all that may be measured, and compare with what the problem saw."""
    history = run_decoupled_optimization(
        problem,
        RandomPolicy(weighting=unweighted),
        budget=1e9,
        on_failure=problem.rule,
        **options,
    )
    assert sum(history.num_measurements.values()) == len(problem.measured)
    assert sum(history.num_failures.values()) == sum(problem.failed.values())
    assert {int(name[1:]) for name in history.closed_outcomes} >= problem.closed
    assert history.total_cost == sum(sum(r.costs) for r in history.records)
    return history


def left_over(problem: Auditor) -> list[Pair]:
    """Pairs that could still be measured."""
    assert problem.choices is not None
    return [
        (design, outcome)
        for design in range(len(problem.choices))
        for outcome in range(problem.num_objectives)
        if outcome not in problem.closed
        and (design, outcome) not in problem.measured
        and problem.failed.get((design, outcome), 0) < problem.rule.max_attempts
    ]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_on_any_finite_space_every_open_pair_is_measured_once(data: Any) -> None:
    n = data.draw(st.integers(1, 8), label="designs")
    m = data.draw(st.integers(2, 4), label="outcomes")
    pairs = st.tuples(st.integers(0, n - 1), st.integers(0, m - 1))
    problem = Auditor(
        n,
        m,
        flaky=data.draw(st.dictionaries(pairs, st.integers(1, 4)), label="flaky"),
        dead=data.draw(
            st.dictionaries(st.integers(0, m - 1), st.integers(0, 20)), label="dead"
        ),
        rule=TolerateFailures(
            max_attempts=data.draw(st.integers(1, 3), label="attempts"),
            max_in_a_row=data.draw(st.integers(1, 4), label="in a row"),
        ),
    )
    initial = InitialDesign(data.draw(st.integers(1, n), label="initial"))
    seed = data.draw(st.integers(0, 1000), label="seed")
    history = run_to_the_end(problem, initial_design=initial, seed=seed)
    assert history.stop_reason in ("exhausted", "failing")
    if bool(history.Y.isnan().all(dim=0).any()):
        # An outcome never gave a value: the run ends before its first decision.
        assert history.stop_reason == "failing"
        assert len(history.closed_outcomes) > 0
    else:
        assert left_over(problem) == []
    assert (history.stop_reason == "failing") == (len(history.closed_outcomes) > 0)


@pytest.mark.parametrize(
    "steps", [1_000, pytest.param(10_000, marks=pytest.mark.slow)], ids=str
)
def test_a_long_run_never_asks_for_what_is_measured_or_given_up(steps: int) -> None:
    generator = torch.Generator().manual_seed(0)
    num_designs = steps // 2
    draws = torch.randint(num_designs, (steps // 20,), generator=generator)
    flaky = {(int(d), k % 2): 1 + k % 3 for k, d in enumerate(draws)}
    problem = Auditor(
        num_designs,
        3,
        flaky=flaky,
        dead={2: steps},
        rule=TolerateFailures(max_attempts=2, max_in_a_row=20),
    )
    history = run_to_the_end(problem)
    assert len(history.records) > steps
    assert left_over(problem) == []
    assert problem.closed == {2}
    assert history.stop_reason == "failing"
