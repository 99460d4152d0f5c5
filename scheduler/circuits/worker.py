"""The worker process: imports Qiskit once, then forks one locked-down child for every job.

Started by file path with an almost empty environment; lines of JSON on stdin and stdout, one job or one
cancellation a line in, one event a line out. It reads neither code nor answers, it only passes them on.
It ends when its stdin does, and the kernel ends it when the daemon dies without a word.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import selectors
import signal
import sys
import time
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    # Started by path, perhaps by another interpreter than the daemon's: make this one folder importable
    # under its own name, and nothing that lies beside it (a whole site-packages, maybe).
    _here = Path(__file__).resolve().parent
    for _name, _folder in (("scheduler", _here.parent), ("scheduler.circuits", _here)):
        _package = types.ModuleType(_name)
        _package.__path__ = [str(_folder)]
        sys.modules[_name] = _package

from scheduler.circuits import sandbox
from scheduler.circuits.words import ANSWER_LIMIT_BYTES, LAYERS


@dataclass(slots=True)
class Running:
    """A job in its child process."""

    name: int
    pid: int
    pipe: int
    ends_at_s: float
    answer: bytearray = field(default_factory=bytearray)
    stopped: str | None = None


class Zygote:
    """Forks children, collects their answers, ends those that take too long or say too much."""

    def __init__(self, layers: list[str], jobs_from: int, events_to: int) -> None:
        self._layers = layers
        self._jobs_from = jobs_from
        self._events_to = events_to
        self._selector = selectors.DefaultSelector()
        self._running: dict[int, Running] = {}
        self._unread = bytearray()
        self._pid = os.getpid()

    def serve(self) -> None:
        """Work until stdin ends."""
        self._selector.register(self._jobs_from, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select(self._patience_s()):
                if key.fd == self._jobs_from:
                    if not self._read_lines():
                        self._end_all()
                        return
                elif job := self._running.get(key.fd):
                    self._read_answer(job)
            now = time.monotonic()
            for job in [job for job in self._running.values() if job.ends_at_s <= now]:
                job.stopped = "wall clock"
                self._end(job)
            self._end_strays()

    def _patience_s(self) -> float | None:
        ends = min((job.ends_at_s for job in self._running.values()), default=None)
        return None if ends is None else max(0.0, ends - time.monotonic())

    def _read_lines(self) -> bool:
        came = os.read(self._jobs_from, 1 << 20)
        self._unread += came
        while (end := self._unread.find(b"\n")) >= 0:
            line = bytes(self._unread[:end])
            del self._unread[: end + 1]
            self._obey(json.loads(line))
        return bool(came)

    def _obey(self, order: dict[str, Any]) -> None:
        if "cancel" in order:
            for job in [job for job in self._running.values() if job.name == order["cancel"]]:
                job.stopped = "cancelled"
                self._end(job)
            return
        self._start(order)

    def _start(self, order: dict[str, Any]) -> None:
        from scheduler.circuits.child import Job, run_job

        job = Job(**order)
        read_end, write_end = os.pipe()
        try:
            pid = os.fork()
        except OSError as error:
            os.close(read_end)
            os.close(write_end)
            self.tell({"event": "ended", "name": job.name, "stopped": f"no process: {error.strerror}"})
            return
        if pid == 0:
            run_job(job, self._layers, write_end, self._pid)
        os.close(write_end)
        os.set_blocking(read_end, False)
        self._running[read_end] = Running(job.name, pid, read_end, time.monotonic() + job.wall_time_s)
        self._selector.register(read_end, selectors.EVENT_READ)

    def _read_answer(self, job: Running) -> None:
        with contextlib.suppress(BlockingIOError):
            came = os.read(job.pipe, 1 << 18)
            job.answer += came
            if len(job.answer) > ANSWER_LIMIT_BYTES:
                job.stopped = "output cap"
                self._end(job)
            elif not came:
                self._end(job)

    def _end(self, job: Running) -> None:
        """Kill what is left of a job (a closed pipe does not mean that the process is gone) and report it."""
        self._selector.unregister(job.pipe)
        os.close(job.pipe)
        del self._running[job.pipe]
        # An honest child exits right after it has closed the pipe; its exit status is worth the wait.
        status = _reap_within(job.pid, 0.2) if job.stopped is None else None
        _kill(job.pid)
        if status is None:
            _, status = os.waitpid(job.pid, 0)
        event = {"event": "ended", "name": job.name, "status": os.waitstatus_to_exitcode(status)}
        if job.stopped:
            self.tell({**event, "stopped": job.stopped})
        else:
            self.tell({**event, "answer": job.answer.decode("utf-8", "replace")})

    def _end_strays(self) -> None:
        """Kill processes that a job left behind: as their subreaper, this process inherits them."""
        known = {job.pid for job in self._running.values()}
        for pid in _children() - known:
            _kill(pid)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)

    def _end_all(self) -> None:
        for job in self._running.values():
            _kill(job.pid)
        for job in self._running.values():
            os.waitpid(job.pid, 0)

    def tell(self, event: dict[str, Any]) -> None:
        """Write one event; blocks while the daemon does not read."""
        rest = memoryview(json.dumps(event).encode("ascii") + b"\n")
        while rest:
            rest = rest[os.write(self._events_to, rest) :]


def _kill(pid: int) -> None:
    # The group for what it may have started, the process itself for the instant before it has a group.
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)


def _reap_within(pid: int, patience_s: float) -> int | None:
    ends_at = time.monotonic() + patience_s
    while True:
        reaped, status = os.waitpid(pid, os.WNOHANG)
        if reaped:
            return status
        if time.monotonic() >= ends_at:
            return None
        time.sleep(0.0005)


def _children() -> set[int]:
    try:
        listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text("ascii")
    except OSError:
        return set()
    return {int(pid) for pid in listed.split()}


def main() -> int:
    """Read the arguments, import Qiskit, serve; 3 when Qiskit cannot be imported."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--layers", default=",".join(LAYERS))
    arguments = parser.parse_args()
    sandbox.die_with_parent(arguments.parent)
    sandbox.adopt_orphans()
    # Whatever a library prints must not end up among the events.
    events_to = os.dup(1)
    os.dup2(2, 1)
    zygote = Zygote([name for name in arguments.layers.split(",") if name], 0, events_to)
    try:
        from scheduler.circuits import child, simulate
    except ImportError as error:
        zygote.tell({"event": "cannot start", "reason": f"{type(error).__name__}: {error}"})
        return 3
    child.warm_up()
    gc.collect()
    gc.freeze()  # so that a child's collector does not touch, and thereby copy, every page
    zygote.tell({"event": "ready", "versions": dict(simulate.versions())})
    zygote.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
