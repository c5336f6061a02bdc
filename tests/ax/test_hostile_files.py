"""Saved experiments of others: a clear error, soon, in little memory; no code runs."""

from __future__ import annotations

import json
import re
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ax")

from botorch_flexibo.ax import (
    complete_measurement,
    get_next_measurements,
    load_experiment,
    save_experiment,
)
from botorch_flexibo.ax._expressions import code_in
from botorch_flexibo.ax.metadata import experiment_of
from botorch_flexibo.ax.storage import release_experiment
from botorch_flexibo.exceptions import ExperimentStorageError
from tests.ax.helpers import DEPTH, KIND, WIDTH, initialized, new_client, run
from tests.hostile import HOSTILE, read_all, sockets_used
from tests.processes import in_another_process

EFFORT, MEGABYTES = 100.0, 100.0
DEEP = b"[" * 10**5 + b"]" * 10**5
EXPERIMENTS = {
    name: b'{"experiment": {"__type": "Experiment", "x": ' + value + b"}}"
    for name, value in {
        "deep": DEEP,
        "giant integer": b"9" * 10**6,
        "infinity": b"-Infinity",
        "key twice": b'{"y": 1, "y": 2}',
        "unknown class": b'{"__type": "os.system", "__class__": "posix.system"}',
        "path traversal": b'{"__type": "../../../etc/passwd"}',
    }.items()
}


def test_a_hostile_experiment_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    paths = []
    for kind, files in (("any", HOSTILE), ("experiment", EXPERIMENTS)):
        for name, content in files.items():
            paths.append(tmp_path / f"{kind}-{name.replace(' ', '-')}.json")
            paths[-1].write_bytes(content)
    reading = in_another_process(read_all, load_experiment, paths)
    assert set(reading.told) == {str(path) for path in paths}
    for path, (message, effort) in reading.told.items():
        assert re.match(r"ExperimentStorageError: Expected ", message), (path, message)
        assert path in message
        assert effort < EFFORT
    assert reading.megabytes < MEGABYTES


def saved(folder: Path) -> tuple[Path, dict[str, Any]]:
    client = initialized(new_client(WIDTH, DEPTH, constraints=["depth + width <= 6.5"]))
    path = save_experiment(client, folder / "tuning.json")
    release_experiment(path)
    return path, json.loads(path.read_bytes())


def calls(path: Path) -> str:
    """An expression that creates a file, in characters that Ax 1.3.1 lets pass."""
    code = f"open('{path}','w')"
    return f"exec({'+'.join(f'chr({ord(letter)})' for letter in code)})"


def replaced(value: Any, old: str, new: str) -> Any:
    if isinstance(value, dict):
        return {k: replaced(v, old, new) for k, v in value.items()}
    if isinstance(value, list):
        return [replaced(v, old, new) for v in value]
    return new if value == old else value


@pytest.mark.parametrize(
    "place", ["-error, -energy", "1.0 * depth + 1.0 * width <= 6.5", "older format"]
)
def test_an_expression_that_is_code_is_refused_before_ax_sees_it(
    place: str, tmp_path: Path
) -> None:
    path, snapshot = saved(tmp_path)
    trace = tmp_path / "trace"
    code = calls(trace)
    if place == "older format":
        older = {"__type": "ParameterConstraint", "constraint_dict": {code: 1.0}}
        snapshot["experiment"]["search_space"]["parameter_constraints"] = [older]
    else:
        changed = replaced(snapshot, place, code)
        assert changed != snapshot
        snapshot = changed
    path.write_text(json.dumps(snapshot))
    with pytest.raises(ExperimentStorageError) as info:
        load_experiment(path)
    assert str(info.value) == (
        f"Expected a saved experiment in {path}, but got an expression that is more"
        f" than arithmetic: {code[:100]!r}."
    )
    assert not trace.exists()


CODE = [
    "open(0)",
    "exit()",
    "f (x)",
    "(x)(y)",
    "x[0]",
    "(x).__class__",
    "lambda:(x)",
    "[x for x in y]",
    "9**9**9",
    "(9**99)**99",
    "2**1000000",
    "x**y",
    "'x'",
    "x" * 10_001,
    "log(exec(x))",
    "(x) if (y) else (z)",
    "x .real",
    "9^9^9",
    "99999999!",
    "1 << 99999999999",
]
# Only in outcome constraints does Ax take "baseline" out.
CODE_WITHOUT_BASELINE = ["exec * baseline(chr(1) + x)", "9**9 * baseline**9 <= x"]
ARITHMETIC = [
    "2.0 * rate + 1",
    "-(a + b) * 3e-4 / c",
    "x**2 + 3 * x ** 0.5 - y**-1",
    "log(x) + sqrt(Max(x, y))",
    "layer.width <= 3",
    "net/lr >= 2*metric@region",
    "time for epoch + lambda: x - x if y else z",  # three names
]


@pytest.mark.parametrize("text", CODE)
def test_code_is_found_wherever_it_stands(text: str) -> None:
    assert code_in({"a": [{"expression_str": text}]}) == text


@pytest.mark.parametrize("text", CODE_WITHOUT_BASELINE)
def test_code_that_ax_makes_of_a_constraint_is_found(text: str) -> None:
    assert code_in({"expression": text}) == text


@pytest.mark.parametrize("text", ARITHMETIC)
@pytest.mark.parametrize("key", ["expression_str", "expression", "inequality"])
def test_arithmetic_passes(text: str, key: str) -> None:
    assert code_in({"a": [{key: text}]}) is None


@pytest.mark.parametrize(
    "data",
    [
        {"expression": "-p50(latency), -energy"},
        {"expression": "-Latency (ms), -energy"},
        {"inequality": "Width (mm) + 2.0 * time for epoch <= 3"},
        {"metric_names": ["x**2", "lr^decay"]},
        {"__type": "Arm", "parameters": {"name": "f(g(x))", "expression": "x[0]"}},
        {"__type": "Trial", "run_metadata": {"errors": {"name": "in f(g(x))"}}},
        {"name": "tuning #2 (of 3): a[1]; {b}", "accuracy (top 1) [%]": 3.0},
        {"failed_reason": "ValueError('f(g(x))') in [lambda: 3]"},
    ],
    ids=str,
)
def test_names_and_texts_pass(data: dict[str, Any]) -> None:
    assert code_in(data) is None


@pytest.mark.parametrize("name", [calls(Path("/tmp/x")), "input()", "9**9**9"])
def test_names_that_would_be_called_are_code(name: str) -> None:
    assert code_in({"metric_names": ["a", name]}) == name
    assert code_in({"constraint_dict": {name: 1.0}}) == name


def test_a_class_within_the_data_of_another_is_no_data() -> None:
    hidden = {"__type": "DerivedParameter", "expression_str": "exec(x)"}
    for data in ({"parameters": {"x": hidden}}, {"parameters": {"x": [{"y": hidden}]}}):
        assert code_in({"__type": "Arm", **data}) == "exec(x)"
    assert code_in({"__type": "Metric", "parameters": {"name": "f(g(x))"}}) == "f(g(x))"


UNITS = ["Latency (ms)", "time for epoch"]


@pytest.mark.filterwarnings("ignore:Objective expression")
@pytest.mark.parametrize("metric", UNITS)
def test_what_is_saved_is_loaded_whatever_its_names(
    metric: str, tmp_path: Path
) -> None:
    kind = replace(KIND, name="name", values=["f(g(x))", "dense"])
    square = replace(WIDTH, name="x**2")
    client = new_client(
        kind, square, objective=f"-error, -{metric}", costs={"error": 20.0, metric: 1.0}
    )
    (measurement,) = get_next_measurements(client)
    complete_measurement(client, measurement, {"error": 1.0, metric: 2.0})
    loaded = load_experiment(save_experiment(client, tmp_path / "tuning.json"))
    assert set(experiment_of(loaded).metrics) == {"error", metric}
    release_experiment(tmp_path / "tuning.json")


def test_what_could_not_be_loaded_is_not_saved(tmp_path: Path) -> None:
    path, _ = saved(tmp_path)
    before = path.read_bytes()
    client = load_experiment(path)
    experiment_of(client).name = "f(g(x))"
    with pytest.raises(ExperimentStorageError) as info:
        save_experiment(client, path)
    assert str(info.value) == (
        f"Expected an experiment that can be loaded again for {path}, but got an"
        " expression that is more than arithmetic: 'f(g(x))'. Nothing saved before is"
        " lost. Give it another name."
    )
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "tuning.json",
        "tuning.json.lock",
    ]
    release_experiment(path)


def test_saved_files_are_for_their_owner_only(tmp_path: Path) -> None:
    client = new_client()
    path = tmp_path / "tuning.json"
    save_experiment(client, path)
    initialized(client)
    save_experiment(client, path)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()}
    assert modes == dict.fromkeys(
        ["tuning.json", "tuning.json.previous", "tuning.json.lock"], 0o600
    )
    release_experiment(path)


def ask_tell_save_and_load(path: str) -> None:
    client = initialized(new_client())
    run(client, 1)
    run(load_experiment(save_experiment(client, path)), 1)


def test_asking_telling_saving_and_loading_open_no_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "tuning.json")
    assert in_another_process(sockets_used, ask_tell_save_and_load, path) == []
