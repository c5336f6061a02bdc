r"""Values that are no numbers, counts or tensors, and how their refusal is tested."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

NAN, INF = float("nan"), float("inf")
# (what is done with a bad argument, the exception, its whole message)
Case = tuple[Callable[[], object], type[Exception], str]

BAD_NUMBERS: dict[str, Any] = {
    "None": None,
    "string": "1",
    "bool": True,
    "complex": 1j,
    "NaN": NAN,
    "list": [1],
}
BAD_COUNTS: dict[str, Any] = {
    **BAD_NUMBERS,
    "inf": INF,
    "1e308": 1e308,
    "fraction": 1.5,
    "0": 0,
    "negative": -1,
}
BAD_COSTS = {"0": 0.0, "negative": -1.0, "NaN": NAN, "inf": INF, "-inf": -INF}
# Nothing of these is the path of a file.
BAD_PATHS: dict[str, Any] = {
    "0": 0,
    "1": 1,
    "bool": True,
    "fraction": 1.5,
    "NaN": NAN,
    "complex": 1j,
    "bytes": b"x",
    "list": ["x"],
    "empty": "",
    "root": "/",
    "with a zero": "a\0b",
}


def tensor(*values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.double)


def refused(act: Callable[[], object], kind: type[Exception], message: str) -> None:
    """The exception itself, no subclass, with exactly this message."""
    with pytest.raises(kind, match=rf"\A{re.escape(message)}\Z") as info:
        act()
    assert type(info.value) is kind


def no_tensor(name: str, value: object) -> str:
    return (
        f"Expected {name} to be a tensor, but got {type(value).__name__}. Convert it"
        " with `torch.tensor(..., dtype=torch.double)`."
    )


def no_reals(name: str, value: Tensor) -> str:
    return (
        f"Expected {name} of a floating-point dtype, but got {value.dtype}. Convert"
        " real numbers with `.double()`."
    )


def other_place(name: str, like: str, got: str) -> str:
    return (
        f"Expected {name} with the dtype and device of {like}, torch.float64 on cpu,"
        f" but got {got}. Convert one of them with `.to(...)`."
    )


def mask_error(got: str, name: str = "X_evaluation_mask") -> str:
    return (
        f"Expected {name} to be a boolean tensor, but got {got}. Pass a `torch.bool`"
        " tensor with one column per outcome."
    )


def no_path(value: object) -> str:
    return (
        f"Expected the path of a file, a str or os.PathLike, but got {value!r}. Name a"
        " file in a directory that exists."
    )
