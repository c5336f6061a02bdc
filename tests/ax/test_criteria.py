"""When the initial designs end, and when their data are waited for."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

pytest.importorskip("ax")

from ax.api.client import Client
from ax.exceptions.core import DataRequiredError

from botorch_flexibo.ax import (
    Measurement,
    complete_measurement,
    fail_measurement,
    get_next_measurements,
    measurements,
)
from botorch_flexibo.ax.criteria import unobserved
from botorch_flexibo.ax.metadata import experiment_of, strategy_of
from tests.ax.helpers import (
    COSTS,
    KIND,
    attach,
    complete,
    initialized,
    new_client,
    quick_strategy,
    run,
    trial_count,
    values_of,
)

INITIAL, DECOUPLED = "initial designs", "decoupled"
BOTH = ("error", "energy")


def node_of(client: Client, measurement: Measurement) -> str | None:
    """The node that proposed a measurement."""
    trial = experiment_of(client).trials[measurement.trial_index]
    return trial.generator_runs[0]._generation_node_name


def test_all_initial_designs_come_at_once_and_then_their_data_are_awaited() -> None:
    client = new_client(n_init=4)
    initial = get_next_measurements(client, 20)
    assert [node_of(client, m) for m in initial] == [INITIAL] * 4
    for _ in range(2):
        with pytest.raises(DataRequiredError) as info:
            get_next_measurements(client, 3)
        assert str(info.value) == (
            "Expected data for ['energy', 'error'] before the next suggestion: all"
            " initial designs are proposed. Complete or fail a running measurement"
            " first."
        )
    assert trial_count(client) == 4


def test_the_plain_client_gets_the_same_trials_and_message() -> None:
    client = new_client(n_init=2)
    assert list(client.get_next_trials(max_trials=20)) == [0, 1]
    with pytest.raises(DataRequiredError, match="all initial designs are proposed"):
        client.get_next_trials(max_trials=1)


def test_one_value_of_each_objective_ends_the_wait() -> None:
    client = new_client(n_init=3)
    initial = get_next_measurements(client, 3)
    client.attach_data(initial[0].trial_index, {"error": 1.0})
    with pytest.raises(DataRequiredError, match=r"Expected data for \['energy'\]"):
        get_next_measurements(client)
    client.attach_data(initial[1].trial_index, {"energy": 1.0})
    (measurement,) = get_next_measurements(client)
    assert node_of(client, measurement) == DECOUPLED


def test_a_batch_is_whole_also_right_after_the_initial_designs() -> None:
    client = initialized(new_client())
    batch = get_next_measurements(client, 3)
    assert [node_of(client, m) for m in batch] == [DECOUPLED] * 3


def test_data_that_come_early_do_not_shorten_the_initial_designs() -> None:
    client = new_client(n_init=3)
    steps = run(client, 4)
    assert [node_of(client, m) for m in steps] == [INITIAL] * 3 + [DECOUPLED]


@pytest.mark.parametrize("end", ["fail", "abandon"])
def test_a_lost_initial_design_is_replaced(end: str) -> None:
    client = new_client(n_init=2)
    first, second = get_next_measurements(client, 2)
    if end == "fail":
        fail_measurement(client, first)
    else:
        client.mark_trial_abandoned(first.trial_index)
    (replacement,) = get_next_measurements(client, 5)
    assert node_of(client, replacement) == INITIAL
    assert replacement.objectives == BOTH
    complete(client, [second, replacement])
    assert node_of(client, run(client, 1)[0]) == DECOUPLED


def test_an_objective_outside_the_plan_gets_one_more_design() -> None:
    client = new_client(n_init=2, init_plan=[["energy"], ["energy"]])
    initial = get_next_measurements(client, 2)
    # Nothing that runs measures the error: no reason to wait for the energies.
    (further,) = get_next_measurements(client, 5)
    assert node_of(client, further) == INITIAL
    assert further.objectives == BOTH
    complete(client, [*initial, further])
    assert node_of(client, run(client, 1)[0]) == DECOUPLED


@pytest.mark.parametrize("with_data", [False, True])
def test_an_objective_whose_only_trial_failed_gets_another_one(
    with_data: bool,
) -> None:
    """Ax leaves data of failed trials out of the models."""
    client = new_client(n_init=2, init_plan=[["error", "energy"], ["error"]])
    first, second = get_next_measurements(client, 2)
    complete(client, [second])
    if with_data:
        client.attach_data(first.trial_index, {"energy": 1.0})
    fail_measurement(client, first)
    assert unobserved(experiment_of(client)) == {"energy"}
    done = run(client, 3)
    assert [node_of(client, m) for m in done] == [INITIAL, DECOUPLED, DECOUPLED]
    assert done[0].objectives == BOTH


def test_an_objective_told_as_nan_gets_another_design() -> None:
    """Ax users may say so that they did not measure it."""
    client = new_client(n_init=2)
    for measurement in get_next_measurements(client, 2):
        values = values_of(measurement) | {"energy": math.nan}
        client.complete_trial(measurement.trial_index, values)
    steps = run(client, 2)
    assert [node_of(client, m) for m in steps] == [INITIAL, DECOUPLED]
    assert steps[0].objectives == BOTH


def asked_in_vain(client: Client, metric: str, limit: int) -> list[Measurement]:
    """What is asked until nothing is, while measurements of a metric fail."""
    asked = []
    with pytest.raises(DataRequiredError, match="replacements of failed ones"):
        for _ in range(limit):
            (measurement,) = get_next_measurements(client)
            asked.append(measurement)
            if metric in measurement.objectives:
                fail_measurement(client, measurement)
            else:
                complete(client, [measurement])
    return asked


def test_a_metric_that_always_fails_is_asked_for_a_bounded_number_of_times() -> None:
    """Each entry of the plan once, the failed ones again, as many further designs."""
    plan = [["energy"], ["error"], ["error", "energy"], ["energy"]]
    client = new_client(n_init=4, init_plan=plan)
    asked = asked_in_vain(client, "error", 100)
    again = [plan[1], plan[2]]
    assert [list(m.objectives) for m in asked] == [*plan, *again, *[list(BOTH)] * 4]
    assert {node_of(client, m) for m in asked} == {INITIAL}
    failed = [m.parameters for m in asked if "error" in m.objectives]
    assert all(failed.count(parameters) == 1 for parameters in failed)
    with pytest.raises(DataRequiredError) as info:
        get_next_measurements(client, 3)
    assert str(info.value) == (
        "Expected data for ['error'], but none of 10 trials gave any, replacements of"
        " failed ones included. See how it is measured; to go on, attach a trial that"
        " has a value (client.attach_trial, then complete_measurement)."
    )


def test_the_plan_goes_on_once_the_failing_metric_has_a_value() -> None:
    client = new_client(n_init=2)
    assert len(asked_in_vain(client, "error", 100)) == 6
    client.attach_trial({"rate": 0.1, "width": 0.2})
    (attached,) = measurements(client)
    complete(client, [attached])
    assert node_of(client, run(client, 1)[0]) == DECOUPLED


def test_the_number_of_attempts_is_bounded_also_in_batches_and_after_a_reload(
    tmp_path: Path,
) -> None:
    file = str(tmp_path / "tuning.json")
    client = new_client(n_init=3)
    sizes = []
    with pytest.raises(DataRequiredError, match="but none of 9 trials gave any"):
        for _ in range(100):
            batch = get_next_measurements(client, 5)
            sizes.append(len(batch))
            for measurement in batch:
                fail_measurement(client, measurement)
            client.save_to_json_file(file)
            client = Client.load_from_json_file(file)
    assert sizes == [3, 3, 1, 1, 1]


def test_a_finite_space_in_which_everything_fails_ends_too() -> None:
    client = new_client(KIND, n_init=5)
    asked = asked_in_vain(client, "error", 100)
    assert 6 <= len(asked) <= 15


def test_a_failed_entry_is_replaced_at_the_end_by_one_with_its_metrics() -> None:
    plan = [["error", "energy"], ["energy"], ["error"]]
    client = new_client(n_init=3, init_plan=plan)
    first, second = get_next_measurements(client, 2)
    fail_measurement(client, second)
    third, replacement = get_next_measurements(client, 5)
    assert [list(third.objectives), list(replacement.objectives)] == [plan[2], plan[1]]
    assert replacement.parameters != second.parameters
    fail_measurement(client, third)
    fail_measurement(client, replacement)  # not once more
    (last,) = get_next_measurements(client, 5)
    assert list(last.objectives) == plan[2]
    complete(client, [first, last])
    assert node_of(client, run(client, 1)[0]) == DECOUPLED


def test_a_trial_of_the_user_replaces_a_failed_design() -> None:
    client = new_client(n_init=2)
    first, second = get_next_measurements(client, 2)
    fail_measurement(client, second)
    attach(client, {"rate": 0.1, "width": 0.2}, "energy")
    complete(client, [first])
    assert node_of(client, run(client, 1)[0]) == DECOUPLED


def test_earlier_trials_count_as_initial_designs() -> None:
    client = new_client(n_init=3)
    attach(client, {"rate": 0.1, "width": 0.2}, *BOTH)
    attach(client, {"rate": 0.2, "width": 0.3}, "energy")
    initial = get_next_measurements(client, 5)
    assert [node_of(client, m) for m in initial] == [INITIAL]
    (measurement,) = get_next_measurements(client)  # both objectives have data
    assert node_of(client, measurement) == DECOUPLED


def test_a_metric_that_earlier_trials_lack_is_measured_first() -> None:
    client = new_client(n_init=3)
    for i in range(5):
        attach(client, {"rate": 0.1, "width": i / 8}, "error")
    first, second = run(client, 2)
    assert (node_of(client, first), first.objectives) == (INITIAL, BOTH)
    assert node_of(client, second) == DECOUPLED


def test_an_objective_added_later_is_measured_first() -> None:
    client = initialized(new_client())
    run(client, 1)
    client.configure_optimization("-error, -energy, -size")
    client.set_generation_strategy(quick_strategy({**COSTS, "size": 1.0}))
    first, second = run(client, 2)
    assert first.objectives == ("error", "energy", "size")
    assert node_of(client, first) == INITIAL
    assert node_of(client, second) == DECOUPLED


def test_a_small_space_has_fewer_initial_designs() -> None:
    client = new_client(
        KIND, n_init=5, init_plan=[["error", "energy"], *[["energy"]] * 4]
    )
    initial = get_next_measurements(client, 5)
    assert sorted(m.parameters["kind"] for m in initial) == ["conv", "dense", "shift"]
    complete(client, initial)
    rest = get_next_measurements(client, 5)
    assert [node_of(client, m) for m in rest] == [DECOUPLED] * 2
    assert [m.objectives for m in rest] == [("error",)] * 2


def test_a_running_trial_of_the_user_is_waited_for() -> None:
    client = new_client(n_init=1)
    index = client.attach_trial({"rate": 0.1, "width": 0.2})
    with pytest.raises(DataRequiredError):
        get_next_measurements(client)
    (waiting,) = measurements(client)
    assert waiting.trial_index == index
    complete_measurement(client, waiting, values_of(waiting))
    assert node_of(client, run(client, 1)[0]) == DECOUPLED


def test_the_strategy_says_where_it_is() -> None:
    client = initialized(new_client())
    assert strategy_of(client).current_node_name == INITIAL
    get_next_measurements(client)
    assert strategy_of(client).current_node_name == DECOUPLED
