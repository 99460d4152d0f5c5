"""A real HTTP server on a real Unix socket that answers control calls with what a test wrote down."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any

from scheduler.home import socket_address

Answer = dict[str, Any] | bytes | Callable[[dict[str, Any]], dict[str, Any]]


class RefusalError(Exception):
    """Raised by a canned answer: the daemon's error, as it goes over the wire."""

    def __init__(self, code: str, message: str, hint: str = "", exit_code: int = 1) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message, "hint": hint, "exit_code": exit_code}


class ControlServer(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True

    def __init__(self, address: str) -> None:
        super().__init__(address, _Handler)
        self.answers: dict[str, Answer] = {}
        #: Every call as (op, args), in the order in which they came.
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def args_of(self, op: str) -> dict[str, Any]:
        """The arguments of the only call of `op`."""
        (args,) = [args for name, args in self.calls if name == op]
        return args


class _Handler(BaseHTTPRequestHandler):
    server: ControlServer

    def do_POST(self) -> None:
        op = self.path.removeprefix("/control/v1/")
        args = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.calls.append((op, args))
        answer = self.server.answers.get(op)
        if isinstance(answer, bytes):
            self.wfile.write(answer)
            return
        try:
            if answer is None:
                raise RefusalError("not-found", f"no such operation: {op}", exit_code=3)
            result = answer(args) if callable(answer) else answer
            self._reply(200, {"ok": True, "result": result})
        except RefusalError as refusal:
            self._reply(409, {"ok": False, "error": refusal.error})

    def _reply(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the library
        pass


@contextmanager
def control_server(path: Path) -> Iterator[ControlServer]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket_address(path) as address:
        server = ControlServer(address)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
