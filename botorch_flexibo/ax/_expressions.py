r"""Expressions in saved experiments: arithmetic, before Ax evaluates them.

Ax 1.3.1 reads objectives, constraints, derived parameters and the names in them with
SymPy, whose parser evaluates what it is given: a call of any built-in function would be
made. What is no arithmetic is therefore refused first.
"""

from __future__ import annotations

import re
from typing import Any

# Keys of Ax's JSON whose strings are expressions. In those of derived parameters and
# metrics Ax takes `f(x)` for a call; elsewhere it is a name.
_CALLS = "expression_str"
_EXPRESSIONS = {_CALLS, "expression", "inequality", "equality"}
# Older formats make expressions of names; most names never are one, so that only what
# no name would be is refused: a call in a call, an empty one, a power.
_CODE_IN_NAME = re.compile(r"\w\s*\([^)]*\(|\w\s*\(\s*\)|\*\*")
_LONGEST = 10_000
# A name with something in parentheses, such as `p50(latency)`.
_SYMBOL = re.compile(r"[A-Za-z_]\w*\(\w+\)")
_FUNCTIONS = ("log", "exp", "sqrt", "sin", "cos", "tan", "tanh", "Abs", "Max", "Min")
_FUNCTION = re.compile(rf"\b(?:{'|'.join(_FUNCTIONS)})\(")
# Names of functions that Python or SymPy would call with a symbol.
_CALL = re.compile(r"[\w\])}]\s*[(\[{]")
_ATTRIBUTE = re.compile(r"[)\]}]\s*\.|\d\s+\.\s*[A-Za-z_]")
_STRING = re.compile(r"[\"'`\[{\\;#]|\blambda\b|\bif\b|\bfor\b|:=")
_POWER = re.compile(r"\*\*")
_SMALL_POWER = re.compile(r"[\w.]\s*\*\*\s*-?\d{1,2}(?:\.\d{1,9})?(?![\w.]|\s*\*\*)")


def code_in(value: Any, key: str = "") -> str | None:
    r"""Find what Ax would run in the JSON of an experiment.

    Args:
        value: Plain data: what was read, or a part of it.
        key: The key that it stands under.

    Returns:
        The first expression that is more than arithmetic, None if there is none.
    """
    if isinstance(value, dict):
        for name, item in value.items():
            found = name if _CODE_IN_NAME.search(name) else code_in(item, name)
            if found is not None:
                return found
    elif isinstance(value, list):
        for item in value:
            found = code_in(item, key)
            if found is not None:
                return found
    elif isinstance(value, str):
        is_name = "name" in key and _CODE_IN_NAME.search(value)
        if is_name or (key in _EXPRESSIONS and _is_code(value, key)):
            return value
    return None


def _is_code(text: str, key: str) -> bool:
    plain = text if key == _CALLS else _SYMBOL.sub("symbol", text)
    plain = _FUNCTION.sub("(", plain)
    powers = _SMALL_POWER.sub("", plain)
    return (
        len(text) > _LONGEST
        or bool(_CALL.search(plain))
        or bool(_ATTRIBUTE.search(plain))
        or bool(_STRING.search(plain))
        or bool(_POWER.search(powers))
    )
