r"""Expressions in saved experiments: arithmetic, before Ax evaluates them.

Ax 1.3.1 reads objectives, constraints, derived parameters and the names in them with
SymPy, whose parser evaluates what it is given: a call of any built-in function would be
made. What is no arithmetic is therefore refused first.

Before SymPy parses an expression, Ax makes identifiers of the names in it that are
none: `Latency (ms)` becomes `Latency__space____lparen__ms__rparen__`. That changes text
and evaluates nothing, so that what is judged here is what SymPy would be given.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ax.utils.common.string_utils import sanitize_name

# Keys of Ax's JSON whose strings are expressions. In those of derived parameters and
# metrics Ax takes `f(x)` for a call; elsewhere it is a name.
_CALLS = "expression_str"
_EXPRESSIONS = {_CALLS, "expression", "inequality", "equality"}
# Attributes of Ax's classes that hold data by names of the user's own. Values there are
# never names; the keys are.
_DATA = {
    "Arm": "parameters",
    "ObservationFeatures": "parameters",
    "Trial": "run_metadata",
    "BatchTrial": "run_metadata",
}
# Older formats make expressions of names; most names never are one, so that only what
# no name would be is refused: a call in a call, an empty one, a large power.
_CALL_IN_NAME = re.compile(r"\w\s*\([^)]*\(|\w\s*\(\s*\)")
_POWER_IN_NAME = re.compile(r"(?:\*\*|\^)(?!\s*[A-Za-z_])")
_LONGEST = 10_000
_FUNCTIONS = ("log", "exp", "sqrt", "sin", "cos", "tan", "tanh", "Abs", "Max", "Min")
_FUNCTION = re.compile(rf"\b(?:{'|'.join(_FUNCTIONS)})\(")
# Names of functions that Python or SymPy would call with a symbol.
_CALL = re.compile(r"[\w\])}]\s*[(\[{]")
_ATTRIBUTE = re.compile(r"(?<!\d)\.\s*[A-Za-z_]|\d\s+\.\s*[A-Za-z_]|\d\.\d*\.")
_STRING = re.compile(r"[\"'`\[{\\;#]|\blambda\b|\bif\b|\bfor\b|:=")
# What makes large numbers of small ones, besides powers: factorials and shifts.
_LARGE = re.compile(r"!|<<")
_POWER = re.compile(r"\*\*|\^")
_SMALL_POWER = re.compile(
    r"[\w.]\s*(?:\*\*|\^)\s*-?\d{1,2}(?:\.\d{1,9})?(?![\w.]|\s*(?:\*\*|\^))"
)
# What Ax takes out of outcome constraints first.
_BASELINE = (
    (re.compile(r"\s*\*\s*baseline\b"), ""),
    (re.compile(r"\bbaseline\b"), "1"),
)


def code_in(value: Any, key: str = "", *, is_data: bool = False) -> str | None:
    r"""Find what Ax would run in the JSON of an experiment.

    Args:
        value: Plain data: what was read, or a part of it.
        key: The key that it stands under.
        is_data: Whether that key is the name of a parameter, or another of the user's.

    Returns:
        The first expression that is more than arithmetic, None if there is none.
    """
    if isinstance(value, str):
        is_code = not is_data and _is_refused(value, key)
        return value if is_code else None
    if isinstance(value, dict):
        bad = next((name for name in value if _is_code_name(name)), None)
        if bad is not None:
            return bad
        kind = value.get("__type")
        data = _DATA.get(kind) if isinstance(kind, str) else None
        is_data = is_data and kind is None
        parts = ((v, name, is_data or name == data) for name, v in value.items())
    else:
        items = value if isinstance(value, list) else []
        parts = ((item, key, is_data) for item in items)
    found = (code_in(item, name, is_data=data) for item, name, data in parts)
    return next((code for code in found if code is not None), None)


def _is_refused(text: str, key: str) -> bool:
    if "name" in key and _is_code_name(text):
        return True
    return key in _EXPRESSIONS and any(_is_code(v, key) for v in _variants(text))


def _is_code_name(text: str) -> bool:
    powers = _SMALL_POWER.sub("", text)
    return bool(_CALL_IN_NAME.search(text)) or bool(_POWER_IN_NAME.search(powers))


def _variants(text: str) -> Iterator[str]:
    """An expression, and what Ax would make of it in an outcome constraint."""
    yield text
    if "baseline" in text:
        for pattern, new in _BASELINE:
            yield pattern.sub(new, text)


def _is_code(text: str, key: str) -> bool:
    if len(text) > _LONGEST:
        return True
    try:
        plain = sanitize_name(text, sanitize_parens=key != _CALLS)
    except ValueError:  # Ax refuses it too
        plain = text
    plain = _FUNCTION.sub("(", plain)
    patterns = (_CALL, _ATTRIBUTE, _STRING, _LARGE)
    powers = _SMALL_POWER.sub("", plain)
    return any(p.search(plain) for p in patterns) or bool(_POWER.search(powers))
