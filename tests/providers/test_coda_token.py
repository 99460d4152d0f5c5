"""The token is read at every use and is found in nothing that comes back, whatever the server echoes."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator

import pytest

from scheduler.core.task import Refused
from scheduler.errors import NightshotError, SettingsError, Unreachable
from scheduler.ports import EstimateFailed, PollFailed, Site
from scheduler.providers import coda
from tests.support.coda_account import REQUEST, TOKEN, Build, yes
from tests.support.coda_server import CodaServer, Fault, answer

ESCAPED = "".join(f"\\u{ord(c):04X}" for c in TOKEN)
ECHOES: dict[str, Fault] = {
    "400": answer(400, {"detail": f"bad key {TOKEN}"}),
    "401": answer(401, {"detail": [{"loc": [TOKEN], "msg": TOKEN}], TOKEN: TOKEN}),
    "401 escaped": answer(401, f'{{"detail": "{ESCAPED}"}}'.encode()),
    "404": answer(404, {"detail": TOKEN}),
    "418": answer(418, {"error": TOKEN}),
    "418 HTML": answer(418, f"<html>{TOKEN}"),
    "200": answer(200, {"success": True, "job_id": "j", "status": TOKEN, "estimated_cost_cents": TOKEN}),
    "200 false": answer(200, {"success": False, "error": TOKEN}),
    "200 failed": answer(200, {"status": "failed", "error": TOKEN}),
    "200 completed": answer(200, {"status": "completed", "results": {TOKEN: 1}}),
    "200 devices": answer(200, {"devices": [{"id": TOKEN, "name": "n", "provider": TOKEN, TOKEN: [TOKEN]}]}),
    "id": answer(200, {"success": True, "job_id": TOKEN}),
    "id escaped": answer(200, f'{{"success": true, "job_id": "{ESCAPED}"}}'.encode()),
    "cut inside it": answer(200, f'{{"x": "{TOKEN}'.encode(), cut_bytes=5),
    "half": answer(400, {"detail": TOKEN, "more": "x" * 99}, cut_bytes=50),
    "redirect": answer(307, headers={"Location": f"/{TOKEN}"}),
    "status line": Fault(payload=f"HTTP/1.1 {TOKEN}\r\n\r\n".encode()),
    "header": Fault(payload=f"HTTP/1.1 200 OK\r\n{TOKEN} {TOKEN}\r\n\r\n".encode()),
}


def everything_about(error: BaseException) -> Iterator[str]:
    """What a log, a crash report or a traceback with local variables could show."""
    seen: BaseException | None = error
    while seen is not None:
        yield from (str(seen), repr(seen), repr(vars(seen)), repr(seen.args))
        frame = seen.__traceback__
        while frame is not None:
            if "scheduler" in frame.tb_frame.f_code.co_filename:
                yield from map(repr, frame.tb_frame.f_locals.values())
            frame = frame.tb_next
        seen = seen.__cause__ or seen.__context__


@pytest.mark.parametrize("fault", ECHOES.values(), ids=ECHOES.keys())
async def test_an_echoed_token_comes_back_out_of_no_call(
    server: CodaServer,
    account: Build,
    fault: Fault,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    server.next_submits.append(fault)
    server.next_estimates.extend([fault] * 3)
    server.next_statuses.extend([fault] * 3)
    server.next_devices.extend([fault] * 3)
    provider = account(read_timeout_s=5.0)
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: provider.submit(REQUEST, yes),
        lambda: provider.estimate(REQUEST),
        lambda: provider.poll("j", REQUEST),
        provider.devices,
    ]
    shown = [repr(provider), repr(provider._settings)]
    for call in calls:
        try:
            shown.append(repr(await call()))
        except NightshotError as error:
            shown.extend(everything_about(error))
    printed = capfd.readouterr()
    shown += [caplog.text, printed.out, printed.err]
    assert all(request.headers["authorization"] == f"Bearer {TOKEN}" for request in server.requests)
    for text in shown:
        # The server's own log of requests is no part of the program.
        assert TOKEN not in text
        assert TOKEN[:-5] not in text
        assert ESCAPED not in text


async def test_a_rotated_token_is_picked_up_and_a_401_is_just_a_refusal(
    server: CodaServer, make_site: Callable[..., Site]
) -> None:
    tokens = {"coda-token": "coda_yesterday"}
    provider = coda.build(coda.Settings(base_url=server.base_url), make_site("coda", tokens.get))
    refused = await provider.submit(REQUEST, yes)
    assert isinstance(refused, Refused)
    tokens["coda-token"] = f"{TOKEN}\n"
    await provider.submit(REQUEST, yes)
    assert len(server.bills) == 1
    await provider.close()


async def test_without_a_token_every_read_fails_with_the_sentence_that_helps(
    server: CodaServer, make_site: Callable[..., Site]
) -> None:
    provider = coda.build(coda.Settings(base_url=server.base_url), make_site("coda-physics"))
    help_words = r"write token_file into \[providers\.coda-physics\], or give .* named coda-physics-token"
    with pytest.raises(EstimateFailed, match=help_words):
        await provider.estimate(REQUEST)
    with pytest.raises(PollFailed, match=help_words):
        await provider.poll("j", REQUEST)
    with pytest.raises(Unreachable, match=help_words):
        await provider.devices()
    assert server.connections == 0


async def test_a_secret_that_cannot_be_read_is_a_sentence_not_a_crash(
    server: CodaServer, make_site: Callable[..., Site]
) -> None:
    def unreadable(name: str) -> str | None:
        raise SettingsError(f"{name}: permission denied")

    provider = coda.build(coda.Settings(base_url=server.base_url), make_site("coda", unreadable))
    with pytest.raises(EstimateFailed, match="permission denied"):
        await provider.estimate(REQUEST)
