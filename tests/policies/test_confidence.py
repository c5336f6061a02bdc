r"""Confidence scales that are drawn."""

from __future__ import annotations

import math
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


@pytest.mark.parametrize("mean", [0.5, 2.0])
def test_draws_follow_the_distribution_also_at_seeds_in_a_row(mean: float) -> None:
    draws = [ExponentialBeta(mean)(seed) for seed in range(0, 2 * NUM_DRAWS, 2)]
    assert kstest(draws, expon(scale=mean).cdf).pvalue > 0.01
    correlation = np.corrcoef(draws[1:], draws[:-1])[0, 1]
    assert abs(correlation) < 4 / math.sqrt(NUM_DRAWS)


@given(seed=st.integers(0, 2**63 - 1), mean=st.floats(1e-3, 1e3))
def test_a_draw_is_positive_scales_and_depends_on_the_seed_alone(
    seed: int, mean: float
) -> None:
    before = torch.get_rng_state()
    beta = ExponentialBeta(mean)(seed)
    assert torch.equal(torch.get_rng_state(), before)
    assert 0 < beta < math.inf
    assert beta == ExponentialBeta(mean)(seed)
    assert beta == pytest.approx(mean * ExponentialBeta(1.0)(seed), rel=1e-12)


@pytest.mark.parametrize("mean", [0.0, -1.0, math.nan, math.inf, "2", None, True])
def test_means_that_are_none_are_refused(mean: Any) -> None:
    with pytest.raises(InputDataError, match=r"^Expected a finite mean > 0, but got"):
        ExponentialBeta(mean)
