"""Values survive saving to the last bit, which they do not in Ax's own JSON."""

from __future__ import annotations

from pathlib import Path

import pytest
from ax.api.client import Client
from ax.api.configs import RangeParameterConfig

from botorch_flexibo.ax import load_experiment, save_experiment
from botorch_flexibo.ax.metadata import experiment_of

VALUES = {
    "error": (1 / 3, 1e-13 / 7),
    "energy": (1.2345678901234567e-12, 0.0),
    "size": (12345678.123456789, float("nan")),
}


@pytest.fixture
def client() -> Client:
    client = Client()
    rate = RangeParameterConfig(name="rate", bounds=(0.0, 1.0), parameter_type="float")
    client.configure_experiment([rate])
    client.configure_optimization("-error, -energy, size")
    for k in range(3):
        index = client.attach_trial({"rate": k / 7})
        told = {name: VALUES[name] for name in list(VALUES)[: k + 1]}
        client.complete_trial(index, told)
    return client


def values_of(client: Client) -> list[tuple[object, ...]]:
    frame = experiment_of(client).lookup_data().df
    columns = ["trial_index", "arm_name", "metric_name", "mean", "sem"]
    frame = frame[columns].sort_values(columns[:3])
    return [tuple(map(repr, row)) for row in frame.itertuples(index=False, name=None)]


def test_values_and_standard_errors_come_back_to_the_last_bit(
    client: Client, tmp_path: Path
) -> None:
    before = values_of(client)
    save_experiment(client, tmp_path / "experiment.json")
    assert values_of(client) == before
    loaded = load_experiment(tmp_path / "experiment.json")
    assert values_of(loaded) == before
    save_experiment(loaded, tmp_path / "again.json")
    assert values_of(load_experiment(tmp_path / "again.json")) == before


def test_a_corrected_value_replaces_the_noted_one(
    client: Client, tmp_path: Path
) -> None:
    save_experiment(client, tmp_path / "experiment.json")
    client.attach_data(0, {"error": 2 / 3})
    save_experiment(client, tmp_path / "experiment.json")
    loaded = load_experiment(tmp_path / "experiment.json")
    assert values_of(loaded) == values_of(client)


def test_a_value_corrected_to_a_short_number_is_not_overwritten(
    client: Client, tmp_path: Path
) -> None:
    save_experiment(client, tmp_path / "experiment.json")
    client.attach_data(0, {"error": 0.5})
    save_experiment(client, tmp_path / "experiment.json")
    loaded = load_experiment(tmp_path / "experiment.json")
    assert values_of(loaded) == values_of(client)


def test_short_decimals_keep_their_last_bit(client: Client, tmp_path: Path) -> None:
    for k in range(60):
        index = client.attach_trial({"rate": (k + 1) / 64})
        client.complete_trial(index, {"error": k * 37 / 1024, "energy": k / 100})
    before = values_of(client)
    save_experiment(client, tmp_path / "experiment.json")
    assert values_of(load_experiment(tmp_path / "experiment.json")) == before


def test_ax_itself_still_rounds_so_the_work_around_is_needed(
    client: Client, tmp_path: Path
) -> None:
    client.save_to_json_file(str(tmp_path / "plain.json"))
    loaded = Client.load_from_json_file(str(tmp_path / "plain.json"))
    assert values_of(loaded) != values_of(client)
