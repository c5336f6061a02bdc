r"""JSON without surprises: plain data, finite numbers, each key once."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def dumps(value: Mapping[str, Any]) -> bytes:
    r"""One line of ASCII; floats come back to the last bit.

    Args:
        value: What to write: strings, numbers, booleans, None, lists, dictionaries.

    Returns:
        The text. A number that is not finite is a ``ValueError``.
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.encode("ascii")


def loads(text: bytes) -> dict[str, Any]:
    r"""An object; nothing but plain data can come of it.

    Args:
        text: What was written.

    Returns:
        The object.

    Raises:
        ValueError: If it is no JSON object, is nested too deeply, or has a key twice or
            a number that is not finite.
    """
    try:
        value = _DECODER.decode(text.decode("utf-8"))
    except RecursionError:
        raise ValueError("Expected plain data, but got endless nesting.") from None
    if not isinstance(value, dict):
        raise ValueError(f"Expected a JSON object, but got {type(value).__name__}.")
    return value


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    r"""A dictionary of pairs, for ``json.loads(..., object_pairs_hook=...)``.

    Args:
        pairs: Keys and values.

    Returns:
        The dictionary.

    Raises:
        ValueError: If a key comes more than once.
    """
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"Expected each key once, but got {twice!r} more often.")
    return values


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"Expected finite numbers, but got {text[:40]}.")
    return value


# One for all texts: to build it takes longer than to read a short one.
_DECODER = json.JSONDecoder(
    object_pairs_hook=unique_keys, parse_float=_finite, parse_constant=_finite
)
