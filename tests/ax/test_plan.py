"""Which metrics the first designs are measured on."""

from __future__ import annotations

import pytest

pytest.importorskip("ax")

from ax.api.client import Client
from ax.api.configs import RangeParameterConfig
from ax.core.arm import Arm
from botorch.exceptions.errors import CandidateGenerationError, InputDataError
from hypothesis import given
from hypothesis import strategies as st

from botorch_flexibo.ax import (
    complete_measurement,
    flexibo_generation_strategy,
    get_next_measurements,
)
from botorch_flexibo.ax.metadata import experiment_of
from botorch_flexibo.ax.plan import MeasurementPlan, PlanProgress, cheap_first


def test_designs_beyond_the_plan_are_measured_on_everything() -> None:
    plan = MeasurementPlan.from_lists([["b"], ["a", "b"]])
    entries = [plan.entry(number, ["a", "b", "c"]) for number in range(4)]
    assert entries == [("b",), ("a", "b"), ("a", "b", "c"), ("a", "b", "c")]


@pytest.mark.parametrize("nothing", [None, [], ()])
def test_without_a_plan_everything_is_measured(
    nothing: list[list[str]] | None,
) -> None:
    plan = MeasurementPlan.from_lists(nothing)
    assert plan == MeasurementPlan()
    assert plan.entry(0, ["a", "b"]) == ("a", "b")


@pytest.mark.parametrize("entry", [[], ["a", "a"]])
def test_an_entry_that_is_empty_or_names_a_metric_twice_is_refused(
    entry: list[str],
) -> None:
    with pytest.raises(InputDataError) as info:
        MeasurementPlan.from_lists([["a"], entry])
    assert str(info.value) == (
        "Expected each entry of a plan to be one or more different metrics, but got"
        f" {entry}."
        " Give the names of metrics."
    )


def test_a_plan_of_other_metrics_is_refused() -> None:
    plan = MeasurementPlan.from_lists([["a"], ["c", "a", "b"]])
    assert plan.entry(0, ["a"]) == ("a",)
    with pytest.raises(InputDataError) as info:
        plan.entry(1, ["a"])
    assert str(info.value) == (
        "Expected a plan of the objectives ['a'], but entry 1 names ['b', 'c']."
        " Set a strategy whose plan names these objectives."
    )


@given(
    costs=st.dictionaries(
        st.text(min_size=1), st.floats(0.1, 100.0), min_size=1, max_size=5
    ),
    num_complete=st.integers(1, 4),
    num_cheap=st.integers(0, 4),
)
def test_cheap_first_completes_a_few_and_measures_the_cheapest_at_the_others(
    costs: dict[str, float], num_complete: int, num_cheap: int
) -> None:
    plan = cheap_first(costs, num_complete + num_cheap, num_complete)
    assert plan[:num_complete] == [list(costs)] * num_complete
    assert len(plan) == num_complete + num_cheap
    for entry in plan[num_complete:]:
        (name,) = entry
        assert costs[name] == min(costs.values())


@pytest.mark.parametrize(("num_designs", "num_complete"), [(3, 0), (2, 3), (0, 0)])
def test_cheap_first_needs_a_complete_design_and_no_more_than_there_are(
    num_designs: int, num_complete: int
) -> None:
    with pytest.raises(InputDataError) as info:
        cheap_first({"a": 1.0}, num_designs, num_complete)
    assert str(info.value) == (
        "Expected 1 <= num_complete <= num_designs, but got"
        f" num_complete={num_complete} and num_designs={num_designs}."
        " Ask for more designs."
    )


def test_a_small_space_with_constraints_has_fewer_initial_designs() -> None:
    client = Client(random_seed=0)
    sides = [
        RangeParameterConfig(name=name, bounds=(1, 3), parameter_type="int")
        for name in ("x", "y")
    ]
    client.configure_experiment(sides, parameter_constraints=["x + y <= 4"])
    client.configure_optimization("-error, -energy")
    costs = {"error": 2.0, "energy": 1.0}
    plan = cheap_first(costs, 8, 3)
    client.set_generation_strategy(
        flexibo_generation_strategy(costs, n_init=8, init_plan=plan)
    )
    told = set()
    with pytest.raises(CandidateGenerationError):
        while True:
            for task in get_next_measurements(client, n=4):
                point = tuple(task.parameters.values())
                assert sum(point) <= 4
                told |= {(*point, name) for name in task.objectives}
                values = {name: sum(point) / 4 for name in task.objectives}
                complete_measurement(client, task, values)
    # Six designs are allowed, and each gets both metrics.
    assert len(told) == 12


def test_each_arm_of_a_batch_trial_is_an_initial_design() -> None:
    client = Client(random_seed=0)
    rate = RangeParameterConfig(name="x", bounds=(0.0, 1.0), parameter_type="float")
    client.configure_experiment([rate])
    client.configure_optimization("-error, -energy")
    strategy = flexibo_generation_strategy({"error": 2.0, "energy": 1.0}, n_init=6)
    client.set_generation_strategy(strategy)
    experiment = experiment_of(client)
    trial = experiment.new_batch_trial()
    trial.add_arms_and_weights([Arm({"x": k / 10}) for k in range(4)])
    assert PlanProgress.of(experiment, 6).open == (4, 5)
