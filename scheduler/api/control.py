"""The control socket: operations as JSON over HTTP on a Unix socket, the caller known by the kernel.

`POST /control/v1/<operation>` answers `{"ok": true, "result": …}` or `{"ok": false, "error": …}`. Who asks is
who the kernel says opened the socket (SO_PEERCRED), never a field of the request.
"""

from __future__ import annotations

import json
import socket
import struct
from pathlib import Path
from typing import Any

from aiohttp import web

from scheduler.api.desk import Caller, Desk
from scheduler.api.operations import answer
from scheduler.errors import NightshotError
from scheduler.intake.spool import user_name

#: A submitted JSONL file of 100,000 jobs, base64 around it.
LARGEST_REQUEST_BYTES = 256 * 1024 * 1024
#: Seconds a stop waits for questions that are being asked: a caller who never ends his delays it no longer.
SHUTDOWN_S = 2.0
_CREDENTIALS = struct.Struct("3i")
_DESK = web.AppKey("desk", Desk)
_HTTP_STATUS = {2: 400, 3: 404, 4: 403, 5: 402, 6: 409, 65: 422, 69: 503, 75: 503, 78: 500, 124: 504}


def control_app(desk: Desk) -> web.Application:
    app = web.Application(client_max_size=LARGEST_REQUEST_BYTES)
    app[_DESK] = desk
    app.router.add_post("/control/v1/{operation}", _answer)
    return app


async def _answer(request: web.Request) -> web.Response:
    desk = request.app[_DESK]
    operation = request.match_info["operation"]
    try:
        given = await _read(request)
        if isinstance(given, web.Response):
            return given
        result = await answer(desk, Caller(_peer(request)), operation, given)
    except NightshotError as error:
        status = _HTTP_STATUS.get(error.exit_code, 500)
        return _refusal(status, error.code, error.message, error.hint, error.exit_code)
    except web.HTTPException:
        raise
    except Exception as error:  # noqa: BLE001 - a bug must answer, and be seen in the log
        desk.kit.log("operation failed", operation=operation, error=repr(error), trace=True)
        return _refusal(
            500, "failed", f"nightshot failed at {operation}: {error!r}", "see the daemon's log", 1
        )
    return web.json_response({"ok": True, "result": result}, dumps=_dumps)


async def _read(request: web.Request) -> dict[str, Any] | web.Response:
    """The request's JSON object, or what is wrong with it."""
    too_large = f"the request is larger than {LARGEST_REQUEST_BYTES >> 20} MiB"
    if (request.content_length or 0) > LARGEST_REQUEST_BYTES:
        return _refusal(413, "usage", too_large, "hand over fewer files at a time", 2)
    try:
        given = json.loads(await request.read() or b"{}")
    except web.HTTPRequestEntityTooLarge:
        return _refusal(413, "usage", too_large, "hand over fewer files at a time", 2)
    except ValueError as error:
        return _refusal(400, "usage", f"the request is not JSON: {error}", "", 2)
    except RecursionError:
        return _refusal(400, "usage", "the request is JSON nested too deep for anything asked here", "", 2)
    return (
        given
        if isinstance(given, dict)
        else _refusal(400, "usage", "the request must be a JSON object", "", 2)
    )


def _dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _refusal(status: int, code: str, message: str, hint: str, exit_code: int) -> web.Response:
    error = {"code": code, "message": message, "hint": hint, "exit_code": exit_code}
    return web.json_response({"ok": False, "error": error}, status=status)


def _peer(request: web.Request) -> str:
    """The user at the other end of the socket, from the kernel."""
    transport = request.transport
    peer: socket.socket | None = transport.get_extra_info("socket") if transport else None
    if peer is None:
        raise web.HTTPForbidden(text="no peer")
    raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(raw)
    return user_name(uid)


async def serve_control(desk: Desk, path: Path, address: str) -> web.AppRunner:
    """Listen on the socket, mode 0660; a socket a dead daemon left is replaced (the home's lock is ours)."""
    path.unlink(missing_ok=True)
    runner = web.AppRunner(
        control_app(desk), access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN_S
    )
    await runner.setup()
    await web.UnixSite(runner, address).start()
    path.chmod(0o660)
    return runner
