r"""Ask and tell: one measurement at a time on Ax's ``Client``.

These functions hold no state: all of it is in the experiment, so they may be mixed with
the client's own methods, and a reloaded experiment goes on where it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

from ax.api.client import Client
from ax.core.arm import Arm
from ax.core.base_trial import BaseTrial
from ax.core.trial_status import TrialStatus
from ax.exceptions.core import OptimizationComplete
from botorch.exceptions.errors import (
    CandidateGenerationError,
    InputDataError,
    UnsupportedError,
)

from botorch_flexibo.ax._pending import pending
from botorch_flexibo.ax.checks import check_options, check_supported
from botorch_flexibo.ax.costs import Costs
from botorch_flexibo.ax.metadata import (
    experiment_of,
    measured_metrics,
    num_generated,
    objective_names,
    record_payment,
    request_of,
    strategy_arguments,
    targets,
    trial_of,
)
from botorch_flexibo.ax.payments import (
    believed_costs,
    believed_payment,
    payment_for,
    told_payment,
)
from botorch_flexibo.ax.told import Value, check_names, checked_value
from botorch_flexibo.utils.checks import is_count


@dataclass(frozen=True)
class Measurement:
    r"""What to measure: one design, and which of its metrics.

    Attributes:
        trial_index: The index of the trial in the experiment.
        arm_name: The name of the design; one measured again keeps its name.
        parameters: The parameters of the design.
        objectives: The names of the metrics to measure.
        fidelity: The values of the parameters that are fidelities.
        cost: What it is believed to cost, set-up included.
    """

    trial_index: int
    arm_name: str
    parameters: Mapping[str, Any]
    objectives: tuple[str, ...]
    fidelity: Mapping[str, float] = field(default_factory=dict)
    cost: float | None = None


def get_next_measurements(
    client: Client,
    n: int = 1,
    *,
    fixed_parameters: Mapping[str, Any] | None = None,
) -> list[Measurement]:
    r"""Ask what to measure next.

    Args:
        client: A client with a strategy of :func:`flexibo_generation_strategy`.
        n: The largest number of measurements. Each takes those before it as running.
        fixed_parameters: Parameters that all designs must have.

    Returns:
        Measurements, each a trial that is running now. Fewer than ``n``, but at least
        one, if initial data are awaited, few may run at once or few are left.

    Raises:
        UnsupportedError: If the experiment or its strategy cannot choose objectives.
        InputDataError: If ``n`` is below 1, or costs, fidelities or fixed parameters do
            not fit the experiment.
        DataRequiredError: If there is none because initial data are awaited.
        MaxParallelismReachedException: If there is none because as many are running as
            may be.
        CandidateGenerationError: If there is none because everything is measured or
            running.

    Example:
        >>> from ax.api.client import Client
        >>> from ax.api.configs import RangeParameterConfig
        >>> import botorch_flexibo.ax as fxa
        >>> client = Client()
        >>> width = RangeParameterConfig(
        ...     name="width", bounds=(0.0, 1.0), parameter_type="float"
        ... )
        >>> client.configure_experiment([width])
        >>> client.configure_optimization("-error, -energy")
        >>> strategy = fxa.flexibo_generation_strategy({"error": 20.0, "energy": 1.0})
        >>> client.set_generation_strategy(strategy)
        >>> first, second = fxa.get_next_measurements(client, n=2)
        >>> first.objectives  # an initial design
        ('error', 'energy')
        >>> fxa.objectives_for(client, second.trial_index)
        ('error', 'energy')
        >>> fxa.complete_measurement(client, first, {"error": 0.3, "energy": 2.0})
        >>> fxa.measurements(client) == [second]
        True
        >>> fxa.fail_measurement(client, second, reason="lost", costs={"error": 3.0})
        >>> fxa.spent(client)
        25.0
    """
    if not is_count(n):
        raise InputDataError(
            f"Expected a whole number n >= 1, but got {n!r}. Ask for one or more."
        )
    experiment, arguments = experiment_of(client), strategy_arguments(client)
    check_supported(experiment, arguments["acquisition"])
    check_options(
        experiment,
        Costs.from_json(arguments["costs"]),
        fidelity=arguments["fidelity"],
        fixed_parameters={} if fixed_parameters is None else fixed_parameters,
    )
    fixed = None if fixed_parameters is None else dict(fixed_parameters)
    trials = _next_trials(client, n, fixed)
    return [
        _measurement(client, trial, arm, targets(experiment, trial, arm))
        for trial in (trial_of(experiment, index) for index in trials)
        for arm in trial.arms
    ]


def complete_measurement(
    client: Client,
    measurement: Measurement | int,
    values: Mapping[str, Value],
    *,
    costs: Mapping[str, float] | None = None,
    setup_cost: float | None = None,
) -> None:
    r"""Tell what was measured, and what it cost.

    The example of :func:`get_next_measurements` shows its use.

    Args:
        client: The client.
        measurement: The measurement, or the index of its trial.
        values: The value of each metric asked for, or a pair of value and standard
            error. Errors count for metrics that always have one; else the noise is
            learned. Those told with ``client.attach_data`` before may be left out, and
            are replaced otherwise. Tracking metrics of the experiment may be told too.
            Values of other objectives that came for free go to ``client.attach_data``.
        costs: What each metric really cost, those told before included. None means what
            is believed: where costs are learned, the first guess.
        setup_cost: What setting the design up really cost. None means what is believed.

    Raises:
        InputDataError: If the trial is not running, a metric is missing, not asked for
            or unknown, or a value is not a finite number. The experiment is unchanged.
        UnsupportedError: If the trial has several arms, likewise.
        InvalidCostError: If a cost is not positive and finite, likewise.
    """
    experiment = experiment_of(client)
    trial = _running_trial(client, measurement)
    asked = targets(experiment, trial, trial.arms[0])
    known = measured_metrics(experiment).get((trial.index, trial.arms[0].name), set())
    tracking = {metric.name for metric in experiment.tracking_metrics}
    check_names(
        values,
        set(asked) - known,
        tracking | (set(asked) & known),
        set(objective_names(experiment)),
    )
    data = {name: checked_value(name, value) for name, value in values.items()}
    payment = told_payment(client, trial, asked, costs=costs, setup_cost=setup_cost)
    record_payment(trial, payment)
    client.complete_trial(trial_index=trial.index, raw_data=data)


def fail_measurement(
    client: Client,
    measurement: Measurement | int,
    *,
    reason: str | None = None,
    costs: Mapping[str, float] | None = None,
    setup_cost: float | None = None,
) -> None:
    r"""Tell that a measurement failed. What it cost still counts.

    The example of :func:`get_next_measurements` shows its use.

    Args:
        client: The client.
        measurement: The measurement, or the index of its trial.
        reason: Why, kept with the trial.
        costs: What each metric really cost, 0 allowed. None means what is believed.
        setup_cost: What setting the design up really cost. None means what is believed.

    Raises:
        InputDataError: If the trial is not running.
        UnsupportedError: If the trial has several arms.
        InvalidCostError: If a cost is negative or not finite.
    """
    trial = _running_trial(client, measurement)
    asked = targets(experiment_of(client), trial, trial.arms[0])
    payment = told_payment(
        client, trial, asked, costs=costs, setup_cost=setup_cost, failed=True
    )
    record_payment(trial, payment)
    client.mark_trial_failed(trial_index=trial.index, failed_reason=reason)


def measurements(client: Client) -> list[Measurement]:
    r"""What is running, and for which objectives; also after a reload.

    What was told with ``client.attach_data`` before is not asked for again.

    The example of :func:`get_next_measurements` shows its use.

    Args:
        client: The client.

    Returns:
        The running measurements in the order of their trials.
    """
    experiment = experiment_of(client)
    return [
        item
        for item in open_measurements(client)
        if experiment.trials[item.trial_index].status.is_running
    ]


def open_measurements(client: Client) -> list[Measurement]:
    r"""What is running, or was asked for and is not running yet.

    Args:
        client: The client.

    Returns:
        The measurements in the order of their trials.
    """
    return [
        _measurement(client, item.trial, item.arm, item.objectives)
        for item in pending(experiment_of(client))
    ]


def objectives_for(client: Client, trial_index: int) -> tuple[str, ...]:
    r"""The metrics to measure in a trial, for users of ``client.get_next_trials``.

    The example of :func:`get_next_measurements` shows its use.

    Args:
        client: The client.
        trial_index: The index of the trial.

    Returns:
        The names of the metrics; all objectives for a trial of another strategy.

    Raises:
        InputDataError: If there is no such trial.
    """
    experiment = experiment_of(client)
    trial = trial_of(experiment, trial_index)
    return targets(experiment, trial, trial.arms[0])


def spent(client: Client) -> float:
    r"""All that was paid so far, in the unit of the costs.

    The example of :func:`get_next_measurements` shows its use.

    Args:
        client: The client.

    Returns:
        Costs told, and those believed where none were told, of all trials that ended,
        failed ones and those of earlier strategies included.
    """
    experiment, costs = experiment_of(client), believed_costs(client)
    return sum(
        payment_for(experiment, costs, trial).total
        for trial in experiment.trials.values()
        if trial.status.is_terminal
    )


def _measurement(
    client: Client, trial: BaseTrial, arm: Arm, names: tuple[str, ...]
) -> Measurement:
    experiment = experiment_of(client)
    request = request_of(trial, arm)
    is_whole = request is not None and set(request.objectives) == set(names)
    cost = request.cost if request is not None and is_whole else None
    arguments = strategy_arguments(client)
    if cost is None:
        costs = believed_costs(client)
        cost = believed_payment(experiment, costs, trial, arm, names).total
    return Measurement(
        trial_index=trial.index,
        arm_name=arm.name,
        parameters=dict(arm.parameters),
        objectives=names,
        fidelity={name: arm.parameters[name] for name in arguments["fidelity"]},  # pyright: ignore
        cost=cost,
    )


def _next_trials(
    client: Client, n: int, fixed_parameters: dict[str, Any] | None
) -> list[int]:
    """The indices of new trials: ``n``, or as many as there are designs for."""
    while True:
        before = num_generated(client)
        try:
            return list(client.get_next_trials(n, fixed_parameters=fixed_parameters))
        except (CandidateGenerationError, OptimizationComplete) as error:
            # Ax gives none of the first ones if it runs out of designs later.
            n = min(n - 1, num_generated(client) - before)
            if n < 1:
                raise CandidateGenerationError(str(error)) from error


def _running_trial(client: Client, measurement: Measurement | int) -> BaseTrial:
    index = measurement
    if isinstance(measurement, Measurement):
        index = measurement.trial_index
    elif not isinstance(measurement, Integral) or isinstance(measurement, bool):
        raise InputDataError(
            "Expected a Measurement or the index of its trial, but got"
            f" {measurement!r}. Pass one of get_next_measurements or measurements."
        )
    trial = trial_of(experiment_of(client), int(index))  # pyright: ignore
    if trial.status != TrialStatus.RUNNING:
        raise InputDataError(
            f"Expected a running measurement, but trial {index} is"
            f" {trial.status.name.lower()}. Each is completed or failed once."
        )
    if len(trial.arms) > 1:
        raise UnsupportedError(
            f"Expected a trial with one arm, but trial {index} has {len(trial.arms)}."
            " Tell the experiment of such a trial with Ax's own methods."
        )
    return trial
