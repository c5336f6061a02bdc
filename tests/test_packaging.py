"""What a wheel and a source distribution contain, and what they say of themselves."""

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest
from packaging.metadata import Metadata
from packaging.requirements import Requirement

import botorch_flexibo

pytest.importorskip("hatchling", reason="packages are built with the extra `docs`")

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "botorch_flexibo"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
# Half a megabyte of code and recorded tables; results and figures would be far more.
LARGEST_WHEEL = 1_000_000
LARGEST_SDIST = 2_000_000


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT],
        check=True,
        capture_output=True,
        text=True,
    )
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Iterator[zipfile.ZipFile]:
    (path,) = dist.glob("*.whl")
    assert path.stat().st_size < LARGEST_WHEEL
    with zipfile.ZipFile(path) as archive:
        yield archive


@pytest.fixture(scope="module")
def sdist_files(dist: Path) -> set[str]:
    (path,) = dist.glob("*.tar.gz")
    assert path.stat().st_size < LARGEST_SDIST
    with tarfile.open(path) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Metadata:
    (name,) = [n for n in wheel.namelist() if n.endswith(".dist-info/METADATA")]
    # Raises if a field is invalid, as an index would.
    return Metadata.from_email(wheel.read(name), validate=True)


def package_files() -> set[str]:
    """All files of the package but what Python and editors leave behind."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix in {".py", ".typed", ".gz"}
    }


def test_the_wheel_holds_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    inside = {n for n in wheel.namelist() if ".dist-info/" not in n}
    assert inside == package_files()


def test_the_wheel_has_the_recorded_tables_the_type_marker_and_the_licence(
    wheel: zipfile.ZipFile,
) -> None:
    names = wheel.namelist()
    tables = {path.name for path in (PACKAGE / "test_functions" / "data").iterdir()}
    assert {"crossbar_digits.csv.gz", "deep_shift_digits.csv.gz"} <= tables
    for table in tables:
        assert f"botorch_flexibo/test_functions/data/{table}" in names
    assert "botorch_flexibo/py.typed" in names
    assert any(n.endswith(".dist-info/licenses/LICENSE") for n in names)


def test_the_source_distribution_has_code_tests_and_documents(
    sdist_files: set[str],
) -> None:
    expected = {
        "README.md",
        "CHANGELOG.md",
        "LICENSE",
        "CITATION.cff",
        "constraints.txt",
        "Makefile",
        "pyproject.toml",
        "docs/conf.py",
        "docs/design.md",
        "benchmarks/demo.py",
        "tests/test_packaging.py",
    }
    assert expected | package_files() <= sdist_files


def test_the_source_distribution_has_no_results_outputs_or_figures(
    sdist_files: set[str],
) -> None:
    bulky = {".ipynb", ".png", ".svg", ".jsonl", ".pyc"}
    found = {
        name
        for name in sdist_files
        if PurePosixPath(name).suffix in bulky
        or name.startswith(("benchmarks/results", "build", "dist", "out/"))
    }
    assert found == set()


def test_metadata_is_valid_and_says_what_pyproject_says(metadata: Metadata) -> None:
    assert metadata.name == PROJECT["name"]
    assert str(metadata.version) == PROJECT["version"]
    assert str(metadata.requires_python) == PROJECT["requires-python"]
    assert metadata.license_expression == PROJECT["license"]
    extras = set(PROJECT["optional-dependencies"])
    # Names with `_` are written with `-`.
    assert set(metadata.provides_extra or ()) == {e.replace("_", "-") for e in extras}
    assert metadata.description_content_type == "text/markdown"


def test_the_version_is_stated_alike_everywhere() -> None:
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert botorch_flexibo.__version__ == PROJECT["version"]
    assert f"\nversion: {PROJECT['version']}\n" in citation


def test_installing_without_extras_asks_for_the_dependencies_only(
    metadata: Metadata,
) -> None:
    # With no extra, what an extra asks for does not apply.
    plain = {
        str(requirement)
        for requirement in metadata.requires_dist or ()
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    }
    assert plain == {str(Requirement(text)) for text in PROJECT["dependencies"]}
