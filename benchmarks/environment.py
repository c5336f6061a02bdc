"""What a stored result says about where it came from."""

from __future__ import annotations

import datetime
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
