"""`nightshot audit` and `nightshot reconcile`: what people see, and how the commands end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.cli.conftest import Command
from tests.support.control_server import ControlServer
from tests.support.views import AS_OF

TRUE = {"code": "conserved", "sentence": "all is conserved", "holds": True, "rows": []}
FALSE = {
    "code": "cap-held",
    "sentence": "caps agree",
    "holds": False,
    "rows": [{"window_key": "night\x1b", "held": 3}],
}


def audit_view(**changed: Any) -> dict[str, Any]:
    view = {"as_of": AS_OF, "clean": True, "invariants": [TRUE], "stopped": None, "lifted": False}
    return {**view, **changed}


def reconcile_view(**changed: Any) -> dict[str, Any]:
    totals = {"runs": 2, "cost_usd": "2.60", "credits": "4", "unknown_costs": 0}
    view = {
        "as_of": AS_OF,
        "provider": "coda",
        "since": "2026-11-22T00:00:00.000Z",
        "until": "2026-11-23T00:00:00.000Z",
        "columns": {"job_id": "job_id", "cents": "cost_cents"},
        "unused_columns": [],
        "bad_rows": [],
        "differences": [],
        "invoice": totals,
        "ours": totals,
        "nameless": 0,
    }
    return {**view, **changed}


def test_each_true_sentence_gets_a_tick(nightshot: Command, server: ControlServer) -> None:
    server.answers["audit"] = audit_view()
    done = nightshot("audit")
    assert (done.code, done.out) == (0, "✓ all is conserved\n")
    assert nightshot("audit", "-q").out == ""


def test_a_broken_one_shows_its_rows_and_what_follows(nightshot: Command, server: ControlServer) -> None:
    server.answers["audit"] = audit_view(clean=False, invariants=[TRUE, FALSE], stopped="an audit found it")
    done = nightshot("audit")
    assert done.code == 1
    assert "✗ caps agree (cap-held)\n    window_key=night\\x1b  held=3\n" in done.out
    assert "Nothing paid is sent: an audit found it" in done.out


def test_the_stop_after_a_clean_audit_says_how_to_go_on(nightshot: Command, server: ControlServer) -> None:
    server.answers["audit"] = audit_view(stopped="an audit found it")
    done = nightshot("audit")
    assert server.args_of("audit") == {"resume": False, "reason": ""}
    assert (done.code, "nightshot audit --resume --reason" in done.out) == (0, True)
    server.answers["audit"] = audit_view(lifted=True)
    assert "Paid submission goes on." in nightshot("audit", "--resume", "--reason", "restored").out
    assert nightshot("audit", "--reason", "for nothing").code == 2


def test_an_invoice_without_a_difference(nightshot: Command, server: ControlServer, tmp_path: Path) -> None:
    file = tmp_path / "invoice.csv"
    file.write_text("\ufeffjob_id,cost_cents\np1,130\n")
    server.answers["reconcile"] = reconcile_view()
    done = nightshot("reconcile", "--csv", str(file))
    assert done.code == 0
    assert "invoice: $2.60 and 4 credits in 2 runs" in done.out
    assert "No difference." in done.out
    assert server.args_of("reconcile")["csv"].startswith("job_id,")


def test_every_difference_and_bad_row_is_a_line(
    nightshot: Command, server: ControlServer, tmp_path: Path
) -> None:
    file = tmp_path / "invoice.csv"
    file.write_text("x")
    difference = {
        "kind": "cost",
        "sentence": "job 12.1 cost $1.30 here and $1.31 in the invoice",
        "provider_job_id": "p1",
        "job": "12.1",
        "line": 2,
    }
    unknown = {"runs": 1, "cost_usd": None, "credits": None, "unknown_costs": 1}
    server.answers["reconcile"] = reconcile_view(
        differences=[difference], bad_rows=["line 3: 'x' is not an amount"], ours=unknown, nameless=1
    )
    done = nightshot("reconcile", "--csv", str(file), "--unit", "cents")
    assert done.code == 1
    assert "line 2: job 12.1 cost $1.30 here" in done.out
    assert "not read: line 3: 'x' is not an amount" in done.out
    assert "ours:    unknown in 1 runs, 1 of them without a cost" in done.out
    assert "1 of our runs are in doubt" in done.out
    assert nightshot("reconcile", "--csv", str(tmp_path / "none.csv")).code == 2
