r"""Files that only grow: truncated, damaged, full, read-only, and in use."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

import pytest

from botorch_flexibo.exceptions import ExperimentLockedError, ExperimentStorageError
from botorch_flexibo.utils.journal import Journal
from tests.processes import in_another_process

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs flock")

ENTRIES = [{"kind": "run", "n": 3}, {"x": 0.1}, {"text": 'a"}\n{', "list": [1, None]}]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.jsonl"


def written(path: Path, entries: list[dict[str, Any]] = ENTRIES) -> bytes:
    with Journal(path) as journal:
        for entry in entries:
            journal.append(entry)
    return path.read_bytes()


def entries_of(path: Path) -> list[dict[str, Any]]:
    with Journal(path) as journal:
        return journal.entries


def test_what_was_appended_is_there_and_more_can_be_appended(path: Path) -> None:
    written(path)
    with Journal(path) as journal:
        assert journal.entries == ENTRIES
        journal.append({"more": True})
    assert entries_of(path) == [*ENTRIES, {"more": True}]
    assert not path.with_name("run.jsonl.lock").exists()


def test_lines_are_json_with_a_checksum_of_the_rest(path: Path) -> None:
    line = written(path).splitlines()[1]
    body = b'"x":0.1}'
    assert line == b'{"crc":"%08x",%s' % (zlib.crc32(body), body)


def test_a_new_file_is_for_its_owner_only(path: Path) -> None:
    written(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_cut_at_any_byte_all_whole_lines_count(path: Path) -> None:
    content = written(path)
    ends = [k for k, byte in enumerate(content) if byte == ord("\n")]
    for size in range(len(content) + 1):
        path.write_bytes(content[:size])
        # A line that only lacks its end is whole.
        whole = sum(end <= size for end in ends)
        with Journal(path) as journal:
            assert journal.entries == ENTRIES[:whole]
            journal.append({"more": 1})
        assert entries_of(path) == [*ENTRIES[:whole], {"more": 1}]


def test_what_was_cut_off_stays_until_something_is_written(path: Path) -> None:
    content = written(path)[:-3]
    path.write_bytes(content)
    assert entries_of(path) == ENTRIES[:2]
    assert path.read_bytes() == content


def test_damage_at_any_byte_is_an_error_that_names_file_and_line(path: Path) -> None:
    content = written(path)
    last = content[:-1].rindex(b"\n") + 1
    for position in range(last):
        damaged = bytearray(content)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        line = content[:position].count(b"\n") + 1
        with pytest.raises(ExperimentStorageError, match=f"line {line} of {path}"):
            entries_of(path)
        assert path.read_bytes() == bytes(damaged)


def test_zeros_at_the_end_are_a_line_that_was_cut_off(path: Path) -> None:
    # What some file systems leave after a power cut.
    path.write_bytes(written(path) + bytes(100))
    assert entries_of(path) == ENTRIES


def test_a_line_without_an_end_in_the_middle_is_damage(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("botorch_flexibo.utils.journal._LONGEST_LINE", 100)
    path.write_bytes(written(path) + 300 * b"x")
    with pytest.raises(ExperimentStorageError, match=f"line 4 of {path}"):
        entries_of(path)


def fill_the_disk(path: Path, size: int) -> str:
    """Append while no file may grow beyond a size, which fails as a full disk."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    try:
        with Journal(path) as journal:
            for number in range(100):
                journal.append({"number": number})
    except ExperimentStorageError as error:
        return f"{error} {getattr(error, '__notes__', [])}"
    return "nothing"


@pytest.mark.parametrize("room", [1, 40, 95, 300])
def test_a_full_disk_loses_nothing_and_is_named(path: Path, room: int) -> None:
    content = written(path)
    message = in_another_process(fill_the_disk, path, len(content) + room)
    assert str(path) in message
    assert "File too large" in message
    found = entries_of(path)
    assert found[:3] == ENTRIES
    numbers = [entry["number"] for entry in found[3:]]
    assert numbers == list(range(len(numbers)))
    # What could not be written is told.
    assert f'"number":{len(numbers)}' in message
    assert path.read_bytes().startswith(content)
    assert path.read_bytes().endswith(b"\n")


def append_as_ordinary_user(path: Path) -> str:
    """Append as somebody for whom permissions count."""
    if os.geteuid() == 0:
        os.seteuid(65534)
    try:
        with Journal(path) as journal:
            journal.append({})
    except ExperimentStorageError as error:
        return str(error)
    return "nothing"


@pytest.mark.parametrize("read_only", ["directory", "file"])
def test_what_is_read_only_is_named_and_left_alone(read_only: str) -> None:
    # Not in `tmp_path`, which no other user may enter.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.jsonl"
        content = written(path)
        path.chmod(0o444)
        path.parent.chmod(0o555 if read_only == "directory" else 0o777)
        message = in_another_process(append_as_ordinary_user, path)
        path.parent.chmod(0o755)
        assert f"Expected to write {path}" in message
        assert "Permission denied" in message
        assert path.read_bytes() == content


@pytest.mark.parametrize("folder", ["missing", "file.txt"])
def test_an_unusable_directory_is_named(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file.txt").write_text("no directory")
    path = tmp_path / folder / "run.jsonl"
    with pytest.raises(ExperimentStorageError, match=str(path)):
        written(path)


@pytest.mark.parametrize("kind", ["directory", "device"])
def test_what_is_no_file_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    if kind == "directory":
        path.mkdir()
    else:
        path.symlink_to("/dev/null")
    refused = path if kind == "directory" else "/dev/null"
    with pytest.raises(ExperimentStorageError, match=str(refused)):
        written(path)


def append_elsewhere(path: Path) -> str:
    """Append, or tell why not."""
    try:
        with Journal(path) as journal:
            journal.append({})
    except ExperimentLockedError as error:
        return str(error)
    return "nothing"


def test_a_second_writer_is_told_who_the_first_is(path: Path) -> None:
    content = written(path)
    with Journal(path):
        message = in_another_process(append_elsewhere, path)
        assert f"process {os.getpid()} on" in message
        with pytest.raises(
            ExperimentLockedError, match=rf"this process \({os.getpid()}"
        ):
            written(path)
        # The refused one has not let go of what is not its own.
        assert f"process {os.getpid()} on" in in_another_process(append_elsewhere, path)
    assert path.read_bytes() == content
    assert in_another_process(append_elsewhere, path) == "nothing"


def test_an_interrupt_while_writing_leaves_whole_lines(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = written(path)
    write = os.write

    def half(descriptor: int, data: bytes) -> int:
        write(descriptor, data[: len(data) // 2])
        raise KeyboardInterrupt

    with Journal(path) as journal:
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", half)
            with pytest.raises(KeyboardInterrupt):
                journal.append({"x": 1})
        assert path.read_bytes() == content
        journal.append({"x": 2})
    assert entries_of(path) == [*ENTRIES, {"x": 2}]
