"""Analyses of half-measured experiments against what was asked, told and paid."""

from __future__ import annotations

from collections import Counter

import moocore
import numpy as np
import pandas as pd
import pytest

pytest.importorskip("ax")

from ax.api.client import Client
from ax.core.arm import Arm
from ax.core.data import Data
from botorch.exceptions.errors import InputDataError

from botorch_flexibo.ax import Costs, SetupCost, get_next_measurements, spent
from botorch_flexibo.ax.analysis import (
    CostBreakdown,
    DecoupledFront,
    HypervolumeOverCost,
    MeasurementStrip,
)
from botorch_flexibo.ax.metadata import experiment_of, strategy_of
from tests.ax.helpers import (
    COSTS,
    DEPTH,
    RATE,
    attach,
    bare_client,
    complete,
    new_client,
    true_value,
)

ANALYSES = [
    HypervolumeOverCost(3),
    MeasurementStrip(),
    CostBreakdown(),
    DecoupledFront(),
]
OBJECTIVES = ["error", "energy"]
BOUNDS = {"error": 2048.0, "energy": 3072.0}


@pytest.fixture(scope="module")
def client() -> Client:
    """Three complete designs, then six measurements one by one; the last one failed."""
    client = new_client(
        thresholds=[f"{name} <= {bound}" for name, bound in BOUNDS.items()],
        costs=Costs(COSTS, setup=SetupCost(5.0, ["rate"], ["error"])),
    )
    complete(client, get_next_measurements(client, 3))
    for _ in range(5):
        complete(client, get_next_measurements(client))
    (last,) = get_next_measurements(client)
    client.mark_trial_failed(last.trial_index)
    return client


def card(analysis, client: Client):
    return analysis.compute(experiment_of(client), strategy_of(client))


def asked(client: Client) -> Counter[str]:
    """How often each objective was asked for and told."""
    return Counter(experiment_of(client).lookup_data().df["metric_name"])


def test_the_breakdown_sums_to_what_was_spent(client: Client) -> None:
    frame = card(CostBreakdown(), client).df.set_index("metric_name")
    assert frame["cost"].sum() == pytest.approx(spent(client))
    told = sum(asked(client).values())
    assert frame["measurements"].sum() == told + 1  # and the one that failed
    assert set(frame.index) == set(OBJECTIVES)


def test_trials_of_another_strategy_count_with_what_was_measured() -> None:
    client = new_client(costs=Costs(COSTS, setup=SetupCost(5.0, ["rate"])))
    attach(client, {"rate": 0.25, "width": 0.5}, "energy")
    batch = experiment_of(client).new_batch_trial()
    for rate, width in ((0.25, 0.75), (0.5, 0.5), (0.5, 0.75)):
        batch.add_arm(Arm({"rate": rate, "width": width}))
    batch.mark_running(no_runner_required=True)
    rows = [
        {
            "trial_index": 1,
            "arm_name": arm.name,
            "metric_name": name,
            "metric_signature": name,
            "mean": 1.0,
            "sem": float("nan"),
        }
        for arm in batch.arms
        for name in OBJECTIVES
    ]
    experiment_of(client).attach_data(Data(df=pd.DataFrame(rows)))
    batch.mark_completed()
    frame = card(CostBreakdown(), client).df.set_index("metric_name")
    assert frame["measurements"].to_dict() == {"energy": 4, "error": 3}
    # The second design of the batch is the second one that has to be set up.
    assert frame["cost"].to_dict() == {"energy": 4.0 + 5.0, "error": 60.0 + 5.0}
    assert spent(client) == frame["cost"].sum()


def test_what_was_measured_beyond_what_was_asked_for_counts() -> None:
    client = new_client(n_init=1, init_plan=[["energy"]])
    (index,) = client.get_next_trials(1)
    client.complete_trial(index, {"error": 1.0, "energy": 2.0})
    frame = card(CostBreakdown(), client).df.set_index("metric_name")
    assert frame["cost"].to_dict() == COSTS
    assert frame["cost"].sum() == spent(client)
    (index,) = client.get_next_trials(1)  # a model needs two
    client.complete_trial(index, {"error": 2.0, "energy": 1.0})
    front = card(DecoupledFront(), client).df
    assert front["is_measured"].all()


@pytest.mark.filterwarnings("ignore:Very small noise values")  # an error of 0
@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([1.0, 2.0, 6.0], 3.0),
        # 1 / SEM^2 is 4, 1 and 1.
        ([(1.0, 0.5), (2.0, 1.0), (6.0, 1.0)], (4 * 1.0 + 2.0 + 6.0) / 6),
        ([(1.0, 0.0), (2.0, 1.0), (6.0, 1.0)], 3.0),
        ([1.0, (2.0, 0.1), (6.0, 1.0)], 3.0),
    ],
)
def test_repeated_values_count_with_their_mean(
    told: list[float | tuple[float, float]], expected: float
) -> None:
    client = new_client(thresholds=["error <= 10", "energy <= 10"])
    point = {"rate": 0.5, "width": 0.5}
    for value in told:
        index = client.attach_trial(dict(point))
        client.complete_trial(index, {"error": value, "energy": (1.0, 0.1)})
    for width in (0.0, 0.25):  # dominated
        index = client.attach_trial({"rate": 0.5, "width": width})
        client.complete_trial(index, {"error": (9.0, 1.0), "energy": (9.0, 1.0)})
    front = card(DecoupledFront(), client).df.set_index("arm_name")
    assert front["error"].iloc[0] == pytest.approx(expected)
    volumes = card(HypervolumeOverCost(2), client).df["hv_measured"]
    assert volumes.iloc[-1] == pytest.approx((10 - expected) * (10 - 1))


def test_only_the_target_fidelity_counts_as_measured() -> None:
    client = new_client(RATE, DEPTH, fidelity={"depth": 6}, acquisition="lookahead")
    for depth in (1, 2, 6):
        attach(client, {"rate": 0.1 * depth, "depth": depth}, *OBJECTIVES)
    points = card(DecoupledFront(), client).df.set_index("arm_name")
    assert points["is_measured"].tolist() == [False, False, True]
    # What cheap runs say is no optimum: at full depth energy is higher.
    assert points["energy"].iloc[0] > true_value("energy", {"rate": 0.1, "depth": 1})
    volumes = card(HypervolumeOverCost(9), client).df["hv_measured"]
    assert volumes.iloc[0] == 0.0


def test_the_strip_has_a_mark_per_measurement_at_what_was_spent(client: Client) -> None:
    shown = card(MeasurementStrip(), client)
    assert shown.df["cumulative_cost"].is_monotonic_increasing
    assert shown.df["cumulative_cost"].iloc[-1] == pytest.approx(spent(client))
    assert shown.df["mean"].isna().sum() == 1
    marks = sum(len(trace.y) for trace in shown.get_figure().data)
    assert marks == len(shown.df) == sum(asked(client).values()) + 1


def test_measured_values_are_shown_and_the_front_is_optimal(client: Client) -> None:
    frame = card(DecoupledFront(), client).df.set_index("arm_name")
    arms = experiment_of(client).arms_by_name
    for name, row in frame[frame["is_measured"]].iterrows():
        parameters = arms[str(name)].parameters
        assert row[OBJECTIVES].tolist() == [
            true_value(objective, parameters) for objective in OBJECTIVES
        ]
    assert 3 <= frame["is_measured"].sum() < len(frame)
    values = frame[OBJECTIVES].to_numpy(dtype=float)
    assert frame["is_optimal"].tolist() == list(moocore.is_nondominated(values))


def test_the_measured_hypervolume_is_that_of_the_complete_designs(
    client: Client,
) -> None:
    frame = card(HypervolumeOverCost(3), client).df
    assert len(frame) == 3
    assert frame["hv_measured"].is_monotonic_increasing
    front = card(DecoupledFront(), client).df
    complete_designs = front.loc[front["is_measured"], OBJECTIVES].to_numpy(dtype=float)
    reference = np.array(list(BOUNDS.values()))
    expected = moocore.hypervolume(complete_designs, ref=reference)
    assert frame["hv_measured"].iloc[-1] == pytest.approx(expected)
    everything = moocore.hypervolume(
        front[OBJECTIVES].to_numpy(dtype=float), ref=reference
    )
    assert frame["hv_predicted"].iloc[-1] == pytest.approx(everything, rel=1e-6)


@pytest.mark.parametrize("analysis", ANALYSES, ids=lambda a: type(a).__name__)
def test_ax_computes_every_analysis(analysis, client: Client) -> None:
    (shown,) = client.compute_analyses([analysis], display=False)
    assert shown.name == type(analysis).__name__
    assert len(shown.df) > 0


@pytest.mark.parametrize("analysis", ANALYSES, ids=lambda a: type(a).__name__)
def test_what_cannot_be_analysed_says_why(analysis) -> None:
    empty = new_client()
    foreign = bare_client()
    assert analysis.validate_applicable_state() == (
        "Needs an experiment and its generation strategy."
    )
    with pytest.raises(InputDataError, match=r"Needs a measurement\.$"):
        card(analysis, empty)
    reason = analysis.validate_applicable_state(
        experiment_of(foreign), strategy_of(foreign)
    )
    assert reason is not None
