"""What is refused, and that it is refused before anything happens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

pytest.importorskip("ax")

from ax.api.client import Client
from ax.api.configs import ChoiceParameterConfig, DerivedParameterConfig
from ax.core.experiment import Experiment
from ax.core.metric import Metric
from ax.core.objective import Objective
from ax.core.optimization_config import (
    OptimizationConfig,
    PreferenceOptimizationConfig,
)
from ax.core.parameter import (
    ChoiceParameter,
    FixedParameter,
    ParameterType,
    RangeParameter,
)
from ax.core.parameter_constraint import ParameterConstraint
from ax.core.search_space import SearchSpace
from ax.exceptions.core import UserInputError
from botorch.exceptions.errors import InputDataError, UnsupportedError

from botorch_flexibo.ax import (
    Costs,
    SetupCost,
    flexibo_generation_strategy,
    get_next_measurements,
)
from botorch_flexibo.ax.checks import check_options, check_supported
from botorch_flexibo.ax.metadata import experiment_of
from tests.ax.helpers import (
    COSTS,
    DEPTH,
    KIND,
    RATE,
    WIDTH,
    ParameterConfig,
    attach,
    bare_client,
    initialized,
    new_client,
    quick_strategy,
    state_of,
)

LEVEL = ChoiceParameterConfig("level", [0.1, 0.5, 0.7], "float", is_ordered=True)


def constrained(*constraints: str, objective: str = "-error, -energy") -> Client:
    client = bare_client(objective=objective, thresholds=constraints)
    client.set_generation_strategy(quick_strategy())
    return client


def experiment_of_two(space: SearchSpace) -> Experiment:
    client = bare_client()
    old = experiment_of(client)
    return Experiment(
        search_space=space,
        optimization_config=old.optimization_config,
        tracking_metrics=[Metric(name) for name in COSTS],
    )


def with_objective(objective: str) -> Client:
    return constrained(objective=objective)


def without_objective() -> Client:
    client = Client()
    client.configure_experiment([RATE, WIDTH])
    client.set_generation_strategy(quick_strategy())
    return client


def relative_to_a_baseline() -> Client:
    client = bare_client()
    client.attach_baseline({"rate": 0.1, "width": 0.5})
    client.configure_optimization(
        "-error, -energy", outcome_constraints=["error <= 0.9 * baseline"]
    )
    client.set_generation_strategy(quick_strategy())
    return client


def with_signature() -> Client:
    client = new_client()
    client._set_metrics([Metric("error", signature_override="top1")])
    return client


def hierarchical() -> Client:
    switch = ChoiceParameterConfig(
        name="switch",
        values=["on", "off"],
        parameter_type="str",
        is_ordered=True,
        dependent_parameters={"on": ["rate"], "off": ["width"]},
    )
    return new_client(switch, RATE, WIDTH)


def with_task() -> Client:
    client = Client()
    task = ChoiceParameter(
        "task",
        ParameterType.STRING,
        ["a", "b"],
        is_ordered=False,
        is_task=True,
        sort_values=False,
        target_value="a",
    )
    client.set_experiment(Experiment(SearchSpace([task]), name="tasks"))
    client.configure_optimization("-error, -energy")
    client.set_generation_strategy(quick_strategy())
    return client


def with_preferences() -> Client:
    client = new_client()
    objective = Objective(
        expression="-error, -energy",
        metric_name_to_signature={"error": "error", "energy": "energy"},
    )
    client.set_optimization_config(PreferenceOptimizationConfig(objective, "taste"))
    return client


def with_equality() -> Client:
    client = new_client(WIDTH, DEPTH)
    constraint = ParameterConstraint(equality="width == 0.5")
    client._experiment.search_space.set_parameter_constraints([constraint])
    return client


def one_shot(*parameters: ParameterConfig) -> Client:
    """With a strategy that needs continuous parameters."""
    client = bare_client(*parameters)
    strategy = flexibo_generation_strategy(COSTS, n_init=1, acquisition="hvkg")
    client.set_generation_strategy(strategy)
    return client


def one_shot_with_data() -> Client:
    client = one_shot(WIDTH, DEPTH)
    attach(client, {"width": 0.5, "depth": 2}, "error", "energy")
    return client


UNSUPPORTED = {
    "a single objective": (
        lambda: with_objective("-error"),
        "Expected two or more objectives, but got '-error'. Choose between metrics"
        " needs a multi-objective optimization.",
    ),
    "a single scalarised objective": (
        lambda: with_objective("-error - 0.1*energy"),
        "Expected two or more objectives, but got '-error - 0.1*energy'. Choose between"
        " metrics needs a multi-objective optimization.",
    ),
    "a scalarised objective": (
        lambda: with_objective("-error - 0.1*energy, -size"),
        "Expected one metric per objective, but got '-error - 0.1*energy, -size'."
        " Scalarised objectives do not say what one metric alone is worth: list the"
        " metrics as objectives of their own.",
    ),
    "a constraint on another metric": (
        lambda: constrained("size <= 3"),
        "Expected outcome constraints that bound one objective, but got 'size <= 3'."
        " Make ['size'] objectives of their own: their bounds become thresholds.",
    ),
    "a constraint on two other metrics": (
        lambda: constrained("size + 2*latency <= 3"),
        "Expected outcome constraints that bound one objective, but got 'size +"
        " 2*latency <= 3'. Make ['latency', 'size'] objectives of their own: their"
        " bounds become thresholds.",
    ),
    "a relative threshold": (
        relative_to_a_baseline,
        "Expected absolute bounds, but got 'error <= 0.9 * baseline'. Give the bound as"
        " a number: a baseline may lack the metric.",
    ),
    "a relative constraint": (
        lambda: constrained("size >= 0.9 * baseline"),
        "Expected absolute bounds, but got 'size >= 0.9 * baseline'. Give the bound as"
        " a number: a baseline may lack the metric.",
    ),
    "a metric with a signature": (
        with_signature,
        "Expected metrics known by their names, but 'error' has the signature 'top1'."
        " Leave signature_override out.",
    ),
    "a hierarchical space": (
        hierarchical,
        "Expected a flat search space without task parameters, but got a hierarchical"
        " one. Make them ordinary parameters.",
    ),
    "a task parameter": (
        with_task,
        "Expected a flat search space without task parameters, but got ['task']. Make"
        " them ordinary parameters.",
    ),
    "learned preferences": (
        with_preferences,
        "Expected objectives that are metrics, but got a preference learned from"
        " comparisons. Configure the metrics themselves as objectives.",
    ),
    "an equality constraint": (
        with_equality,
        "Expected no equality constraints between parameters, but got"
        " [ParameterConstraint(1.0*width == 0.5)]. Replace one parameter"
        " by its expression in the others.",
    ),
    "a one-shot acquisition and integers": (
        lambda: one_shot(WIDTH, DEPTH),
        'Expected continuous parameters for the acquisition "hvkg", but got integers or'
        " choices: ['depth']. Set a strategy with acquisition=\"lookahead\".",
    ),
    "a one-shot acquisition and choices only": (
        lambda: one_shot(KIND, LEVEL),
        'Expected continuous parameters for the acquisition "hvkg", but got integers or'
        " choices: ['kind', 'level']. Set a strategy with acquisition=\"lookahead\".",
    ),
    "a one-shot acquisition after other trials": (
        one_shot_with_data,
        'Expected continuous parameters for the acquisition "hvkg", but got integers or'
        " choices: ['depth']. Set a strategy with acquisition=\"lookahead\".",
    ),
}


@pytest.mark.parametrize("case", UNSUPPORTED)
@pytest.mark.parametrize("is_plain", [True, False], ids=["client", "helper"])
def test_experiments_without_a_choice_of_metrics_are_refused(
    case: str, is_plain: bool
) -> None:
    make, message = UNSUPPORTED[case]
    client = make()
    before = state_of(client)
    with pytest.raises(UnsupportedError) as info:
        if is_plain:
            client.get_next_trials(max_trials=1)
        else:
            get_next_measurements(client)
    assert str(info.value) == message
    assert state_of(client) == before


def test_a_one_shot_acquisition_takes_continuous_and_fixed_parameters() -> None:
    client = one_shot(RATE, WIDTH)
    fixed = FixedParameter("stages", ParameterType.INT, 3)
    client._experiment.search_space._parameters["stages"] = fixed
    (measurement,) = get_next_measurements(client)
    assert measurement.parameters["stages"] == 3


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        (["error >= 1"], "bounds from below but error is being minimized"),
        (["error <= 5", "error <= 3"], "More than one objective threshold specified"),
        (["error + energy <= 3"], "Cannot constrain on objective metric"),
    ],
)
def test_ax_refuses_bounds_of_objectives_that_are_no_thresholds(
    bounds: list[str], message: str
) -> None:
    with pytest.raises((UserInputError, ValueError), match=message):
        bare_client(thresholds=bounds)


def test_an_experiment_without_objectives_is_refused() -> None:
    with pytest.raises(UnsupportedError) as info:
        get_next_measurements(without_objective())
    assert str(info.value) == (
        "Expected an experiment with objectives, but got none. Call"
        " client.configure_optimization first."
    )


def test_an_experiment_that_stops_being_supported_is_refused_by_the_model_too() -> None:
    client = initialized(new_client())
    config = client._experiment.optimization_config
    assert config is not None
    single = OptimizationConfig(
        Objective(
            expression="-error",
            metric_name_to_signature={"error": "error"},
        )
    )
    client.set_optimization_config(single)
    with pytest.raises(UnsupportedError, match="two or more objectives"):
        client.get_next_trials(max_trials=1)
    client.set_optimization_config(config)
    assert len(client.get_next_trials(max_trials=1)) == 1


def setup(**options: Any) -> Costs:
    return Costs(COSTS, setup=SetupCost(5.0, **options))


BAD_OPTIONS: dict[str, tuple[Mapping[str, Any], str]] = {
    "a metric without a cost": (
        {"costs": {"error": 1.0}},
        "Expected a cost for each objective (['error', 'energy']), but got costs for"
        " ['error']."
        " Give one for each of these, and for nothing else.",
    ),
    "a cost of no objective": (
        {"costs": {**COSTS, "size": 1.0}},
        "Expected a cost for each objective (['error', 'energy']), but got costs for"
        " ['error', 'energy', 'size']."
        " Give one for each of these, and for nothing else.",
    ),
    "a set-up for no objective": (
        {"costs": setup(objectives=["size", "error"])},
        "Expected a set-up for objectives of ['error', 'energy'], but got one for"
        " ['size', 'error']."
        " Name some of these, or None for all.",
    ),
    "a set-up of no parameter": (
        {"costs": setup(parameters=["rate", "depth"])},
        "Expected parameters of the set-up that designs can differ in, of"
        " ['rate', 'width', 'kind'], but got ['rate', 'depth']."
        " Name one or more of these, or pass None for all.",
    ),
    "a set-up of fixed parameters": (
        {"costs": setup(parameters=["seed"])},
        "Expected parameters of the set-up that designs can differ in, of"
        " ['rate', 'width', 'kind'], but got ['seed']."
        " Name one or more of these, or pass None for all.",
    ),
    "a set-up of derived parameters": (
        {"costs": setup(parameters=["double"])},
        "Expected parameters of the set-up that designs can differ in, of"
        " ['rate', 'width', 'kind'], but got ['double']."
        " Name one or more of these, or pass None for all.",
    ),
    "an unknown fidelity": (
        {"fidelity": {"epochs": 81}},
        "Expected fidelities among the numeric parameters ['rate', 'width'], but got"
        " 'epochs'."
        " Name one of these.",
    ),
    "a fixed fidelity": (
        {"fidelity": {"seed": 3}},
        "Expected fidelities among the numeric parameters ['rate', 'width'], but got"
        " 'seed'."
        " Name one of these.",
    ),
    "a label as a fidelity": (
        {"fidelity": {"kind": 1}},
        "Expected fidelities among the numeric parameters ['rate', 'width'], but got"
        " 'kind'."
        " Name one of these.",
    ),
    "a target out of bounds": (
        {"fidelity": {"width": 2}},
        "Expected a target of the fidelity 'width' that the experiment allows"
        " (RangeParameter(name='width', parameter_type=FLOAT, range=[0.0, 1.0])), but"
        " got 2."
        " Choose one of its space.",
    ),
}


def rich_client(**options: Any) -> Client:
    seed = ChoiceParameterConfig(name="seed", values=[3], parameter_type="int")
    double = DerivedParameterConfig(
        name="double", expression_str="2.0 * width", parameter_type="float"
    )
    return new_client(
        RATE, WIDTH, KIND, seed, double, acquisition="lookahead", **options
    )


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_options_that_fit_no_metric_or_parameter_are_refused(case: str) -> None:
    options, message = BAD_OPTIONS[case]
    client = rich_client(**options)
    before = state_of(client)
    with pytest.raises(InputDataError) as info:
        get_next_measurements(client)
    assert str(info.value) == message
    assert state_of(client) == before


@pytest.mark.parametrize(
    ("fixed", "message"),
    [
        (
            {"epochs": 3},
            "Expected fixed_parameters among ['rate', 'width', 'kind', 'seed',"
            " 'double'], but got 'epochs'."
            " Leave others out.",
        ),
        (
            {"width": 7.0},
            "Expected a value of the fixed parameter 'width' that the experiment allows"
            " (RangeParameter(name='width', parameter_type=FLOAT, range=[0.0, 1.0])),"
            " but got 7.0."
            " Choose one of its space.",
        ),
        (
            {"width": "wide"},
            "Expected a value of the fixed parameter 'width' that the experiment allows"
            " (RangeParameter(name='width', parameter_type=FLOAT, range=[0.0, 1.0])),"
            " but got 'wide'."
            " Choose one of its space.",
        ),
    ],
)
def test_fixed_parameters_that_do_not_fit_are_refused(
    fixed: Mapping[str, Any], message: str
) -> None:
    client = rich_client()
    before = state_of(client)
    with pytest.raises(InputDataError) as info:
        get_next_measurements(client, fixed_parameters=fixed)
    assert str(info.value) == message
    assert state_of(client) == before


def test_a_whole_number_is_a_target_of_an_integer_fidelity() -> None:
    client = new_client(
        WIDTH, DEPTH, fidelity={"depth": 6.0}, acquisition="lookahead", num_designs=8
    )
    (measurement,) = get_next_measurements(client)
    assert measurement.fidelity == {"depth": measurement.parameters["depth"]}


@pytest.mark.parametrize("target", [2.5, float("nan"), float("inf")])
def test_a_broken_number_is_no_target_of_an_integer_fidelity(target: float) -> None:
    with pytest.raises(InputDataError, match=r"targets? of (the )?fidelit"):
        get_next_measurements(
            new_client(
                WIDTH, DEPTH, fidelity={"depth": target}, acquisition="lookahead"
            )
        )


@pytest.mark.parametrize(
    "make",
    [
        lambda: new_client(costs={"error": 1.0, "energy": 1.0, "size": 1.0}),
        lambda: new_client(fidelity={"epochs": 81}, acquisition="lookahead"),
        lambda: new_client(costs=setup(parameters=["epochs"])),
    ],
    ids=["costs", "fidelity", "set-up"],
)
def test_the_plain_client_gets_the_message_before_a_model_is_used(
    make: Callable[[], Client],
) -> None:
    client = make()
    with pytest.raises(InputDataError, match="Expected"):
        for index, parameters in client.get_next_trials(max_trials=3).items():
            assert set(parameters) == {"rate", "width"}
            client.complete_trial(index, {"error": 1.0, "energy": float(index)})
        client.get_next_trials(max_trials=1)


def test_the_default_strategy_is_refused() -> None:
    with pytest.raises(UnsupportedError) as info:
        get_next_measurements(bare_client())
    assert str(info.value).startswith("Expected a strategy of this package, but got")
    assert str(info.value).endswith(
        "Call client.set_generation_strategy(flexibo_generation_strategy(costs))."
    )


def test_fidelities_of_the_experiment_need_a_target() -> None:
    space = SearchSpace(
        [
            RangeParameter("x", ParameterType.FLOAT, 0.0, 1.0),
            RangeParameter(
                "epochs", ParameterType.INT, 1, 81, is_fidelity=True, target_value=81
            ),
        ]
    )
    experiment = experiment_of_two(space)
    costs = Costs({"error": 2.0, "energy": 1.0})
    options: dict[str, Any] = {"fixed_parameters": {}}
    check_options(experiment, costs, fidelity={"epochs": 81.0}, **options)
    with pytest.raises(InputDataError, match="a target of each fidelity of the exp"):
        check_options(experiment, costs, fidelity={}, **options)


def test_parameters_that_ax_rounds_are_refused() -> None:
    space = SearchSpace([RangeParameter("x", ParameterType.FLOAT, 0.0, 1.0, digits=1)])
    experiment = experiment_of_two(space)
    with pytest.raises(UnsupportedError, match=r"without digits, but got \['x'\]"):
        check_supported(experiment)
