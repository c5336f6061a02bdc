"""Costs of measurements: prices, models, storage."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch

pytest.importorskip("ax")

from botorch.exceptions.errors import InputDataError
from botorch.models.cost import FixedCostModel
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from botorch_flexibo.ax import Costs, NamedCost, SetupCost, register_cost_function
from botorch_flexibo.ax._cost_functions import affine_cost
from botorch_flexibo.ax.columns import Columns
from botorch_flexibo.ax.costs import build_cost_model
from botorch_flexibo.exceptions import InvalidCostError
from botorch_flexibo.models import LogNormalCostModel, PaidCosts, SetupCostModel
from botorch_flexibo.utils.posterior import posterior_mean

OBJECTIVES = ("error", "energy")
# rate is logarithmic, kind is a label, depth is fixed.
COLUMNS = Columns(
    names=("rate", "width", "kind"),
    log10=frozenset({"rate"}),
    labels=frozenset({"kind"}),
    fixed={"depth": 3.0},
    bounds=torch.tensor([[-4.0, 0.0, 0.0], [0.0, 1.0, 2.0]], dtype=torch.float64),
)
# share is on a logit scale.
SHARES = Columns(
    names=("share",),
    log10=frozenset(),
    labels=frozenset(),
    fixed={},
    bounds=torch.tensor([[-2.0], [2.0]], dtype=torch.float64),
    logit=frozenset({"share"}),
)
DESIGN = {"rate": 0.01, "width": 0.25, "kind": "conv", "depth": 3, "bias": True}
X = torch.tensor([[-2.0, 0.25, 1.0]], dtype=torch.float64)
BY_DEPTH = NamedCost("affine", {"slopes": {"depth": 2.0}, "intercept": 1.0})
BY_RATE = NamedCost("affine", {"slopes": {"rate": 100.0, "width": 4.0}})


def doubled_width(parameters: Mapping[str, Tensor], factor: float = 2.0) -> Tensor:
    return factor * parameters["width"]


def minus_width(parameters: Mapping[str, Tensor]) -> Tensor:
    return -parameters["width"]


@pytest.fixture(autouse=True)
def functions() -> Iterator[None]:
    register_cost_function("doubled width", doubled_width)
    register_cost_function("minus width", minus_width)
    yield


names = st.text(min_size=1, max_size=5)
numbers = st.floats(0.001, 1e6)
named = st.builds(
    NamedCost,
    st.just("affine"),
    st.dictionaries(names, st.one_of(numbers, names, st.lists(numbers))),
)
subsets = st.one_of(st.none(), st.lists(names, min_size=1, unique=True))


@st.composite
def all_costs(draw: st.DrawFn) -> Costs:
    learned = draw(st.booleans())
    cost = numbers if learned else st.one_of(numbers, named, st.integers(1, 9))
    setup = st.builds(
        SetupCost, st.one_of(st.just(0.0), numbers, named), subsets, subsets
    )
    return Costs(
        draw(st.dictionaries(names, cost, min_size=1)),
        learned=learned,
        setup=draw(st.one_of(st.none(), setup)),
    )


@given(costs=all_costs())
def test_costs_survive_storage(costs: Costs) -> None:
    assert Costs.from_json(json.loads(json.dumps(costs.to_json()))) == costs


def test_a_named_cost_without_arguments_survives_storage() -> None:
    costs = Costs({"error": NamedCost("doubled width"), "energy": 1.0})
    assert Costs.from_json(json.loads(json.dumps(costs.to_json()))) == costs


@pytest.mark.parametrize("cost", [0.0, -1.0, math.nan, math.inf, True, "1", None])
def test_a_cost_that_is_no_positive_finite_number_is_refused(cost: Any) -> None:
    with pytest.raises(InvalidCostError) as info:
        Costs({"error": 1.0, "energy": cost})
    assert str(info.value) == (
        f"Expected a positive, finite cost of 'energy', but got {cost!r}."
        " Give all costs in one unit."
    )


@pytest.mark.parametrize("cost", [-1.0, math.nan, math.inf, True, "1", None])
def test_a_set_up_that_costs_no_finite_number_is_refused(cost: Any) -> None:
    with pytest.raises(InvalidCostError) as info:
        Costs({"error": 1.0}, setup=SetupCost(cost))
    assert str(info.value) == (
        f"Expected a non-negative, finite set-up cost, but got {cost!r}."
        " Give all costs in one unit."
    )
    assert Costs({"error": 1.0}, setup=SetupCost(0.0)).setup == SetupCost(0.0)


def test_a_function_that_is_not_registered_is_refused_also_on_loading() -> None:
    message = (
        "Expected the cost of 'error' to name a registered function, but got 'mine'."
        " Call register_cost_function first, also before the experiment is loaded."
    )
    with pytest.raises(InputDataError) as info:
        Costs({"error": NamedCost("mine")})
    assert str(info.value) == message
    payload = Costs({"error": NamedCost("affine")}).to_json()
    payload["run"]["error"]["name"] = "mine"
    with pytest.raises(InputDataError) as info:
        Costs.from_json(payload)
    assert str(info.value) == message


def test_an_argument_that_cannot_be_stored_is_refused() -> None:
    function = NamedCost("affine", {"slopes": doubled_width})
    with pytest.raises(InputDataError) as info:
        Costs({"error": function})
    assert str(info.value) == (
        "Expected arguments of 'affine' of numbers, strings and their collections,"
        f" which can be stored, but got {{'slopes': {doubled_width!r}}}: Object of type"
        " function is not JSON serializable."
        " Convert it to plain Python."
    )


def test_learned_costs_start_from_numbers() -> None:
    with pytest.raises(InputDataError) as info:
        Costs({"error": BY_DEPTH, "energy": 1.0}, learned=True)
    assert str(info.value) == (
        "Expected numbers as first guesses of learned costs, but got functions for"
        " ['error']. Give a number for each."
    )


@pytest.mark.parametrize("attribute", ["parameters", "objectives"])
@pytest.mark.parametrize("value", [[], "rate", ["rate", "rate"]])
def test_a_set_up_names_different_parameters_and_objectives(
    attribute: str, value: Any
) -> None:
    with pytest.raises(InputDataError) as info:
        SetupCost(1.0, **{attribute: value})
    assert str(info.value) == (
        f"Expected {attribute} of the set-up to be one or more different names, or"
        f" None for all, but got {value!r}."
        " Give a list of strings."
    )


def test_another_function_cannot_take_a_name() -> None:
    register_cost_function("doubled width", doubled_width)
    with pytest.raises(InputDataError) as info:
        register_cost_function("doubled width", minus_width)
    assert str(info.value) == (
        "Expected a new name for a cost function, but 'doubled width' is taken. Choose"
        " another one."
    )


@pytest.mark.parametrize("slopes", [{}, {"kind": 1.0}, {"width": 1.0, "no": 2.0}])
def test_affine_costs_have_slopes_of_numeric_parameters(
    slopes: dict[str, float],
) -> None:
    parameters = {"width": torch.ones(1), "depth": torch.ones(1)}
    with pytest.raises(InputDataError) as info:
        affine_cost(parameters, slopes)
    assert str(info.value) == (
        "Expected slopes of numeric parameters (['depth', 'width']), but got"
        f" {sorted(slopes)}."
        " Name one or more of these."
    )


def test_prices_are_those_of_the_parameters_as_users_know_them() -> None:
    costs = Costs({"error": BY_RATE, "energy": BY_DEPTH})
    prices = costs.price(("energy", "error", "size"), DESIGN)
    assert prices == {"energy": pytest.approx(7.0), "error": pytest.approx(2.0)}
    assert list(prices) == ["energy", "error"]


def test_the_model_prices_designs_as_users_do() -> None:
    costs = Costs({"error": BY_RATE, "energy": BY_DEPTH})
    model = build_cost_model(costs, OBJECTIVES, COLUMNS)
    prices = costs.price(OBJECTIVES, DESIGN)
    expected = [prices[name] for name in OBJECTIVES]
    assert posterior_mean(model, X)[0].tolist() == pytest.approx(expected)


@given(
    rate=st.floats(1e-4, 1.0),
    width=st.floats(0.01, 1.0),
    slope=st.floats(0.1, 10.0),
    setup=st.floats(0.1, 10.0),
)
def test_prices_of_the_model_and_of_users_agree(
    rate: float, width: float, slope: float, setup: float
) -> None:
    by_rate = NamedCost("affine", {"slopes": {"rate": slope, "depth": 0.5}})
    set_up = SetupCost(NamedCost("doubled width", {"factor": setup}))
    costs = Costs({"error": by_rate, "energy": 1.5}, setup=set_up)
    model = build_cost_model(costs, OBJECTIVES, COLUMNS)
    design = {"rate": rate, "width": width, "kind": "conv", "depth": 3}
    row = torch.tensor([[math.log10(rate), width, 0.0]], dtype=torch.float64)
    price = costs.price(OBJECTIVES, design)
    setup_price = costs.setup_price(OBJECTIVES, design)
    alone = [price[name] + setup_price for name in OBJECTIVES]
    assert model(row)[0].tolist() == pytest.approx(alone)
    assert isinstance(model, SetupCostModel)
    together = sum(price.values()) + setup_price
    assert model.joint_cost(row).item() == pytest.approx(together)


def test_constants_give_a_fixed_model_in_the_order_of_the_objectives() -> None:
    costs = Costs({"energy": 1, "error": 20.0})
    model = build_cost_model(costs, OBJECTIVES, COLUMNS)
    assert isinstance(model, FixedCostModel)
    assert posterior_mean(model, X).tolist() == [[20.0, 1.0]]


def test_learned_costs_start_from_the_guesses_and_move_to_what_was_told() -> None:
    costs = Costs({"energy": 1, "error": 20.0}, learned=True)
    model = build_cost_model(costs, OBJECTIVES, COLUMNS)
    assert isinstance(model, LogNormalCostModel)
    assert model.categorical_features == [2]
    assert model(X).tolist() == [[20.0, 1.0]]
    told = torch.tensor([[40.0, torch.nan]], dtype=torch.float64)
    nothing = torch.full((1,), torch.nan, dtype=torch.float64)
    learned = model.update(PaidCosts(X, told, nothing))(X)
    assert learned[0].tolist() == [pytest.approx(40, rel=0.05), 1.0]


@pytest.mark.parametrize(
    ("function", "expected"),
    [(NamedCost("minus width"), -0.25), (NamedCost("affine", {"slopes": {}}), None)],
)
def test_a_function_that_gives_no_cost_is_refused(
    function: NamedCost, expected: float | None
) -> None:
    costs = Costs({"error": function}, setup=SetupCost(function))
    with pytest.raises((InvalidCostError, InputDataError)) as info:
        costs.price(["error"], DESIGN)
    if expected is not None:
        assert str(info.value) == (
            f"Expected a positive, finite cost of 'error', but got {expected}."
            " Give all costs in one unit."
        )
    with pytest.raises((InvalidCostError, InputDataError)) as info:
        costs.setup_price(["error"], DESIGN)
    if expected is not None:
        assert str(info.value) == (
            f"Expected a non-negative, finite set-up cost, but got {expected}."
            " Give all costs in one unit."
        )


def test_a_set_up_is_needed_by_its_objectives_only() -> None:
    some = Costs({"error": 1.0, "energy": 1.0}, setup=SetupCost(9, None, ["error"]))
    every = Costs({"error": 1.0, "energy": 1.0}, setup=SetupCost(9))
    none = Costs({"error": 1.0, "energy": 1.0})
    for metrics, expected in {
        ("error",): (9.0, 9.0, 0.0),
        ("energy",): (0.0, 9.0, 0.0),
        ("energy", "error"): (9.0, 9.0, 0.0),
    }.items():
        prices = tuple(c.setup_price(metrics, DESIGN) for c in (some, every, none))
        assert prices == expected


def test_designs_share_a_set_up_where_its_parameters_are_equal() -> None:
    costs = Costs({"error": 1.0}, setup=SetupCost(9, ["kind", "depth"]))
    other = {**DESIGN, "width": 0.75}
    assert costs.setup_key(DESIGN) == costs.setup_key(other) == ("conv", 3)
    assert costs.setup_key(DESIGN) != costs.setup_key({**DESIGN, "kind": "shift"})
    everything = Costs({"error": 1.0}, setup=SetupCost(9))
    assert everything.setup_key(DESIGN) != everything.setup_key(other)
    assert everything.setup_key(DESIGN) == everything.setup_key(
        dict(reversed(DESIGN.items()))
    )


def test_the_model_shares_set_ups_as_users_do() -> None:
    setup = SetupCost(9, ["depth", "kind"], ["error"])
    model = build_cost_model(
        Costs({"error": 2.0, "energy": 1.0}, setup=setup), OBJECTIVES, COLUMNS
    )
    assert isinstance(model, SetupCostModel)
    assert model(X).tolist() == [[11.0, 1.0]]
    nothing = torch.tensor([torch.nan], dtype=torch.float64)
    only_energy = torch.tensor([[torch.nan, 1.0]], dtype=torch.float64)
    assert model.update(PaidCosts(X, only_energy, nothing))(X).tolist() == [[11.0, 1.0]]
    paid = PaidCosts(X, only_energy, torch.zeros(1, dtype=torch.float64))
    elsewhere = torch.tensor([[-1.0, 0.5, 1.0]], dtype=torch.float64)
    assert model.update(paid)(elsewhere).tolist() == [[2.0, 1.0]]
    another_kind = torch.tensor([[-2.0, 0.25, 0.0]], dtype=torch.float64)
    assert model.update(paid)(another_kind).tolist() == [[11.0, 1.0]]


def test_every_objective_and_nothing_else_has_a_cost() -> None:
    costs = Costs({"error": 1.0, "energy": 1.0}, setup=SetupCost(9, None, ["size"]))
    with pytest.raises(InputDataError) as info:
        build_cost_model(costs, ("error",), COLUMNS)
    assert str(info.value) == (
        "Expected a cost for each objective (['error']), but got costs for"
        " ['error', 'energy']."
        " Give one for each of these, and for nothing else."
    )
    with pytest.raises(InputDataError) as info:
        build_cost_model(costs, OBJECTIVES, COLUMNS)
    assert str(info.value) == (
        "Expected a set-up for objectives of ['error', 'energy'], but got one for"
        " ['size']."
        " Name some of these, or None for all."
    )


def test_columns_read_as_the_parameters_of_users() -> None:
    values = COLUMNS.values(X)
    assert {name: value.item() for name, value in values.items()} == {
        "rate": pytest.approx(0.01),
        "width": 0.25,
        "depth": 3.0,
    }
    assert COLUMNS.encode("rate", 0.01) == (0, -2.0)
    assert COLUMNS.encode("width", 1) == (1, 1.0)


@pytest.mark.parametrize("name", ["kind", "depth", "no"])
def test_only_columns_of_numbers_have_entries_for_numbers(name: str) -> None:
    with pytest.raises(InputDataError) as info:
        COLUMNS.encode(name, 1.0)
    assert str(info.value) == (
        f"Expected a numeric parameter of ['rate', 'width', 'kind'], but got {name!r}."
        " Name one of these."
    )


def test_costs_may_depend_on_a_parameter_of_logit_scale() -> None:
    for share in (0.2, 0.5, 0.875):
        column, entry = SHARES.encode("share", share)
        assert column == 0
        X = torch.tensor([[entry]], dtype=torch.float64)
        assert SHARES.values(X)["share"].item() == pytest.approx(share)
