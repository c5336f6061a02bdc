r"""Row look-up against a dictionary."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
import torch
from botorch.exceptions.errors import BotorchTensorDimensionError
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from botorch_flexibo.utils.rows import RowIndex, sum_by_row, unique_rows

DEVICES = ["cpu"]
if torch.cuda.is_available():
    DEVICES.append(pytest.param("cuda", marks=pytest.mark.gpu))

# Few values, so that rows repeat, and hard ones: both zeros, subnormal, huge, and
# neighbours that differ in the last bit only.
VALUES = [0.0, -0.0, 1.0, -1.0, 0.5, 2.0**-149, 2.0**100, 1.0 + 2.0**-23, np.inf]


def dictionary_find(rows: Tensor, queries: Tensor) -> list[int]:
    """First position of each query, or -1. Python's 0.0 and -0.0 are equal keys."""
    first: dict[tuple, int] = {}
    for position, row in enumerate(rows.tolist()):
        first.setdefault(tuple(row), position)
    return [first.get(tuple(query), -1) for query in queries.tolist()]


@settings(deadline=None, max_examples=200)
@given(
    data=st.data(),
    d=st.integers(1, 4),
    n=st.integers(0, 12),
    q=st.integers(0, 12),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_every_row_is_found_where_a_dictionary_finds_it(data, d, n, q, dtype):
    values = st.sampled_from(VALUES)
    rows = torch.from_numpy(data.draw(arrays(dtype, (n, d), elements=values)))
    queries = torch.from_numpy(data.draw(arrays(dtype, (q, d), elements=values)))
    queries = torch.cat([queries, rows])
    found = RowIndex(rows).find(queries)
    assert found.dtype == torch.long
    assert found.tolist() == dictionary_find(rows, queries)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "batch_shape", [[], [2], [2, 3], [0]], ids=["single", "batch2", "batch2x3", "none"]
)
def test_look_up_keeps_the_batch_shape(batch_shape, dtype, device):
    rows = torch.arange(12, dtype=dtype, device=device).reshape(6, 2)
    index = RowIndex(rows)
    queries = rows[2].expand(*batch_shape, 2)
    expected = torch.full(batch_shape, 2, device=device)
    assert torch.equal(index.find(queries), expected)
    assert torch.equal(index.find(queries + 0.5), torch.full_like(expected, -1))


def test_the_first_of_equal_rows_is_found():
    rows = torch.tensor([[5.0, 5.0], [1.0, 2.0], [1.0, 2.0], [5.0, 5.0]])
    assert RowIndex(rows).find(rows).tolist() == [0, 1, 1, 0]


def test_the_first_of_many_equal_rows_is_found():
    # Many, because a sort that is not stable shows only in long inputs.
    rows = torch.randint(5, (2000, 2), generator=torch.Generator()).double()
    assert RowIndex(rows).find(rows).tolist() == dictionary_find(rows, rows)


def test_negative_zero_equals_zero():
    rows = torch.tensor([[0.0, 1.0], [1.0, -0.0]])
    queries = torch.tensor([[-0.0, 1.0], [1.0, 0.0], [-0.0, -1.0]])
    assert RowIndex(rows).find(queries).tolist() == [0, 1, -1]


def test_neighbouring_floats_are_different_rows():
    x = torch.rand(50, 3, dtype=torch.float64, generator=torch.Generator())
    above = torch.nextafter(x, torch.full_like(x, 2.0))
    assert (RowIndex(x).find(above) == -1).all()
    assert (RowIndex(above).find(x) == -1).all()


def test_nan_rows_are_never_found():
    rows = torch.tensor([[float("nan"), 1.0], [2.0, 3.0], [float("nan"), 1.0]])
    assert RowIndex(rows).find(rows).tolist() == [-1, 1, -1]


@pytest.mark.parametrize(
    ("levels", "d"),
    [
        pytest.param([0.0, 1.0], 13, id="binary"),
        pytest.param([0.0, 0.25, 0.5, 0.75, 1.0], 6, id="nas-grid"),
        pytest.param(list(range(-40, 40)), 2, id="integers"),
        pytest.param([2.0**k for k in range(-40, 40)], 2, id="powers-of-two"),
        pytest.param([k / 7 for k in range(-10, 11)], 3, id="fractions"),
        pytest.param([-1e2, -9.0, -2.0, -0.1, 0.1, 2.0, 9.0, 1e2], 4, id="signs"),
    ],
)
def test_regular_grids_have_no_colliding_rows(levels, d):
    grid = torch.tensor(list(itertools.product(levels, repeat=d)), dtype=torch.float64)
    grid = grid[torch.randperm(len(grid), generator=torch.Generator())]
    index = RowIndex(grid)
    assert torch.equal(index.find(grid), torch.arange(len(grid)))
    assert (index.find(grid + 1e-3) == -1).all()


@pytest.mark.parametrize("d", [2, 3])
def test_rows_that_differ_only_in_their_signs_are_told_apart(d):
    rows = torch.rand(5000, d, dtype=torch.float64, generator=torch.Generator())
    rows = torch.cat([rows, -rows])
    assert torch.equal(RowIndex(rows).find(rows), torch.arange(len(rows)))


def test_a_hash_with_collisions_is_replaced_by_the_next(monkeypatch):
    # A multiplier of zero gives every row the same key.
    rows = torch.rand(20, 2, generator=torch.Generator())
    good = RowIndex(rows)._multiplier
    monkeypatch.setattr("botorch_flexibo.utils.rows._MULTIPLIERS", (0, good))
    assert torch.equal(RowIndex(rows).find(rows), torch.arange(20))


@pytest.mark.parametrize(
    "batch_shape", [[], [2], [2, 3]], ids=["single", "batch2", "batch2x3"]
)
def test_an_empty_index_finds_nothing(batch_shape):
    found = RowIndex(torch.empty(0, 3)).find(torch.zeros(*batch_shape, 3))
    assert torch.equal(found, torch.full(batch_shape, -1))


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4)], ids=["one-dim", "three-dim"])
def test_rows_that_are_not_a_matrix_are_refused(shape):
    with pytest.raises(
        BotorchTensorDimensionError, match=r"Expected rows to be `n x d`, but got `"
    ):
        RowIndex(torch.zeros(shape))


# --- unique rows ----------------------------------------------------------------------


@settings(deadline=None, max_examples=100)
@given(
    data=st.data(),
    d=st.integers(1, 4),
    n=st.integers(0, 12),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_unique_rows_are_the_first_copies_in_their_order(data, d, n, dtype):
    values = st.sampled_from(VALUES)
    X = torch.from_numpy(data.draw(arrays(dtype, (n, d), elements=values)))
    first = dict.fromkeys(tuple(row) for row in X.tolist())  # keeps the order
    actual = unique_rows(X)
    assert actual.dtype == X.dtype
    assert actual.shape == (len(first), d)
    assert [tuple(row) for row in actual.tolist()] == list(first)


def test_of_two_zeros_the_first_is_kept_with_its_sign():
    X = torch.tensor([[-0.0, 1.0], [0.0, 1.0], [0.0, -0.0], [-0.0, 0.0]])
    actual = unique_rows(X)
    assert torch.equal(actual, X[[0, 2]])
    assert torch.equal(actual.signbit(), X[[0, 2]].signbit())


def test_rows_without_repetitions_are_returned_as_they_are():
    X = torch.rand(50, 3, dtype=torch.float64, generator=torch.Generator())
    assert unique_rows(X) is X
    above = torch.nextafter(X, torch.full_like(X, 2.0))
    both = torch.cat([X, above])
    assert torch.equal(unique_rows(both), both)


def test_unique_rows_are_those_of_torch_up_to_their_order():
    generator = torch.Generator().manual_seed(0)
    X = torch.randint(4, (300, 3), generator=generator).double()
    actual = unique_rows(X)
    assert len(actual) < len(X)
    assert torch.equal(actual.unique(dim=0), X.unique(dim=0))
    assert len(actual) == len(X.unique(dim=0))
    assert torch.equal(unique_rows(actual), actual)


@pytest.mark.parametrize("d", [1, 3])
def test_no_rows_stay_no_rows(d):
    assert unique_rows(torch.empty(0, d)).shape == (0, d)


@pytest.mark.parametrize("device", DEVICES)
def test_unique_rows_stay_on_their_device(device):
    X = torch.tensor([[1.0], [2.0], [1.0]], device=device)
    actual = unique_rows(X)
    assert actual.device.type == device
    assert actual.tolist() == [[1.0], [2.0]]


def test_unique_rows_of_something_else_than_a_matrix_are_refused():
    message = "Expected rows to be `n x d`, but got `3`. Pass one per row."
    with pytest.raises(BotorchTensorDimensionError, match=f"^{re.escape(message)}$"):
        unique_rows(torch.zeros(3))


def test_values_of_equal_rows_are_added_up() -> None:
    X = torch.tensor([[1.0, 2.0], [0.0, 0.0], [1.0, 2.0], [-0.0, 0.0]])
    values = torch.tensor([[1], [10], [100], [1000]])
    rows, sums = sum_by_row(X, values)
    assert rows.tolist() == [[1.0, 2.0], [0.0, 0.0]]
    assert sums.tolist() == [[101], [1010]]
    assert [len(part) for part in sum_by_row(X[:0], values[:0])] == [0, 0]
