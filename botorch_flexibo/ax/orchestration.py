r"""Runners and metrics with which ``Client.run_trials`` measures single objectives.

Ax's Orchestrator deploys a trial through a runner and then fetches *every* metric of
the experiment; a trial that lacks one is abandoned, with the data that it has. Here the
runner is told which objectives a trial is to measure, and a metric that nobody asked
for answers that there is nothing to fetch.
"""

from __future__ import annotations

import json
import logging
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

import pandas as pd
from ax.api.protocols.metric import IMetric
from ax.api.protocols.runner import IRunner
from ax.core.arm import Arm
from ax.core.base_trial import BaseTrial
from ax.core.data import MAP_KEY, Data
from ax.core.metric import MetricFetchE, MetricFetchResult
from ax.core.runner import Runner
from ax.core.trial_status import TrialStatus
from ax.exceptions.core import UnsupportedError as AxUnsupportedError
from ax.storage.json_store.encoders import metric_to_dict, runner_to_dict
from ax.storage.json_store.registry import CORE_DECODER_REGISTRY, CORE_ENCODER_REGISTRY
from ax.utils.common.result import Err, Ok
from botorch.exceptions.errors import InputDataError, UnsupportedError

from botorch_flexibo.ax.metadata import Payment, record_payment, targets
from botorch_flexibo.ax.told import checked_costs, checked_value
from botorch_flexibo.utils.checks import check_count

OBJECTIVES = "objectives"
_STATE = "flexibo_run"
_logger = logging.getLogger(__name__)


class DecoupledRunner(IRunner):
    r"""Base of runners that measure only the objectives a trial asks for.

    A subclass starts the measurement in :meth:`run_measurement` and says in
    ``poll_trial`` how it is doing, as with Ax's ``IRunner``. Use it together with
    metrics derived from :class:`DecoupledMetric`.

    What fails, fails one trial: if :meth:`run_measurement` or ``poll_trial`` raises, or
    the latter returns ``FAILED``, the measurement is started again up to ``retries``
    times; then the trial is marked as failed, with the reason. What it cost still
    counts. A poll that may fail for a moment should return ``RUNNING`` then. Ax's own
    ``UnsupportedError`` ends the run instead, and leaves the trial to the next one.

    A subclass is stored with the experiment through the arguments of its constructor,
    which must be JSON and attributes of the same names. Import its module before
    loading, and give it a name of its own.

    Example:
        >>> from ax.core.trial_status import TrialStatus
        >>> from botorch_flexibo.ax.orchestration import DecoupledRunner
        >>> class QueueRunner(DecoupledRunner):
        ...     def run_measurement(self, trial_index, parameters, objectives):
        ...         return {"job": f"{trial_index}: {', '.join(objectives)}"}
        ...
        ...     def poll_trial(self, trial_index, trial_metadata):
        ...         return TrialStatus.COMPLETED
        >>> QueueRunner(retries=2).run_measurement(0, {"lr": 0.1}, ("error",))
        {'job': '0: error'}
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make JSON storage know a runner."""
        super().__init_subclass__(**kwargs)
        _make_storable(cls, runner_to_dict)

    def __init__(self, *, retries: int = 0) -> None:
        r"""Runner.

        Args:
            retries: How often a failed measurement is started again.

        Raises:
            InputDataError: If it is negative.
        """
        check_count(retries, "retries", least=0)
        self.retries = retries

    @abstractmethod
    def run_measurement(
        self,
        trial_index: int,
        parameters: Mapping[str, Any],
        objectives: tuple[str, ...],
    ) -> dict[str, Any]:
        """Start measuring one design, or measure it.

        Args:
            trial_index: The index of the trial.
            parameters: The parameters of the design.
            objectives: The metrics to measure, and no others.

        Returns:
            What identifies the measurement later, in JSON: it is given back as
            ``trial_metadata``, with the names of the ``objectives``.
        """

    @abstractmethod
    def poll_trial(
        self, trial_index: int, trial_metadata: Mapping[str, Any]
    ) -> TrialStatus:
        """How a measurement is doing.

        Args:
            trial_index: The index of the trial.
            trial_metadata: What :meth:`run_measurement` returned.

        Returns:
            ``RUNNING``, ``COMPLETED`` or ``FAILED``.
        """

    def payment(
        self, trial_index: int, trial_metadata: Mapping[str, Any]
    ) -> Payment | None:
        """What a measurement that ended really cost, failed ones included.

        Args:
            trial_index: The index of the trial.
            trial_metadata: What :meth:`run_measurement` returned.

        Returns:
            The cost of each objective asked for and of the set-up; None (the default)
            means what is believed.
        """
        return None

    @property
    def run_metadata_report_keys(self) -> list[str]:
        """What ``Client.summarize`` shows of a run: its objectives."""
        return [OBJECTIVES]

    def run_trial(
        self, trial_index: int, parameterization: Mapping[str, Any]
    ) -> NoReturn:
        """Refused: a measurement needs its objectives.

        Args:
            trial_index: Ignored.
            parameterization: Ignored.

        Raises:
            UnsupportedError: Always.
        """
        raise UnsupportedError(
            "Expected a trial, which says what to measure, but got parameters only. Use"
            " `run`, or `run_measurement` with the objectives."
        )

    def run(self, trial: BaseTrial) -> dict[str, Any]:
        """Start the measurement of a trial; for Ax's Orchestrator.

        Args:
            trial: A trial with one arm.

        Returns:
            The run metadata.
        """
        return self._start(trial, attempt=1)

    def poll_trial_status(
        self, trials: Iterable[BaseTrial]
    ) -> dict[TrialStatus, set[int]]:
        """How measurements are doing; for Ax's Orchestrator.

        Args:
            trials: The trials.

        Returns:
            The indices of the trials by status.
        """
        statuses: dict[TrialStatus, set[int]] = {}
        for trial in trials:
            ended = trial.status.is_terminal
            status = trial.status if ended else self._poll(trial)
            statuses.setdefault(status, set()).add(trial.index)
        return statuses

    def poll_exception(self, trial: BaseTrial) -> str:
        """Why a trial failed; for Ax's Orchestrator."""
        return self.error_of(trial) or trial.status_reason or "No reason was given."

    @staticmethod
    def error_of(trial: BaseTrial) -> str | None:
        """Why the last attempt at a trial failed, None if it did not."""
        return trial.run_metadata.get(_STATE, {}).get("error")

    def _start(self, trial: BaseTrial, *, attempt: int) -> dict[str, Any]:
        """Start a measurement; the metadata say so if that fails."""
        arm = _only_arm(trial)
        names = targets(trial.experiment, trial, arm)
        known = {OBJECTIVES: list(names), _STATE: {"attempt": attempt}}
        try:
            metadata = self.run_measurement(trial.index, dict(arm.parameters), names)
        except AxUnsupportedError:
            raise
        except Exception as error:
            return {**known, _STATE: {"attempt": attempt, "error": describe(error)}}
        try:
            json.dumps(metadata)
        except (TypeError, ValueError) as error:
            # Of Ax, which would start the measurement again for any other error.
            raise AxUnsupportedError(
                "Expected run_measurement to return JSON (dict, list, str, int, float,"
                f" bool or None), but got {metadata!r}. Return names and numbers that"
                " identify the measurement."
            ) from error
        return {**metadata, **known}

    def _poll(self, trial: BaseTrial) -> TrialStatus:
        state = trial.run_metadata.get(_STATE, {})
        status, reason = TrialStatus.FAILED, state.get("error")
        if reason is None:
            try:
                status = self.poll_trial(trial.index, trial.run_metadata)
            except Exception as error:
                # Else the Orchestrator abandons the trial.
                reason = describe(error)
        if status == TrialStatus.FAILED:
            attempt = state.get("attempt", 1)
            if attempt <= self.retries:
                metadata = self._start(trial, attempt=attempt + 1)
                trial.update_run_metadata(metadata)
                return TrialStatus.RUNNING
            trial.update_run_metadata({_STATE: {**state, "error": reason}})
        if status.is_terminal:
            self._pay(trial, status)
        return status

    def _pay(self, trial: BaseTrial, status: TrialStatus) -> None:
        """Record what was paid. No fault in it may cost the values."""
        asked = targets(trial.experiment, trial, _only_arm(trial))
        try:
            payment = self.payment(trial.index, trial.run_metadata)
            if payment is None:
                return
            if set(payment.costs) != set(asked):
                raise InputDataError(
                    f"Expected the cost of each of {list(asked)}, but got"
                    f" {dict(payment.costs)}. Return None for the believed costs."
                )
            costs, setup = checked_costs(
                asked,
                payment.costs,
                payment.setup,
                may_be_zero=status == TrialStatus.FAILED,
            )
        except Exception as error:
            _logger.warning(
                "The cost of trial %d is unknown; the believed one counts: %s",
                trial.index,
                describe(error),
            )
            return
        record_payment(trial, Payment(costs, setup or 0.0, told=tuple(costs)))


class DecoupledMetric(IMetric):
    r"""Base of metrics that are fetched only where they were asked for.

    A subclass fetches in ``fetch``, as with Ax's ``IMetric``. Objectives that a trial
    was not to measure are never fetched, tracking metrics always. A value that cannot
    be fetched costs no other: the trial fails only if all that was asked of it is lost,
    and Ax abandons none.

    A subclass is stored with the experiment as a runner is.

    Example:
        >>> from botorch_flexibo.ax.orchestration import DecoupledMetric
        >>> class LogMetric(DecoupledMetric):
        ...     def fetch(self, trial_index, trial_metadata):
        ...         return 0, trial_metadata["log"][self.name]
        >>> LogMetric("error").fetch(0, {"log": {"error": 0.25}})
        (0, 0.25)
    """

    recoverable_exceptions = {Exception}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make JSON storage know a metric."""
        super().__init_subclass__(**kwargs)
        _make_storable(cls, metric_to_dict)

    def __init__(self, name: str) -> None:
        """Metric.

        Args:
            name: The name of the metric in the experiment.
        """
        super().__init__(name=name)

    @abstractmethod
    def fetch(
        self, trial_index: int, trial_metadata: Mapping[str, Any]
    ) -> tuple[int, float | tuple[float, float]]:
        """Fetch the value of a trial that measured this metric.

        Args:
            trial_index: The index of the trial.
            trial_metadata: What the runner returned for it.

        Returns:
            The progression, 0 if there is none, and the value or a pair of value and
            standard error.
        """

    def fetch_trial_data(self, trial: BaseTrial, **kwargs: Any) -> MetricFetchResult:
        """Fetch what was asked for; for Ax's Orchestrator.

        Args:
            trial: A trial with one arm.
            **kwargs: Ignored.

        Returns:
            The data, empty if this metric was not asked of the trial.
        """
        arm = _only_arm(trial)
        experiment = trial.experiment
        tracking = {metric.name for metric in experiment.tracking_metrics}
        asked = targets(experiment, trial, arm)
        if self.name not in asked and self.name not in tracking:
            return Ok(Data())
        try:
            progression, value = self.fetch(trial.index, trial.run_metadata)
            checked = checked_value(self.name, value)
        except Exception as error:
            if self.name in asked:
                _lose(trial, asked, self.name, error)
            return Err(MetricFetchE(f"Failed to fetch {self.name}.", error))
        mean, sem = checked if isinstance(checked, tuple) else (checked, float("nan"))
        record = {
            "trial_index": trial.index,
            "arm_name": arm.name,
            "metric_name": self.name,
            MAP_KEY: progression,
            "mean": mean,
            "sem": sem,
            "metric_signature": self.signature,
        }
        return Ok(Data(df=pd.DataFrame.from_records([record])))


def describe(error: BaseException) -> str:
    """An error in one line, for a trial's metadata.

    Args:
        error: The error.

    Returns:
        Its type and message.
    """
    return f"{type(error).__name__}: {error}"


def _only_arm(trial: BaseTrial) -> Arm:
    if len(trial.arms) != 1:
        raise AxUnsupportedError(
            f"Expected trials with one arm, but trial {trial.index} has"
            f" {len(trial.arms)}. Attach each design as a trial of its own."
        )
    return trial.arms[0]


def _lose(
    trial: BaseTrial, asked: tuple[str, ...], name: str, error: Exception
) -> None:
    """Keep that a value could not be fetched; fail a trial that has lost all."""
    state = dict(trial.run_metadata.get(_STATE, {}))
    lost = {**state.get("lost", {}), name: describe(error)}
    trial.update_run_metadata({_STATE: {**state, "lost": lost}})
    if set(lost) >= set(asked) and trial.status == TrialStatus.COMPLETED:
        trial.mark_failed(reason="; ".join(lost.values()), unsafe=True)


def _make_storable(
    kind: type[Runner | IMetric], encode: Callable[[Any], dict[str, Any]]
) -> None:
    """Register a class with the JSON storage, which knows classes by their name."""
    known = CORE_DECODER_REGISTRY.get(kind.__name__)
    if known is not None and known.__module__.partition(".")[0] == "ax":
        raise UnsupportedError(
            f"Expected a name that Ax's storage does not know yet, but got a class"
            f" {kind.__name__!r}. Give it another name."
        )
    CORE_ENCODER_REGISTRY[kind] = encode
    CORE_DECODER_REGISTRY[kind.__name__] = kind
