r"""Confidence scales that are drawn."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from botorch.exceptions.errors import InputDataError
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import expon, kstest

from botorch_flexibo.policies import ExponentialBeta

NUM_DRAWS = 4000


@pytest.mark.parametrize(("mean", "shift"), [(0.5, 0.0), (1.0, 0.5), (2.0, 1.5)])
def test_draws_follow_the_distribution_also_at_seeds_in_a_row(
    mean: float, shift: float
) -> None:
    draw = ExponentialBeta(mean, shift)
    draws = [draw(seed) for seed in range(0, 2 * NUM_DRAWS, 2)]
    assert kstest(draws, expon(shift, mean - shift).cdf).pvalue > 0.01
    correlation = np.corrcoef(draws[1:], draws[:-1])[0, 1]
    assert abs(correlation) < 4 / math.sqrt(NUM_DRAWS)


@given(
    seed=st.integers(0, 2**63 - 1),
    mean=st.floats(1e-3, 1e3),
    part=st.floats(0.0, 0.99),
)
def test_a_draw_is_above_its_bound_and_depends_on_the_seed_alone(
    seed: int, mean: float, part: float
) -> None:
    shift = part * mean
    before = torch.get_rng_state()
    beta = ExponentialBeta(mean, shift)(seed)
    assert torch.equal(torch.get_rng_state(), before)
    assert shift <= beta < math.inf
    assert beta > 0
    assert beta == ExponentialBeta(mean, shift)(seed)
    unit = ExponentialBeta(1.0, 0.0)(seed)
    assert beta == pytest.approx(shift + (mean - shift) * unit, rel=1e-12)


@pytest.mark.parametrize("mean", [0.0, -1.0, math.nan, math.inf, "2", None, True])
def test_means_that_are_none_are_refused(mean: Any) -> None:
    message = f"Expected finite numbers 0 <= shift < mean, but got 0.0 and {mean!r}."
    with pytest.raises(InputDataError, match=f"^{re.escape(message)}"):
        ExponentialBeta(mean)


@pytest.mark.parametrize("shift", [-0.1, 1.0, 2.0, math.nan, -math.inf, "0", None])
def test_bounds_that_are_none_are_refused(shift: Any) -> None:
    message = f"Expected finite numbers 0 <= shift < mean, but got {shift!r} and 1.0."
    with pytest.raises(InputDataError, match=f"^{re.escape(message)}"):
        ExponentialBeta(shift=shift)
