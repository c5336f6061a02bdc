"""A thousand requests on executors of their own for each objective."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ax")

from botorch_flexibo.ax import objectives_for
from botorch_flexibo.ax.executors import run_measurements
from botorch_flexibo.ax.metadata import experiment_of
from tests.ax.helpers import new_client
from tests.ax.load_problem import Notes, noted
from tests.ax.test_executors import ListFeeder, run_list

PARALLEL = 5
LONG = [pytest.mark.slow, pytest.mark.timeout(3600)]
PLAN = [["error", "energy"], ["energy"], ["error"]]
Executors = Mapping[str, Executor]


@pytest.fixture(scope="module")
def pools() -> Iterator[Executors]:
    """Two process pools, together larger than what may be in flight."""
    context = get_context("forkserver")
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(ProcessPoolExecutor(4, mp_context=context))
            for name in ("error", "energy")
        }


@pytest.fixture(scope="module")
def cluster() -> Iterator[Executors]:
    """Two clients of a Dask cluster, for this machine only."""
    distributed = pytest.importorskip("distributed")
    with ExitStack() as stack:
        cluster = distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=4,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
        )
        stack.enter_context(cluster)
        executors: dict[str, Any] = {}
        for name in ("error", "energy"):
            client = stack.enter_context(distributed.Client(cluster))
            executors[name] = stack.enter_context(client.get_executor())
        yield executors


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        ("pools", 1000),
        ("cluster", 100),
        pytest.param("cluster", 1000, marks=LONG),
    ],
)
def test_requests_are_evaluated_once_each_and_never_too_many_at_once(
    kind: str, count: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    executors = request.getfixturevalue(kind)
    requests = [tuple(PLAN[i % 3]) for i in range(count)]
    feeder = ListFeeder(requests)
    function = partial(noted, folder=str(tmp_path), key="index")
    reports = run_list(feeder, function, executors, max_parallelism=PARALLEL)
    assert sorted(report.trial_index for report in reports) == list(range(count))
    for report in reports:
        index = report.trial_index
        assert report.objectives == requests[index]
        assert report.values == dict.fromkeys(requests[index], float(index))
        assert not report.errors
    notes = Notes(tmp_path)
    asked = Counter(
        (float(index), name) for index, names in enumerate(requests) for name in names
    )
    assert notes.evaluations == asked
    assert notes.processes >= 2
    assert 1 < notes.most_at_once <= PARALLEL


def measure_through_ax(executors: Executors, folder: Path, num_requests: int) -> None:
    """Quasi-random designs through an Ax experiment; the checks of the test above."""
    plan = [PLAN[i % 3] for i in range(num_requests)]
    client = new_client(n_init=num_requests, init_plan=plan)
    function = partial(noted, folder=str(folder), key="width")
    reports = run_measurements(
        client,
        function,
        executors,
        num_measurements=num_requests,
        max_parallelism=PARALLEL,
    )
    assert sorted(report.trial_index for report in reports) == list(range(num_requests))
    trials = experiment_of(client).trials
    assert len(trials) == num_requests
    assert all(trial.status.is_completed for trial in trials.values())
    widths = {i: float(trials[i].arms[0].parameters["width"]) for i in trials}
    assert len(set(widths.values())) == num_requests
    asked = Counter(
        (widths[i], name) for i in trials for name in objectives_for(client, i)
    )
    notes = Notes(folder)
    assert notes.evaluations == asked
    assert 1 < notes.most_at_once <= PARALLEL
    frame = experiment_of(client).lookup_data().df
    columns = (frame[name] for name in ("trial_index", "metric_name", "mean"))
    found = Counter((mean, name) for _, name, mean in zip(*columns, strict=True))
    assert found == asked


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        ("pools", 100),
        pytest.param("pools", 1000, marks=LONG),
        pytest.param("cluster", 1000, marks=LONG),
    ],
)
def test_requests_of_an_experiment_are_evaluated_once_each(
    kind: str, count: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    measure_through_ax(request.getfixturevalue(kind), tmp_path, count)
