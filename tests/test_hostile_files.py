r"""Checkpoints of others: a clear error, soon and in little memory; nothing runs."""

from __future__ import annotations

import re
import socket
import stat
from pathlib import Path

import pytest

from botorch_flexibo import (
    AcquisitionPolicy,
    FlexiBOFactory,
    InitialDesign,
    RandomPolicy,
    run_decoupled_optimization,
)
from botorch_flexibo.exceptions import ExperimentStorageError
from botorch_flexibo.utils.strict_json import loads
from tests.hostile import HOSTILE, line_of, read_all, sockets_used
from tests.processes import in_another_process
from tests.runs import FaultyTable

# What is promised: the time for 100 MB of plain JSON, and 100 MB of memory.
EFFORT, MEGABYTES = 100.0, 100.0
DATA = {"class", "path traversal"}  # valid JSON, without any meaning here


def resume(path: str) -> object:
    return run_decoupled_optimization(
        FaultyTable(), RandomPolicy(), budget=20.0, checkpoint=path
    )


def parse(path: str) -> object:
    return loads(Path(path).read_bytes())


def plain_run() -> object:
    return run_decoupled_optimization(
        FaultyTable(),
        AcquisitionPolicy(FlexiBOFactory()),
        budget=23.0,
        initial_design=InitialDesign(2),
    )


def open_socket() -> None:
    socket.socket().close()


def write_all(folder: Path, *, as_lines: bool) -> dict[str, Path]:
    paths = {}
    for name, content in HOSTILE.items():
        paths[name] = folder / f"{name.replace(' ', '-')}.jsonl"
        paths[name].write_bytes(line_of(content) if as_lines else content)
    return paths


@pytest.mark.parametrize("as_lines", [False, True], ids=["as it is", "with checksums"])
def test_a_hostile_checkpoint_is_an_error_that_names_the_file(
    as_lines: bool, tmp_path: Path
) -> None:
    """A checksum is no signature: whoever writes the file can compute it."""
    paths = write_all(tmp_path, as_lines=as_lines)
    contents = {path: path.read_bytes() for path in paths.values()}
    reading = in_another_process(read_all, resume, list(paths.values()))
    assert set(reading.told) == {str(path) for path in paths.values()}
    for path, (message, effort) in reading.told.items():
        assert re.match(r"ExperimentStorageError: Expected ", message), path
        assert path in message
        assert len(message) < 2000
        assert effort < EFFORT
    assert reading.megabytes < MEGABYTES
    assert {path: path.read_bytes() for path in contents} == contents


def test_hostile_json_is_refused_soon_and_in_little_memory(tmp_path: Path) -> None:
    paths = write_all(tmp_path, as_lines=False)
    reading = in_another_process(read_all, parse, list(paths.values()))
    for name, path in paths.items():
        message, effort = reading.told[str(path)]
        assert (message == "") == (name in DATA)
        assert effort < EFFORT
    assert reading.megabytes < MEGABYTES


@pytest.mark.parametrize("name", sorted(DATA))
def test_names_of_classes_and_paths_are_data(name: str, tmp_path: Path) -> None:
    assert all(isinstance(key, str) for key in loads(HOSTILE[name]))
    assert list(tmp_path.iterdir()) == []


def test_files_of_a_run_are_for_their_owner_only(tmp_path: Path) -> None:
    record = tmp_path / "run.jsonl"
    modes: dict[str, int] = {}

    def look(history: object) -> bool:
        modes.update(
            {
                path.name: stat.S_IMODE(path.stat().st_mode)
                for path in tmp_path.iterdir()
            }
        )
        return True

    run_decoupled_optimization(
        FaultyTable(),
        RandomPolicy(),
        budget=50.0,
        initial_design=InitialDesign(2),
        checkpoint=record,
        callbacks=[look],
    )
    assert modes == {"run.jsonl": 0o600, "run.jsonl.lock": 0o600}


def test_a_run_opens_no_socket() -> None:
    assert in_another_process(sockets_used, plain_run) == []


def test_a_socket_would_be_seen() -> None:
    assert in_another_process(sockets_used, open_socket) == ["socket.__new__"]


def test_the_checkpoint_of_a_run_with_a_class_in_it_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(line_of(HOSTILE["class"]))
    with pytest.raises(ExperimentStorageError) as info:
        run_decoupled_optimization(
            FaultyTable(), RandomPolicy(), budget=20.0, checkpoint=path
        )
    assert str(info.value) == (
        f"Expected line 1 of {path} to be the header of a run, but got None. Use"
        " another file."
    )
