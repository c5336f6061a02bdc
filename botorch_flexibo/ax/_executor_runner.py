r"""The runner and metrics with which ``Client.run_trials`` measures on executors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from types import TracebackType
from typing import Any, NoReturn

from ax.api.client import Client
from ax.core.base_trial import BaseTrial
from ax.core.data import Data
from ax.core.metric import MetricFetchResult
from ax.core.trial_status import TrialStatus
from ax.exceptions.core import UnsupportedError as AxUnsupportedError
from ax.storage.json_store.registry import CORE_DECODER_REGISTRY, CORE_ENCODER_REGISTRY
from ax.utils.common.result import Ok
from botorch.exceptions.errors import InputDataError

from botorch_flexibo.ax._execution import Evaluate, ExecutionOptions
from botorch_flexibo.ax._loop import tell
from botorch_flexibo.ax._processes import IsolatedProcessPool
from botorch_flexibo.ax._results import ResultCheck
from botorch_flexibo.ax._tasks import Dispatcher
from botorch_flexibo.ax.orchestration import DecoupledMetric, DecoupledRunner, describe


class ExecutorRunner(DecoupledRunner):
    r"""Measures trials on executors for Ax's Orchestrator.

    See :func:`configure_executor`. A measurement is told to the client as
    :func:`complete_measurement` does, with its costs.
    """

    def __init__(
        self,
        client: Client,
        evaluate: Evaluate,
        executors: Executor | Mapping[str, Executor] | None = None,
        *,
        options: ExecutionOptions,
    ) -> None:
        """Runner.

        Args:
            client: The client of the experiment.
            evaluate: What measures some objectives of a design.
            executors: What runs it. None means processes of its own.
            options: Retries, time limit and costs.
        """
        super().__init__()
        self._client = client
        self._options = options
        self._pool = None
        if executors is None:
            executors = self._pool = IsolatedProcessPool()
        self._check = ResultCheck(client)
        self._dispatcher = Dispatcher(
            evaluate, executors, options=options, check=self._check
        )

    def __enter__(self) -> ExecutorRunner:
        """Use the runner in a ``with`` block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it at the end."""
        self.close()

    def close(self) -> None:
        """End the processes of the runner. What is running stays pending."""
        for index in self._dispatcher.open:
            self._dispatcher.cancel(index)
        if self._pool is not None:
            self._pool.terminate()

    def clone(self) -> ExecutorRunner:
        """The runner itself: a copy would run everything twice."""
        return self

    @classmethod
    def serialize_init_args(cls, obj: Any) -> dict[str, Any]:
        """Nothing: processes cannot be stored.

        Args:
            obj: The runner.

        Returns:
            No arguments.
        """
        return {}

    def run_measurement(
        self,
        trial_index: int,
        parameters: Mapping[str, Any],
        objectives: tuple[str, ...],
    ) -> dict[str, Any]:
        """Start measuring one design.

        Args:
            trial_index: The index of the trial.
            parameters: The parameters of the design.
            objectives: The metrics to measure.

        Returns:
            Nothing.

        Raises:
            UnsupportedError: If the executor takes nothing, see
                :meth:`poll_trial_status`.
        """
        try:
            self._dispatcher.submit(trial_index, parameters, objectives)
        except Exception as error:
            raise AxUnsupportedError(_broken(error)) from error
        return {}

    def poll_trial(
        self, trial_index: int, trial_metadata: Mapping[str, Any]
    ) -> TrialStatus:
        """How a measurement is doing: what has ended is not polled.

        Args:
            trial_index: Ignored.
            trial_metadata: Ignored.

        Returns:
            ``RUNNING``.
        """
        return TrialStatus.RUNNING

    def poll_trial_status(
        self, trials: Iterable[BaseTrial]
    ) -> dict[TrialStatus, set[int]]:
        """Tell what has ended, and how all measurements are doing.

        Args:
            trials: The trials. Those that are running but not known, as after the
                experiment was loaded, are measured.

        Returns:
            The indices of the trials by status.

        Raises:
            UnsupportedError: If an executor is broken. It is Ax's error, which ends the
                run; for any other, the Orchestrator would abandon all trials.
        """
        trials = list(trials)
        try:
            if self._dispatcher.open:
                self._dispatcher.wait()
            for job in self._dispatcher.ended():
                tell(self._client, job, self._options)
                self._dispatcher.release(job.index)
            self._check.warn()
        except Exception as error:
            raise AxUnsupportedError(_broken(error)) from error
        for trial in trials:
            if self._is_unknown(trial):
                trial.update_run_metadata(self.run(trial))
        return super().poll_trial_status(trials)

    def stop_trial(
        self, trial_index: int, trial_metadata: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Give a measurement up.

        Args:
            trial_index: The index of the trial.
            trial_metadata: Ignored.

        Returns:
            Nothing.
        """
        if trial_index in self._dispatcher.open:
            self._dispatcher.cancel(trial_index)
        return {}

    def _is_unknown(self, trial: BaseTrial) -> bool:
        running = trial.status == TrialStatus.RUNNING
        known = trial.index in self._dispatcher.open
        return running and not known and self.error_of(trial) is None


class ExecutorMetric(DecoupledMetric):
    r"""A metric whose values :class:`ExecutorRunner` tells: there is nothing to fetch.

    See :func:`configure_executor`.
    """

    def fetch(self, trial_index: int, trial_metadata: Mapping[str, Any]) -> NoReturn:
        """Refused: the runner tells the values.

        Args:
            trial_index: The index of the trial.
            trial_metadata: Ignored.

        Raises:
            InputDataError: Always.
        """
        raise InputDataError(
            f"Expected the runner to tell {self.name!r} of trial {trial_index}, but it"
            " was fetched. Look the data up instead."
        )

    def fetch_trial_data(self, trial: BaseTrial, **kwargs: Any) -> MetricFetchResult:
        """Nothing: the runner has told all there is.

        Args:
            trial: Ignored.
            **kwargs: Ignored.

        Returns:
            Empty data.
        """
        return Ok(Data())


def _broken(error: Exception) -> str:
    return (
        f"Expected an executor that works, but got {describe(error)} What is running"
        " stays pending. Configure a new executor and run again."
    )


def _encode_runner(runner: ExecutorRunner) -> dict[str, Any]:
    return {"__type": type(runner).__name__}


def _decode_runner() -> None:
    """A loaded experiment has no runner until one is configured."""


CORE_ENCODER_REGISTRY[ExecutorRunner] = _encode_runner
CORE_DECODER_REGISTRY[ExecutorRunner.__name__] = _decode_runner
