r"""Experiments in files that survive crashes and second writers.

``Client.save_to_json_file`` of Ax 1.3.1 empties the file before it encodes the
experiment, so an experiment that cannot be encoded, a full disk or a kill costs
everything saved before. Here a file is replaced only by a complete one. Beside
``experiment.json`` there are

=============================  ======================================================
``experiment.json.previous``   what the last save replaced
``experiment.json.damaged``    what the last save replaced, if it was no experiment
``experiment.json.lock``       who is writing, while someone is
``experiment.json.new`` and    unfinished files, left by a process that was killed;
``experiment.json.*.new``      the next save removes them
=============================  ======================================================

From the first save on, ``experiment.json`` is at every instant one complete version.
The files are those of Ax, in JSON: ``Client.load_from_json_file`` reads them too, but
with measured values rounded to ten decimals, which is what Ax keeps in JSON and in
databases; here they come back to the last bit.

A process that loads by Ax's own methods, from JSON or from a database, has to ``import
botorch_flexibo.ax`` before, which is enough: Ax 1.3.1 has no entry points by which it
could find the classes itself. Without the import it stops with ``KeyError:
'SnapToArms'`` or, for an experiment without trials, with a ``JSONDecodeError`` that
names ``FlexiboGenerators``. :func:`load_experiment` needs no further import, except of
the modules with your own runners, metrics and cost functions.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from weakref import WeakKeyDictionary

from ax.api.client import Client

from botorch_flexibo.ax._exact import keep_exact_data, restore_exact_data
from botorch_flexibo.ax._expressions import code_in
from botorch_flexibo.ax.metadata import experiment_of
from botorch_flexibo.exceptions import (
    ExperimentChangedError,
    ExperimentLockedError,
    ExperimentNotFoundError,
    ExperimentStorageError,
)
from botorch_flexibo.utils import locks
from botorch_flexibo.utils.files import beside, create_like, resolve, sync_directory
from botorch_flexibo.utils.strict_json import unique_keys

# The versions of each file that a client may replace: the digest of what it loaded or
# saved last, and while it saves also of what comes next.
_versions: WeakKeyDictionary[Client, dict[Path, set[bytes]]] = WeakKeyDictionary()


def save_experiment(client: Client, path: str | os.PathLike[str]) -> Path:
    r"""Save an experiment so that no crash can cost what was saved before.

    The experiment is written to a file of its own, synchronised to the disk and put in
    place of the old file, which is kept as ``<path>.previous`` with the same
    permissions. If anything fails on the way, the old file stays as it is.

    From the first save on, this process is the only one that may save under this name,
    until it ends, however it ends, or calls ``release_experiment``. A forked child is
    another process. A client that loaded or saved the file before may replace only that
    version, so what another process has saved meanwhile is never lost either.

    NOTE: Locks of the operating system end with their process. Windows, and network
    file systems without ``flock``, leave those of a killed process behind; the message
    says which file to remove. So do locks taken on another machine.

    Args:
        client: The client with the experiment.
        path: The file. A symbolic link is followed and stays, ``~`` is expanded.

    Returns:
        The absolute path of the file written.

    Raises:
        ExperimentLockedError: If another process is saving under this name.
        ExperimentChangedError: If the file is no longer the version that this client
            loaded or saved last.
        ExperimentStorageError: If the experiment cannot be encoded or written, or could
            not be loaded again.

    Example:
        >>> import tempfile
        >>> from ax.api.client import Client
        >>> from ax.api.configs import RangeParameterConfig
        >>> from botorch_flexibo.ax.storage import experiment_lock, load_experiment
        >>> from botorch_flexibo.ax.storage import save_experiment
        >>> client = Client()
        >>> rate = RangeParameterConfig(
        ...     name="rate", bounds=(0.0, 1.0), parameter_type="float"
        ... )
        >>> client.configure_experiment([rate])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with experiment_lock(f"{folder}/tuning.json") as path:
        ...         print(save_experiment(client, path).name)
        ...     loaded = load_experiment(path)
        tuning.json
    """
    target, experiment = resolve(path), experiment_of(client)
    with locks.guard:
        _lock(target)
        try:
            keep_exact_data(experiment)
            _replace(client, target)
        except ExperimentStorageError:
            raise
        except OSError as error:
            raise ExperimentStorageError(
                f"Expected to write {target}, but got {error}. Nothing saved before is"
                " lost. Make room, or save under another name."
            ) from error
    return target


def load_experiment(path: str | os.PathLike[str], *, exclusive: bool = False) -> Client:
    r"""Load an experiment, or say what is wrong with the file.

    Nothing but the file itself is ever loaded: if it is damaged, the message names the
    version before it, and the choice is yours. It goes together with
    :func:`save_experiment`.

    Args:
        path: The file. A symbolic link is followed, ``~`` is expanded.
        exclusive: Whether to become its only writer now, rather than with the first
            save: for a process that goes on with the experiment.

    Returns:
        A client with the experiment.

    Raises:
        ExperimentNotFoundError: If there is neither the file nor a version before it.
        ExperimentLockedError: If another process is its writer and ``exclusive`` holds.
        ExperimentStorageError: If there is no such file, or it is empty, truncated, no
            experiment, or not one that this version of Ax reads.
    """
    target = resolve(path)
    _read_saved(target)
    with ExitStack() as undo:
        if exclusive and _lock(target):
            undo.callback(release_experiment, target)
        # What a client may later replace is no newer than what it holds: so first the
        # content, then the client.
        content = _read_saved(target)
        fault = _find_fault(content)
        if fault is not None:
            raise ExperimentStorageError(
                f"Expected a saved experiment in {target}, but got {fault}."
                f"{_advice(target)}"
            )
        try:
            client = Client.load_from_json_file(str(target))
            restore_exact_data(experiment_of(client))
        except Exception as error:
            raise ExperimentStorageError(
                f"Expected {target} to hold an experiment that Ax"
                f" {version('ax-platform')} reads, but got"
                f" {type(error).__name__}: {error}. Load it with the versions of Ax"
                " and of the packages that it was saved with, and import those packages"
                f" first.{_advice(target)}"
            ) from error
        undo.pop_all()
    _versions[client] = {target: {_digest(content)}}
    return client


def release_experiment(path: str | os.PathLike[str]) -> None:
    r"""Let other processes save under this name, if this process is its writer.

    Args:
        path: The file.

    Example:
        >>> release_experiment("tuning.json")  # nothing happens without a lock
    """
    locks.release(beside(resolve(path), ".lock"))


@contextmanager
def experiment_lock(path: str | os.PathLike[str]) -> Iterator[Path]:
    r"""Be the only writer of an experiment within a ``with`` block.

    The example of :func:`save_experiment` shows its use. Within a block or process that
    is the writer already, it changes nothing.

    Args:
        path: The file, which need not exist.

    Yields:
        The absolute path of the file.

    Raises:
        ExperimentLockedError: If another process is its writer.
        ExperimentStorageError: If the lock cannot be written.
    """
    target = resolve(path)
    taken = _lock(target)
    try:
        yield target
    finally:
        if taken:
            release_experiment(target)


def _lock(target: Path) -> bool:
    """Become the writer of a file; False if this process was it already."""
    try:
        return locks.acquire(beside(target, ".lock"))
    except ExperimentLockedError:
        raise
    except OSError as error:
        raise ExperimentStorageError(
            f"Expected to write {target}, but got {error}. Choose a directory that"
            " exists and that you may write to."
        ) from error


def _replace(client: Client, target: Path) -> None:
    """Put the experiment in place of the file, and the file beside it."""
    old = _read_old(target)
    allowed = _versions.setdefault(client, {}).get(target)
    if old and allowed is not None and _digest(old) not in allowed:
        raise ExperimentChangedError(
            f"Expected {target} as this client loaded or saved it last, but got a file"
            " that something else has changed since. Save under another name, or load"
            " the file and go on from there."
        )
    new = beside(target, ".new")
    try:
        content = _write_snapshot(client, new, like=None if old is None else target)
        _check_loadable(content, target)
        if old and old != content:
            _keep(old, target)
        # Also right if an interrupt comes between the next two lines.
        _versions[client][target] = {_digest(old or b""), _digest(content)}
        os.replace(new, target)
    finally:
        with suppress(OSError):
            new.unlink(missing_ok=True)
    sync_directory(target.parent)
    _versions[client][target] = {_digest(content)}


def _read_old(target: Path) -> bytes | None:
    """The file to be replaced, None if there is none; a read-only one is refused."""
    if target.exists() and not target.is_file():
        raise ExperimentStorageError(
            f"Expected {target} to be a file, but got a directory or device. Name a"
            " file."
        )
    try:
        with open(target, "r+b") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _write_snapshot(client: Client, new: Path, *, like: Path | None) -> bytes:
    """Write an experiment to a new file, down to the disk, and return what it holds."""
    with create_like(new, like) as descriptor:
        try:
            client.save_to_json_file(str(new))
        except OSError:
            raise
        except Exception as error:
            raise ExperimentStorageError(
                f"Expected an experiment that Ax can encode as JSON for {new}, but got"
                f" {type(error).__name__}: {error}. Nothing saved before is lost."
                " Replace or register what cannot be encoded."
            ) from error
        os.fsync(descriptor)
    return new.read_bytes()


def _check_loadable(content: bytes, target: Path) -> None:
    """Refuse to save what could not be loaded."""
    fault = _find_fault(content)
    if fault is not None:
        raise ExperimentStorageError(
            f"Expected an experiment that can be loaded again for {target}, but got"
            f" {fault}. Nothing saved before is lost. Give it another name."
        )


def _keep(old: bytes, target: Path) -> None:
    """Keep the content that is to be replaced, with the permissions of its file."""
    suffix = ".previous" if _find_fault(old) is None else ".damaged"
    kept = beside(target, suffix)
    new = beside(kept, ".new")
    try:
        with create_like(new, target) as descriptor:
            new.write_bytes(old)
            os.fsync(descriptor)
        os.replace(new, kept)
    finally:
        with suppress(OSError):
            new.unlink(missing_ok=True)


def _read_saved(target: Path) -> bytes:
    """The content of a file that has to exist."""
    if target.exists() and not target.is_file():
        raise ExperimentStorageError(
            f"Expected a saved experiment in {target}, but got a directory or device."
            " Name a file."
        )
    try:
        return target.read_bytes()
    except FileNotFoundError:
        # Only without a version to go back to may a caller take the experiment for new.
        advice = _advice(target)
        kind = ExperimentStorageError if advice else ExperimentNotFoundError
        raise kind(
            f"Expected a saved experiment in {target}, but there is no such"
            f" file.{advice}"
        ) from None
    except OSError as error:
        raise ExperimentStorageError(
            f"Expected to read {target}, but got {error}.{_advice(target)}"
        ) from error


def _find_fault(content: bytes) -> str | None:
    """What is wrong with the content of a file, None if it looks like an experiment."""
    if not content.strip():
        return "an empty file"
    try:
        snapshot = json.loads(content, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        return f"a truncated or damaged file (no JSON: {error})"
    experiment = snapshot.get("experiment") if isinstance(snapshot, dict) else None
    if not isinstance(experiment, dict) or "__type" not in experiment:
        return "JSON that is no snapshot of an Ax client"
    code = code_in(snapshot)
    if code is not None:
        return f"an expression that is more than arithmetic: {code[:100]!r}"
    return None


def _advice(target: Path) -> str:
    """Where to find the version before a file, with a leading space; or nothing."""
    previous = beside(target, ".previous")
    if not previous.exists():
        return ""
    return (
        f" The version before it is {previous}: load that, or rename it to"
        f" {target.name}."
    )


def _digest(content: bytes) -> bytes:
    """What tells two versions of a file apart."""
    return hashlib.sha256(content).digest()
