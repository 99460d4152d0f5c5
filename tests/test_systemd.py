"""The unit fits the daemon: what systemd checks, what the sandbox needs, what the daemon tells systemd."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from scheduler.client import Client
from scheduler.errors import SettingsError
from scheduler.home import Home
from scheduler.settings_tree import Settings
from tests.support.readme import ROOT

UNIT = ROOT / "systemd" / "nightshot.service"
PROGRAM = "/opt/nightshot/bin/nightshot"
PATIENCE_S = 60.0
#: `systemd-analyze security`, at most. What is left is network, users and namespaces, which are needed.
EXPOSURE_MAX = 1.8

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed here"
)


def directives() -> dict[str, list[str]]:
    """Every line of the unit, by name; a name may come several times."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in UNIT.read_text(encoding="utf-8").splitlines():
        if "=" in line and not line.startswith(("#", ";", "[")):
            name, _, value = line.partition("=")
            found[name].append(value)
    return dict(found)


LINES = directives()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Type", "notify"),
        ("ExecStart", f"{PROGRAM} run"),
        ("StateDirectory", "nightshot"),
        ("RuntimeDirectory", "nightshot"),
        ("ConfigurationDirectory", "nightshot"),
        ("LoadCredential", "coda-token:/etc/nightshot/coda-token"),
        ("Restart", "on-failure"),
        ("KillMode", "mixed"),
        ("OOMPolicy", "continue"),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
    ],
)
def test_the_unit_says(name: str, value: str) -> None:
    assert LINES[name] == [value]


def test_a_stop_lasts_longer_than_the_drain() -> None:
    assert int(LINES["TimeoutStopSec"][0]) > 2 * Settings().drain.timeout_s


def test_a_wrong_configuration_is_not_started_again_and_again() -> None:
    assert LINES["RestartPreventExitStatus"] == [str(SettingsError.exit_code)]


def test_owners_and_callers_keep_their_names() -> None:
    assert "PrivateUsers" not in LINES
    assert "DynamicUser" not in LINES


def test_the_simulator_may_lock_itself_down() -> None:
    source = (ROOT / "scheduler" / "circuits" / "sandbox.py").read_text(encoding="utf-8")
    (unshared,) = re.findall(r"_libc\.unshare\(([^)]*)\)", source)
    wanted = {name.lower() for name in re.findall(r"CLONE_NEW(\w+)", unshared)}
    assert set(LINES["RestrictNamespaces"][0].split()) == wanted
    allowed_again = set(LINES["SystemCallFilter"][-1].split())
    assert {
        "capset",
        "landlock_create_ruleset",
        "landlock_add_rule",
        "landlock_restrict_self",
    } <= allowed_again
    assert "ProcSubset" not in LINES, "Qiskit reads /proc/meminfo when it is loaded"


def runnable_unit(folder: Path) -> Path:
    """The unit with a program that exists on this machine, for systemd's own checks."""
    copy = folder / UNIT.name
    copy.write_text(UNIT.read_text(encoding="utf-8").replace(PROGRAM, sys.executable), encoding="utf-8")
    return copy


@needs_systemd
def test_systemd_finds_nothing_to_complain_about(tmp_path: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(runnable_unit(tmp_path))],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    ours = [line for line in (done.stdout + done.stderr).splitlines() if UNIT.name in line]
    assert ours == []


@needs_systemd
def test_the_unit_exposes_little(tmp_path: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--no-pager", str(runnable_unit(tmp_path))],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    overall = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert overall, done.stdout + done.stderr
    assert float(overall[1]) <= EXPOSURE_MAX


def test_the_daemon_lives_with_what_systemd_hands_it(tmp_path: Path) -> None:
    state, runtime, configuration, credentials = (tmp_path / name for name in ("state", "run", "etc", "cred"))
    for folder in (state, runtime, configuration, credentials):
        folder.mkdir()
    (configuration / "nightshot.toml").write_text('[log]\nlevel = "warning"\n')
    (credentials / "coda-token").write_text("")  # as docs/operations.md makes it: no token yet
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    # An abstract name: the path of a test's folder may be too long for a socket.
    address = f"nightshot-test-{os.getpid()}"
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("NIGHT", "CODA"))
    }
    environment |= {
        "NOTIFY_SOCKET": f"@{address}",
        "STATE_DIRECTORY": str(state),
        "RUNTIME_DIRECTORY": str(runtime),
        "CONFIGURATION_DIRECTORY": str(configuration),
        "CREDENTIALS_DIRECTORY": str(credentials),
    }
    with channel:
        channel.bind(f"\0{address}")
        channel.settimeout(PATIENCE_S)
        command = [sys.executable, "-m", "scheduler.cli", "run"]
        with subprocess.Popen(command, env=environment, cwd=ROOT) as daemon:
            try:
                assert channel.recv(1024) == b"READY=1"
                view = Client(Home(tmp_path / "elsewhere", runtime)).call("status")
                assert (view["pid"], view["home"]) == (daemon.pid, str(state))
                daemon.terminate()
                assert channel.recv(1024) == b"STOPPING=1"
                assert daemon.wait(PATIENCE_S) == 0
            finally:
                daemon.kill()
