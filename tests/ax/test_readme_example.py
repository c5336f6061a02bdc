"""The README's experiment goes on in a new process as if it had never been saved."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ax")

from ax.api.client import Client

from botorch_flexibo.ax import load_experiment, objectives_for, save_experiment, spent
from botorch_flexibo.ax.metadata import experiment_of

README = Path(__file__).resolve().parents[2] / "README.md"
STEPS = "range(10)"
# What a new process does with files, by the README's own function and loop.
SCRIPT = """
import json, sys
import botorch_flexibo.ax as fxa

{measure}
for file, num_steps in json.loads(sys.argv[1]).items():
    client = fxa.load_experiment(file)
{loop}
    fxa.get_next_measurements(client, n=2)
    print(json.dumps([
        [
            [dict(t.arms[0].parameters), t.arms[0].name, fxa.objectives_for(client, i)]
            for i, t in client._experiment.trials.items()
        ],
        fxa.spent(client),
    ]))
"""


def example() -> str:
    """The example with an experiment of Ax, as the README prints it."""
    blocks = re.findall(
        r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.M | re.DOTALL
    )
    (source,) = (block for block in blocks if "flexibo_generation_strategy" in block)
    assert source.count(STEPS) == 1
    return source


def part(source: str, start: str, end: str) -> str:
    """The lines from one that starts so to one that starts otherwise."""
    first = source.index(start)
    return source[first : source.index(end, first)]


def run_example(num_steps: int, save_after: int) -> Client:
    """Run the example here, with a second file saved on the way."""

    def steps() -> Iterator[int]:
        for step in range(num_steps):
            if step == save_after:
                save_experiment(namespace["client"], "half.json")
            yield step

    namespace: dict[str, Any] = {"__name__": "__main__", "steps": steps}
    exec(compile(example().replace(STEPS, "steps()"), str(README), "exec"), namespace)
    return namespace["client"]


def in_a_new_process(num_steps: dict[str, int]) -> list[Any]:
    """All trials and what was spent, after some more steps from each file."""
    source = example()
    loop = part(source, f"for _ in {STEPS}", "fxa.save_experiment")
    script = SCRIPT.format(
        measure=part(source, "def measure", "client = "),
        loop=textwrap.indent(loop.replace(STEPS, "range(num_steps)"), 4 * " "),
    )
    result = subprocess.run(
        [sys.executable, "-c", script, json.dumps(num_steps)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return [json.loads(line) for line in result.stdout.splitlines()]


def history(client: Client) -> list[Any]:
    """What the new process says, of the client that was never saved and loaded."""
    trials = experiment_of(client).trials
    suggestions = [
        [
            dict(trial.arms[0].parameters),
            trial.arms[0].name,
            list(objectives_for(client, index)),
        ]
        for index, trial in trials.items()
    ]
    return [suggestions, spent(client)]


@pytest.mark.parametrize(
    ("num_steps", "save_after"),
    [(4, 2), pytest.param(30, 15, marks=pytest.mark.slow)],
)
def test_a_new_process_makes_the_suggestions_of_the_uninterrupted_run(
    num_steps: int, save_after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the file at the end the next two, from the one on the way all others."""
    monkeypatch.chdir(tmp_path)
    uninterrupted = run_example(num_steps, save_after)
    expected = history(uninterrupted)
    saved = experiment_of(load_experiment("tuning.json")).trials
    assert len(saved) == 4 + num_steps
    assert len(expected[0]) == len(saved) + 2
    asked = {name for _, _, objectives in expected[0][4:] for name in objectives}
    assert asked == {"error", "energy"}
    files = {"tuning.json": 0, "half.json": num_steps - save_after}
    assert in_a_new_process(files) == [expected, expected]
