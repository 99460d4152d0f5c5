"""The real daemon: appointments are kept, nobody sits up for one, and a hold is lifted by a command."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.support.daemon import Daemon
from tests.support.spool import qasm


def now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - the daemon under test lives in real time


def headed(**fields: str) -> str:
    lines = [f'// {name} = "{value}"' for name, value in fields.items()]
    return "\n".join(["// /// nightshot", *lines, "// ///", qasm(1)])


def later() -> str:
    """Hours that are closed now, at whatever time of day somebody tests."""
    opens, closes = (now() + timedelta(hours=hours) for hours in (6, 7))
    return f'[windows.later]\nopen = "{opens:%H:%M}"\nclose = "{closes:%H:%M}"\ntimezone = "UTC"\n'


def listed(daemon: Daemon) -> dict[str, dict[str, Any]]:
    """The jobs by their names, asked by the command, which needs no daemon."""
    asked = daemon.ask("jobs", "--all", "--json")
    return {job["name"]: job for job in json.loads(asked.stdout)["jobs"]}


def test_until_idle_leaves_appointments_and_holds_for_later(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "home", config=later())
    daemon.drop("plain.qasm", qasm(2))
    daemon.drop("window.qasm", headed(window="later"))
    daemon.drop("early.qasm", headed(not_before=f"{now() + timedelta(hours=1):%Y-%m-%dT%H:%MZ}"))
    assert daemon.run_until_idle() == 0
    found = listed(daemon)
    states = {name: job["state"] for name, job in found.items()}
    assert states == {"plain.qasm": "completed", "window.qasm": "waiting", "early.qasm": "waiting"}
    window = daemon.ask("show", found["window.qasm"]["job"])
    assert "✗ window: window later is closed; it opens at" in window.stdout
    assert "✗ not-before: not before" in daemon.ask("show", found["early.qasm"]["job"]).stdout


def test_until_idle_leaves_what_is_on_hold_and_goes_on_when_it_is_released(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "home")
    daemon.drop("a.qasm", headed(not_before=f"{now() + timedelta(hours=1):%Y-%m-%dT%H:%MZ}"))
    daemon.drop("b.qasm", qasm(2))
    assert daemon.run_until_idle() == 0
    held = listed(daemon)["a.qasm"]["job"]
    assert daemon.ask("hold", held, "--reason", "look first").returncode == 0
    assert "✗ held: put on hold by" in daemon.ask("show", held).stdout
    assert daemon.run_until_idle() == 0
    assert daemon.ask("release", held).stdout == f"{held} is released\n"


def test_a_job_starts_at_its_time_and_one_ends_at_its_deadline(tmp_path: Path) -> None:
    with Daemon(tmp_path / "home", config='[backends."local:simulator"]\nslots = 1\n') as daemon:
        soon = now() + timedelta(seconds=3)
        daemon.drop("early.qasm", headed(not_before=f"{soon:%Y-%m-%dT%H:%M:%SZ}"))
        never = headed(not_before=f"{soon:%Y-%m-%dT%H:%M:%SZ}", deadline=f"{soon:%Y-%m-%dT%H:%M:%S}.5Z")
        daemon.drop("late.qasm", never)
        daemon.until(lambda: len(daemon.jobs()) == 2, "both were taken")
        late = next(job["job"] for job in daemon.jobs() if job["name"] == "late.qasm")
        assert daemon.ask("hold", late, "--reason", "too long").returncode == 0
        daemon.until(lambda: daemon.states() == {"completed": 1, "cancelled": 1}, "both have ended")
        found = {job["name"]: job for job in daemon.jobs()}
        assert found["early.qasm"]["ended_at"] >= f"{soon:%Y-%m-%dT%H:%M:%S}"
        assert "its deadline" in (found["late.qasm"]["reason"] or "")
        assert daemon.stop() == 0


def test_a_zone_that_does_not_exist_stops_the_start_with_file_and_line(tmp_path: Path) -> None:
    config = '[windows.night]\nopen = "22:00"\nclose = "06:00"\ntimezone = "Europe/Berln"\n'
    refused = Daemon(tmp_path / "home", config=config).ask("run", "--until-idle")
    assert refused.returncode == 78
    assert "nightshot.toml:4: windows.night.timezone: no time zone is called 'Europe/Berln'" in refused.stderr


CHAIN = """\
backend = "simulator"
[[jobs]]
name = "last"
after = ["any:broken", "middle"]
circuit = "ghz.qasm"
[[jobs]]
name = "middle"
after = ["first"]
circuit = "ghz.qasm"
[[jobs]]
name = "first"
circuit = "ghz.qasm"
[[jobs]]
name = "broken"
code = "OPENQASM 3.0; qubit q; bit c; bogus q; c = measure q;"
[[jobs]]
name = "never"
after = ["broken"]
circuit = "ghz.qasm"
"""


def test_a_file_of_jobs_runs_in_the_order_it_asks_for(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "home")
    daemon.drop("ghz.qasm", qasm(2))
    daemon.drop("chain.toml", CHAIN)
    assert daemon.run_until_idle() == 0
    found = listed(daemon)
    assert {name: job["state"] for name, job in found.items()} == {
        "first": "completed",
        "middle": "completed",
        "last": "completed",
        "broken": "rejected",
        "never": "cancelled",
    }
    ended = {name: job["ended_at"] for name, job in found.items()}
    assert ended["first"] <= ended["middle"] <= ended["last"]
    broken = found["broken"]["job"]
    assert (
        found["never"]["reason"]
        == f"cancelled: it comes after {broken}, which is rejected and had to complete"
    )


def test_a_file_that_comes_after_no_job_is_put_aside_with_the_reason(tmp_path: Path) -> None:
    with Daemon(tmp_path / "home") as daemon:
        daemon.drop(
            "a.qasm",
            qasm(2).replace("OPENQASM", '// /// nightshot\n// after = ["4711"]\n// ///\nOPENQASM', 1),
        )
        daemon.drop("b.qasm", qasm(1))
        daemon.until(lambda: daemon.states() == {"completed": 1}, "the good one is completed")
        daemon.until(lambda: daemon.whys, "the other one is refused")
        (why,) = daemon.whys.values()
        assert "a.qasm:3: after: there is no job 4711" in why
        refused = daemon.ask("submit", str(next(daemon.home.rejected.glob("a.qasm"))))
        assert refused.returncode == 65
        assert "a.qasm:3: after: there is no job 4711" in refused.stderr
