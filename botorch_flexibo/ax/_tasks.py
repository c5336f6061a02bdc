r"""Measurements as tasks of executors: started, started again, timed and collected.

Nothing here knows Ax. Evaluation functions are submitted as they are, so what runs the
tasks imports them and nothing of this package.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from botorch_flexibo.ax._execution import (
    Check,
    Evaluate,
    ExecutionOptions,
    MeasurementResult,
)
from botorch_flexibo.ax._processes import IsolatedProcessPool, TimedFuture

# How often futures that do not say when they start are looked at.
_TICK_S = 0.1
_LEAST_SECONDS = 1e-9
# Errors of the executor itself: nothing is known of the measurement.
_FATAL = (BrokenExecutor, CancelledError, KeyboardInterrupt)


@dataclass(eq=False)
class Task:
    """Some objectives of a measurement, which one executor measures together.

    Attributes:
        objectives: Their names.
        executor: The executor.
        result: What was measured, None as long as nothing was.
        error: Why nothing can be measured, None as long as it can.
        faults: Why some objectives have no value though others have.
        seconds: How long all attempts took.
        attempts: How many were started.
        future: The last attempt.
        started_at: When it started, or was seen waiting for the last time.
        seen_at: When it was first known to run.
        ended_at: When it ended.
    """

    objectives: tuple[str, ...]
    executor: Executor
    result: MeasurementResult | None = None
    error: BaseException | None = None
    faults: dict[str, Exception] = field(default_factory=dict)
    seconds: float = 0.0
    attempts: int = 0
    future: Future[Any] | None = None
    started_at: float = 0.0
    seen_at: float | None = None
    ended_at: float | None = None

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing more to wait for."""
        return self.result is not None or self.error is not None


@dataclass(eq=False)
class Job:
    """A measurement: one design, and one task per executor.

    Attributes:
        index: The index of the trial.
        parameters: The parameters of the design.
        tasks: The tasks.
    """

    index: int
    parameters: dict[str, Any]
    tasks: list[Task]

    @property
    def ended_at(self) -> float:
        """When the last task ended."""
        return max(task.ended_at or math.inf for task in self.tasks)


class _BrokenError(Exception):
    """An error of an executor, as told apart from an interrupt of this process."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


class Dispatcher:
    r"""Hands measurements to executors, and back when they have ended.

    A measurement stays known until it is released, so that none is lost if the caller
    is interrupted.
    """

    def __init__(
        self,
        evaluate: Evaluate,
        executors: Mapping[str, Executor] | Executor,
        *,
        options: ExecutionOptions,
        check: Check,
    ) -> None:
        """Dispatcher.

        Args:
            evaluate: What measures some objectives of a design.
            executors: What runs it, for all objectives or for each.
            options: How.
            check: Makes a result of what the function returned, or raises.
        """
        self._evaluate = evaluate
        self._executors = executors
        self._options = options
        self._check = check
        self._jobs: dict[int, Job] = {}
        self._late: dict[Future[Any], int] = {}
        self._wake = threading.Event()
        self._is_ending = False

    @property
    def open(self) -> frozenset[int]:
        """The indices of the measurements that are not released."""
        return frozenset(self._jobs)

    @property
    def num_in_flight(self) -> int:
        """How many measurements occupy an executor, late ones included."""
        for future in [future for future in self._late if future.done()]:
            del self._late[future]
        return len(self._jobs.keys() | set(self._late.values()))

    def submit(
        self, index: int, parameters: Mapping[str, Any], objectives: tuple[str, ...]
    ) -> None:
        """Start a measurement: one task per executor.

        Args:
            index: The index of the trial.
            parameters: The parameters of the design.
            objectives: What to measure.
        """
        groups: dict[int, Task] = {}
        for name in objectives:
            executor = self._executors
            if isinstance(executor, Mapping):
                executor = executor[name]
            task = groups.setdefault(id(executor), Task((), executor))
            task.objectives += (name,)
        job = Job(index, dict(parameters), list(groups.values()))
        self._jobs[index] = job
        try:
            for task in job.tasks:
                self._start(job, task)
        except BaseException:
            self.cancel(index)
            raise

    def wait(self) -> None:
        """Wait until a task may have ended, a moment at most."""
        self._wake.wait(timeout=_TICK_S)
        self._wake.clear()

    def ended(self, *, in_order: bool = False) -> list[Job]:
        """The measurements that have ended and are not released.

        Args:
            in_order: Whether to leave out those behind one that has not ended.

        Returns:
            The measurements, in the order of submission if ``in_order``, else in the
            order in which they ended.

        Raises:
            BrokenExecutor: If there is none, and an executor is broken.
            CancelledError: If there is none, and something else has cancelled one.
            KeyboardInterrupt: If there is none, and a process was interrupted.
        """
        jobs, broken, is_behind = [], None, False
        for job in list(self._jobs.values()):
            try:
                for task in job.tasks:
                    if not task.is_settled:
                        self._look_at(job, task)
            except _BrokenError as error:
                broken = broken or error
            if all(task.is_settled for task in job.tasks):
                jobs += [] if is_behind else [job]
            else:
                is_behind = in_order
        if broken is not None and not jobs:
            raise broken.error
        return jobs if in_order else sorted(jobs, key=_end)

    def salvage(self) -> list[Job]:
        """The measurements that have ended, at the end of an interrupted run.

        Returns:
            The measurements. What failed and might be tried again is not among them.
        """
        self._is_ending = True
        try:
            return self.ended()
        except _FATAL:
            return []

    def release(self, index: int) -> None:
        """Forget a measurement that has ended.

        Args:
            index: The index of the trial.
        """
        del self._jobs[index]

    def cancel(self, index: int) -> None:
        """Give a measurement up. What cannot be stopped goes on for nothing.

        Args:
            index: The index of the trial.
        """
        for task in self._jobs.pop(index).tasks:
            future = task.future
            if future is not None and not future.cancel():
                self._stop(task, future)
                self._late[future] = index

    def _start(self, job: Job, task: Task) -> None:
        is_dask = _is_dask(task.executor)
        # Dask takes an equal call for the same one, and does not repeat it.
        options = {"pure": False} if is_dask else {}
        now = time.monotonic()
        future = task.executor.submit(
            self._evaluate, dict(job.parameters), task.objectives, **options
        )
        task.attempts += 1
        task.started_at = now
        task.seen_at = now if is_dask else None
        task.ended_at = None
        task.future = future
        future.add_done_callback(partial(self._on_done, task))

    def _on_done(self, task: Task, future: Future[Any]) -> None:
        """In a thread of the executor."""
        if task.future is future and task.ended_at is None:
            task.ended_at = time.monotonic()
        self._wake.set()

    def _look_at(self, job: Job, task: Task) -> None:
        future, now = task.future, time.monotonic()
        if future is None:
            return
        if isinstance(future, TimedFuture) and future.started_at is not None:
            task.started_at = task.seen_at = future.started_at
        if task.ended_at is not None:
            self._settle(job, task, future)
        elif task.seen_at is None:
            if future.running():
                task.seen_at = now
            else:
                task.started_at = now
        elif self._is_late(now - task.seen_at):
            task.ended_at = now
            self._expire(job, task, future)

    def _is_late(self, seconds: float) -> bool:
        limit = self._options.timeout_s
        return limit is not None and seconds > limit

    def _settle(self, job: Job, task: Task, future: Future[Any]) -> None:
        if future.cancelled():
            message = (
                f"Expected the measurement of trial {job.index} to run, but something"
                " else has cancelled it. It is still pending in the experiment."
            )
            raise _BrokenError(CancelledError(message))
        error = future.exception()
        if isinstance(error, _FATAL):
            raise _BrokenError(error)
        if error is not None:
            self._fail(job, task, error)
            return
        _count_time(task)
        try:
            task.result, task.faults = self._check(task.objectives, future.result())
        except Exception as wrong:  # it would be wrong again
            task.error = wrong

    def _fail(self, job: Job, task: Task, error: BaseException) -> None:
        if task.attempts > self._options.retries:
            _count_time(task)
            task.error = error
        elif not self._is_ending:
            _count_time(task)
            self._start(job, task)

    def _expire(self, job: Job, task: Task, future: Future[Any]) -> None:
        error = TimeoutError(
            f"The measurement of {', '.join(task.objectives)} took longer than"
            f" {self._options.timeout_s} s."
        )
        if self._stop(task, future):
            self._fail(job, task, error)
        else:
            self._late[future] = job.index
            task.error = error

    @staticmethod
    def _stop(task: Task, future: Future[Any]) -> bool:
        """Stop a task, where that is possible."""
        if isinstance(task.executor, IsolatedProcessPool):
            task.executor.kill(future)
            return True
        return False


def _count_time(task: Task) -> None:
    if task.ended_at is not None:
        task.seconds += max(task.ended_at - task.started_at, _LEAST_SECONDS)


def _end(job: Job) -> float:
    return job.ended_at


def _is_dask(executor: Executor) -> bool:
    return type(executor).__module__.partition(".")[0] == "distributed"
