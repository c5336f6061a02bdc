r"""What was asked of each trial, and what was paid for it.

The outcomes that a trial is to measure travel as candidate metadata, which Ax keeps in
JSON and in SQL; what was paid is kept in the run metadata. This is the only module that
touches private members of Ax.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ax.adapter.base import Adapter
from ax.api.client import Client
from ax.core.arm import Arm
from ax.core.base_trial import BaseTrial
from ax.core.experiment import Experiment
from ax.core.trial_status import TrialStatus
from ax.generation_strategy.generation_strategy import GenerationStrategy
from botorch.exceptions.errors import InputDataError, UnsupportedError

from botorch_flexibo.utils.checks import is_count

KEY = "flexibo"
_INVALID = (TrialStatus.FAILED, TrialStatus.ABANDONED, TrialStatus.STALE)


@dataclass(frozen=True)
class Request:
    """What is to be measured at one arm.

    Attributes:
        objectives: The names of the metrics to measure.
        cost: What the optimiser expects to pay, None if it had no opinion.
        acq_value: The acquisition value, None if there was none.
        memory: What the policy remembers for its next decision, None if nothing.
        entry: The number of the initial design in its plan, None for later ones.
    """

    objectives: tuple[str, ...]
    cost: float | None = None
    acq_value: float | None = None
    memory: Mapping[str, Any] | None = None
    entry: int | None = None

    def to_metadata(self) -> dict[str, Any]:
        """The candidate metadata of the arm."""
        payload: dict[str, Any] = {
            "objectives": list(self.objectives),
            "cost": self.cost,
            "acq_value": self.acq_value,
        }
        if self.memory is not None:
            payload["memory"] = dict(self.memory)
        if self.entry is not None:
            payload["entry"] = self.entry
        return {KEY: payload}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any] | None) -> Request | None:
        """The request in the candidate metadata of an arm.

        Args:
            metadata: The metadata.

        Returns:
            The request, None for an arm of other origin.
        """
        payload = None if metadata is None else metadata.get(KEY)
        if payload is None:
            return None
        return cls(**{**payload, "objectives": tuple(payload["objectives"])})


@dataclass(frozen=True)
class Payment:
    """What was paid for one trial.

    Attributes:
        costs: The cost of each metric measured.
        setup: The cost of setting the design up, 0 if there was none.
        told: The metrics whose costs were really paid, not only believed.
    """

    costs: Mapping[str, float] = field(default_factory=dict)
    setup: float = 0.0
    told: tuple[str, ...] = ()

    @property
    def total(self) -> float:
        """All that was paid."""
        return sum(self.costs.values()) + self.setup


def experiment_of(client: Client) -> Experiment:
    """The experiment behind a client.

    Args:
        client: The client.

    Returns:
        Its experiment.

    Raises:
        InputDataError: If it is no client.
    """
    if not isinstance(client, Client):
        raise InputDataError(
            f"Expected an Ax client, but got {client!r}. Pass the"
            " `ax.api.client.Client` of the experiment."
        )
    return client._experiment


def generator_arguments(strategy: GenerationStrategy) -> dict[str, Any]:
    """What the decoupled generator of a strategy is built with.

    Args:
        strategy: A generation strategy.

    Returns:
        The arguments of its decoupled generator.

    Raises:
        UnsupportedError: If the strategy is not one of this package.
    """
    for node in strategy.nodes_by_name.values():
        for spec in node.generator_specs:
            if "acquisition" in spec.generator_kwargs:
                return spec.generator_kwargs
    raise UnsupportedError(
        "Expected a strategy of this package, but got"
        f" {strategy.name!r}. Call client.set_generation_strategy("
        "flexibo_generation_strategy(costs))."
    )


def strategy_arguments(client: Client) -> dict[str, Any]:
    """What the decoupled generator of a client's strategy is built with.

    Args:
        client: The client.

    Returns:
        The arguments of its decoupled generator.

    Raises:
        UnsupportedError: If the strategy is not one of this package.
    """
    return generator_arguments(strategy_of(client))


def experiment_behind(adapter: Adapter) -> Experiment:
    """The experiment behind an adapter.

    Args:
        adapter: The adapter.

    Returns:
        Its experiment.
    """
    return adapter._experiment


def strategy_of(client: Client) -> GenerationStrategy:
    """The generation strategy of a client.

    Args:
        client: The client.

    Returns:
        Its strategy; the default one if none was set.
    """
    return client._generation_strategy_or_choose()


def num_generated(client: Client) -> int:
    """How many proposals a client's strategy has made, with those that Ax lost."""
    return len(strategy_of(client)._generator_runs)


def objective_names(experiment: Experiment) -> tuple[str, ...]:
    """The metrics among which to choose, in the order of the objective.

    Args:
        experiment: The experiment.

    Returns:
        The names of its objectives.

    Raises:
        UnsupportedError: If there are fewer than two objectives, or one that does not
            say what measuring a single metric is worth.
    """
    config = experiment.optimization_config
    if config is None:
        raise UnsupportedError(
            "Expected an experiment with objectives, but got none. Call"
            " client.configure_optimization first."
        )
    objective = config.objective
    if not objective.is_multi_objective:
        raise UnsupportedError(
            f"Expected two or more objectives, but got {objective.expression!r}. Choose"
            " between metrics needs a multi-objective optimization."
        )
    names = tuple(objective.metric_names)
    if len(names) != objective.expression.count(",") + 1:
        raise UnsupportedError(
            f"Expected one metric per objective, but got {objective.expression!r}."
            " Scalarised objectives do not say what one metric alone is worth: list"
            " the metrics as objectives of their own."
        )
    return names


def objective_signs(experiment: Experiment) -> dict[str, float]:
    """Which objectives are maximised.

    Args:
        experiment: The experiment.

    Returns:
        1 for each objective to maximise, -1 for each to minimise, in their order.
    """
    names = objective_names(experiment)
    config = experiment.optimization_config
    weights = [] if config is None else config.objective.metric_weights
    signs = (1.0 if weight > 0 else -1.0 for _, weight in weights)
    return dict(zip(names, signs, strict=True))


def last_memory(experiment: Experiment) -> Mapping[str, Any] | None:
    """What the policy remembered at its last decision.

    Args:
        experiment: The experiment.

    Returns:
        The memory in the newest trial that has one, else None.
    """
    for trial in reversed(list(experiment.trials.values())):
        for arm in trial.arms:
            request = request_of(trial, arm)
            if request is not None and request.memory is not None:
                return request.memory
    return None


def is_valid(trial: BaseTrial) -> bool:
    """Whether a trial did not fail.

    Args:
        trial: The trial.

    Returns:
        Whether it is neither failed nor abandoned nor stale.
    """
    return trial.status not in _INVALID


def request_of(trial: BaseTrial, arm: Arm) -> Request | None:
    """What was asked of an arm by this package.

    Args:
        trial: A trial.
        arm: One of its arms.

    Returns:
        The request, None for a trial of other origin.
    """
    return Request.from_metadata(trial._get_candidate_metadata(arm_name=arm.name))


def targets(experiment: Experiment, trial: BaseTrial, arm: Arm) -> tuple[str, ...]:
    """The metrics to measure at an arm.

    Args:
        experiment: The experiment.
        trial: One of its trials.
        arm: One of the trial's arms.

    Returns:
        What was asked, all objectives for a trial of other origin.
    """
    request = request_of(trial, arm)
    return objective_names(experiment) if request is None else request.objectives


def trial_of(experiment: Experiment, trial_index: int) -> BaseTrial:
    """A trial by its index.

    Args:
        experiment: The experiment.
        trial_index: The index.

    Returns:
        The trial.

    Raises:
        InputDataError: If there is no such trial.
    """
    known = is_count(trial_index, least=0)
    trial = experiment.trials.get(trial_index) if known else None
    if trial is None:
        raise InputDataError(
            f"Expected the index of a trial of the experiment (it has"
            f" {len(experiment.trials)}), but got {trial_index!r}. Pass that of a"
            " measurement."
        )
    return trial


def measured_metrics(experiment: Experiment) -> dict[tuple[int, str], set[str]]:
    """Which metrics have data.

    Args:
        experiment: The experiment.

    Returns:
        The names of the measured metrics by trial index and arm name. A metric whose
        value is NaN is not measured.
    """
    frame = experiment.lookup_data().df
    frame = frame[frame["mean"].notna()]
    measured: dict[tuple[int, str], set[str]] = {}
    columns = (frame[name] for name in ("trial_index", "arm_name", "metric_name"))
    for index, arm_name, metric in zip(*columns, strict=True):
        measured.setdefault((int(index), str(arm_name)), set()).add(str(metric))
    return measured


def record_payment(trial: BaseTrial, payment: Payment) -> None:
    """Keep what was paid for a trial.

    Args:
        trial: The trial.
        payment: The costs.
    """
    payload = {
        "costs": dict(payment.costs),
        "setup": payment.setup,
        "told": list(payment.told),
    }
    trial.update_run_metadata({KEY: payload})


def payment_of(trial: BaseTrial) -> Payment | None:
    """What was paid for a trial.

    Args:
        trial: The trial.

    Returns:
        The costs, None if nothing was recorded.
    """
    payload = trial.run_metadata.get(KEY)
    if payload is None:
        return None
    return Payment(**{**payload, "told": tuple(payload["told"])})
