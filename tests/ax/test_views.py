"""What Ax itself shows of half-measured experiments: predictions, fronts, analyses."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

pytest.importorskip("ax")

from ax.analysis.overview import OverviewAnalysis
from ax.api.client import Client
from ax.core.analysis_card import AnalysisCard, AnalysisCardBase, ErrorAnalysisCard
from ax.core.types import ComparisonOp

from botorch_flexibo.ax import get_next_measurements
from botorch_flexibo.ax.metadata import experiment_of
from tests.ax.helpers import (
    WIDTH,
    attach,
    decoupled_adapter,
    initialized,
    new_client,
    next_state,
    run,
    true_value,
)

THRESHOLDS = ["error <= 2048", "energy <= 3072"]
# Bugs of ax-platform 1.3.1 with metrics that some trials lack.
BROKEN = {"PredictableMetricsAnalysis"}


def half_measured(*, disjoint: bool) -> Client:
    """Designs of which few or none have both objectives."""
    client = new_client(thresholds=THRESHOLDS)
    if disjoint:
        for i in range(8):
            point = {"rate": 10 ** (-i / 3), "width": (5 * i % 8) / 8}
            attach(client, point, ("error", "energy")[i % 2])
    else:
        run(initialized(client), 5)
    get_next_measurements(client)
    return client


@pytest.fixture(scope="module", params=[False, True], ids=["partial", "disjoint"])
def client(request: pytest.FixtureRequest) -> Client:
    return half_measured(disjoint=request.param)


def test_predictions_are_in_the_unit_of_users(client: Client) -> None:
    for point in ({"rate": 0.01, "width": 0.4}, {"rate": 1.0, "width": 0.0}):
        (prediction,) = client.predict([point])
        assert set(prediction) == {"error", "energy"}
        for name, (mean, sem) in prediction.items():
            assert abs(mean - true_value(name, point)) < 2048
            assert sem > 0


def means(values: Mapping[str, Any]) -> dict[str, float]:
    """Values without standard errors."""
    return {name: mean for name, (mean, _) in values.items()}


def test_the_front_of_the_models_has_arms_of_the_experiment(client: Client) -> None:
    front = client.get_pareto_frontier(use_model_predictions=True)
    assert len(front) > 0
    for parameters, values, index, arm_name in front:
        arm = experiment_of(client).trials[index].arms[0]
        assert (arm.name, arm.parameters) == (arm_name, parameters)
        assert all(math.isfinite(value) for value in means(values).values())


def test_the_summary_has_a_row_per_trial_and_gaps(client: Client) -> None:
    table = client.summarize()
    assert len(table) == len(experiment_of(client).trials)
    values = table.to_dict("list")
    assert any(math.isnan(value) for value in values["error"])
    assert any(math.isfinite(value) for value in values["energy"])


def leaves(cards: list[AnalysisCardBase]) -> Iterator[AnalysisCard]:
    for card in cards:
        yield from card.flatten()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::Warning")
def test_analyses_of_ax_work_but_for_its_own_bugs() -> None:
    client = half_measured(disjoint=False)
    cards = list(leaves(client.compute_analyses([OverviewAnalysis()], display=False)))
    failed = {card.name for card in cards if isinstance(card, ErrorAnalysisCard)}
    assert failed <= BROKEN
    assert len(cards) > 5


def test_a_front_needs_no_complete_design_without_thresholds_either() -> None:
    """Ax's own inference of thresholds needs one."""
    client = new_client(
        WIDTH, objective="accuracy, -size", costs={"accuracy": 1.0, "size": 1.0}
    )
    for i in range(5):
        attach(client, {"width": i / 4}, ("accuracy", "size")[i % 2])
    get_next_measurements(client)
    size, accuracy = sorted(
        decoupled_adapter(client).infer_objective_thresholds(),
        key=lambda threshold: threshold.metric_names[0],
        reverse=True,
    )
    assert (accuracy.op, size.op) == (ComparisonOp.GEQ, ComparisonOp.LEQ)
    standardize = decoupled_adapter(client).transforms["StandardizeY"]
    expected = next_state(client).ref_point.tolist()
    for threshold, scaled, sign in (
        (accuracy, expected[0], 1),
        (size, expected[1], -1),
    ):
        name = threshold.metric_names[0]
        bound = sign * scaled * standardize.Ystd[name] + standardize.Ymean[name]
        assert threshold.bound == pytest.approx(bound)
    front = client.get_pareto_frontier(use_model_predictions=True)
    predicted = [means(values) for _, values, _, _ in front]
    values = [(v["accuracy"], -v["size"]) for v in predicted]
    assert len(values) > 0
    assert not any(
        all(a <= b for a, b in zip(one, other, strict=True)) and one != other
        for one in values
        for other in values
    )
