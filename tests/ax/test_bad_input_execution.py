r"""Runs and files in Ax that make no sense are refused before anything is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ax")

from ax.api.client import Client
from botorch.exceptions.errors import InputDataError

from botorch_flexibo.ax import (
    ExecutionOptions,
    configure_executor,
    experiment_lock,
    get_next_measurements,
    load_experiment,
    release_experiment,
    run_measurements,
    save_experiment,
)
from botorch_flexibo.exceptions import ExperimentStorageError
from tests.ax.helpers import new_client, state_of, trial_count
from tests.bad_values import (
    BAD_COUNTS,
    BAD_PATHS,
    INF,
    NAN,
    no_path,
    refused,
)


@pytest.fixture(scope="module")
def running() -> Client:
    """One running measurement of both objectives, that nothing must change."""
    client = new_client()
    get_next_measurements(client)
    return client


def unchanged(
    client: Client, act: Callable[[], object], kind: type[Exception], message: str
) -> None:
    before = state_of(client)
    refused(act, kind, message)
    assert state_of(client) == before


NO_CLIENTS = [None, "client", 1.5, NAN, True]


# --- executing ------------------------------------------------------------------------


@pytest.mark.parametrize("number", ["1", True, 1j, NAN, INF, -1, 1.5, None], ids=repr)
def test_options_of_executions_that_are_no_numbers_are_refused(number: Any) -> None:
    refused(
        lambda: ExecutionOptions(retries=number),
        InputDataError,
        f"Expected retries >= 0, but got {number!r}. Pass a whole number.",
    )
    if number not in (1.5, None):
        refused(
            lambda: ExecutionOptions(timeout_s=number),
            InputDataError,
            f"Expected timeout_s > 0 or None, but got {number!r}. Pass seconds, or None"
            " for no limit.",
        )
    refused(
        lambda: ExecutionOptions(cost=number),  # pyright: ignore[reportArgumentType]
        InputDataError,
        f'Expected cost to be "told" or "seconds", but got {number!r}. Choose one of'
        " these.",
    )
    refused(
        lambda: ExecutionOptions(on_error=number),  # pyright: ignore[reportArgumentType]
        InputDataError,
        f'Expected on_error to be "raise" or "continue", but got {number!r}. Choose one'
        " of these.",
    )


@pytest.fixture(scope="module")
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def evaluate(parameters: Mapping[str, Any], objectives: tuple[str, ...]) -> Any:
    return {name: float(parameters["width"]) for name in objectives}


BAD_LIMITS: dict[str, tuple[dict[str, Any], str]] = {}
for value in ("1", True, 1j, NAN, INF, -1):
    BAD_LIMITS[f"budget {value!r}"] = (
        {"budget": value},
        f"Expected a finite budget >= 0, but got {value!r}. Pass what may be spent, or"
        " None for num_measurements alone.",
    )
for value in ("1", True, 1j, NAN, INF, -1, 1.5):
    BAD_LIMITS[f"num_measurements {value!r}"] = (
        {"num_measurements": value},
        f"Expected num_measurements >= 0, but got {value!r}. Pass a whole number, or"
        " None for a budget alone.",
    )
for value in BAD_COUNTS.values():
    BAD_LIMITS[f"max_parallelism {value!r}"] = (
        {"max_parallelism": value},
        f"Expected max_parallelism >= 1, but got {value!r}. Pass a whole number.",
    )
for value in (None, "x", True, {}):
    BAD_LIMITS[f"options {value!r}"] = (
        {"options": value},
        f"Expected options of type ExecutionOptions, but got {value!r}. Leave them out"
        " for the defaults.",
    )
for value in ("x", True, 1.5):
    BAD_LIMITS[f"callback {value!r}"] = (
        {"callback": value},
        f"Expected callback to be a function or None, but got {value!r}. Pass None for"
        " none.",
    )


@pytest.mark.parametrize("case", BAD_LIMITS.values(), ids=BAD_LIMITS)
def test_runs_that_make_no_sense_are_refused_before_anything_is_asked(
    case: tuple[dict[str, Any], str], threads: ThreadPoolExecutor
) -> None:
    client = new_client()
    options: dict[str, Any] = {"num_measurements": 1, **case[0]}
    unchanged(
        client,
        lambda: run_measurements(client, evaluate, threads, **options),
        InputDataError,
        case[1],
    )
    assert trial_count(client) == 0


@pytest.mark.parametrize("value", [None, "evaluate", 1.5, True], ids=repr)
def test_what_is_no_function_measures_nothing(
    value: Any, threads: ThreadPoolExecutor
) -> None:
    client = new_client()
    for act in (
        lambda: run_measurements(client, value, threads, num_measurements=1),
        lambda: configure_executor(client, value, threads),
    ):
        unchanged(
            client,
            act,
            InputDataError,
            f"Expected evaluate to be a function, but got {value!r}. Pass"
            " evaluate(parameters, objectives), which returns values by name.",
        )
    assert trial_count(client) == 0


# --- files ----------------------------------------------------------------------------


def lock(path: Any) -> None:
    with experiment_lock(path):
        pass


@pytest.mark.parametrize("path", BAD_PATHS.values(), ids=BAD_PATHS)
def test_files_of_experiments_that_are_no_paths_are_refused(
    running: Client, path: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for act in (
        lambda: save_experiment(running, path),
        lambda: load_experiment(path),
        lambda: release_experiment(path),
        lambda: lock(path),
    ):
        unchanged(running, act, InputDataError, no_path(path))
    assert list(tmp_path.iterdir()) == []


def test_a_directory_is_no_file_of_an_experiment(
    running: Client, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    unchanged(
        running,
        lambda: load_experiment(folder),
        ExperimentStorageError,
        f"Expected a saved experiment in {folder}, but got a directory or device."
        " Name a file.",
    )
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("client", NO_CLIENTS, ids=repr)
def test_what_is_no_client_is_not_saved(client: Any, tmp_path: Path) -> None:
    refused(
        lambda: save_experiment(client, tmp_path / "tuning.json"),
        InputDataError,
        f"Expected an Ax client, but got {client!r}. Pass the `ax.api.client.Client` of"
        " the experiment.",
    )
    assert list(tmp_path.iterdir()) == []
