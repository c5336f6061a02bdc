r"""JSON that comes back to the last bit, and JSON that is refused."""

from __future__ import annotations

import json
import math
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from botorch_flexibo.utils.strict_json import dumps, loads

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda items: st.lists(items) | st.dictionaries(st.text(), items),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text(), PLAIN))
def test_plain_data_comes_back_as_it_was(value: dict[str, object]) -> None:
    text = dumps(value)
    assert loads(text) == value
    assert text.isascii()
    assert b"\n" not in text
    # It is JSON for everybody else too.
    assert json.loads(text) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_come_back_to_the_last_bit(value: float) -> None:
    returned = loads(dumps({"x": value}))["x"]
    assert math.copysign(1, returned) == math.copysign(1, value)
    assert returned.hex() == value.hex()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_not_written(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        dumps({"x": [1.0, value]})


HOSTILE = {
    "NaN": b'{"x": NaN}',
    "infinity": b'{"x": -Infinity}',
    "overflow": b'{"x": 1e400}',
    "key twice": b'{"x": 1, "x": 2}',
    "inner key twice": b'{"y": [{"x": 1, "x": 2}]}',
    "deep lists": b'{"x": ' + 10**5 * b"[" + 10**5 * b"]" + b"}",
    "deep objects": 10**5 * b'{"x":' + b"1" + 10**5 * b"}",
    "unfinished": b'{"x": [1, 2',
    "giant integer": b'{"x": ' + 10**6 * b"9" + b"}",
    "list": b"[1, 2]",
    "number": b"3",
    "nothing": b"",
    "no text": b'{"x": "\xff\xfe"}',
    "code": b'{"x": __import__("os")}',
    "comment": b'{"x": 1} // y',
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", HOSTILE)
def test_anything_else_is_refused(name: str) -> None:
    limit = sys.getrecursionlimit()
    with pytest.raises(ValueError):
        loads(HOSTILE[name])
    assert sys.getrecursionlimit() == limit


def test_names_that_mean_something_to_others_are_data() -> None:
    value = {"__class__": "os.system", "__type": "Experiment", "$ref": "../../etc"}
    assert loads(dumps(value)) == value
