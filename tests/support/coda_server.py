"""A Coda that behaves, until it is told how to misbehave; it keeps its own books.

`bills` is the truth about money: one entry for each run this server took, whatever it answered afterwards.
`posts` counts whole requests to the billable call, `connections` and `bytes_received` what came at all.
Faults are put into `next_submits`, `next_estimates`, `next_statuses` and `next_devices`, one for each coming
request; without one the documented answer is given.

It also runs alone, for tests that kill processes:

    python tests/support/coda_server.py --port 0 --bills bills.jsonl --fault-rate 0.2 --seed 7

It prints `listening on http://127.0.0.1:PORT/v0/coda` and appends one fsynced JSON line per bill, before the
answer leaves.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import random
import re
import socket
import ssl
import struct
import sys
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

BASE = "/v0/coda"
FRAMEWORKS = {"qiskit", "cirq", "pennylane", "braket", "pyquil", "cudaq", "openqasm3"}
MARKER = re.compile(r"nightshot attempt (\S+)\s*$")
DEVICES = [
    {"id": "iqm", "name": "IQM Garnet", "provider": "iqm", "status": "online", "qubits": 20},
    {"id": "ibm_fez", "name": "IBM Fez", "provider": "ibm", "status": "offline", "qubits": 156},
    {"name": "simulator"},
]

Then = Literal["keep", "close", "reset", "hang"]


@dataclass(frozen=True)
class Fault:
    """What the server does instead of the documented answer; `payload` goes out raw."""

    bill: bool = False
    payload: bytes = b""
    then: Then = "close"
    delay_s: float = 0.0  # before the first byte
    drip_s: float = 0.0  # between single bytes
    reuse_id: bool = False  # answer properly, with the id of the first bill
    proper: bool = False  # answer properly (after the delay)


def answer(
    status: int,
    body: object = b"",
    *,
    headers: dict[str, str] | None = None,
    bill: bool = False,
    cut_bytes: int = 0,
    then: Then = "close",
    drip_s: float = 0.0,
) -> Fault:
    """A whole answer (bytes and str as they are, anything else as JSON), or one that lacks `cut_bytes`."""
    payload = http(status, body, headers or {})
    return Fault(bill, payload[: len(payload) - cut_bytes], then, drip_s=drip_s)


def http(status: int, body: object, headers: dict[str, str]) -> bytes:
    is_json = not isinstance(body, bytes | str)
    data = json.dumps(body).encode() if is_json else body.encode() if isinstance(body, str) else body
    assert isinstance(data, bytes)
    told = {"Content-Type": "application/json" if is_json else "text/html", "Content-Length": str(len(data))}
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{k}: {v}" for k, v in (told | headers).items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


HANG = Fault(then="hang")
HANG_BILLED = Fault(bill=True, then="hang")
RESET = Fault(then="reset")
RESET_BILLED = Fault(bill=True, then="reset")
CLOSE = Fault(then="close")
CLOSE_BILLED = Fault(bill=True, then="close")
CLOSE_AFTER_HEAD = Fault(bill=True, payload=b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
GARBAGE = Fault(payload=b"\x16\x03\x01 this is not HTTP\r\n\r\n")
KNOWN_ID = Fault(reuse_id=True)
BILLED_THEN_502 = answer(502, "<html>bad gateway</html>", bill=True)
UNAVAILABLE = answer(503, {"detail": "try later"})
HALF_BODY = answer(200, {"success": True, "job_id": "9f9f"}, bill=True, cut_bytes=9)
HTML_200 = answer(200, "<html>please log in</html>", bill=True)
NO_ID = answer(200, {"success": True, "status": "submitted"}, bill=True)
REDIRECT_TO_ITSELF = answer(307, headers={"Location": f"{BASE}/qpus"})
TOO_MANY = answer(429, {"detail": "slow down"}, headers={"Retry-After": "1"})
INVALID = answer(
    422, {"detail": [{"loc": ["body", "code"], "msg": "cannot be transpiled", "type": "value_error"}]}
)

#: What `--fault-rate` draws from; the ones that run are billed.
RANDOM_SUBMIT_FAULTS = (
    *(BILLED_THEN_502, UNAVAILABLE, HANG, HANG_BILLED, RESET, RESET_BILLED, CLOSE, CLOSE_BILLED),
    *(CLOSE_AFTER_HEAD, HALF_BODY, HTML_200, NO_ID, REDIRECT_TO_ITSELF, TOO_MANY, INVALID, GARBAGE),
)
RANDOM_READ_FAULTS = (UNAVAILABLE, HANG, RESET, CLOSE, HTML_200, TOO_MANY, GARBAGE)


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]
    raw: bytes

    @property
    def document(self) -> dict[str, Any]:
        found = json.loads(self.raw)
        assert isinstance(found, dict)
        return found


@dataclass(frozen=True)
class Bill:
    """One run that was taken: it costs money from here on."""

    number: int
    job_id: str
    backend: str
    shots: int
    cents: int
    code_sha256: str
    marker: str | None


@dataclass
class CodaServer:
    """`async with CodaServer() as server:` listens on a free loopback port at `server.base_url`."""

    token: str | None = None  # None: any token will do
    polls_before_completion: int = 1
    answer_delay_s: float = 0.0
    hang_s: float = 3600.0
    cents_of: Callable[[str, int], int] = lambda _backend, shots: 30 + shots
    bills_file: Path | None = None
    fault_rate: float = 0.0
    seed: int = 0
    port: int = 0
    tls: ssl.SSLContext | None = None

    bills: list[Bill] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    bytes_received: int = 0
    next_submits: deque[Fault] = field(default_factory=deque)
    next_estimates: deque[Fault] = field(default_factory=deque)
    next_statuses: deque[Fault] = field(default_factory=deque)
    next_devices: deque[Fault] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self._polls: dict[str, int] = {}
        self._random = random.Random(self.seed)
        self._talks: set[asyncio.Task[None]] = set()
        self.changed = asyncio.Condition()

    # ------------------------------------------------------------------------------------- what was seen

    @property
    def base_url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}{BASE}"

    @property
    def posts(self) -> int:
        """How many requests to the billable call have arrived whole."""
        return len([r for r in self.requests if (r.method, r.path) == ("POST", f"{BASE}/qpus")])

    async def until(self, fact: Callable[[], bool]) -> None:
        """Wait until `fact` holds; it is looked at whenever something arrives. Raises TimeoutError."""
        async with asyncio.timeout(20), self.changed:
            await self.changed.wait_for(fact)

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    # ------------------------------------------------------------------------------------------ lifetime

    async def __aenter__(self) -> CodaServer:
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for talk in list(self._talks):
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)
        await self._server.wait_closed()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.current_task()
        assert talk is not None
        self._talks.add(talk)
        self.connections += 1
        await self._tell()
        try:
            while (request := await self._read(reader)) is not None:
                self.requests.append(request)
                await self._tell()
                if not await self._respond(request, writer):
                    break
        except (ConnectionError, asyncio.CancelledError):
            pass  # the other side went away, or the test is over
        finally:
            self._talks.discard(talk)
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> Request | None:
        head = b""
        while b"\r\n\r\n" not in head:
            piece = await reader.read(65_536)
            self.bytes_received += len(piece)
            if not piece:
                return None
            head += piece
        head, _, body = head.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        missing = int(headers.get("content-length", "0")) - len(body)
        if missing > 0:
            try:
                body += await reader.readexactly(missing)
            except asyncio.IncompleteReadError:
                return None
            self.bytes_received += missing
        method, path, _ = first.split(" ")
        return Request(method, path, headers, body)

    # ------------------------------------------------------------------------------------------- answers

    async def _respond(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        """Answer, properly or as the next fault says; True keeps the connection."""
        queue, proper = self._route(request)
        fault = queue.popleft() if queue else self._random_fault(queue) or Fault(proper=True, then="keep")
        if fault.bill and queue is self.next_submits:
            self._bill(request.document)
        await asyncio.sleep(fault.delay_s or self.answer_delay_s)
        payload = fault.payload
        if fault.proper or fault.reuse_id:
            status, body = proper(request, reuse_id=fault.reuse_id)
            payload = http(status, body, {})
        if fault.drip_s:
            for place in range(len(payload)):
                writer.write(payload[place : place + 1])
                await writer.drain()
                await asyncio.sleep(fault.drip_s)
        else:
            writer.write(payload)
            await writer.drain()
        match fault.then:
            case "hang":
                await asyncio.sleep(self.hang_s)
            case "reset":
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                writer.transport.abort()
        wants_close = request.headers.get("connection", "").lower() == "close"
        return fault.then == "keep" and not wants_close

    def _random_fault(self, queue: deque[Fault]) -> Fault | None:
        if self._random.random() >= self.fault_rate:
            return None
        return self._random.choice(RANDOM_SUBMIT_FAULTS if queue is self.next_submits else RANDOM_READ_FAULTS)

    def _route(self, request: Request) -> tuple[deque[Fault], Callable[..., tuple[int, object]]]:
        routes: dict[tuple[str, str], tuple[deque[Fault], Callable[..., tuple[int, object]]]] = {
            ("GET", "/health"): (deque(), lambda _r, **_: (200, {"status": "ok"})),
            ("GET", "/qpus"): (self.next_devices, self._devices),
            ("POST", "/qpus/estimate-cost"): (self.next_estimates, self._estimate),
            ("POST", "/qpus"): (self.next_submits, self._submit),
            ("POST", "/qpus/status"): (self.next_statuses, self._status),
        }
        nowhere = (deque[Fault](), lambda _r, **_: (404, {"detail": "Not Found"}))
        return routes.get((request.method, request.path.removeprefix(BASE)), nowhere)

    def _unwelcome(self, request: Request) -> tuple[int, object] | None:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not token or (self.token is not None and token != self.token):
            return 401, {"detail": "Invalid API key"}
        return None

    def _wrong(self, request: Request) -> tuple[int, object] | None:
        document, problems = request.document, []
        if not isinstance(document.get("code"), str):
            problems.append(("code", "Field required"))
        if document.get("source_framework") not in FRAMEWORKS:
            problems.append(("source_framework", "Input should be one of the frameworks"))
        shots = document.get("shots", 100)
        if not isinstance(shots, int) or not 10 <= shots <= 10_000:
            problems.append(("shots", "Input should be between 10 and 10000"))
        detail = [{"loc": ["body", key], "msg": msg, "type": "value_error"} for key, msg in problems]
        return (422, {"detail": detail}) if detail else None

    def _devices(self, request: Request, **_: object) -> tuple[int, object]:
        return self._unwelcome(request) or (200, {"success": True, "devices": DEVICES})

    def _estimate(self, request: Request, **_: object) -> tuple[int, object]:
        document = request.document
        return (
            self._unwelcome(request)
            or self._wrong(request)
            or (200, {"success": True, "estimated_cost_cents": self._cents(document)})
        )

    def _submit(self, request: Request, *, reuse_id: bool) -> tuple[int, object]:
        document = request.document
        if refusal := self._unwelcome(request) or self._wrong(request):
            return refusal
        bill = self._bill(document)
        return 200, {
            "success": True,
            "job_id": self.bills[0].job_id if reuse_id else bill.job_id,
            "status": "submitted",
            "backend": bill.backend,
            "shots": bill.shots,
            "estimated_cost_cents": bill.cents,
            "credits_applied": -(-bill.cents // 100),
            "overage_cents": 0,
        }

    def _status(self, request: Request, **_: object) -> tuple[int, object]:
        if refusal := self._unwelcome(request):
            return refusal
        job_id = request.document.get("job_id")
        bill = next((bill for bill in self.bills if bill.job_id == job_id), None)
        if bill is None:
            return 404, {"detail": "Job not found"}
        polls = self._polls[bill.job_id] = self._polls.get(bill.job_id, 0) + 1
        told: dict[str, object] = {"success": True, "job_id": job_id, "status": "running"}
        if polls > self.polls_before_completion:
            ones = bill.shots * 52 // 100
            told |= {"status": "completed", "results": {"11": ones, "00": bill.shots - ones}}
        return 200, told

    # --------------------------------------------------------------------------------------------- books

    def _cents(self, document: dict[str, Any]) -> int:
        return self.cents_of(document.get("backend", ""), document.get("shots", 100))

    def _bill(self, document: dict[str, Any]) -> Bill:
        code = document["code"]
        marker = MARKER.search(code)
        bill = Bill(
            number=len(self.bills) + 1,
            job_id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.base_url}/{self.seed}/{len(self.bills) + 1}")),
            backend=document.get("backend", ""),
            shots=document.get("shots", 100),
            cents=self._cents(document),
            code_sha256=hashlib.sha256(code.encode("utf-8", "surrogatepass")).hexdigest(),
            marker=marker[1] if marker else None,
        )
        self.bills.append(bill)
        if self.bills_file is not None:
            with self.bills_file.open("ab") as file:
                file.write(json.dumps(asdict(bill)).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        return bill


def bills_in(path: Path) -> list[Bill]:
    """Read the books of a server that runs alone."""
    return [Bill(**json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


async def _serve(arguments: argparse.Namespace) -> None:
    server = CodaServer(
        port=arguments.port,
        bills_file=arguments.bills,
        fault_rate=arguments.fault_rate,
        seed=arguments.seed,
        polls_before_completion=arguments.polls,
        answer_delay_s=arguments.delay,
        hang_s=arguments.hang,
    )
    # After a restart the old bills still stand, and their jobs are still known.
    server.bills.extend(replace(bill, number=n) for n, bill in enumerate(bills_in(arguments.bills), 1))
    async with server:
        print(f"listening on {server.base_url}", flush=True)
        await asyncio.Event().wait()


def main() -> int:
    parser = argparse.ArgumentParser(description="A misbehaving Coda on loopback.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--bills", type=Path, required=True)
    parser.add_argument("--fault-rate", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--polls", type=int, default=1, help="status calls before a job has completed")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--hang", type=float, default=3600.0, help="how many seconds a hang lasts")
    try:
        asyncio.run(_serve(parser.parse_args()))
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
