r"""The asynchronous loop: ask, start, wait, tell."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from ax.api.client import Client
from ax.core.base_trial import BaseTrial
from ax.core.trial_status import TrialStatus
from ax.exceptions.core import DataRequiredError
from ax.exceptions.generation_strategy import MaxParallelismReachedException
from botorch.exceptions.errors import CandidateGenerationError

from botorch_flexibo.ax._execution import ExecutionOptions
from botorch_flexibo.ax._interrupts import DeferredInterrupt
from botorch_flexibo.ax._results import ResultCheck
from botorch_flexibo.ax._tasks import Dispatcher, Job, Task
from botorch_flexibo.ax.client import (
    Measurement,
    complete_measurement,
    fail_measurement,
    get_next_measurements,
    open_measurements,
    spent,
)
from botorch_flexibo.ax.metadata import (
    experiment_of,
    measured_metrics,
    record_payment,
    targets,
    trial_of,
)
from botorch_flexibo.ax.orchestration import describe
from botorch_flexibo.ax.payments import believed_costs, told_payment
from botorch_flexibo.ax.told import Value

_ERRORS = "flexibo_errors"


@dataclass(frozen=True)
class MeasurementReport:
    r"""What became of a measurement.

    Attributes:
        trial_index: The index of its trial.
        parameters: The parameters of the design.
        objectives: What was asked for.
        values: What was measured: all that was asked for, a part, or nothing.
        errors: Why the rest was not, by objective; or why what an objective that was
            measured is said to have cost is no cost: then the believed one counts.
    """

    trial_index: int
    parameters: Mapping[str, Any]
    objectives: tuple[str, ...]
    values: Mapping[str, Value]
    errors: Mapping[str, BaseException]


# Called after each measurement is told; one that returns True ends the run.
Callback = Callable[[MeasurementReport], bool | None]


class Feeder(Protocol):
    """Where measurements come from, and where their results go."""

    @property
    def is_finished(self) -> bool:
        """Whether nothing new may be started, as things are."""
        ...

    def ask(self, n: int, *, is_idle: bool) -> Sequence[Measurement]:
        """Up to ``n`` measurements; none if one that is running must end before."""
        ...

    def tell(self, job: Job) -> MeasurementReport | None:
        """Tell what became of a measurement; None if nobody wants to know."""
        ...


class MeasurementLoop:
    r"""Keeps executors busy with measurements."""

    def __init__(
        self,
        feeder: Feeder,
        dispatcher: Dispatcher,
        *,
        max_parallelism: int,
        options: ExecutionOptions,
        callback: Callback | None,
    ) -> None:
        """Loop.

        Args:
            feeder: Where measurements come from.
            dispatcher: What executes them.
            max_parallelism: How many may run at once.
            options: In which order to tell, and what to do about errors.
            callback: Called after each measurement is told.
        """
        self._feeder = feeder
        self._dispatcher = dispatcher
        self._max_parallelism = max_parallelism
        self._options = options
        self._callback = callback
        self._reports: list[MeasurementReport] = []
        self._error: BaseException | None = None
        self._is_stopping = False
        self._is_waiting = False

    def run(self) -> list[MeasurementReport]:
        """Measure until the feeder has no more.

        Returns:
            What became of the measurements, in the order in which they were told.
        """
        with DeferredInterrupt() as interrupt:
            try:
                self._run(interrupt)
            except BaseException:
                self._salvage()
                raise
        if self._error is not None:
            raise self._error
        return self._reports

    def _run(self, interrupt: DeferredInterrupt) -> None:
        while True:
            interrupt.check()
            self._fill()
            is_idle = not self._dispatcher.open
            if is_idle and (self._is_stopping or self._feeder.is_finished):
                return
            jobs = self._dispatcher.ended(in_order=self._options.in_order)
            if not jobs:
                self._dispatcher.wait()
            # In order, the next one is asked for before it matters what else is known.
            for job in jobs[:1] if self._options.in_order else jobs:
                self._tell(job)

    def _fill(self) -> None:
        """Start what may be started."""
        while not self._is_stopping:
            is_idle = not self._dispatcher.open
            free = self._max_parallelism - self._dispatcher.num_in_flight
            # After an answer of none it is of no use to ask before something is told.
            if free < 1 or (self._is_waiting and not is_idle):
                return
            if self._feeder.is_finished:
                return
            asked = self._feeder.ask(free, is_idle=is_idle)
            self._is_waiting = not asked
            for item in asked:
                self._dispatcher.submit(
                    item.trial_index, item.parameters, item.objectives
                )

    def _tell(self, job: Job) -> None:
        report = self._feeder.tell(job)
        self._dispatcher.release(job.index)
        self._is_waiting = False
        if report is None:
            return
        self._reports.append(report)
        if report.errors and self._options.on_error == "raise":
            error = next(iter(report.errors.values()))
            if self._error is None:
                lost = [name for name in report.errors if name not in report.values]
                end = f"could not measure {', '.join(lost)}" if lost else "is complete"
                error.add_note(f"Trial {job.index} {end}.")
                self._error = error
            self._is_stopping = True
        if self._callback is not None and self._callback(report) is True:
            self._is_stopping = True

    def _salvage(self) -> None:
        """Tell what has ended. The rest stays pending."""
        for job in self._dispatcher.salvage():
            # The error that ended the run is the one to report.
            with suppress(Exception):
                self._feeder.tell(job)
        for index in self._dispatcher.open:
            self._dispatcher.cancel(index)


class ClientFeeder:
    r"""Measurements of an experiment, up to a budget or a number."""

    def __init__(
        self,
        client: Client,
        *,
        budget: float,
        num_measurements: float,
        options: ExecutionOptions,
        check: ResultCheck,
    ) -> None:
        """Feeder; first with what is running in the experiment.

        Args:
            client: The client.
            budget: What may be spent on the experiment.
            num_measurements: How many measurements may be asked for.
            options: Whether to resume, and what things cost.
            check: What made the results that are told.
        """
        self._client = client
        self._budget = budget
        self._num_left = num_measurements
        self._options = options
        self._check = check
        self._is_exhausted = False
        self._running: dict[int, Measurement] = {}
        known = open_measurements(client) if options.resume else []
        trials = experiment_of(client).trials
        self._waiting = deque(
            item for item in known if len(trials[item.trial_index].arms) == 1
        )

    @property
    def is_finished(self) -> bool:
        """Whether nothing new may be started, as things are."""
        if self._waiting:
            return False
        return self._is_exhausted or self._num_left < 1 or not self._can_pay()

    def ask(self, n: int, *, is_idle: bool) -> list[Measurement]:
        """Ask what to measure next.

        Args:
            n: How many may be started.
            is_idle: Whether none is running.

        Returns:
            At least one, unless one that is running must end before.
        """
        if self._waiting:
            asked = [self._waiting.popleft() for _ in range(min(n, len(self._waiting)))]
            for item in asked:
                trial = trial_of(experiment_of(self._client), item.trial_index)
                if trial.status != TrialStatus.RUNNING:  # it was about to be
                    trial.mark_running(no_runner_required=True)
        else:
            asked = self._ask_client(n, is_idle=is_idle)
        self._running.update({item.trial_index: item for item in asked})
        return asked

    def tell(self, job: Job) -> MeasurementReport | None:
        """Tell the experiment what became of a measurement.

        Args:
            job: The measurement.

        Returns:
            A report, None if the trial was ended by something else meanwhile.
        """
        report = tell(self._client, job, self._options)
        self._running.pop(job.index, None)
        self._check.warn()
        return report

    def _ask_client(self, n: int, *, is_idle: bool) -> list[Measurement]:
        # One by one as long as each may be the last that can be paid.
        count = int(min(n, self._num_left)) if math.isinf(self._budget) else 1
        try:
            asked = get_next_measurements(self._client, count)
        except (DataRequiredError, MaxParallelismReachedException):
            if is_idle:
                raise
            return []
        except CandidateGenerationError:
            # What is running may fail, and be free again.
            self._is_exhausted = is_idle
            return []
        self._num_left -= len(asked)
        return asked

    def _can_pay(self) -> bool:
        """Whether the budget covers more than what was paid and is running."""
        if math.isinf(self._budget):
            return True
        committed = sum(item.cost or 0.0 for item in self._running.values())
        return spent(self._client) + committed < self._budget


def tell(
    client: Client, job: Job, options: ExecutionOptions
) -> MeasurementReport | None:
    """Tell an experiment what became of a measurement.

    What was measured is kept: the trial fails only if nothing was.

    Args:
        client: The client.
        job: The measurement.
        options: What things cost.

    Returns:
        A report, None if the trial was ended by something else meanwhile.
    """
    trial = trial_of(experiment_of(client), job.index)
    if trial.status != TrialStatus.RUNNING:
        return None
    values, errors, costs = {}, {}, {}
    setups = [0.0] if options.cost == "seconds" else []
    for task in job.tasks:
        if options.cost == "seconds":
            costs.update(_seconds(client, trial, task))
        if task.error is not None:
            errors.update(dict.fromkeys(task.objectives, task.error))
        elif task.result is not None:
            errors.update(task.faults)
            values.update(task.result.values)
            costs.update(task.result.costs or {})
            if task.result.setup_cost is not None:
                setups.append(task.result.setup_cost)
    setup = sum(setups) if setups else None
    asked = tuple(name for task in job.tasks for name in task.objectives)
    experiment, arm = experiment_of(client), trial.arms[0]
    known = measured_metrics(experiment).get((job.index, arm.name), set())
    told = known.intersection(targets(experiment, trial, arm))
    reasons = {name: describe(error) for name, error in errors.items()}
    if not errors:
        complete_measurement(client, job.index, values, costs=costs, setup_cost=setup)
    elif not values and not told:
        reason = "; ".join(dict.fromkeys(reasons.values()))
        fail_measurement(
            client, job.index, reason=reason, costs=costs, setup_cost=setup
        )
    else:
        paid = targets(experiment, trial, arm)
        payment = told_payment(client, trial, paid, costs=costs, setup_cost=setup)
        record_payment(trial, payment)
        trial.update_run_metadata({_ERRORS: reasons})
        client.complete_trial(trial_index=job.index, raw_data=values or None)
    return MeasurementReport(job.index, job.parameters, asked, values, errors)


def _seconds(client: Client, trial: BaseTrial, task: Task) -> dict[str, float]:
    """The time of a task, divided as the believed costs of its objectives are."""
    costs = believed_costs(client)
    prices = costs.price(task.objectives, trial.arms[0].parameters)
    total = sum(prices.values())
    return {name: task.seconds * price / total for name, price in prices.items()}
