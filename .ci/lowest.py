"""Prints the lowest declared versions as constraints; run by `.ci/matrix`.

Every requirement of pyproject.toml with a lower bound becomes `name==bound`, extras
included. torch is left out: see `.ci/matrix`.
"""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
# Not of this list, this package itself, and what only builds or checks it.
LEFT_OUT = {"torch", "botorch-flexibo"}
LEFT_OUT_EXTRAS = {"dev", "docs"}


def lowest(requirement: Requirement) -> str | None:
    """The lower bound of a requirement, None if it has none."""
    bounds = [spec.version for spec in requirement.specifier if spec.operator == ">="]
    return bounds[0] if bounds else None


project = tomllib.loads(PROJECT.read_text("utf-8"))["project"]
declared = list(project["dependencies"])
for extra, requirements in project["optional-dependencies"].items():
    if extra not in LEFT_OUT_EXTRAS:
        declared += requirements
for text in declared:
    requirement = Requirement(text)
    version = lowest(requirement)
    if version is not None and requirement.name not in LEFT_OUT:
        print(f"{requirement.name}=={version}")
