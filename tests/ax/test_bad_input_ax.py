r"""In Ax, what makes no sense is refused by name, and the experiment is unchanged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("ax")

from ax.api.client import Client
from botorch.exceptions.errors import InputDataError

from botorch_flexibo.ax import (
    Costs,
    ExecutionOptions,
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
from botorch_flexibo.exceptions import InvalidCostError
from tests.ax.helpers import COSTS, new_client, state_of
from tests.bad_values import (
    BAD_COUNTS,
    BAD_NUMBERS,
    INF,
    NAN,
    refused,
)

strategy = flexibo_generation_strategy
VALUES = {"error": 1.0, "energy": 2.0}
OUT_OF = "(RangeParameter(name='width', parameter_type=FLOAT, range=[0.0, 1.0]))"
NO_MAPPINGS = ["x", 1.5, True, NAN, ["x"], {1: 2.0}]


@pytest.fixture(scope="module")
def running() -> Client:
    """One running measurement of both objectives, that nothing must change."""
    client = new_client()
    get_next_measurements(client)
    return client


def unchanged(
    client: Client, act: Callable[[], object], kind: type[Exception], message: str
) -> None:
    before = state_of(client)
    refused(act, kind, message)
    assert state_of(client) == before


def no_switch(name: str, value: object) -> str:
    return (
        f"Expected {name} to be True or False, but got {value!r}. Leave it out for the"
        " default."
    )


def no_names(name: str, value: object) -> str:
    return f"Expected {name} by their names, but got {value!r}. Give a dictionary."


# --- strategies ----------------------------------------------------------------------


@pytest.mark.parametrize("number", BAD_COUNTS.values(), ids=BAD_COUNTS)
def test_numbers_of_a_strategy_that_are_no_counts_are_refused(number: Any) -> None:
    message = (
        "Expected n_init >= 1 and max_parallelism >= 1 or None, but got n_init={!r} and"
        " max_parallelism={!r}. Pass whole numbers."
    )
    refused(
        lambda: strategy(COSTS, n_init=number),
        InputDataError,
        message.format(number, None),
    )
    if number is not None:
        refused(
            lambda: strategy(COSTS, max_parallelism=number),
            InputDataError,
            message.format(6, number),
        )


@pytest.mark.parametrize("seed", [*BAD_NUMBERS.values(), INF, 1e308, 1.5], ids=repr)
def test_seeds_of_a_strategy_that_are_no_whole_numbers_are_refused(seed: Any) -> None:
    refused(
        lambda: strategy(COSTS, seed=seed),
        InputDataError,
        "Expected seed to be a whole number from -2^31 to 2^62, but got"
        f" {seed!r}. Pass 0 for the default.",
    )


@pytest.mark.parametrize("value", [None, *NO_MAPPINGS], ids=repr)
def test_what_has_no_names_is_refused(value: Any) -> None:
    refused(lambda: strategy(value), InputDataError, no_names("costs", value))
    refused(
        lambda: strategy({"error": NamedCost("affine", value), "energy": 1.0}),
        InputDataError,
        no_names("arguments of 'affine'", value),
    )
    if value is not None:
        for name in ("acquisition_options", "fidelity"):
            refused(
                lambda name=name: strategy(COSTS, **{name: value}),
                InputDataError,
                no_names(name, value),
            )


@pytest.mark.parametrize("cost", [*BAD_NUMBERS.values(), 0, -1, INF, 10**400], ids=type)
def test_believed_costs_that_are_none_are_refused(cost: Any) -> None:
    refused(
        lambda: strategy({"error": cost, "energy": 1.0}),
        InvalidCostError,
        f"Expected a positive, finite cost of 'error', but got {cost!r}. Give all costs"
        " in one unit.",
    )
    if cost != 0 or isinstance(cost, bool):
        refused(
            lambda: SetupCost(cost),
            InvalidCostError,
            f"Expected a non-negative, finite set-up cost, but got {cost!r}. Give all"
            " costs in one unit.",
        )


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_believed_costs_of_any_scale_are_kept(scale: float) -> None:
    client = new_client(costs={"error": scale, "energy": scale})
    assert get_next_measurements(client)[0].cost == 2 * scale


@pytest.mark.parametrize("value", [0, 1, "yes", None, NAN], ids=repr)
def test_switches_are_true_or_false(value: Any) -> None:
    refused(
        lambda: Costs(COSTS, learned=value),
        InputDataError,
        no_switch("learned", value),
    )
    for name in ("in_order", "resume"):
        refused(
            lambda name=name: ExecutionOptions(**{name: value}),
            InputDataError,
            no_switch(name, value),
        )


@pytest.mark.parametrize("value", ["x", 1.5, True, NAN], ids=repr)
def test_set_ups_failures_and_plans_of_another_kind_are_refused(value: Any) -> None:
    refused(
        lambda: Costs(COSTS, setup=value),
        InputDataError,
        f"Expected a SetupCost as set-up, but got {value!r}. Pass SetupCost(cost), or"
        " None for none.",
    )
    refused(
        lambda: strategy(COSTS, failures=value),
        InputDataError,
        f"Expected failures to be TolerateFailures(...) or None, but got {value!r}."
        " Pass None for the defaults.",
    )
    for plan in (value, [value], ["error"]):
        refused(
            lambda plan=plan: strategy(COSTS, init_plan=plan),
            InputDataError,
            'Expected init_plan to be "coupled", "cheap_first" or a list of metrics for'
            f" each design, but got {plan!r}. Choose one of these.",
        )
    refused(
        lambda: SetupCost(1.0, parameters=value),
        InputDataError,
        "Expected parameters of the set-up to be one or more different names, or None"
        f" for all, but got {value!r}. Give a list of strings.",
    )
    refused(
        lambda: register_cost_function("dear", value),
        InputDataError,
        f"Expected a name and a function, but got 'dear' and {value!r}. Pass a string"
        " and what computes the cost.",
    )


@pytest.mark.parametrize("name", [None, 1, True, NAN, ["lookahead"], "ehvi"], ids=repr)
def test_names_that_are_unknown_are_refused(name: Any) -> None:
    refused(
        lambda: strategy(COSTS, acquisition=name),
        InputDataError,
        "Expected an acquisition of ['lookahead', 'flexibo', 'hvkg', 'pabo'], but got"
        f" {name!r}. Choose one of these.",
    )
    refused(
        lambda: strategy({"error": NamedCost(name), "energy": 1.0}),
        InputDataError,
        f"Expected the cost of 'error' to name a registered function, but got {name!r}."
        " Call register_cost_function first, also before the experiment is loaded.",
    )
    refused(
        lambda: strategy(COSTS, acquisition_options={"loss": name}),
        InputDataError,
        "Expected a loss of ['balanced', 'region', 'pessimistic', 'optimistic',"
        f" 'knowledge_gradient'], but got {name!r}. Choose one of these.",
    )


@pytest.mark.parametrize("target", [*BAD_NUMBERS.values(), INF], ids=repr)
def test_targets_of_fidelities_that_are_no_numbers_are_refused(target: Any) -> None:
    value: Any = [1, 2] if isinstance(target, list) else target
    refused(
        lambda: strategy(COSTS, fidelity={"width": value}),
        InputDataError,
        f"Expected finite targets of fidelities, but got {{'width': {value!r}}}. Give"
        " the value at which the front is wanted.",
    )


OPTIONS = {
    "lookahead": ["quadrature_nodes", "num_designs"],
    "flexibo": ["num_designs"],
    "hvkg": ["num_pareto"],
}


@pytest.mark.parametrize("number", ["1", True, NAN, INF, 0, -1, 1.5, [1]], ids=repr)
def test_options_of_acquisitions_are_refused_before_anything_is_measured(
    number: Any,
) -> None:
    for acquisition, names in OPTIONS.items():
        for name in names:
            refused(
                lambda a=acquisition, n=name: strategy(
                    COSTS, acquisition=a, acquisition_options={n: number}
                ),
                InputDataError,
                f"Expected {name} >= 1, but got {number!r}. Pass a whole number.",
            )
    if number != 0 or isinstance(number, bool):
        for name in ("patience", "lead"):
            if number is not True:
                refused(
                    lambda name=name: strategy(
                        COSTS, acquisition="pabo", acquisition_options={name: number}
                    ),
                    InputDataError,
                    f"Expected {name} >= 0, but got {number!r}. Pass a whole number.",
                )


# --- asking and telling ---------------------------------------------------------------


@pytest.mark.parametrize("number", BAD_COUNTS.values(), ids=BAD_COUNTS)
def test_what_is_no_number_of_measurements_is_refused(
    running: Client, number: Any
) -> None:
    unchanged(
        running,
        lambda: get_next_measurements(running, number),
        InputDataError,
        f"Expected a whole number n >= 1, but got {number!r}. Ask for one or more.",
    )


@pytest.mark.parametrize("value", NO_MAPPINGS, ids=repr)
def test_fixed_parameters_without_names_are_refused(
    running: Client, value: Any
) -> None:
    unchanged(
        running,
        lambda: get_next_measurements(running, fixed_parameters=value),
        InputDataError,
        no_names("fixed_parameters", value),
    )


@pytest.mark.parametrize("value", [None, "x", True, 1j, NAN, INF, 1e308, -1], ids=repr)
def test_values_of_fixed_parameters_that_are_none_are_refused(
    running: Client, value: Any
) -> None:
    unchanged(
        running,
        lambda: get_next_measurements(running, fixed_parameters={"width": value}),
        InputDataError,
        f"Expected a value of the fixed parameter 'width' that the experiment allows"
        f" {OUT_OF}, but got {value!r}. Choose one of its space.",
    )


NO_CLIENTS = [None, "client", 1.5, NAN, True]


@pytest.mark.parametrize("client", NO_CLIENTS, ids=repr)
@pytest.mark.parametrize("act", [get_next_measurements, measurements, spent])
def test_what_is_no_client_is_refused(act: Callable[[Any], Any], client: Any) -> None:
    refused(
        lambda: act(client),
        InputDataError,
        f"Expected an Ax client, but got {client!r}. Pass the `ax.api.client.Client` of"
        " the experiment.",
    )


@pytest.mark.parametrize("index", [-1, 7, None, "0", NAN, True, 1e308, [0]], ids=repr)
def test_trials_that_do_not_exist_have_no_objectives(
    running: Client, index: Any
) -> None:
    unchanged(
        running,
        lambda: objectives_for(running, index),
        InputDataError,
        f"Expected the index of a trial of the experiment (it has 1), but got"
        f" {index!r}. Pass that of a measurement.",
    )


@pytest.mark.parametrize("number", [NAN, INF, -INF, None, "1", True, 1j, [1]], ids=repr)
def test_values_that_are_no_numbers_are_refused(running: Client, number: Any) -> None:
    unchanged(
        running,
        lambda: complete_measurement(running, 0, {**VALUES, "error": number}),
        InputDataError,
        "Expected a finite number for 'error', or a pair of it and its standard error"
        f" (>= 0), but got {number!r}. Use fail_measurement if it could not be"
        " measured.",
    )


@pytest.mark.parametrize("number", [NAN, INF, -1.0, 0.0, "1", True, 1j, [1]], ids=repr)
def test_told_costs_that_are_none_are_refused(running: Client, number: Any) -> None:
    unchanged(
        running,
        lambda: complete_measurement(running, 0, VALUES, costs={"error": number}),
        InvalidCostError,
        f"Expected a positive, finite cost of 'error', but got {number!r}. Leave it out"
        " if it is not known.",
    )


def test_what_was_told_is_not_told_again() -> None:
    client = new_client()
    get_next_measurements(client)
    complete_measurement(client, 0, {"error": 1e308, "energy": -0.0})
    for act in (
        lambda: complete_measurement(client, 0, VALUES),
        lambda: fail_measurement(client, 0),
    ):
        unchanged(
            client,
            act,
            InputDataError,
            "Expected a running measurement, but trial 0 is completed. Each is"
            " completed or failed once.",
        )
