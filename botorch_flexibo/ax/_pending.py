r"""What is being measured, and what was given up by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ax.core.arm import Arm
from ax.core.base_trial import BaseTrial
from ax.core.experiment import Experiment
from ax.core.trial_status import TrialStatus

from botorch_flexibo.ax.metadata import measured_metrics, targets

_PENDING = (TrialStatus.CANDIDATE, TrialStatus.STAGED, TrialStatus.RUNNING)


class Pending(NamedTuple):
    """An arm of a trial with the metrics that are asked for and not measured yet."""

    trial: BaseTrial
    arm: Arm
    objectives: tuple[str, ...]


def pending(experiment: Experiment) -> Iterator[Pending]:
    """What is being measured.

    Ax itself counts a metric that nobody asked for as pending, for ever.

    Args:
        experiment: The experiment.

    Yields:
        Arms with metrics asked for and not measured yet.
    """
    for item in _unmeasured(experiment):
        if item.trial.status in _PENDING and not _is_abandoned(item):
            yield item


def abandoned(experiment: Experiment) -> Iterator[Pending]:
    """What was given up by hand, which is never asked for again.

    Args:
        experiment: The experiment.

    Yields:
        Abandoned arms, or arms of abandoned trials, with the metrics not measured.
    """
    yield from filter(_is_abandoned, _unmeasured(experiment))


def _is_abandoned(item: Pending) -> bool:
    return item.trial.status.is_abandoned or item.arm in item.trial.abandoned_arms


def _unmeasured(experiment: Experiment) -> Iterator[Pending]:
    """Arms of all trials with the metrics asked for that have no data."""
    measured = measured_metrics(experiment)
    for trial in experiment.trials.values():
        for arm in trial.arms:
            known = measured.get((trial.index, arm.name), set())
            missing = tuple(
                name for name in targets(experiment, trial, arm) if name not in known
            )
            if missing:
                yield Pending(trial, arm, missing)
