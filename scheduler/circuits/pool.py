"""The daemon's side of the worker: starts it on first use, asks it, replaces it, lets it go when idle.

The worker is a process of its own with an environment of its own: nothing the daemon knows or holds open
reaches it. When it dies, every job in it ends as WorkerDied and the next job starts a new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scheduler.circuits.answer import Answer, WorkerDied, plain, read_answer, read_ending
from scheduler.circuits.words import ANSWER_LIMIT_BYTES, LAYERS
from scheduler.errors import Unreachable

START_PATIENCE_S = 60.0
#: Beyond a job's own wall clock, before the worker counts as hanging.
ANSWER_PATIENCE_S = 20.0
_HOW_TO_INSTALL = 'pip install "nightshot[local]"'
_PACKAGES = ("qiskit", "qiskit_aer", "qiskit_qasm3_import")
#: JSON inside JSON: a byte of a hostile answer may become six.
_LINE_LIMIT_BYTES = 6 * ANSWER_LIMIT_BYTES + 4096

#: All the worker gets to know. One thread a job: several jobs share the cores better than their threads do.
_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/nonexistent",
    "LC_ALL": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "QISKIT_PARALLEL": "FALSE",
}


class WorkerUnavailable(Unreachable):
    """The worker cannot be started; the message says what is missing and how to get it."""

    code = "simulator-unavailable"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one job may take."""

    max_qubits: int = 24
    wall_time_s: float = 60.0
    memory_bytes: int = 1 << 30


@dataclass(frozen=True, slots=True)
class Work:
    """One job for the worker; without a seed every run differs."""

    code: str
    framework: str
    shots: int
    seed: int | None = None


def missing_packages(python: str) -> str | None:
    """A sentence when `python` is this very interpreter and lacks the simulator; None if nothing is known."""
    # Not their real paths: the interpreters of two virtual environments are often links to one file.
    if os.path.abspath(python) != os.path.abspath(sys.executable):
        return None
    lacking = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    return _not_installed(", ".join(lacking)) if lacking else None


def _not_installed(what: str) -> str:
    return f"the local simulator is not installed ({what}): {_HOW_TO_INSTALL}"


class WorkerPool:
    """Runs jobs in one worker process, at most `jobs` at a time."""

    def __init__(
        self,
        *,
        python: str = sys.executable,
        limits: Limits | None = None,
        jobs: int = 1,
        idle_stop_s: float = 300.0,
        answer_patience_s: float = ANSWER_PATIENCE_S,
        layers: Sequence[str] = LAYERS,
    ) -> None:
        self._python = python
        self._limits = limits or Limits()
        self._idle_stop_s = idle_stop_s
        self._answer_patience_s = answer_patience_s
        self._layers = tuple(layers)
        self._places = asyncio.Semaphore(jobs)
        self._starting = asyncio.Lock()
        self._worker: _Worker | None = None
        self._in_use = 0
        self._idle_timer: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def worker_pid(self) -> int | None:
        """Process id of the standing worker; None while there is none."""
        return self._worker.pid if self._worker and self._worker.alive else None

    async def simulate(self, work: Work, started: Callable[[], None] | None = None) -> Answer:
        """Run one job and return how it ended; `started` is called when its turn comes.

        Raises WorkerUnavailable.
        """
        async with self._places:
            if started is not None:
                started()
            async with self._busy() as worker:
                return await worker.ask(work, self._limits, self._answer_patience_s)

    async def start(self) -> None:
        """Start the worker now rather than with the first job. Raises WorkerUnavailable."""
        async with self._busy():
            pass

    @contextlib.asynccontextmanager
    async def _busy(self) -> AsyncIterator[_Worker]:
        """A standing worker that is not let go of meanwhile; the idle time counts from the end of this."""
        self._in_use += 1
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        try:
            yield await self._standing_worker()
        finally:
            self._in_use -= 1
            if not self._in_use and not self._closed:
                loop = asyncio.get_running_loop()
                self._idle_timer = loop.call_later(self._idle_stop_s, self._stop_idle_worker)

    async def _standing_worker(self) -> _Worker:
        async with self._starting:
            if self._closed:
                raise WorkerUnavailable("the local simulator has been closed")
            if self._worker is not None and not self._worker.alive:
                await self._worker.end()
                self._worker = None
            if self._worker is None:
                self._worker = await _Worker.start(self._python, self._layers)
            return self._worker

    def _stop_idle_worker(self) -> None:
        """Give the worker's memory back; the next job starts a new one."""
        worker, self._worker, self._idle_timer = self._worker, None, None
        if worker is not None:
            ending = asyncio.get_running_loop().create_task(worker.end())
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        """End the worker and every job in it; safe to call twice."""
        self._closed = True
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        async with self._starting:
            self._stop_idle_worker()
        if self._ending:
            await asyncio.gather(*self._ending)


@dataclass(eq=False)
class _Worker:
    """One worker process and the questions it has not answered yet."""

    process: asyncio.subprocess.Process
    alive: bool = True
    next_name: int = 1
    open: dict[int, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)
    readers: list[asyncio.Task[None]] = field(default_factory=list)
    last_words: bytearray = field(default_factory=bytearray)

    @property
    def pid(self) -> int:
        return self.process.pid

    @classmethod
    async def start(cls, python: str, layers: Sequence[str]) -> _Worker:
        """Start a worker and wait until it is warm. Raises WorkerUnavailable."""
        script = str(Path(__file__).with_name("worker.py"))
        arguments = ["-I", script, "--parent", str(os.getpid()), "--layers", ",".join(layers)]
        try:
            process = await asyncio.create_subprocess_exec(
                python,
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=_ENVIRONMENT,
                cwd="/",
                close_fds=True,
                start_new_session=True,  # Ctrl-C in the daemon's terminal must not end jobs
                limit=_LINE_LIMIT_BYTES,
            )
        except OSError as error:
            raise WorkerUnavailable(
                f"the simulator's worker cannot be started with {python}: {error.strerror} (setting python)"
            ) from error
        worker = cls(process)
        worker.readers.append(asyncio.create_task(worker._keep_last_words()))
        try:
            await worker._wait_until_warm(python)
        except BaseException:
            await worker.end()
            raise
        worker.readers.append(asyncio.create_task(worker._read_events()))
        return worker

    async def _wait_until_warm(self, python: str) -> None:
        try:
            async with asyncio.timeout(START_PATIENCE_S):
                event = await self._next_event()
        except TimeoutError:
            raise WorkerUnavailable(
                f"the simulator's worker was not ready after {START_PATIENCE_S:g} s"
            ) from None
        if event is None:
            await self.end()
            words = plain(self.last_words.decode("utf-8", "replace")[-400:])
            raise WorkerUnavailable(f"the simulator's worker ended while starting ({python}): {words}")
        if event["event"] == "cannot start":
            raise WorkerUnavailable(f"{_not_installed(plain(event['reason']))} for {python}")

    async def _next_event(self) -> dict[str, Any] | None:
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        return dict(json.loads(line)) if line.endswith(b"\n") else None

    async def _read_events(self) -> None:
        try:
            while (event := await self._next_event()) is not None:
                waiting = self.open.pop(event["name"], None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(event)
        except (ValueError, KeyError):  # not a line of ours: nothing it says can be believed any more
            self.kill()
        finally:
            self.alive = False
            for waiting in self.open.values():
                waiting.cancel()
            self.open.clear()

    async def _keep_last_words(self) -> None:
        """Empty stderr, so that the worker never blocks on it, and keep its end for an error message."""
        assert self.process.stderr is not None
        while came := await self.process.stderr.read(4096):
            self.last_words += came
            del self.last_words[:-4096]

    async def ask(self, work: Work, limits: Limits, patience_s: float) -> Answer:
        """Hand in one job and wait for its end; when the caller gives up, the job is ended too."""
        name, self.next_name = self.next_name, self.next_name + 1
        order = {
            "name": name,
            "code": work.code,
            "framework": work.framework,
            "shots": work.shots,
            "seed": work.seed,
            "max_qubits": limits.max_qubits,
            "memory_bytes": limits.memory_bytes,
            "wall_time_s": limits.wall_time_s,
        }
        answered = self.open[name] = asyncio.get_running_loop().create_future()
        if not await self._say(order):
            self.open.pop(name, None)
            # Before the end of its output is read: the next job must find another worker, not this one again.
            self.alive = False
            return self._died()
        # asyncio.wait, not await: a future cancelled by the reader must not look like our own cancellation.
        try:
            await asyncio.wait([answered], timeout=limits.wall_time_s + patience_s)
        except asyncio.CancelledError:
            self.open.pop(name, None)
            answered.cancel()
            self._cancel(name)
            raise
        if not answered.done():
            self.open.pop(name, None)
            self.kill()
            return WorkerDied("the simulator's worker did not answer in time and was ended")
        if answered.cancelled():
            return self._died()
        event = answered.result()
        if event.get("answer"):
            return read_answer(event["answer"], work.shots)
        return read_ending(
            event.get("status", 0), event.get("stopped"), limits.wall_time_s, limits.memory_bytes
        )

    def _died(self) -> WorkerDied:
        words = plain(self.last_words.decode("utf-8", "replace")[-300:])
        return WorkerDied("the simulator's worker ended in mid-job" + (f": {words}" if words else ""))

    def _cancel(self, name: int) -> None:
        assert self.process.stdin is not None
        if self.alive and not self.process.stdin.is_closing():
            self.process.stdin.write(json.dumps({"cancel": name}).encode("ascii") + b"\n")

    async def _say(self, order: dict[str, Any]) -> bool:
        assert self.process.stdin is not None
        if not self.alive:
            return False
        try:
            self.process.stdin.write(json.dumps(order).encode("ascii") + b"\n")
            await self.process.stdin.drain()
        except (ConnectionError, RuntimeError):  # RuntimeError: the transport is closing
            return False
        return True

    def kill(self) -> None:
        """End the process at once; its children die with it."""
        self.alive = False
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGKILL)

    async def end(self) -> None:
        """Close its stdin, which ends it; by force when it does not listen. Leaves no process and no pipe."""
        self.alive = False
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            async with asyncio.timeout(3.0):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
        for reader in self.readers:
            with contextlib.suppress(asyncio.CancelledError):
                await reader
