"""Experiments that the tests of this folder share: real clients, cheap acquisitions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ax.api.client import Client
from ax.api.configs import (
    ChoiceParameterConfig,
    DerivedParameterConfig,
    RangeParameterConfig,
)
from ax.core.observation import ObservationFeatures

from botorch_flexibo.ax import (
    Costs,
    Measurement,
    complete_measurement,
    flexibo_generation_strategy,
    get_next_measurements,
)
from botorch_flexibo.ax.adapter import DecoupledTorchAdapter
from botorch_flexibo.ax.inputs import DecoupledOptConfig
from botorch_flexibo.ax.metadata import experiment_of, strategy_of
from botorch_flexibo.policies import DecoupledState

COSTS = {"error": 20.0, "energy": 1.0}
# Parameters with these names are told apart by the test functions below.
RATE = RangeParameterConfig(
    name="rate", bounds=(1e-4, 1.0), parameter_type="float", scaling="log"
)
WIDTH = RangeParameterConfig(name="width", bounds=(0.0, 1.0), parameter_type="float")
DEPTH = RangeParameterConfig(name="depth", bounds=(1, 6), parameter_type="int")
KIND = ChoiceParameterConfig(
    name="kind",
    values=["conv", "shift", "dense"],
    parameter_type="str",
    is_ordered=False,
)
ParameterConfig = RangeParameterConfig | ChoiceParameterConfig | DerivedParameterConfig


def bare_client(
    *parameters: ParameterConfig,
    objective: str = "-error, -energy",
    thresholds: Sequence[str] | None = None,
    constraints: Sequence[str] | None = None,
) -> Client:
    """A client without a strategy."""
    client = Client()
    client.configure_experiment(
        parameters or [RATE, WIDTH],
        parameter_constraints=constraints,
        name="tuning",
    )
    client.configure_optimization(objective, outcome_constraints=thresholds)
    return client


def quick_strategy(
    costs: Mapping[str, Any] | Costs = COSTS,
    *,
    n_init: int = 3,
    acquisition: str = "flexibo",
    num_designs: int = 48,
    beta: float | None = None,
    **options: Any,
) -> Any:
    """A strategy whose suggestions take little time."""
    scale = {} if beta is None else {"beta": beta}
    return flexibo_generation_strategy(
        costs,
        n_init=n_init,
        acquisition=acquisition,
        acquisition_options={"num_designs": num_designs, **scale},
        **options,
    )


def new_client(
    *parameters: ParameterConfig,
    objective: str = "-error, -energy",
    thresholds: Sequence[str] | None = None,
    constraints: Sequence[str] | None = None,
    **options: Any,
) -> Client:
    """A client with a strategy whose suggestions take little time."""
    client = bare_client(
        *parameters,
        objective=objective,
        thresholds=thresholds,
        constraints=constraints,
    )
    client.set_generation_strategy(quick_strategy(**options))
    return client


def true_value(name: str, parameters: Mapping[str, Any]) -> float:
    """The value of a metric, a whole number: Ax's JSON changes others by rounding."""
    numbers = {
        key: float(value)
        for key, value in parameters.items()
        if isinstance(value, (int, float))
    }
    width = numbers.get("width", 0.5)
    depth = numbers.get("depth", 3.0) / 6
    rate = min(1.0, numbers.get("rate", 0.1) ** 0.25)
    kind = {"conv": 0.0, "shift": 0.1, "dense": 0.3}.get(str(parameters.get("kind")), 0)
    values = {
        "error": (rate - 0.6) ** 2 + 1.2 * (1 - width) ** 2 + 0.3 / depth + kind,
        "energy": 2 * width**2 + depth - 0.5 * kind + 0.2 * rate,
        "accuracy": 1.0 - (rate - 0.4) ** 2 - (width - 0.7) ** 2,
        "size": width + depth,
        "latency": 0.5 * width + 0.1 * rate,
    }
    return float(round(1024 * values[name]))


def values_of(measurement: Measurement) -> dict[str, float]:
    """What measuring gives."""
    return {
        name: true_value(name, measurement.parameters)
        for name in measurement.objectives
    }


def complete(client: Client, measurements: Iterable[Measurement]) -> None:
    """Complete measurements with their true values."""
    for measurement in measurements:
        complete_measurement(client, measurement, values_of(measurement))


def run(client: Client, steps: int) -> list[Measurement]:
    """Ask and tell so many times, one measurement at a time."""
    done = []
    for _ in range(steps):
        (measurement,) = get_next_measurements(client)
        complete(client, [measurement])
        done.append(measurement)
    return done


def initialized(client: Client, n_init: int = 3) -> Client:
    """The client with its initial designs measured."""
    complete(client, get_next_measurements(client, n_init))
    return client


def attach(
    client: Client,
    parameters: Mapping[str, Any],
    *metrics: str,
) -> int:
    """A trial of the user's own, completed with some metrics."""
    index = client.attach_trial(dict(parameters))
    data = {name: true_value(name, parameters) for name in metrics}
    client.complete_trial(index, data)
    return index


def decoupled_adapter(client: Client) -> Any:
    """The fitted adapter behind the latest suggestion."""
    adapter = strategy_of(client).adapter
    assert isinstance(adapter, DecoupledTorchAdapter)
    return adapter


def refitted(client: Client) -> Any:
    """The adapter fitted to what the experiment is now, past its initial designs."""
    strategy = strategy_of(client)
    strategy.experiment = experiment_of(client)
    strategy._maybe_transition_to_next_node()
    strategy._curr._fit(experiment=experiment_of(client))
    return decoupled_adapter(client)


def next_options(client: Client, **fixed: Any) -> tuple[Any, DecoupledOptConfig]:
    """What the generator would be given for the next suggestion."""
    adapter = refitted(client)
    arguments = adapter._get_transformed_gen_args(
        search_space=experiment_of(client).search_space.clone(),
        fixed_features=ObservationFeatures(parameters=fixed),
    )
    digest, options = adapter._get_transformed_model_gen_args(
        search_space=arguments.search_space,
        pending_observations={},
        fixed_features=arguments.fixed_features,
        optimization_config=arguments.optimization_config,
    )
    return digest, options


def next_state(client: Client, **fixed: Any) -> DecoupledState:
    """What the policy would be given for the next suggestion."""
    digest, options = next_options(client, **fixed)
    generator = decoupled_adapter(client).generator
    return generator._state(digest, options, options.inputs)


def state_of(client: Client) -> str:
    """Everything that is saved of an experiment."""
    return str(client._to_json_snapshot()["experiment"])


def trial_count(client: Client) -> int:
    """The number of trials."""
    return len(experiment_of(client).trials)
