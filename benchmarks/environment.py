"""What a stored result says about where it came from."""

from __future__ import annotations

import csv
import datetime
import gzip
import json
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

_PACKAGES = ("botorch", "gpytorch", "torch", "numpy", "botorch-flexibo")


def describe() -> dict[str, Any]:
    """Versions, machine, commit and date of this run."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": commit,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in _PACKAGES},
    }


def stored(path: Path) -> list[dict[str, Any]]:
    """All lines of a result file, none if it does not exist."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def write_json(path: Path, result: dict[str, Any]) -> None:
    """Store a result beside its environment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"environment": describe(), **result}
    path.write_text(json.dumps(document, indent=2) + "\n")


def append_row(path: Path, row: dict[str, Any]) -> None:
    """Store a row of a table at once."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)


def write_table(content: str, target: Path, script: str) -> None:
    """Compress a table, and say where it came from."""
    origin = describe()
    comment = (
        f"# Recorded {origin['date']} by benchmarks/{Path(script).name} with torch "
        f"{origin['versions']['torch']}, {origin['threads']} thread, "
        f"{origin['machine']}.\n"
    )
    target.parent.mkdir(exist_ok=True)
    # Without a time stamp, so that the same table is the same file.
    target.write_bytes(gzip.compress((comment + content).encode(), mtime=0))
