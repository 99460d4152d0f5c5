"""`nightshot budget`, `approve`, `edit`, `rerun`, `estimate`: what goes over the wire and what people see."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from scheduler.client import Client, DaemonNotRunning
from scheduler.home import Home
from tests.cli.conftest import Command
from tests.support.control_server import ControlServer, RefusalError
from tests.support.views import AS_OF

CHANGED = {"as_of": AS_OF, "changed": ["done"], "unchanged": []}
WINDOW = {
    "key": "night/cost/night:2026-11-22/everyone",
    "limit": "40.00",
    "spent": "8.00",
    "reserved": "3.30",
    "in_doubt": "1.30",
    "left": "28.70",
    "resets_at": "2026-11-23T11:00:00Z",
}
GRANT = {
    "grant": 1,
    "label": "autumn",
    "state": "active",
    "amount": "100",
    "free": "58",
    "reserved": "2",
    "priority": 0,
    "effective_at": AS_OF,
    "expires_at": "2026-12-31T23:00:00Z",
    "users": ["ada"],
    "projects": [],
    "backends": [],
}
CREDITS = {
    "provider": "coda",
    "free": "58",
    "reserved": "2",
    "spent": "40",
    "unplanned": "0",
    "unexplained": "-5",
    "overage_usd": "0.00",
    "grants": [GRANT],
}


def budget_view(**changed: Any) -> dict[str, Any]:
    night = {
        "name": "night",
        "measure": "cost",
        "unit": "USD",
        "scope": "everyone",
        "of": None,
        "period": "night",
        "limit": "40.00",
        "windows": [WINDOW],
        "more": False,
    }
    armed = {"night_limit_usd": "40.00", "once": False, "night": None, "by": "ada", "at": AS_OF, "reason": ""}
    view = {
        "as_of": AS_OF,
        "timezone": "Europe/Berlin",
        "armed": armed,
        "caps": [night],
        "credits": [CREDITS],
        "alarms": [],
    }
    return {**view, **changed}


# ------------------------------------------------------------------------------------------------ shown


def test_the_budget_is_a_tree_of_what_is_spent_reserved_and_left(
    nightshot: Command, server: ControlServer
) -> None:
    server.answers["budget"] = budget_view(alarms=["cap night is at 50 %"])
    out = nightshot("budget").out
    assert "night  $40.00 of cost a night, everyone together" in out
    assert "spent $8.00 + reserved $3.30 (in doubt $1.30), $28.70 left, new at 23 Nov 12:00:00 CET" in out
    assert "credits of coda  58 free, 2 reserved, 40 spent, overage $0.00" in out
    assert "grant 1, autumn, 58 of 100 free, 2 reserved, until 1 Jan 2027 00:00 CET, only for ada" in out
    assert "-5 unexplained" in out
    assert "! cap night is at 50 %" in out


def test_an_unknown_balance_is_never_nothing(nightshot: Command, server: ControlServer) -> None:
    unknown = {**CREDITS, "free": None, "grants": [], "unexplained": "0"}
    server.answers["budget"] = budget_view(credits=[unknown], armed=None)
    out = nightshot("budget").out
    assert "credits of coda  unknown, no grant is recorded" in out
    assert "night  not armed" in out
    assert "0 free" not in out


def test_an_unlimited_cap_has_no_bar(nightshot: Command, server: ControlServer) -> None:
    cap = {**budget_view()["caps"][0], "name": "runs", "limit": None, "unit": "tasks", "measure": "tasks"}
    cap["windows"] = [{**WINDOW, "limit": None, "left": None, "spent": "3", "reserved": "1", "in_doubt": "0"}]
    server.answers["budget"] = budget_view(caps=[cap])
    out = nightshot("budget").out
    assert "unlimited of tasks" in out
    assert "spent 3 tasks + reserved 1 tasks, no limit" in out
    assert "[" not in out


def test_json_is_the_view(nightshot: Command, server: ControlServer) -> None:
    server.answers["budget"] = budget_view()
    assert json.loads(nightshot("budget", "--json").out) == {"schema": 1, **budget_view()}


def test_the_ledger_shows_both_sides_and_the_next_page(nightshot: Command, server: ControlServer) -> None:
    entries = [
        {"account": "outside:coda", "unit": "credits", "amount": "-100"},
        {"account": "grant:1", "unit": "credits", "amount": "100"},
    ]
    txn = {
        "transaction": 7,
        "at": AS_OF,
        "kind": "settle_over",
        "by": "ada",
        "reason": "the\x1binvoice",
        "job": "12.3",
        "attempt": "a",
        "reverses": None,
        "entries": entries,
    }
    server.answers["budget_ledger"] = {"as_of": AS_OF, "transactions": [txn], "next": 7}
    done = nightshot("budget", "ledger", "--limit", "1", "--account", "grant:1")
    assert server.args_of("budget_ledger") == {"account": "grant:1", "limit": 1}
    assert "settle over" in done.out
    assert "\x1b" not in done.out
    assert "More: nightshot budget ledger --account grant:1 --limit 1 --after 7\n" in done.out
    server.answers["budget_ledger"] = {"as_of": AS_OF, "transactions": [], "next": None}
    assert nightshot("budget", "ledger").out == "Nothing is booked yet.\n"


# --------------------------------------------------------------------------------------------- commands


@pytest.mark.parametrize(
    ("words", "op", "args"),
    [
        (
            ("budget", "cap", "night", "5.30", "--reason", "…"),
            "budget_cap",
            {"name": "night", "limit": "5.30", "tonight": False, "window": None, "reason": "…"},
        ),
        (
            ("budget", "adjust", "-3.5", "--grant", "2", "--reason", "why"),
            "budget_adjust",
            {"credits": "-3.5", "grant": 2, "reason": "why"},
        ),
        (
            ("budget", "observe", "95", "--provider", "coda", "--reason", "why"),
            "budget_observe",
            {"credits": "95", "provider": "coda", "reason": "why"},
        ),
        (
            ("budget", "grant", "1", "--provider", "coda", "--user", "a", "--user", "b", "--reason", "…"),
            "budget_grant",
            {
                "credits": "1",
                "provider": "coda",
                "priority": 0,
                "starts": None,
                "expires": None,
                "users": ["a", "b"],
                "projects": [],
                "backends": [],
                "label": "",
                "reason": "…",
            },
        ),
        (("approve", "12.1"), "approve", {"jobs": ["12.1"], "at_most": None, "reason": ""}),
        (
            ("edit", "14", "--shots", "106"),
            "edit",
            {"job": "14", "shots": 106, "priority": None, "backend": None, "cap": None, "reason": ""},
        ),
    ],
)
def test_what_is_typed_goes_over_the_wire(
    nightshot: Command, server: ControlServer, words: tuple[str, ...], op: str, args: dict[str, Any]
) -> None:
    server.answers[op] = CHANGED
    done = nightshot(*words)
    assert (done.code, done.out) == (0, "done\n"), done.err
    assert server.args_of(op) == args


@pytest.mark.parametrize(
    "words",
    [
        ("budget", "cap", "night", "5"),
        ("budget", "grant", "5", "--provider", "coda"),
        ("budget", "grant", "5", "--reason", "x"),
        ("budget", "adjust", "5", "--reason", "x"),
        ("budget", "observe", "5", "--provider", "coda"),
        ("edit", "14", "--cap", "-1"),
        ("edit", "14", "--shots", "many"),
        ("approve",),
        ("approve", "1", "--at-most", "NaN"),
    ],
)
def test_half_a_command_asks_nobody(
    nightshot: Command, server: ControlServer, words: tuple[str, ...]
) -> None:
    assert nightshot(*words).code == 2
    assert server.calls == []


def test_a_role_that_is_missing_ends_with_four(nightshot: Command, server: ControlServer) -> None:
    def refuse(_args: dict[str, Any]) -> dict[str, Any]:
        raise RefusalError("not-allowed", "ada may not change caps and credits", "roles.caps", 4)

    server.answers["budget_cap"] = refuse
    done = nightshot("budget", "cap", "night", "5", "--reason", "x")
    assert done.code == 4
    assert "roles.caps" in done.err


def test_rerun_prints_the_new_batch(nightshot: Command, server: ControlServer) -> None:
    batch = {"batch": 13, "name": "bell", "jobs": 1, "duplicate_of": None}
    server.answers["rerun"] = {"as_of": AS_OF, "batches": [batch], "refused": []}
    assert nightshot("rerun", "12").out == "Batch 13: bell, 1 job\n"
    assert nightshot("rerun", "12", "-q").out == "13\n"


def price(**changed: Any) -> dict[str, Any]:
    view = {
        "name": "bell",
        "jobs": 2,
        "backend": "coda:iqm",
        "shots": 100,
        "cost_usd": "1.30",
        "source": "coda",
        "lines": ["1 × $0.30 per task"],
        "taken_at": AS_OF,
        "age_s": 90.0,
        "valid_until": AS_OF,
        "why": None,
    }
    return {**view, **changed}


def test_an_estimate_shows_lines_age_and_sum(
    nightshot: Command, server: ControlServer, tmp_path: Path
) -> None:
    (tmp_path / "a.qasm").write_text("OPENQASM 3.0; qubit q;")
    server.answers["estimate"] = {
        "as_of": AS_OF,
        "prices": [price()],
        "jobs": 2,
        "total_usd": "2.60",
        "unknown": 0,
    }
    out = nightshot("estimate", str(tmp_path / "a.qasm")).out
    assert "2 × bell on coda:iqm, 100 shots: $1.30" in out
    assert "from coda, 90 s ago" in out
    assert out.endswith("Together $2.60 for 2 jobs\n")
    assert server.args_of("estimate")["documents"][0]["name"] == "a.qasm"


def test_an_unknown_price_is_no_success(nightshot: Command, server: ControlServer) -> None:
    unknown = price(jobs=1, cost_usd=None, source=None, lines=[], age_s=None, why="503 from Coda")
    server.answers["estimate"] = {
        "as_of": AS_OF,
        "prices": [unknown],
        "jobs": 1,
        "total_usd": None,
        "unknown": 1,
    }
    done = nightshot("estimate", "12.1")
    assert done.code == 1
    assert server.args_of("estimate") == {"job": "12.1"}
    assert "price unknown\n  503 from Coda" in done.out
    assert "$" not in done.out
    assert nightshot("estimate", "12.1", "-q").out == "unknown\n"


# ------------------------------------------------------------------------- with a daemon and without one


@contextmanager
def running_daemon(home: Home) -> Iterator[None]:
    command = [sys.executable, "-m", "scheduler.cli", "--home", str(home.root), "run"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as daemon:
        try:
            _until_it_answers(home, daemon)
            yield
        finally:
            daemon.terminate()
            daemon.wait(30)


def _until_it_answers(home: Home, daemon: subprocess.Popen[bytes]) -> None:
    while True:
        try:
            Client(home).call("budget")
        except DaemonNotRunning:
            assert daemon.poll() is None, "the daemon ended"
        else:
            return


def test_a_daemon_and_no_daemon_do_and_show_the_same(nightshot: Command, home: Home) -> None:
    def shown() -> dict[str, Any]:
        view = json.loads(nightshot("budget", "--json").out)
        return {name: value for name, value in view.items() if name != "as_of"}

    home.root.mkdir()
    (home.root / "nightshot.toml").write_text(
        '[time]\ntimezone = "UTC"\n[caps.month]\nmeasure = "cost"\nperiod = "month"\nlimit = "400.00 USD"\n'
    )
    assert nightshot("budget", "grant", "100", "--provider", "coda", "--reason", "x").code == 0
    assert nightshot("budget", "cap", "month", "300", "--reason", "x").code == 0
    alone = shown()
    with running_daemon(home):
        assert shown() == alone
        assert nightshot("budget", "adjust", "-5", "--grant", "1", "--reason", "x").code == 0
        assert nightshot("budget", "adjust", "-500", "--grant", "1", "--reason", "x").code == 5
        together = shown()
    assert together["credits"][0]["free"] == "95"
    assert shown() == together
    assert nightshot("budget", "adjust", "-500", "--grant", "1", "--reason", "x").code == 5
    ledger = json.loads(nightshot("budget", "ledger", "--json").out)["transactions"]
    assert [txn["kind"] for txn in ledger] == ["adjust", "grant"]
