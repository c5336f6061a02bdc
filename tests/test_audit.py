r"""What the audit of pinned packages makes of pip-audit's answers."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parent.parent / ".ci" / "audit.py"
FAULT = {"id": "PYSEC-2026-1", "fix_versions": ["1.1"]}
SOUND: dict[str, Any] = {"name": "sound", "version": "1.0", "vulns": []}
FAULTY: dict[str, Any] = {"name": "faulty", "version": "1.0", "vulns": [FAULT]}
UNKNOWN: dict[str, Any] = {"name": "unknown", "skip_reason": "not found"}


def verdict(*packages: dict[str, Any]) -> tuple[int, str]:
    spec = importlib.util.spec_from_file_location("audit", SCRIPT)
    assert spec is not None and spec.loader is not None
    audit = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(audit)
    return audit.verdict(list(packages))


def test_sound_packages_pass() -> None:
    assert verdict(SOUND, SOUND) == (0, "no known faults in 2 packages")


def test_a_fault_fails_and_is_named() -> None:
    expected = (1, "faulty 1.0: PYSEC-2026-1, fixed in 1.1")
    assert verdict(SOUND, FAULTY) == expected
    assert verdict(UNKNOWN, FAULTY) == expected


def test_a_package_that_cannot_be_looked_up_among_others_fails() -> None:
    assert verdict(SOUND, UNKNOWN) == (1, "no list of known faults has unknown")


def test_an_index_without_any_list_is_no_clean_audit() -> None:
    status, report = verdict(UNKNOWN, UNKNOWN)
    assert status == 0
    assert report.startswith("NOT AUDITED: ")
