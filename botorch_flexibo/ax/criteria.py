r"""When a strategy leaves its initial designs, and when it waits for their data."""

from __future__ import annotations

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
        enough = num_valid_trials(experiment) >= self.num_designs
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
            The number of designs.
        """
        missing = self.threshold - num_valid_trials(experiment)
        awaited = {name for item in pending(experiment) for name in item.objectives}
        lost = not unobserved(experiment) <= awaited
        return max(missing, 1 if lost else 0)

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
            f" suggestion: all {self.threshold} initial designs are proposed. Complete"
            " or fail a running measurement first."
        )


def unobserved(experiment: Experiment) -> set[str]:
    """The objectives without any data.

    Args:
        experiment: The experiment.

    Returns:
        Their names.
    """
    observed = set().union(*measured_metrics(experiment).values())
    return set(objective_names(experiment)) - observed
