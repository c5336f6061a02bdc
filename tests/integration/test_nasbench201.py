r"""A short real run on NAS-Bench-201, in recorded GPU hours."""

from __future__ import annotations

import math

import moocore
import pytest
import torch

from botorch_flexibo import (
    AcquisitionPolicy,
    DecoupledHistory,
    FlexiBOFactory,
    InitialDesign,
    run_decoupled_optimization,
)
from botorch_flexibo.test_functions import NASBench201

BUDGET = 5.5 * 3600.0
NUM_INITIAL = 8


@pytest.fixture(scope="module")
def problem() -> NASBench201:
    return NASBench201("cifar10")


@pytest.fixture(scope="module")
def history(problem: NASBench201) -> DecoupledHistory:
    # As many latencies per decision as one training costs, or one training.
    training = problem.costs[:, 0].mean().item()
    policy = AcquisitionPolicy(FlexiBOFactory(beta=1.0), q=25, batch_cost=training)
    return run_decoupled_optimization(
        problem,
        policy,
        budget=BUDGET,
        initial_design=InitialDesign(NUM_INITIAL),
        seed=0,
    )


def test_the_run_spends_its_gpu_hours_and_not_more_than_one_request_beyond(
    history: DecoupledHistory,
) -> None:
    assert history.stop_reason == "budget"
    assert history.cost_unit == "s"
    assert BUDGET <= history.total_cost
    assert history.total_cost - sum(history.records[-1].costs) < BUDGET


def test_no_pair_is_measured_twice(
    problem: NASBench201, history: DecoupledHistory
) -> None:
    asked = [
        (int(problem.indices(history.X[record.design])), i)
        for record in history.records
        for i, measured in enumerate(record.measured)
        if measured
    ]
    assert len(asked) > 2 * NUM_INITIAL
    assert len(set(asked)) == len(asked) == sum(history.num_measurements.values())


def test_decoupling_buys_more_latencies_than_trainings(
    history: DecoupledHistory,
) -> None:
    counts = history.num_measurements
    assert counts["error"] > NUM_INITIAL
    assert counts["latency"] > counts["error"]
    # Nearly all of the money goes into training all the same.
    assert history.cost_by_outcome["error"] > 0.95 * history.total_cost


def test_the_identified_front_improves_over_the_initial_design(
    problem: NASBench201, history: DecoupledHistory
) -> None:
    share = {
        record.decision: record.hv_identified / history.max_hv
        for record in history.records
        if not math.isnan(record.hv_identified)
    }
    assert share[0] < share[max(share)] <= 1
    # Measured, too: of the cells whose error and latency are both known.
    measured = [record.hv_measured for record in history.records]
    assert measured == sorted(measured)
    complete = history.Y[~history.Y.isnan().any(dim=-1)]
    ref = (-problem.ref_point).numpy()
    assert measured[-1] == pytest.approx(
        moocore.hypervolume(-complete.numpy(), ref=ref), rel=1e-12
    )
    assert measured[-1] > measured[NUM_INITIAL - 1] > 0


def test_the_values_are_the_recorded_ones(
    problem: NASBench201, history: DecoupledHistory
) -> None:
    recorded = problem.Y[problem.indices(history.X)]
    known = ~history.Y.isnan()
    assert torch.equal(history.Y[known], recorded[known])
