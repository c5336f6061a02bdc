r"""When a strategy leaves its initial designs, and when it waits for their data."""

from __future__ import annotations

import math
import sys

from ax.core.experiment import Experiment
from ax.exceptions.core import DataRequiredError
from ax.generation_strategy.generation_node import GenerationNode
from ax.generation_strategy.transition_criterion import (
    TransitionCriterion,
    TrialCountPausingCriterion,
)

from botorch_flexibo.ax.metadata import (
    measured_metrics,
    num_valid_trials,
    objective_names,
    pending,
)


class ObjectivesObserved(TransitionCriterion):
    r"""Met once every objective has data and the initial designs exist.

    Ax's own criterion counts trials that have all metrics, of which there may be none.
    """

    def __init__(self, transition_to: str, num_designs: int) -> None:
        r"""Criterion.

        Args:
            transition_to: The name of the next node.
            num_designs: The number of initial designs, whatever proposed them. Failed
                ones do not count.
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
        enough = num_missing_designs(experiment, self.num_designs) <= 0
        return enough and not unobserved(experiment)


class InitialDataAwaited(TrialCountPausingCriterion):
    r"""Met while all initial designs exist and their data are still to come.

    An objective that no running trial measures is never waited for: then one more
    design is proposed.
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
        missing = num_missing_designs(experiment, self.threshold)
        lacking = unobserved(experiment)
        if missing <= 0 and not lacking:
            return sys.maxsize
        awaited = {name for item in pending(experiment) for name in item.objectives}
        return max(missing, 0 if lacking <= awaited else 1)

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
        raise DataRequiredError(
            f"Expected data for {sorted(unobserved(experiment))} before the next"
            " suggestion: all initial designs are proposed. Complete or fail a running"
            " measurement first."
        )


def num_missing_designs(experiment: Experiment, num_designs: int) -> int:
    """How many initial designs are still to be proposed.

    Args:
        experiment: The experiment.
        num_designs: The number of initial designs; a small finite space may have fewer.

    Returns:
        The number of designs, not positive if there are enough.
    """
    parameters = experiment.search_space.tunable_parameters.values()
    size = math.prod(parameter.cardinality() for parameter in parameters)
    return int(min(num_designs, size)) - num_valid_trials(experiment)


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
