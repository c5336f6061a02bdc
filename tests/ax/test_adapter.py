"""Between an Ax experiment and the generators: pending, payments, columns, spaces."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import torch

pytest.importorskip("ax")

from ax.api.client import Client
from ax.api.configs import (
    ChoiceParameterConfig,
    DerivedParameterConfig,
    RangeParameterConfig,
)
from ax.core.utils import extract_pending_observations
from botorch.exceptions.errors import CandidateGenerationError

from botorch_flexibo.ax import (
    Costs,
    Measurement,
    SetupCost,
    complete_measurement,
    fail_measurement,
    flexibo_generation_strategy,
    get_next_measurements,
    measurements,
)
from botorch_flexibo.ax.metadata import experiment_of
from botorch_flexibo.failures import TolerateFailures
from tests.ax.helpers import (
    COSTS,
    DEPTH,
    KIND,
    RATE,
    WIDTH,
    ParameterConfig,
    attach,
    bare_client,
    complete,
    decoupled_adapter,
    initialized,
    new_client,
    next_options,
    next_state,
    refitted,
    run,
    values_of,
)

BOTH = ("error", "energy")
POINT = {"rate": 0.1, "width": 0.25}
POWERS = ChoiceParameterConfig(  # Ax gives it a logarithmic scale by itself
    name="batch", values=[3, 6, 12, 24], parameter_type="int", is_ordered=True
)
REAL_DEPTH = RangeParameterConfig(
    name="depth", bounds=(1.0, 6.0), parameter_type="float"
)
UNITS = RangeParameterConfig(
    name="units", bounds=(1, 40), parameter_type="int", scaling="log"
)


def pairs(steps: list[Measurement]) -> list[tuple[str, str]]:
    return [(m.arm_name, name) for m in steps for name in m.objectives]


def pending_of(client: Client) -> list[tuple[float, tuple[str, ...]]]:
    """The widths that are pending, with their objectives."""
    inputs = next_options(client)[1].inputs
    column = inputs.columns.names.index("width")
    return [
        (
            float(x[column]),
            tuple(n for n, asked in zip(BOTH, mask, strict=True) if asked),
        )
        for x, mask in zip(inputs.X_pending, inputs.pending_mask, strict=True)
    ]


def test_only_what_was_asked_for_and_runs_is_pending() -> None:
    client = initialized(new_client())
    (first,) = get_next_measurements(client)
    running = [(first.parameters["width"], first.objectives)]
    # Measured on one objective for good: Ax would wait for the other one for ever.
    attach(client, {"rate": 0.1, "width": 0.25}, "error")
    assert pending_of(client) == running
    index = client.attach_trial({"rate": 0.2, "width": 0.5})
    running.append((0.5, BOTH))
    assert pending_of(client) == running
    client.attach_data(index, {"error": 1.0})
    running[1] = (0.5, ("energy",))
    assert pending_of(client) == running
    fail_measurement(client, first)
    assert pending_of(client) == running[1:]
    # As Ax does: what was abandoned is not to be suggested again.
    client.mark_trial_abandoned(index)
    assert pending_of(client) == running[1:]
    assert measurements(client) == []


def test_more_than_a_hundred_trials_change_nothing() -> None:
    """From then on Ax takes all metrics of all trials that lack one for pending."""
    client = new_client(n_init=1)
    for i in range(102):
        point = {"rate": 0.1, "width": i / 128}
        attach(client, point, *(BOTH if i % 40 == 0 else ["error"]))
    index = client.attach_trial({"rate": 0.1, "width": 0.9})
    client.attach_data(index, {"error": 1.0})
    ours = extract_pending_observations(experiment_of(client))
    assert ours is not None
    assert len(ours["energy"]) > 90
    assert pending_of(client) == [(0.9, ("energy",))]
    (measurement,) = get_next_measurements(client)
    assert len(measurement.objectives) == 1


def test_a_batch_is_pending_for_its_later_members() -> None:
    client = initialized(new_client())
    batch = get_next_measurements(client, 5)
    assert len(set(pairs(batch))) == 5
    requests = decoupled_adapter(client).generator.proposals.requests
    assert [request.objectives for _, request in requests] == [
        m.objectives for m in batch
    ]
    assert pending_of(client) == [
        (pytest.approx(m.parameters["width"]), m.objectives) for m in batch
    ]


@pytest.mark.parametrize("together", [1, 4])
def test_no_pair_is_proposed_twice_until_none_is_left(together: int) -> None:
    """All 16 pairs of a finite space, most of them while others run."""
    kinds = ChoiceParameterConfig(
        name="kind", values=["conv", "shift"], parameter_type="str", is_ordered=True
    )
    client = new_client(
        POWERS, kinds, n_init=2, init_plan=[["error", "energy"], ["energy"]]
    )
    asked = get_next_measurements(client, 2)
    complete(client, asked)
    running: list[Measurement] = []
    while len(pairs(asked)) < 16:
        proposed = get_next_measurements(client, together)
        asked += proposed
        running += proposed
        complete(client, running[:-2])
        running = running[-2:]
    assert Counter(pairs(asked)) == {
        (arm.name, name): 1
        for arm in experiment_of(client).arms_by_name.values()
        for name in BOTH
    }
    assert len(experiment_of(client).arms_by_name) == 8
    for _ in range(2):
        with pytest.raises(CandidateGenerationError, match="at least one pair"):
            get_next_measurements(client, 3)


def test_a_call_gives_what_is_left() -> None:
    client = new_client(
        KIND, n_init=3, init_plan=[["error", "energy"], *[["error"]] * 2]
    )
    initialized(client)
    rest = get_next_measurements(client, 7)
    assert [m.objectives for m in rest] == [("energy",)] * 2
    assert len(set(pairs(rest))) == 2


def test_a_design_measured_again_keeps_its_name_and_its_parameters() -> None:
    """The set-up makes the second measurement of a design nearly free."""
    costs = Costs({"error": 1.0, "energy": 1.0}, setup=SetupCost(1000.0))
    # One width: with some drawn ones the second energy is worth nothing.
    client = new_client(
        RATE, UNITS, costs=costs, acquisition="lookahead", num_designs=12, beta=1.0
    )
    plan = [("error",), ("error",), ("error", "energy")]
    for i, names in enumerate(plan):
        attach(client, {"rate": 0.0123 * 7**i, "units": 3 + 10 * i}, *names)
    again = get_next_measurements(client, 2)
    arms = experiment_of(client).arms_by_name
    assert len(arms) == 3
    assert {m.arm_name for m in again} == {"0_0", "1_0"}
    assert [m.objectives for m in again] == [("energy",)] * 2
    for measurement in again:
        assert measurement.parameters == arms[measurement.arm_name].parameters
        assert measurement.cost == pytest.approx(1.0)
    complete(client, again)
    state = next_state(client)
    assert state.X.shape == (3, 2)
    assert bool(state.complete.all())


def test_a_running_design_is_not_proposed_again_for_the_same_objective() -> None:
    """Its row must be found among the data to the last bit, on a logarithmic scale."""
    client = new_client(RATE, UNITS, n_init=1)
    for i in range(40):
        point = {"rate": 10 ** (-3.9 + 0.09731 * i), "units": 1 + i}
        attach(client, point, "error", *(["energy"] if i < 2 else []))
    for arm in list(experiment_of(client).arms_by_name.values())[2:]:
        client.attach_trial(dict(arm.parameters))  # pyright: ignore
    options = next_options(client)[1]
    state = next_state(client)
    rows = {tuple(row) for row in state.X.tolist()}
    assert len(rows) == 40
    assert {tuple(row) for row in options.inputs.X_pending.tolist()} < rows


KINDS: dict[str, tuple[ParameterConfig, list[Any]]] = {
    "rate": (RATE, [0.001, 0.3]),
    "width": (WIDTH, [0.25, 1.0]),
    "depth": (DEPTH, [1, 5]),
    "units": (UNITS, [7, 40]),
    "batch": (POWERS, [6, 24]),
    "step": (
        RangeParameterConfig(
            name="step", bounds=(0.5, 2.0), parameter_type="float", step_size=0.5
        ),
        [0.5, 1.5],
    ),
    "bits": (
        ChoiceParameterConfig(
            name="bits", values=[8, 2, 5], parameter_type="int", is_ordered=True
        ),
        [2, 5],
    ),
    "level": (
        ChoiceParameterConfig(
            name="level",
            values=[1.5, 0.5, 9.0],
            parameter_type="float",
            is_ordered=False,
        ),
        [1.5, 9.0],
    ),
    "bias": (
        ChoiceParameterConfig(
            name="bias", values=[True, False], parameter_type="bool", is_ordered=True
        ),
        [True, False],
    ),
    "kind": (KIND, ["shift", "conv"]),
    "seed": (
        ChoiceParameterConfig(name="seed", values=[11], parameter_type="int"),
        [11, 11],
    ),
    "data": (
        ChoiceParameterConfig(name="data", values=["cifar"], parameter_type="str"),
        ["cifar", "cifar"],
    ),
}


@pytest.fixture(scope="module")
def zoo() -> Client:
    """An experiment with parameters of all kinds."""
    client = new_client(*(config for config, _ in KINDS.values()), n_init=2)
    for i in range(2):
        index = client.attach_trial({name: v[i] for name, (_, v) in KINDS.items()})
        client.complete_trial(index, {"error": float(i), "energy": float(1 - i)})
    return client


def test_columns_read_as_the_parameters_of_the_arms(zoo: Client) -> None:
    """What a cost function is told does not depend on how Ax encodes a parameter."""
    columns = next_options(zoo)[1].inputs.columns
    adapter = decoupled_adapter(zoo)
    arms = experiment_of(zoo).arms_by_name.values()
    rows = adapter._rows([adapter._features(arm) for arm in arms])
    values = columns.values(rows)
    numeric = set(KINDS) - {"bias", "kind", "data"}
    assert set(values) == numeric
    for name in numeric:
        assert values[name].tolist() == pytest.approx(KINDS[name][1])


def test_fidelities_are_encoded_as_columns_are(zoo: Client) -> None:
    columns = next_options(zoo)[1].inputs.columns
    for name, target in {"units": 40, "batch": 24, "bits": 5, "width": 1.0}.items():
        column, entry = columns.encode(name, target)
        lower, upper = columns.bounds[:, column]
        assert float(lower) <= entry <= float(upper)
        X = columns.bounds[:1].clone()
        X[:, column] = entry
        assert columns.values(X)[name].item() == pytest.approx(target)


def test_suggestions_are_members_of_any_search_space(zoo: Client) -> None:
    space = experiment_of(zoo).search_space
    for measurement in get_next_measurements(zoo, 3):
        assert space.check_membership(dict(measurement.parameters), raise_error=True)
        assert measurement.parameters["seed"] == 11
        for name in ("units", "bits", "batch", "depth"):
            assert isinstance(measurement.parameters[name], int)


@pytest.mark.parametrize(
    "fixed",
    [
        {"width": 0.625},
        {"rate": 0.0123},
        {"units": 7, "kind": "shift"},
        {"batch": 12, "bias": False, "step": 1.5},
        {"seed": 11, "level": 0.5},
    ],
)
def test_fixed_parameters_hold(zoo: Client, fixed: dict[str, Any]) -> None:
    for measurement in get_next_measurements(zoo, 2, fixed_parameters=fixed):
        chosen = {name: measurement.parameters[name] for name in fixed}
        assert chosen == pytest.approx(fixed) if "rate" in fixed else chosen == fixed


@pytest.mark.parametrize("acquisition", ["flexibo", "lookahead"])
def test_fixed_parameters_hold_for_initial_designs_too(acquisition: str) -> None:
    client = new_client(WIDTH, RATE, acquisition=acquisition, num_designs=12)
    for _ in range(2):
        asked = get_next_measurements(client, 3, fixed_parameters={"width": 0.5})
        assert {m.parameters["width"] for m in asked} == {0.5}
        complete(client, asked)


@pytest.mark.parametrize(
    ("depth", "acquisition", "steps"),
    [
        (DEPTH, "flexibo", 6),
        (REAL_DEPTH, "lookahead", 5),
        pytest.param(DEPTH, "lookahead", 5, marks=pytest.mark.slow),
    ],
    ids=["mixed", "lookahead", "mixed lookahead"],
)
def test_linear_constraints_hold(
    depth: RangeParameterConfig, acquisition: str, steps: int
) -> None:
    client = new_client(
        WIDTH,
        depth,
        constraints=["width + 0.1*depth <= 0.7", "width >= 0.05*depth"],
        acquisition=acquisition,
        num_designs=12,
    )
    for measurement in run(client, steps):
        wide, deep = (measurement.parameters[name] for name in ("width", "depth"))
        assert wide + 0.1 * deep <= 0.7 + 1e-9
        assert wide >= 0.05 * deep - 1e-9


def test_linear_constraints_reach_the_policy_with_the_right_sign() -> None:
    client = new_client(WIDTH, DEPTH, constraints=["width + 0.1*depth <= 0.7"])
    state = next_state(initialized(client))
    X = torch.cartesian_prod(
        torch.linspace(0, 1, 21, dtype=torch.double),
        torch.arange(1, 7, dtype=torch.double),
    )
    inside = X[X[:, 0] + 0.1 * X[:, 1] <= 0.7 + 1e-9]
    assert 0 < len(inside) < len(X)
    assert torch.equal(state.space.feasible(X), inside)


def test_derived_parameters_follow_the_others() -> None:
    double = DerivedParameterConfig(
        name="double", expression_str="2.0 * width", parameter_type="float"
    )
    for measurement in run(new_client(WIDTH, double), 5):
        parameters = measurement.parameters
        assert parameters["double"] == pytest.approx(2 * parameters["width"])


@pytest.mark.filterwarnings("ignore:Parameterization .* is in out-of-design")
@pytest.mark.parametrize("acquisition", ["flexibo", "lookahead"])
def test_designs_outside_the_space_are_learned_from_and_never_proposed(
    acquisition: str,
) -> None:
    """Ax lets users attach them; they lack an objective, as what is revisited does."""
    client = new_client(
        WIDTH,
        POWERS,
        acquisition=acquisition,
        num_designs=12,
        costs={"error": 1.0, "energy": 1.0},
    )
    initialized(client)
    for point in (
        {"width": 1.7, "batch": 3},
        {"width": -0.5, "batch": 3},
        {"width": 0.5, "batch": 5},
        {"width": 0.5, "batch": 99},
    ):
        attach(client, point, "energy")
    state = next_state(client)
    assert len(state.X) == 3
    data = decoupled_adapter(client).generator.surrogate.training_data
    assert sorted(len(dataset.X) for dataset in data) == [3, 7]
    space = experiment_of(client).search_space
    for measurement in get_next_measurements(client, 4):
        assert space.check_membership(dict(measurement.parameters))


@pytest.mark.filterwarnings("ignore:Parameterization .* is in out-of-design")
def test_an_experiment_may_have_all_its_data_outside_the_space() -> None:
    client = new_client(WIDTH, n_init=2)
    for width in (1.5, 1.75, 2.0):
        attach(client, {"width": width}, *BOTH)
    (measurement,) = get_next_measurements(client)
    assert 0 <= measurement.parameters["width"] <= 1


@pytest.mark.filterwarnings("ignore:Parameterization .* is in out-of-design")
@pytest.mark.parametrize("is_abandoned", [False, True])
@pytest.mark.parametrize("acquisition", ["lookahead", "flexibo", "pabo"])
def test_a_pending_design_outside_the_space_is_no_obstacle(
    acquisition: str, is_abandoned: bool
) -> None:
    client = bare_client(WIDTH, POWERS)
    options = {} if acquisition == "pabo" else {"num_designs": 8}
    strategy = flexibo_generation_strategy(
        {"error": 1.0, "energy": 1.0},
        n_init=2,
        acquisition=acquisition,
        acquisition_options=options,
    )
    client.set_generation_strategy(strategy)
    initialized(client, 2)
    for width, batch in ((1.2, 6), (0.5, 5)):
        index = client.attach_trial({"width": width, "batch": batch})
        if is_abandoned:
            client.mark_trial_abandoned(index)
    assert pending_of(client) == [(1.2, BOTH), (0.5, BOTH)]
    space = experiment_of(client).search_space
    for measurement in get_next_measurements(client, 2):
        assert space.check_membership(dict(measurement.parameters))


def test_designs_outside_the_space_are_not_tried_again() -> None:
    """They are outside it for the time of fixed parameters."""
    client = new_client(WIDTH, DEPTH, n_init=2)
    initialized(client, 2)
    (lost,) = get_next_measurements(client, fixed_parameters={"width": 0.75})
    fail_measurement(client, lost)
    inside, outside = (next_state(client, width=w).failures for w in (0.75, 0.752))
    assert inside is not None
    assert outside is not None
    assert len(inside.to_retry()) == 1
    assert len(outside.to_retry()) == 0
    # Nor is a design close to it, which would have another width than the fixed one.
    mask, bounds = inside.counts[0] > 0, next_state(client).bounds
    near = inside.X[0] + 0.002
    assert torch.equal(inside.original(near, mask, bounds), inside.X[0])
    assert torch.equal(outside.original(near, mask, bounds), near)


def test_what_was_given_up_outside_the_space_stays_so() -> None:
    client = new_client(
        WIDTH, DEPTH, n_init=2, failures=TolerateFailures(max_attempts=1)
    )
    initialized(client, 2)
    (lost,) = get_next_measurements(client, fixed_parameters={"width": 0.75})
    fail_measurement(client, lost)
    failures = next_state(client, width=0.25).failures
    assert failures is not None
    assert failures.given_up.any(dim=-1).tolist() == [True]


def paid_of(client: Client) -> list[tuple[float, ...]]:
    """What the cost model learns from: costs of error and energy, and the set-up."""
    paid = next_options(client)[1].inputs.paid
    table = torch.cat([paid.costs, paid.setup_costs.unsqueeze(-1)], dim=-1)
    return [tuple(-1 if math.isnan(v) else v for v in row) for row in table.tolist()]


def test_only_told_costs_of_measurements_that_succeeded_are_learned() -> None:
    setup = SetupCost(3.0, objectives=["error"])
    client = new_client(n_init=4, costs=Costs(COSTS, learned=True, setup=setup))
    first, second, third, fourth = get_next_measurements(client, 4)
    complete_measurement(
        client, first, values_of(first), costs={"error": 30.0, "energy": 2.0}
    )
    complete_measurement(client, second, values_of(second), costs={"energy": 4.0})
    complete_measurement(client, third, values_of(third))
    fail_measurement(client, fourth, costs={"error": 5.0, "energy": 0.0})
    attach(client, POINT, "energy")
    # -1 stands for unknown. A design with an error is set up, for whatever it cost.
    assert paid_of(client) == [(30, 2, 0), (-1, 4, 0), (-1, -1, 0), (-1, -1, -1)]


def test_a_failure_that_cost_nothing_is_no_obstacle_to_learning_costs() -> None:
    client = initialized(new_client(costs=Costs(COSTS, learned=True)))
    (measurement,) = get_next_measurements(client)
    client.attach_data(measurement.trial_index, values_of(measurement))
    free = dict.fromkeys(measurement.objectives, 0.0)
    fail_measurement(client, measurement, costs=free)
    assert get_next_measurements(client)[0].cost is not None


def test_changed_thresholds_count_from_the_next_suggestion_on() -> None:
    """Ax's adapters keep the objectives they were built with."""
    client = initialized(new_client(thresholds=["error <= 4096", "energy <= 4096"]))
    before = next_state(client).ref_point
    run(client, 1)
    client.configure_optimization(
        "-error, -energy", outcome_constraints=["error <= 1024", "energy <= 4096"]
    )
    after = next_state(client).ref_point
    scale = refitted(client).transforms["StandardizeY"].Ystd["error"]
    assert float(after[0] - before[0]) > 0.5 * 3072 / scale
    client.configure_optimization("error, -energy")
    assert (
        refitted(client)._optimization_config.objective.expression == "error, -energy"
    )
    assert len(get_next_measurements(client)) == 1


def test_proposals_that_never_became_trials_are_not_pending() -> None:
    """Ax drops all of a call in which one suggestion fails."""
    client = new_client(
        KIND, n_init=3, init_plan=[["error", "energy"], *[["error"]] * 2]
    )
    initialized(client)
    with pytest.raises(CandidateGenerationError):
        client.get_next_trials(max_trials=3)
    assert next_options(client)[1].inputs.num_proposed == 3
    assert len(client.get_next_trials(max_trials=2)) == 2
    assert len(measurements(client)) == 2


def test_a_generator_run_may_have_several_arms() -> None:
    """As for a trial with several arms, which only Ax's core makes."""
    client = initialized(new_client())
    experiment = experiment_of(client)
    ((generator_run,),) = client._generation_strategy.gen(experiment=experiment, n=4)
    trial = experiment.new_batch_trial(generator_runs=[generator_run])
    trial.mark_running(no_runner_required=True)
    running = measurements(client)
    assert [m.arm_name for m in running] == [arm.name for arm in trial.arms]
    assert len(set(pairs(running))) == 4
    state = next_state(client)
    assert state.X_pending is not None
    assert len(state.X_pending) == len(trial.arms)
