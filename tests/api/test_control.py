"""The control socket: whatever is sent gets an answer in JSON, and nobody is believed who they are."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import pwd
import socket
import stat

import pytest

from scheduler.api.control import LARGEST_REQUEST_BYTES
from scheduler.core.admission import Pause
from scheduler.core.clocks import ClockMark
from scheduler.ports_store import Tx
from scheduler.stages.outcome import Sent, record_outcome
from tests.support.bench import BACKEND, PRICE, Bench, accepted
from tests.support.control import Line, parse
from tests.support.stores import execute

NOBODY = 65534
HUGE = 10**30

REFUSED = [
    ("status", b"{", 400, "not JSON"),
    ("status", b"\xff\xfe", 400, "not JSON"),
    ("status", b"[]", 400, "JSON object"),
    ("status", b"7", 400, "JSON object"),
    ("status", b"[" * 200_000, 400, "JSON"),
    ("status", b'{"a":' * 100_000 + b"1" + b"}" * 100_000, 400, "nested"),
    ("status", b'{"more": 1}', 400, "more"),
    ("nothing", b"{}", 404, "no operation"),
    ("__class__", b"{}", 404, "no operation"),
    ("jobs", b'{"limit": "10"}', 400, "limit"),
    ("jobs", b'{"limit": true}', 400, "limit"),
    ("jobs", b'{"limit": 0}', 400, "limit"),
    ("jobs", b'{"limit": 1e3}', 400, "limit"),
    ("jobs", b'{"limit": NaN}', 400, "limit"),
    ("jobs", json.dumps({"batch": HUGE}).encode(), 400, "batch"),
    ("jobs", json.dumps({"batch": -HUGE}).encode(), 400, "batch"),
    ("jobs", json.dumps({"state": "sleeping"}).encode(), 400, "sleeping"),
    ("jobs", b'{"backend": "\\ud800"}', 400, "backend"),
    ("jobs", b'{"backend": "a\\u0000"}', 400, "backend"),
    ("show", b'{"job": 12}', 400, "job"),
    ("show", b'{"job": "99"}', 404, "99"),
    ("show", b'{"job": "\\ud800"}', 400, "job"),
    ("show", b'{"job": "latest"}', 404, "no job"),
    ("show", b'{"job": "1 OR 1=1"}', 404, ""),
    ("results", b"{}", 400, "job"),
    ("cancel", b'{"jobs": "1"}', 400, "jobs"),
    ("cancel", b'{"jobs": []}', 400, "no job"),
    ("cancel", b'{"jobs": ["0"]}', 404, ""),
    ("arm", b"{}", 400, "night"),
    ("arm", b'{"night": 5}', 400, "night"),
    ("arm", b'{"night": "-5"}', 400, "-5"),
    ("arm", b'{"night": "1e9"}', 400, "1e9"),
    ("arm", b'{"night": "NaN"}', 400, "NaN"),
    ("arm", b'{"night": "99999999999999999999999"}', 400, "larger"),
    ("arm", '{"night": "٥"}'.encode(), 400, ""),
    ("arm", b'{"night": "5", "once": "yes"}', 400, "once"),
    ("resolve", b'{"job": "1", "as": "refunded", "reason": "r"}', 400, "as"),
    ("resolve", b'{"job": "1", "outcome": "not-sent", "reason": "r"}', 400, ""),
    ("resolve", b'{"job": "1", "as": "not-sent"}', 400, "reason"),
    ("resolve", b'{"job": "1", "as": "accepted", "reason": "r"}', 400, "id"),
    ("backends_resume", b'{"backend": "coda:iqm"}', 400, "reason"),
    ("backends_resume", b'{"backend": "\\udfff", "reason": "r"}', 400, "backend"),
    ("backends_resume", b'{"backend": "coda", "reason": "r", "gate": "breaker"}', 400, "gate"),
    ("submit", b'{"documents": [{"name": "a.qasm"}]}', 400, "content_base64"),
]


async def test_what_makes_no_sense_is_refused_with_a_sentence_and_does_no_harm(
    line: Line, bench: Bench
) -> None:
    wrong = []
    for operation, body, status, word in REFUSED:
        answer = await line.send(operation, body)
        error = answer.error
        told = word in error["message"] + error["hint"]
        whole = set(error) == {"code", "message", "hint", "exit_code"}
        if not (answer.status == status and told and whole):
            wrong.append((operation, body[:80], answer.status, answer.body[:300]))
    assert wrong == []
    assert [event for event, _ in bench.said if event == "operation failed"] == []
    assert (await line.ask("status")).result["counts"] == {}


@pytest.mark.parametrize(
    "data",
    [
        b"\x00" * 1000,
        b"GET / HTTP/1.1\r\n\r\n",
        b"POST /control/v1/status HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /control/v1/../../etc/passwd HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /control/v1/status HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /control/v1/%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
    ],
)
async def test_what_is_not_even_http_does_no_harm(line: Line, data: bytes) -> None:
    reader, writer = await asyncio.open_unix_connection(str(line.path))
    writer.write(data)
    writer.write_eof()
    told = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    assert not told or parse(told).status in (400, 404)
    assert (await line.ask("status")).status == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_only_a_post_asks_anything(line: Line, method: str) -> None:
    assert (await line.send("disarm", b"{}", method=method)).status == 405


async def test_a_body_of_a_hundred_megabytes_is_read_and_refused(line: Line) -> None:
    answer = await line.send("status", b'{"x": "' + b"a" * 100_000_000 + b'"}')
    assert answer.status == 400
    assert "x" in answer.error["message"]
    assert len(answer.body) < 10_000, "what was sent is not sent back"
    assert (await line.ask("status")).status == 200


async def test_a_body_beyond_the_limit_is_refused_in_json(line: Line) -> None:
    length = LARGEST_REQUEST_BYTES + 1
    head = f"POST /control/v1/status HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
    reader, writer = await asyncio.open_unix_connection(str(line.path))
    writer.write(head.encode())
    told = parse(await asyncio.wait_for(reader.read(1 << 16), 30))
    writer.close()
    assert told.status == 413
    assert "larger" in told.error["message"]


async def test_a_client_that_goes_away_in_the_middle_changes_nothing(line: Line, bench: Bench) -> None:
    body = b'{"night": "5.00"}'
    whole = b"POST /control/v1/arm HTTP/1.1\r\nHost: x\r\nContent-Length: 17\r\n\r\n" + body
    for length in (0, 10, 40, len(whole) - len(body), len(whole) - 1):
        _, writer = await asyncio.open_unix_connection(str(line.path))
        writer.write(whole[:length])
        await writer.drain()
        writer.transport.abort()
    assert (await line.ask("status")).result["armed"] is None


def test_the_socket_is_for_its_owner_and_group(line: Line) -> None:
    info = line.path.stat()
    assert stat.S_ISSOCK(info.st_mode)
    assert stat.S_IMODE(info.st_mode) == 0o660


def ask_as(uid: int, groups: list[int], line: Line, operation: str, given: dict[str, object]) -> bytes:
    """Ask from a forked child with another user's credentials; returns what it heard, or an errno's name."""
    body = json.dumps(given).encode()
    head = f"POST /control/v1/{operation} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    data = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setgroups(groups)
                os.setgid(groups[0])
                os.setuid(uid)
            with socket.socket(socket.AF_UNIX) as peer:
                peer.connect(str(line.path))
                peer.sendall(data)
                while piece := peer.recv(65_536):
                    os.write(writing, piece)
        except OSError as error:
            os.write(writing, type(error).__name__.encode())
        finally:
            os._exit(0)
    os.close(writing)
    heard = b""
    while piece := os.read(reading, 65_536):
        heard += piece
    os.close(reading)
    os.waitpid(child, 0)
    return heard


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")
async def test_who_asks_is_who_the_kernel_says(line: Line, bench: Bench) -> None:
    uid = NOBODY if os.geteuid() == 0 else os.getuid()
    group = line.path.stat().st_gid
    code = base64.b64encode(b"OPENQASM 3.0;\nqubit q;\nbit c;\nc = measure q;\n").decode()
    given = {"documents": [{"name": "a.qasm", "content_base64": code}]}
    heard = await asyncio.to_thread(ask_as, uid, [group], line, "submit", given)
    assert parse(heard).result["batches"][0]["jobs"] == 1
    name = pwd.getpwuid(uid).pw_name
    assert await bench.rows('SELECT "user" FROM jobs') == [(name,)]
    lied = await asyncio.to_thread(ask_as, uid, [group], line, "submit", {**given, "user": "root"})
    assert parse(lied).status == 400
    armed = await asyncio.to_thread(ask_as, uid, [group], line, "arm", {"night": "5.00"})
    assert parse(armed).status == 200
    assert await bench.rows("SELECT actor FROM armings") == [(name,)]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")
async def test_a_stranger_of_no_group_of_ours_is_kept_out(line: Line) -> None:
    if os.geteuid() != 0:
        # Only root can become somebody else; that the mode keeps others out is asked above.
        assert not line.path.stat().st_mode & 0o007
        return
    heard = await asyncio.to_thread(ask_as, NOBODY, [NOBODY], line, "status", {})
    assert heard == b"PermissionError"


async def test_many_ask_at_once(line: Line, bench: Bench) -> None:
    await bench.receive(20)
    answers = await asyncio.gather(
        *(line.ask("jobs") for _ in range(40)),
        *(line.ask("arm", night=f"{n}.00") for n in range(20)),
        *(line.ask("cancel", jobs=["1"]) for _ in range(20)),
    )
    assert {answer.status for answer in answers} == {200}
    assert len(await bench.rows("SELECT * FROM jobs WHERE state = 'cancelled'")) == 20
    assert len(await bench.rows("SELECT * FROM armings")) == 20


async def test_two_answers_to_one_doubt_are_one_answer(line: Line, bench: Bench) -> None:
    from scheduler.core.task import Unknown

    await bench.arm()
    bench.provider.outcomes.append(Unknown("502"))
    await bench.running()
    answers = await asyncio.gather(
        *(line.ask("resolve", job="1", reason="r", **{"as": "written-off"}) for _ in range(10)),
    )
    assert sorted(answer.status for answer in answers) == [200] + [409] * 9
    assert await bench.states() == [("failed", "written_off", "posted")]


async def test_evidence_that_it_never_arrived_outweighs_a_write_off_once(line: Line, bench: Bench) -> None:
    from scheduler.core.task import Unknown

    await bench.arm()
    bench.provider.outcomes.append(Unknown("502"))
    await bench.running()
    answers = [
        await line.ask("resolve", job="1", reason="r", **{"as": said})
        for said in ("written-off", "not-sent", "not-sent", "written-off")
    ]
    assert [answer.status for answer in answers] == [200, 200, 409, 409]
    assert await bench.states() == [("failed", "not_sent", "voided")]


async def test_an_id_that_is_another_jobs_is_no_answer_to_a_doubt(line: Line, bench: Bench) -> None:
    from scheduler.core.task import Unknown

    await bench.arm()
    await bench.running()
    bench.provider.outcomes.append(Unknown("502"))
    await bench.running()
    taken = await line.ask("resolve", job="2", reason="r", provider_job_id="p-1", **{"as": "accepted"})
    assert taken.status == 400
    assert await bench.states() == [("running", "submitted", "open"), ("in_doubt", "in_doubt", "open")]


async def in_doubt_and_resolved_as(line: Line, bench: Bench, provider_job_id: str) -> None:
    from scheduler.core.task import Unknown

    await bench.arm()
    bench.provider.outcomes.append(Unknown("502"))
    await bench.running()
    given = {"as": "accepted", "provider_job_id": provider_job_id}
    assert (await line.ask("resolve", job="1", reason="typed", **given)).status == 200


@pytest.mark.parametrize(
    ("given", "after"),
    [
        ({"as": "accepted", "provider_job_id": "right"}, ("running", "submitted", "open")),
        ({"as": "not-sent"}, ("waiting", "not_sent", "voided")),
        ({"as": "written-off"}, ("failed", "written_off", "posted")),
    ],
)
async def test_a_wrong_id_is_taken_back_while_the_provider_has_not_confirmed_it(
    line: Line, bench: Bench, given: dict[str, str], after: tuple[str, str, str]
) -> None:
    await in_doubt_and_resolved_as(line, bench, "wrong")
    assert (await line.ask("resolve", job="1", reason="looked again", **given)).status == 200
    assert await bench.states() == [after]
    told = await bench.rows("SELECT sentence FROM job_events WHERE event = 'doubt again'")
    assert [("wrong" in sentence, "looked again" in sentence) for (sentence,) in told] == [(True, True)]
    ids = await bench.rows("SELECT provider_job_id FROM attempts")
    assert ids == [(given.get("provider_job_id"),)]


async def test_an_id_that_the_provider_confirmed_is_taken_back_by_nobody(line: Line, bench: Bench) -> None:
    await in_doubt_and_resolved_as(line, bench, "right")
    await bench.store.write(lambda tx: tx.still_open("attempt-1", "queued", 0))
    assert (await line.ask("resolve", job="1", reason="r", **{"as": "not-sent"})).status == 409
    assert await bench.states() == [("running", "submitted", "open")]


async def test_the_providers_own_late_answer_outweighs_the_id_a_person_gave(line: Line, bench: Bench) -> None:
    await in_doubt_and_resolved_as(line, bench, "wrong")
    sent = Sent("attempt-1", 1, BACKEND)
    taken = accepted("real")
    await bench.store.write(lambda tx: record_outcome(tx, sent, taken, bench.rules, bench.clock.now_us()))
    assert await bench.rows("SELECT provider_job_id, estimated_cost_microusd FROM attempts") == [
        ("p-real", PRICE)
    ]
    assert await bench.states() == [("running", "submitted", "open")]


async def test_a_cancelled_job_owes_what_its_tries_before_cost(line: Line, bench: Bench) -> None:
    await bench.receive()
    await bench.store.write(execute("UPDATE jobs SET cost_microusd = 1300000"))
    told = (await line.ask("cancel", jobs=["1"])).result["changed"]
    assert told == ["1 is cancelled; its tries before cost $1.30, and nothing more is sent"]


async def test_what_a_backend_waits_for_is_told(line: Line, bench: Bench) -> None:
    views = (await line.ask("backends")).result["backends"]
    assert [(view["name"], view["paid"]) for view in views] == [(BACKEND, True)]


STOPS = {"journal": "a backup was restored", "clock": "the wall clock jumped"}


async def paused(bench: Bench, *stops: str) -> None:
    """The account `coda` is stopped for these reasons, and two pauses of its own keep BACKEND closed."""
    at_us = bench.clock.now_us()

    def pause(tx: Tx) -> None:
        tx.see_journal_epoch(1)
        for code in stops:
            tx.pause_backend("coda", Pause(code, STOPS[code]), at_us)
        tx.pause_backend("coda", Pause("credits", "none are free"), at_us)
        tx.pause_backend(BACKEND, Pause("breaker", "no token"), at_us)

    await bench.store.write(pause)


async def left(bench: Bench) -> set[tuple[str, str]]:
    return set(await bench.rows("SELECT backend, code FROM pauses"))


async def believed(bench: Bench) -> tuple[int, ClockMark | None]:
    """The epoch that counts, and the time that was last believed."""
    mark, clocks = await bench.store.read(lambda tx: (tx.intent_mark(), tx.clock_mark()))
    return (mark.epoch if mark else 0), clocks


@pytest.mark.parametrize("name", [BACKEND, "coda"])
async def test_a_resume_lets_go_of_no_money_stop_that_it_does_not_name(
    line: Line, bench: Bench, name: str
) -> None:
    await paused(bench, "journal", "clock")
    before = await believed(bench)
    told = (await line.ask("backends_resume", backend=name, reason="a new token")).result
    own = set() if name == BACKEND else {(BACKEND, "breaker")}
    assert await left(bench) == {("coda", "journal"), ("coda", "clock"), *own}
    assert await believed(bench) == before
    lifted = ["gate credits of coda is lifted"]
    if name == BACKEND:
        lifted.insert(0, f"gate breaker of {BACKEND} is lifted")
    assert told["changed"] == lifted, "nothing is used again while it is stopped"
    assert sorted(told["unchanged"]) == [
        f"coda stays closed by gate {code}: {STOPS[code]}. "
        f"To lift it: nightshot backends resume coda --gate {code} --reason '…'"
        for code in sorted(STOPS)
    ]
    again = (await line.ask("backends_resume", backend=name, reason="once more")).result
    assert again["changed"] == []
    assert again["unchanged"] == told["unchanged"]


@pytest.mark.parametrize(("gate", "other"), [("journal", "clock"), ("clock", "journal")])
@pytest.mark.parametrize("name", [BACKEND, "coda"])
async def test_a_money_stop_that_is_named_is_lifted_and_nothing_else(
    line: Line, bench: Bench, name: str, gate: str, other: str
) -> None:
    await paused(bench, "journal", "clock")
    epoch, clocks = await believed(bench)
    told = (await line.ask("backends_resume", backend=name, gate=gate, reason="compared")).result
    assert await left(bench) == {("coda", other), ("coda", "credits"), (BACKEND, "breaker")}
    assert (told["changed"], told["unchanged"]) == ([f"gate {gate} of coda is lifted"], [])
    now_epoch, now_clocks = await believed(bench)
    assert now_epoch == epoch + (gate == "journal")
    assert (now_clocks != clocks) == (gate == "clock")


@pytest.mark.parametrize(("gate", "other"), [("journal", "clock"), ("clock", "journal")])
async def test_a_money_stop_that_is_not_there_is_not_lifted(
    line: Line, bench: Bench, gate: str, other: str
) -> None:
    await paused(bench, other)
    before = await believed(bench)
    told = (await line.ask("backends_resume", backend=BACKEND, gate=gate, reason="compared")).result
    assert (told["changed"], told["unchanged"]) == ([], [f"gate {gate} of coda is not closed"])
    assert await left(bench) == {("coda", other), ("coda", "credits"), (BACKEND, "breaker")}
    assert await believed(bench) == before
