"""Every public name says what it is, shows its use, and names the shapes of tensors.

That arguments are described as they are in the signature, and that nothing raised goes
undocumented, is checked by `make lint` (pydoclint, ruff's DOC501).
"""

import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from enum import Enum
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from botorch.acquisition import AcquisitionFunction
from torch import Tensor

import botorch_flexibo
import botorch_flexibo.acquisition

ROOT = Path(botorch_flexibo.__file__).parent
PACKAGES = [
    "botorch_flexibo",
    *sorted(
        f"botorch_flexibo.{path.parent.name}" for path in ROOT.glob("*/__init__.py")
    ),
]
# ``batch_shape x q x d``, a ``m``-dim vector, a scalar, or a tensor of any shape.
SHAPE = re.compile(r"``[^`]+``-dim|``[^`]* x [^`]*``|\bscalar|any shape|dtype")
EXAMPLE = re.compile(r"^Example:\n\s+>>> ", re.MULTILINE)
REFERENCE = re.compile(r":(?:class|func):`(?:[\w.~]*\.)?(\w+)`")
CITATION = re.compile(r"\[(\w+)\]_")


def public() -> list[Any]:
    """Every class and function that a package exports, once."""
    found, seen = [], set()
    for package in PACKAGES:
        if package == "botorch_flexibo.ax" and find_spec("ax") is None:
            continue
        module = importlib.import_module(package)
        for name in module.__all__:
            value = getattr(module, name)
            described = inspect.isclass(value) or inspect.isroutine(value)
            if described and id(value) not in seen:
                seen.add(id(value))
                found.append(pytest.param(value, id=f"{package}.{name}"))
    return found


PUBLIC = public()


def callables(value: Any) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield a function, or the public methods that a class of this package defines."""
    if not inspect.isclass(value):
        yield value.__name__, value
        return
    for name, method in vars(value).items():
        function = getattr(method, "__func__", method)  # class and static methods
        if inspect.isfunction(function) and (
            name in ("__init__", "__call__") or not name.startswith("_")
        ):
            yield name, function


def is_used(value: Any) -> bool:
    """Whether users call a name, rather than fill, catch or derive from it."""
    if not inspect.isclass(value):
        return True
    is_record = is_dataclass(value) or issubclass(value, tuple)
    return not (
        is_record or inspect.isabstract(value) or issubclass(value, (Exception, Enum))
    )


def has_example(value: Any) -> bool:
    """Whether a docstring has an example, which runs with the other doctests."""
    return bool(EXAMPLE.search(inspect.getdoc(value) or ""))


def described_arguments(docstring: str) -> dict[str, str]:
    """Return the description of each argument in an `Args` section."""
    section = re.search(r"^Args:\n((?:[ ]{4}.*\n?|\n)*)", docstring, re.MULTILINE)
    entries = re.split(r"^[ ]{4}(?=\S)", section[1] if section else "", flags=re.M)
    pairs = (entry.partition(":") for entry in entries if entry.strip())
    return {name.strip("* "): " ".join(text.split()) for name, _, text in pairs}


@pytest.mark.parametrize("value", PUBLIC)
def test_every_public_name_has_a_docstring_of_its_own(value: Any) -> None:
    own = vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__
    assert own and own.strip()


@pytest.mark.parametrize("value", [p for p in PUBLIC if is_used(p.values[0])])
def test_every_public_name_shows_its_use_or_names_who_does(value: Any) -> None:
    docstring = inspect.getdoc(value) or ""
    shown = {p.values[0].__name__ for p in PUBLIC if has_example(p.values[0])}
    assert has_example(value) or shown & set(REFERENCE.findall(docstring))


@pytest.mark.parametrize("value", PUBLIC)
def test_every_tensor_argument_names_its_shape(value: Any) -> None:
    silent = []
    for name, function in callables(value):
        described = described_arguments(inspect.getdoc(function) or "")
        for argument, parameter in inspect.signature(function).parameters.items():
            is_tensor = parameter.annotation in ("Tensor", "Tensor | None", Tensor)
            if is_tensor and argument in described:
                if not SHAPE.search(described[argument]):
                    silent.append((name, argument, described[argument]))
    assert silent == []


def test_every_acquisition_function_names_its_source() -> None:
    module: ModuleType = botorch_flexibo.acquisition
    exported = [getattr(module, name) for name in module.__all__]
    functions = [
        value
        for value in exported
        if inspect.isclass(value) and issubclass(value, AcquisitionFunction)
    ]
    assert functions
    for function in functions:
        cited = set(CITATION.findall(inspect.getdoc(function) or ""))
        listed = inspect.getdoc(inspect.getmodule(function)) or ""
        assert cited, f"{function.__name__} cites no source"
        assert all(f".. [{label}]" in listed for label in cited)
