"""What is written for readers is finished."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PLACEHOLDER = re.compile(r"\b(TODO|FIXME|XXX|TBD)\b")
TEXTS = [
    path
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/**/*.md", "tutorials/*")
    for path in sorted(ROOT.glob(pattern))
    if path.suffix in (".md", ".ipynb")
]


def written(path: Path) -> Iterator[str]:
    """The text of a file, of a notebook that of its cells and not their outputs."""
    content = path.read_text("utf-8")
    if path.suffix == ".md":
        yield content
        return
    for cell in json.loads(content)["cells"]:
        yield "".join(cell["source"])


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_no_placeholder_is_left(path: Path) -> None:
    found = [PLACEHOLDER.search(text) for text in written(path)]
    assert [match.group() for match in found if match] == []


def test_notebooks_and_guides_are_found() -> None:
    names = {path.name for path in TEXTS}
    assert {"README.md", "CONTRIBUTING.md", "design.md", "2_costs.ipynb"} <= names
