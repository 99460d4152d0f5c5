"""HTTP in two kinds that must never be mixed: a request that is sent once, and a read that may be repeated.

`post_once` knows for certain whether a byte of its request can have left: only `OnceConnector` hands out a
connection, only after the send gate said yes, and only one. aiohttp's exception types alone cannot tell:
`ClientOSError` is the parent of the harmless `ClientConnectorError` and is itself anything but harmless.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp
import stamina
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from pydantic import SecretStr
from yarl import URL

from scheduler import __version__
from scheduler.errors import NightshotError
from scheduler.ports import SendGate
from scheduler.providers._replies import Reply, one_line, read_reply, readable, retry_after_s, scrub

#: How much of a reply that cannot be used is kept as evidence for a person.
EVIDENCE_BYTES = 65_536
READ_TRIES = 3
#: A longer `Retry-After` is handed to the caller instead of being slept through here.
LONGEST_PAUSE_S = 2.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How long to wait and how much to take; `read_timeout_s` covers all tries of one read together."""

    connect_timeout_s: float
    reply_timeout_s: float
    read_timeout_s: float
    reply_bytes: int


@dataclass(frozen=True, slots=True)
class Unsent:
    """No byte of the request left this machine."""

    reason: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The request may have left, and no whole answer came back; `text` is what did come."""

    reason: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Trouble:
    """A read did not work this time."""

    reason: str
    worth_another_try: bool = True


class _VetoError(Exception):
    """The send gate, or the connection itself, said no before the first byte."""


class _SecondSendError(Exception):
    """Something asked for a second connection for a request that is sent once."""


class OnceConnector(aiohttp.TCPConnector):
    """Connects first, then asks the gate, then hands out one connection, once.

    A trace hook (`on_connection_create_end`) would be asked at the same moment, but within the connect
    timeout, and aiohttp leaves the connection open when such a hook raises.
    """

    def __init__(self, send_gate: SendGate, opened: Callable[[], None]) -> None:
        super().__init__(force_close=True)
        self._send_gate = send_gate
        self._opened = opened
        self._spent = False
        #: True from the moment the request may be written; False proves that nothing was.
        self.may_have_sent = False

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        if self._spent:
            raise _SecondSendError("a second connection was asked for")
        self._spent = True
        connection = await super().connect(req, traces, timeout)
        try:
            veto = await self._send_gate()
            if veto is not None:
                raise _VetoError(veto)
            # The gate may have taken long; writing into a dead connection would be a needless doubt.
            if connection.protocol is None or not connection.protocol.is_connected():
                raise _VetoError("the server closed the connection before anything was sent")
        except BaseException:
            connection.close()
            raise
        self.may_have_sent = True
        self._opened()
        return connection


async def post_once(
    url: URL,
    document: bytes,
    secret: SecretStr,
    send_gate: SendGate,
    limits: Limits,
    now_us: Callable[[], int],
) -> Reply | Unsent | Lost:
    """Send one POST at most and say what became of it; never raises for what the network or the gate does.

    Cancellation propagates: then only the caller knows what it wanted, and the request may have left.
    """
    received = bytearray()
    loop = asyncio.get_running_loop()
    deadline = asyncio.timeout(None)  # the wait for the reply starts when the gate opens, not before
    connector = OnceConnector(send_gate, lambda: deadline.reschedule(loop.time() + limits.reply_timeout_s))
    place = str(url.origin())
    try:
        async with (
            _session(connector, limits) as session,
            deadline,
            session.post(url, data=document, headers=_headers(secret), allow_redirects=False) as answer,
        ):
            await _take(answer, received, limits.reply_bytes)
            return _reply(answer, received, secret, now_us())
    except _VetoError as veto:
        return Unsent(one_line(scrub(str(veto), secret)))
    except (aiohttp.ClientError, OSError, NightshotError) as error:
        trouble = _describe(error, secret)
        if not connector.may_have_sent:
            return Unsent(f"nothing was sent to {place}: {trouble}")
    except Exception as error:
        # Whatever this is, ours or aiohttp's: once the gate is open the truth about the request is "unknown".
        if not connector.may_have_sent:
            raise
        trouble = _describe(error, secret)
    heard = readable(bytes(received[:EVIDENCE_BYTES]), secret)
    if deadline.expired():
        trouble = f"no whole answer within {limits.reply_timeout_s:g} s"
    return Lost(f"the request left for {place}, then: {trouble}", heard)


class Reads:
    """Requests without consequences, over kept connections, repeated a few times within one time-out."""

    def __init__(self, limits: Limits, now_us: Callable[[], int]) -> None:
        self._limits = limits
        self._now_us = now_us
        self._kept: aiohttp.ClientSession | None = None
        self._closed = False

    async def ask(self, method: str, url: URL, document: bytes | None, secret: SecretStr) -> Reply | Trouble:
        """Return the answer, also one that says no; 408, 429, 5xx and lost answers only after other tries."""
        if self._closed:
            return Trouble("this provider has been closed")
        try:
            async with asyncio.timeout(self._limits.read_timeout_s):
                heard = await self._ask_once(method, url, document, secret)
                if not _worth_another_try(heard):
                    return heard  # nearly always; what follows takes as long as the reading did
                async for attempt in stamina.retry_context(
                    on=_pause_before_retry, attempts=READ_TRIES, timeout=None, wait_max=1.0, wait_jitter=0.1
                ):
                    with attempt:
                        if attempt.num > 1:
                            heard = await self._ask_once(method, url, document, secret)
                        if _worth_another_try(heard):
                            raise _AskAgainError(heard)
                        return heard
        except _AskAgainError as last:
            return last.heard
        except TimeoutError:
            return Trouble(f"{url.origin()} did not answer within {self._limits.read_timeout_s:g} s")
        raise AssertionError("stamina ended without an answer")

    async def _ask_once(
        self, method: str, url: URL, document: bytes | None, secret: SecretStr
    ) -> Reply | Trouble:
        if self._kept is None:
            self._kept = _session(aiohttp.TCPConnector(), self._limits)
        received = bytearray()
        try:
            async with self._kept.request(
                method, url, data=document, headers=_headers(secret), allow_redirects=False
            ) as answer:
                await _take(answer, received, self._limits.reply_bytes)
                return _reply(answer, received, secret, self._now_us())
        except _OversizeError as error:
            return Trouble(f"{url.origin()}: {error}", worth_another_try=False)
        except (aiohttp.ClientError, OSError) as error:
            return Trouble(f"{url.origin()}: {_describe(error, secret)}")

    async def close(self) -> None:
        self._closed = True
        kept, self._kept = self._kept, None
        if kept is not None:
            await kept.close()


class _AskAgainError(Exception):
    """Carries an answer worth another try through stamina, which only knows exceptions."""

    def __init__(self, heard: Reply | Trouble) -> None:
        super().__init__(heard.reason if isinstance(heard, Trouble) else f"HTTP {heard.status}")
        self.heard = heard


def _worth_another_try(heard: Reply | Trouble) -> bool:
    if isinstance(heard, Trouble):
        return heard.worth_another_try
    return heard.status in (408, 429) or heard.status >= 500


def _pause_before_retry(error: BaseException) -> bool | float:
    if not isinstance(error, _AskAgainError):
        return False
    asked = error.heard.retry_after_s if isinstance(error.heard, Reply) else None
    if asked is None:
        return True
    return asked if asked <= LONGEST_PAUSE_S else False


class _OversizeError(Exception):
    """The reply is larger than anything that was asked for."""


def _session(connector: aiohttp.TCPConnector, limits: Limits) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,  # no proxy and no netrc: the token goes where the settings say and nowhere else
        timeout=aiohttp.ClientTimeout(total=None, connect=limits.connect_timeout_s),
    )


def _headers(secret: SecretStr) -> dict[str, str]:
    return {
        "Authorization": f"Bearer {secret.get_secret_value()}",
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": f"nightshot/{__version__}",
    }


async def _take(answer: aiohttp.ClientResponse, received: bytearray, limit_bytes: int) -> None:
    """Fill `received`, which keeps what came even when the rest never does. Raises _OversizeError."""
    async for chunk in answer.content.iter_any():
        received += chunk
        if len(received) > limit_bytes:
            answer.close()
            raise _OversizeError(f"the answer is larger than {limit_bytes} bytes")


def _reply(answer: aiohttp.ClientResponse, received: bytearray, secret: SecretStr, now_us: int) -> Reply:
    pause_s = retry_after_s(answer.headers.getall("Retry-After", []), now_us)
    return read_reply(answer.status, bytes(received), pause_s, secret)


def _describe(error: BaseException, secret: SecretStr) -> str:
    """Say what happened without the exception itself: aiohttp's carry our request headers, token included."""
    match error:
        case aiohttp.ConnectionTimeoutError():
            words = "the connection was not made in time"
        case aiohttp.ServerDisconnectedError():
            words = "the server closed the connection"
        case aiohttp.ClientResponseError():
            words = f"the answer is not HTTP ({error.message})"
        case NightshotError():
            words = error.message
        case _:
            words = str(error) or type(error).__name__
    return one_line(scrub(words, secret), 300)
