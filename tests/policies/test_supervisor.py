r"""The supervisor's decisions against dominance by brute force."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from botorch.exceptions.errors import InputDataError
from botorch.utils.multi_objective.pareto import is_non_dominated
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from botorch_flexibo.policies.supervisor import (
    Gate,
    Supervisor,
    extended_front,
    is_dominated,
    supervise,
)

NAN = math.nan
GATES: tuple[Gate, ...] = ("observed", "predicted", "none")

Point = tuple[float, ...]


def dominates(a: Point, b: Point) -> bool:
    """By the definition, on plain numbers."""
    pairs = list(zip(a, b, strict=True))
    return all(x >= y for x, y in pairs) and any(x > y for x, y in pairs)


def points(m: int, levels: int, *, unknown: bool = False) -> Iterator[Point]:
    grid = [float(k) for k in range(levels)] + ([NAN] if unknown else [])
    return itertools.product(grid, repeat=m)


def tensor(rows: Any, m: int) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, m)


def decide(
    gate: Gate,
    agent: int,
    values: Point,
    *,
    archive: Sequence[Point],
    optimistic: Point | None = None,
    expensive: Sequence[bool] | None = None,
) -> tuple[set[int], bool]:
    m = len(values)
    decision = supervise(
        Supervisor(gate=gate),
        agent,
        tensor(values, m)[0],
        optimistic=tensor(optimistic or [math.inf] * m, m)[0],
        archive=tensor(list(archive), m),
        expensive=[True] * m if expensive is None else expensive,
    )
    measure = {i for i, asked in enumerate(decision.measure.tolist()) if asked}
    assert decision.closed == (not measure)
    return measure, decision.inject


# --- dominance ------------------------------------------------------------------------


@pytest.mark.parametrize(("m", "levels"), [(2, 4), (3, 3)])
def test_dominance_is_that_of_the_definition(m: int, levels: int) -> None:
    every = list(points(m, levels))
    for a, b in itertools.product(every, repeat=2):
        assert is_dominated(tensor(b, m)[0], tensor(a, m)) == dominates(a, b)
    for y in every:
        others = tensor(every, m)
        assert is_dominated(tensor(y, m)[0], others) == (max(every) != y)


def test_nothing_dominates_in_an_empty_archive() -> None:
    assert not is_dominated(torch.zeros(2), torch.empty(0, 2))


# --- completely measured proposals ----------------------------------------------------


@pytest.mark.parametrize("gate", GATES)
def test_a_measured_proposal_is_shared_iff_no_archived_design_dominates_it(
    gate: Gate,
) -> None:
    every = list(points(2, 3))
    archives = itertools.chain.from_iterable(
        itertools.combinations(every, n) for n in range(3)
    )
    shared = 0
    for archive, values in itertools.product(archives, every):
        dominated = any(dominates(a, values) for a in archive)
        for agent in range(2):
            measure, inject = decide(gate, agent, values, archive=archive)
            assert measure == set()
            assert inject == (gate == "none" or not dominated)
            shared += inject
    assert shared > 0


def test_three_objectives_are_gated_by_all_of_them() -> None:
    archive = [(1.0, 1.0, 1.0), (0.0, 2.0, 2.0)]
    for values in points(3, 4):
        dominated = any(dominates(a, values) for a in archive)
        assert decide("observed", 2, values, archive=archive) == (set(), not dominated)


def test_a_copy_of_an_archived_design_is_shared() -> None:
    assert decide("observed", 0, (1.0, 2.0), archive=[(1.0, 2.0)]) == (set(), True)


# --- partly measured proposals --------------------------------------------------------


@pytest.mark.parametrize("gate", ["observed", "none"])
def test_without_predictions_everything_missing_is_measured_at_once(gate: Gate) -> None:
    for values in points(3, 2, unknown=True):
        missing = {i for i, value in enumerate(values) if math.isnan(value)}
        if missing:
            result = decide(gate, 0, values, archive=[(9.0, 9.0, 9.0)])
            assert result == (missing, False)


@pytest.mark.parametrize("m", [2, 3])
def test_the_predicted_gate_agrees_with_brute_force(m: int) -> None:
    archives = [[], [(1.0,) * m], [(0.0, *[2.0] * (m - 1)), (2.0, *[0.0] * (m - 1))]]
    outcomes = set()
    for values, optimistic, archive, expensive in itertools.product(
        points(m, 2, unknown=True),
        points(m, 3),
        archives,
        itertools.product([False, True], repeat=m),
    ):
        missing = {i for i, value in enumerate(values) if math.isnan(value)}
        if not missing:
            continue
        best = [optimistic[i] if i in missing else values[i] for i in range(m)]
        hopeless = any(dominates(a, tuple(best)) for a in archive)
        for agent in range(m):
            first = {i for i in range(m) if i == agent or not expensive[i]} & missing
            measure, inject = decide(
                "predicted",
                agent,
                values,
                archive=archive,
                optimistic=optimistic,
                expensive=expensive,
            )
            expected = first or (set() if hopeless else missing)
            assert (measure, inject) == (expected, False)
            outcomes.add((bool(first), hopeless))
    assert len(outcomes) == 4


@given(st.data())
def test_the_predicted_gate_never_shields_a_cheap_objective(
    data: st.DataObject,
) -> None:
    m = data.draw(st.integers(2, 4))
    vector = st.lists(st.integers(0, 3).map(float), min_size=m, max_size=m)
    truth, optimistic = data.draw(vector), data.draw(vector)
    archive = data.draw(st.lists(vector, max_size=4))
    expensive = data.draw(st.lists(st.booleans(), min_size=m, max_size=m))
    agent = data.draw(st.integers(0, m - 1))
    known: dict[int, float] = {}
    measure, inject = {agent}, False
    for _ in range(m + 1):  # until the proposal is closed
        values = tuple(known.get(i, NAN) for i in range(m))
        measure, inject = decide(
            "predicted",
            agent,
            values,
            archive=[tuple(a) for a in archive],
            optimistic=tuple(optimistic),
            expensive=expensive,
        )
        if not measure:
            break
        assert not measure & known.keys()
        known |= {i: truth[i] for i in measure}
    assert not measure
    cheap = {i for i in range(m) if not expensive[i]}
    assert known.keys() >= cheap | {agent}
    if inject:
        assert len(known) == m


def test_predictions_of_measured_outcomes_do_not_count() -> None:
    # The prediction of outcome 0 would save the design; its value does not.
    result = decide(
        "predicted", 0, (0.0, NAN), archive=[(1.0, 1.0)], optimistic=(5.0, 1.0)
    )
    assert result == (set(), False)
    result = decide(
        "predicted", 0, (0.0, NAN), archive=[(1.0, 1.0)], optimistic=(0.0, 1.5)
    )
    assert result == ({1}, False)


# --- the front ------------------------------------------------------------------------


@given(
    st.integers(2, 4).flatmap(
        lambda m: st.lists(
            st.lists(st.integers(-2, 2).map(float), min_size=m, max_size=m),
            min_size=1,
            max_size=14,
        )
    )
)
def test_the_front_is_that_of_all_points_and_copies_are_kept_once(
    rows: list[list[float]],
) -> None:
    Y = torch.tensor(rows, dtype=torch.float64)
    front = Y[:0]
    for y in Y:
        front = extended_front(front, y)
    expected = Y[is_non_dominated(Y, deduplicate=True)]
    assert sorted(front.tolist()) == sorted(expected.tolist())


# --- turns ----------------------------------------------------------------------------


@pytest.mark.parametrize("patience", [0, 1, 3])
@pytest.mark.parametrize("lead", [0, 1])
def test_only_those_who_did_not_lead_nor_learn_idle_and_only_so_long(
    lead: int, patience: int
) -> None:
    supervisor = Supervisor(lead=lead, patience=patience)
    for idle in range(6):
        assert supervisor.is_due(lead, injected=False, idle=idle)
        other = 1 - lead
        assert supervisor.is_due(other, injected=True, idle=idle)
        due = supervisor.is_due(other, injected=False, idle=idle)
        assert due == (idle >= patience)


def test_in_round_robin_every_agent_is_always_due() -> None:
    supervisor = Supervisor(schedule="round_robin", patience=9)
    for agent, injected in itertools.product(range(3), [False, True]):
        assert supervisor.is_due(agent, injected=injected, idle=0)


# --- what is expensive ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        ((1.0, 1.0), (True, True)),
        ((9.0, 1.0), (True, True)),
        ((10.0, 1.0), (True, False)),
        ((1.0, 450.0), (False, True)),
        ((100.0, 11.0, 10.0), (True, True, False)),
    ],
)
def test_cheap_is_what_costs_at_most_a_tenth_of_the_dearest(
    costs: Point, expected: tuple[bool, ...]
) -> None:
    for unit in (1.0, 1e-3, 1e6):
        mean_costs = unit * torch.tensor(costs, dtype=torch.float64)
        assert Supervisor().expensive_outcomes(mean_costs) == expected


def test_stated_expensive_objectives_are_believed() -> None:
    costs = torch.tensor([100.0, 1.0, 1.0])
    supervisor = Supervisor(expensive=[1])
    assert supervisor.expensive_outcomes(costs) == (False, True, False)
    assert Supervisor(expensive=()).expensive_outcomes(costs) == (False,) * 3


# --- bad input ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        ({"gate": "seen"}, "Expected gate in .*, but got 'seen'"),
        ({"schedule": "random"}, "Expected schedule in .*, but got 'random'"),
        ({"patience": -1}, "Expected patience >= 0, but got -1"),
        ({"lead": -1}, "Expected lead >= 0, but got -1"),
        ({"expensive": (-1,)}, r"objectives from 0, or None, but got \(-1,\)"),
        ({"beta": -0.5}, r"Expected a finite beta >= 0, but got -0\.5"),
        ({"beta": math.inf}, "Expected a finite beta >= 0, but got inf"),
        ({"beta": NAN}, "Expected a finite beta >= 0, but got nan"),
    ],
)
def test_impossible_switches_are_refused(
    switches: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputDataError, match=message):
        Supervisor(**switches)


@pytest.mark.parametrize(
    ("supervisor", "m", "message"),
    [
        (Supervisor(lead=2), 2, r"lead objective within 0\.\.1, but got 2"),
        (Supervisor(expensive=(0, 3)), 3, r"within 0\.\.2, but got \[0, 3\]"),
        (Supervisor(), 1, "at least two outcomes, but got 1"),
    ],
)
def test_objectives_that_do_not_exist_are_refused(
    supervisor: Supervisor, m: int, message: str
) -> None:
    with pytest.raises(InputDataError, match=message):
        supervisor.check(m)
