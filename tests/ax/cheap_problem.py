"""What worker processes measure. They import this module, which imports nothing big.

As a script it is a job of its own: it measures what it is told and writes a file.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

OBJECTIVES = ("error", "energy")
Parameters = Mapping[str, Any]
Names = tuple[str, ...]


class Record(NamedTuple):
    """One evaluation, as it was seen from inside."""

    started: float
    ended: float
    process: int
    width: float
    objectives: Names


def value(name: str, parameters: Parameters) -> float:
    """Branin and Currin on the unit square."""
    a, b = float(parameters["width"]), float(parameters["rate"])
    if name == "error":
        x, y = 15 * a - 5, 15 * b
        bend = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
        return bend**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10
    if name == "energy":
        top = 2300 * a**3 + 1900 * a**2 + 2092 * a + 60
        bottom = 100 * a**3 + 500 * a**2 + 4 * a + 20
        return (1 - math.exp(-1 / (2 * b))) * top / bottom
    raise KeyError(name)


def evaluate(parameters: Parameters, objectives: Names) -> dict[str, float]:
    """Measure what is asked for, and refuse to be asked for anything else."""
    return {name: value(name, parameters) for name in objectives}


def traced(
    parameters: Parameters, objectives: Names, *, folder: str, pause: float = 0.0
) -> dict[str, float]:
    """Measure, and leave a record."""
    started = time.time()
    time.sleep(pause)
    values = evaluate(parameters, objectives)
    width = parameters["width"]
    record = [started, time.time(), os.getpid(), width, list(objectives)]
    name = f"{os.getpid()}-{time.monotonic_ns()}.record"
    Path(folder, name).write_text(json.dumps(record))
    return values


def records(folder: str | Path) -> list[Record]:
    """What was evaluated, in the order of the starts."""
    texts = [path.read_text() for path in Path(folder).glob("*.record")]
    rows = [json.loads(text) for text in texts]
    return sorted(Record(*row[:4], objectives=tuple(row[4])) for row in rows)


def most_at_once(found: list[Record]) -> int:
    """How many evaluations overlapped."""
    return max(
        sum(other.started <= record.started < other.ended for other in found)
        for record in found
    )


def meet(
    parameters: Parameters, objectives: Names, *, folder: str, others: int
) -> dict[str, float]:
    """Measure when so many others are measuring too; give up after a long time."""
    here = Path(folder, f"{os.getpid()}.here")
    here.touch()
    deadline = time.monotonic() + 60
    while len(list(Path(folder).glob("*.here"))) <= others:
        if time.monotonic() > deadline:
            raise TimeoutError("Expected others at the same time.")
        time.sleep(0.01)
    return traced(parameters, objectives, folder=folder)


def fail_first(
    parameters: Parameters, objectives: Names, *, folder: str, times: int
) -> dict[str, float]:
    """Fail so many times for each design, then measure."""
    path = Path(folder, f"{parameters['width']!r}-{'-'.join(objectives)}.failures")
    failures = int(path.read_text()) if path.exists() else 0
    path.write_text(str(failures + 1))
    if failures < times:
        raise OSError(f"The device is not ready ({failures}).")
    return traced(parameters, objectives, folder=folder)


def fail_energy(
    parameters: Parameters, objectives: Names, *, folder: str
) -> dict[str, float]:
    """A board that never answers, beside a training that works."""
    if "energy" in objectives:
        raise OSError("No board.")
    return traced(parameters, objectives, folder=folder)


class LocalError(Exception):
    """An error that cannot be sent between processes."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")


def fail_oddly(parameters: Parameters, objectives: Names) -> dict[str, float]:
    """Raise what cannot be sent."""
    raise LocalError(1, 2)


def die_above(
    parameters: Parameters, objectives: Names, *, folder: str, width: float
) -> dict[str, float]:
    """End the process without a word for some designs."""
    if parameters["width"] > width:
        os._exit(3)
    return traced(parameters, objectives, folder=folder)


def hang_above(
    parameters: Parameters, objectives: Names, *, folder: str, width: float
) -> dict[str, float]:
    """Never end for some designs."""
    if parameters["width"] > width:
        Path(folder, f"{os.getpid()}.hanging").touch()
        time.sleep(1000)
    return traced(parameters, objectives, folder=folder)


def hang_first(
    parameters: Parameters, objectives: Names, *, folder: str
) -> dict[str, float]:
    """Never end at the first attempt at a design, then measure."""
    path = Path(folder, f"{parameters['width']!r}.hanging")
    if not path.exists():
        path.touch()
        time.sleep(1000)
    return traced(parameters, objectives, folder=folder)


def nap(parameters: Parameters, objectives: Names) -> dict[str, float]:
    """Take a while."""
    time.sleep(2.0)
    return evaluate(parameters, objectives)


def echo(parameters: Parameters, objectives: Names) -> dict[str, float]:
    """The parameters themselves."""
    return {name: float(parameters[name]) for name in objectives}


def light(parameters: Parameters, objectives: Names) -> dict[str, float]:
    """Measure in a process that has imported no more than it needs."""
    heavy = {"torch", "ax", "botorch", "botorch_flexibo"} & set(sys.modules)
    if heavy:
        raise ImportError(f"Expected a light process, but it has {sorted(heavy)}.")
    return evaluate(parameters, objectives)


def costly(
    parameters: Parameters, objectives: Names
) -> tuple[dict[str, float], dict[str, float], float]:
    """Tell values, costs and the cost of a set-up."""
    costs = {"error": 30.0, "energy": 0.5}
    return evaluate(parameters, objectives), {n: costs[n] for n in objectives}, 7.0


def job(request: str, output: str) -> None:
    """Measure as a process of its own; a missing file is a job that still runs."""
    asked = json.loads(request)
    if "fail" in asked:
        answer = {"failed": asked["fail"]}
    else:
        answer = traced(
            asked["parameters"], tuple(asked["objectives"]), folder=asked["folder"]
        )
    part = Path(output + ".part")
    part.write_text(json.dumps(answer))
    part.rename(output)


if __name__ == "__main__":
    job(*sys.argv[1:])
