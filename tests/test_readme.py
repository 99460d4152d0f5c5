"""The README does what it says: its sessions are run with the real daemon and print what is pasted."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from scheduler.client import Client
from scheduler.home import Home
from tests.support.readme import README, ROOT, Step, block_behind, steps

TEXT = README.read_text(encoding="utf-8")
PATIENCE_S = 90.0
BELL_IQM = """\
// /// nightshot
// backend = "iqm"
// ///
OPENQASM 3.0;
include "stdgates.inc";
qubit[2] q;
bit[2] c;
h q[0];
cx q[0], q[1];
c = measure q;
"""


@dataclass(frozen=True)
class Place:
    """A folder with `nightshot` on the path, the README's home and a daemon that is ready."""

    folder: Path
    environment: dict[str, str]
    home: Home

    def run(self, command: str) -> str:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        return done.stdout


def wait_until(what: str, fact: object) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    assert callable(fact)
    while not fact():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.02)


@pytest.fixture(scope="module")
def coda(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Coda on loopback that behaves; the address below which it answers."""
    bills = tmp_path_factory.mktemp("coda") / "bills.jsonl"
    command = [sys.executable, str(ROOT / "tests" / "support" / "coda_server.py"), "--bills", str(bills)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        yield line.split()[-1]
        server.terminate()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, coda: str) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("readme")
    (folder / "bin").mkdir()
    command = folder / "bin" / "nightshot"
    # The script that pip would install; here the interpreter of the tests may have none.
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m scheduler.cli "$@"\n')
    command.chmod(0o755)
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("NIGHTSHOT_", "CODA_", "CREDENTIALS_"))
    }
    environment |= {
        "PATH": f"{folder / 'bin'}:{environment['PATH']}",
        "PYTHONPATH": str(ROOT),
        "NIGHTSHOT_HOME": str(folder / "lab"),
        "TZ": "UTC",
        "PYTHONUTF8": "1",
        "CODA_API_BASE_URL": coda,
        "CODA_API_TOKEN": "coda_of_the_readme",
    }
    (folder / "ghz.qasm").write_text(block_behind(TEXT, "tour: file ghz.qasm"))
    (folder / "bell-iqm.qasm").write_text(BELL_IQM)
    with (folder / "daemon.log").open("wb") as log:
        daemon = subprocess.Popen(
            [str(command), "run"], cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            said = folder / "daemon.log"
            wait_until(
                "the daemon is ready", lambda: daemon.poll() is not None or "ready" in said.read_text()
            )
            assert daemon.poll() is None, said.read_text()
            yield Place(folder, environment, Home(folder / "lab"))
        finally:
            daemon.terminate()
            daemon.wait(PATIENCE_S)


def same_kind(printed: str) -> list[str]:
    """What stays the same from run to run: no figures, bars, times, places or people."""
    text = re.sub(r"/\S*/lab\b", "HOME/lab", printed)
    text = re.sub(r"\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun)\b", "Day", text)
    text = re.sub(r"\b(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\b", "Month", text)
    text = re.sub(r"\(\S+, (\d+ jobs?)\)", r"(somebody, \1)", text)
    text = re.sub(r"[█▌]+", "█", text)
    text = re.sub(r"\d+", "0", text)
    return [re.sub(r" +", " ", line).rstrip() for line in text.rstrip("\n").split("\n")]


def check(place: Place, step: Step) -> None:
    batches = len(Client(place.home).call("status")["batches"])
    printed = place.run(step.command)
    if step.command.startswith("mv "):
        wait_until("the file is queued", lambda: len(Client(place.home).call("status")["batches"]) > batches)
    assert same_kind(printed) == same_kind(step.shown), f"$ {step.command}\n{printed}"


def test_the_first_five_minutes_go_as_they_are_told(place: Place) -> None:
    for step in steps(block_behind(TEXT, "tour: commands")):
        check(place, step)


def test_a_paid_qpu_runs_only_after_arming_as_it_is_told(place: Place) -> None:
    # The numbers of batches in the text follow from the session before it.
    for step in steps(block_behind(TEXT, "tour: paid")):
        check(place, step)
    assert Client(place.home).call("status")["armed"] is None


def test_the_budget_is_shown_and_changed_as_it_is_told(place: Place) -> None:
    # What was spent follows from the session before it, and so do the numbers of grants and transactions.
    for step in steps(block_behind(TEXT, "tour: budget")):
        check(place, step)
    assert Client(place.home).call("status")["armed"] is None


def test_the_commands_around_a_doubt_are_well_formed(place: Place) -> None:
    for line in re.findall(r"(?m)^nightshot resolve 12 .*$", TEXT):
        assert "there is no job 12" in place.run(line), line


@pytest.mark.parametrize(("mark", "extra"), [("run: demo", "local"), ("run: tests", "dev")])
def test_a_line_to_paste_is_one_line_and_installs_what_exists(mark: str, extra: str) -> None:
    block = block_behind(TEXT, mark)
    assert block.count("\n") == 1
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extra in extras
    assert f"'.[{extra}]'" in block
    # A set-up that fails must not go on to report success.
    assert block.count(" && ") == 2
    assert ";" not in block
    assert "|" not in block


def test_the_test_line_is_the_one_that_counts() -> None:
    runner = ROOT / ".ci" / "run"
    if not runner.exists():
        assert (ROOT / "PKG-INFO").exists(), "only a source archive comes without .ci/run"
        return
    assert os.access(runner, os.X_OK)
    assert "<!-- run: tests -->" in runner.read_text()
    assert "pytest" not in runner.read_text().replace("README.md", ""), "nothing else decides"
