"""Every Python example in the README and the documents runs as it is printed."""

import re
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ("README.md", "docs/decoupled.md", "docs/reliability.md")
FENCE = re.compile(r"^([ ]*)```python[^\n]*\n(.*?)^\1```\s*$", re.MULTILINE | re.DOTALL)


def python_blocks(text: str) -> list[tuple[int, str]]:
    """Return the first line number and the source of each python block."""
    return [
        (text.count("\n", 0, match.start(2)) + 1, textwrap.dedent(match.group(2)))
        for match in FENCE.finditer(text)
    ]


def test_python_blocks_finds_only_python_fences_with_their_lines() -> None:
    text = "a\n```python\nx = 1\ny = 2\n```\n```bash\nls\n```\n- b\n"
    text += "  ```python\n  z\n  ```\n"
    assert python_blocks(text) == [(3, "x = 1\ny = 2\n"), (11, "z\n")]


# The blocks of a document build on each other, so the unit that runs (and that a
# worker gets) is the document; a failure names the document's own line.
@pytest.mark.parametrize("name", DOCUMENTS)
def test_python_blocks_run_in_order(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = ROOT / name
    blocks = python_blocks(path.read_text(encoding="utf-8"))
    assert blocks, f"{name} has no ```python block"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    namespace: dict[str, object] = {"__name__": "__main__"}
    for line, source in blocks:
        padded = "\n" * (line - 1) + source
        exec(compile(padded, str(path), "exec"), namespace)
