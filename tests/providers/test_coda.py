"""The billable call: every row of the outcome table, and at most one POST whatever happens."""

from __future__ import annotations

import asyncio
import gzip
from dataclasses import replace

import pytest

from scheduler.core.task import (
    Accepted,
    CostFacts,
    Outcome,
    RefusalKind,
    Refused,
    RunRequest,
    Unknown,
)
from scheduler.providers import coda
from tests.support import coda_server as server_side
from tests.support.coda_account import BELL, REQUEST, TOKEN, Build, yes
from tests.support.coda_server import BASE, CodaServer, Fault, answer


async def submit_over(
    server: CodaServer, provider: coda.Coda, fault: Fault, request: RunRequest = REQUEST
) -> Outcome:
    """Submit once, see to it that exactly one POST arrived, and that nobody sends another."""
    server.next_submits.append(fault)
    async with asyncio.timeout(20):
        outcome = await provider.submit(request, yes)
    await server.until(lambda: server.posts >= 1)
    await asyncio.sleep(0.02)  # a second POST would be on its way by now
    assert server.posts == 1
    assert server.connections == 1
    return outcome


# ---------------------------------------------------------------------------------------- the good way


async def test_the_documented_answer_is_accepted_with_its_three_figures_apart(
    server: CodaServer, account: Build
) -> None:
    outcome = await account().submit(REQUEST, yes)
    assert isinstance(outcome, Accepted)
    assert outcome.provider_job_id == server.bills[0].job_id
    assert outcome.status_word == "submitted"
    assert outcome.cost == CostFacts(1_300_000, 2_000_000, 0)
    assert '"estimated_cost_cents": 130' in outcome.raw
    assert server.posts == 1


async def test_the_request_has_the_documented_fields_and_nothing_that_surprises(
    server: CodaServer, account: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    request = replace(REQUEST, accept_overage=True, execution_hint="program_set")
    assert isinstance(await account().submit(request, yes), Accepted)
    seen = server.requests[0]
    assert seen.document == {
        "code": BELL,
        "source_framework": "openqasm3",
        "backend": "iqm",
        "shots": 100,
        "accept_overage": True,
        "braket_execution_mode_hint": "program_set",
    }
    assert seen.headers["authorization"] == f"Bearer {TOKEN}"
    assert seen.headers["connection"] == "close"
    assert "cookie" not in seen.headers


@pytest.mark.parametrize("allowed", [False, True])
async def test_overage_is_accepted_on_the_wire_only_when_the_request_allows_it(
    server: CodaServer, account: Build, allowed: bool
) -> None:
    await account().submit(replace(REQUEST, accept_overage=allowed), yes)
    assert server.requests[0].document["accept_overage"] is allowed
    assert "braket_execution_mode_hint" not in server.requests[0].document


async def test_openqasm_2_goes_out_under_the_only_word_coda_has_with_its_text_as_given(
    server: CodaServer, account: Build
) -> None:
    text = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[1]; creg c[1];\nmeasure q -> c;  // ψ \ud800'
    await account().submit(replace(REQUEST, framework="openqasm2", code=text), yes)
    assert server.requests[0].document["source_framework"] == "openqasm3"
    assert server.requests[0].document["code"] == text


@pytest.mark.parametrize(
    ("framework", "comment"), [("openqasm2", "//"), ("openqasm3", "//"), ("qiskit", "#")]
)
async def test_a_marker_is_a_comment_of_the_language_and_only_on_request(
    server: CodaServer, account: Build, framework: str, comment: str
) -> None:
    request = replace(REQUEST, framework=framework, code="x = 1")
    await account(mark_code=True).submit(request, yes)
    await account().submit(request, yes)
    assert server.requests[0].document["code"] == f"x = 1\n{comment} nightshot attempt attempt-1\n"
    assert server.requests[1].document["code"] == "x = 1"
    assert [bill.marker for bill in server.bills] == ["attempt-1", None]


# ------------------------------------------------------------------------------- refused: nothing runs

REFUSALS: list[tuple[str, Fault, RefusalKind, str]] = [
    ("400", answer(400, {"detail": "bad circuit"}), RefusalKind.INVALID, "bad circuit"),
    ("401", answer(401, {"detail": "Invalid API key"}), RefusalKind.CREDENTIALS, "Invalid API key"),
    ("402", answer(402, {"error": "payment needed"}), RefusalKind.CREDITS, "payment needed"),
    ("403", answer(403, {"detail": "insufficient rights"}), RefusalKind.CREDENTIALS, "insufficient rights"),
    ("404", answer(404, {"detail": "no such backend"}), RefusalKind.INVALID, "no such backend"),
    (
        "422",
        answer(422, {"detail": [{"loc": ["body", "shots"], "msg": "insufficient", "type": "t"}]}),
        RefusalKind.INVALID,
        "body.shots: insufficient",
    ),
    ("429", answer(429, {"detail": "slow down"}), RefusalKind.BUSY, "slow down"),
    ("400 credits", answer(400, {"detail": "Not enough credits"}), RefusalKind.CREDITS, "credits"),
    ("400 overage", answer(400, {"error": {"message": "Overage declined"}}), RefusalKind.CREDITS, "Overage"),
    ("429 balance", answer(429, {"message": "balance too low"}), RefusalKind.CREDITS, "balance"),
    ("200 false", answer(200, {"success": False, "error": "no"}), RefusalKind.INVALID, "no"),
    ("200 false, id null", answer(200, {"success": False, "job_id": None}), RefusalKind.INVALID, "200"),
    (
        "200 false, credits",
        answer(200, {"success": False, "error": "no credit"}),
        RefusalKind.CREDITS,
        "credit",
    ),
    ("no words", answer(400, {}), RefusalKind.INVALID, "Coda answered 400"),
]


@pytest.mark.parametrize(
    ("fault", "kind", "words"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS]
)
async def test_a_plain_no_is_a_refusal_with_codas_own_words(
    server: CodaServer, account: Build, fault: Fault, kind: RefusalKind, words: str
) -> None:
    outcome = await submit_over(server, account(), fault)
    assert isinstance(outcome, Refused)
    assert outcome.kind == kind
    assert words in outcome.reason
    assert server.bills == []


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("1.5", 1.5),
        ("Wed, 18 Nov 2026 12:13:20 GMT", 4_000.0),
        ("Wed, 18 Nov 2020 13:06:40 GMT", 0.0),
        ("999999999", 86_400.0),
        ("-5", None),
        ("nan", None),
        ("soon", None),
    ],
)
async def test_retry_after_is_read_as_seconds_or_as_a_date(
    server: CodaServer, account: Build, header: str, seconds: float | None
) -> None:
    outcome = await submit_over(server, account(), answer(429, {}, headers={"Retry-After": header}))
    assert isinstance(outcome, Refused)
    assert outcome.retry_after_s == seconds


async def test_the_providers_words_are_cut_and_lose_their_control_characters(
    server: CodaServer, account: Build
) -> None:
    outcome = await submit_over(
        server, account(), answer(400, {"detail": "\x1b[31mred\nnext\x00line\u202e " + "x" * 9999})
    )
    assert isinstance(outcome, Refused)
    assert len(outcome.reason) < 600
    assert outcome.reason.isprintable()
    assert "[31mred next line x" in outcome.reason
    assert "\x00" not in outcome.raw


# -------------------------------------------------------------------------- unknown: money may be gone

OK_BUT = {"success": True, "status": "submitted", "estimated_cost_cents": 130}
UNKNOWNS: dict[str, tuple[Fault, str]] = {
    "408": (answer(408, {"detail": "timeout"}), "408"),
    **{
        str(status): (
            answer(status, {"detail": "elsewhere"}, headers={"Location": f"{BASE}/qpus"}),
            str(status),
        )
        for status in (301, 302, 303, 307, 308)
    },
    "304": (answer(304), "304"),
    **{
        str(status): (answer(status, {"detail": "broken"}), f"{status}: broken")
        for status in (500, 502, 503, 504)
    },
    "billed, then 502": (server_side.BILLED_THEN_502, "502"),
    "409 is not on the list": (answer(409, {"detail": "conflict"}), "409"),
    "418 is not on the list": (answer(418, {"detail": "teapot"}), "418"),
    **{
        f"{status} in HTML": (answer(status, "<html>no</html>"), "no JSON object")
        for status in (400, 401, 402, 403)
    },
    **{f"{status} empty": (answer(status), "no JSON object") for status in (404, 422, 429)},
    "400 with a bare string": (answer(400, b'"no"'), "no JSON object"),
    "400 cut off": (answer(400, {"detail": "no"}, cut_bytes=3), "then:"),
    "422 that names a job": (answer(422, {"detail": "late", "job_id": "j"}), "422"),
    "400 that says success": (answer(400, {"success": True}), "400"),
    "429 that says it twice": (answer(429, b'{"job_id": "a", "job_id": null}'), "two things"),
    "billed, then silence": (server_side.HANG_BILLED, "no whole answer within 0.4 s"),
    "silence": (server_side.HANG, "no whole answer within 0.4 s"),
    "a drip": (answer(200, OK_BUT, bill=True, drip_s=0.05), "no whole answer within 0.4 s"),
    "reset": (server_side.RESET, "then:"),
    "billed, then reset": (server_side.RESET_BILLED, "then:"),
    "closed without a word": (server_side.CLOSE_BILLED, "closed the connection"),
    "closed after the head": (server_side.CLOSE_AFTER_HEAD, "then:"),
    "half a body": (server_side.HALF_BODY, "then:"),
    "half a head": (Fault(payload=b"HTTP/1.1 200 OK\r\nConte"), "then:"),
    "half JSON": (answer(200, b'{"success": true, "job_id": "9f'), "no JSON object"),
    "garbage": (server_side.GARBAGE, "not HTTP"),
    "a broken chunk": (
        Fault(payload=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"),
        "then:",
    ),
    "a broken gzip": (
        answer(200, b"no gzip", headers={"Content-Encoding": "gzip"}, bill=True),
        "then:",
    ),
    "HTML": (server_side.HTML_200, "no JSON object"),
    "no id": (server_side.NO_ID, "without saying plainly"),
    "201 without an id": (answer(201, OK_BUT), "without saying plainly"),
    "201 success false": (answer(201, {"success": False}), "without saying plainly"),
    "204": (answer(204), "no JSON object"),
    "id null": (answer(200, OK_BUT | {"job_id": None}), "without saying plainly"),
    "id empty": (answer(200, OK_BUT | {"job_id": ""}), "no usable name"),
    "id a number": (answer(200, OK_BUT | {"job_id": 17}), "no usable name"),
    "id a list": (answer(200, OK_BUT | {"job_id": ["a"]}), "no usable name"),
    "id with a newline": (answer(200, OK_BUT | {"job_id": "a\nb"}), "no usable name"),
    "id with half a character": (answer(200, OK_BUT | {"job_id": "a\ud800"}), "no usable name"),
    "id endless": (answer(200, OK_BUT | {"job_id": "a" * 201}), "no usable name"),
    "id our token": (answer(200, OK_BUT | {"job_id": TOKEN}), "token"),
    "id twice": (answer(200, b'{"success": true, "job_id": "a", "job_id": "b"}'), "two things"),
    "id but no success": (answer(200, {"success": False, "job_id": "a"}), "without saying plainly"),
    "id and a strange success": (answer(200, {"success": "yes", "job_id": "a"}), "without saying plainly"),
    "success false, id empty": (answer(200, {"success": False, "job_id": ""}), "without saying plainly"),
    "success twice": (answer(200, b'{"success": false, "success": true, "job_id": "a"}'), "two things"),
    "a list": (answer(200, [{"job_id": "a"}]), "no JSON object"),
    "null": (answer(200, b"null"), "no JSON object"),
    "not UTF-8": (answer(200, b'{"job_id": "\xff"}'), "no JSON object"),
    "nested a million deep": (answer(200, b"[" * 1_000_000), "no JSON object"),
    "oversize": (answer(200, OK_BUT | {"job_id": "a", "pad": "x" * 2_000_000}), "larger than 1048576 bytes"),
    "oversize once unpacked": (
        answer(200, gzip.compress(b" " * 50_000_000), headers={"Content-Encoding": "gzip"}, bill=True),
        "then:",
    ),
}


@pytest.mark.parametrize(("fault", "words"), UNKNOWNS.values(), ids=UNKNOWNS.keys())
async def test_whatever_is_not_plain_is_unknown_and_never_sent_again(
    server: CodaServer, account: Build, fault: Fault, words: str
) -> None:
    provider = account(reply_timeout_s=0.4, reply_limit_bytes=1_048_576)
    outcome = await submit_over(server, provider, fault)
    assert isinstance(outcome, Unknown)
    assert words in outcome.reason
    assert len(server.bills) <= 1


async def test_what_came_of_half_an_answer_is_kept_for_the_person_who_must_decide(
    server: CodaServer, account: Build
) -> None:
    outcome = await submit_over(server, account(), server_side.HALF_BODY)
    assert isinstance(outcome, Unknown)
    assert '"job_id"' in outcome.raw


async def test_an_id_that_is_known_already_is_for_the_store_to_notice(
    server: CodaServer, account: Build
) -> None:
    provider = account()
    first = await provider.submit(REQUEST, yes)
    server.next_submits.append(server_side.KNOWN_ID)
    second = await provider.submit(REQUEST, yes)
    assert isinstance(first, Accepted)
    assert isinstance(second, Accepted)
    assert first.provider_job_id == second.provider_job_id
    assert server.posts == 2


# -------------------------------------------------------------------------- accepted, with odd figures

FIGURES: list[tuple[str, str, CostFacts, str]] = [
    ("all missing", "", CostFacts(), ""),
    ("fractions round up", '"estimated_cost_cents": 0.00001', CostFacts(1), ""),
    ("exact, not a float", '"estimated_cost_cents": 110.1', CostFacts(1_101_000), ""),
    ("half a credit", '"credits_applied": 0.5', CostFacts(None, 500_000), ""),
    ("negative", '"overage_cents": -1', CostFacts(), "overage_cents is unknown"),
    ("text", '"estimated_cost_cents": "130"', CostFacts(), "estimated_cost_cents is unknown"),
    ("true", '"credits_applied": true', CostFacts(), "credits_applied is unknown"),
    ("NaN", '"estimated_cost_cents": NaN', CostFacts(), "estimated_cost_cents is unknown"),
    ("infinite", '"estimated_cost_cents": -Infinity', CostFacts(), "estimated_cost_cents is unknown"),
    ("absurd", '"estimated_cost_cents": 1e400', CostFacts(), "estimated_cost_cents is unknown"),
    ("beyond Decimal", '"estimated_cost_cents": 1e99999999999999999999', CostFacts(), "estimated_cost_cents"),
    ("beyond int", '"estimated_cost_cents": ' + "9" * 5000, CostFacts(), "estimated_cost_cents is unknown"),
    ("twice", '"overage_cents": 0, "overage_cents": 9', CostFacts(), "overage_cents is unknown"),
    ("null", '"overage_cents": null', CostFacts(), ""),
]


@pytest.mark.parametrize(
    ("fields", "cost", "note"), [row[1:] for row in FIGURES], ids=[row[0] for row in FIGURES]
)
async def test_a_garbled_figure_is_unknown_never_zero_and_the_job_is_accepted_all_the_same(
    server: CodaServer, account: Build, fields: str, cost: CostFacts, note: str
) -> None:
    body = '{"success": true, "job_id": "j-1"' + (f", {fields}" if fields else "") + "}"
    outcome = await submit_over(server, account(), answer(200, body.encode()))
    assert isinstance(outcome, Accepted)
    assert outcome.cost == cost
    assert ("// nightshot:" in outcome.raw) == bool(note)
    assert note in outcome.raw


async def test_a_packed_answer_that_nobody_asked_for_is_unpacked_rather_than_doubted(
    server: CodaServer, account: Build
) -> None:
    packed = gzip.compress(b'{"success": true, "job_id": "j-1"}')
    outcome = await submit_over(server, account(), answer(200, packed, headers={"Content-Encoding": "gzip"}))
    assert isinstance(outcome, Accepted)


async def test_an_accepting_202_counts(server: CodaServer, account: Build) -> None:
    outcome = await submit_over(server, account(), answer(202, {"job_id": "j-1"}))
    assert isinstance(outcome, Accepted)
    assert outcome.status_word == "submitted"
