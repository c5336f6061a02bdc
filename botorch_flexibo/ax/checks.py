r"""What an experiment must be for this package to choose its measurements."""

from __future__ import annotations

from ax.core.experiment import Experiment
from ax.core.optimization_config import PreferenceOptimizationConfig
from ax.core.parameter import ChoiceParameter
from botorch.exceptions.errors import UnsupportedError

from botorch_flexibo.ax.metadata import objective_names


def check_supported(experiment: Experiment) -> None:
    r"""Refuse early what would fail, or be ignored, later.

    Args:
        experiment: The experiment.

    Raises:
        UnsupportedError: If it has fewer than two objectives, scalarised or learned
            objectives, constraints on other metrics than objectives, relative bounds,
            metrics with a signature of their own, or a hierarchical search space or
            task parameters.
    """
    names = objective_names(experiment)
    config = experiment.optimization_config
    if isinstance(config, PreferenceOptimizationConfig):
        raise UnsupportedError(
            "Expected objectives that are metrics, but got a preference learned from"
            " comparisons. Configure the metrics themselves as objectives."
        )
    constraints = [] if config is None else config.all_constraints
    for constraint in constraints:
        if constraint.relative:
            raise UnsupportedError(
                f"Expected absolute bounds, but got {constraint.expression!r}. Give the"
                " bound as a number: a baseline may lack the metric."
            )
        others = sorted(set(constraint.metric_names) - set(names))
        if others or len(constraint.metric_names) > 1:
            raise UnsupportedError(
                "Expected outcome constraints that bound one objective, but got"
                f" {constraint.expression!r}. Make {others or constraint.metric_names}"
                " objectives of their own: their bounds become thresholds."
            )
    for name in names:
        if experiment.get_metric(name).signature != name:
            raise UnsupportedError(
                f"Expected metrics known by their names, but {name!r} has the signature"
                f" {experiment.get_metric(name).signature!r}. Leave signature_override"
                " out."
            )
    space = experiment.search_space
    tasks = [
        name
        for name, parameter in space.parameters.items()
        if isinstance(parameter, ChoiceParameter) and parameter.is_task
    ]
    if space.is_hierarchical or tasks:
        raise UnsupportedError(
            "Expected a flat search space without task parameters, but got"
            f" {tasks or 'a hierarchical one'}. Make them ordinary parameters."
        )
