"""The control socket as bytes: what a broken or a hostile client could send."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found

    @property
    def result(self) -> Any:
        assert self.document["ok"], self.document
        return self.document["result"]

    @property
    def error(self) -> dict[str, Any]:
        assert self.document["ok"] is False
        found = self.document["error"]
        assert isinstance(found, dict)
        return found


@dataclass(frozen=True)
class Line:
    path: Path

    async def ask(self, operation: str, **given: Any) -> Answer:
        return await self.send(operation, json.dumps(given).encode())

    async def send(self, operation: str, body: bytes, *, method: str = "POST") -> Answer:
        head = f"{method} /control/v1/{operation} HTTP/1.1\r\nHost: local\r\nContent-Length: {len(body)}\r\n"
        return await self.raw(f"{head}Connection: close\r\n\r\n".encode() + body)

    async def raw(self, data: bytes) -> Answer:
        reader, writer = await asyncio.open_unix_connection(str(self.path), limit=1 << 24)
        try:
            writer.write(data)
            try:
                await writer.drain()
            except ConnectionError:
                pass  # it has heard enough and answers
            return parse(await asyncio.wait_for(reader.read(), 30))
        finally:
            writer.close()


def parse(data: bytes) -> Answer:
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    return Answer(int(first.split(" ")[1]), headers, body)
