"""The supported versions of Ax, checked before anything of it is used."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

_AT_LEAST = (1, 3, 1)
_BELOW = (1, 4)
_HOW_TO = "Install it with `pip install 'botorch-flexibo[ax]'`."


def check_ax_version() -> None:
    """Refuse an Ax that this package was not written for.

    Its generation layer is internal to Ax and changes with every minor version.

    Raises:
        ImportError: If Ax is missing or of another version.
    """
    try:
        found = version("ax-platform")
    except PackageNotFoundError as error:
        raise ImportError(
            f"Expected ax-platform>=1.3.1,<1.4, but it is not installed. {_HOW_TO}"
        ) from error
    release = tuple(int(part) for part in found.split(".")[:3] if part.isdigit())
    if not _AT_LEAST <= release < _BELOW:
        raise ImportError(
            f"Expected ax-platform>=1.3.1,<1.4, but found {found}. {_HOW_TO}"
        )
