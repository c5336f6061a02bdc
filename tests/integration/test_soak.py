"""Long runs: what a decision takes does not grow with those before it."""

from __future__ import annotations

from itertools import pairwise

import pytest

from benchmarks.scale import POLICIES, soak


@pytest.mark.parametrize(
    "num_requests", [400, pytest.param(2000, marks=pytest.mark.slow)]
)
def test_the_loop_keeps_a_little_for_each_request_and_takes_no_longer(
    num_requests: int,
) -> None:
    # Without a model: what grows here is the loop's own.
    result = soak(POLICIES["random"](), num_requests)
    assert result["requests"] == num_requests
    traced = result["traced_kib_each_50_decisions"]
    grown = [after - before for before, after in pairwise(traced)]
    # The records themselves: a few KiB each, at the end as at the beginning.
    assert max(grown) < 50 * 10
    half = len(grown) // 2
    assert sum(grown[half:]) / len(grown[half:]) < 2 * sum(grown[:half]) / half
    resident = result["resident_mib_each_50_decisions"]
    assert resident[-1] - resident[0] < 0.1 * num_requests
    first, *_, last = result["median_ms_by_quarter"]
    assert last < 3 * first


@pytest.mark.slow
def test_a_run_with_a_model_keeps_little_besides_the_model() -> None:
    result = soak(POLICIES["flexibo"](), 300)
    assert result["requests"] == 300
    traced = result["traced_kib_each_50_decisions"]
    assert traced[-1] - traced[0] < 300 * 20
    resident = result["resident_mib_each_50_decisions"]
    assert resident[-1] - resident[0] < 0.5 * 300
