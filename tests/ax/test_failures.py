"""What failed is not asked for for ever: on real clients, also after reloading."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("ax")

import torch
from ax.api.client import Client
from botorch.exceptions.errors import CandidateGenerationError, InputDataError

from botorch_flexibo.ax import (
    Measurement,
    complete_measurement,
    fail_measurement,
    flexibo_generation_strategy,
    get_next_measurements,
    load_experiment,
    save_experiment,
)
from botorch_flexibo.ax.generator import DecoupledGenerator
from botorch_flexibo.failures import TolerateFailures
from botorch_flexibo.models import UnreliableCostModel
from tests.ax.helpers import (
    DEPTH,
    KIND,
    attach,
    bare_client,
    initialized,
    new_client,
    next_state,
    values_of,
)

CHEAP = {"error": 1.0, "energy": 1.0}
Works = Callable[[Measurement], bool]


def error_is_broken(measurement: Measurement) -> bool:
    return "error" not in measurement.objectives


def never(measurement: Measurement) -> bool:
    return False


def ask_and_tell(client: Client, steps: int, works: Works) -> list[Measurement]:
    """Ask so often, and complete or fail what is asked for."""
    asked = []
    for _ in range(steps):
        (measurement,) = get_next_measurements(client)
        if works(measurement):
            complete_measurement(client, measurement, values_of(measurement))
        else:
            fail_measurement(client, measurement, reason="broken")
        asked.append(measurement)
    return asked


def pairs(asked: list[Measurement]) -> Counter[tuple[str, str]]:
    """How often each metric of each arm was asked for."""
    return Counter((m.arm_name, name) for m in asked for name in m.objectives)


@pytest.mark.filterwarnings("ignore:.* designs in a row:RuntimeWarning")
@pytest.mark.parametrize("acquisition", ["flexibo", "lookahead"])
def test_an_objective_that_fails_for_ever_is_closed_and_the_other_goes_on(
    acquisition: str,
) -> None:
    client = new_client(
        costs=CHEAP,
        acquisition=acquisition,
        num_designs=16,
        failures=TolerateFailures(max_in_a_row=2),
    )
    initialized(client)
    asked = ask_and_tell(client, 12, error_is_broken)
    failed = [k for k, m in enumerate(asked) if "error" in m.objectives]
    assert len({asked[k].arm_name for k in failed}) == 2
    assert len(failed) <= 4
    later = asked[failed[-1] + 1 :]
    assert len(later) >= 4
    assert all(m.objectives == ("energy",) for m in later)


@pytest.mark.filterwarnings("ignore:.* designs in a row:RuntimeWarning")
def test_agents_go_on_without_an_objective_that_is_closed() -> None:
    client = bare_client(KIND, DEPTH)
    client.set_generation_strategy(
        flexibo_generation_strategy(
            CHEAP,
            n_init=3,
            acquisition="pabo",
            failures=TolerateFailures(max_in_a_row=2),
        )
    )
    initialized(client)
    asked = []
    for _ in range(6):
        (measurement,) = get_next_measurements(client)
        asked.append(measurement.objectives)
        values = values_of(measurement)
        values.pop("error", None)  # an executor raised an error for it alone
        client.complete_trial(measurement.trial_index, values)
    assert asked[:2] == [("error", "energy")] * 2
    assert asked[2:] == [("energy",)] * 4


@pytest.mark.parametrize("max_attempts", [1, 2])
def test_no_metric_of_a_design_is_asked_for_more_often_than_allowed(
    max_attempts: int,
) -> None:
    client = new_client(
        KIND,
        DEPTH,
        costs=CHEAP,
        failures=TolerateFailures(max_attempts=max_attempts, max_in_a_row=100),
    )
    initialized(client)

    def works(measurement: Measurement) -> bool:
        deep = float(measurement.parameters["depth"]) >= 3
        return not (deep and "error" in measurement.objectives)

    asked = ask_and_tell(client, 12, works)
    failed = pairs([m for m in asked if not works(m)])
    assert max(failed.values()) == max_attempts
    # What worked is not asked for again either.
    assert max(pairs([m for m in asked if works(m)]).values()) == 1


def test_failures_raise_the_believed_cost() -> None:
    client = new_client(KIND, DEPTH, costs=CHEAP)
    initialized(client)
    assert next_state(client).failures is None
    ask_and_tell(client, 6, error_is_broken)
    state = next_state(client)
    assert isinstance(state.cost_model, UnreliableCostModel)
    trials = client.summarize()
    failed = int((trials["trial_status"] == "FAILED").sum())
    assert failed > 0
    factor = (3 + failed + 1) / (3 + 1)
    assert state.outcome_costs(state.X[:1]).tolist() == [[factor, 1.0]]


def test_a_warning_names_an_objective_that_is_closed() -> None:
    client = new_client(costs=CHEAP, failures=TolerateFailures(max_in_a_row=2))
    initialized(client)
    # Here warnings are errors.
    with pytest.raises(RuntimeWarning, match=r"^'error' failed at 2 designs in a row"):
        ask_and_tell(client, 12, error_is_broken)
    attach(client, {"rate": 0.5, "width": 0.25}, "error")
    assert len(ask_and_tell(client, 1, lambda _: True)) == 1


@pytest.mark.filterwarnings("ignore:.* designs in a row:RuntimeWarning")
def test_when_everything_is_closed_the_reason_is_told() -> None:
    client = new_client(
        costs=CHEAP,
        num_designs=16,
        failures=TolerateFailures(max_attempts=1, max_in_a_row=1),
    )
    initialized(client)
    ask_and_tell(client, 2, never)
    with pytest.raises(CandidateGenerationError, match="closed after failures"):
        get_next_measurements(client)


@pytest.mark.filterwarnings("ignore:.* designs in a row:RuntimeWarning")
def test_a_value_opens_an_objective_again() -> None:
    client = new_client(
        costs=CHEAP,
        num_designs=16,
        failures=TolerateFailures(max_attempts=1, max_in_a_row=1),
    )
    initialized(client)
    ask_and_tell(client, 2, never)
    attach(client, {"rate": 0.5, "width": 0.25}, "error", "energy")
    assert len(ask_and_tell(client, 2, lambda measurement: True)) == 2


def test_what_failed_of_a_half_measured_trial_is_known() -> None:
    client = new_client(KIND, DEPTH, costs=CHEAP)
    asked = get_next_measurements(client, 3)
    for measurement in asked[:2]:
        complete_measurement(client, measurement, values_of(measurement))
    # As executors do when one of two objectives raised an error.
    value = values_of(asked[2])["energy"]
    client.complete_trial(asked[2].trial_index, {"energy": value})
    failures = next_state(client).failures
    assert failures is not None
    assert failures.counts.tolist() == [[1, 0]]
    (row,) = failures.X
    state = next_state(client)
    known = state.known_outcomes(row.unsqueeze(0))[0]
    assert known.isnan().tolist() == [True, False]


def test_an_abandoned_trial_did_not_fail() -> None:
    client = new_client(KIND, DEPTH, costs=CHEAP)
    initialized(client)
    (measurement,) = get_next_measurements(client)
    client.mark_trial_abandoned(measurement.trial_index)
    assert next_state(client).failures is None


def test_a_reloaded_experiment_remembers_its_failures(tmp_path: Path) -> None:
    client = new_client(
        KIND,
        DEPTH,
        costs=CHEAP,
        failures=TolerateFailures(max_attempts=3, max_in_a_row=7),
    )
    initialized(client)
    ask_and_tell(client, 5, error_is_broken)
    path = save_experiment(client, tmp_path / "tuning.json")
    before, after = (
        next_state(client).failures,
        next_state(load_experiment(path)).failures,
    )
    assert before is not None
    assert after is not None
    assert torch.equal(before.X, after.X)
    assert torch.equal(before.counts, after.counts)
    assert (before.max_attempts, after.max_attempts) == (3, 3)


def test_a_strategy_of_an_earlier_version_has_the_default_limits() -> None:
    generator = DecoupledGenerator(acquisition="flexibo")
    assert generator.tolerance == TolerateFailures()
    with pytest.raises(InputDataError, match="max_attempts"):
        DecoupledGenerator(acquisition="flexibo", failures={"max_attempts": 0})
