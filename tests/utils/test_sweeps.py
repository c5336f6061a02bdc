r"""Fronts and boxes of three outcomes, by sweeps, against BoTorch and moocore."""

from __future__ import annotations

import moocore
import pytest
import torch
from botorch.utils.multi_objective.box_decompositions.non_dominated import (
    FastNondominatedPartitioning,
)
from botorch.utils.multi_objective.pareto import is_non_dominated
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from botorch_flexibo.utils._sweeps import swept_cells, swept_front, swept_second_front
from botorch_flexibo.utils.fronts import front_mask, hypervolume_improvement

REF_POINT = torch.tensor([0.5, 0.0, 1.0], dtype=torch.float64)

dtypes = pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64], ids=["float32", "float64"]
)
# Few levels: equal points, ties in some outcomes, and points on or below the reference.
levels = st.integers(0, 4).map(float)
few_levels = st.lists(st.tuples(levels, levels, levels), max_size=25)


def as_points(rows: list[tuple[float, float, float]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, 3)


def rand(n: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 4 * torch.rand(n, 3, generator=generator, dtype=torch.float64).to(dtype)


def sphere(n: int) -> Tensor:
    """Points of which none dominates another."""
    points = rand(n)
    return points / points.norm(dim=-1, keepdim=True)


def hypervolume(points: Tensor) -> float:
    """Of points to maximise; moocore minimises."""
    inside = points[(points > REF_POINT).all(dim=-1)]
    if len(inside) == 0:
        return 0.0
    return float(moocore.hypervolume(-inside.numpy(), ref=-REF_POINT.numpy()))


@given(rows=few_levels)
def test_of_points_with_ties_the_front_is_botorchs(
    rows: list[tuple[float, float, float]],
) -> None:
    Y = as_points(rows)
    assert torch.equal(swept_front(Y), is_non_dominated(Y, deduplicate=True))


@dtypes
@pytest.mark.parametrize("n", [0, 1, 2, 300])
def test_the_front_is_botorchs_in_both_dtypes(n: int, dtype: torch.dtype) -> None:
    Y = rand(n, dtype)
    mask = front_mask(Y)
    assert mask.dtype == torch.bool
    assert torch.equal(mask, is_non_dominated(Y, deduplicate=True))


def test_of_points_none_of_which_is_dominated_all_are_kept() -> None:
    assert swept_front(sphere(500)).all()


def test_infinite_points_have_their_place() -> None:
    inf = torch.inf
    Y = torch.tensor([[inf, 0.0, 0.0], [1.0, 1.0, -inf], [2.0, 0.0, -inf], [1, 1, 0]])
    assert swept_front(Y).tolist() == [True, False, False, True]


def pairwise_front(Y: Tensor) -> Tensor:
    """Front of the componentwise minima of all pairs."""
    row, column = torch.triu_indices(len(Y), len(Y), offset=1)
    meets = torch.minimum(Y[row], Y[column])
    return meets[is_non_dominated(meets, deduplicate=True)]


def as_set(Y: Tensor) -> list[list[float]]:
    return sorted(Y.tolist())


@given(rows=few_levels)
def test_what_two_points_dominate_is_what_pairs_dominate(
    rows: list[tuple[float, float, float]],
) -> None:
    Y = as_points(rows)
    assert as_set(swept_second_front(Y)) == as_set(pairwise_front(Y))


@dtypes
@pytest.mark.parametrize("n", [0, 1, 2, 100])
def test_the_second_front_of_points_in_general_position(
    n: int, dtype: torch.dtype
) -> None:
    for Y in (rand(n, dtype), sphere(n).to(dtype)):
        second = swept_second_front(Y)
        assert second.dtype == dtype
        assert as_set(second) == as_set(pairwise_front(Y))


@given(rows=few_levels, others=few_levels)
def test_boxes_measure_what_points_add_to_a_front(
    rows: list[tuple[float, float, float]], others: list[tuple[float, float, float]]
) -> None:
    Y, candidates = as_points(rows), as_points(others)
    cells = swept_cells(Y[swept_front(Y)], REF_POINT)
    gains = hypervolume_improvement(candidates, cells)
    before = hypervolume(Y)
    for candidate, gain in zip(candidates, gains.tolist(), strict=True):
        after = hypervolume(torch.cat([Y, candidate.unsqueeze(0)]))
        assert gain == pytest.approx(after - before, abs=1e-9)


@pytest.mark.parametrize("n", [1, 10, 100])
def test_boxes_are_as_good_as_botorchs_and_fewer(n: int) -> None:
    front, candidates = 4 * sphere(n), rand(64, seed=1)
    cells = swept_cells(front, REF_POINT)
    theirs = FastNondominatedPartitioning(ref_point=REF_POINT, Y=front)
    expected = hypervolume_improvement(candidates, theirs.get_hypercell_bounds())
    assert torch.allclose(hypervolume_improvement(candidates, cells), expected)
    assert (cells[0] < cells[1]).all()
    assert cells.shape[1] <= min(2 * n + 1, theirs.get_hypercell_bounds().shape[1])


def test_boxes_are_disjoint_and_miss_what_is_dominated() -> None:
    front = 4 * sphere(30)
    lower, upper = swept_cells(front, REF_POINT)
    X = REF_POINT + (4.5 - REF_POINT) * rand(2000, seed=2) / 4
    inside = ((X.unsqueeze(1) > lower) & (X.unsqueeze(1) <= upper)).all(dim=-1)
    dominated = (front >= X.unsqueeze(1)).all(dim=-1).any(dim=-1)
    assert torch.equal(inside.sum(dim=-1), (~dominated).long())


@dtypes
def test_without_a_front_there_is_one_box(dtype: torch.dtype) -> None:
    cells = swept_cells(torch.empty(0, 3, dtype=dtype), REF_POINT.to(dtype))
    assert cells.dtype == dtype
    assert cells.tolist() == [[REF_POINT.tolist()], [[torch.inf] * 3]]
