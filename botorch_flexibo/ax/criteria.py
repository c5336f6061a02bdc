r"""When a strategy leaves its initial designs, and when it waits for their data."""

from __future__ import annotations

import sys

from ax.core.experiment import Experiment
from ax.exceptions.core import DataRequiredError
from ax.generation_strategy.generation_node import GenerationNode
from ax.generation_strategy.transition_criterion import (
    TransitionCriterion,
    TrialCountPausingCriterion,
)

from botorch_flexibo.ax._pending import pending
from botorch_flexibo.ax.metadata import (
    measured_metrics,
    objective_names,
)
from botorch_flexibo.ax.plan import PlanProgress


class ObjectivesObserved(TransitionCriterion):
    r"""Met once every objective has data and the initial designs were asked for.

    Ax's own criterion counts trials that have all metrics, of which there may be none.
    """

    def __init__(self, transition_to: str, num_designs: int) -> None:
        r"""Criterion.

        Args:
            transition_to: The name of the next node.
            num_designs: The number of initial designs, whatever proposed them. Failed
                ones are replaced once, see :class:`PlanProgress`.
        """
        super().__init__(transition_to=transition_to)
        self.num_designs = num_designs

    def is_met(self, experiment: Experiment, curr_node: GenerationNode) -> bool:
        """Whether to go on to the next node.

        Args:
            experiment: The experiment.
            curr_node: Ignored.

        Returns:
            Whether there are enough trials and data.
        """
        open_entries = PlanProgress.of(experiment, self.num_designs).open
        return not open_entries and not unobserved(experiment)


class InitialDataAwaited(TrialCountPausingCriterion):
    r"""Met while all initial designs were asked for and data are still to come.

    An objective that no running trial measures is never waited for: then one more
    design is proposed, measured on all objectives. There are no more of these than
    initial designs, so an objective that cannot be measured ends the suggestions after
    three times ``threshold`` designs, with an error that names it.
    """

    def num_till_threshold(
        self, experiment: Experiment, trials_from_node: set[int]
    ) -> int:
        """How many designs may be proposed now.

        Args:
            experiment: The experiment.
            trials_from_node: Ignored.

        Returns:
            The number of designs. It has no limit once nothing is awaited: Ax asks the
            node that it is about to leave.
        """
        progress = PlanProgress.of(experiment, self.threshold)
        lacking = unobserved(experiment)
        if not progress.open and not lacking:
            return sys.maxsize
        if progress.open or lacking <= _awaited(experiment):
            return len(progress.open)
        return 1 if progress.num_further < self.threshold else 0

    def is_met(self, experiment: Experiment, curr_node: GenerationNode) -> bool:
        """Whether to wait.

        Args:
            experiment: The experiment.
            curr_node: Ignored.

        Returns:
            Whether no further design may be proposed now.
        """
        return self.num_till_threshold(experiment, set()) <= 0

    def block_continued_generation_error(
        self, node_name: str, experiment: Experiment, trials_from_node: set[int]
    ) -> None:
        """Say what is waited for.

        Args:
            node_name: The node.
            experiment: The experiment.
            trials_from_node: Ignored.

        Raises:
            DataRequiredError: Always.
        """
        lacking = unobserved(experiment)
        if lacking <= _awaited(experiment):
            raise DataRequiredError(
                f"Expected data for {sorted(lacking)} before the next suggestion: all"
                " initial designs are proposed. Complete or fail a running measurement"
                " first."
            )
        raise DataRequiredError(
            f"Expected data for {sorted(lacking)}, but none of"
            f" {len(experiment.trials)} trials gave any, replacements of failed ones"
            " included. See how it is measured; to go on, attach a trial that has a"
            " value (client.attach_trial, then complete_measurement)."
        )


def _awaited(experiment: Experiment) -> set[str]:
    """The objectives that running trials measure."""
    return {name for item in pending(experiment) for name in item.objectives}


def unobserved(experiment: Experiment) -> set[str]:
    """The objectives without any data for their models.

    Args:
        experiment: The experiment.

    Returns:
        Their names. Data of failed and abandoned trials do not count: Ax leaves them
        out of the models.
    """
    observed: set[str] = set()
    for (index, _), names in measured_metrics(experiment).items():
        if experiment.trials[index].status.expecting_data:
            observed |= names
    return set(objective_names(experiment)) - observed
