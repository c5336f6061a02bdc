"""What the decoupled generator makes of an experiment's data."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

pytest.importorskip("ax")

from ax.api.client import Client
from ax.api.configs import RangeParameterConfig
from ax.core.generator_run import GeneratorRun
from botorch.models import ModelListGP, SingleTaskGP
from botorch.utils.multi_objective.hypervolume import infer_reference_point
from botorch.utils.multi_objective.pareto import is_non_dominated

from botorch_flexibo.ax import Costs, SetupCost, get_next_measurements, measurements
from botorch_flexibo.ax.metadata import Request, experiment_of
from tests.ax.helpers import (
    COSTS,
    DEPTH,
    RATE,
    WIDTH,
    attach,
    complete,
    decoupled_adapter,
    initialized,
    new_client,
    next_options,
    next_state,
    run,
    true_value,
)

BOTH = ("error", "energy")
WIDTHS = (0.0, 0.25, 0.5, 0.75, 1.0)


def disjoint(thresholds: list[str] | None = None, **options: Any) -> Client:
    """No design has both objectives."""
    client = new_client(WIDTH, n_init=2, thresholds=thresholds, **options)
    for i, width in enumerate(WIDTHS):
        attach(client, {"width": width}, BOTH[i % 2])
    return client


def scaled(client: Client, name: str, value: float) -> float:
    """A value of a minimised metric as the models see it."""
    standardize = decoupled_adapter(client).transforms["StandardizeY"]
    return -(value - standardize.Ymean[name]) / standardize.Ystd[name]


@pytest.mark.parametrize("acquisition", ["flexibo", "lookahead"])
@pytest.mark.parametrize("thresholds", [None, ["error <= 1024", "energy <= 1536"]])
def test_no_design_needs_to_be_complete(
    acquisition: str, thresholds: list[str] | None
) -> None:
    """The default strategy fails here, or changes to a search for feasible designs."""
    client = disjoint(thresholds, acquisition=acquisition, num_designs=16)
    state = next_state(client)
    assert sorted(state.X.squeeze(-1).tolist()) == list(WIDTHS)
    assert not bool(state.complete.any())
    asked = get_next_measurements(client, 2)
    assert all(len(m.objectives) == 1 for m in asked)


def test_there_is_one_model_per_objective_on_its_own_data() -> None:
    client = disjoint()
    attach(client, {"width": 0.1}, "error")
    state = next_state(client)
    generator = decoupled_adapter(client).generator
    model = generator._model(BOTH)
    assert isinstance(model, ModelListGP)
    assert all(isinstance(part, SingleTaskGP) for part in model.models)
    data = {d.outcome_names[0]: d for d in generator.surrogate.training_data}
    for column, name in enumerate(BOTH):
        known = state.Y[:, column].isfinite()
        assert int(known.sum()) == len(data[name].X)
        for x, y in zip(state.X[known], state.Y[known, column], strict=True):
            value = true_value(name, {"width": float(x)})
            assert float(y) == pytest.approx(scaled(client, name, value))


def test_shared_designs_give_one_model_per_objective_too() -> None:
    """Ax would put them into one batched model."""
    client = initialized(new_client())
    next_state(client)
    model = decoupled_adapter(client).generator.surrogate.model
    assert isinstance(model, ModelListGP)


def test_a_metric_measured_twice_counts_with_its_mean() -> None:
    client = new_client(WIDTH, n_init=1)
    for value in (100.0, 300.0, 800.0):
        index = client.attach_trial({"width": 0.5})
        client.complete_trial(index, {"error": value})
    attach(client, {"width": 0.0}, *BOTH)
    state = next_state(client)
    assert state.X.squeeze(-1).tolist() == [0.5, 0.0]
    assert float(state.Y[0, 0]) == pytest.approx(scaled(client, "error", 400.0))
    assert math.isnan(state.Y[0, 1])
    data = decoupled_adapter(client).generator.surrogate.training_data
    assert sorted(len(d.X) for d in data) == [1, 4]  # the models see every value


@pytest.mark.filterwarnings("ignore:Very small noise values")  # an error of 0
@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ((1.0, 2.0, 2.0), (4 * 100.0 + 300.0 + 800.0) / 6),
        ((0.0, 2.0, 2.0), 400.0),
        ((None, 2.0, 2.0), 400.0),
    ],
)
def test_values_with_standard_errors_are_weighted_by_their_precision(
    errors: tuple[float | None, ...], expected: float
) -> None:
    client = new_client(WIDTH, n_init=1)
    attach(client, {"width": 0.0}, "energy")
    for width, shift in ((0.5, 0.0), (1.0, 50.0)):
        for value, error in zip((100.0, 300.0, 800.0), errors, strict=True):
            index = client.attach_trial({"width": width})
            told = value + shift
            client.complete_trial(
                index, {"error": told if error is None else (told, error)}
            )
    state = next_state(client)
    assert state.X.squeeze(-1).tolist() == [0.5, 1.0, 0.0]
    assert state.Y[:, 0].tolist() == [
        pytest.approx(scaled(client, "error", expected)),
        pytest.approx(scaled(client, "error", expected + 50.0)),
        pytest.approx(math.nan, nan_ok=True),
    ]


def test_objectives_keep_their_order_beside_tracking_metrics() -> None:
    """Ax sorts metrics by name, and so puts thresholds elsewhere than objectives."""
    client = new_client(
        WIDTH,
        objective="-size, accuracy",
        thresholds=["size <= 1536", "accuracy >= 512"],
        costs={"accuracy": 5.0, "size": 1.0},
        n_init=2,
    )
    client.configure_tracking_metrics(["latency"])
    for width in WIDTHS:
        attach(client, {"width": width}, "size", "accuracy", "latency")
    state = next_state(client)
    adapter = decoupled_adapter(client)
    assert adapter.outcomes == ["accuracy", "latency", "size"]
    size, accuracy = (
        scaled(client, n, v) for n, v in (("size", 1536), ("accuracy", 512))
    )
    assert state.ref_point.tolist() == pytest.approx([size, -accuracy])
    sizes = [scaled(client, "size", true_value("size", {"width": w})) for w in WIDTHS]
    assert state.Y[:, 0].tolist() == pytest.approx(sizes)
    assert state.outcome_costs(state.X)[0].tolist() == [1.0, 5.0]


@pytest.mark.parametrize("with_data", [True, False])
def test_tracking_metrics_change_no_suggestion(with_data: bool) -> None:
    plain, tracking = (initialized(new_client()) for _ in range(2))
    tracking.configure_tracking_metrics(["latency"])
    if with_data:
        for index, trial in experiment_of(tracking).trials.items():
            value = true_value("latency", trial.arms[0].parameters)
            tracking.attach_data(index, {"latency": value})
    ours, theirs = (get_next_measurements(c, 2) for c in (plain, tracking))
    assert [(m.parameters, m.objectives) for m in ours] == [
        (m.parameters, m.objectives) for m in theirs
    ]


def expected_ref_point(client: Client) -> torch.Tensor:
    """BoTorch's rule on the front of the posterior means at all designs."""
    state = next_state(client)
    with torch.no_grad():
        model = decoupled_adapter(client).generator._model(BOTH)
        mean = model.posterior(state.X).mean
    return infer_reference_point(mean[is_non_dominated(mean)])


def test_without_thresholds_the_reference_point_is_inferred_from_the_means() -> None:
    for client in (disjoint(), initialized(new_client())):
        state = next_state(client)
        assert torch.allclose(state.ref_point, expected_ref_point(client))
        assert state.ref_point.isfinite().all()


def test_a_missing_threshold_is_inferred_and_the_given_one_kept() -> None:
    client = disjoint(["energy <= 1536"])
    state = next_state(client)
    error, energy = state.ref_point.tolist()
    assert energy == pytest.approx(scaled(client, "energy", 1536))
    assert error == pytest.approx(float(expected_ref_point(client)[0]))


def test_standard_errors_reach_the_models() -> None:
    client = new_client(WIDTH, n_init=2)
    for width in WIDTHS:
        index = client.attach_trial({"width": width})
        error = (true_value("error", {"width": width}), 32.0)
        client.complete_trial(index, {"error": error, "energy": width})
    get_next_measurements(client)
    adapter = decoupled_adapter(client)
    data = {d.outcome_names[0]: d for d in adapter.generator.surrogate.training_data}
    noise = (32.0 / adapter.transforms["StandardizeY"].Ystd["error"]) ** 2
    assert data["error"].Yvar.squeeze(-1).tolist() == pytest.approx([noise] * 5)
    assert data["energy"].Yvar is None


@pytest.mark.parametrize("number", [1, 4])
def test_some_values_of_a_metric_may_lack_a_standard_error(number: int) -> None:
    client = new_client(WIDTH, n_init=2)
    for i, width in enumerate(WIDTHS):
        index = client.attach_trial({"width": width})
        error = true_value("error", {"width": width})
        told = (error, 32.0) if i < number else error
        client.complete_trial(index, {"error": told, "energy": width})
    state = next_state(client)
    assert state.Y.isfinite().all()
    assert len(get_next_measurements(client, 2)) == 2
    (prediction,) = client.predict([{"width": 0.5}])
    assert all(math.isfinite(number) for number in prediction["error"])


def test_constant_and_single_values_are_data_like_others() -> None:
    client = new_client(WIDTH, n_init=1)
    for width in WIDTHS:
        index = client.attach_trial({"width": width})
        client.complete_trial(index, {"energy": 7.0})
    attach(client, {"width": 0.1}, "error")
    assert len(run(client, 2)) == 2


def test_seed_and_iteration_follow_from_the_number_of_trials_alone() -> None:
    client = initialized(new_client(seed=3))
    state = next_state(client)
    assert (state.iteration, state.seed) == (4, 3 * 1_000_003 + 3)
    complete(client, get_next_measurements(client, 2))
    state = next_state(client)
    assert (state.iteration, state.seed) == (6, 3 * 1_000_003 + 5)


def test_requests_say_what_the_optimiser_believed() -> None:
    setup = SetupCost(5.0, objectives=["error"])
    client = initialized(new_client(costs=Costs(COSTS, setup=setup)))
    asked = get_next_measurements(client, 3)
    for measurement in asked:
        trial = experiment_of(client).trials[measurement.trial_index]
        metadata = trial.generator_runs[0].candidate_metadata_by_arm_signature
        assert metadata is not None
        request = Request.from_metadata(metadata[trial.arms[0].signature])
        assert request is not None
        assert request.objectives == measurement.objectives
        known = measurement.arm_name in {"0_0", "1_0", "2_0"}
        price = {"error": 20.0 + (0 if known else 5), "energy": 1.0}
        assert request.cost == measurement.cost == price[measurement.objectives[0]]
        assert request.acq_value is not None and request.acq_value >= 0


def test_fidelities_are_at_their_targets_where_the_front_is_wanted() -> None:
    client = new_client(
        WIDTH,
        DEPTH,
        fidelity={"depth": 6},
        acquisition="lookahead",
        num_designs=8,
        n_init=2,
    )
    for i, width in enumerate(WIDTHS):
        attach(client, {"width": width, "depth": 1 + i}, *BOTH)
    state = next_state(client)
    assert state.target_fidelities == {1: 6.0}
    assert state.X[:, 1].tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]
    X = state.X.clone()
    X[:, 1] = 6.0
    with torch.no_grad():
        model = decoupled_adapter(client).generator._model(BOTH)
        mean = model.posterior(X).mean
    expected = infer_reference_point(mean[is_non_dominated(mean)])
    assert torch.allclose(state.ref_point, expected)
    assert not bool(state.complete.any())


@pytest.mark.filterwarnings("ignore:Parameterization .* is in out-of-design")
def test_several_requests_at_one_design_become_one_arm() -> None:
    """Only two designs exist, so four requests share them."""
    depth = RangeParameterConfig(name="depth", bounds=(1, 2), parameter_type="int")
    client = new_client(depth, n_init=1)
    for value in (5, 6):
        attach(client, {"depth": value}, *BOTH)
    experiment = experiment_of(client)
    run_: GeneratorRun = client._generation_strategy.gen(experiment=experiment, n=4)[0][
        0
    ]
    assert {arm.parameters["depth"] for arm in run_.arms} == {1, 2}
    assert run_.candidate_metadata_by_arm_signature is not None
    for metadata in run_.candidate_metadata_by_arm_signature.values():
        request = Request.from_metadata(metadata)
        assert request is not None
        assert set(request.objectives) == set(BOTH)
        assert request.cost == pytest.approx(21.0)


def test_pending_measurements_reach_the_policy() -> None:
    client = initialized(new_client(RATE, WIDTH))
    assert next_state(client).X_pending is None
    asked = get_next_measurements(client, 2)
    state = next_state(client)
    assert state.X_pending is not None
    assert state.X_pending_evaluation_mask is not None
    assert state.X_pending[:, 1].tolist() == [m.parameters["width"] for m in asked]
    names = [
        tuple(name for name, on in zip(BOTH, row, strict=True) if on)
        for row in state.X_pending_evaluation_mask
    ]
    assert names == [m.objectives for m in asked]
    assert next_options(client)[1].inputs.num_proposed == 5
    assert len(measurements(client)) == 2
