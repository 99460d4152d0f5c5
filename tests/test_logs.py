"""The log: one line an event whatever strangers call their files, no secret, and never what fails."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import sys
from scheduler.logs import start_log
log = start_log("info", sys.argv[1])
log("left in the inbox", file="a\\nb.qasm \\x1b[31mred", odd="caf\\udce9", reason="Bearer coda_secret_canary")
try:
    raise ValueError("inner\\nlines coda_secret_canary")
except ValueError:
    log("stage failed", trace=True)
log("last")
"""


def run(form: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SCRIPT, form]
    return subprocess.run(command, text=True, check=False, **{"stderr": subprocess.PIPE, **options})  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_name_cannot_write_a_line_of_its_own(form: str) -> None:
    done = run(form)
    assert done.returncode == 0
    first = done.stderr.splitlines()[0]
    assert "red" in first
    assert "\x1b" not in done.stderr
    assert "\\udce9" in first.replace("\\\\", "\\")


@pytest.mark.parametrize("form", ["console", "json"])
def test_no_line_and_no_traceback_holds_a_secret(form: str) -> None:
    done = run(form)
    assert "canary" not in done.stderr
    assert "ValueError" in done.stderr


def test_a_log_on_a_full_disk_fails_nobody() -> None:
    with open("/dev/full", "w") as full:
        assert run("console", stderr=full).returncode in (0, 120)  # 120: Python's own last flush


def test_a_log_whose_reader_went_away_fails_nobody() -> None:
    with subprocess.Popen(["true"], stdin=subprocess.PIPE) as reader:
        reader.wait()
        assert run("console", stderr=reader.stdin).returncode in (0, 120)
