"""What was asked of each trial, and what was paid for it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import pytest

pytest.importorskip("ax")

from ax.api.client import Client
from botorch.exceptions.errors import InputDataError, UnsupportedError
from hypothesis import given
from hypothesis import strategies as st

from botorch_flexibo.ax import get_next_measurements
from botorch_flexibo.ax._pending import pending
from botorch_flexibo.ax.metadata import (
    Payment,
    Request,
    experiment_of,
    generator_arguments,
    is_valid,
    measured_metrics,
    objective_names,
    objective_signs,
    payment_of,
    record_payment,
    request_of,
    strategy_arguments,
    strategy_of,
    targets,
    trial_of,
)
from tests.ax.helpers import COSTS, attach, bare_client, new_client

POINT = {"rate": 0.5, "width": 0.5}
costs = st.one_of(st.none(), st.floats(0.0, 1e6))


@pytest.fixture
def mixed() -> Client:
    """Trials of two strategies with all statuses, some data and some payments.

    0 and 1: the user's own, running and complete. 2 to 5: asked by a plan; completed,
    half measured, failed, running. 6: abandoned.
    """
    client = new_client(
        n_init=6, init_plan=[["error", "energy"]] * 3 + [["energy"]] * 3
    )
    client.attach_trial(POINT)
    attach(client, {"rate": 0.25, "width": 0.5}, "error")
    asked = get_next_measurements(client, 4)
    assert [m.trial_index for m in asked] == [2, 3, 4, 5]
    client.complete_trial(2, {"error": 1.0, "energy": 2.0})
    client.attach_data(3, {"error": 3.0})
    client.mark_trial_failed(4)
    client.attach_trial({"rate": 0.75, "width": 0.5})
    client.mark_trial_abandoned(6)
    return client


@given(
    names=st.lists(st.text(), unique=True),
    cost=costs,
    value=st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)),
    entry=st.one_of(st.none(), st.integers(0)),
)
def test_requests_survive_storage(
    names: list[str], cost: float | None, value: float | None, entry: int | None
) -> None:
    request = Request(tuple(names), cost, value, entry=entry)
    stored = json.loads(json.dumps(request.to_metadata()))
    assert Request.from_metadata({**stored, "trial_completion_timestamp": 1}) == request


@pytest.mark.parametrize("metadata", [None, {}, {"other": {"objectives": ["a"]}}])
def test_arms_of_other_origin_have_no_request(metadata: dict | None) -> None:
    assert Request.from_metadata(metadata) is None


def test_payments_are_kept_with_the_trial_beside_what_others_keep(
    mixed: Client,
) -> None:
    trial = trial_of(experiment_of(mixed), 5)
    trial.update_run_metadata({"job": 17})
    payment = Payment({"error": 2.0, "energy": 0.5}, setup=3.0, told=("energy",))
    assert payment.total == 5.5
    record_payment(trial, payment)
    assert payment_of(trial) == payment
    assert trial.run_metadata["job"] == 17
    json.dumps(trial.run_metadata)
    assert payment_of(trial_of(experiment_of(mixed), 4)) is None


def test_targets_are_what_was_asked_or_everything(mixed: Client) -> None:
    experiment = experiment_of(mixed)
    trials = experiment.trials.values()
    asked = [targets(experiment, trial, trial.arms[0]) for trial in trials]
    everything = ("error", "energy")
    assert asked == [
        everything,
        everything,
        everything,
        ("energy",),  # two valid trials were there before: the fourth of the plan
        ("energy",),
        ("energy",),
        everything,
    ]
    requests = [request_of(trial, trial.arms[0]) for trial in trials]
    assert [request is None for request in requests] == [True] * 2 + [False] * 4 + [
        True
    ]


def test_measured_are_metrics_with_a_value(mixed: Client) -> None:
    mixed.attach_data(5, {"energy": math.nan})
    experiment = experiment_of(mixed)
    measured = measured_metrics(experiment)
    by_trial = {index: names for (index, _), names in measured.items()}
    assert by_trial == {1: {"error"}, 2: {"error", "energy"}, 3: {"error"}}
    for index, arm_name in measured:
        assert experiment.trials[index].arms[0].name == arm_name
    assert measured_metrics(experiment_of(new_client())) == {}


def test_pending_is_what_runs_without_a_value(mixed: Client) -> None:
    waiting = [(item.trial.index, item.objectives) for item in pending_of(mixed)]
    assert waiting == [(0, ("error", "energy")), (3, ("energy",)), (5, ("energy",))]
    mixed.attach_data(0, {"energy": 1.0})
    assert pending_of(mixed)[0].objectives == ("error",)
    mixed.attach_data(3, {"energy": 1.0})
    assert [item.trial.index for item in pending_of(mixed)] == [0, 5]


def pending_of(client: Client) -> list:
    return list(pending(experiment_of(client)))


def test_failed_and_abandoned_trials_are_not_valid(mixed: Client) -> None:
    trials = experiment_of(mixed).trials.values()
    valid = {trial.status for trial in trials if is_valid(trial)}
    invalid = {trial.status for trial in trials} - valid
    assert {status.name for status in valid} == {"RUNNING", "COMPLETED"}
    assert {status.name for status in invalid} == {"FAILED", "ABANDONED"}


@pytest.mark.parametrize("index", [7, -1, 10**9])
def test_a_trial_that_does_not_exist_is_refused(mixed: Client, index: int) -> None:
    assert trial_of(experiment_of(mixed), 6).index == 6
    with pytest.raises(InputDataError) as info:
        trial_of(experiment_of(mixed), index)
    assert str(info.value) == (
        f"Expected the index of a trial of the experiment (it has 7), but got {index}."
        " Pass that of a measurement."
    )


@pytest.mark.parametrize(
    ("objective", "names", "signs"),
    [
        ("-error, -energy", ("error", "energy"), (-1, -1)),
        ("size, -accuracy, energy", ("size", "accuracy", "energy"), (1, -1, 1)),
        ("-0.5*error, 2*energy", ("error", "energy"), (-1, 1)),
        ("val.loss, -train.loss", ("val.loss", "train.loss"), (1, -1)),
    ],
)
def test_objectives_keep_their_order_and_direction(
    objective: str, names: tuple[str, ...], signs: tuple[int, ...]
) -> None:
    experiment = experiment_of(bare_client(objective=objective))
    assert objective_names(experiment) == names
    assert objective_signs(experiment) == dict(zip(names, signs, strict=True))


@pytest.mark.parametrize(
    "objective", ["error + energy, size", "size, 2*error - energy"]
)
def test_scalarised_objectives_have_no_metric_each(objective: str) -> None:
    with pytest.raises(UnsupportedError, match="Expected one metric per objective"):
        objective_names(experiment_of(bare_client(objective=objective)))


def test_arguments_are_those_of_our_strategy() -> None:
    client = new_client(seed=7, fidelity={"width": 1.0}, acquisition="lookahead")
    arguments = strategy_arguments(client)
    assert arguments == generator_arguments(strategy_of(client))
    assert arguments["seed"] == 7
    assert arguments["fidelity"] == {"width": 1.0}
    assert arguments["costs"]["run"] == COSTS


@pytest.mark.parametrize("read", [strategy_arguments, get_next_measurements])
def test_other_strategies_are_refused(read: Callable[[Client], object]) -> None:
    client = bare_client()
    name = strategy_of(client).name
    with pytest.raises(UnsupportedError) as info:
        read(client)
    assert str(info.value) == (
        f"Expected a strategy of this package, but got {name!r}. Call"
        " client.set_generation_strategy(flexibo_generation_strategy(costs))."
    )
