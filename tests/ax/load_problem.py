"""What worker processes measure under load, and what they leave behind."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def noted(
    parameters: Mapping[str, Any], objectives: tuple[str, ...], *, folder: str, key: str
) -> dict[str, float]:
    """Give a number of the design back, and leave one line per evaluation."""
    started = time.monotonic()
    value = float(parameters[key])
    time.sleep(0.001)
    line = f"{value!r} {'+'.join(objectives)} {started!r} {time.monotonic()!r}\n"
    # Appended by one call: a line is there as a whole or not at all.
    path = Path(folder, f"{os.getpid()}.log")
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)
    return dict.fromkeys(objectives, value)


class Notes:
    """What the workers left behind."""

    def __init__(self, folder: Path) -> None:
        self.evaluations: Counter[tuple[float, str]] = Counter()
        self.processes = len(list(folder.glob("*.log")))
        self._spans: dict[float, tuple[float, float]] = {}
        for path in folder.glob("*.log"):
            for line in path.read_text().splitlines():
                design, names, *times = line.split(" ")
                started, ended = map(float, times)
                self.evaluations.update((float(design), n) for n in names.split("+"))
                first, last = self._spans.get(float(design), (started, ended))
                self._spans[float(design)] = min(first, started), max(last, ended)

    @property
    def most_at_once(self) -> int:
        """The most designs in flight, from first start to last end, at any moment."""
        changes = sorted(
            (moment, change)
            for started, ended in self._spans.values()
            for moment, change in ((started, 1), (ended, -1))
        )
        running = most = 0
        for _, change in changes:
            running += change
            most = max(most, running)
        return most
