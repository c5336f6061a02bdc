"""Ask and tell on real clients: what is told, what is refused, what it costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("ax")

from ax.api.client import Client
from ax.api.configs import (
    ChoiceParameterConfig,
    DerivedParameterConfig,
    RangeParameterConfig,
)
from ax.core.arm import Arm
from botorch.exceptions.errors import (
    CandidateGenerationError,
    InputDataError,
    UnsupportedError,
)
from hypothesis import given
from hypothesis import strategies as st

from botorch_flexibo.ax import (
    Costs,
    Measurement,
    NamedCost,
    SetupCost,
    complete_measurement,
    fail_measurement,
    flexibo_generation_strategy,
    get_next_measurements,
    measurements,
    objectives_for,
    register_cost_function,
    spent,
)
from botorch_flexibo.ax.metadata import experiment_of, payment_of
from botorch_flexibo.exceptions import InvalidCostError
from tests.ax.helpers import (
    COSTS,
    DEPTH,
    KIND,
    RATE,
    WIDTH,
    attach,
    bare_client,
    complete,
    initialized,
    new_client,
    quick_strategy,
    run,
    state_of,
    trial_count,
    values_of,
)

BOTH = ("error", "energy")
POINT = {"rate": 0.25, "width": 0.5}


def told(client: Client, index: int) -> dict[str, tuple[float, float]]:
    """Means and standard errors of a trial."""
    frame = experiment_of(client).lookup_data().df
    rows = frame[frame["trial_index"] == index]
    columns = (rows[name] for name in ("metric_name", "mean", "sem"))
    return {name: (mean, sem) for name, mean, sem in zip(*columns, strict=True)}


def status(client: Client, index: int) -> str:
    return experiment_of(client).trials[index].status.name


# Asking.


def test_a_measurement_says_all_that_is_needed_to_measure() -> None:
    client = new_client()
    (first,) = get_next_measurements(client)
    assert first == Measurement(
        trial_index=0,
        arm_name="0_0",
        parameters=experiment_of(client).trials[0].arms[0].parameters,
        objectives=BOTH,
        fidelity={},
        cost=21.0,
    )
    assert status(client, 0) == "RUNNING"


@pytest.mark.parametrize("n", [0, -1])
def test_at_least_one_measurement_is_asked_for(n: int) -> None:
    client = new_client()
    with pytest.raises(InputDataError) as info:
        get_next_measurements(client, n)
    assert str(info.value) == (
        f"Expected a whole number n >= 1, but got {n}. Ask for one or more."
    )
    assert trial_count(client) == 0


def test_asking_for_more_than_is_left_does_the_work_twice_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    depth = replace(DEPTH, bounds=(1, 2))
    client = initialized(new_client(KIND, depth))
    numbers = []
    ask = Client.get_next_trials

    def counted(client: Client, n: int, **options: Any) -> Any:
        numbers.append(n)
        return ask(client, n, **options)

    monkeypatch.setattr(Client, "get_next_trials", counted)
    rest = get_next_measurements(client, 40)
    assert numbers == [40, len(rest)]
    with pytest.raises(CandidateGenerationError):
        get_next_measurements(client, 40)
    assert numbers[2:] == [40]


def test_the_plain_client_and_the_helpers_mix() -> None:
    """No state is in the helpers: either may do any step of the other."""
    client = new_client(n_init=2, init_plan=[["energy"], ["error", "energy"]])
    plain = client.get_next_trials(max_trials=1)
    (asked,) = get_next_measurements(client)
    assert [objectives_for(client, index) for index in plain] == [("energy",)]
    assert [m.trial_index for m in measurements(client)] == [0, 1]
    (mine,) = (m for m in measurements(client) if m.trial_index == 0)
    complete_measurement(client, mine, values_of(mine))
    client.complete_trial(asked.trial_index, values_of(asked))
    for index, parameters in client.get_next_trials(max_trials=2).items():
        (name,) = objectives_for(client, index)
        complete_measurement(client, index, {name: parameters["width"]})  # pyright: ignore
        assert told(client, index).keys() == {name}
    assert measurements(client) == []


def test_objectives_of_other_trials_are_all_of_them() -> None:
    client = new_client()
    index = client.attach_trial(POINT)
    assert objectives_for(client, index) == BOTH
    with pytest.raises(InputDataError) as info:
        objectives_for(client, 5)
    assert str(info.value) == (
        "Expected the index of a trial of the experiment (it has 1), but got 5. Pass"
        " that of a measurement."
    )


@pytest.mark.filterwarnings("ignore:Encountered a `MultiObjective` without")
def test_an_experiment_of_the_default_strategy_goes_on() -> None:
    """Its trials count, and those without metadata are measured on everything."""
    client = bare_client()
    client.configure_generation_strategy(
        initialization_budget=3, initialize_with_center=False
    )
    for index, parameters in client.get_next_trials(max_trials=3).items():
        width = float(parameters["width"])
        client.complete_trial(index, {"error": 1 - width, "energy": width})
    (running,) = client.get_next_trials(max_trials=1)
    client.set_generation_strategy(quick_strategy(n_init=3))
    assert [(m.trial_index, m.objectives) for m in measurements(client)] == [
        (running, BOTH)
    ]
    assert measurements(client)[0].cost == 21.0
    assert spent(client) == 3 * 21.0
    (measurement,) = get_next_measurements(client)
    assert len(measurement.objectives) == 1
    complete(client, [measurement])
    complete_measurement(client, running, {"error": 0.5, "energy": 0.5})
    assert spent(client) == 4 * 21.0 + (measurement.cost or math.nan)
    assert run(client, 1)[0].trial_index == trial_count(client) - 1


def test_trials_of_the_user_are_measurements_too() -> None:
    client = new_client()
    index = client.attach_trial(POINT)
    (waiting,) = measurements(client)
    assert (waiting.trial_index, waiting.objectives) == (index, BOTH)
    client.attach_data(index, {"energy": 1.0})
    assert measurements(client)[0].objectives == ("error",)
    client.attach_data(index, {"error": 1.0})
    assert measurements(client) == []


# Telling.

NUMBERS: dict[str, tuple[Any, float]] = {
    "int": (3, 3.0),
    "negative zero": (-0.0, 0.0),
    "tiny": (5e-324, 5e-324),
    "fraction": (Fraction(1, 4), 0.25),
    "NumPy float": (np.float32(0.5), 0.5),
    "NumPy int": (np.int64(-7), -7.0),
    "NumPy array": (np.array([2.5]), 2.5),
    "tensor": (torch.tensor(0.125), 0.125),
    "tensor of one": (torch.tensor([[4]]), 4.0),
    "tensor with gradient": (torch.tensor(1.5, requires_grad=True), 1.5),
}


@pytest.mark.parametrize("case", NUMBERS)
def test_any_finite_number_is_a_value(case: str) -> None:
    value, expected = NUMBERS[case]
    client = new_client()
    (measurement,) = get_next_measurements(client)
    complete_measurement(client, measurement, {"error": value, "energy": (value, 0.5)})
    means = told(client, 0)
    assert means["error"][0] == means["energy"][0] == expected
    assert math.isnan(means["error"][1])
    assert means["energy"][1] == 0.5
    assert status(client, 0) == "COMPLETED"


BAD_VALUES: dict[str, Any] = {
    "NaN": math.nan,
    "infinity": math.inf,
    "overflow": 1e309,
    "big int": 10**400,
    "big decimal": Decimal("1e309"),
    "string": "0.5",
    "bytes": b"1",
    "bool": True,
    "NumPy bool": np.True_,
    "tensor bool": torch.tensor(True),
    "none": None,
    "complex": 1 + 0j,
    "NumPy complex": np.complex128(1),
    "tensor complex": torch.tensor(1 + 0j),
    "tensor of two": torch.ones(2),
    "array of two": np.ones(2),
    "empty array": np.ones(0),
    "tensor NaN": torch.tensor(math.nan),
    "list": [1.0, 0.1],
    "empty pair": (),
    "triple": (1.0, 0.1, 0.1),
    "negative error": (1.0, -0.1),
    "NaN error": (1.0, math.nan),
    "infinite error": (1.0, math.inf),
    "no error": (1.0, None),
    "bool error": (1.0, True),
    "pair of strings": ("1.0", "0.1"),
    "mapping": {"mean": 1.0},
}


@pytest.fixture(scope="module")
def running() -> Client:
    """One running measurement of both objectives, that nothing must change."""
    client = new_client()
    client.configure_tracking_metrics(["memory"])
    get_next_measurements(client)
    return client


def assert_refused(
    client: Client, act: Callable[[], object], error: type[Exception], message: str
) -> None:
    """The message is whole, and nothing of the experiment has changed."""
    before = state_of(client)
    with pytest.raises(error) as info:
        act()
    assert str(info.value) == message
    assert state_of(client) == before


@pytest.mark.parametrize("case", BAD_VALUES)
@pytest.mark.parametrize("name", ["energy", "memory"])
def test_what_is_no_finite_number_is_refused(
    running: Client, case: str, name: str
) -> None:
    value = BAD_VALUES[case]
    values = {"error": 1.0, "energy": 1.0} | {name: value}
    assert_refused(
        running,
        lambda: complete_measurement(running, 0, values),
        InputDataError,
        f"Expected a finite number for {name!r}, or a pair of it and its standard"
        f" error (>= 0), but got {value!r}. Use fail_measurement if it could not be"
        " measured.",
    )


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["error"], " got none for ['energy']"),
        ([], " got none for ['energy', 'error']"),
        (["error", "energy", "size"], " got some for ['size'], not asked for"),
        (
            ["error", "Energy"],
            " got some for ['Energy'], not asked for and got none for ['energy']",
        ),
        (["memory"], " got none for ['energy', 'error']"),
        (["error", "energy", 7, "x"], " got some for [7, 'x'], not asked for"),
    ],
)
def test_exactly_what_was_asked_for_is_told(
    running: Client, names: list[Any], complaint: str
) -> None:
    assert_refused(
        running,
        lambda: complete_measurement(running, 0, dict.fromkeys(names, 1.0)),
        InputDataError,
        f"Expected values for ['energy', 'error'], but{complaint}. Tell exactly what"
        " the measurement asks for, and tracking metrics.",
    )


@pytest.mark.parametrize("values", [0.5, None, "error", [("error", 1.0)], {"error"}])
def test_values_have_names(running: Client, values: Any) -> None:
    assert_refused(
        running,
        lambda: complete_measurement(running, 0, values),
        InputDataError,
        "Expected the values of ['energy', 'error'] by their names, but got"
        f" {values!r}. Give a dictionary.",
    )


def test_an_objective_that_was_not_asked_for_is_refused() -> None:
    client = new_client(n_init=1, init_plan=[["energy"]])
    get_next_measurements(client)
    assert_refused(
        client,
        lambda: complete_measurement(client, 0, {"error": 1.0, "energy": 1.0}),
        InputDataError,
        "Expected values for ['energy'], but got some for ['error'], not asked for."
        " Tell exactly what the measurement asks for, and tracking metrics."
        " client.attach_data takes values that came for free.",
    )


def test_values_that_came_for_free_are_attached_and_not_paid() -> None:
    client = new_client(n_init=1, init_plan=[["energy"]])
    (task,) = get_next_measurements(client)
    client.attach_data(task.trial_index, {"error": 1.0})
    complete_measurement(client, task, {"energy": 2.0})
    assert spent(client) == COSTS["energy"]
    data = experiment_of(client).lookup_data().df
    assert dict(zip(data["metric_name"], data["mean"], strict=True)) == {
        "error": 1.0,
        "energy": 2.0,
    }


@pytest.mark.parametrize("told", [("error",), ("error", "energy"), ("energy",)])
def test_what_ax_is_told_beyond_what_was_asked_for_is_paid(
    told: tuple[str, ...],
) -> None:
    client = new_client(
        n_init=1,
        init_plan=[["energy"]],
        costs=Costs(COSTS, setup=SetupCost(5.0, ["rate"], ["error"])),
    )
    client.configure_tracking_metrics(["size"])
    (index,) = client.get_next_trials(1)
    client.complete_trial(index, dict.fromkeys((*told, "size"), 1.0))
    paid = {"energy": 1.0, **({"error": 20.0 + 5.0} if "error" in told else {})}
    assert spent(client) == sum(paid.values())


def test_tracking_metrics_may_be_told_too() -> None:
    client = new_client()
    client.configure_tracking_metrics(["memory"])
    (measurement,) = get_next_measurements(client)
    values = values_of(measurement) | {"memory": (3.0, 0.25)}
    complete_measurement(client, measurement, values)
    assert told(client, 0)["memory"] == (3.0, 0.25)


@pytest.mark.parametrize("act", [complete_measurement, fail_measurement])
@pytest.mark.parametrize(
    "end", ["complete_trial", "mark_trial_failed", "mark_trial_abandoned"]
)
def test_a_measurement_ends_once(act: Callable[..., None], end: str) -> None:
    client = new_client()
    (measurement,) = get_next_measurements(client)
    if end == "complete_trial":
        complete_measurement(client, measurement, values_of(measurement))
    else:
        getattr(client, end)(measurement.trial_index)
    arguments = [values_of(measurement)] if act is complete_measurement else []
    state = {
        "complete_trial": "completed",
        "mark_trial_failed": "failed",
        "mark_trial_abandoned": "abandoned",
    }[end]
    for which in (measurement, 0):
        assert_refused(
            client,
            lambda which=which: act(client, which, *arguments),
            InputDataError,
            f"Expected a running measurement, but trial 0 is {state}. Each is completed"
            " or failed once.",
        )


@pytest.mark.parametrize("act", [complete_measurement, fail_measurement])
def test_a_measurement_that_does_not_exist_is_refused(
    running: Client, act: Callable[..., None]
) -> None:
    arguments = [{"error": 1.0, "energy": 1.0}] if act is complete_measurement else []
    assert_refused(
        running,
        lambda: act(running, 3, *arguments),
        InputDataError,
        "Expected the index of a trial of the experiment (it has 1), but got 3. Pass"
        " that of a measurement.",
    )
    for which in ("0", None, 0.0, True, {"rate": 0.1}):
        assert_refused(
            running,
            lambda which=which: act(running, which, *arguments),
            InputDataError,
            f"Expected a Measurement or the index of its trial, but got {which!r}."
            " Pass one of get_next_measurements or measurements.",
        )


def test_an_index_from_a_table_is_an_index() -> None:
    client = initialized(new_client(), 3)
    index = client.attach_trial(POINT)
    number = np.int64(index)
    complete_measurement(client, number, {"error": 1.0, "energy": 1.0})  # pyright: ignore
    assert status(client, index) == "COMPLETED"


def test_values_attached_before_are_replaced() -> None:
    client = new_client()
    (measurement,) = get_next_measurements(client)
    client.attach_data(0, {"error": 99.0})
    complete_measurement(client, measurement, {"error": 1.0, "energy": 2.0})
    assert {name: mean for name, (mean, _) in told(client, 0).items()} == {
        "error": 1.0,
        "energy": 2.0,
    }


def test_values_attached_before_are_not_asked_for_again() -> None:
    client = new_client()
    get_next_measurements(client)
    client.attach_data(0, {"error": 99.0})
    (rest,) = measurements(client)
    assert (rest.objectives, rest.cost) == (("energy",), 1.0)
    with pytest.raises(InputDataError, match=r"for \['energy'\], but got none for"):
        complete_measurement(client, rest, {})
    costs = {"error": 3.0, "energy": 4.0}
    complete_measurement(client, rest, {"energy": 2.0}, costs=costs)
    assert {name: mean for name, (mean, _) in told(client, 0).items()} == {
        "error": 99.0,
        "energy": 2.0,
    }
    assert spent(client) == 7.0


def test_a_failure_keeps_its_reason_and_gives_no_value() -> None:
    client = new_client()
    (measurement,) = get_next_measurements(client)
    fail_measurement(client, measurement, reason="out of memory")
    assert status(client, 0) == "FAILED"
    assert experiment_of(client).trials[0].status_reason == "out of memory"
    assert told(client, 0) == {}


# Costs.

BAD_COSTS: dict[str, tuple[Mapping[str, Any], str]] = {
    "zero": (
        {"costs": {"error": 0.0}},
        "Expected a positive, finite cost of 'error', but got 0.0."
        " Leave it out if it is not known.",
    ),
    "negative": (
        {"costs": {"error": 1.0, "energy": -1}},
        "Expected a positive, finite cost of 'energy', but got -1."
        " Leave it out if it is not known.",
    ),
    "infinite": (
        {"costs": {"error": math.inf}},
        "Expected a positive, finite cost of 'error', but got inf."
        " Leave it out if it is not known.",
    ),
    "string": (
        {"costs": {"error": "1"}},
        "Expected a positive, finite cost of 'error', but got '1'."
        " Leave it out if it is not known.",
    ),
    "bool": (
        {"costs": {"error": True}},
        "Expected a positive, finite cost of 'error', but got True."
        " Leave it out if it is not known.",
    ),
    "negative set-up": (
        {"setup_cost": -1.0},
        "Expected a non-negative, finite cost of 'set-up', but got -1.0."
        " Leave it out if it is not known.",
    ),
    "NaN set-up": (
        {"setup_cost": math.nan},
        "Expected a non-negative, finite cost of 'set-up', but got nan."
        " Leave it out if it is not known.",
    ),
}


@pytest.mark.parametrize("case", BAD_COSTS)
def test_a_cost_that_is_no_positive_number_is_refused(
    running: Client, case: str
) -> None:
    arguments, message = BAD_COSTS[case]
    values = {"error": 1.0, "energy": 1.0}
    assert_refused(
        running,
        lambda: complete_measurement(running, 0, values, **arguments),
        InvalidCostError,
        message,
    )


@pytest.mark.parametrize("cost", [-1.0, math.nan, "1", True])
def test_a_failure_may_be_free_but_pays_nothing_back(
    running: Client, cost: Any
) -> None:
    assert_refused(
        running,
        lambda: fail_measurement(running, 0, costs={"error": cost}),
        InvalidCostError,
        f"Expected a non-negative, finite cost of 'error', but got {cost!r}."
        " Leave it out if it is not known.",
    )


def test_costs_are_those_of_what_was_asked_for(running: Client) -> None:
    message = (
        "Expected costs of ['error', 'energy'], but got costs of ['error', 'memory']."
        " Tell those of what was measured."
    )
    values = {"error": 1.0, "energy": 1.0, "memory": 1.0}
    costs = {"error": 1.0, "memory": 1.0}
    for act in (
        lambda: complete_measurement(running, 0, values, costs=costs),
        lambda: fail_measurement(running, 0, costs=costs),
    ):
        assert_refused(running, act, InputDataError, message)


@pytest.mark.parametrize("costs", [21.0, ["error"], "error"])
def test_costs_have_names(running: Client, costs: Any) -> None:
    values = {"error": 1.0, "energy": 1.0}
    for act in (
        lambda: complete_measurement(running, 0, values, costs=costs),
        lambda: fail_measurement(running, 0, costs=costs),
    ):
        assert_refused(
            running,
            act,
            InputDataError,
            f"Expected costs of ['error', 'energy'] by their names, but got {costs!r}."
            " Give a dictionary.",
        )


def test_what_was_told_and_what_is_believed_adds_up() -> None:
    client = new_client(n_init=6, costs=Costs(COSTS, setup=SetupCost(5.0)))
    assert spent(client) == 0
    asked = get_next_measurements(client, 6)
    assert {m.cost for m in asked} == {26.0}
    assert spent(client) == 0  # nothing has ended
    complete(client, asked[:1])
    assert spent(client) == 26
    complete_measurement(
        client, asked[1], values_of(asked[1]), costs={"error": 31.0}, setup_cost=2.0
    )
    assert spent(client) == 26 + 31 + 1 + 2
    fail_measurement(client, asked[2])
    assert spent(client) == 26 + 34 + 26
    fail_measurement(
        client, asked[3], costs={"error": 7.0, "energy": 0.0}, setup_cost=0.0
    )
    assert spent(client) == 26 + 34 + 26 + 7
    client.complete_trial(asked[4].trial_index, values_of(asked[4]))
    client.mark_trial_failed(asked[5].trial_index)
    assert spent(client) == 26 + 34 + 26 + 7 + 26 + 26


def test_earlier_trials_count_with_what_was_measured() -> None:
    client = new_client()
    attach(client, POINT, "energy")
    attach(client, {"rate": 0.5, "width": 0.5}, "error", "energy")
    client.attach_trial({"rate": 0.75, "width": 0.5})
    assert spent(client) == 1 + 21
    assert payment_of(experiment_of(client).trials[0]) is None


def test_spent_is_the_same_after_any_later_trial() -> None:
    client = new_client(costs=Costs(COSTS, setup=SetupCost(5.0)))
    total = 0.0
    for measurement in run(client, 5):
        assert measurement.cost is not None
        total += measurement.cost
    assert spent(client) == total
    get_next_measurements(client, 2)
    assert spent(client) == total


def by_depth(parameters: Mapping[str, Tensor], per_layer: float) -> Tensor:
    """Fails unless parameters arrive as users know them."""
    rate, layers = parameters["rate"], parameters["layers"]
    assert bool(((rate >= 1e-4 * (1 - 1e-9)) & (rate <= 1 + 1e-9)).all())
    assert bool((layers == 3.0).all())
    return per_layer * layers * (1 + rate)


@pytest.fixture(autouse=True)
def functions() -> Iterator[None]:
    register_cost_function("by depth", by_depth)
    yield


def test_a_function_of_the_parameters_prices_measurements() -> None:
    layers = ChoiceParameterConfig(name="layers", values=[3], parameter_type="int")
    costs = {"error": NamedCost("by depth", {"per_layer": 2.0}), "energy": 1.0}
    client = new_client(RATE, WIDTH, layers, costs=costs)
    total = 0.0
    for measurement in run(client, 5):
        error = 6 * (1 + measurement.parameters["rate"])
        price = {"error": error, "energy": 1.0}
        expected = sum(price[name] for name in measurement.objectives)
        assert measurement.cost == pytest.approx(expected)
        total += expected
    assert spent(client) == pytest.approx(total)


def test_a_function_of_a_derived_parameter_prices_measurements() -> None:
    double = DerivedParameterConfig(
        name="double", expression_str="2 * width + rate", parameter_type="float"
    )
    by_double = NamedCost("affine", {"slopes": {"double": 3.0}, "intercept": 1.0})
    client = new_client(RATE, WIDTH, double, costs={**COSTS, "error": by_double})
    for measurement in run(client, 3) + run(client, 2):
        p = measurement.parameters
        price = 1.0 + 3.0 * (2 * p["width"] + p["rate"])
        prices = {"error": price, "energy": COSTS["energy"]}
        total = sum(prices[name] for name in measurement.objectives)
        assert measurement.cost == pytest.approx(total)


def test_learned_costs_follow_what_was_told() -> None:
    """The error turns out cheap and the energy dear."""
    client = new_client(WIDTH, costs=Costs({"error": 1.0, "energy": 1.0}, learned=True))
    for measurement in get_next_measurements(client, 3):
        assert measurement.cost == 2.0
        complete_measurement(
            client,
            measurement,
            values_of(measurement),
            costs={"error": 0.5, "energy": 40.0},
        )
    prices = {"error": 0.5, "energy": 40.0}
    for measurement in get_next_measurements(client, 2):
        (name,) = measurement.objectives
        assert measurement.cost == pytest.approx(prices[name], rel=0.1)


def test_a_set_up_is_paid_once_by_designs_that_share_it() -> None:
    setup = SetupCost(100.0, parameters=["kind"], objectives=["error"])
    client = new_client(WIDTH, KIND, n_init=5, costs=Costs(COSTS, setup=setup))
    for i, kind in enumerate(["conv", "conv", "shift"]):
        attach(client, {"width": i / 4, "kind": kind}, "error")
    attach(client, {"width": 0.75, "kind": "dense"}, "energy")
    assert spent(client) == 3 * 20 + 2 * 100 + 1
    index = client.attach_trial({"width": 1.0, "kind": "dense"})
    complete_measurement(client, index, {"error": 1.0, "energy": 1.0})
    assert spent(client) == 3 * 20 + 2 * 100 + 1 + 121
    for measurement in run(client, 2):  # all kinds are set up now
        price = {"error": 20.0, "energy": 1.0}[measurement.objectives[0]]
        assert measurement.cost == price


def test_a_running_set_up_makes_further_measurements_cheap() -> None:
    """Other designs of the same kind, and of the only other kind not yet set up."""
    kinds = ChoiceParameterConfig(
        name="kind", values=["conv", "shift"], parameter_type="str", is_ordered=True
    )
    costs = Costs({"error": 1.0, "energy": 1.0}, setup=SetupCost(100.0, ["kind"]))
    client = new_client(WIDTH, kinds, n_init=2, costs=costs)
    for width in (0.25, 0.5, 0.75):
        attach(client, {"width": width, "kind": "conv"}, *BOTH)
    shift = {"kind": "shift"}
    (first,) = get_next_measurements(client, fixed_parameters=shift)
    assert first.cost == 101.0
    later = get_next_measurements(client, 2, fixed_parameters=shift)
    assert [m.cost for m in later] == [1.0, 1.0]
    complete(client, later)
    assert spent(client) == 3 * 2 + 100 + 2  # the set-up is the first one's, running
    complete(client, [first])
    assert spent(client) == 3 * 2 + 100 + 2 + 1 + 100


def test_a_failure_leaves_nothing_set_up() -> None:
    costs = Costs({"error": 1.0, "energy": 1.0}, setup=SetupCost(100.0))
    client = new_client(n_init=2, costs=costs)
    for _ in range(2):
        index = client.attach_trial(POINT)
        fail_measurement(client, index)
    assert spent(client) == 2 * 102
    index = client.attach_trial(POINT)
    client.attach_data(index, {"error": 1.0})
    fail_measurement(client, index)  # the design was set up before it failed
    assert spent(client) == 3 * 102
    attach(client, POINT, "energy")
    assert spent(client) == 3 * 102 + 1


@given(
    costs=st.lists(st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)), max_size=4),
    data=st.data(),
)
def test_spent_is_the_sum_of_all_payments(
    costs: list[tuple[float, float]], data: st.DataObject
) -> None:
    client = new_client(n_init=len(costs) + 1)
    total = 0.0
    for error, energy in costs:
        index = client.attach_trial({"rate": 0.5, "width": error / 100})
        paid = {"error": error, "energy": energy}
        if data.draw(st.booleans()):
            fail_measurement(client, index, costs=paid)
        else:
            complete_measurement(client, index, {"error": 0, "energy": 0}, costs=paid)
        total += error + energy
    assert spent(client) == pytest.approx(total)


def test_what_was_abandoned_is_neither_suggested_again_nor_paid() -> None:
    client = Client(random_seed=0)
    sides = [
        RangeParameterConfig(name=name, bounds=(1, high), parameter_type="int")
        for name, high in (("x", 3), ("y", 2))
    ]
    client.configure_experiment(sides)
    client.configure_optimization("-error, -energy")
    costs = {"error": 5.0, "energy": 1.0}
    client.set_generation_strategy(flexibo_generation_strategy(costs, n_init=3))
    for task in get_next_measurements(client, n=3):
        point = tuple(task.parameters.values())
        complete_measurement(client, task, {"error": point[0], "energy": point[1]})
    paid, asked = spent(client), []
    with pytest.raises(CandidateGenerationError):
        while True:
            (task,) = get_next_measurements(client)
            asked += [(task.arm_name, name) for name in task.objectives]
            client.mark_trial_abandoned(task.trial_index)
    assert len(asked) == len(set(asked)) == 6
    assert spent(client) == paid
    assert measurements(client) == []


def test_a_trial_that_was_not_started_is_no_running_measurement() -> None:
    client = new_client()
    experiment_of(client).new_trial().add_arm(Arm(POINT))
    (task,) = get_next_measurements(client)
    assert measurements(client) == [task]


@pytest.mark.parametrize("act", [complete_measurement, fail_measurement])
def test_a_trial_of_several_arms_is_told_with_the_means_of_ax(
    act: Callable[..., None],
) -> None:
    client = new_client()
    trial = experiment_of(client).new_batch_trial()
    trial.add_arms_and_weights([Arm(POINT), Arm(POINT | {"width": 0.25})])
    trial.mark_running(no_runner_required=True)
    values = [{"error": 1.0, "energy": 1.0}] if act is complete_measurement else []
    assert_refused(
        client,
        lambda: act(client, 0, *values),
        UnsupportedError,
        "Expected a trial with one arm, but trial 0 has 2. Tell the experiment of such"
        " a trial with Ax's own methods.",
    )
    trial.mark_arm_abandoned(trial.arms[0].name)
    assert [item.arm_name for item in measurements(client)] == [trial.arms[1].name]
