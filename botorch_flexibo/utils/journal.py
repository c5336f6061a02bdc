r"""Files that only grow: one checked line per entry."""

from __future__ import annotations

import os
import sys
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from botorch_flexibo.exceptions import ExperimentLockedError, ExperimentStorageError
from botorch_flexibo.utils import locks
from botorch_flexibo.utils.files import beside, resolve, sync_directory
from botorch_flexibo.utils.strict_json import dumps, loads

# A line is {"crc":"01234567",...}: the checksum is of what follows its comma.
_PREFIX = b'{"crc":"'
_CHECKSUM = slice(len(_PREFIX), len(_PREFIX) + 8)
_BODY = _CHECKSUM.stop + 2
_LONGEST_LINE = 1 << 26
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND
if sys.platform == "win32":
    _FLAGS |= os.O_BINARY


class Journal:
    r"""A file of JSON objects, one per line, that is only ever appended to.

    What was appended before a crash is there after it: all whole lines count, and a
    last line that was cut off is dropped. Any other line that is not as it was written
    is an error, and the file is left alone. Each line has a checksum.

    One process writes at a time; it holds ``<path>.lock``. A new file is readable for
    its owner only.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> with Journal(f"{folder.name}/run.jsonl") as journal:
        ...     journal.append({"step": 1})
        >>> with Journal(f"{folder.name}/run.jsonl") as journal:
        ...     print(journal.entries)
        [{'step': 1}]
        >>> folder.cleanup()

    Attributes:
        path: The file.
        entries: What was in it when it was opened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Nothing is opened yet: use it in a ``with`` block.

        Args:
            path: The file. A symbolic link is followed, ``~`` is expanded.
        """
        self.path = resolve(path)
        self.entries: list[dict[str, Any]] = []
        self._descriptor = -1
        self._size = 0

    def __enter__(self) -> Self:
        """Become the writer of the file, and read it."""
        lock = beside(self.path, ".lock")
        try:
            if not locks.acquire(lock):
                raise ExperimentLockedError(
                    f"Expected to be the only writer, but got {self.path} in use by"
                    f" this process ({os.getpid()}) already. Use another file."
                )
        except ExperimentLockedError:
            raise
        except OSError as error:
            raise _unusable(self.path, error) from error
        try:
            self._open()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        """Let others write."""
        self._close()

    def append(self, entry: Mapping[str, Any], *, sync: bool = True) -> None:
        r"""Write an entry.

        Args:
            entry: A dictionary of plain data.
            sync: Whether it must be on the disk before this returns.

        Raises:
            ExperimentStorageError: If it cannot be written. What was written before is
                as it was.
        """
        line = _encode(entry)
        try:
            self._write(line)
            if sync:
                os.fsync(self._descriptor)
        except BaseException as error:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
            if not isinstance(error, OSError):
                raise
            failure = ExperimentStorageError(
                f"Expected to write {self.path}, but got {error}. Nothing written"
                " before is lost. Make room, and start again."
            )
            failure.add_note(f"What could not be written: {line.decode('ascii')}")
            raise failure from error
        self._size += len(line)

    def is_cut_off(self, first: Mapping[str, Any]) -> bool:
        r"""Whether nothing was ever finished in the file.

        Args:
            first: What the first entry would be.

        Returns:
            True if there is no whole line, but at most the beginning of this one.
        """
        content = b"" if self._size > 0 else self.path.read_bytes()
        return self._size == 0 and _encode(first).startswith(content)

    def where(self, index: int) -> str:
        """How a message names an entry: file and line."""
        return f"line {index + 1} of {self.path}"

    def _open(self) -> None:
        exists = self.path.exists()
        if exists and not self.path.is_file():
            raise ExperimentStorageError(
                f"Expected {self.path} to be a file, but got a directory or device."
                " Name a file."
            )
        try:
            self._descriptor = os.open(self.path, _FLAGS, 0o600)
            self._read()
            if not exists:
                sync_directory(self.path.parent)
        except ExperimentStorageError:
            raise
        except OSError as error:
            raise _unusable(self.path, error) from error

    def _read(self) -> None:
        line_ended = True
        with open(self.path, "rb") as file:
            while line := file.readline(_LONGEST_LINE):
                number = len(self.entries) + 1
                try:
                    self.entries.append(_decode(line.removesuffix(b"\n")))
                except ValueError as error:
                    if not line.endswith(b"\n") and not file.read(1):
                        break  # cut off: dropped with the next line that is written
                    raise ExperimentStorageError(
                        f"Expected line {number} of {self.path} as it was written, but"
                        f" got a damaged one ({error}). Nothing was changed. Take the"
                        " file from a backup, or start with another one."
                    ) from error
                self._size += len(line)
                line_ended = line.endswith(b"\n")
        if self.entries and not line_ended:
            self._write(b"\n")
            self._size += 1

    def _write(self, line: bytes) -> None:
        """Append after the last whole line."""
        if os.fstat(self._descriptor).st_size > self._size:
            os.ftruncate(self._descriptor, self._size)
        while line:
            line = line[os.write(self._descriptor, line) :]

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        locks.release(beside(self.path, ".lock"))


def _encode(entry: Mapping[str, Any]) -> bytes:
    """The line of an entry."""
    body = dumps(entry)[1:]
    return b'%s%08x",%s\n' % (_PREFIX, zlib.crc32(body), body)


def _decode(line: bytes) -> dict[str, Any]:
    """The entry of a line, if it is as it was written."""
    body = line[_BODY:]
    expected = b'%s%08x",' % (_PREFIX, zlib.crc32(body))
    if line[:_BODY] != expected:
        raise ValueError("its checksum does not fit")
    return loads(b"{" + body)


def _unusable(path: Path, error: OSError) -> ExperimentStorageError:
    return ExperimentStorageError(
        f"Expected to write {path}, but got {error}. Choose a directory that exists and"
        " that you may write to."
    )
