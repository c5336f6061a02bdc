"""Saved experiments go on: targets, node, pending and payments are in the file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ax")

from ax.api.client import Client
from ax.api.configs import StorageConfig

from botorch_flexibo.ax import (
    Costs,
    SetupCost,
    complete_measurement,
    get_next_measurements,
    measurements,
    objectives_for,
    spent,
)
from botorch_flexibo.ax.metadata import experiment_of, payment_of, strategy_of
from tests.ax.helpers import (
    COSTS,
    RATE,
    WIDTH,
    bare_client,
    complete,
    initialized,
    new_client,
    quick_strategy,
    run,
    values_of,
)

PLAN = [["error", "energy"], ["energy"], ["error", "energy"]]
SETTINGS: dict[str, Any] = {
    "costs": Costs(COSTS, setup=SetupCost(5.0, ["rate"], ["error"])),
    "init_plan": PLAN,
}
# What another process says of an experiment that it loads by the code in `{load}`.
SCRIPT = """
import json, sys
from ax.api.client import Client
from ax.api.configs import StorageConfig
try:
    {load}
    print("loaded")
except Exception as error:
    print(type(error).__name__)
import botorch_flexibo.ax as fxa
client = {load}
def say(measurements):
    print(json.dumps([
        [m.trial_index, m.arm_name, dict(m.parameters), m.objectives, m.cost]
        for m in measurements
    ]))
say(fxa.measurements(client))
print(fxa.spent(client))
say(fxa.get_next_measurements(client, 2))
"""


def half_way(client: Client) -> Client:
    """Initial designs measured, one of three later measurements told, with its cost."""
    complete(client, get_next_measurements(client, 3))
    asked = get_next_measurements(client, 3)
    price = {asked[0].objectives[0]: 2.5}
    complete_measurement(client, asked[0], values_of(asked[0]), costs=price)
    return client


def facts(client: Client) -> dict[str, Any]:
    """All that has to survive."""
    trials = experiment_of(client).trials
    return {
        "running": measurements(client),
        "spent": spent(client),
        "objectives": [objectives_for(client, index) for index in trials],
        "payments": [payment_of(trial) for trial in trials.values()],
        "node": strategy_of(client).current_node_name,
        "statuses": [trial.status for trial in trials.values()],
    }


def said(measurement: Any) -> list[Any]:
    parameters, objectives = dict(measurement.parameters), [*measurement.objectives]
    index, name = measurement.trial_index, measurement.arm_name
    return [index, name, parameters, objectives, measurement.cost]


def test_a_reloaded_experiment_goes_on_where_it_was(tmp_path: Path) -> None:
    client = half_way(new_client(**SETTINGS))
    file = str(tmp_path / "tuning.json")
    client.save_to_json_file(file)
    loaded = Client.load_from_json_file(file)
    assert facts(loaded) == facts(client)
    assert facts(client)["node"] == "decoupled"
    assert len(facts(client)["running"]) == 2
    ours, theirs = (get_next_measurements(c, 2) for c in (client, loaded))
    assert ours == theirs
    complete(loaded, measurements(loaded))
    assert len(run(loaded, 1)) == 1


def test_an_experiment_reloaded_within_its_initial_designs_follows_its_plan(
    tmp_path: Path,
) -> None:
    client = new_client(**SETTINGS)
    (first,) = get_next_measurements(client)
    file = str(tmp_path / "tuning.json")
    client.save_to_json_file(file)
    loaded = Client.load_from_json_file(file)
    assert measurements(loaded) == [first]
    ours, theirs = (get_next_measurements(c, 5) for c in (client, loaded))
    assert ours == theirs
    assert [list(m.objectives) for m in ours] == PLAN[1:]


def in_another_process(load: str) -> list[str]:
    script = SCRIPT.format(load=load)
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout.splitlines()


def test_another_process_goes_on_where_this_one_was(tmp_path: Path) -> None:
    """It needs the import first; without it Ax says that it does not know a class."""
    client = half_way(new_client(**SETTINGS))
    file = str(tmp_path / "tuning.json")
    client.save_to_json_file(file)
    first, running, cost, later = in_another_process(
        f"Client.load_from_json_file({file!r})"
    )
    assert first == "KeyError"  # Ax does not know our transforms
    assert json.loads(running) == [said(m) for m in measurements(client)]
    assert float(cost) == spent(client)
    assert json.loads(later) == [said(m) for m in get_next_measurements(client, 2)]


WITHOUT_IMPORT = """
import sys
from ax.api.client import Client
for attempt in range(2):
    for file in sys.argv[1:]:
        try:
            print(len(Client.load_from_json_file(file)._experiment.trials), "trials")
        except Exception as error:
            print(f"{type(error).__name__}: {error}")
    import botorch_flexibo.ax
"""


def test_importing_the_package_is_all_that_loading_needs(tmp_path: Path) -> None:
    """Without it Ax's errors name classes of this package."""
    files, begun = [], initialized(new_client())
    for name, client in (("new", new_client()), ("begun", begun)):
        files.append(str(tmp_path / f"{name}.json"))
        client.save_to_json_file(files[-1])
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_IMPORT, *files],
        capture_output=True,
        text=True,
        check=True,
    )
    first, second, *loaded = result.stdout.splitlines()
    assert first.startswith("JSONDecodeError: ")
    assert "FlexiboGenerators that is not registered" in first
    assert second == "KeyError: 'SnapToArms'"
    assert loaded == ["0 trials", "3 trials"]


@pytest.fixture
def database(tmp_path: Path) -> str:
    pytest.importorskip("sqlalchemy")
    pytest.importorskip("tabulate")  # Ax prints what it saves
    from ax.storage.sqa_store.db import (
        create_all_tables,
        get_engine,
        init_engine_and_session_factory,
    )

    url = f"sqlite:///{tmp_path}/tuning.db"
    init_engine_and_session_factory(url=url, force_init=True)
    create_all_tables(get_engine())
    return url


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::ResourceWarning",
    # Ax 1.3.1 does not say whether SQLAlchemy may cache its column types.
    "ignore:TypeDecorator JSONEncoded:RuntimeWarning",
)
def test_a_database_keeps_everything_too(database: str) -> None:
    client = Client(storage_config=StorageConfig(url=database))
    client.configure_experiment([RATE, WIDTH], name="tuning")
    client.configure_optimization("-error, -energy")
    client.set_generation_strategy(quick_strategy(**SETTINGS))
    half_way(client)
    loaded = load_tuning(database)
    assert facts(loaded) == facts(client)
    lines = in_another_process(
        "Client.load_from_database('tuning',"
        f" storage_config=StorageConfig(url={database!r}))"
    )
    first, running, cost, later = lines
    assert first == "KeyError"  # Ax does not know our transforms
    assert json.loads(running) == [said(m) for m in measurements(client)]
    assert float(cost) == spent(client)
    # What the other process was given is in the database, and running there.
    assert [said(m) for m in measurements(load_tuning(database))][-2:] == json.loads(
        later
    )
    assert json.loads(later) == [said(m) for m in get_next_measurements(client, 2)]


def load_tuning(database: str) -> Client:
    storage = StorageConfig(url=database)
    return Client.load_from_database("tuning", storage_config=storage)


def test_failed_experiments_stay_failed(tmp_path: Path) -> None:
    client = bare_client()
    client.set_generation_strategy(quick_strategy(n_init=1))
    client.get_next_trials(max_trials=1)
    client.mark_trial_failed(0)
    file = str(tmp_path / "tuning.json")
    client.save_to_json_file(file)
    loaded = Client.load_from_json_file(file)
    assert facts(loaded) == facts(client)
    assert spent(loaded) == 21.0
    (replacement,) = get_next_measurements(loaded, 3)
    assert replacement.trial_index == 1
