r"""What trials cost: told, or believed where nothing was told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from ax.api.client import Client
from ax.core.arm import Arm
from ax.core.base_trial import BaseTrial
from ax.core.experiment import Experiment

from botorch_flexibo.ax.costs import Costs
from botorch_flexibo.ax.metadata import (
    Payment,
    experiment_of,
    measured_metrics,
    payment_of,
    request_of,
    strategy_arguments,
    targets,
)
from botorch_flexibo.ax.told import checked_costs


def believed_costs(client: Client) -> Costs:
    r"""The costs that a client's strategy believes in.

    Args:
        client: The client.

    Returns:
        The costs.

    Raises:
        UnsupportedError: If the strategy is not one of this package.
    """
    return Costs.from_json(strategy_arguments(client)["costs"])


def told_payment(
    client: Client,
    trial: BaseTrial,
    objectives: tuple[str, ...],
    *,
    costs: Mapping[str, float] | None,
    setup_cost: float | None,
    failed: bool = False,
) -> Payment:
    r"""What was told of the costs of a trial, and what is believed of the rest.

    Args:
        client: The client.
        trial: The trial.
        objectives: The metrics that were measured.
        costs: What each of them, or some, really cost. None means what is believed.
        setup_cost: What setting the design up really cost. None means what is believed.
        failed: Whether the trial failed: then measuring may have cost nothing.

    Returns:
        The payment.

    Raises:
        InputDataError: If there are costs of something else.
        InvalidCostError: If a cost is not positive (0 allowed for a set-up and where
            the trial failed) and finite.
        UnsupportedError: If the strategy is not one of this package.
    """
    paid, setup = checked_costs(objectives, costs, setup_cost, may_be_zero=failed)
    believed = believed_payment(
        experiment_of(client), believed_costs(client), trial, trial.arms[0], objectives
    )
    return Payment(
        costs={**believed.costs, **paid},
        setup=believed.setup if setup is None else setup,
        told=tuple(paid),
    )


def payment_for(experiment: Experiment, costs: Costs, trial: BaseTrial) -> Payment:
    r"""What was paid for a trial that ended.

    Args:
        experiment: The experiment.
        costs: The believed costs.
        trial: The trial.

    Returns:
        The sum of :func:`arm_payments`.
    """
    recorded = payment_of(trial)
    if recorded is not None:
        return recorded
    total: Counter[str] = Counter()
    setup = 0.0
    for payment in arm_payments(experiment, costs, trial).values():
        total.update(payment.costs)
        setup += payment.setup
    return Payment(costs=total, setup=setup)


def arm_payments(
    experiment: Experiment, costs: Costs, trial: BaseTrial
) -> dict[str, Payment]:
    r"""What was paid for each arm of a trial that ended.

    Args:
        experiment: The experiment.
        costs: The believed costs.
        trial: The trial.

    Returns:
        The payments by the names of the arms. That of a trial of this package is what
        was recorded, else what is believed of the metrics asked for or measured; of
        those measured if the trial is of another strategy.
    """
    recorded = payment_of(trial)
    if recorded is not None:
        return {trial.arms[0].name: recorded}
    return {
        arm.name: believed_payment(
            experiment, costs, trial, arm, paid_metrics(experiment, costs, trial, arm)
        )
        for arm in trial.arms
    }


def paid_metrics(
    experiment: Experiment, costs: Costs, trial: BaseTrial, arm: Arm
) -> tuple[str, ...]:
    r"""The metrics that were paid for at an arm of a trial that ended.

    Args:
        experiment: The experiment.
        costs: The believed costs.
        trial: The trial.
        arm: One of its arms.

    Returns:
        The metrics asked for, then others that were measured; only those measured if
        the trial is of another strategy, was abandoned, or never ran.
    """
    request = request_of(trial, arm)
    made = not (trial.status.is_abandoned or trial.status.is_stale)
    asked = request.objectives if request is not None and made else ()
    known = measured_metrics(experiment).get((trial.index, arm.name), set())
    return asked + tuple(n for n in costs.run if n in known and n not in asked)


def believed_payment(
    experiment: Experiment,
    costs: Costs,
    trial: BaseTrial,
    arm: Arm,
    objectives: tuple[str, ...],
) -> Payment:
    r"""What measuring metrics of an arm is believed to cost.

    Args:
        experiment: The experiment.
        costs: The believed costs.
        trial: A trial.
        arm: One of its arms.
        objectives: The metrics.

    Returns:
        The payment, with the set-up if none before it has paid that. A trial that ended
        has set up what its data needed, and nothing if it failed without data.
    """
    return Payment(
        costs=costs.price(objectives, arm.parameters),
        setup=_open_setup(experiment, costs, trial, arm, objectives),
    )


def _open_setup(
    experiment: Experiment,
    costs: Costs,
    trial: BaseTrial,
    arm: Arm,
    objectives: tuple[str, ...],
) -> float:
    price = costs.setup_price(objectives, arm.parameters)
    if price == 0:
        return 0.0
    measured = measured_metrics(experiment)
    for earlier in experiment.trials.values():
        for other in earlier.arms:
            if earlier.index == trial.index and other.name == arm.name:
                return price
            names = tuple(measured.get((earlier.index, other.name), ()))
            if not earlier.status.is_terminal:
                names = targets(experiment, earlier, other)
            same = costs.setup_key(other.parameters) == costs.setup_key(arm.parameters)
            if same and costs.needs_setup(names):
                return 0.0
    return price
