"""The house keeps its shape: imports point one way, types and style hold, and what ships is whole."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import scheduler
from scheduler.ports_store import Store
from scheduler.store.migrate import newest_revision
from tests.support.skips import unlisted_skips

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "scheduler"


def run(*arguments: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTEST_ADDOPTS")}
    return subprocess.run(
        arguments, cwd=cwd, env=clean | environment, capture_output=True, text=True, timeout=300, check=False
    )


def test_the_package_is_ours_and_not_its_namesake() -> None:
    """Another distribution on PyPI has an import package of the same name."""
    found = Path(scheduler.__file__).resolve()
    if found.is_relative_to(ROOT):
        return
    owners = importlib.metadata.packages_distributions()["scheduler"]
    assert owners == ["nightshot"], f"{found} belongs to {owners}"


def test_imports_point_one_way() -> None:
    # Run beside the sources, so that the package that is checked is this one.
    done = run(sys.executable, "-c", "from importlinter.cli import lint_imports_command as lint; lint()")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_types_are_strict_and_hold() -> None:
    done = run(sys.executable, "-m", "mypy")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("check", [("check",), ("format", "--check")], ids=["lint", "format"])
def test_the_style_holds(check: tuple[str, ...]) -> None:
    folders = [name for name in ("scheduler", "migrations", "tests", "benchmarks") if (ROOT / name).is_dir()]
    done = run(sys.executable, "-m", "ruff", *check, *folders)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("folder", ["core", "policies"])
def test_decisions_never_wait(folder: str) -> None:
    waiting = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
    for file in (PACKAGE / folder).rglob("*.py"):
        found = [node.lineno for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, waiting)]
        assert not found, f"{file.relative_to(ROOT)} waits in lines {found}"


def test_decisions_hold_no_float_for_money() -> None:
    text = (PACKAGE / "core" / "money.py").read_text()
    names = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    assert "float" not in names


def test_files_stay_short() -> None:
    long = {
        str(file.relative_to(ROOT)): lines
        for file in PACKAGE.rglob("*.py")
        if (lines := len(file.read_text().splitlines())) > 400
    }
    assert long == {}


def test_the_store_keeps_every_promise_of_its_protocol() -> None:
    """mypy compares the signatures; this says it where a store is built."""
    from scheduler.store.engine import SqliteStore
    from scheduler.store.postgres import PostgresStore

    for store in (SqliteStore, PostgresStore):
        assert all(hasattr(store, name) for name in vars(Store) if not name.startswith("_"))


# -------------------------------------------------------------------------------------------- what ships


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    done = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder))
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("nightshot-*.whl")
    return built


def test_the_wheel_carries_what_a_machine_without_a_checkout_needs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    wanted = {f"scheduler/{file.relative_to(PACKAGE)}" for file in PACKAGE.rglob("*.py")}
    for folder, shipped in (("migrations", "_migrations"), ("config", "_config"), ("systemd", "_systemd")):
        files = [f for f in (ROOT / folder).rglob("*") if f.is_file() and "__pycache__" not in f.parts]
        assert files, f"{folder} is empty"
        wanted |= {f"scheduler/{shipped}/{file.relative_to(ROOT / folder)}" for file in files}
    wanted |= {"scheduler/py.typed", "scheduler/_migrations/env.py"}
    assert wanted - names == set()
    assert not {name for name in names if name.startswith(("tests/", "benchmarks/"))}


def test_an_installed_wheel_upgrades_a_database_by_itself(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    script = (
        "import pathlib, sys; from scheduler.store.migrate import migrations_dir, upgrade; "
        "print(migrations_dir()); print(upgrade(sys.argv[1], pathlib.Path('.')))"
    )
    done = run(
        sys.executable,
        "-c",
        script,
        f"sqlite:///{tmp_path / 'x.db'}",
        cwd=tmp_path,
        PYTHONPATH=str(tmp_path / "site"),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        str(tmp_path / "site" / "scheduler" / "_migrations"),
        f"['schema none → {newest_revision()}']",
    ]


# ---------------------------------------------------------------------------------- how the tests are run


@pytest.mark.parametrize(
    ("line", "passes"),
    [
        ("", False),
        ("*::test_skipped  # no quantum computer here", True),
        ("*::test_skipped  # another reason", False),
        ("*::test_skipped", False),  # a pattern without its reason allows nothing
        ("*::test_another  # no quantum computer here", False),
        ("# *::test_skipped  # no quantum computer here", False),
    ],
)
def test_a_skip_is_allowed_by_its_name_and_its_reason(line: str, passes: bool) -> None:
    report = pytest.TestReport(
        "test_x.py::test_skipped",
        ("test_x.py", 1, "test_skipped"),
        {},
        "skipped",
        ("test_x.py", 1, "Skipped: no quantum computer here"),
        "call",
    )
    assert (unlisted_skips([report], [line]) == []) == passes


@pytest.mark.parametrize("arguments", [(), ("-n", "1")], ids=["alone", "with workers"])
def test_a_run_with_a_skip_that_is_not_on_the_list_fails(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "test_x.py").write_text(
        "import pytest\ndef test_good(): pass\ndef test_skipped(): pytest.skip('just so')\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    options = [
        "-c",
        str(tmp_path / "pytest.ini"),
        "-p",
        "tests.conftest",
        "-p",
        "no:cacheprovider",
        *arguments,
    ]
    done = run(sys.executable, "-m", "pytest", str(tmp_path), *options)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "skipped without being on allowed_skips.txt" in done.stdout
    assert "just so" in done.stdout
    if arguments:
        return
    done = run(sys.executable, "-m", "pytest", str(tmp_path), *options, "-k", "good")
    assert done.returncode == 0, done.stdout + done.stderr
