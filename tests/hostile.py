r"""Files that others could have made, and what reading one costs a process."""

from __future__ import annotations

import json
import resource
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

_DEEP = 10**5
HOSTILE = {
    "deep lists": b'{"x": ' + _DEEP * b"[" + _DEEP * b"]" + b"}",
    "deep objects": _DEEP * b'{"x":' + b"1" + _DEEP * b"}",
    "giant integer": b'{"x": ' + 10**6 * b"9" + b"}",
    "giant float": b'{"x": 1e' + 10**6 * b"9" + b"}",
    "key twice": b'{"x": 1, "x": 2}',
    "NaN": b'{"x": NaN}',
    "infinity": b'{"x": -Infinity}',
    "class": b'{"__class__": "os.system", "__reduce__": ["id"]}',
    "path traversal": b'{"kind": "../../../etc/passwd", "path": "../../x"}',
    "list": b"[1, 2]",
    "code": b'{"x": __import__("os").system("id")}',
    "pickle": b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R.",
    "no text": b'{"x": "\xff\xfe"}',
    "zeros": bytes(10**6),
}
_PLAIN = b"[" + b"1.25, " * (10**6 // 6) + b"1]"


class Reading(NamedTuple):
    """What reading files came to: a message and an effort for each, and megabytes.

    The effort is the CPU time in units of that which Python's parser takes for a plain
    file of one megabyte, on the same machine.
    """

    told: dict[str, tuple[str, float]]
    megabytes: float


def line_of(body: bytes) -> bytes:
    """A line of a checkpoint that holds this, with the right checksum."""
    rest = body.removeprefix(b"{")
    return b'{"crc":"%08x",%s\n' % (zlib.crc32(rest), rest)


def cpu_seconds(act: Callable[..., object], *arguments: Any) -> float:
    """How long the processor works on something."""
    start = time.process_time()
    act(*arguments)
    return time.process_time() - start


def read_all(read: Callable[[str], object], paths: Sequence[Path]) -> Reading:
    """Read files, and note errors, efforts, and how much larger the process became."""
    unit = min(cpu_seconds(json.loads, _PLAIN) for _ in range(3))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    told = {}
    for path in paths:
        start = time.process_time()
        try:
            read(str(path))
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
        else:
            message = ""
        told[str(path)] = message, (time.process_time() - start) / unit
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return Reading(told, grown / 1000)  # Linux counts in KiB


def sockets_used(act: Callable[..., object], *arguments: Any) -> list[str]:
    """What is done with sockets meanwhile, by the hook that Python calls for all.

    The hook stays: call this in a process of its own.
    """
    events: list[str] = []

    def hook(event: str, _: object) -> None:
        # Locks are signed with the name of the machine, which asks nobody.
        if event.startswith("socket.") and event != "socket.gethostname":
            events.append(event)

    sys.addaudithook(hook)
    act(*arguments)
    return events
