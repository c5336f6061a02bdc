"""Tables of the documents are those of the stored results."""

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

from benchmarks.experiment import FOLDER, Store
from benchmarks.report import markdown

ROOT = Path(__file__).resolve().parents[2]
RESULTS = FOLDER / "results"
REAL = Store(
    RESULTS,
    "real",
    seeds=(0, 1, 2),
    methods=(
        "FlexiBO",
        "look-ahead FlexiBO",
        "qLogNEHVI + variance/cost",
        "coupled qLogNParEGO",
        "coupled qLogNEHVI",
        "Optuna, TPE",
        "random, coupled",
    ),
)
BATTERY = Store(
    RESULTS,
    "battery",
    matching="(10:1)",
    methods=(
        "look-ahead FlexiBO",
        "qLogNEHVI + variance/cost",
        "C-MOKG",
        "coupled qLogNEHVI",
        "coupled qLogNParEGO",
        "FlexiBO, discretised",
        "random, coupled",
    ),
)
EQUAL = replace(BATTERY, matching="(1:1)")
DEAR = replace(
    BATTERY,
    matching="(100:1)",
    seeds=(0, 1),
    methods=(
        "look-ahead FlexiBO",
        "coupled qLogNEHVI",
        "coupled qLogNParEGO",
        "FlexiBO, discretised",
        "random, coupled",
    ),
)


def rows(lines: list[str]) -> dict[str, list[str]]:
    """The cells of a table by the text of the first, without head and rule."""
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    return {name: others for name, *others in cells[2:]}


def table_below(text: str, head: str) -> list[str]:
    """The lines of the table that starts with a line."""
    lines = text[text.index(f"\n{head}") + 1 :].splitlines()
    ends = [k for k, line in enumerate(lines) if not line.startswith("|")]
    return lines[: ends[0]]


@pytest.mark.parametrize(
    ("document", "head", "store", "kind"),
    [
        ("README.md", "| | FlexiBO |", REAL, "errors"),
        ("docs/results.md", "| problem | look-ahead", BATTERY, "regret"),
        ("docs/results.md", "| at 1:1 | look-ahead", EQUAL, "regret"),
        ("docs/results.md", "| at 100:1 | look-ahead", DEAR, "regret"),
    ],
)
def test_a_table_says_what_is_stored(
    document: str, head: str, store: Store, kind: str
) -> None:
    written = rows(table_below((ROOT / document).read_text("utf-8"), head))
    stored = rows(markdown(store, kind).splitlines())
    assert len(written) == len(stored)
    for name, cells in written.items():
        known = [each for each in stored if name.startswith(each.split(" (")[0])]
        assert cells == stored[max(known, key=len)], name
