r"""The record of a run as numbers and as a table."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import moocore
import pandas as pd
import pytest
import torch

from botorch_flexibo import DecoupledHistory, RandomPolicy, run_decoupled_optimization
from botorch_flexibo.history import RequestRecord
from botorch_flexibo.policies.base import Effort
from botorch_flexibo.test_functions import (
    DecoupledBraninCurrin,
    DecoupledMOMFBraninCurrin,
)

NAN = math.nan


def record(
    design: int,
    measured: tuple[bool, bool],
    values: tuple[float, float],
    costs: tuple[float, float],
    **changes: Any,
) -> RequestRecord:
    fields: dict[str, Any] = {
        "decision": 0,
        "predicted_cost": NAN,
        "cumulative_cost": 0.0,
        "hv_measured": 0.0,
        "hv_identified": NAN,
        "policy_seconds": 0.0,
        "fit_seconds": 0.0,
    }
    return RequestRecord(
        design=design,
        measured=measured,
        values=values,
        costs=costs,
        **(fields | changes),
    )


@pytest.fixture
def history() -> DecoupledHistory:
    """Two initial designs, then three measurements in two decisions."""
    records = (
        record(0, (True, True), (1.0, 2.0), (0.1, 0.02), cumulative_cost=0.12),
        record(
            1, (True, True), (3.0, 1.0), (0.3, 0.02), cumulative_cost=0.44,
            hv_measured=4.0, hv_identified=5.0,
        ),
        record(
            2, (False, True), (NAN, 9.0), (0.0, 0.02), cumulative_cost=0.46,
            decision=1, predicted_cost=0.03, hv_measured=4.0, policy_seconds=0.5,
            fit_seconds=0.25,
            effort=Effort(num_fits=2, fit_seconds=0.125, num_skipped=1),
        ),
        record(
            3, (False, True), (NAN, 8.0), (0.0, 0.02), cumulative_cost=0.48,
            decision=1, predicted_cost=0.03, hv_measured=4.0, hv_identified=6.0,
        ),
        record(
            2, (True, False), (2.0, NAN), (0.2, 0.0), cumulative_cost=0.68,
            decision=2, predicted_cost=0.25, hv_measured=20.0,
        ),
    )  # fmt: skip
    return DecoupledHistory(
        X=torch.tensor([[0.0, 0.5], [0.25, 1.0], [0.125, 0.75], [1.0, 0.0]]).double(),
        Y=torch.tensor([[1.0, 2.0], [3.0, 1.0], [2.0, 9.0], [NAN, 8.0]]).double(),
        records=records,
        stop_reason="budget",
        outcome_names=("error", "energy"),
        cost_unit="h",
        budget=0.65,
    )


def empty() -> DecoupledHistory:
    return DecoupledHistory(
        X=torch.empty(0, 2).double(),
        Y=torch.empty(0, 2).double(),
        records=(),
        stop_reason="interrupted",
        outcome_names=("error", "energy"),
        cost_unit="h",
        budget=1.0,
    )


def test_the_table_has_one_row_per_request_and_the_documented_columns(
    history: DecoupledHistory,
) -> None:
    frame = history.to_pandas()
    assert list(frame.columns) == [
        "decision",
        "design",
        "x0",
        "x1",
        "measured_error",
        "error",
        "cost_error",
        "failure_error",
        "measured_energy",
        "energy",
        "cost_energy",
        "failure_energy",
        "predicted_cost",
        "setup_cost",
        "cost",
        "cumulative_cost",
        "hv_measured",
        "hv_identified",
        "policy_seconds",
        "fit_seconds",
        "measure_seconds",
        "effort_num_fits",
        "effort_fit_seconds",
        "effort_num_acquisitions",
        "effort_acquisition_seconds",
        "effort_num_skipped",
        "effort_num_gated",
        "effort_num_expensive",
    ]
    assert len(frame) == 5
    assert frame["decision"].tolist() == [0, 0, 1, 1, 2]
    assert frame["design"].tolist() == [0, 1, 2, 3, 2]


def test_the_table_holds_the_designs_values_and_costs_of_each_request(
    history: DecoupledHistory,
) -> None:
    frame = history.to_pandas()
    expected = pd.DataFrame(
        {
            "x0": [0.0, 0.25, 0.125, 1.0, 0.125],
            "x1": [0.5, 1.0, 0.75, 0.0, 0.75],
            "measured_error": [True, True, False, False, True],
            "error": [1.0, 3.0, NAN, NAN, 2.0],
            "cost_error": [0.1, 0.3, 0.0, 0.0, 0.2],
            "measured_energy": [True, True, True, True, False],
            "energy": [2.0, 1.0, 9.0, 8.0, NAN],
            "cost_energy": [0.02, 0.02, 0.02, 0.02, 0.0],
            "predicted_cost": [NAN, NAN, 0.03, 0.03, 0.25],
            "cost": [0.12, 0.32, 0.02, 0.02, 0.2],
            "cumulative_cost": [0.12, 0.44, 0.46, 0.48, 0.68],
            "hv_measured": [0.0, 4.0, 4.0, 4.0, 20.0],
            "policy_seconds": [0.0, 0.0, 0.5, 0.0, 0.0],
            "fit_seconds": [0.0, 0.0, 0.25, 0.0, 0.0],
            "measure_seconds": [0.0] * 5,
            "effort_num_fits": [0, 0, 2, 0, 0],
            "effort_fit_seconds": [0.0, 0.0, 0.125, 0.0, 0.0],
            "effort_num_skipped": [0, 0, 1, 0, 0],
        }
    )
    pd.testing.assert_frame_equal(frame[list(expected.columns)], expected)
    # What is paid is the sum of what each outcome costs, row by row and in total.
    by_outcome = frame["cost_error"] + frame["cost_energy"]
    assert by_outcome.tolist() == pytest.approx(frame["cost"].tolist())
    assert by_outcome.cumsum().tolist() == pytest.approx(
        frame["cumulative_cost"].tolist()
    )


def test_set_ups_are_paid_for_by_the_request_and_by_no_outcome() -> None:
    both = (True, True)
    history = replace(
        empty(),
        X=torch.zeros(2, 2).double(),
        records=(
            record(0, both, (1.0, 2.0), (2.0, 1.0), setup_cost=8.0, cumulative_cost=11),
            record(0, both, (1.0, 2.0), (2.0, 1.0), cumulative_cost=14.0),
            record(
                1, both, (1.0, 2.0), (2.0, 1.0), setup_cost=0.5, cumulative_cost=17.5
            ),
        ),
    )
    frame = history.to_pandas()
    assert frame["setup_cost"].tolist() == [8.0, 0.0, 0.5]
    assert frame["cost"].tolist() == [11.0, 3.0, 3.5]
    assert history.total_setup_cost == 8.5
    assert history.cost_by_outcome == {"error": 6.0, "energy": 3.0}
    assert history.total_cost == 17.5 == 9.0 + history.total_setup_cost


def test_set_ups_are_free_unless_recorded(history: DecoupledHistory) -> None:
    assert history.total_setup_cost == empty().total_setup_cost == 0.0
    assert history.to_pandas()["setup_cost"].tolist() == [0.0] * 5
    assert history.total_cost == pytest.approx(sum(history.cost_by_outcome.values()))


def test_the_identified_hypervolume_is_carried_forward_but_never_back(
    history: DecoupledHistory,
) -> None:
    column = history.to_pandas()["hv_identified"]
    assert math.isnan(column[0])
    assert column[1:].tolist() == [5.0, 5.0, 6.0, 6.0]


def test_an_empty_history_is_an_empty_table() -> None:
    frame = empty().to_pandas()
    assert isinstance(frame, pd.DataFrame)
    assert len(frame) == 0


def test_an_empty_history_cost_nothing() -> None:
    history = empty()
    assert history.total_cost == 0.0
    assert history.num_measurements == {"error": 0, "energy": 0}
    assert history.cost_by_outcome == {"error": 0.0, "energy": 0.0}
    assert math.isnan(history.max_hv)


def test_measurements_are_counted_per_outcome(history: DecoupledHistory) -> None:
    assert history.num_measurements == {"error": 3, "energy": 4}
    frame = history.to_pandas()
    for name, count in history.num_measurements.items():
        assert frame[f"measured_{name}"].sum() == count


def test_an_outcome_measured_again_at_a_design_counts_again() -> None:
    both, costs = (True, True), (1.0, 1.0)
    again = record(0, (True, False), (5.0, NAN), (1.0, 0.0))
    history = replace(
        empty(),
        X=torch.zeros(1, 2).double(),
        Y=torch.tensor([[5.0, 2.0]]).double(),
        records=(record(0, both, (1.0, 2.0), costs), again, again),
    )
    assert history.num_measurements == {"error": 3, "energy": 1}
    assert history.cost_by_outcome == {"error": 3.0, "energy": 1.0}


def test_costs_per_outcome_are_summed_in_double_precision(
    history: DecoupledHistory,
) -> None:
    assert history.total_cost == 0.68
    paid = history.cost_by_outcome
    assert list(paid) == ["error", "energy"]
    assert paid["error"] == pytest.approx(0.6, rel=1e-14)
    assert paid["energy"] == pytest.approx(0.08, rel=1e-14)
    # Large and small costs side by side.
    uneven = replace(
        history,
        records=(
            record(0, (True, True), (1.0, 2.0), (1e9, 1e-3)),
            record(1, (True, True), (1.0, 2.0), (1.0 / 3, 1e-3)),
        ),
    )
    assert uneven.cost_by_outcome["error"] == pytest.approx(1e9 + 1 / 3, rel=1e-15)
    assert uneven.cost_by_outcome["energy"] == pytest.approx(2e-3, rel=1e-14)


def test_policies_that_report_nothing_did_nothing() -> None:
    assert empty().effort == Effort()
    assert record(0, (True, True), (1.0, 2.0), (0.1, 0.1)).effort == Effort()


def test_efforts_are_added_and_subtracted_entry_by_entry() -> None:
    first = Effort(num_fits=3, fit_seconds=0.5, num_gated=1)
    second = Effort(num_fits=1, fit_seconds=0.25, num_expensive=4)
    total = Effort(num_fits=4, fit_seconds=0.75, num_gated=1, num_expensive=4)
    assert first + second == total
    assert total - second == first


def test_a_history_cannot_be_changed(history: DecoupledHistory) -> None:
    with pytest.raises(AttributeError, match="cannot assign"):
        history.budget = 2.0  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(AttributeError, match="cannot assign"):
        history.records[0].design = 1  # pyright: ignore[reportAttributeAccessIssue]


# --- failures -------------------------------------------------------------------------


def test_failed_measurements_are_in_the_table_with_their_reason_and_price() -> None:
    failed = record(
        0, (False, True), (NAN, 2.0), (3.0, 1.0), errors=("ValueError: no", "")
    )
    fine = record(0, (True, False), (1.0, NAN), (3.0, 0.0))
    history = replace(
        empty(),
        X=torch.zeros(1, 2).double(),
        Y=torch.tensor([[1.0, 2.0]]).double(),
        records=(failed, fine),
    )
    assert failed.failed == (True, False)
    assert fine.failed == (False, False)
    assert history.num_failures == {"error": 1, "energy": 0}
    assert history.num_measurements == {"error": 1, "energy": 1}
    assert history.cost_by_outcome == {"error": 6.0, "energy": 1.0}
    frame = history.to_pandas()
    assert frame["failure_error"].tolist() == ["ValueError: no", ""]
    assert frame["failure_energy"].tolist() == ["", ""]
    assert frame["measured_error"].tolist() == [False, True]


# --- the front ------------------------------------------------------------------------


def brute_force_front(
    X: list[list[float]],
    Y: list[list[float]],
    ref_point: list[float],
    targets: dict[int, float],
) -> list[int]:
    """Rows of the front, by comparing each design with each other."""

    def counts(x: list[float], y: list[float]) -> bool:
        complete = not any(math.isnan(value) for value in y)
        there = all(x[column] == target for column, target in targets.items())
        return (
            complete and there and all(a > b for a, b in zip(y, ref_point, strict=True))
        )

    def dominates(a: list[float], b: list[float]) -> bool:
        return a != b and all(p >= q for p, q in zip(a, b, strict=True))

    rows = [k for k, (x, y) in enumerate(zip(X, Y, strict=True)) if counts(x, y)]
    return [k for k in rows if not any(dominates(Y[j], Y[k]) for j in rows)]


@pytest.mark.parametrize("m", [1, 2, 3, 4])
@pytest.mark.parametrize("targets", [{}, {1: 1.0}], ids=["plain", "fidelities"])
@pytest.mark.parametrize("seed", range(5))
def test_the_front_is_that_of_comparing_all_designs(
    m: int, targets: dict[int, float], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    X = torch.randint(0, 2, (40, 3), generator=generator).double()
    X[:, 0] = torch.arange(40)  # designs are different
    Y = torch.randint(-2, 6, (40, m), generator=generator).double()
    Y[torch.rand(40, m, generator=generator) < 0.2] = NAN
    history = replace(
        empty(), X=X, Y=Y, ref_point=torch.zeros(m).double(), target_fidelities=targets
    )
    rows = brute_force_front(X.tolist(), Y.tolist(), [0.0] * m, targets)
    designs, outcomes = history.front()
    assert torch.equal(designs, X[rows])
    assert torch.equal(outcomes, Y[rows])
    without = replace(history, ref_point=None).front()[0]
    rows = brute_force_front(X.tolist(), Y.tolist(), [-math.inf] * m, targets)
    assert torch.equal(without, X[rows])


def test_designs_with_equal_outcomes_are_all_in_the_front() -> None:
    X = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]]).double()
    Y = torch.tensor([[2.0, 1.0], [2.0, 1.0], [1.0, 1.0]]).double()
    assert torch.equal(replace(empty(), X=X, Y=Y).front()[0], X[:2])


def test_a_run_without_a_good_design_has_an_empty_front() -> None:
    for history in (empty(), replace(empty(), ref_point=torch.zeros(2).double())):
        designs, outcomes = history.front()
        assert designs.shape == outcomes.shape == (0, 2)
    below = replace(
        empty(),
        X=torch.zeros(1, 2).double(),
        Y=torch.ones(1, 2).double(),
        ref_point=torch.tensor([0.0, 1.0]).double(),  # as good as the reference
    )
    assert len(below.front()[0]) == 0


def test_the_front_of_a_run_has_the_hypervolume_of_its_last_record() -> None:
    for problem in (DecoupledBraninCurrin(), DecoupledMOMFBraninCurrin()):
        history = run_decoupled_optimization(problem, RandomPolicy(), budget=150.0)
        assert history.ref_point is not None
        assert history.ref_point.tolist() == problem.ref_point.tolist()
        designs, outcomes = history.front()
        for column, target in problem.target_fidelities.items():
            assert (designs[:, column] == target).all()
        volume = moocore.hypervolume(
            outcomes.numpy(), ref=problem.ref_point.numpy(), maximise=True
        )
        assert volume == pytest.approx(history.records[-1].hv_measured, rel=1e-9)
