"""Asks the running daemon over its Unix socket: one question, one answer, one connection.

Plain HTTP/1.0 by hand: the standard library's client loads mail parsers and TLS, 20 ms for every command.
HTTP/1.0 keeps the answer simple: no chunks, no connection to keep.
"""

from __future__ import annotations

import os
import socket
import time
from typing import Any

from scheduler.errors import (
    DeadlinePassed,
    ImpossibleArrow,
    NeedsPerson,
    NightshotError,
    NotAllowed,
    NotFound,
    RefusedByBudget,
    SchemaMismatch,
    SettingsError,
    SpecError,
    TryAgain,
    Unreachable,
    UsageError,
)
from scheduler.home import Home, socket_address

LARGEST_ANSWER_BYTES = 1 << 30
_HEAD_END = b"\r\n\r\n"
_KINDS: dict[str, type[NightshotError]] = {
    kind.code: kind
    for kind in (
        UsageError,
        NotFound,
        NotAllowed,
        RefusedByBudget,
        NeedsPerson,
        SettingsError,
        SchemaMismatch,
        Unreachable,
        TryAgain,
        DeadlinePassed,
        ImpossibleArrow,
    )
}


class DaemonNotRunning(Unreachable):
    """Nobody listens on the socket of this home."""

    code = "daemon-not-running"


class RemoteError(NightshotError):
    """What the daemon refused, in its own words, with its own code and exit code."""

    def __init__(self, code: str, message: str, hint: str, exit_code: int) -> None:
        super().__init__(message, hint)
        self.code = code
        self.exit_code = exit_code


class Client:
    """A connection to the daemon of one home; `timeout_s` is for a whole answer."""

    def __init__(self, home: Home, timeout_s: float = 60.0) -> None:
        self._path = home.socket
        self._timeout_s = timeout_s

    def call(self, op: str, args: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask for `op` and return its view.

        Raises DaemonNotRunning when nobody listens, otherwise the error that the daemon answered with.
        """
        import json

        body = json.dumps(args or {}).encode()
        deadline_s = time.monotonic() + self._timeout_s
        with self._connect() as connection:
            raw = self._exchange(connection, op, body, deadline_s)
        return _result(json, op, raw)

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        connection.settimeout(self._timeout_s)
        try:
            with socket_address(self._path) as address:
                connection.connect(address)
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            connection.close()
            raise DaemonNotRunning(
                f"no daemon is running (nobody listens on {self._path})", "Start one: nightshot run"
            ) from None
        except PermissionError:
            connection.close()
            raise NotAllowed(
                f"{self._path}: this user (uid {os.getuid()}) may not talk to the daemon",
                "Ask its owner to add you to the socket's group, or use your own home with --home DIR.",
            ) from None
        except TimeoutError:
            connection.close()
            raise self._too_late() from None
        except BlockingIOError:
            connection.close()
            raise TryAgain("the daemon has too many callers waiting", "Try again in a moment.") from None
        except BaseException:
            connection.close()
            raise
        return connection

    def _exchange(self, connection: socket.socket, op: str, body: bytes, deadline_s: float) -> bytes:
        head = (
            f"POST /control/v1/{op} HTTP/1.0\r\nHost: nightshot\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        chunks: list[bytes] = []
        try:
            try:
                connection.sendall(head.encode("ascii") + body)
            except (BrokenPipeError, ConnectionResetError):
                # Refused before all of it was read (too large, say): the answer may be there already.
                pass
            while True:
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    raise self._too_late()
                connection.settimeout(left_s)
                chunk = connection.recv(1 << 18)
                if not chunk:
                    return b"".join(chunks)
                chunks.append(chunk)
        except TimeoutError:
            raise self._too_late() from None
        except ConnectionError as error:
            if chunks:
                return b"".join(chunks)
            raise Unreachable(
                f"the daemon hung up before it answered ({error.strerror or error})",
                "Look whether it did what you asked before you repeat it: nightshot status",
            ) from None

    def _too_late(self) -> DeadlinePassed:
        return DeadlinePassed(
            f"the daemon did not answer within {self._timeout_s:g} s",
            "It may still do what you asked: look with nightshot status before you repeat it.",
        )


def _result(json: Any, op: str, raw: bytes) -> dict[str, Any]:
    status, body = _split(raw)
    try:
        answer = json.loads(body)
        if answer["ok"] is True:
            result = answer["result"]
            if not isinstance(result, dict):
                raise TypeError("no object")
            return result
        refusal = answer["error"]
        if not isinstance(refusal, dict):
            raise TypeError("no object")
    except (ValueError, KeyError, TypeError):
        raise Unreachable(
            f"the daemon's answer to '{op}' cannot be read (HTTP {status}, {len(body)} bytes)",
            "Command and daemon may differ in version: compare nightshot --version and nightshot status.",
        ) from None
    raise _refusal(refusal)


def _split(raw: bytes) -> tuple[str, bytes]:
    """Part status and body, and refuse a body that was cut short."""
    head, found, body = raw.partition(_HEAD_END)
    lines = head.split(b"\r\n")
    words = lines[0].split(b" ", 2)
    if not found or not words[0].startswith(b"HTTP/1.") or len(words) < 2:
        raise Unreachable("the daemon hung up before it answered", "Look at its log, then: nightshot status")
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and len(body) < int(value):
            raise Unreachable(
                "the daemon's answer was cut short",
                "Look whether it did what you asked before you repeat it: nightshot status",
            )
    return words[1].decode("ascii", "replace"), body


def _refusal(error: dict[str, Any]) -> NightshotError:
    """Rebuild the exception that the daemon raised, so that callers can catch it by its class."""
    message, hint = str(error.get("message", "refused without a reason")), str(error.get("hint") or "")
    code, exit_code = str(error.get("code", "failed")), int(error.get("exit_code", 1))
    if code == SpecError.code:
        return SpecError(message, hint=hint)
    kind = _KINDS.get(code)
    return kind(message, hint) if kind else RemoteError(code, message, hint, exit_code)
