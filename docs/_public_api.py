"""Directives that describe what a package exports, and how references are resolved.

`public-api` describes the names in a package's `__all__`, under the name that users
import them by, grouped by module. A group starts with the docstring of its module,
which names the sources, and ends with what the module exports beyond the package.
`public-names` is the short form: one line per name, linked to its description.
"""

from __future__ import annotations

import builtins
import importlib
import inspect
import pkgutil
import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import ModuleType

import ax.exceptions.core
import ax.exceptions.generation_strategy
import botorch.exceptions.errors
import torch
from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective

PACKAGE = "botorch_flexibo"
LONGEST_VALUE = 100
# `<factory>`, `<function f at 0x7f>`, `<bound method C.f of <class 'C'>>`.
UNREADABLE = re.compile(
    r"<(?:(?:function|bound method) ([\w.]+)|[a-z])[^<>]*(?:<[^<>]*>[^<>]*)*>"
)
CITATION = re.compile(r"\.\. \[(\w+)\]")
# Where names stand for themselves in docstrings: `Raises: InputDataError: ...`.
FOREIGN = (
    builtins,
    torch,
    botorch.exceptions.errors,
    ax.exceptions.core,
    ax.exceptions.generation_strategy,
)


def exports(module: ModuleType) -> list[str]:
    """Return what a module exports: `__all__`, or what it defines itself."""
    own = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and getattr(value, "__module__", None) == module.__name__
    ]
    return list(getattr(module, "__all__", own))


def submodules(package: ModuleType) -> list[ModuleType]:
    """Return the public modules of a package that say what they export."""
    found = [
        importlib.import_module(f"{package.__name__}.{info.name}")
        for info in pkgutil.iter_modules(getattr(package, "__path__", ()))
        if not info.name.startswith("_") and not info.ispkg
    ]
    return [module for module in found if hasattr(module, "__all__")]


def module_of(name: str, package: ModuleType) -> str:
    """Return the module that an exported name is listed with."""
    home = getattr(getattr(package, name), "__module__", None)
    if not isinstance(home, str) or not home.startswith(PACKAGE):
        home = package.__name__
    if not home.rpartition(".")[2].startswith("_") and home != package.__name__:
        return home
    listed = [m.__name__ for m in submodules(package) if name in m.__all__]
    return listed[0] if listed else home


def public_name(name: str, package: ModuleType) -> str:
    """Return the full name under which an exported name is described."""
    home = package.__name__
    if home == PACKAGE:
        parent = ".".join(module_of(name, package).split(".")[:2])
        if name in getattr(importlib.import_module(parent), "__all__", ()):
            home = parent
    return f"{home}.{name}"


def constant(full_name: str, value: object) -> list[str]:
    """Return the lines that describe a value of one of the package's classes.

    autodoc looks for its docstring where it is imported, not where it is written.
    """
    written = ModuleAnalyzer.for_module(type(value).__module__).find_attr_docs()
    doc = written.get(("", full_name.rpartition(".")[2]), [])
    text = repr(value)
    lines = [f".. py:data:: {full_name}"]
    if len(text) <= LONGEST_VALUE:
        lines.append(f"   :value: {text}")
    return [*lines, "", *(f"   {line}" for line in doc), ""]


def description(full_name: str) -> list[str]:
    """Return the autodoc lines that describe a name."""
    package, _, name = full_name.rpartition(".")
    value = getattr(importlib.import_module(package), name)
    if type(value).__module__.startswith(PACKAGE):
        return constant(full_name, value)
    kind = "function" if inspect.isroutine(value) else "data"
    record = list(getattr(value, "_fields", ()))
    if inspect.isclass(value):
        kind = "class"
        if is_dataclass(value):
            record = [field.name for field in fields(value)]
    lines = [f".. auto{kind}:: {full_name}"]
    if record:  # its `Attributes` section has them
        lines.append(f"   :exclude-members: {', '.join(record)}")
    return [*lines, ""]


class PublicAPI(SphinxDirective):
    """Describe the public names of a package that no other describes."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the descriptions."""
        package = importlib.import_module(self.arguments[0])
        groups: dict[str, list[str]] = {}
        for name in exports(package):
            full_name = public_name(name, package)
            if full_name == f"{package.__name__}.{name}":
                groups.setdefault(module_of(name, package), []).append(full_name)
        lines = [f".. automodule:: {package.__name__}", "   :no-members:", ""]
        for home in sorted(groups):
            module = importlib.import_module(home)
            if module is not package:
                lines += [f".. rubric:: {home}", "   :heading-level: 2", ""]
                lines += [f".. automodule:: {home}", "   :no-members:", ""]
                groups[home] += [
                    f"{home}.{name}"
                    for name in getattr(module, "__all__", ())
                    if name not in exports(package)
                ]
            for full_name in groups[home]:
                lines += description(full_name)
        return self.parse_text_to_nodes("\n".join(lines))


class PublicNames(SphinxDirective):
    """List the names in the `__all__` of a package with their first lines."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the list."""
        package = importlib.import_module(self.arguments[0])
        lines = []
        for name in exports(package):
            value = getattr(package, name)
            role = "class" if inspect.isclass(value) else "func"
            summary = (inspect.getdoc(value) or "").partition("\n")[0]
            lines.append(f"- :py:{role}:`~{public_name(name, package)}`: {summary}")
        return self.parse_text_to_nodes("\n".join(lines))


def is_text(target: str) -> bool:
    """Whether a name is shown as text: it exists, but this site does not describe it.

    Args:
        target: The name.
    """
    if "." not in target:
        return any(hasattr(module, target) for module in FOREIGN)
    if not target.startswith(PACKAGE):
        return True
    module, _, name = target.rpartition(".")
    try:
        return hasattr(importlib.import_module(module), name)
    except ImportError:
        return False


def resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.Node | None:
    """Resolve a bare name to the public one, and names of other packages to text.

    Args:
        app: The application.
        env: Its environment.
        node: A reference that Sphinx could not resolve.
        content: What it shows.

    Returns:
        A link, the content, or None, which Sphinx reports.
    """
    target: str = node.get("reftarget", "")
    if node.get("refdomain") != "py":
        return None
    # A class by the module that defines it is known to autodoc, its methods are not.
    short = ".".join(target.split(".")[-2:]) if target.startswith(PACKAGE) else target
    domain = env.domains.python_domain
    found = [
        name
        for name, entry in domain.objects.items()
        if name.endswith(f".{short}") and not entry.aliased
    ]
    if len(found) == 1:
        return domain.resolve_xref(
            env, node["refdoc"], app.builder, "obj", found[0], node, content
        )
    return content if is_text(target) else None


def cite_once(name: str, lines: list[str]) -> None:
    """Turn a source that an earlier module of the package lists into a reference.

    Args:
        name: The module whose docstring this is.
        lines: The docstring, changed in place.
    """
    home = Path(importlib.import_module(PACKAGE).__file__ or "").parent
    for index in reversed(range(len(lines))):
        match = CITATION.match(lines[index])
        if not match:
            continue
        paths = sorted(home.rglob("*.py"))
        first = next(p for p in paths if f".. [{match[1]}]" in p.read_text("utf-8"))
        if ".".join(first.relative_to(home.parent).with_suffix("").parts) != name:
            end = index + 1
            while end < len(lines) and lines[end].startswith(" "):
                end += 1
            lines[index:end] = [f"- [{match[1]}]_", ""]


def prepare_docstring(
    app: Sphinx, what: str, name: str, value: object, options: object, lines: list[str]
) -> None:
    r"""Make a docstring ready for napoleon, which runs after this.

    Types are in signatures only here, but napoleon takes "The runner: close it." in
    `Returns` or in a property's docstring for a type and its description. An escaped
    space in front, which is not shown, keeps it from that.

    Args:
        app: The application.
        what: The kind of object.
        name: Its full name.
        value: The object.
        options: The options of its directive.
        lines: The docstring, changed in place.
    """
    if what == "module":
        cite_once(name, lines)
    if lines and lines[0].startswith("Create new instance of"):
        lines.clear()  # a named tuple's
    if what in ("property", "attribute") and lines:
        lines[:0] = ["\\ "]
    for index in reversed(range(len(lines))):
        if lines[index].strip() in ("Returns:", "Yields:"):
            following = lines[index + 1]
            indent = following[: len(following) - len(following.lstrip())]
            lines.insert(index + 1, indent + "\\ ")


def readable_signature(
    app: Sphinx, what: str, name: str, value: object, options: object, *parts: str
) -> tuple[str, ...]:
    """Write a default that has no source form as the name of a function, or as dots.

    Args:
        app: The application.
        what: The kind of object.
        name: Its full name.
        value: The object.
        options: The options of its directive.
        *parts: The signature and the annotation of what is returned.

    Returns:
        Both parts.
    """
    return tuple(
        part and UNREADABLE.sub(lambda found: found[1] or "...", part) for part in parts
    )


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives and the resolver."""
    app.add_directive("public-api", PublicAPI)
    app.add_directive("public-names", PublicNames)
    app.connect("autodoc-process-docstring", prepare_docstring, priority=400)
    app.connect("autodoc-process-signature", readable_signature)
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
