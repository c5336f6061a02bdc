"""Saved experiments: no crash and no second writer costs what was saved before.

The other processes are real. They are forked from a server that has imported Ax, which
takes seconds, once.
"""

import json
import multiprocessing
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import reload
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ax")
pytest.importorskip("fcntl")

from ax.api.client import Client
from ax.api.configs import RangeParameterConfig
from ax.api.protocols.metric import IMetric

from botorch_flexibo.ax.metadata import experiment_of
from botorch_flexibo.ax.storage import (
    experiment_lock,
    load_experiment,
    release_experiment,
    save_experiment,
)
from botorch_flexibo.exceptions import (
    ExperimentChangedError,
    ExperimentLockedError,
    ExperimentNotFoundError,
    ExperimentStorageError,
)
from botorch_flexibo.utils import locks

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["pytest", "botorch_flexibo.ax.storage"])

# What a save asks of the file system, as Python's audit events name it.
FILE_EVENTS = {"open", "os.rename", "os.remove", "os.chmod", "os.chown"}


class UnregisteredMetric(IMetric):
    """A metric that Ax cannot encode."""


def tell(client: Client) -> int:
    """Complete one more trial whose values follow from its number."""
    index = len(values_in(client))
    assert client.attach_trial({"rate": index / 7}) == index
    client.complete_trial(index, {"error": index, "energy": -index})
    return index


def values_in(client: Client) -> dict[int, tuple[float, float]]:
    """The values of all trials."""
    frame = client.summarize()
    if len(frame) == 0:
        return {}
    columns = (frame[name] for name in ("trial_index", "error", "energy"))
    return {index: (a, b) for index, a, b in zip(*columns, strict=True)}


def expected_values(trials: int) -> dict[int, tuple[float, float]]:
    """The values of so many trials."""
    return {index: (index, -index) for index in range(trials)}


def new_client(trials: int = 2) -> Client:
    """An experiment with two objectives and a few trials."""
    client = Client()
    rate = RangeParameterConfig(name="rate", bounds=(0, 100), parameter_type="float")
    client.configure_experiment([rate], name="tuning")
    client.configure_optimization("-error, energy")
    for _ in range(trials):
        tell(client)
    return client


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """Where to save; given up at the end, as at the end of a process."""
    path = tmp_path / "tuning.json"
    yield path
    release_experiment(path)


@pytest.fixture
def previous(path: Path) -> Path:
    return path.with_name("tuning.json.previous")


def in_another_process(function: Callable, *args: object) -> Any:
    """Run `function` in a process of its own and return what it returns."""
    receiver, sender = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=send_result, args=(function, args, sender))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    finally:
        process.join()


def send_result(function: Callable, args: tuple, sender: Connection) -> None:
    sender.send(function(*args))


def try_to_save(path: Path) -> str:
    """Load, tell and save; return the error's name and text, or nothing."""
    try:
        client = load_experiment(path)
        tell(client)
        save_experiment(client, path)
    except ExperimentStorageError as error:
        return f"{type(error).__name__}: {error}"
    return ""


class Holder:
    """A process that has become the writer of a file, until it is killed."""

    def __init__(self, path: Path) -> None:
        receiver, sender = PROCESSES.Pipe(duplex=False)
        self.process = PROCESSES.Process(target=hold, args=(path, sender), daemon=True)
        self.process.start()
        self.extra = receiver.recv()

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def kill(self) -> None:
        self.process.kill()
        self.process.join()


def hold(path: Path, sender: Connection) -> None:
    """Become the writer, let a forked child try the same, report and stay."""
    client = load_experiment(path)
    save_experiment(client, path)
    receiver, child_sender = PROCESSES.Pipe(duplex=False)
    child = os.fork()
    if child == 0:
        child_sender.send(try_to_save(path))
        time.sleep(600)  # lives on, as a worker of a pool would
        os._exit(0)
    sender.send((child, receiver.recv()))
    time.sleep(600)


@pytest.fixture
def holder(path: Path) -> Iterator[Holder]:
    """A living process that is the writer of a saved experiment."""
    save_experiment(new_client(), path)
    release_experiment(path)
    holder = Holder(path)
    yield holder
    holder.kill()
    os.kill(holder.extra[0], signal.SIGKILL)


# Saving and loading.


def test_loaded_experiment_has_all_data_and_goes_on(path: Path) -> None:
    client = new_client()
    client.configure_generation_strategy(initialization_random_seed=0)
    (index,) = client.get_next_trials(1)
    client.complete_trial(index, {"error": 2, "energy": -2})
    assert save_experiment(client, path) == path
    loaded = load_experiment(path)
    assert values_in(loaded) == expected_values(3)
    assert list(loaded.get_next_trials(2)) == [3, 4]
    assert values_in(Client.load_from_json_file(str(path))) == expected_values(3)


def test_previous_version_is_the_one_saved_before(path: Path, previous: Path) -> None:
    client = new_client(0)
    for trials in range(4):
        save_experiment(client, path)
        save_experiment(client, path)  # the same again replaces nothing
        assert values_in(load_experiment(path)) == expected_values(trials)
        assert previous.exists() == (trials > 0)
        if trials:
            assert values_in(load_experiment(previous)) == expected_values(trials - 1)
        tell(client)
    names = {file.name for file in path.parent.iterdir()}
    assert names == {path.name, previous.name, "tuning.json.lock"}


def test_file_keeps_its_mode_and_the_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link, file = tmp_path / "link.json", tmp_path / "real" / "tuning.json"
    link.symlink_to("real/tuning.json")  # of a file that does not exist yet
    client = new_client(1)
    with experiment_lock(link):
        assert save_experiment(client, link) == file
        file.chmod(0o640)
        tell(client)
        save_experiment(client, link)
    assert link.is_symlink()
    assert values_in(load_experiment(link)) == expected_values(2)
    for name in ("tuning.json", "tuning.json.previous"):
        assert stat.S_IMODE((tmp_path / "real" / name).stat().st_mode) == 0o640


def test_relative_and_home_paths_name_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with experiment_lock("tuning.json"):
        assert save_experiment(new_client(), "tuning.json") == tmp_path / "tuning.json"
        assert values_in(load_experiment("~/tuning.json")) == expected_values(2)


# What is wrong with a file.


def test_missing_experiment_is_not_found(path: Path, previous: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file") as caught:
        load_experiment(path, exclusive=True)
    assert isinstance(caught.value, ExperimentNotFoundError)
    assert str(path) in str(caught.value)
    assert list(path.parent.iterdir()) == []
    # With an earlier version at hand nobody should begin anew.
    previous.write_text("anything")
    with pytest.raises(ExperimentStorageError, match=f"{previous}: load") as caught:
        load_experiment(path)
    assert not isinstance(caught.value, FileNotFoundError)


def test_truncated_file_is_explained_at_every_length(
    path: Path, previous: Path
) -> None:
    client = new_client(1)
    save_experiment(client, path)
    tell(client)
    save_experiment(client, path)
    content = path.read_bytes()
    lengths = np.unique(np.linspace(0, len(content) - 1, 200).astype(int))
    assert len(lengths) == 200
    for length in lengths:
        path.write_bytes(content[:length])
        expected = "empty" if length == 0 else "truncated or damaged"
        with pytest.raises(ExperimentStorageError, match=expected) as caught:
            load_experiment(path)
        assert str(path) in str(caught.value)
        assert f"version before it is {previous}:" in str(caught.value)
    path.write_bytes(content)
    assert values_in(load_experiment(path)) == expected_values(2)


def test_going_back_to_the_previous_version_keeps_it(
    path: Path, previous: Path
) -> None:
    client = new_client(1)
    save_experiment(client, path)
    tell(client)
    save_experiment(client, path)
    damaged = path.read_bytes()[:500]
    path.write_bytes(damaged)
    client = load_experiment(previous)
    save_experiment(client, path)
    assert values_in(load_experiment(path)) == expected_values(1)
    assert values_in(load_experiment(previous)) == expected_values(1)
    assert path.with_suffix(".json.damaged").read_bytes() == damaged


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"learning rate: 0.1", "truncated or damaged"),
        (b"\xff\xfe\xfd\x00", "truncated or damaged"),
        (b"[" * 100_000, "truncated or damaged"),
        (b"[1, 2]", "no snapshot of an Ax client"),
        (b'{"experiment": "tuning"}', "no snapshot of an Ax client"),
        (b'{"experiment": {"name": "tuning"}}', "no snapshot of an Ax client"),
        (b'{"experiment": {"__type": "Gone"}}', r"Ax 1\.\d+.* JSONDecodeError.*Gone"),
        (b'{"experiment": {"__type": "Experiment"}}', r"Ax 1\.\d+.* KeyError"),
    ],
)
def test_foreign_file_is_explained_and_kept(
    path: Path, content: bytes, fault: str
) -> None:
    path.write_bytes(content)
    with pytest.raises(ExperimentStorageError, match=fault) as caught:
        load_experiment(path, exclusive=True)
    assert str(path) in str(caught.value)
    assert not path.with_suffix(".json.lock").exists()
    # Saving over it destroys neither the file nor a good version before it.
    save_experiment(new_client(), path)
    kept = [path.with_suffix(f".json.{end}") for end in ("damaged", "previous")]
    assert [file.read_bytes() for file in kept if file.exists()] == [content]


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_is_neither_read_nor_replaced(
    path: Path, make: Callable
) -> None:
    make(path)
    with pytest.raises(ExperimentStorageError, match="directory or device"):
        load_experiment(path)
    with pytest.raises(ExperimentStorageError, match="directory or device"):
        save_experiment(new_client(), path)
    assert not path.is_file()


# Saves that fail.


def test_experiment_that_cannot_be_encoded_leaves_the_file_alone(path: Path) -> None:
    client = new_client()
    save_experiment(client, path)
    before = path.read_bytes()
    client.configure_metrics([UnregisteredMetric("error")])
    with pytest.raises(ExperimentStorageError, match="UnregisteredMetric") as caught:
        save_experiment(client, path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before
    assert {file.name for file in path.parent.iterdir()} == {
        path.name,
        "tuning.json.lock",
    }


@pytest.mark.parametrize("folder", ["missing", "file.txt"])
def test_unusable_directory_is_named(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file.txt").write_text("no directory")
    path = tmp_path / folder / "tuning.json"
    with pytest.raises(ExperimentStorageError, match=str(path)):
        save_experiment(new_client(), path)


def save_with_full_disk(path: Path, size: int) -> str:
    """Save while no file may grow beyond `size` bytes, which fails as a full disk."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    return try_to_save(path)


def test_full_disk_leaves_the_file_alone(path: Path) -> None:
    save_experiment(new_client(), path)
    release_experiment(path)
    before = path.read_bytes()
    for size in (0, 1000, len(before)):  # no room for the lock, for any, for the new
        result = in_another_process(save_with_full_disk, path, size)
        assert str(path) in result
        assert "File too large" in result
        assert path.read_bytes() == before
        assert not path.with_suffix(".json.new").exists()


def save_as_ordinary_user(path: Path) -> str:
    """Save as somebody for whom permissions count."""
    if os.geteuid() == 0:
        os.seteuid(65534)
    assert values_in(load_experiment(path)) == expected_values(2)
    return try_to_save(path)


@pytest.mark.parametrize("read_only", ["directory", "file"])
def test_what_is_read_only_is_not_replaced(read_only: str) -> None:
    # Not in `tmp_path`, which no other user may enter.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tuning.json"
        with experiment_lock(path):
            save_experiment(new_client(), path)
        before = path.read_bytes()
        path.chmod(0o444)
        path.parent.chmod(0o555 if read_only == "directory" else 0o777)
        result = in_another_process(save_as_ordinary_user, path)
        path.parent.chmod(0o755)
        refused = path if read_only == "file" else f"{path}.lock"
        assert f"Permission denied: '{refused}'" in result
        assert path.read_bytes() == before
        names = {file.name for file in path.parent.iterdir()}
        assert names <= {path.name, "tuning.json.lock"}


# Two writers.

SAVE_AND_WAIT = """
import sys
from botorch_flexibo.ax.storage import load_experiment, save_experiment
save_experiment(load_experiment(sys.argv[1]), sys.argv[1])
print("saved", flush=True)
sys.stdin.read()
"""


def test_lock_ends_with_its_process_and_leaves_no_file(path: Path) -> None:
    save_experiment(new_client(), path)
    release_experiment(path)
    with subprocess.Popen(
        [sys.executable, "-c", SAVE_AND_WAIT, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "saved\n"
        assert f"process {process.pid} on" in try_to_save(path)
        process.communicate()
    assert not path.with_suffix(".json.lock").exists()
    assert try_to_save(path) == ""


def test_second_writer_is_refused_and_readers_are_not(
    path: Path, holder: Holder
) -> None:
    client = load_experiment(path)
    assert values_in(client) == expected_values(2)
    before = path.read_bytes()
    owner = f"process {holder.pid} on {socket.gethostname()} "
    for attempt in (
        lambda: save_experiment(client, path),
        lambda: load_experiment(path, exclusive=True),
        lambda: experiment_lock(path).__enter__(),
    ):
        with pytest.raises(ExperimentLockedError, match=owner):
            attempt()
    assert path.read_bytes() == before


def test_forked_child_inherits_no_lock_and_keeps_none_alive(
    path: Path, holder: Holder
) -> None:
    child, result = holder.extra
    assert "ExperimentLockedError" in result
    assert f"process {holder.pid} on" in result
    holder.kill()
    os.kill(child, 0)  # still there, yet the lock of the killed parent is free
    assert try_to_save(path) == ""
    owner = json.loads(path.with_suffix(".json.lock").read_text())
    assert owner["pid"] == os.getpid()
    assert try_to_save(path) == ""


def test_released_experiment_may_be_saved_by_another_process(path: Path) -> None:
    with experiment_lock(path):
        with experiment_lock(path):
            save_experiment(new_client(), path)
        assert "ExperimentLockedError" in in_another_process(try_to_save, path)
    assert in_another_process(try_to_save, path) == ""
    assert values_in(load_experiment(path)) == expected_values(3)


def test_lock_of_another_machine_is_refused_until_removed(path: Path) -> None:
    save_experiment(new_client(), path)
    release_experiment(path)
    lock = path.with_suffix(".json.lock")
    owner = {"pid": 7, "host": "elsewhere", "process_start": None, "taken": "then"}
    lock.write_text(json.dumps(owner))
    result = try_to_save(path)
    assert "process 7 on elsewhere (since then)" in result
    assert f"remove {lock}" in result
    lock.unlink()
    assert try_to_save(path) == ""


def test_removed_lock_is_taken_anew_or_refused(path: Path) -> None:
    save_experiment(new_client(), path)
    lock = path.with_suffix(".json.lock")
    lock.unlink()
    assert try_to_save(path) == ""
    lock.unlink()
    other = Holder(path)
    assert f"process {other.pid} on" in try_to_save(path)
    other.kill()
    os.kill(other.extra[0], signal.SIGKILL)


def test_version_saved_meanwhile_is_not_replaced(path: Path) -> None:
    save_experiment(new_client(), path)
    first, second = load_experiment(path), load_experiment(path)
    tell(first)
    save_experiment(first, path)
    before = path.read_bytes()
    with pytest.raises(ExperimentChangedError, match=str(path)):
        save_experiment(second, path)
    assert path.read_bytes() == before
    path.unlink()  # who removes the file says that it may go
    save_experiment(second, path)
    assert values_in(load_experiment(path)) == expected_values(2)


def save_without_system_locks(path: Path) -> tuple[str, str]:
    """Save where only the text in the lock file tells who the owner is."""
    sys.modules["fcntl"] = None  # type: ignore[assignment]
    reload(locks)
    assert locks.fcntl is None
    refused = try_to_save(path)
    lock = path.with_suffix(".json.lock")
    owner = json.loads(lock.read_text())
    # The same process number, but of a process that started at another time.
    lock.write_text(json.dumps(owner | {"process_start": "another boot/1"}))
    return refused, try_to_save(path)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_without_system_locks_a_living_owner_is_refused_and_a_dead_one_is_not(
    path: Path, holder: Holder
) -> None:
    refused, taken = in_another_process(save_without_system_locks, path)
    assert f"process {holder.pid} on" in refused
    assert f"remove {path.with_suffix('.json.lock')}" in refused
    assert taken == ""


# Kills.


def save_and_die(path: Path, countdown: int) -> None:
    """Tell, save, and be killed before so many file operations of the save."""
    client = load_experiment(path, exclusive=True)
    tell(client)

    def count(event: str, args: tuple) -> None:
        nonlocal countdown
        if event in FILE_EVENTS:
            countdown -= 1
            if countdown == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    save_experiment(client, path)
    countdown = -1


def test_kill_before_any_file_operation_leaves_complete_versions(
    path: Path, previous: Path
) -> None:
    save_experiment(new_client(1), path)
    release_experiment(path)
    kills, versions = 0, set()
    while True:
        trials = len(values_in(load_experiment(path)))
        process = PROCESSES.Process(target=save_and_die, args=(path, kills + 1))
        process.start()
        process.join()
        found = values_in(load_experiment(path))
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        kills += 1
        versions.add(len(found) - trials)
        assert found in (expected_values(trials), expected_values(trials + 1))
        if previous.exists():
            load_experiment(previous)
    assert found == expected_values(trials + 1)
    assert kills > 8
    assert versions == {0, 1}  # the old one before the exchange, the new one after


def tell_and_save(path: Path, receipts: Connection) -> None:
    """Go on with an experiment and acknowledge each save."""
    client = load_experiment(path, exclusive=True)
    receipts.send(-1)
    while True:
        index = tell(client)
        save_experiment(client, path)
        receipts.send(index)


def last_receipt(path: Path, seconds: float) -> int:
    """Kill a saving process after some time; return the last trial it acknowledged."""
    receiver, sender = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=tell_and_save, args=(path, sender))
    process.start()
    sender.close()
    last = receiver.recv()
    time.sleep(seconds)
    process.kill()
    process.join()
    with suppress(EOFError):
        while True:
            last = receiver.recv()
    return last


@pytest.mark.parametrize(
    "kills", [10, pytest.param(200, marks=pytest.mark.slow)], ids=str
)
def test_kill_at_any_instant_loses_nothing_acknowledged(
    tmp_path: Path, kills: int
) -> None:
    generator = np.random.default_rng(kills)
    acknowledged = interrupted = 0
    for kill in range(kills):
        path = tmp_path / f"{kill // 5}.json"
        if kill % 5 == 0:
            with experiment_lock(path):
                save_experiment(new_client(0), path)
        last = last_receipt(path, seconds=generator.uniform(0.0, 0.15))
        found = values_in(load_experiment(path))
        assert len(found) > last
        assert found == expected_values(len(found))
        acknowledged += last >= 0
        interrupted += path.with_suffix(".json.new").exists()
    assert acknowledged > 0
    # Of two hundred at least one hits a save before its file is in place.
    assert interrupted > 0 or kills < 200


def means(client: Client) -> dict[tuple[int, str], float]:
    """The values of all trials and metrics, to the last bit."""
    frame = experiment_of(client).lookup_data().df
    columns = (frame[name] for name in ("trial_index", "metric_name", "mean"))
    return {(index, name): mean for index, name, mean in zip(*columns, strict=True)}


def test_what_was_corrected_and_saved_by_ax_stays_corrected(path: Path) -> None:
    client = new_client(2)
    client.attach_data(1, {"error": 1 / 3, "energy": 1e-12})
    save_experiment(client, path)
    exact = means(client)
    client.attach_data(0, {"error": 99.0})
    client.save_to_json_file(str(path))
    assert means(load_experiment(path)) == exact | {(0, "error"): 99.0}


def test_data_of_a_metric_that_was_removed_are_loaded(path: Path) -> None:
    client = new_client(1)
    client.configure_tracking_metrics(["memory"])
    client.attach_data(0, {"memory": 1 / 3})
    experiment_of(client).remove_metric("memory")
    save_experiment(client, path)
    assert means(load_experiment(path, exclusive=True))[0, "memory"] == 1 / 3
