r"""Files that hold what must not be lost."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from botorch.exceptions.errors import InputDataError

# What directories answer that cannot be synchronised, or not by this user.
_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EACCES}


def resolve(path: str | os.PathLike[str]) -> Path:
    """The absolute path of the file itself, behind links, ``~`` expanded.

    Args:
        path: What was passed.

    Returns:
        The path.

    Raises:
        InputDataError: If it can be no path of a file.
    """
    text: object = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
    target = Path()
    if isinstance(text, str) and text != "" and "\0" not in text:
        target = Path(os.path.realpath(os.path.expanduser(text)))
    if target.name == "":
        raise InputDataError(
            "Expected the path of a file, a str or os.PathLike, but got"
            f" {path!r}. Name a file in a directory that exists."
        )
    return target


def beside(target: Path, suffix: str) -> Path:
    """A file that belongs to the target: its name with a suffix."""
    return target.with_name(target.name + suffix)


@contextmanager
def create_like(path: Path, model: Path | None) -> Iterator[int]:
    """Create an empty file in place of any old one, and open it.

    Args:
        path: The file.
        model: A file whose owner and permissions it gets. None means
            that only the owner may read and write it.

    Yields:
        Its descriptor.
    """
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        if model is not None:
            if sys.platform != "win32":
                status = model.stat()
                with suppress(OSError):
                    os.chown(path, status.st_uid, status.st_gid)
            shutil.copymode(model, path)
        yield descriptor
    finally:
        os.close(descriptor)


def sync_directory(directory: Path) -> None:
    """Write the names in a directory down to the disk."""
    if sys.platform == "win32":
        return  # no such call
    try:
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
