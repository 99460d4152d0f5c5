"""What the tests of Coda have in common: a token to look for, a request, an open gate."""

from __future__ import annotations

from collections.abc import Callable

from scheduler.core.task import RunRequest
from scheduler.providers import coda

#: A canary: no test may find it in anything but the Authorization header of a request.
TOKEN = "coda_canary_5f1e77"
BELL = (
    'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit[2] q;\nbit[2] c;\nh q[0];\ncx q[0], q[1];\nc = measure q;'
)
REQUEST = RunRequest("attempt-1", "iqm", BELL, "openqasm3", 100)

#: The `account` fixture.
Build = Callable[..., coda.Coda]


async def yes() -> str | None:
    """A send gate that is open."""
    return None
