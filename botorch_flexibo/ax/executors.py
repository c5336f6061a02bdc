r"""Measurements on executors: processes of this machine, threads, or a Dask cluster.

A function ``evaluate(parameters, objectives)`` measures the objectives it is asked for
at one design, and returns their values by name. Any ``concurrent.futures.Executor``
runs it: one for all objectives, or one for each, such as ``{"error": gpus, "energy":
board}``; a trial that asks for objectives of several executors is one task on each.
Where it runs, nothing but the function is imported, and neither Ax nor this package is
needed.

- :func:`run_measurements` is a complete loop: ask, measure, tell.
- :func:`configure_executor` lets ``Client.run_trials`` (Ax's Orchestrator) measure.

Without an executor, measurements run in an :class:`IsolatedProcessPool`: processes of
this machine, one for each measurement at once. Like all processes that Python starts
they also run the started script, apart from what is behind ``if __name__ ==
"__main__":``.

**A cluster.** With the extra ``botorch-flexibo[dask]``, a Dask cluster is an executor
like any other::

    from dask.distributed import Client as DaskClient

    dask = DaskClient("tls://10.0.0.5:8786", security=security)
    run_measurements(client, evaluate, dask.get_executor(), budget=500.0)

The module of ``evaluate`` must be installed on the workers. If a Dask worker dies, Dask
starts its task again elsewhere by itself, up to
``distributed.scheduler.allowed-failures`` times (a setting of Dask).

.. warning::
   A Dask cluster runs whatever code it is sent, and by default asks nobody for a
   password. The scheduler listens on port 8786 and each worker on ports of its own;
   started from the command line they do so on all interfaces, so that anyone who can
   reach one of them can run code as its user. The dashboard on port 8787 shows tasks,
   their arguments and logs, and is open to all interfaces even in a ``LocalCluster``.
   On one machine, keep everything to it: ``LocalCluster(host="127.0.0.1",
   dashboard_address="127.0.0.1:8787")``. Between machines use TLS with certificates of
   your own (``distributed.security.Security``), on a private network.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager

from ax.api.client import Client
from ax.core.metric import Metric
from botorch.exceptions.errors import InputDataError

from botorch_flexibo.ax._execution import (
    Evaluate,
    ExecutionOptions,
    MeasurementResult,
)
from botorch_flexibo.ax._executor_runner import ExecutorMetric, ExecutorRunner
from botorch_flexibo.ax._loop import (
    Callback,
    ClientFeeder,
    MeasurementLoop,
    MeasurementReport,
)
from botorch_flexibo.ax._processes import IsolatedProcessPool
from botorch_flexibo.ax._results import ResultCheck
from botorch_flexibo.ax._tasks import Dispatcher
from botorch_flexibo.ax.metadata import experiment_of, objective_names
from botorch_flexibo.utils.checks import check_count, finite_number, is_count

__all__ = [
    "Evaluate",
    "ExecutionOptions",
    "ExecutorMetric",
    "ExecutorRunner",
    "IsolatedProcessPool",
    "MeasurementReport",
    "MeasurementResult",
    "configure_executor",
    "run_measurements",
]

Executors = Executor | Mapping[str, Executor]
_DEFAULT_OPTIONS = ExecutionOptions()


def run_measurements(
    client: Client,
    evaluate: Evaluate,
    executors: Executors | None = None,
    *,
    budget: float | None = None,
    num_measurements: int | None = None,
    max_parallelism: int = 1,
    options: ExecutionOptions = _DEFAULT_OPTIONS,
    callback: Callback | None = None,
) -> list[MeasurementReport]:
    r"""Ask, measure and tell until a budget is spent or a number is reached.

    As soon as a measurement ends it is told and the next one is asked for, which takes
    those still running as pending. What fails is told too: the trial fails, and its
    cost counts. Where several objectives of a trial have an executor each and one of
    them fails, the trial completes with the others.

    If the run is interrupted, what has ended is told, the processes of the default pool
    are stopped, and what was running is still pending in the experiment; the next run
    measures it first. An interrupt from the keyboard acts when nothing is being asked
    or told, a second one at once.

    Args:
        client: A client with a strategy of :func:`flexibo_generation_strategy`.
        evaluate: Called with the parameters of a design and the names of the objectives
            to measure; returns their values, or a :class:`MeasurementResult` with what
            they cost. Processes must be able to import it. If the values of some
            objectives are missing or not finite, the others are told. What was not
            asked for is dropped, with one warning per run. Where a cost is none, the
            value is told with the believed cost, and the error reported.
        executors: What runs it: one executor, or one for each objective. None means
            ``max_parallelism`` processes. Executors are used, not shut down.
        budget: What may be spent on the experiment, in the unit of the costs and as
            :func:`spent` counts, earlier runs included. The last measurement may exceed
            it; no other is started once those running will use it up.
        num_measurements: How many measurements to ask for, failed ones included and
            resumed ones left out.
        max_parallelism: How many measurements may run at once.
        options: Retries, time limit, costs, errors and order.
        callback: Called after each measurement is told. If it returns True, the run
            ends once those running have ended.

    Returns:
        What became of the measurements, in the order in which they were told.

    Raises:
        InputDataError: If a limit or an executor is missing or not valid.

    Example:
        >>> from concurrent.futures import ThreadPoolExecutor
        >>> from ax.api.client import Client
        >>> from ax.api.configs import RangeParameterConfig
        >>> from botorch_flexibo.ax import flexibo_generation_strategy, spent
        >>> from botorch_flexibo.ax.executors import run_measurements
        >>> client = Client()
        >>> width = RangeParameterConfig(
        ...     name="width", bounds=(0.0, 1.0), parameter_type="float"
        ... )
        >>> client.configure_experiment([width])
        >>> client.configure_optimization("-error, -energy")
        >>> client.set_generation_strategy(
        ...     flexibo_generation_strategy({"error": 20.0, "energy": 1.0}, n_init=3)
        ... )
        >>> def evaluate(parameters, objectives):
        ...     values = {"error": 1 - parameters["width"], "energy": 2.0}
        ...     return {name: values[name] for name in objectives}
        >>> with ThreadPoolExecutor() as threads:
        ...     reports = run_measurements(
        ...         client, evaluate, threads, num_measurements=3, max_parallelism=2
        ...     )
        >>> [sorted(report.values) for report in reports], spent(client)
        ([['energy', 'error'], ['energy', 'error'], ['energy', 'error']], 63.0)
    """
    _check_limits(budget, num_measurements, max_parallelism)
    _check_functions(evaluate, options, callback)
    with _running(client, executors) as chosen:
        check = ResultCheck(client)
        dispatcher = Dispatcher(evaluate, chosen, options=options, check=check)
        feeder = ClientFeeder(
            client,
            budget=math.inf if budget is None else budget,
            num_measurements=math.inf if num_measurements is None else num_measurements,
            options=options,
            check=check,
        )
        loop = MeasurementLoop(
            feeder,
            dispatcher,
            max_parallelism=max_parallelism,
            options=options,
            callback=callback,
        )
        return loop.run()


def configure_executor(
    client: Client,
    evaluate: Evaluate,
    executors: Executors | None = None,
    *,
    options: ExecutionOptions = _DEFAULT_OPTIONS,
) -> ExecutorRunner:
    r"""Let ``client.run_trials`` measure on executors.

    Sets the runner of the experiment and the metrics of its objectives. A trial then
    measures the objectives that it asks for, and only those, and completes, or fails
    with a reason; none is abandoned. As many measurements run at once as
    ``client.run_trials(parallelism=...)`` says.

    The runner is not stored with the experiment: call this again after loading it.
    ``client.run_trials`` then first measures what was running.

    Args:
        client: A client with a strategy of :func:`flexibo_generation_strategy`.
        evaluate: See :func:`run_measurements`.
        executors: What runs it: one executor, or one for each objective. None means as
            many processes as measurements run at once.
        options: Retries, time limit and costs. Which errors end a run is up to
            ``client.run_trials(tolerated_trial_failure_rate=...)``.

    Returns:
        The runner: close it, or use it as a context manager, to end its processes.

    Raises:
        InputDataError: If an executor is missing.

    Example:
        >>> with configure_executor(client, evaluate):  # doctest: +SKIP
        ...     client.run_trials(max_trials=20, parallelism=2)
    """
    _check_functions(evaluate, options)
    if executors is not None:
        _check_executors(client, executors)
    runner = ExecutorRunner(client, evaluate, executors, options=options)
    client.configure_runner(runner)
    experiment = experiment_of(client)
    names = set(objective_names(experiment)) | {
        name for name, metric in experiment.metrics.items() if type(metric) is Metric
    }
    client.configure_metrics([ExecutorMetric(name) for name in sorted(names)])
    return runner


def _check_limits(
    budget: float | None, num_measurements: int | None, max_parallelism: int
) -> None:
    if budget is None and num_measurements is None:
        raise InputDataError(
            "Expected a budget or num_measurements, but got neither. Say when to end."
        )
    if budget is not None:
        number = finite_number(budget)
        if number is None or number < 0:
            raise InputDataError(
                f"Expected a finite budget >= 0, but got {budget!r}. Pass what may be"
                " spent, or None for num_measurements alone."
            )
    if num_measurements is not None and not is_count(num_measurements, least=0):
        raise InputDataError(
            f"Expected num_measurements >= 0, but got {num_measurements!r}. Pass a"
            " whole number, or None for a budget alone."
        )
    check_count(max_parallelism, "max_parallelism")


def _check_functions(
    evaluate: object, options: object, callback: object = None
) -> None:
    """Refuse before anything is asked what would fail at the first measurement."""
    if not callable(evaluate):
        raise InputDataError(
            f"Expected evaluate to be a function, but got {evaluate!r}. Pass"
            " evaluate(parameters, objectives), which returns values by name."
        )
    if not isinstance(options, ExecutionOptions):
        raise InputDataError(
            f"Expected options of type ExecutionOptions, but got {options!r}. Leave"
            " them out for the defaults."
        )
    if callback is not None and not callable(callback):
        raise InputDataError(
            f"Expected callback to be a function or None, but got {callback!r}. Pass"
            " None for none."
        )


def _check_executors(client: Client, executors: Executors) -> None:
    names = objective_names(experiment_of(client))
    given = (
        executors if isinstance(executors, Mapping) else dict.fromkeys(names, executors)
    )
    valid = all(isinstance(executor, Executor) for executor in given.values())
    if set(given) != set(names) or not valid:
        raise InputDataError(
            f"Expected an executor, or one for each of {list(names)}, but got"
            f" {executors!r}. Of a Dask client, it is client.get_executor()."
        )


@contextmanager
def _running(client: Client, executors: Executors | None) -> Iterator[Executors]:
    """The executors given, or processes for the time of a run."""
    if executors is not None:
        _check_executors(client, executors)
        yield executors
        return
    pool = IsolatedProcessPool()
    try:
        yield pool
    finally:
        # Idle after a run that has come to its end.
        pool.terminate()
