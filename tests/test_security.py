r"""Nothing in the package runs what it reads, or talks to anybody."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import botorch_flexibo

ROOT = Path(botorch_flexibo.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

# What makes code of data. Of these modules nothing may be imported.
MODULES_THAT_RUN_DATA = {
    "cloudpickle",
    "code",
    "dill",
    "jsonpickle",
    "marshal",
    "pickle",
    "runpy",
    "shelve",
    "sympy",
}
# These calls neither, by the last part of their name.
CALLS_THAT_RUN_DATA = {
    "__import__",
    "compile",
    "eval",
    "exec",
    "read_pickle",
    "sympify",
    "system",
}
# And nothing that opens connections.
MODULES_THAT_CONNECT = {"ftplib", "http", "requests", "smtplib", "urllib", "xmlrpc"}


def called_name(node: ast.Call) -> tuple[str, bool]:
    """The last part of a called name, and whether it is a method's."""
    if isinstance(node.func, ast.Attribute):
        return node.func.attr, True
    return (node.func.id, False) if isinstance(node.func, ast.Name) else ("", False)


def is_unsafe_load(node: ast.Call) -> bool:
    """Whether this loads an array or a tensor, and may run code."""
    options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    if options.get("allow_pickle", "False") != "False":
        return True
    is_load = ast.unparse(node.func) == "torch.load"
    return is_load and options.get("weights_only") != "True"


def faults(source: str) -> list[str]:
    """What is not allowed in a module."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        forbidden = MODULES_THAT_RUN_DATA | MODULES_THAT_CONNECT
        found += [f"import {name}" for name in names if name.split(".")[0] in forbidden]
        if isinstance(node, ast.Call):
            name, is_method = called_name(node)
            # `model.eval()` and `re.compile(...)` are something else.
            harmless = is_method and name in ("eval", "compile")
            if name in CALLS_THAT_RUN_DATA and not harmless:
                found.append(f"line {node.lineno}: {ast.unparse(node.func)}(...)")
            if is_unsafe_load(node):
                found.append(f"line {node.lineno}: may unpickle")
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_module_runs_data_or_opens_connections(path: Path) -> None:
    assert faults(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from dill import loads",
        "import urllib.request",
        "import torch\ntorch.load('x')",
        "import torch\ntorch.load('x', weights_only=False)",
        "import numpy\nnumpy.load('x', allow_pickle=True)",
        "x = eval('1')",
        "exec('x = 1')",
        "from sympy import sympify",
        "sympify('x')",
        "import os\nos.system('ls')",
    ],
)
def test_the_test_finds_what_it_looks_for(source: str) -> None:
    assert faults(source) != []


def test_the_test_lets_pass_what_is_harmless() -> None:
    source = (
        "import re, torch\nmodel.eval()\nre.compile('x')\n"
        "torch.load('x', weights_only=True)"
    )
    assert faults(source) == []
