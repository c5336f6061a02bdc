"""Measurements on executors: real processes, threads and a real Dask cluster."""

from __future__ import annotations

import math
import multiprocessing.forkserver
import os
import random
import signal
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("ax")

from ax.api.client import Client
from ax.exceptions.core import UnsupportedError as AxUnsupportedError
from ax.orchestration.orchestrator import Orchestrator
from ax.orchestration.orchestrator_options import OrchestratorOptions
from botorch.exceptions.errors import InputDataError

from botorch_flexibo.ax import (
    Measurement,
    get_next_measurements,
    measurements,
    objectives_for,
    spent,
)
from botorch_flexibo.ax._execution import as_result
from botorch_flexibo.ax._loop import MeasurementLoop
from botorch_flexibo.ax._tasks import Dispatcher, Job
from botorch_flexibo.ax.executors import (
    ExecutionOptions,
    IsolatedProcessPool,
    MeasurementReport,
    MeasurementResult,
    configure_executor,
    run_measurements,
)
from botorch_flexibo.ax.metadata import experiment_of, payment_of
from botorch_flexibo.ax.storage import (
    load_experiment,
    release_experiment,
    save_experiment,
)
from botorch_flexibo.exceptions import InvalidCostError
from tests.ax import cheap_problem
from tests.ax.cheap_problem import evaluate, most_at_once, records, traced, value
from tests.ax.helpers import COSTS, new_client

SINGLES = [["error", "energy"], ["energy"], ["error"]]
CONTINUE = ExecutionOptions(on_error="continue")


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def statuses(client: Client) -> list[str]:
    """The status of each trial."""
    return [trial.status.name for trial in experiment_of(client).trials.values()]


def parameters_of(client: Client, index: int) -> Mapping[str, Any]:
    """The parameters of a trial."""
    return experiment_of(client).trials[index].arms[0].parameters


def asked_for(client: Client) -> list[tuple[float, tuple[str, ...]]]:
    """What each trial was to measure, by its design."""
    trials = experiment_of(client).trials
    return [
        (float(parameters_of(client, i)["width"]), objectives_for(client, i))
        for i in trials
    ]


def assert_data_are_right(client: Client) -> None:
    """What completed trials were asked for has its value, and nothing else has one."""
    frame = experiment_of(client).lookup_data().df
    columns = (frame[name] for name in ("trial_index", "metric_name", "mean"))
    found = {(int(i), name): mean for i, name, mean in zip(*columns, strict=True)}
    assert found == {
        (i, name): pytest.approx(value(name, parameters_of(client, i)), rel=1e-12)
        for i, trial in experiment_of(client).trials.items()
        if trial.status.is_completed
        for name in objectives_for(client, i)
    }


def assert_all_was_evaluated_once(client: Client, folder: Path) -> None:
    """The workers saw exactly what the trials ask for."""
    seen = [(record.width, record.objectives) for record in records(folder)]
    assert sorted(seen) == sorted(asked_for(client))


# The loop by itself, without Ax.


class ListFeeder:
    """Feeds numbers, and keeps what is told."""

    def __init__(self, requests: Sequence[tuple[str, ...]]) -> None:
        self._requests = list(enumerate(requests))
        self.told: list[Job] = []

    @property
    def is_finished(self) -> bool:
        return not self._requests

    def ask(self, n: int, *, is_idle: bool) -> list[Measurement]:
        asked, self._requests = self._requests[:n], self._requests[n:]
        return [
            Measurement(index, f"{index}_0", {"index": index}, names)
            for index, names in asked
        ]

    def tell(self, job: Job) -> MeasurementReport:
        self.told.append(job)
        errors = {n: t.error for t in job.tasks if t.error for n in t.objectives}
        values = {
            k: v for t in job.tasks if t.result for k, v in t.result.values.items()
        }
        names = tuple(n for t in job.tasks for n in t.objectives)
        return MeasurementReport(job.index, job.parameters, names, values, errors)


class Recorder:
    """Counts evaluations, and fails as often as it is told to."""

    def __init__(self, failures: Mapping[int, int]) -> None:
        self.failures = failures
        self.attempts: Counter[tuple[int, str]] = Counter()
        self.most = 0
        self._running: Counter[int] = Counter()
        self._lock = threading.Lock()

    def __call__(
        self, parameters: dict[str, Any], objectives: tuple[str, ...]
    ) -> dict[str, float]:
        index = parameters["index"]
        with self._lock:
            self._running[index] += 1
            self.most = max(self.most, len(+self._running))
            self.attempts.update((index, name) for name in objectives)
            attempt = self.attempts[index, objectives[0]]
        try:
            if attempt <= self.failures.get(index, 0):
                raise OSError(f"Attempt {attempt} at {index} failed.")
            return {name: float(index) for name in objectives}
        finally:
            with self._lock:
                self._running[index] -= 1


def whole(
    objectives: tuple[str, ...], returned: object
) -> tuple[MeasurementResult, dict[str, Exception]]:
    """Everything that a function returned is right."""
    return as_result(objectives, returned), {}


def run_list(
    feeder: ListFeeder,
    function: Callable,
    executors: Executor | Mapping[str, Executor],
    *,
    max_parallelism: int,
    options: ExecutionOptions = CONTINUE,
) -> list[MeasurementReport]:
    """The loop on a list of requests."""
    dispatcher = Dispatcher(function, executors, options=options, check=whole)
    loop = MeasurementLoop(
        feeder,
        dispatcher,
        max_parallelism=max_parallelism,
        options=options,
        callback=None,
    )
    reports = loop.run()
    assert not dispatcher.open
    assert dispatcher.num_in_flight == 0
    return reports


@settings(max_examples=25, deadline=None)
@given(
    requests=st.lists(
        st.sampled_from([("a",), ("b",), ("a", "b")]), min_size=1, max_size=200
    ),
    failures=st.dictionaries(st.integers(0, 199), st.integers(1, 4), max_size=40),
    retries=st.integers(0, 2),
    max_parallelism=st.integers(1, 6),
    in_order=st.booleans(),
    num_executors=st.integers(1, 2),
)
def test_no_request_is_lost_or_evaluated_twice(
    requests: list[tuple[str, ...]],
    failures: dict[int, int],
    retries: int,
    max_parallelism: int,
    in_order: bool,
    num_executors: int,
) -> None:
    feeder, recorder = ListFeeder(requests), Recorder(failures)
    options = ExecutionOptions(retries=retries, on_error="continue", in_order=in_order)
    with ThreadPoolExecutor(8) as first, ThreadPoolExecutor(8) as second:
        executors = {"a": first, "b": second if num_executors == 2 else first}
        reports = run_list(
            feeder,
            recorder,
            executors,
            max_parallelism=max_parallelism,
            options=options,
        )
    indices = [report.trial_index for report in reports]
    assert sorted(indices) == list(range(len(requests)))
    if in_order or max_parallelism == 1:
        assert indices == sorted(indices)
    assert recorder.most <= max_parallelism
    for report in reports:
        index = report.trial_index
        assert report.objectives == requests[index]
        failed = failures.get(index, 0)
        attempts = min(failed, retries) + 1
        for name in report.objectives:
            assert recorder.attempts[index, name] == attempts
        if failed > retries:
            assert not report.values
            assert set(report.errors) == set(requests[index])
        else:
            assert report.values == dict.fromkeys(requests[index], float(index))
            assert not report.errors


def test_a_thousand_requests_pass_through_processes_once_each() -> None:
    feeder = ListFeeder([("index",)] * 1000)
    context = get_context("forkserver")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        reports = run_list(feeder, cheap_problem.echo, pool, max_parallelism=7)
    told = {report.trial_index: dict(report.values) for report in reports}
    assert len(reports) == 1000
    assert told == {index: {"index": float(index)} for index in range(1000)}


def test_results_come_in_the_order_in_which_they_ended_or_were_started() -> None:
    gates = [threading.Event() for _ in range(3)]

    def wait(
        parameters: dict[str, Any], objectives: tuple[str, ...]
    ) -> dict[str, float]:
        assert gates[parameters["index"]].wait(60)
        return {"a": 0.0}

    with ThreadPoolExecutor(3) as pool:
        dispatcher = Dispatcher(wait, pool, options=CONTINUE, check=whole)
        for index in range(3):
            dispatcher.submit(index, {"index": index}, ("a",))
        for number, index in enumerate((2, 0, 1)):
            gates[index].set()
            while len(dispatcher.ended()) <= number:
                dispatcher.wait()
            first = [job.index for job in dispatcher.ended(in_order=True)]
            assert first == [[], [0], [0, 1, 2]][number]
        assert [job.index for job in dispatcher.ended()] == [2, 0, 1]
        for index in range(3):
            dispatcher.release(index)
        assert not dispatcher.open


def test_nothing_is_asked_again_before_something_is_told(threads: Executor) -> None:
    events: list[str] = []

    class Reluctant(ListFeeder):
        def ask(self, n: int, *, is_idle: bool) -> list[Measurement]:
            asked = super().ask(1, is_idle=is_idle) if is_idle else []
            events.append(f"asked {len(asked)}")
            return asked

        def tell(self, job: Job) -> MeasurementReport:
            events.append("told")
            return super().tell(job)

    def slow(
        parameters: dict[str, Any], objectives: tuple[str, ...]
    ) -> dict[str, float]:
        time.sleep(0.5)  # the loop looks ten times a second
        return {"a": 0.0}

    run_list(Reluctant([("a",)] * 2), slow, threads, max_parallelism=2)
    assert events == ["asked 1", "asked 0", "told", "asked 1", "told"]


# Asking and telling an experiment.


def test_processes_measure_what_was_asked_and_nothing_else(tmp_path: Path) -> None:
    client = new_client(n_init=3, init_plan=SINGLES)
    function = partial(traced, folder=str(tmp_path))
    reports = run_measurements(client, function, num_measurements=8, max_parallelism=3)
    assert statuses(client) == ["COMPLETED"] * 8
    assert sorted(report.trial_index for report in reports) == list(range(8))
    assert client._generation_strategy.current_node_name == "decoupled"
    assert_data_are_right(client)
    assert_all_was_evaluated_once(client, tmp_path)
    assert most_at_once(records(tmp_path)) <= 3
    assert spent(client) == sum(
        COSTS[n] for _, names in asked_for(client) for n in names
    )


def test_as_many_run_at_once_as_may(tmp_path: Path) -> None:
    client = new_client(n_init=3)
    function = partial(cheap_problem.meet, folder=str(tmp_path), others=2)
    run_measurements(client, function, num_measurements=3, max_parallelism=3)
    assert statuses(client) == ["COMPLETED"] * 3
    assert len({record.process for record in records(tmp_path)}) == 3


@pytest.fixture
def light_fork_server() -> Iterator[None]:
    """A fork server of its own: that of the tests of storage has everything loaded."""
    server = multiprocessing.forkserver._forkserver
    preloaded = list(server._preload_modules)
    server._stop()
    multiprocessing.forkserver.set_forkserver_preload([])
    yield
    server._stop()
    multiprocessing.forkserver.set_forkserver_preload(preloaded)


@pytest.mark.usefixtures("light_fork_server")
def test_processes_import_the_function_and_nothing_of_this_package() -> None:
    client = new_client(n_init=2)
    run_measurements(client, cheap_problem.light, num_measurements=2)
    assert statuses(client) == ["COMPLETED"] * 2


def test_each_objective_has_its_executor() -> None:
    seen: list[tuple[str, tuple[str, ...]]] = []

    def where(
        parameters: dict[str, Any], objectives: tuple[str, ...]
    ) -> dict[str, float]:
        name = threading.current_thread().name
        seen.append((name.partition("_")[0], objectives))
        return evaluate(parameters, objectives)

    client = new_client(n_init=3, init_plan=SINGLES)
    with (
        ThreadPoolExecutor(1, thread_name_prefix="gpu") as gpu,
        ThreadPoolExecutor(1, thread_name_prefix="board") as board,
    ):
        executors = {"error": gpu, "energy": board}
        run_measurements(client, where, executors, num_measurements=3)
    assert Counter(seen) == {("gpu", ("error",)): 2, ("board", ("energy",)): 2}
    assert statuses(client) == ["COMPLETED"] * 3
    assert_data_are_right(client)


@pytest.mark.parametrize("max_parallelism", [1, 3])
def test_the_budget_is_overspent_by_the_last_measurement_at_most(
    threads: Executor, max_parallelism: int
) -> None:
    client = new_client(n_init=3, init_plan=SINGLES)
    budget = 45.5
    run_measurements(
        client, evaluate, threads, budget=budget, max_parallelism=max_parallelism
    )
    (*_, last) = asked_for(client)
    price = sum(COSTS[name] for name in last[1])
    assert spent(client) >= budget > spent(client) - price
    # Nothing is left: the same budget buys nothing more.
    assert not run_measurements(client, evaluate, threads, budget=budget)


def test_told_costs_are_paid(threads: Executor) -> None:
    client = new_client(n_init=2, init_plan=SINGLES[:2])
    run_measurements(client, cheap_problem.costly, threads, num_measurements=2)
    assert spent(client) == (30.0 + 0.5 + 7.0) + (0.5 + 7.0)
    assert_data_are_right(client)


def test_seconds_are_paid_with_those_of_failed_attempts(tmp_path: Path) -> None:
    client = new_client(n_init=2, init_plan=SINGLES[:2])
    function = partial(traced, folder=str(tmp_path), pause=0.2)
    options = ExecutionOptions(cost="seconds")
    run_measurements(client, function, num_measurements=2, options=options)
    paid = [payment_of(trial) for trial in experiment_of(client).trials.values()]
    for payment, record in zip(paid, records(tmp_path), strict=True):
        assert payment is not None
        assert set(payment.told) == set(record.objectives)
        assert payment.setup == 0
        assert payment.total >= record.ended - record.started >= 0.2
    assert paid[0] is not None
    # Divided as the believed costs are.
    assert paid[0].costs["error"] == pytest.approx(20 * paid[0].costs["energy"])

    def fail(parameters: dict[str, Any], objectives: tuple[str, ...]) -> Any:
        time.sleep(0.1)
        raise OSError("No device.")

    options = ExecutionOptions(cost="seconds", retries=2, on_error="continue")
    before = spent(client)
    with ThreadPoolExecutor(1) as pool:
        run_measurements(client, fail, pool, num_measurements=1, options=options)
    assert statuses(client)[-1] == "FAILED"
    assert spent(client) - before >= 3 * 0.1


def test_what_fails_is_tried_again_so_often(tmp_path: Path) -> None:
    client = new_client(n_init=2, init_plan=[["error"], ["energy"]])
    function = partial(cheap_problem.fail_first, folder=str(tmp_path), times=2)
    options = ExecutionOptions(retries=2)
    run_measurements(client, function, num_measurements=2, options=options)
    assert statuses(client) == ["COMPLETED"] * 2
    assert_data_are_right(client)
    assert_all_was_evaluated_once(client, tmp_path)
    attempts = [path.read_text() for path in tmp_path.glob("*.failures")]
    assert attempts == ["3", "3"]


def test_an_error_ends_the_run_after_what_is_running(threads: Executor) -> None:
    client = new_client(n_init=4, init_plan=[["error"], ["energy"]] * 2)
    release = threading.Event()

    def fail_second(parameters: dict[str, Any], objectives: tuple[str, ...]) -> Any:
        if parameters["width"] == parameters_of(client, 1)["width"]:
            raise OSError("No device.")
        assert release.wait(60)
        return evaluate(parameters, objectives)

    def on_told(report: MeasurementReport) -> None:
        release.set()

    with pytest.raises(OSError, match=r"No device\.") as error:
        run_measurements(
            client,
            fail_second,
            threads,
            num_measurements=9,
            max_parallelism=2,
            callback=on_told,
        )
    assert error.value.__notes__ == ["Trial 1 could not measure energy."]
    assert statuses(client) == ["COMPLETED", "FAILED"]
    assert experiment_of(client).trials[1].status_reason == "OSError: No device."
    assert spent(client) == 21.0


def test_one_objective_that_always_fails_leaves_the_other_going(
    tmp_path: Path,
) -> None:
    client = new_client(n_init=3)
    function = partial(cheap_problem.fail_energy, folder=str(tmp_path))
    with IsolatedProcessPool() as gpu, IsolatedProcessPool() as board:
        reports = run_measurements(
            client,
            function,
            {"error": gpu, "energy": board},
            num_measurements=5,
            max_parallelism=2,
            options=CONTINUE,
        )
    # All are measured on the error, and one after the other as long as no energy is
    # known.
    assert statuses(client) == ["COMPLETED"] * 5
    assert [record.objectives for record in records(tmp_path)] == [("error",)] * 5
    frame = experiment_of(client).lookup_data().df
    assert frame["metric_name"].tolist() == ["error"] * 5
    assert frame["trial_index"].tolist() == list(range(5))
    for report in reports:
        assert set(report.values) == {"error"}
        assert isinstance(report.errors["energy"], OSError)
        trial = experiment_of(client).trials[report.trial_index]
        assert trial.run_metadata["flexibo_errors"] == {"energy": "OSError: No board."}
    assert spent(client) == 5 * 21.0
    assert not measurements(client)


def test_a_process_that_dies_fails_its_measurement_alone(tmp_path: Path) -> None:
    client = new_client(n_init=4)
    function = partial(cheap_problem.die_above, folder=str(tmp_path), width=0.5)
    run_measurements(
        client, function, num_measurements=4, max_parallelism=4, options=CONTINUE
    )
    died = [width > 0.5 for width, _ in asked_for(client)]
    assert 0 < sum(died) < 4
    assert statuses(client) == ["FAILED" if d else "COMPLETED" for d in died]
    reason = experiment_of(client).trials[died.index(True)].status_reason or ""
    assert "The process of the measurement died" in reason
    assert_data_are_right(client)


def test_a_measurement_that_hangs_is_stopped(tmp_path: Path) -> None:
    client = new_client(n_init=4)
    function = partial(cheap_problem.hang_above, folder=str(tmp_path), width=0.5)
    options = ExecutionOptions(timeout_s=1.0, on_error="continue")
    run_measurements(
        client, function, num_measurements=4, max_parallelism=4, options=options
    )
    hung = [width > 0.5 for width, _ in asked_for(client)]
    assert statuses(client) == ["FAILED" if h else "COMPLETED" for h in hung]
    processes = [int(path.stem) for path in tmp_path.glob("*.hanging")]
    assert len(processes) == sum(hung) > 0
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)
    reason = experiment_of(client).trials[hung.index(True)].status_reason or ""
    assert reason.startswith("TimeoutError: The measurement of error, energy took")


def test_what_was_stopped_is_tried_again(tmp_path: Path) -> None:
    client = new_client(n_init=2)
    function = partial(cheap_problem.hang_first, folder=str(tmp_path))
    options = ExecutionOptions(timeout_s=1.0, retries=1)
    run_measurements(
        client, function, num_measurements=2, max_parallelism=2, options=options
    )
    assert statuses(client) == ["COMPLETED"] * 2
    assert len(list(tmp_path.glob("*.hanging"))) == 2
    assert_data_are_right(client)
    assert_all_was_evaluated_once(client, tmp_path)


def test_what_cannot_be_stopped_keeps_its_place() -> None:
    client = new_client(n_init=2)
    release, hanging = threading.Event(), threading.Event()
    running: list[str] = []

    def hang_once(parameters: dict[str, Any], objectives: tuple[str, ...]) -> Any:
        if not hanging.is_set():
            hanging.set()
            assert release.wait(60)
            running.append("ended")
        else:
            running.append("started")
        return evaluate(parameters, objectives)

    def on_told(report: MeasurementReport) -> None:
        # The first has failed already, and still runs.
        running.append(f"told {len(report.errors)}")
        threading.Timer(0.3, release.set).start()

    options = ExecutionOptions(timeout_s=0.5, on_error="continue")
    with ThreadPoolExecutor(2) as pool:
        run_measurements(
            client,
            hang_once,
            pool,
            num_measurements=2,
            options=options,
            callback=on_told,
        )
    assert running == ["told 2", "ended", "started", "told 0"]
    assert statuses(client) == ["FAILED", "COMPLETED"]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "Expected values of"),
        (
            {},
            r"for \['error', 'energy'\], but got none for \['error', 'energy'\], only"
            r" for \[\]",
        ),
        (
            {"Error": 1.0, 3: 2.0},
            r"for \['error', 'energy'\], but got none for \['error', 'energy'\], only"
            r" for \[3, 'Error'\]\. Return each value under the name of its objective",
        ),
        (
            {"Error": 1.0, "energy": math.nan},
            r"got none for \['error'\], only for \['Error', 'energy'\]",
        ),
        ({"error": "1", "energy": math.nan}, "Expected a finite number for 'error'"),
        (({"error": 1.0, "energy": 1.0}, 3.0), "Expected values of"),
    ],
)
def test_a_wrong_return_fails_the_measurement_at_once(
    threads: Executor, returned: Any, message: str
) -> None:
    calls: list[int] = []

    def wrong(parameters: dict[str, Any], objectives: tuple[str, ...]) -> Any:
        calls.append(1)
        return returned

    client = new_client(n_init=1)
    options = ExecutionOptions(retries=3)
    with pytest.raises(InputDataError, match=message):
        run_measurements(client, wrong, threads, num_measurements=1, options=options)
    assert statuses(client) == ["FAILED"]
    assert len(calls) == 1


@pytest.mark.parametrize("energy", [{}, {"energy": math.nan}, {"energy": "2"}])
def test_the_good_values_of_a_wrong_return_are_kept(
    threads: Executor, energy: dict[str, Any]
) -> None:
    client = new_client(n_init=1)
    reports = run_measurements(
        client,
        lambda parameters, objectives: {"error": 1.5} | energy,
        threads,
        num_measurements=1,
        options=CONTINUE,
    )
    assert statuses(client) == ["COMPLETED"]
    assert experiment_of(client).lookup_data().df["mean"].tolist() == [1.5]
    assert set(reports[0].errors) == {"energy"}
    assert spent(client) == 21.0


def all_metrics(parameters: dict[str, Any], objectives: tuple[str, ...]) -> Any:
    """A training at the end of which all metrics are known, and what they cost."""
    names = ("error", "energy")
    values = {name: value(name, parameters) for name in names}
    return MeasurementResult({**values, "loss": 0.5}, {"error": 30.0, "energy": 2.0})


@contextmanager
def dropped() -> Iterator[list[str]]:
    """What warnings say that was not asked for; other warnings stay errors."""
    said: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", ".*not asked for", RuntimeWarning)
        yield said
    said += [str(warning.message) for warning in caught]


@pytest.mark.parametrize("options", [CONTINUE, ExecutionOptions(retries=2)])
def test_what_was_not_asked_for_is_dropped_with_one_warning(
    threads: Executor, options: ExecutionOptions
) -> None:
    client = new_client(n_init=3, init_plan=SINGLES)
    with dropped() as said:
        reports = run_measurements(
            client, all_metrics, threads, num_measurements=5, options=options
        )
    assert [text.partition(":")[0] for text in said] == [
        "The function returned ['loss'], not asked for"
    ]
    assert statuses(client) == ["COMPLETED"] * 5
    assert_data_are_right(client)
    for report in reports:
        assert set(report.values) == set(report.objectives)
        assert not report.errors
    paid = {"error": 30.0, "energy": 2.0}
    asked = [name for _, names in asked_for(client) for name in names]
    assert spent(client) == sum(paid[name] for name in asked)


def test_the_warning_names_objectives_and_costs_not_asked_for(
    threads: Executor,
) -> None:
    client = new_client(n_init=1, init_plan=[["energy"]])

    def measure(parameters: dict[str, Any], objectives: tuple[str, ...]) -> Any:
        return {"error": 1.0, "energy": 2.0}, {"energy": 3.0, "board": 4.0}

    with dropped() as said:
        run_measurements(client, measure, threads, num_measurements=1)
    assert said == [
        "The function returned ['board', 'error'], not asked for: only what was asked"
        " for is kept. If these take time or money, measure no more than the"
        " objectives that the function is passed."
    ]
    assert spent(client) == 3.0


def test_a_warning_that_is_an_error_loses_nothing(threads: Executor) -> None:
    client = new_client(n_init=1)
    with pytest.raises(RuntimeWarning, match="not asked for"):
        run_measurements(client, all_metrics, threads, num_measurements=1)
    assert statuses(client) == ["COMPLETED"]
    assert_data_are_right(client)


def test_a_misspelt_name_fails_its_objective_alone(threads: Executor) -> None:
    client = new_client(n_init=1)
    message = r"got none for \['error'\], only for \['Error', 'energy'\]"
    with dropped() as said, pytest.raises(InputDataError, match=message):
        run_measurements(
            client,
            lambda parameters, objectives: {"Error": 1.0, "energy": 2.0},
            threads,
            num_measurements=1,
        )
    assert len(said) == 1
    assert experiment_of(client).lookup_data().df["mean"].tolist() == [2.0]


@pytest.mark.parametrize(
    ("costs", "setup", "at", "message"),
    [
        ({"error": -1.0, "energy": 2.0}, None, "error", "finite cost of 'error'"),
        ({"error": 20.0, "energy": 0.0}, None, "energy", "finite cost of 'energy'"),
        ({"energy": 2.0}, -1.0, "error", "finite cost of 'set-up'"),
    ],
)
@pytest.mark.parametrize("on_error", ["raise", "continue"])
def test_a_wrong_cost_loses_no_value(
    threads: Executor,
    costs: dict[str, float],
    setup: float | None,
    at: str,
    message: str,
    on_error: str,
) -> None:
    client = new_client(n_init=1)
    told: list[MeasurementReport] = []

    def run() -> None:
        run_measurements(
            client,
            lambda parameters, objectives: (
                (evaluate(parameters, objectives), costs)
                + (() if setup is None else (setup,))
            ),
            threads,
            num_measurements=1,
            options=ExecutionOptions(on_error=on_error),
            callback=told.append,
        )

    if on_error == "raise":
        with pytest.raises(InvalidCostError, match=message) as error:
            run()
        assert error.value.__notes__ == ["Trial 0 is complete."]
    else:
        run()
    (report,) = told
    assert set(report.values) == {"error", "energy"}
    assert list(report.errors) == [at]
    assert statuses(client) == ["COMPLETED"]
    assert_data_are_right(client)
    # The believed cost counts where none can.
    assert spent(client) == 20.0 + (1.0 if at == "energy" else 2.0)


def test_a_wrong_value_of_a_tracking_metric_loses_no_objective(
    threads: Executor,
) -> None:
    client = new_client(n_init=1)
    client.configure_tracking_metrics(["seconds"])
    (report,) = run_measurements(
        client,
        lambda parameters, objectives: (
            evaluate(parameters, objectives) | {"seconds": math.nan}
        ),
        threads,
        num_measurements=1,
        options=CONTINUE,
    )
    assert list(report.errors) == ["seconds"]
    assert statuses(client) == ["COMPLETED"]
    assert_data_are_right(client)


def test_pairs_with_standard_errors_and_tracking_metrics_are_kept(
    threads: Executor,
) -> None:
    client = new_client(n_init=1)
    client.configure_tracking_metrics(["seconds"])

    def noisy(parameters: dict[str, Any], objectives: tuple[str, ...]) -> Any:
        return MeasurementResult({"error": (1.0, 0.5), "energy": 2.0, "seconds": 3.0})

    run_measurements(client, noisy, threads, num_measurements=1)
    frame = experiment_of(client).lookup_data().df
    rows = zip(frame["metric_name"], frame["mean"], frame["sem"], strict=True)
    assert {name: (mean, str(sem)) for name, mean, sem in rows} == {
        "error": (1.0, "0.5"),
        "energy": (2.0, "nan"),
        "seconds": (3.0, "nan"),
    }


def test_a_function_that_processes_cannot_import_loses_nothing() -> None:
    client = new_client(n_init=2)
    with pytest.raises(BrokenExecutor, match="Define it at the top level of a module"):
        run_measurements(client, lambda p, o: {"error": 0.0}, num_measurements=2)
    assert statuses(client) == ["RUNNING"]
    assert [item.trial_index for item in measurements(client)] == [0]


def test_an_error_that_cannot_be_sent_fails_one_measurement() -> None:
    client = new_client(n_init=2)
    run_measurements(
        client, cheap_problem.fail_oddly, num_measurements=2, options=CONTINUE
    )
    assert statuses(client) == ["FAILED"] * 2


def test_a_broken_pool_of_the_user_loses_nothing(tmp_path: Path) -> None:
    client = new_client(n_init=3)
    function = partial(cheap_problem.die_above, folder=str(tmp_path), width=-1.0)
    with (
        ProcessPoolExecutor(2, mp_context=get_context("forkserver")) as pool,
        pytest.raises(BrokenExecutor),
    ):
        run_measurements(
            client,
            function,
            pool,
            num_measurements=3,
            max_parallelism=2,
            options=CONTINUE,
        )
    assert statuses(client) == ["RUNNING"] * 2
    reports = run_measurements(client, evaluate, num_measurements=1, max_parallelism=2)
    assert sorted(report.trial_index for report in reports) == [0, 1, 2]
    assert statuses(client) == ["COMPLETED"] * 3


def test_something_else_that_cancels_loses_nothing() -> None:
    class Cancelling(ThreadPoolExecutor):
        def submit(self, fn: Callable, /, *args: Any, **kwargs: Any) -> Future[Any]:
            future: Future[Any] = Future()
            future.cancel()
            return future

    client = new_client(n_init=1)
    with Cancelling(1) as pool, pytest.raises(CancelledError, match="trial 0"):
        run_measurements(client, evaluate, pool, num_measurements=1)
    assert statuses(client) == ["RUNNING"]


@pytest.fixture
def keyboard() -> Iterator[Callable[[], None]]:
    """Interrupt this process, as the keyboard does."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda: os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_loses_nothing(
    tmp_path: Path, keyboard: Callable[[], None]
) -> None:
    client = new_client(n_init=3)
    function = partial(cheap_problem.hang_above, folder=str(tmp_path), width=0.5)
    # The designs are known beforehand: those of an equal experiment.
    twin = new_client(n_init=3)
    widths = [item.parameters["width"] for item in get_next_measurements(twin, 3)]
    num_hanging = sum(width > 0.5 for width in widths)
    assert 0 < num_hanging < 3

    def interrupt_when_the_others_have_ended() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and (
            len(list(tmp_path.glob("*.hanging"))) < num_hanging
            or len(records(tmp_path)) < 3 - num_hanging
        ):
            time.sleep(0.01)
        keyboard()

    killer = threading.Thread(target=interrupt_when_the_others_have_ended)
    killer.start()
    with pytest.raises(KeyboardInterrupt):
        run_measurements(client, function, num_measurements=3, max_parallelism=3)
    killer.join()
    for path in tmp_path.glob("*.hanging"):
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.stem), 0)
    assert [width for width, _ in asked_for(client)] == widths
    # What had ended may have been told or not; what is not told is measured again.
    running = [i for i, name in enumerate(statuses(client)) if name == "RUNNING"]
    assert {i for i in range(3) if widths[i] > 0.5} <= set(running)
    assert_data_are_right(client)
    reports = run_measurements(client, evaluate, num_measurements=1)
    assert [report.trial_index for report in reports] == [*running, 3]
    assert statuses(client) == ["COMPLETED"] * 4
    assert_data_are_right(client)


def test_an_interrupt_waits_until_a_result_is_told(
    threads: Executor, keyboard: Callable[[], None]
) -> None:
    client = new_client(n_init=3)
    told: list[int] = []

    def interrupt(report: MeasurementReport) -> None:
        keyboard()
        time.sleep(0.2)  # the signal has come
        told.append(report.trial_index)

    with pytest.raises(KeyboardInterrupt):
        run_measurements(
            client, evaluate, threads, num_measurements=3, callback=interrupt
        )
    assert told == [0]
    assert statuses(client) == ["COMPLETED"]


def test_a_second_interrupt_acts_at_once(
    threads: Executor, keyboard: Callable[[], None]
) -> None:
    client = new_client(n_init=3)
    passed: list[int] = []

    def interrupt(report: MeasurementReport) -> None:
        for number in range(3):
            keyboard()
            time.sleep(0.2)
            passed.append(number)

    with pytest.raises(KeyboardInterrupt):
        run_measurements(
            client, evaluate, threads, num_measurements=3, callback=interrupt
        )
    assert passed == [0]
    assert statuses(client) == ["COMPLETED"]


def test_what_has_ended_is_told_before_an_error_of_a_callback(
    threads: Executor,
) -> None:
    client = new_client(n_init=2)
    both = threading.Barrier(2)

    def meet(parameters: dict[str, Any], objectives: tuple[str, ...]) -> Any:
        both.wait(60)
        return evaluate(parameters, objectives)

    def fail(report: MeasurementReport) -> None:
        time.sleep(0.2)  # the other one has ended
        raise RuntimeError("The disk is full.")

    with pytest.raises(RuntimeError, match="disk is full"):
        run_measurements(
            client,
            meet,
            threads,
            num_measurements=4,
            max_parallelism=2,
            callback=fail,
        )
    assert statuses(client) == ["COMPLETED"] * 2


def test_a_callback_can_end_the_run(threads: Executor) -> None:
    client = new_client(n_init=3)
    seen: list[int] = []

    def enough(report: MeasurementReport) -> bool:
        seen.append(report.trial_index)
        return len(seen) == 2

    run_measurements(client, evaluate, threads, num_measurements=3, callback=enough)
    assert statuses(client) == ["COMPLETED"] * 2
    assert seen == [0, 1]


def test_a_run_goes_on_after_a_reload(threads: Executor, tmp_path: Path) -> None:
    client = new_client(n_init=3, init_plan=SINGLES)
    get_next_measurements(client, 2)  # running when the process ends
    path = tmp_path / "tuning.json"
    save_experiment(client, path)
    release_experiment(path)
    client = load_experiment(path)
    run_measurements(client, evaluate, threads, num_measurements=3, max_parallelism=2)
    assert statuses(client) == ["COMPLETED"] * 5
    assert client._generation_strategy.current_node_name == "decoupled"
    assert_data_are_right(client)


@pytest.mark.parametrize("is_working", [True, False])
def test_only_what_is_missing_of_a_measurement_is_resumed(
    is_working: bool, threads: Executor
) -> None:
    client = new_client()
    get_next_measurements(client)
    client.attach_data(0, {"error": 7.0})
    seen = []

    def measure(parameters: dict[str, Any], objectives: Any) -> dict[str, float]:
        seen.append(objectives)
        if not is_working:
            raise OSError("No board.")
        return dict.fromkeys(objectives, 2.0)

    run_measurements(client, measure, threads, num_measurements=0, options=CONTINUE)
    assert seen == [("energy",)]
    assert statuses(client) == ["COMPLETED"]
    told = experiment_of(client).lookup_data().df["mean"].tolist()
    assert sorted(told) == ([2.0, 7.0] if is_working else [7.0])
    assert spent(client) == 21.0


def test_what_something_else_measures_is_left_alone(threads: Executor) -> None:
    client = new_client(n_init=3)
    get_next_measurements(client, 1)
    options = ExecutionOptions(resume=False)
    run_measurements(client, evaluate, threads, num_measurements=1, options=options)
    assert statuses(client) == ["RUNNING", "COMPLETED"]


def test_in_order_suggestions_do_not_depend_on_how_long_things_take() -> None:
    def run(seed: int) -> list[tuple[float, tuple[str, ...]]]:
        pauses = random.Random(seed)

        def slow(parameters: dict[str, Any], objectives: tuple[str, ...]) -> Any:
            time.sleep(0.15 * pauses.random())
            return evaluate(parameters, objectives)

        client = new_client(n_init=4)
        with ThreadPoolExecutor(3) as pool:
            run_measurements(
                client,
                slow,
                pool,
                num_measurements=6,
                max_parallelism=3,
                options=ExecutionOptions(in_order=True),
            )
        return asked_for(client)

    assert run(0) == run(1)


def test_limits_and_options_are_checked(threads: Executor) -> None:
    client = new_client(n_init=1)
    run = partial(run_measurements, client, evaluate)
    with pytest.raises(InputDataError, match="budget or num_measurements"):
        run(threads)
    with pytest.raises(InputDataError, match="finite budget"):
        run(threads, budget=math.inf)
    with pytest.raises(InputDataError, match="num_measurements >= 0"):
        run(threads, num_measurements=-1)
    with pytest.raises(InputDataError, match="max_parallelism >= 1"):
        run(threads, num_measurements=1, max_parallelism=0)
    with pytest.raises(InputDataError, match="an executor, or one for each of"):
        run({"error": threads}, num_measurements=1)
    with pytest.raises(InputDataError, match="an executor, or one for each of"):
        configure_executor(client, evaluate, {"error": threads, "loss": threads})
    with pytest.raises(InputDataError, match="retries >= 0"):
        ExecutionOptions(retries=-1)
    with pytest.raises(InputDataError, match="timeout_s > 0"):
        ExecutionOptions(timeout_s=0.0)
    with pytest.raises(InputDataError, match='cost to be "told"'):
        ExecutionOptions(cost="dollars")
    with pytest.raises(InputDataError, match='on_error to be "raise"'):
        ExecutionOptions(on_error="ignore")
    assert not statuses(client)


# Ax's Orchestrator.


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


def test_run_trials_measures_on_processes_also_after_a_reload(tmp_path: Path) -> None:
    client = new_client(n_init=3, init_plan=SINGLES)
    client.configure_tracking_metrics(["seconds"])
    function = partial(traced, folder=str(tmp_path))
    with configure_executor(client, function):
        orchestrate(client, 2)
    get_next_measurements(client, 1)  # running when the process ends
    path = tmp_path / "tuning.json"
    save_experiment(client, path)
    release_experiment(path)
    client = load_experiment(path)
    with pytest.raises(AxUnsupportedError, match="specifies a `Runner`"):
        client.run_trials(1)
    assert statuses(client) == ["COMPLETED", "COMPLETED", "RUNNING"]
    with configure_executor(client, function):
        client.run_trials(2, parallelism=2, initial_seconds_between_polls=0)
    assert statuses(client) == ["COMPLETED"] * 5
    assert client._generation_strategy.current_node_name == "decoupled"
    assert_data_are_right(client)
    assert_all_was_evaluated_once(client, tmp_path)
    assert most_at_once(records(tmp_path)) <= 2


def test_run_trials_fails_what_fails_and_abandons_nothing(tmp_path: Path) -> None:
    client = new_client(n_init=4)
    function = partial(cheap_problem.die_above, folder=str(tmp_path), width=0.5)
    options = ExecutionOptions(retries=1)
    with configure_executor(client, function, options=options):
        orchestrate(client, 4)
    died = [width > 0.5 for width, _ in asked_for(client)]
    assert 0 < sum(died) < 4
    assert statuses(client) == ["FAILED" if d else "COMPLETED" for d in died]
    assert_data_are_right(client)
    reason = experiment_of(client).trials[died.index(True)].status_reason or ""
    assert "The process of the measurement died" in reason
    assert spent(client) == 4 * 21.0


def test_run_trials_drops_what_was_not_asked_for(threads: Executor) -> None:
    client = new_client(n_init=3, init_plan=SINGLES)
    with dropped() as said, configure_executor(client, all_metrics, threads):
        orchestrate(client, 3)
    assert len(said) == 1
    assert statuses(client) == ["COMPLETED"] * 3
    assert_data_are_right(client)


def test_run_trials_ends_with_a_broken_pool_and_loses_nothing(tmp_path: Path) -> None:
    client = new_client(n_init=3)
    function = partial(cheap_problem.die_above, folder=str(tmp_path), width=-1.0)
    with ProcessPoolExecutor(2, mp_context=get_context("forkserver")) as pool:
        configure_executor(client, function, pool)
        with pytest.raises(AxUnsupportedError, match="Expected an executor that works"):
            orchestrate(client, 3)
        # A pool that takes nothing more.
        with pytest.raises(AxUnsupportedError, match="Expected an executor that works"):
            orchestrate(client, 3)
    assert set(statuses(client)) <= {"RUNNING", "CANDIDATE"}
    with configure_executor(client, evaluate) as runner:
        orchestrate(client, 3)
        assert runner.clone() is runner
    assert set(statuses(client)) == {"COMPLETED"}
    assert_data_are_right(client)


def test_a_trial_that_is_stopped_frees_its_process(tmp_path: Path) -> None:
    client = new_client(n_init=1)
    function = partial(cheap_problem.hang_above, folder=str(tmp_path), width=-1.0)
    with configure_executor(client, function) as runner:
        experiment = experiment_of(client)
        get_next_measurements(client, 1)
        trial = experiment.trials[0]
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("*.hanging")) and time.monotonic() < deadline:
            assert runner.poll_trial_status([trial]) == {trial.status: {0}}
        client.attach_data(0, {"error": 1.0})  # as it is available while running
        experiment.stop_trial_runs([trial])
        (path,) = tmp_path.glob("*.hanging")
        runner.close()
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.stem), 0)
    assert statuses(client) == ["EARLY_STOPPED"]


# The default pool.


def test_a_pool_that_is_shut_down_takes_nothing() -> None:
    pool = IsolatedProcessPool(get_context("spawn"))
    assert pool.submit(pow, 2, 5).result() == 32
    pool.shutdown()
    with pytest.raises(RuntimeError, match="it is shut down"):
        pool.submit(pow, 2, 5)


def test_a_task_that_is_cancelled_before_it_starts_never_runs(tmp_path: Path) -> None:
    with IsolatedProcessPool() as pool:
        future = pool.submit(Path.touch, tmp_path / "file")
        assert future.cancel()
        # What is submitted later is not stopped with it.
        assert pool.submit(pow, 2, 5).result() == 32
    assert not (tmp_path / "file").exists()


# Dask.


@pytest.fixture(scope="module")
def dask() -> Iterator[Any]:
    """A Dask cluster of two processes, for this machine only."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def test_dask_workers_measure_what_was_asked(dask: Any, tmp_path: Path) -> None:
    client = new_client(n_init=3, init_plan=SINGLES)
    function = partial(traced, folder=str(tmp_path))
    with dask.get_executor() as pool:
        run_measurements(client, function, pool, num_measurements=6, max_parallelism=2)
    assert statuses(client) == ["COMPLETED"] * 6
    assert_data_are_right(client)
    assert_all_was_evaluated_once(client, tmp_path)
    found = records(tmp_path)
    assert most_at_once(found) <= 2
    assert os.getpid() not in {record.process for record in found}


def test_dask_tries_again_what_fails(dask: Any, tmp_path: Path) -> None:
    client = new_client(n_init=2)
    function = partial(cheap_problem.fail_first, folder=str(tmp_path), times=2)
    options = ExecutionOptions(retries=2)
    with (
        dask.get_executor() as pool,
        configure_executor(client, function, pool, options=options),
    ):
        orchestrate(client, 2)
    assert statuses(client) == ["COMPLETED"] * 2
    assert_data_are_right(client)
    attempts = [path.read_text() for path in tmp_path.glob("*.failures")]
    assert attempts == ["3", "3"]


def test_dask_fails_what_takes_too_long(dask: Any) -> None:
    client = new_client(n_init=1)
    options = ExecutionOptions(timeout_s=0.3, on_error="continue")
    with dask.get_executor() as pool:
        (report,) = run_measurements(
            client, cheap_problem.nap, pool, num_measurements=1, options=options
        )
    assert isinstance(report.errors["error"], TimeoutError)
    assert statuses(client) == ["FAILED"]
