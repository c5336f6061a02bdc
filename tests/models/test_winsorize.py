r"""Outliers against NumPy's percentiles, and what must not change."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from botorch.exceptions.errors import BotorchTensorDimensionError, InputDataError
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from botorch_flexibo.models import Winsorize
from botorch_flexibo.utils.fronts import hypervolume

values = st.one_of(st.just(math.nan), st.floats(-100, 100, width=32))
tables = st.lists(st.tuples(values, values), min_size=1, max_size=12).map(
    lambda rows: torch.tensor(rows, dtype=torch.float64)
)
points = st.lists(st.floats(-100, 100), min_size=2, max_size=2).map(
    lambda point: torch.tensor(point, dtype=torch.float64)
)


def by_hand(column: Tensor, ref: float, num_ranges: float) -> list[float]:
    """One outcome, with NumPy."""
    measured = column[~column.isnan()].numpy()
    if len(measured) == 0:
        return column.tolist()
    lower, upper = np.percentile(measured, [25, 75])
    bound = min(lower - num_ranges * (upper - lower), ref)
    return [max(y, bound) if not math.isnan(y) else y for y in column.tolist()]


@given(tables, points, st.sampled_from([0.0, 0.5, 1.5, 3.0]))
def test_outliers_are_raised_to_the_fence_or_the_reference_point(Y, ref, num_ranges):
    raised = Winsorize(ref, num_ranges)(Y)
    for column, found, bound in zip(Y.T, raised.T, ref.tolist(), strict=True):
        expected = by_hand(column, bound, num_ranges)
        assert found.tolist() == pytest.approx(expected, nan_ok=True, abs=1e-9)


@given(tables, points)
def test_what_is_better_than_the_reference_point_stays(Y, ref):
    raised = Winsorize(ref)(Y)
    assert torch.equal(raised.isnan(), Y.isnan())
    better = ref <= Y
    assert torch.equal(raised[better], Y[better])
    assert (
        raised[~better & ~Y.isnan()] <= ref.expand_as(Y)[~better & ~Y.isnan()]
    ).all()
    whole = ~Y.isnan().any(dim=-1)
    if whole.any():
        assert torch.equal(hypervolume(raised[whole], ref), hypervolume(Y[whole], ref))


def test_a_network_that_diverged_is_raised_and_those_before_it_are_kept():
    error = torch.tensor([[-0.09], [-0.10], [-0.12], [-0.15], [-0.90]])
    # Quartiles -0.15 and -0.10: the fence is at -0.225.
    raised = Winsorize([-0.2])(error.double())
    assert raised.flatten().tolist() == pytest.approx(
        [-0.09, -0.1, -0.12, -0.15, -0.225]
    )
    # With a reference point at -0.5 nothing above it is touched.
    raised = Winsorize([-0.5])(error.double())
    assert raised.flatten().tolist() == pytest.approx([-0.09, -0.1, -0.12, -0.15, -0.5])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dtype_of_the_outcomes_is_kept(dtype):
    Y = torch.tensor([[1.0], [2.0], [3.0], [-50.0]], dtype=dtype)
    assert Winsorize(torch.tensor([0.0], dtype=torch.float64))(Y).dtype == dtype


@pytest.mark.parametrize("num_ranges", [-1.0, math.nan, math.inf, "many"])
def test_ranges_that_are_none_are_refused(num_ranges):
    message = (
        f"Expected a finite num_ranges >= 0, but got {re.escape(repr(num_ranges))}"
    )
    with pytest.raises(InputDataError, match=message):
        Winsorize([0.0], num_ranges)


def test_a_reference_point_of_other_outcomes_is_refused():
    with pytest.raises(
        BotorchTensorDimensionError, match="ref_point to have 2 elements"
    ):
        Winsorize([0.0])(torch.zeros(3, 2, dtype=torch.float64))
    with pytest.raises(InputDataError, match="finite ref_point"):
        Winsorize([math.nan])(torch.zeros(3, 1, dtype=torch.float64))
