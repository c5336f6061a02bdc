"""Initial designs, and those after them, are designs of the experiment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("ax")

from ax.api.client import Client
from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig
from ax.core.parameter import FixedParameter, ParameterType
from ax.core.search_space import SearchSpaceDigest

from botorch_flexibo.ax import get_next_measurements
from botorch_flexibo.ax.initial import PlannedSobolGenerator
from botorch_flexibo.ax.metadata import experiment_of
from tests.ax.helpers import (
    DEPTH,
    KIND,
    RATE,
    WIDTH,
    attach,
    complete,
    new_client,
    next_state,
    run,
)

UNITS = RangeParameterConfig(
    name="units", bounds=(1, 64), parameter_type="int", scaling="log"
)
VALUES: dict[str, Sequence[Any]] = {
    "float": [0.1, 0.5, 0.7],
    "int": [8, 20, 64],
    "str": ["a", "b", "c"],
    "bool": [False, True],
}
# Ax takes such values for a logarithmic scale by itself.
BATCH = ChoiceParameterConfig("batch", [16, 32, 128], "int", is_ordered=True)
BOTH = ("error", "energy")


def choice(kind: str, *, is_ordered: bool = True) -> ChoiceParameterConfig:
    return ChoiceParameterConfig(
        name="level",
        values=list(VALUES[kind]),
        parameter_type=kind,  # pyright: ignore
        is_ordered=is_ordered,
    )


def check_members(client: Client, designs: Sequence[Mapping[str, Any]]) -> None:
    """Also the types: 8.0 is no value of an integer."""
    space = experiment_of(client).search_space
    for design in designs:
        assert space.check_membership(dict(design), raise_error=True)
        assert space.check_types(dict(design), raise_error=True)


def initial_designs(client: Client, n: int) -> list[dict[str, Any]]:
    return [dict(m.parameters) for m in get_next_measurements(client, n)]


@pytest.mark.parametrize("is_ordered", [False, True])
@pytest.mark.parametrize("kind", VALUES)
def test_all_designs_have_values_that_a_choice_allows(
    kind: str, is_ordered: bool
) -> None:
    client = new_client(WIDTH, choice(kind, is_ordered=is_ordered), n_init=4)
    done = [dict(m.parameters) for m in run(client, 5)]
    check_members(client, done)
    assert {design["level"] for design in done[:4]} == set(VALUES[kind])
    state = next_state(client)
    assert len(state.X) == len({tuple(design.values()) for design in done})
    assert int(state.measured.all(dim=-1).sum()) >= 4


@pytest.mark.parametrize("acquisition", ["flexibo", "lookahead"])
def test_all_designs_of_a_finite_space_have_its_values(acquisition: str) -> None:
    batch = ChoiceParameterConfig("batch", [8, 20, 64], "int", is_ordered=False)
    client = new_client(
        choice("float"), batch, acquisition=acquisition, num_designs=9, n_init=3
    )
    done = run(client, 6)
    check_members(client, [m.parameters for m in done])
    assert len(next_state(client).X) == len({m.arm_name for m in done})


def test_measured_designs_with_values_of_a_choice_stay_known() -> None:
    client = new_client(WIDTH, choice("float"), BATCH, n_init=3)
    for level, batch in ((0.1, 16), (0.5, 128), (0.7, 32)):
        design = {"width": 0.5, "level": level, "batch": batch}
        attach(client, design, *BOTH)
    (measurement,) = get_next_measurements(client)
    check_members(client, [measurement.parameters])
    assert int(next_state(client).measured.all(dim=-1).sum()) == 3


def rich_client(**options: Any) -> Client:
    """All kinds of parameters, and constraints on two of them."""
    client = new_client(
        RATE,
        WIDTH,
        DEPTH,
        UNITS,
        KIND,
        BATCH,
        choice("float", is_ordered=False),
        constraints=["width + 0.2 * depth <= 1.1", "depth >= 2"],
        **options,
    )
    fixed = FixedParameter("stages", ParameterType.INT, 3)
    experiment_of(client).search_space._parameters["stages"] = fixed
    return client


def test_initial_designs_of_a_rich_space_are_allowed() -> None:
    """No constraint is violated by as much as rounding an integer would."""
    client = rich_client(n_init=16)
    designs = initial_designs(client, 16)
    check_members(client, designs)
    assert {design["stages"] for design in designs} == {3}


def test_later_designs_of_a_rich_space_are_allowed() -> None:
    client = rich_client(n_init=3)
    done = [dict(m.parameters) for m in run(client, 4)]
    check_members(client, done)
    assert len(next_state(client).X) == len({tuple(d.values()) for d in done})


def test_fixed_parameters_hold_in_all_designs() -> None:
    client = rich_client(n_init=2)
    fixed = {"level": 0.5, "depth": 3, "kind": "shift", "batch": 32, "units": 7}
    for _ in range(3):
        (measurement,) = get_next_measurements(client, fixed_parameters=fixed)
        check_members(client, [measurement.parameters])
        assert fixed.items() <= measurement.parameters.items()
        complete(client, [measurement])


def test_designs_depend_on_the_seed_alone_under_constraints_too() -> None:
    """Ax's own transforms round such integers by NumPy's global generator."""
    designs = []
    for seed in (1, 2):
        np.random.seed(seed)
        designs.append(initial_designs(rich_client(n_init=5, seed=3), 5))
    assert designs[0] == designs[1]


def test_narrow_constraints_leave_choices_their_values() -> None:
    """One Sobol design in 10^9 satisfies these; Ax samples the polytope then."""
    names = [f"x{i}" for i in range(9)]
    client = new_client(
        *(RangeParameterConfig(name, (0.0, 1.0), "float") for name in names),
        DEPTH,
        choice("float"),
        constraints=[" + ".join(names) + " + 0.01 * depth <= 0.35"],
        n_init=2,
    )
    check_members(client, initial_designs(client, 2))


def test_all_integers_of_a_range_are_drawn_the_last_one_too() -> None:
    designs = initial_designs(new_client(DEPTH, n_init=6), 6)
    assert {design["depth"] for design in designs} == set(range(1, 7))


def test_logarithmic_integers_are_spread_over_their_logarithms() -> None:
    """Not over their 64 values, of which one in nine is below 8."""
    designs = initial_designs(new_client(UNITS, WIDTH, n_init=16), 16)
    small = sum(design["units"] < 8 for design in designs)
    assert 7 <= small <= 9


def test_continuous_parameters_are_drawn_as_ax_draws_them() -> None:
    client = new_client(WIDTH, choice("float"), n_init=4, seed=5)
    widths = [design["width"] for design in initial_designs(client, 4)]
    engine = torch.quasirandom.SobolEngine(2, scramble=True, seed=5)
    assert widths == engine.draw(4, dtype=torch.double)[:, 0].tolist()


@pytest.mark.parametrize("values", [[0.1, 0.5, 0.7], [3, 1, 2, 40], [0, 1]])
def test_each_value_has_an_equal_share(values: list[float]) -> None:
    digest = SearchSpaceDigest(
        feature_names=["width", "level"],
        bounds=[(0.0, 1.0), (min(values), max(values))],
        discrete_choices={1: values},
    )
    generator = PlannedSobolGenerator(seed=0, deduplicate=False)
    designs, _ = generator.gen(128, digest)
    shares = Counter(designs[:, 1].tolist())
    assert set(shares) == set(values)
    expected = 128 / len(values)
    assert all(abs(share - expected) <= 2 for share in shares.values())


def test_a_single_value_is_that_value() -> None:
    digest = SearchSpaceDigest(
        feature_names=["width", "level"],
        bounds=[(0.0, 1.0), (7, 7)],
        discrete_choices={1: [7]},
    )
    designs, _ = PlannedSobolGenerator(seed=0).gen(3, digest)
    assert designs[:, 1].tolist() == [7, 7, 7]


def test_initial_designs_go_on_after_loading(tmp_path: Path) -> None:
    client = rich_client(n_init=6)
    initial_designs(client, 2)
    file = str(tmp_path / "tuning.json")
    client.save_to_json_file(file)
    loaded = Client.load_from_json_file(file)
    ours, theirs = (initial_designs(c, 4) for c in (client, loaded))
    assert ours == theirs
    check_members(loaded, theirs)
