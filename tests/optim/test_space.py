r"""Search spaces: every design they give lies where designs may lie."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from botorch.exceptions.errors import BotorchTensorDimensionError, InputDataError
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from botorch_flexibo.optim import SearchSpace

PROPERTY = settings(deadline=None, max_examples=100)
dtypes = pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64], ids=["float32", "float64"]
)
BOUNDS = torch.tensor([[-1.0, 0.0, 0.0], [1.0, 3.0, 2.0]], dtype=torch.float64)


def mixed(dtype: torch.dtype = torch.float64, **kwargs: Any) -> SearchSpace:
    """A number, an integer and a label; the number grows with the integer."""
    options: dict[str, Any] = {
        "discrete_dims": {1: [0, 1, 2, 3]},
        "cat_dims": {2: [0, 1, 2]},
        # x0 <= 0.5 x1 - 0.5
        "inequality_constraints": [
            (torch.tensor([0, 1]), torch.tensor([-1.0, 0.5], dtype=dtype), 0.5)
        ],
    }
    return SearchSpace(BOUNDS.to(dtype), **{**options, **kwargs})


def assert_inside(space: SearchSpace, X: Tensor) -> None:
    """Bounds, allowed values, fixed columns and constraints, checked one by one."""
    assert (X >= space.bounds[0]).all()
    assert (X <= space.bounds[1]).all()
    for column, values in {**space.discrete_dims, **space.cat_dims}.items():
        if column not in space.fixed_features:
            allowed = {torch.tensor(v, dtype=X.dtype).item() for v in values}
            assert set(X[:, column].tolist()) <= allowed
    for column, value in space.fixed_features.items():
        assert set(X[:, column].tolist()) <= {torch.tensor(value, dtype=X.dtype).item()}
    eps = torch.finfo(X.dtype).eps
    for indices, coefficients, rhs in space.inequality_constraints:
        for row in X.tolist():
            pairs = zip(indices.tolist(), coefficients.tolist(), strict=True)
            terms = [c * row[i] for i, c in pairs]
            size = sum(map(abs, terms)) + abs(rhs)
            assert sum(terms) >= rhs - max(1e-9, 1.01 * eps * size)


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    """Up to four columns, each continuous, ordinal, a label or fixed."""
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    d = draw(st.integers(1, 4))
    number = st.integers(-5, 5)
    lower = [float(draw(number)) for _ in range(d)]
    upper = [low + draw(st.sampled_from([0.001, 1.0, 7.0])) for low in lower]
    kinds: dict[str, dict[int, Any]] = {"fixed": {}, "discrete": {}, "cat": {}}
    for column in range(d):
        kind = draw(st.sampled_from(["continuous", "discrete", "cat", "fixed"]))
        share = st.lists(st.floats(0, 1), min_size=1, max_size=4)
        inner = [
            min(
                max(lower[column] + s * (upper[column] - lower[column]), lower[column]),
                upper[column],
            )
            for s in draw(share)
        ]
        values = [lower[column], *sorted(inner), upper[column]]
        if kind == "fixed":
            kinds["fixed"][column] = draw(st.sampled_from(values))
        elif kind != "continuous":
            kinds[kind][column] = values
    bounds = torch.tensor([lower, upper], dtype=torch.float64).to(dtype)

    def rounded(value: float) -> float:
        return torch.tensor(value, dtype=torch.float64).to(dtype).item()

    constraints = []
    if draw(st.booleans()):
        column = draw(st.integers(0, d - 1))
        middle = rounded((lower[column] + upper[column]) / 2)
        constraints.append((torch.tensor([column]), torch.ones(1, dtype=dtype), middle))
    return SearchSpace(
        bounds,
        fixed_features={c: rounded(v) for c, v in kinds["fixed"].items()},
        discrete_dims={
            c: [rounded(v) for v in vs] for c, vs in kinds["discrete"].items()
        },
        cat_dims={c: [rounded(v) for v in vs] for c, vs in kinds["cat"].items()},
        inequality_constraints=constraints,
    )


@PROPERTY
@given(space=spaces(), n=st.integers(1, 40), seed=st.integers(0, 2**20))
def test_samples_and_children_lie_in_the_space(
    space: SearchSpace, n: int, seed: int
) -> None:
    X = space.sample(n, seed=seed)
    assert X.dtype == space.bounds.dtype
    assert X.shape[1] == space.bounds.shape[1]
    assert len(X) <= n
    assert_inside(space, X)
    if len(X) == 0:
        return
    for step in (0.0, 0.05, 1.0):
        children = space.mutate(X, n, step, seed=seed)
        assert children.dtype == X.dtype
        assert len(children) <= n
        assert_inside(space, children)


@PROPERTY
@given(space=spaces(), seed=st.integers(0, 2**20))
def test_projecting_twice_is_projecting_once_and_keeps_designs_of_the_space(
    space: SearchSpace, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    d = space.bounds.shape[-1]
    u = torch.rand(2, 3, d, generator=generator, dtype=torch.float64).to(space.bounds)
    X = space.bounds[0] + u * (space.bounds[1] - space.bounds[0])
    before = X.clone()
    projected = space.project(X)
    assert torch.equal(X, before)  # the caller's designs are untouched
    assert projected.shape == X.shape
    assert projected.dtype == X.dtype
    assert torch.equal(space.project(projected), projected)
    sampled = space.sample(8, seed=seed)
    assert torch.equal(space.project(sampled), sampled)
    # Columns that are neither fixed nor separate stay as they are.
    touched = {*space.fixed_features, *space.discrete_dims, *space.cat_dims}
    free = [column for column in range(d) if column not in touched]
    assert torch.equal(projected[..., free], X[..., free])


@dtypes
def test_projection_takes_the_nearest_allowed_value(dtype: torch.dtype) -> None:
    space = mixed(dtype, fixed_features={2: 1.0})
    X = torch.tensor([[0.3, 1.4, 0.0], [0.3, 2.6, 2.0], [0.3, -9.0, 0.4]], dtype=dtype)
    expected = [[0.3, 1.0, 1.0], [0.3, 3.0, 1.0], [0.3, 0.0, 1.0]]
    assert torch.equal(space.project(X), torch.tensor(expected, dtype=dtype))


@dtypes
def test_samples_follow_the_constraints_and_reach_all_allowed_values(
    dtype: torch.dtype,
) -> None:
    space = mixed(dtype)
    X = space.sample(512, seed=0)
    assert_inside(space, X)
    assert X.dtype == dtype
    # Feasible shares of x0 given x1 = 0, 1, 2, 3: 1/4, 1/2, 3/4, 1 (in all 5/8).
    assert len(X) == 512
    counts = torch.stack([(X[:, 1] == k).sum() for k in range(4)])
    assert counts.tolist() == pytest.approx([51.2, 102.4, 153.6, 204.8], abs=8)
    assert set(X[:, 2].tolist()) == {0.0, 1.0, 2.0}


def test_every_allowed_value_is_sampled_equally_often_however_they_are_spaced() -> None:
    bounds = torch.tensor([[0.0, 0.0], [1.0, 100.0]], dtype=torch.float64)
    space = SearchSpace(bounds, discrete_dims={1: [0.0, 1.0, 2.0, 100.0]})
    X = space.sample(256, seed=3)
    counts = [int((X[:, 1] == v).sum()) for v in (0.0, 1.0, 2.0, 100.0)]
    assert counts == pytest.approx([64] * 4, abs=2)


@dtypes
def test_samples_of_a_continuous_space_fill_it(dtype: torch.dtype) -> None:
    X = SearchSpace(BOUNDS.to(dtype)).sample(64, seed=1)
    assert X.shape == (64, 3)
    unit = (X - BOUNDS[0].to(dtype)) / (BOUNDS[1] - BOUNDS[0]).to(dtype)
    for column in unit.unbind(dim=-1):  # one Sobol point per stratum
        assert (column * 16).long().bincount(minlength=16).tolist() == [4] * 16


def test_a_fixed_column_wins_over_its_allowed_values() -> None:
    space = mixed(fixed_features={1: 2.0, 2: 0.0})
    X = space.sample(64, seed=0)
    children = space.mutate(X, 64, 0.5, seed=1)
    for designs in (X, children):
        assert (designs[:, 1] == 2.0).all()
        assert (designs[:, 2] == 0.0).all()
        assert (designs[:, 0] <= 0.5).all()


def test_a_finite_space_gives_its_choices() -> None:
    choices = torch.tensor([[0.5, 1.0, 2.0], [-1.0, 3.0, 0.0]], dtype=torch.float64)
    space = SearchSpace(BOUNDS, choices)
    assert torch.equal(space.sample(1, seed=0), choices)
    assert torch.equal(space.sample(99, seed=7), choices)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, False),
        ({"fixed_features": {0: 0.0}}, False),
        ({"discrete_dims": {1: [0, 3]}}, True),
        ({"cat_dims": {2: [0, 1]}}, True),
    ],
    ids=["continuous", "fixed", "discrete", "categorical"],
)
def test_separate_values_make_a_space_mixed(options: Any, expected: bool) -> None:
    assert SearchSpace(BOUNDS, **options).is_mixed is expected


# Children ---------------------------------------------------------------------------


@dtypes
def test_children_without_a_step_recombine_columns_of_two_parents(
    dtype: torch.dtype,
) -> None:
    space = SearchSpace(BOUNDS.to(dtype))
    parents = space.sample(5, seed=0)
    children = space.mutate(parents, 200, 0.0, seed=1)
    assert len(children) == 200
    for column in range(3):
        assert set(children[:, column].tolist()) <= set(parents[:, column].tolist())
    copies = (children.unsqueeze(1) == parents).all(dim=-1).any(dim=-1)
    # Seven of ten children have one parent.
    assert 0.6 < copies.float().mean() < 0.95
    assert len(torch.unique(children[copies], dim=0)) == 5


def test_steps_have_the_size_asked_for() -> None:
    space = SearchSpace(BOUNDS)
    centre = BOUNDS.mean(dim=0, keepdim=True)
    children = space.mutate(centre, 4000, 0.05, seed=0)
    moves = (children - centre) / (BOUNDS[1] - BOUNDS[0])
    for column in moves.unbind(dim=-1):
        moved = column[column != 0]
        assert 0.4 < len(moved) / 4000 < 0.6
        assert moved.std().item() == pytest.approx(0.05, rel=0.1)
        assert moved.mean().abs() < 0.01


def test_children_reach_other_labels_and_neighbouring_numbers() -> None:
    space = mixed(inequality_constraints=())
    parent = torch.tensor([[0.0, 2.0, 1.0]], dtype=torch.float64)
    children = space.mutate(parent, 400, 0.2, seed=0)
    assert set(children[:, 2].tolist()) == {0.0, 1.0, 2.0}
    assert set(children[:, 1].tolist()) >= {1.0, 2.0, 3.0}
    assert_inside(space, children)


# Randomness -------------------------------------------------------------------------


def test_the_seed_alone_decides_and_the_global_state_is_untouched() -> None:
    space = mixed()
    results = []
    for global_seed, seed in ((1, 0), (2, 0), (1, 1)):
        torch.manual_seed(global_seed)
        state = torch.get_rng_state()
        X = space.sample(32, seed=seed)
        children = space.mutate(X[:3], 32, 0.2, seed=seed)
        assert torch.equal(torch.get_rng_state(), state)
        results.append((X, children))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert not torch.equal(results[0][0], results[2][0])


# Errors -----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3,), (1, 3), (3, 2), (1, 2, 3)], ids=str)
def test_bounds_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    got = " x ".join(map(str, shape))
    with pytest.raises(
        BotorchTensorDimensionError,
        match=rf"^Expected bounds of shape `2 x d`, but got `{got}`\. Pass the lower",
    ):
        SearchSpace(torch.zeros(shape))


@pytest.mark.parametrize("name", ["fixed_features", "discrete_dims", "cat_dims"])
@pytest.mark.parametrize("column", [-4, 3])
def test_columns_that_do_not_exist_are_refused(name: str, column: int) -> None:
    value = 0.0 if name == "fixed_features" else [0.0, 1.0]
    with pytest.raises(
        InputDataError,
        match=rf"^Expected columns within 0\.\.2, but got \[{column}\]\. Name",
    ):
        SearchSpace(BOUNDS, **{name: {column: value}})


@pytest.mark.parametrize(
    "choices",
    [torch.zeros(3), torch.zeros(2, 2), torch.zeros(1, 2, 3)],
    ids=["one-dim", "columns", "batch"],
)
def test_choices_that_do_not_fit_are_refused(choices: Tensor) -> None:
    with pytest.raises(
        BotorchTensorDimensionError,
        match=r"^Expected choices to be `n x \d`, with the columns of the bounds, but"
        r" got shape `.*`\. Pass one design per row\.$",
    ):
        SearchSpace(BOUNDS, choices)


@pytest.mark.parametrize("value", [-1.01, 1.01, math.nan, math.inf])
def test_choices_out_of_bounds_are_refused(value: float) -> None:
    choices = torch.zeros(3, 3, dtype=torch.float64)
    choices[2, 0] = value
    with pytest.raises(
        InputDataError,
        match=r"^Expected all choices within the bounds, but got \[.*\] in row 2\. Pass"
        r" the bounds of the design set\.$",
    ):
        SearchSpace(BOUNDS, choices)


def test_negative_columns_count_from_the_end() -> None:
    space = SearchSpace(BOUNDS, fixed_features={-1: float(BOUNDS[0, -1])})
    assert (space.sample(4, seed=0)[:, -1] == BOUNDS[0, -1]).all()


def test_choices_that_violate_a_constraint_are_left_out() -> None:
    at_least = (torch.tensor([0]), torch.tensor([1.0]).double(), 0.5)
    choices = torch.tensor([[0.4, 1.0, 0.0], [0.6, 2.0, 1.0]]).double()
    space = SearchSpace(BOUNDS, choices, inequality_constraints=[at_least])
    assert space.choices is not None
    assert space.choices.tolist() == choices[1:].tolist()
    assert space.sample(5, seed=0).tolist() == choices[1:].tolist()
    with pytest.raises(InputDataError, match="got 1 of which none does"):
        SearchSpace(BOUNDS, choices[:1], inequality_constraints=[at_least])


@dtypes
@pytest.mark.parametrize("unit", [0.1, 0.3, 1e4 / 3])
def test_designs_on_a_constraint_are_kept_whatever_they_round_to(
    dtype: torch.dtype, unit: float
) -> None:
    # Parts of a mixture: at least seven of ten, and at most nine, in exact numbers.
    parts = torch.cartesian_prod(*[torch.arange(6)] * 3)
    total = parts.sum(dim=-1)
    ones = torch.ones(3, dtype=dtype)
    space = SearchSpace(
        torch.tensor([[0.0] * 3, [6 * unit] * 3], dtype=dtype),
        (parts.double() * unit).to(dtype),
        inequality_constraints=[
            (torch.arange(3), ones, 7 * unit),
            (torch.arange(3), -ones, -9 * unit),
        ],
    )
    assert space.choices is not None
    kept = (space.choices.double() / unit).round().long()
    assert kept.tolist() == parts[(total >= 7) & (total <= 9)].tolist()


@dtypes
def test_choices_have_values_that_their_columns_allow(dtype: torch.dtype) -> None:
    bounds = torch.tensor([[0.0], [1.0]], dtype=dtype)
    third = torch.tensor([[1.0], [2.0]], dtype=dtype) / 3
    space = SearchSpace(bounds, third, discrete_dims={0: [0, 1 / 3, 2 / 3, 1]})
    assert space.choices is third
    with pytest.raises(InputDataError, match=r"column 0 among \[0.0, 1.0\], but got"):
        SearchSpace(bounds, third, cat_dims={0: [0, 1]})
    assert SearchSpace(
        bounds, third, discrete_dims={0: [0, 1]}, fixed_features={0: 1.0}
    ).sample(1, seed=0).tolist() == [[1.0]]


@PROPERTY
@given(
    values=st.lists(st.integers(-9, 9), min_size=1, max_size=6, unique=True),
    x=st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=5),
)
def test_separate_columns_move_to_their_nearest_value(
    values: list[int], x: list[float]
) -> None:
    bounds = torch.tensor([[-10.0], [10.0]], dtype=torch.float64)
    X = torch.tensor(x, dtype=torch.float64).unsqueeze(-1)
    moved = SearchSpace(bounds, discrete_dims={0: values}).project(X)
    for before, after in zip(x, moved.flatten().tolist(), strict=True):
        assert after in values
        assert abs(after - before) == min(abs(v - before) for v in values)


def test_a_column_of_a_million_values_takes_little_memory() -> None:
    bounds = torch.tensor([[1.0], [1e6]], dtype=torch.float64)
    space = SearchSpace(bounds, discrete_dims={0: range(1, 10**6 + 1)})
    # A table of all distances would be 160 GB.
    X = 1 + (1e6 - 1) * torch.rand(20_000, 1, dtype=torch.float64)
    assert torch.equal(space.project(X), X.round())


def test_choices_have_the_fixed_values_each_once() -> None:
    grid = torch.cartesian_prod(torch.arange(3), torch.arange(2)).double()
    bounds = torch.tensor([[0.0, 0.0], [2.0, 1.0]], dtype=torch.float64)
    space = SearchSpace(bounds, grid, fixed_features={1: 1.0})
    expected = [[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]]
    assert space.choices is not None
    assert space.choices.tolist() == expected
    assert space.sample(1, seed=0).tolist() == expected


@pytest.mark.parametrize("wrong", [1, 2])
def test_members_lie_within_the_bounds_and_have_allowed_values(wrong: int) -> None:
    space = mixed()
    inside = torch.tensor([[-0.6, 1.0, 2.0]]).double()
    assert torch.equal(space.members(inside), inside)
    outside = inside.clone()
    outside[0, wrong] = 2.5 if wrong == 1 else 3.0
    assert len(space.members(outside)) == 0
    assert len(space.members(inside - torch.tensor([1.0, 0.0, 0.0]).double())) == 0


def test_labels_take_part_in_crossover() -> None:
    labels = dict.fromkeys(range(10), (0.0, 5.0))
    space = SearchSpace(
        torch.tensor([[0.0] * 10, [5.0] * 10]).double(), cat_dims=labels
    )
    parents = torch.tensor([[0.0] * 10, [5.0] * 10]).double()
    children = space.mutate(parents, 2000, 0.01, seed=0)
    fives = (children == 5).sum(dim=-1)
    mixed = ((fives > 2) & (fives < 8)).double().mean()
    # Three in ten are crossed, half of these have two parents.
    assert 0.1 < mixed < 0.2
