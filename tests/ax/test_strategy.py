"""The strategy: what it refuses, plans, fidelities, parallelism, determinism."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ax")

from ax.api.client import Client
from ax.api.configs import ChoiceParameterConfig
from ax.exceptions.generation_strategy import MaxParallelismReachedException
from botorch.exceptions.errors import InputDataError

from botorch_flexibo.ax import (
    Costs,
    Measurement,
    NamedCost,
    flexibo_generation_strategy,
    get_next_measurements,
    measurements,
)
from botorch_flexibo.ax.metadata import strategy_of
from botorch_flexibo.exceptions import InvalidCostError
from tests.ax.helpers import (
    COSTS,
    DEPTH,
    RATE,
    WIDTH,
    bare_client,
    complete,
    initialized,
    new_client,
    quick_strategy,
    run,
)

BOTH = ("error", "energy")

BAD_ARGUMENTS: dict[str, tuple[Mapping[str, Any], str]] = {
    "no initial design": (
        {"n_init": 0},
        "Expected n_init >= 1 and max_parallelism >= 1 or None, but got n_init=0 and"
        " max_parallelism=None."
        " Pass whole numbers.",
    ),
    "no parallelism": (
        {"max_parallelism": 0},
        "Expected n_init >= 1 and max_parallelism >= 1 or None, but got n_init=6 and"
        " max_parallelism=0."
        " Pass whole numbers.",
    ),
    "an unknown plan": (
        {"init_plan": "random"},
        'Expected init_plan to be "coupled", "cheap_first" or a list of metrics for'
        " each design, but got 'random'."
        " Choose one of these.",
    ),
    "a plan that is too short": (
        {"init_plan": [["error"]] * 5},
        "Expected a plan of n_init=6 entries with metrics of ['error', 'energy'], but"
        " got [['error'], ['error'], ['error'], ['error'], ['error']]."
        " Pass one entry per design.",
    ),
    "a plan of another metric": (
        {"init_plan": [["size"]], "n_init": 1},
        "Expected a plan of n_init=1 entries with metrics of ['error', 'energy'], but"
        " got [['size']]."
        " Pass one entry per design.",
    ),
    "an empty entry": (
        {"init_plan": [[]], "n_init": 1},
        "Expected each entry of a plan to be one or more different metrics, but got"
        " []."
        " Give the names of metrics.",
    ),
    "cheap first with a function": (
        {
            "costs": {"error": NamedCost("affine"), "energy": 1.0},
            "init_plan": "cheap_first",
        },
        'Expected numbers as costs for the plan "cheap_first", but got functions for'
        " ['error']. Give the plan as a list.",
    ),
    "an unknown acquisition": (
        {"acquisition": "ehvi"},
        "Expected an acquisition of ['lookahead', 'flexibo', 'hvkg', 'pabo'], but got"
        " 'ehvi'."
        " Choose one of these.",
    ),
    "an unknown option": (
        {"acquisition": "flexibo", "acquisition_options": {"depth": 3}},
        "Expected options of the acquisition 'flexibo', but got ['depth']:"
        " FlexiBOFactory.__init__() got an unexpected keyword argument 'depth'."
        " Leave out what it does not take.",
    ),
    "an option that cannot be stored": (
        {"acquisition_options": {"weighting": BOTH.count}},
        "Expected acquisition_options of numbers, strings and their collections, which"
        f" can be stored, but got {{'weighting': {BOTH.count!r}}}: Object of type"
        " builtin_function_or_method is not JSON serializable."
        " Convert it to plain Python.",
    ),
    "an unknown loss": (
        {"acquisition_options": {"loss": "squared"}},
        "Expected a loss of ['balanced', 'region', 'pessimistic', 'optimistic',"
        " 'knowledge_gradient'], but got 'squared'."
        " Choose one of these.",
    ),
    "a fidelity for a method without": (
        {"fidelity": {"width": 1.0}, "acquisition": "flexibo"},
        "Expected acquisition=\"lookahead\" for fidelities, but got 'flexibo', which"
        " would take cheap runs for the target."
        " Leave one of them out.",
    ),
    "no costs": (
        {"costs": {}},
        "Expected a cost for each objective, but got none. Give the cost of each by its"
        " name.",
    ),
}


@pytest.mark.parametrize("case", BAD_ARGUMENTS)
def test_arguments_that_make_no_strategy_are_refused(case: str) -> None:
    arguments, message = BAD_ARGUMENTS[case]
    with pytest.raises(InputDataError) as info:
        flexibo_generation_strategy(**{"costs": COSTS, **arguments})
    assert str(info.value) == message


def test_a_cost_that_is_not_positive_is_refused() -> None:
    with pytest.raises(InvalidCostError) as info:
        flexibo_generation_strategy({"error": 1.0, "energy": -1.0})
    assert str(info.value) == (
        "Expected a positive, finite cost of 'energy', but got -1.0. Give all costs in"
        " one unit."
    )


def planned(client: Client, n: int) -> list[tuple[str, ...]]:
    return [m.objectives for m in get_next_measurements(client, n)]


def test_by_default_initial_designs_are_measured_on_everything() -> None:
    assert planned(new_client(n_init=3), 3) == [BOTH] * 3


def test_cheap_first_measures_three_designs_completely() -> None:
    client = new_client(n_init=5, init_plan="cheap_first")
    assert planned(client, 5) == [BOTH] * 3 + [("energy",)] * 2


def test_a_plan_is_followed_whoever_asks_and_in_any_portions() -> None:
    plan = [["energy"], ["error", "energy"], ["energy"], ["error"]]
    client = new_client(n_init=4, init_plan=plan)
    asked = planned(client, 1)
    client.get_next_trials(max_trials=1)
    asked += planned(client, 2)
    assert asked == [("energy",), ("energy",), ("error",)]
    assert [m.objectives for m in measurements(client)] == [tuple(e) for e in plan]


def test_a_plan_goes_on_where_earlier_trials_ended() -> None:
    client = new_client(n_init=3, init_plan=[["energy"], ["error"], ["energy"]])
    client.attach_trial({"rate": 0.1, "width": 0.2})
    assert planned(client, 5) == [("error",), ("energy",)]


def test_a_design_that_ax_draws_again_takes_no_entry_of_the_plan() -> None:
    """In a space of six designs Sobol draws repeat."""
    plan = [["error", "energy"], ["error"], ["energy"], ["error"], ["energy"]]
    client = new_client(DEPTH, n_init=5, init_plan=plan)
    asked = planned(client, 2) + planned(client, 3)
    assert [list(entry) for entry in asked] == plan
    assert len({m.parameters["depth"] for m in measurements(client)}) == 5


def test_initial_designs_depend_on_the_seed_alone() -> None:
    def designs(seed: int) -> list[Any]:
        client = new_client(seed=seed)
        return [m.parameters for m in get_next_measurements(client, 3)]

    assert designs(3) == designs(3)
    assert designs(3) != designs(4)


def trace(steps: list[Measurement]) -> list[Any]:
    return [(m.arm_name, dict(m.parameters), m.objectives, m.cost) for m in steps]


def test_the_same_seed_gives_the_same_run() -> None:
    """Also if the global generator is in another state: nothing is drawn from it."""
    first, second = (run(new_client(seed=5), 6) for _ in range(2))
    assert trace(first) == trace(second)
    assert trace(first) != trace(run(new_client(seed=6), 6))


@pytest.mark.parametrize("acquisition", ["flexibo", "lookahead"])
def test_a_run_goes_on_as_if_it_had_never_been_saved(
    acquisition: str, tmp_path: Path
) -> None:
    def client() -> Client:
        return initialized(new_client(acquisition=acquisition, num_designs=16))

    straight = client()
    expected = trace(run(straight, 3) + get_next_measurements(straight, 2))
    saved, steps = client(), []
    for number in range(3):
        file = str(tmp_path / f"{number}.json")
        saved.save_to_json_file(file)
        saved = Client.load_from_json_file(file)
        steps += run(saved, 1)
    assert trace(steps + get_next_measurements(saved, 2)) == expected


def test_a_common_factor_of_all_costs_changes_no_suggestion() -> None:
    """The factor is a power of two, so ratios are the same to the last bit."""

    def steps(factor: float) -> list[Any]:
        by_width = NamedCost(
            "affine",
            {"slopes": {"width": 4.0 * factor}, "intercept": 0.5 * factor},
        )
        client = new_client(costs={"error": 20.0 * factor, "energy": by_width})
        return [(m.parameters, m.objectives) for m in run(client, 7)]

    assert steps(1.0) == steps(1024.0)


def test_a_dear_objective_is_asked_for_less_often() -> None:
    def share(costs: Mapping[str, float]) -> int:
        done = run(new_client(costs=costs), 9)[3:]
        return sum("error" in m.objectives for m in done)

    assert share({"error": 1000.0, "energy": 1.0}) < share(
        {"error": 1.0, "energy": 1e3}
    )


def test_no_more_run_at_once_than_allowed() -> None:
    client = new_client(n_init=3, max_parallelism=2)
    first = get_next_measurements(client, 5)
    assert len(first) == 2
    with pytest.raises(MaxParallelismReachedException):
        get_next_measurements(client)
    complete(client, first[:1])
    assert len(get_next_measurements(client, 5)) == 1  # the last initial design
    complete(client, measurements(client))
    running = get_next_measurements(client, 5)
    assert len(running) == 2
    with pytest.raises(MaxParallelismReachedException):
        get_next_measurements(client, 3)
    complete(client, running[1:])
    assert len(get_next_measurements(client, 5)) == 1


def test_trials_of_the_user_count_for_the_parallelism() -> None:
    client = new_client(n_init=9, max_parallelism=2)
    for width in (0.25, 0.5, 0.75):
        client.attach_trial({"rate": 0.1, "width": width})
    with pytest.raises(MaxParallelismReachedException):
        get_next_measurements(client, 3)


def epochs(**options: Any) -> ChoiceParameterConfig:
    """Ax gives doubling values a logarithmic scale by itself."""
    return ChoiceParameterConfig(
        name="depth",
        values=[1, 2, 4, 8],
        parameter_type="int",
        is_ordered=True,
        **options,
    )


def test_cheap_fidelities_are_used_and_named() -> None:
    """A fidelity that hardly matters and costs much is worth little at its target."""
    costs = {
        "error": NamedCost("affine", {"slopes": {"depth": 10.0}}),
        "energy": NamedCost("affine", {"slopes": {"depth": 1.0}}),
    }
    client = new_client(
        WIDTH,
        epochs(),
        costs=costs,
        fidelity={"depth": 8},
        acquisition="lookahead",
        num_designs=16,
        n_init=4,
    )
    done = run(client, 7)
    for measurement in done:
        assert measurement.fidelity == {"depth": measurement.parameters["depth"]}
        unit = {("energy",): 1, ("error",): 10, BOTH: 11}[measurement.objectives]
        assert measurement.cost == pytest.approx(unit * measurement.fidelity["depth"])
    assert any(m.fidelity["depth"] < 8 for m in done[4:])


def test_without_fidelities_there_are_none_in_a_measurement() -> None:
    (measurement,) = get_next_measurements(new_client())
    assert measurement.fidelity == {}


@pytest.mark.parametrize(
    "options",
    [
        {"quadrature_nodes": 1, "beta": 4.0},
        {"loss": "region", "decision_cost": 2.0},
        {"loss": "knowledge_gradient"},
    ],
)
def test_the_lookahead_takes_options(options: dict[str, Any]) -> None:
    client = bare_client(WIDTH, RATE)
    strategy = flexibo_generation_strategy(
        COSTS, n_init=3, acquisition_options={"num_designs": 12, **options}
    )
    client.set_generation_strategy(strategy)
    done = run(client, 5)
    assert all(len(m.objectives) == 1 for m in done[3:])


@pytest.mark.slow
# BoTorch 0.18.1: fantasize() with a mask conditions on X without a sample dimension.
@pytest.mark.filterwarnings(
    "ignore:Non-strict enforcement of botorch tensor conventions"
)
def test_hvkg_gives_valid_suggestions() -> None:
    client = bare_client(WIDTH)
    strategy = flexibo_generation_strategy(
        COSTS,
        n_init=3,
        acquisition="hvkg",
        acquisition_options={
            "num_pareto": 2,
            "num_fantasies": 2,
            "value_restarts": 2,
            "value_samples": 16,
        },
    )
    client.set_generation_strategy(strategy)
    done = run(client, 4)
    assert len(done[3].objectives) == 1
    assert 0 <= done[3].parameters["width"] <= 1


def test_the_default_is_the_lookahead() -> None:
    client = bare_client(WIDTH)
    client.set_generation_strategy(flexibo_generation_strategy(COSTS, n_init=2))
    (spec,) = strategy_of(client).nodes_by_name["decoupled"].generator_specs
    assert spec.generator_kwargs["acquisition"] == "lookahead"
    (measurement,) = run(client, 3)[2:]
    assert len(measurement.objectives) == 1


def test_costs_are_known_by_name_in_what_is_stored() -> None:
    costs = Costs(
        {"error": NamedCost("affine", {"slopes": {"width": 1.0}}), "energy": 1}
    )
    client = bare_client()
    client.set_generation_strategy(quick_strategy(costs))
    snapshot = str(client._to_json_snapshot()["generation_strategy"])
    assert "'name': 'affine'" in snapshot
    assert "'slopes': {'width': 1.0}" in snapshot
