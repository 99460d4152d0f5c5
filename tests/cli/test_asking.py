"""The commands that ask and print: what goes over the wire, and what people and programs see."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Command
from tests.support.control_server import ControlServer
from tests.support.views import AS_OF, backend_view, job_view, night_view, show_view, status_view

CHANGED = {"as_of": AS_OF, "changed": ["12.3 was cancelled"], "unchanged": []}


# --------------------------------------------------------------------------------------------- status


def test_status_puts_what_needs_you_last(nightshot: Command, server: ControlServer) -> None:
    server.answers["status"] = dict(status_view())
    done = nightshot("status")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0] == "Nightshot 0.1.0 · daemon running (pid 4711) · 22 Nov 21:41:07 CET"
    assert "not armed" in lines[2]
    assert lines[3] == "Jobs      12 waiting · 1 in doubt"
    assert "nightshot why 12.3" in lines[-1]


def test_status_shows_tonights_bar(nightshot: Command, server: ControlServer) -> None:
    night = night_view(
        limit_usd="40.00", posted_usd="8.00", held_usd="2.00", in_doubt_usd="1.30", free_usd="30.00"
    )
    server.answers["status"] = {**status_view(), "night": night, "needs_you": []}
    out = nightshot("status").out
    assert "spent $8.00 + reserved $2.00 of $40.00, of that in doubt $1.30" in out
    assert out.endswith("Needs you nothing\n")


def test_status_says_when_no_daemon_runs(nightshot: Command, server: ControlServer) -> None:
    server.answers["status"] = {**status_view(), "daemon": False, "pid": None}
    assert "no daemon runs: nightshot run" in nightshot("status").out
    assert nightshot("status", "-q").out == "stopped\n"


def test_json_is_the_view_with_a_version(nightshot: Command, server: ControlServer) -> None:
    server.answers["status"] = dict(status_view())
    document = json.loads(nightshot("status", "--json").out)
    assert document == {"schema": 1, **status_view()}


# ----------------------------------------------------------------------------------------------- jobs


def test_jobs_are_a_page_with_the_way_to_the_next(nightshot: Command, server: ControlServer) -> None:
    waiting = job_view("13", state="waiting", cost_usd=None, ended_at=None, reason="slots: 4 of 4 taken")
    server.answers["jobs"] = {"as_of": AS_OF, "jobs": [dict(job_view()), dict(waiting)], "next": 12}
    server.answers["status"] = dict(status_view())
    out = nightshot("jobs", "--state", "waiting", "--backend", "coda:iqm", "--batch", "latest").out
    assert server.args_of("jobs") == {"state": "waiting", "backend": "coda:iqm", "batch": 12, "limit": 50}
    assert "about $0.45" in out
    assert "slots: 4 of 4 taken" in out
    assert "More: nightshot jobs --state waiting --backend coda:iqm --batch 12 --after 12\n" in out


@pytest.mark.parametrize(
    ("options", "newest"),
    [
        ((), True),
        (("--after", "7"), True),
        (("--oldest",), None),
        (("--batch", "3"), None),
        (("--all",), None),
    ],
)
def test_the_latest_jobs_come_first_unless_a_batch_or_everything_is_read(
    nightshot: Command, server: ControlServer, options: tuple[str, ...], newest: bool | None
) -> None:
    server.answers["jobs"] = {"as_of": AS_OF, "jobs": [dict(job_view())], "next": None}
    nightshot("jobs", *options)
    assert server.args_of("jobs").get("newest") is newest


def test_the_way_to_the_next_page_keeps_the_order(nightshot: Command, server: ControlServer) -> None:
    server.answers["jobs"] = {"as_of": AS_OF, "jobs": [dict(job_view())], "next": 4}
    assert (
        "More: nightshot jobs --limit 1 --after 4 --oldest\n"
        in nightshot("jobs", "--oldest", "--limit", "1").out
    )


def test_a_job_without_a_price_says_so(nightshot: Command, server: ControlServer) -> None:
    waiting = job_view(state="waiting", estimate_usd=None, cost_usd=None, ended_at=None)
    server.answers["jobs"] = {"as_of": AS_OF, "jobs": [dict(waiting)], "next": None}
    out = nightshot("jobs").out
    assert "not priced" in out
    assert "$" not in out


def test_an_ended_job_without_a_known_cost_says_unknown(nightshot: Command, server: ControlServer) -> None:
    server.answers["jobs"] = {"as_of": AS_OF, "jobs": [dict(job_view(cost_usd=None))], "next": None}
    assert "unknown" in nightshot("jobs").out


def test_all_jobs_are_one_document(nightshot: Command, server: ControlServer) -> None:
    def page(args: dict[str, Any]) -> dict[str, Any]:
        first = args.get("after", 1)
        jobs = [dict(job_view(str(n))) for n in range(first, first + 3)]
        return {"as_of": AS_OF, "jobs": jobs, "next": first + 3 if first < 7 else None}

    server.answers["jobs"] = page
    done = nightshot("jobs", "--all", "--json")
    document = json.loads(done.out)
    assert [job["job"] for job in document["jobs"]] == [str(n) for n in range(1, 10)]
    assert done.out.count('"state"') == 9
    assert document["next"] is None
    assert nightshot("jobs", "--all", "-q").out.split() == [str(n) for n in range(1, 10)]


def test_a_batch_that_is_no_number_is_not_found(nightshot: Command, server: ControlServer) -> None:
    assert nightshot("jobs", "--batch", "12.3").code == 3


# ------------------------------------------------------------------------------------- show and results


def test_show_tells_gates_attempts_and_history(nightshot: Command, server: ControlServer) -> None:
    gate = {"code": "cap:night", "sentence": "short by $71.50", "fix": "nightshot arm --night 111.50"}
    server.answers["show"] = {**show_view(job_view(state="waiting", cost_usd=None)), "gates": [gate]}
    out = nightshot("show", "latest").out
    assert server.args_of("show") == {"job": "latest"}
    assert "12 bell.py is WAITING." in out
    assert "✗ cap:night: short by $71.50\n      nightshot arm --night 111.50" in out
    assert "cost       unknown (estimate $0.45)" in out
    assert "credits unknown, overage unknown" in out
    assert "the provider took it as 7f6c" in out
    assert nightshot("show", "12", "-q").out == "waiting\n"


RESULT = {
    "job": "12",
    "counts": [{"00": 48, "11": 51}],
    "bit_order": "bit 0 first",
    "shots_asked": 100,
    "shots_returned": [99],
    "shots_match": False,
    "folder": "/home/ada/results/x",
}


def test_results_are_histograms_and_flag_missing_shots(nightshot: Command, server: ControlServer) -> None:
    server.answers["results"] = {"results": [RESULT]}
    done = nightshot("results", "12")
    assert done.code == 0
    assert "! asked for 100 shots, 99 came back" in done.out
    assert "bits: bit 0 first" in done.out
    assert "files: /home/ada/results/x" in done.out
    assert nightshot("results", "12", "-q").out == "/home/ada/results/x\n"
    document = json.loads(nightshot("results", "12", "--json").out)
    assert document["schema"] == 1
    assert document["as_of"].endswith("Z")
    assert document["results"] == [RESULT]


def test_no_results_yet_is_a_failure_with_the_state(nightshot: Command, server: ControlServer) -> None:
    server.answers["results"] = {"as_of": AS_OF, "results": [], "missing": ["12 is waiting: slots"]}
    done = nightshot("results", "12")
    assert (done.code, done.out, done.err) == (1, "", "no result: 12 is waiting: slots\n")


# ----------------------------------------------------------------------------------------------- wait


def _jobs(server: ControlServer, *rounds: list[dict[str, Any]]) -> None:
    left = list(rounds)

    def answer(_args: object) -> dict[str, Any]:
        jobs = left.pop(0) if len(left) > 1 else left[0]
        return {"as_of": AS_OF, "jobs": jobs, "next": None}

    server.answers["jobs"] = answer


def test_wait_ends_with_0_when_all_completed(nightshot: Command, server: ControlServer) -> None:
    _jobs(server, [dict(job_view(state="running"))], [dict(job_view())])
    server.answers["status"] = dict(status_view())
    assert nightshot("wait", "latest", "-q").code == 0
    assert [op for op, _ in server.calls] == ["status", "jobs", "jobs"], "'latest' is looked up once"


@pytest.mark.parametrize("state", ["failed", "cancelled", "rejected"])
def test_wait_ends_with_1_when_any_did_not(nightshot: Command, server: ControlServer, state: str) -> None:
    _jobs(server, [dict(job_view("12.1")), dict(job_view("12.2", state=state))])
    assert nightshot("wait", "12").code == 1


def test_wait_ends_with_124_when_the_time_is_over(nightshot: Command, server: ControlServer) -> None:
    _jobs(server, [dict(job_view(state="running"))])
    done = nightshot("wait", "12", "--timeout", "0.3")
    assert done.code == 124
    assert "1 of 1 job had not ended after 0.3 s" in done.err


def test_wait_ends_with_6_when_a_job_is_in_doubt(nightshot: Command, server: ControlServer) -> None:
    _jobs(server, [dict(job_view(state="in_doubt", reason="no reply"))])
    done = nightshot("wait", "12")
    assert done.code == 6
    assert "nightshot why 12" in done.err


@pytest.mark.parametrize(("gate", "code"), [("disarmed", 6), ("slots", 124)])
def test_wait_for_a_waiting_job_depends_on_who_can_move_it(
    nightshot: Command, server: ControlServer, gate: str, code: int
) -> None:
    waiting = job_view(state="waiting")
    _jobs(server, [dict(waiting)])
    gates = [{"code": gate, "sentence": "closed", "fix": None}]
    server.answers["show"] = {**show_view(waiting), "gates": gates}
    assert nightshot("wait", "12", "--timeout", "0.3").code == code


def test_wait_for_nothing_is_not_found(nightshot: Command, server: ControlServer) -> None:
    _jobs(server, [])
    assert nightshot("wait", "99").code == 3
    assert nightshot("wait", "bell").code == 3


def test_wait_takes_single_jobs_of_a_batch(nightshot: Command, server: ControlServer) -> None:
    server.answers["show"] = dict(show_view(job_view("12.3")))
    assert nightshot("wait", "12.3").code == 0


# -------------------------------------------------------------------------------------------- changing


def test_cancel_sends_every_name(nightshot: Command, server: ControlServer) -> None:
    server.answers["cancel"] = CHANGED
    assert nightshot("cancel", "12.3", "14", "--reason", "typo").out == "12.3 was cancelled\n"
    assert server.args_of("cancel") == {"jobs": ["12.3", "14"], "reason": "typo"}


def test_nothing_changed_is_a_failure(nightshot: Command, server: ControlServer) -> None:
    server.answers["cancel"] = {"as_of": AS_OF, "changed": [], "unchanged": ["12 ended already"]}
    done = nightshot("cancel", "12")
    assert (done.code, done.err) == (1, "unchanged: 12 ended already\n")


def test_resolve_carries_the_verdict_and_its_reason(nightshot: Command, server: ControlServer) -> None:
    server.answers["resolve"] = CHANGED
    arguments = ("resolve", "12.3", "--as", "accepted", "--provider-job-id", "7f", "--reason", "seen there")
    assert nightshot(*arguments).code == 0
    assert server.args_of("resolve") == {
        "job": "12.3",
        "as": "accepted",
        "provider_job_id": "7f",
        "reason": "seen there",
    }


@pytest.mark.parametrize(
    "arguments",
    [
        ("resolve", "12", "--as", "not-sent"),
        ("resolve", "12", "--as", "not-sent", "--reason", " "),
        ("resolve", "12", "--as", "accepted", "--reason", "x"),
        ("resolve", "12", "--as", "written-off", "--provider-job-id", "7f", "--reason", "x"),
        ("resolve", "12", "--as", "maybe", "--reason", "x"),
        ("arm",),
        ("arm", "--night", "a lot"),
        ("arm", "--night", "-5"),
        ("backends", "resume", "coda:iqm"),
        ("backends", "resume", "coda", "--gate", "breaker", "--reason", "x"),
        ("backends", "--json", "list"),
        ("cancel",),
        ("wait",),
        ("submit",),
    ],
)
def test_what_is_missing_is_a_usage_error_and_nothing_is_sent(
    nightshot: Command, server: ControlServer, arguments: tuple[str, ...]
) -> None:
    assert nightshot(*arguments).code == 2
    assert server.calls == []


def test_arming_sends_an_exact_amount(nightshot: Command, server: ControlServer) -> None:
    server.answers["arm"] = server.answers["disarm"] = CHANGED
    nightshot("arm", "--night", "$50", "--once", "--reason", "sweep")
    nightshot("disarm")
    assert server.args_of("arm") == {"night": "50.00", "once": True, "reason": "sweep"}
    assert server.args_of("disarm") == {"reason": ""}


def test_backends_are_listed_with_closed_gates(nightshot: Command, server: ControlServer) -> None:
    server.answers["backends"] = {"as_of": AS_OF, "backends": [dict(backend_view())]}
    server.answers["backends_resume"] = CHANGED
    assert "disarmed: nothing paid is sent" in nightshot("backends").out
    assert json.loads(nightshot("backends", "--json").out) == json.loads(
        nightshot("backends", "list", "--json").out
    )
    assert nightshot("backends", "list", "-q").out == "coda:iqm\n"
    assert nightshot("backends", "resume", "coda:iqm", "--reason", "token renewed").code == 0
    sent = {"backend": "coda:iqm", "gate": None, "reason": "token renewed"}
    assert server.args_of("backends_resume") == sent
    server.calls.clear()
    assert nightshot("backends", "resume", "coda", "--gate", "clock", "--reason", "it is right").code == 0
    sent = {"backend": "coda", "gate": "clock", "reason": "it is right"}
    assert server.args_of("backends_resume") == sent


# ---------------------------------------------------------------------------------------------- submit

SUBMITTED = {"batch": 12, "name": "bell.qasm", "jobs": 1, "duplicate_of": None}


def _sent(server: ControlServer) -> list[tuple[str, bytes, bool]]:
    documents = server.args_of("submit")["documents"]
    return [(d["name"], base64.b64decode(d["content_base64"]), d.get("attachment", False)) for d in documents]


def test_submit_sends_bytes_as_they_are(nightshot: Command, server: ControlServer, tmp_path: Path) -> None:
    (tmp_path / "bell.qasm").write_bytes(b"OPENQASM 3.0;\xff\x00")
    server.answers["submit"] = {"as_of": AS_OF, "batches": [SUBMITTED], "refused": []}
    assert nightshot("submit", str(tmp_path / "bell.qasm")).out == "Batch 12: bell.qasm, 1 job\n"
    assert _sent(server) == [("bell.qasm", b"OPENQASM 3.0;\xff\x00", False)]


def test_quiet_submit_prints_only_the_id(nightshot: Command, server: ControlServer, tmp_path: Path) -> None:
    (tmp_path / "bell.qasm").write_text("x")
    again = {**SUBMITTED, "duplicate_of": 11}
    server.answers["submit"] = {"as_of": AS_OF, "batches": [SUBMITTED, again], "refused": []}
    assert nightshot("submit", str(tmp_path / "bell.qasm"), "-q").out == "12\n11\n"
    assert "unfinished as batch 11" in nightshot("submit", str(tmp_path / "bell.qasm")).out


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "circuit: sub/c.qasm\nshots: 10\n"),
        ("a.toml", 'circuit = "sub/c.qasm"\n'),
        ("a.json", '{"jobs": [{"circuit": "sub/c.qasm"}, {"circuit": "sub/c.qasm", "shots": 5}]}'),
        ("a.jsonl", '{"nightshot": 1, "count": 1}\n{"circuit": "sub/c.qasm"}\n'),
    ],
)
def test_a_manifest_brings_its_circuits(
    nightshot: Command, server: ControlServer, tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "c.qasm").write_text("OPENQASM 3.0;")
    (tmp_path / name).write_text(text)
    server.answers["submit"] = {"as_of": AS_OF, "batches": [], "refused": []}
    nightshot("submit", str(tmp_path / name))
    assert _sent(server) == [(name, text.encode(), False), ("sub/c.qasm", b"OPENQASM 3.0;", True)]


def test_two_circuits_of_one_name_are_not_mixed_up(
    nightshot: Command, server: ControlServer, tmp_path: Path
) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "m.toml").write_text('circuit = "c.qasm"\n')
        (tmp_path / folder / "c.qasm").write_text(f"OPENQASM 3.0; // {folder}")
    done = nightshot("submit", str(tmp_path / "a" / "m.toml"), str(tmp_path / "b" / "m.toml"))
    assert done.code == 65
    assert "one at a time" in done.err
    assert server.calls == []


@pytest.mark.parametrize("path", ["../secret", "/etc/hostname", "gone.qasm", "link.qasm/../../secret"])
def test_a_manifest_cannot_reach_outside_of_its_folder(
    nightshot: Command, server: ControlServer, tmp_path: Path, path: str
) -> None:
    (tmp_path / "secret").write_text("s")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.toml").write_text(f'circuit = "{path}"\n')
    server.answers["submit"] = {"as_of": AS_OF, "batches": [], "refused": []}
    nightshot("submit", str(tmp_path / "in" / "a.toml"))
    assert [name for name, _, _ in _sent(server)] == ["a.toml"]


def test_a_refused_file_is_said_with_its_reason(
    nightshot: Command, server: ControlServer, tmp_path: Path
) -> None:
    (tmp_path / "bell.qasm").write_text("x")
    refused = [{"name": "bell.qasm", "why": "bell.qasm:1: no OPENQASM line"}]
    server.answers["submit"] = {"as_of": AS_OF, "batches": [], "refused": refused}
    done = nightshot("submit", str(tmp_path / "bell.qasm"))
    assert (done.code, done.out) == (65, "")
    assert "no OPENQASM line" in done.err


def test_what_is_no_file_is_refused_before_anything_is_sent(
    nightshot: Command, server: ControlServer, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe.qasm")
    for name in ("pipe.qasm", "gone.qasm", "."):
        done = nightshot("submit", str(tmp_path / name))
        assert done.code == 65, done
    assert nightshot("submit", "-").code == 2
    assert server.calls == []
