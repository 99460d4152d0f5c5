"""Not sent means: not one byte of the request left, and the tests look at the other end of the wire."""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import replace

import pytest

from scheduler.core.task import Accepted, NotSent
from scheduler.errors import TryAgain
from tests.support import coda_server as server_side
from tests.support.coda_account import REQUEST, Build, yes
from tests.support.coda_server import CodaServer


async def test_a_refused_connection_is_not_sent(account: Build) -> None:
    with socket.socket() as taken:  # bound but not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        outcome = await account(base_url=f"http://127.0.0.1:{taken.getsockname()[1]}").submit(REQUEST, yes)
    assert isinstance(outcome, NotSent)
    assert "nothing was sent" in outcome.reason


async def test_a_name_that_does_not_resolve_is_not_sent(account: Build) -> None:
    outcome = await account(base_url="https://coda.invalid/v0").submit(REQUEST, yes)
    assert isinstance(outcome, NotSent)


async def test_a_tls_handshake_with_a_server_that_speaks_none_is_not_sent(
    server: CodaServer, account: Build
) -> None:
    outcome = await account(
        base_url=server.base_url.replace("http:", "https:"), connect_timeout_s=0.3
    ).submit(REQUEST, yes)
    assert isinstance(outcome, NotSent)
    assert server.posts == 0


async def test_a_tls_handshake_that_finds_no_cipher_is_not_sent(account: Build) -> None:
    async with CodaServer(tls=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)) as server:  # it has no certificate
        outcome = await account(base_url=server.base_url).submit(REQUEST, yes)
        assert isinstance(outcome, NotSent)
        assert server.bytes_received == 0


async def test_a_connection_that_is_never_made_times_out_as_not_sent(account: Build) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with socket.socket() as first, socket.socket() as second:  # they fill the backlog
            for filler in (first, second):
                filler.setblocking(False)
                filler.connect_ex(full.getsockname())
            provider = account(base_url=f"http://127.0.0.1:{full.getsockname()[1]}", connect_timeout_s=0.3)
            outcome = await provider.submit(REQUEST, yes)
    assert isinstance(outcome, NotSent)
    assert "not made in time" in outcome.reason


@pytest.mark.parametrize("token", [None, "", "short", "coda_with a space", "coda_with\nnewline"])
async def test_without_a_usable_token_nothing_is_sent_and_the_sentence_says_what_to_do(
    server: CodaServer, account: Build, token: str | None
) -> None:
    outcome = await account(token).submit(REQUEST, yes)
    assert isinstance(outcome, NotSent)
    assert "set CODA_API_TOKEN" in outcome.reason or "set it again" in outcome.reason
    assert server.connections == 0


async def test_a_closed_account_sends_nothing(server: CodaServer, account: Build) -> None:
    provider = account()
    await provider.close()
    assert isinstance(await provider.submit(REQUEST, yes), NotSent)
    assert server.connections == 0


# --------------------------------------------------------------------------------------- the send gate


async def test_the_gate_is_asked_once_when_the_connection_stands_and_before_any_byte(
    server: CodaServer, account: Build
) -> None:
    asked: list[tuple[int, int]] = []

    async def gate() -> str | None:
        await server.until(lambda: server.connections == 1)
        asked.append((server.connections, server.bytes_received))
        return None

    assert isinstance(await account().submit(REQUEST, gate), Accepted)
    assert asked == [(1, 0)]


async def test_a_veto_leaves_not_a_single_byte_at_the_server(account: Build) -> None:
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    connected = asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        heard.set_result(await reader.read())  # everything until the other side closes
        writer.close()

    async def veto() -> str | None:
        async with asyncio.timeout(20):
            await connected.wait()
        return "not armed any more"

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as raw:
        provider = account(base_url=f"http://127.0.0.1:{raw.sockets[0].getsockname()[1]}")
        assert await provider.submit(REQUEST, veto) == NotSent("not armed any more")
        async with asyncio.timeout(20):
            assert await heard == b""


async def test_a_gate_that_fails_lets_nothing_out(server: CodaServer, account: Build) -> None:
    async def gate() -> str | None:
        raise TryAgain("the database is busy")

    outcome = await account().submit(REQUEST, gate)
    assert isinstance(outcome, NotSent)
    assert "the database is busy" in outcome.reason
    assert server.bytes_received == 0


async def test_a_bug_in_the_gate_is_not_swallowed_and_lets_nothing_out(
    server: CodaServer, account: Build
) -> None:
    async def gate() -> str | None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await account().submit(REQUEST, gate)
    assert server.bytes_received == 0


async def test_a_connection_that_died_while_the_gate_thought_is_not_written_to(account: Build) -> None:
    closed = asyncio.Event()

    async def close_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        await writer.wait_closed()
        closed.set()

    async def slow_gate() -> str | None:
        async with asyncio.timeout(20):
            await closed.wait()
        await asyncio.sleep(0.05)
        return None

    async with await asyncio.start_server(close_at_once, "127.0.0.1", 0) as raw:
        provider = account(base_url=f"http://127.0.0.1:{raw.sockets[0].getsockname()[1]}")
        outcome = await provider.submit(REQUEST, slow_gate)
    assert outcome == NotSent("the server closed the connection before anything was sent")


async def test_the_wait_for_the_answer_starts_when_the_gate_opens(server: CodaServer, account: Build) -> None:
    async def slow_gate() -> str | None:
        await asyncio.sleep(0.6)
        return None

    provider = account(reply_timeout_s=0.4, connect_timeout_s=0.4)
    assert isinstance(await provider.submit(REQUEST, slow_gate), Accepted)


# ---------------------------------------------------------------------------------------- cancellation


async def test_cancelling_during_the_post_propagates_and_closes_the_connection(
    server: CodaServer, account: Build
) -> None:
    server.next_submits.append(server_side.HANG_BILLED)
    submitting = asyncio.create_task(account().submit(REQUEST, yes))
    await server.until(lambda: server.posts == 1)
    submitting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await submitting
    assert server.posts == 1


async def test_cancelling_while_the_gate_thinks_sends_nothing(server: CodaServer, account: Build) -> None:
    thinking = asyncio.Event()

    async def gate() -> str | None:
        thinking.set()
        await asyncio.Event().wait()
        return None

    submitting = asyncio.create_task(account().submit(REQUEST, gate))
    await thinking.wait()
    submitting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await submitting
    assert server.bytes_received == 0


async def test_thirty_at_once_are_thirty_posts_and_thirty_bills(server: CodaServer, account: Build) -> None:
    provider = account(mark_code=True)
    requests = [replace(REQUEST, attempt_id=f"a-{n}") for n in range(30)]
    outcomes = await asyncio.gather(*(provider.submit(request, yes) for request in requests))
    assert all(isinstance(outcome, Accepted) for outcome in outcomes)
    assert server.posts == 30
    assert {bill.marker for bill in server.bills} == {request.attempt_id for request in requests}
