"""A Coda in a process of its own that accepts everything and has completed it at once.

Written straight on asyncio's transports, so that it is never what is measured. It notes when each call came
and was answered (CLOCK_MONOTONIC, which all processes of a machine share), and tells on `GET /times`.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

BASE = "/v0/coda"
TOKEN = "coda_benchmark_token"
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_JOB_ID = re.compile(rb'"job_id": *"([^"]*)"')
_NUMBERS = count(1)
_TIMES: list[tuple[str, float, float]] = []


class _Talk(asyncio.Protocol):
    def __init__(self) -> None:
        self._data = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head = self._data[:end]
            found = _LENGTH.search(head)
            size = end + 4 + (int(found[1]) if found else 0)
            if len(self._data) < size:
                return
            body, self._data = self._data[end + 4 : size], self._data[size:]
            self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        came_s = time.monotonic()
        path = head.split(b" ", 2)[1].decode()
        answer = json.dumps(_reply(path, body)).encode()
        assert self._transport is not None
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (len(answer), answer)
        )
        _TIMES.append((path.removeprefix(BASE), came_s, time.monotonic()))
        if b"connection: close" in head.lower():
            self._transport.close()


def _reply(path: str, body: bytes) -> Any:
    match path.removeprefix(BASE):
        case "/qpus":
            return {
                "success": True,
                "job_id": f"7f6c6b6a-2f7d-4b84-8f59-{next(_NUMBERS):012x}",
                "status": "submitted",
                "backend": "iqm",
                "shots": 100,
                "estimated_cost_cents": 130,
                "credits_applied": 2,
                "overage_cents": 0,
            }
        case "/qpus/status":
            found = _JOB_ID.search(body)
            job_id = found[1].decode() if found else ""
            done = {"status": "completed", "results": {"111": 52, "000": 48}}
            return {"success": True, "job_id": job_id, **done}
        case "/qpus/estimate-cost":
            return {"success": True, "estimated_cost_cents": 130}
        case "/times":
            told, _TIMES[:] = list(_TIMES), []
            return told
        case _:
            return {"detail": "Not Found"}


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Talk, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@dataclass(frozen=True, slots=True)
class MockCoda:
    port: int

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}{BASE}"

    def times(self) -> list[tuple[str, float, float]]:
        """Path, arrival and answer of every call since this was last asked, in monotonic seconds."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/times") as answer:
            return [tuple(each) for each in json.load(answer)]


@contextmanager
def mock_coda() -> Iterator[MockCoda]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.mock_coda"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield MockCoda(int(process.stdout.readline()))
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


if __name__ == "__main__":
    asyncio.run(_serve())
