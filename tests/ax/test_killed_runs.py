"""A run within Ax that is killed again and again goes on as if nothing had happened."""

from __future__ import annotations

import random
import shutil
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ax")

from ax.api.client import Client

from botorch_flexibo.ax import (
    get_next_measurements,
    load_experiment,
    measurements,
    save_experiment,
)
from botorch_flexibo.ax.metadata import experiment_of
from botorch_flexibo.ax.storage import experiment_lock
from tests.ax.helpers import complete, new_client
from tests.processes import PROCESSES

LENGTH = 10
# Loading takes this long at most, asking, telling and saving less than a second.
LONGEST = 1.0


def trace(client: Client) -> list[Any]:
    """All that was asked for and told, in its order."""
    trials = experiment_of(client).trials.values()
    data = client.summarize().set_index("trial_index")
    return [
        (
            trial.index,
            trial.status.name,
            sorted(trial.arms[0].parameters.items()),
            data.loc[trial.index].filter(["error", "energy"]).dropna().to_dict(),
        )
        for trial in trials
    ]


def num_told(client: Client) -> int:
    """How many trials are complete."""
    trials = experiment_of(client).trials.values()
    return sum(trial.status.is_completed for trial in trials)


def go_on(path: Path, reports: Connection) -> None:
    """Ask, save, tell and save until the run is complete."""
    client = load_experiment(path, exclusive=True)
    reports.send(num_told(client))
    while num_told(client) < LENGTH:
        if not measurements(client):
            get_next_measurements(client)
            save_experiment(client, path)
        complete(client, measurements(client)[:1])
        save_experiment(client, path)
        reports.send(num_told(client))
    reports.send(-1)


def killed_after(path: Path, seconds: float) -> tuple[int, bool]:
    """What a run had told and saved before it was killed, and whether it had ended."""
    receiver, sender = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=go_on, args=(path, sender))
    process.start()
    sender.close()
    reports = [receiver.recv()]
    process.join(timeout=seconds)
    process.kill()
    process.join()
    with suppress(EOFError):
        while True:
            reports.append(receiver.recv())
    return max(reports), reports[-1] == -1


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kills", [6, pytest.param(200, marks=pytest.mark.slow)])
def test_a_run_killed_at_any_instant_goes_on_with_the_same_suggestions(
    kills: int, tmp_path: Path
) -> None:
    instants = random.Random(kills)
    start, undisturbed = tmp_path / "start.json", tmp_path / "undisturbed.json"
    with experiment_lock(start):
        save_experiment(new_client(), start)
    shutil.copy(start, undisturbed)
    assert killed_after(undisturbed, seconds=600.0) == (LENGTH, True)
    whole = trace(load_experiment(undisturbed))
    assert len(whole) == LENGTH
    count = runs = 0
    while count < kills:
        path = tmp_path / f"{runs}.json"
        shutil.copy(start, path)
        told, ended = 0, False
        while not ended:
            limit = instants.uniform(0.0, LONGEST) if count < kills else 600.0
            reached, ended = killed_after(path, limit)
            assert reached >= told  # nothing that was saved is lost
            told = reached
            count += not ended
        assert trace(load_experiment(path)) == whole
        runs += 1
