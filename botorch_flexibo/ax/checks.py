r"""What an experiment must be for this package to choose its measurements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ax.core.experiment import Experiment
from ax.core.optimization_config import PreferenceOptimizationConfig
from ax.core.parameter import (
    ChoiceParameter,
    DerivedParameter,
    FixedParameter,
    Parameter,
    RangeParameter,
)
from ax.core.search_space import SearchSpace
from botorch.exceptions.errors import InputDataError, UnsupportedError

from botorch_flexibo.ax.costs import Costs
from botorch_flexibo.ax.metadata import objective_names
from botorch_flexibo.ax.told import check_mapping
from botorch_flexibo.utils.checks import finite_number


def check_supported(experiment: Experiment, acquisition: str | None = None) -> None:
    r"""Refuse early what would fail, or be ignored, later.

    Args:
        experiment: The experiment.
        acquisition: The name of the policy of its strategy. None means any that takes
            all kinds of parameters.

    Raises:
        UnsupportedError: If it has fewer than two objectives, scalarised or learned
            objectives, constraints on other metrics than objectives, relative bounds,
            metrics with a signature of their own, a hierarchical search space, task
            parameters, digits, or equality constraints between parameters; or for
            ``"hvkg"``, if a parameter is not continuous.
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
        if others:  # Ax itself refuses constraints on several objectives
            raise UnsupportedError(
                "Expected outcome constraints that bound one objective, but got"
                f" {constraint.expression!r}. Make {others} objectives of their own:"
                " their bounds become thresholds."
            )
    for name in names:
        if experiment.get_metric(name).signature != name:
            raise UnsupportedError(
                f"Expected metrics known by their names, but {name!r} has the signature"
                f" {experiment.get_metric(name).signature!r}. Leave signature_override"
                " out."
            )
    _check_space(experiment.search_space)
    if acquisition == "hvkg":
        _check_continuous(experiment.search_space)


def check_options(
    experiment: Experiment,
    costs: Costs,
    *,
    fidelity: Mapping[str, float],
    fixed_parameters: Mapping[str, Any],
) -> None:
    r"""Refuse early what names no metric or parameter of an experiment.

    Args:
        experiment: The experiment.
        costs: What measurements are believed to cost.
        fidelity: The target of each parameter that is a fidelity.
        fixed_parameters: Parameters that all designs must have.

    Raises:
        InputDataError: If there is no cost for an objective, or one for something else;
            if a parameter does not exist or may not have its value; if a set-up or a
            fidelity depends on a parameter that it cannot depend on; or if a fidelity
            of the experiment has no target.
    """
    costs.check_objectives(objective_names(experiment))
    parameters = experiment.search_space.parameters
    free = [
        name
        for name, parameter in parameters.items()
        if not isinstance(parameter, (FixedParameter, DerivedParameter))
    ]
    set_up = None if costs.setup is None else costs.setup.parameters
    if set_up is not None:
        known = set(set_up) <= {*free, *_fixed(parameters)}
        if not known or set(set_up).isdisjoint(free):
            raise InputDataError(
                "Expected parameters of the set-up that designs can differ in, of"
                f" {free}, but got {list(set_up)}. Name one or more of these, or pass"
                " None for all."
            )
    unnamed = [name for name in free if parameters[name].is_fidelity]
    if not set(unnamed) <= set(fidelity):
        raise InputDataError(
            f"Expected a target of each fidelity of the experiment {unnamed}, but got"
            f" {dict(fidelity)}. Pass fidelity={{name: target}} to the strategy."
        )
    for name, target in fidelity.items():
        if name not in free or not parameters[name].is_numeric:
            numeric = [name for name in free if parameters[name].is_numeric]
            raise InputDataError(
                f"Expected fidelities among the numeric parameters {numeric}, but got"
                f" {name!r}. Name one of these."
            )
        _check_value(parameters[name], target, what="target of the fidelity")
    check_mapping(fixed_parameters, "fixed_parameters")
    for name, value in fixed_parameters.items():
        if name not in parameters:
            raise InputDataError(
                f"Expected fixed_parameters among {list(parameters)}, but got {name!r}."
                " Leave others out."
            )
        _check_value(parameters[name], value, what="value of the fixed parameter")


def _check_space(space: SearchSpace) -> None:
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
    rounded = [
        name
        for name, parameter in space.parameters.items()
        if isinstance(parameter, RangeParameter) and parameter.digits is not None
    ]
    if rounded:
        raise UnsupportedError(
            f"Expected parameters without digits, but got {rounded}. Ax rounds what is"
            " proposed, so that designs repeat: give a choice of ordered values, or a"
            " step_size."
        )
    equalities = [c for c in space.parameter_constraints if c.is_equality]
    if equalities:
        raise UnsupportedError(
            "Expected no equality constraints between parameters, but got"
            f" {equalities}. Replace one parameter by its expression in the others."
        )


def _check_continuous(space: SearchSpace) -> None:
    """Refuse what a one-shot acquisition function cannot search."""
    separate = [
        name
        for name, parameter in space.parameters.items()
        if isinstance(parameter, ChoiceParameter)
        or (isinstance(parameter, RangeParameter) and parameter.python_type is int)
    ]
    if separate:
        raise UnsupportedError(
            'Expected continuous parameters for the acquisition "hvkg", but got'
            f" integers or choices: {separate}. Set a strategy with"
            ' acquisition="lookahead".'
        )


def _fixed(parameters: Mapping[str, Parameter]) -> list[str]:
    """The parameters with a single value."""
    return [
        name
        for name, parameter in parameters.items()
        if isinstance(parameter, FixedParameter)
    ]


def _check_value(parameter: Parameter, value: Any, *, what: str) -> None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    allowed = isinstance(value, (str, bool)) or finite_number(value) is not None
    if parameter.python_type in (int, float) and not is_number:
        allowed = False
    if type(value) is float and value.is_integer() and parameter.python_type is int:
        value = int(value)
    if not allowed or not parameter.validate(value):
        raise InputDataError(
            f"Expected a {what} {parameter.name!r} that the experiment allows"
            f" ({parameter}), but got {value!r}. Choose one of its space."
        )
