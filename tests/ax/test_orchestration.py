"""``Client.run_trials`` with single objectives. Jobs are processes, data are files."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ax")

from ax.api.client import Client
from ax.core.arm import Arm
from ax.core.trial_status import TrialStatus
from ax.exceptions.core import UnsupportedError as AxUnsupportedError
from ax.orchestration.orchestrator import FailureRateExceededError, Orchestrator
from ax.orchestration.orchestrator_options import OrchestratorOptions
from botorch.exceptions.errors import InputDataError, UnsupportedError

from botorch_flexibo.ax import objectives_for, spent
from botorch_flexibo.ax.metadata import Payment, experiment_of, payment_of
from botorch_flexibo.ax.orchestration import DecoupledMetric, DecoupledRunner
from botorch_flexibo.ax.storage import (
    load_experiment,
    release_experiment,
    save_experiment,
)
from tests.ax import cheap_problem
from tests.ax.helpers import COSTS, new_client

SINGLES = [["error", "energy"], ["energy"], ["error"]]
JOBS: list[subprocess.Popen[bytes]] = []
# Which metric of which trial was fetched.
FETCHED: list[tuple[int, str]] = []


class JobRunner(DecoupledRunner):
    """Starts a process for each trial, which writes what it measured to a file.

    `troubles` says what is wrong with some trials: "fail" (the job says so), "start"
    and "poll" (an exception), once for each attempt.
    """

    def __init__(
        self,
        folder: str,
        retries: int = 0,
        troubles: Mapping[str, list[str]] | None = None,
        costs: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(retries=retries)
        self.folder = folder
        self.troubles = dict(troubles or {})
        self.costs = costs
        self.attempts: Counter[int] = Counter()

    def run_measurement(
        self,
        trial_index: int,
        parameters: Mapping[str, Any],
        objectives: tuple[str, ...],
    ) -> dict[str, Any]:
        number = self.attempts[trial_index]
        self.attempts[trial_index] += 1
        troubles = self.troubles.get(str(trial_index), [])
        trouble = troubles[number] if number < len(troubles) else ""
        if trouble == "start":
            raise ConnectionError("No answer from the queue.")
        request: dict[str, Any] = {
            "parameters": dict(parameters),
            "objectives": list(objectives),
            "folder": self.folder,
        }
        if trouble == "fail":
            request["fail"] = "out of memory"
        output = str(Path(self.folder, f"{trial_index}-{number}.json"))
        command = [sys.executable, cheap_problem.__file__, json.dumps(request), output]
        JOBS.append(subprocess.Popen(command))
        return {"output": output, "poll": trouble == "poll"}

    def poll_trial(
        self, trial_index: int, trial_metadata: Mapping[str, Any]
    ) -> TrialStatus:
        if trial_metadata["poll"]:
            raise ConnectionError("The queue has lost the job.")
        output = Path(trial_metadata["output"])
        if not output.exists():
            return TrialStatus.RUNNING
        failed = "failed" in json.loads(output.read_text())
        return TrialStatus.FAILED if failed else TrialStatus.COMPLETED

    def payment(
        self, trial_index: int, trial_metadata: Mapping[str, Any]
    ) -> Payment | None:
        if self.costs is None:
            return None
        names = trial_metadata["objectives"]
        return Payment({name: self.costs[name] for name in names}, setup=2.0)


class FileMetric(DecoupledMetric):
    """Reads the file of a job; `missing` are trials whose value it does not find."""

    def __init__(self, name: str, missing: list[int] | None = None) -> None:
        super().__init__(name)
        self.missing = missing or []

    def fetch(
        self, trial_index: int, trial_metadata: Mapping[str, Any]
    ) -> tuple[int, float | tuple[float, float]]:
        FETCHED.append((trial_index, self.name))
        values = json.loads(Path(trial_metadata["output"]).read_text())
        if trial_index in self.missing:
            return 0, float("nan")
        return 0, values[self.name]


@pytest.fixture(autouse=True)
def jobs() -> Iterator[None]:
    """No job outlives its test."""
    FETCHED.clear()
    yield
    while JOBS:
        assert JOBS.pop().wait(timeout=60) == 0


def configured(
    folder: Path, missing: Mapping[str, list[int]] | None = None, **options: Any
) -> Client:
    """A client with the runner and the metrics; each objective alone is measured."""
    client = new_client(n_init=3, init_plan=SINGLES, costs=COSTS)
    client.configure_runner(JobRunner(str(folder), **options))
    lost = missing or {}
    client.configure_metrics([FileMetric(n, lost.get(n)) for n in COSTS])
    return client


def orchestrate(client: Client, trials: int, *, parallelism: int = 2) -> None:
    """Like ``client.run_trials``, which waits a second for each trial."""
    options = OrchestratorOptions(
        max_pending_trials=parallelism,
        min_seconds_before_poll=0,
        init_seconds_between_polls=0,
        tolerated_trial_failure_rate=0.9,
    )
    strategy = client._generation_strategy
    Orchestrator(experiment_of(client), strategy, options).run_n_trials(trials)


def statuses(client: Client) -> list[str]:
    """The status of each trial."""
    return [trial.status.name for trial in experiment_of(client).trials.values()]


def data_of(client: Client) -> dict[tuple[int, str], float]:
    """All data, by trial and metric."""
    frame = experiment_of(client).lookup_data().df
    columns = (frame[name] for name in ("trial_index", "metric_name", "mean"))
    return {(int(i), name): mean for i, name, mean in zip(*columns, strict=True)}


def asked_for(client: Client) -> list[tuple[int, str]]:
    """What each trial was to measure."""
    trials = experiment_of(client).trials
    return [(i, name) for i in trials for name in objectives_for(client, i)]


def expected_data(client: Client, *, without: tuple = ()) -> dict:
    """The true values of what was asked for."""
    trials = experiment_of(client).trials
    return {
        (i, name): pytest.approx(
            cheap_problem.value(name, trials[i].arms[0].parameters), rel=1e-12
        )
        for i, name in asked_for(client)
        if i not in without and (i, name) not in without
    }


def test_run_trials_measures_only_what_was_asked_also_after_a_reload(
    tmp_path: Path,
) -> None:
    client = configured(tmp_path)
    client.run_trials(3, parallelism=2, initial_seconds_between_polls=0)
    assert [objectives_for(client, i) for i in range(3)] == [tuple(s) for s in SINGLES]
    path = tmp_path / "tuning.json"
    save_experiment(client, path)
    release_experiment(path)
    client = load_experiment(path)
    client.run_trials(2, parallelism=2, initial_seconds_between_polls=0)
    assert statuses(client) == ["COMPLETED"] * 5
    assert client._generation_strategy.current_node_name == "decoupled"
    assert data_of(client) == expected_data(client)
    # Nothing else was measured or fetched, and nothing twice.
    measured = [set(r.objectives) for r in cheap_problem.records(tmp_path)]
    asked = [set(objectives_for(client, i)) for i in range(5)]
    assert sorted(map(sorted, measured)) == sorted(map(sorted, asked))
    assert sorted(FETCHED) == sorted(asked_for(client))
    # What is shown of a run.
    assert client.summarize()["objectives"].tolist() == [list(a) for a in SINGLES] + [
        list(objectives_for(client, i)) for i in (3, 4)
    ]


def test_no_more_run_at_once_than_asked(tmp_path: Path) -> None:
    client = configured(tmp_path)
    orchestrate(client, 6, parallelism=2)
    assert statuses(client) == ["COMPLETED"] * 6
    found = cheap_problem.records(tmp_path)
    assert len(found) == 6
    assert cheap_problem.most_at_once(found) <= 2


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ("fail", ""),
        ("start", "ConnectionError: No answer from the queue."),
        ("poll", "ConnectionError: The queue has lost the job."),
    ],
)
def test_a_failure_fails_one_trial_and_its_cost_counts(
    tmp_path: Path, trouble: str, reason: str
) -> None:
    client = configured(tmp_path, troubles={"1": [trouble]})
    orchestrate(client, 4)
    assert statuses(client) == ["COMPLETED", "FAILED", "COMPLETED", "COMPLETED"]
    assert data_of(client) == expected_data(client, without=(1,))
    trial = experiment_of(client).trials[1]
    assert (trial.status_reason or "").startswith(reason)
    assert experiment_of(client).runner.attempts[1] == 1  # pyright: ignore
    believed = {"error": 20.0, "energy": 1.0}
    assert spent(client) == sum(believed[name] for _, name in asked_for(client))


@pytest.mark.parametrize(
    ("troubles", "attempts", "status"),
    [
        (["fail", "start", "poll"], 4, "COMPLETED"),
        (["fail", "start", "poll", "fail"], 4, "FAILED"),
    ],
)
def test_a_failure_is_tried_again_so_often(
    tmp_path: Path, troubles: list[str], attempts: int, status: str
) -> None:
    client = configured(tmp_path, retries=3, troubles={"1": troubles})
    orchestrate(client, 3)
    assert statuses(client) == ["COMPLETED", status, "COMPLETED"]
    runner = experiment_of(client).runner
    assert dict(runner.attempts) == {0: 1, 1: attempts, 2: 1}  # pyright: ignore
    lost = (1,) if status == "FAILED" else ()
    assert data_of(client) == expected_data(client, without=lost)


def test_too_many_failures_end_the_run(tmp_path: Path) -> None:
    client = configured(tmp_path, troubles={str(i): ["fail"] for i in range(9)})
    with pytest.raises(FailureRateExceededError):
        orchestrate(client, 8)
    assert set(statuses(client)) == {"FAILED"}


def test_a_value_that_cannot_be_fetched_costs_no_other(tmp_path: Path) -> None:
    # Trial 0 measures both, trial 2 the error alone.
    client = configured(tmp_path, missing={"error": [0, 2]})
    orchestrate(client, 4)
    assert statuses(client) == ["COMPLETED", "COMPLETED", "FAILED", "COMPLETED"]
    lost = ((0, "error"), 2)
    assert data_of(client) == expected_data(client, without=lost)
    reason = experiment_of(client).trials[2].status_reason or ""
    assert "Expected a finite number for 'error'" in reason


def test_told_costs_are_paid_and_known_as_told(tmp_path: Path) -> None:
    client = configured(
        tmp_path, costs={"error": 5.0, "energy": 0.25}, troubles={"2": ["fail"]}
    )
    orchestrate(client, 3)
    payments = [payment_of(trial) for trial in experiment_of(client).trials.values()]
    assert payments == [
        Payment({"error": 5.0, "energy": 0.25}, 2.0, ("error", "energy")),
        Payment({"energy": 0.25}, 2.0, ("energy",)),
        Payment({"error": 5.0}, 2.0, ("error",)),
    ]
    assert spent(client) == 3 * 2.0 + 2 * 5.25


@pytest.mark.parametrize("cost", [-1.0, float("nan"), "much"])
def test_a_wrong_cost_costs_no_value(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, cost: Any
) -> None:
    client = configured(tmp_path, costs={"error": cost, "energy": 1.0})
    with caplog.at_level(logging.WARNING, "botorch_flexibo.ax.orchestration"):
        orchestrate(client, 1)
    assert data_of(client) == expected_data(client)
    assert spent(client) == 21.0
    assert "cost of trial 0 is unknown; the believed one counts" in caplog.text


def test_tracking_metrics_are_always_fetched(tmp_path: Path) -> None:
    class IndexMetric(DecoupledMetric):
        def fetch(
            self, trial_index: int, trial_metadata: Mapping[str, Any]
        ) -> tuple[int, float | tuple[float, float]]:
            return 0, trial_index  # an int is a number too

    client = configured(tmp_path)
    client.configure_metrics([IndexMetric("index")])
    orchestrate(client, 3)
    found = data_of(client)
    assert {key: v for key, v in found.items() if key[1] == "index"} == {
        (i, "index"): i for i in range(3)
    }
    assert len(found) == 3 + len(asked_for(client))


def test_metadata_that_cannot_be_stored_end_the_run_after_one_start(
    tmp_path: Path,
) -> None:
    class SetRunner(JobRunner):
        def run_measurement(
            self,
            trial_index: int,
            parameters: Mapping[str, Any],
            objectives: tuple[str, ...],
        ) -> dict[str, Any]:
            self.attempts[trial_index] += 1
            return {"objectives": set(objectives)}

    client = configured(tmp_path)
    runner = SetRunner(str(tmp_path), retries=5)
    client.configure_runner(runner)
    with pytest.raises(AxUnsupportedError, match="Expected run_measurement to return"):
        orchestrate(client, 3)
    assert dict(runner.attempts) == {0: 1}


def test_a_class_that_would_hide_one_of_ax_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="a name that Ax's storage does not"):
        type("SyntheticRunner", (DecoupledRunner,), {})
    with pytest.raises(UnsupportedError, match="a name that Ax's storage does not"):
        type("Metric", (DecoupledMetric,), {})


def test_a_measurement_needs_its_objectives(tmp_path: Path) -> None:
    runner = JobRunner(str(tmp_path))
    with pytest.raises(UnsupportedError, match="Expected a trial"):
        runner.run_trial(0, {"width": 0.5})
    client = configured(tmp_path)
    batch = experiment_of(client).new_batch_trial()
    batch.add_arms_and_weights(
        [Arm({"rate": 0.5, "width": w}) for w in (0.25, 0.5)], weights=[1.0, 1.0]
    )
    with pytest.raises(AxUnsupportedError, match="Expected trials with one arm"):
        runner.run(batch)


def test_negative_retries_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputDataError, match="Expected retries >= 0"):
        JobRunner(str(tmp_path), retries=-1)
