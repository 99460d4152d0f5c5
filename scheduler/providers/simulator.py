"""The local simulator: free of charge unless prices are configured, and durable like a real provider.

A submission is accepted when its request file is on disk, and from then on it ends, across any number of
crashes: `<attempt>.json` without `<attempt>.result.json` is run (again) as soon as somebody asks for it. A
result is on disk before it is reported. So the question "did it arrive?" always has a definite answer here.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, assert_never

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from scheduler.circuits.answer import Answer, Simulated, Stopped, WorkerDied
from scheduler.circuits.answer import Refused as CircuitRefused
from scheduler.circuits.pool import Limits, Work, WorkerPool, WorkerUnavailable, missing_packages
from scheduler.circuits.words import READABLE
from scheduler.core.pricing import Estimate, PriceList, estimate_from_prices
from scheduler.core.task import (
    BIT_0_FIRST,
    Accepted,
    CannotTell,
    Completed,
    CostFacts,
    Device,
    Evidence,
    Failed,
    Found,
    NeverArrived,
    NotKnown,
    NotSent,
    Outcome,
    RefusalKind,
    Refused,
    RunRequest,
    StillOpen,
    TaskReport,
)
from scheduler.ports import EstimateFailed, PollFailed, SendGate, Site
from scheduler.providers._simulator_files import DurableFiles

#: A job that has taken the worker down this often is told so, instead of taking it down for ever.
WORKER_DEATHS_LIMIT = 3
#: Between two tries to write a result while the disk is full.
DISK_PATIENCE_S = 1.0


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _tuple_of(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


class Settings(BaseModel):
    """What `[providers.<name>]` with `kind = "simulator"` may say; times in seconds."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    kind: Literal["simulator"] = "simulator"
    #: Names it answers to; several make sense with several price lists.
    devices: Annotated[tuple[str, ...], BeforeValidator(_tuple_of), Field(min_length=1)] = ("simulator",)
    #: With a seed, the same attempt always gives the same counts.
    seed: int | None = Field(default=None, ge=0)
    max_qubits: int = Field(default=24, ge=1, le=40)
    #: Jobs at a time; one takes one core.
    jobs: int = Field(default_factory=_cores, ge=1, le=1024)
    wall_time_s: float = Field(default=60.0, gt=0, le=86400, allow_inf_nan=False)
    #: Of one job, beyond what the warm worker itself takes.
    memory_bytes: int = Field(default=1 << 30, ge=64 << 20)
    #: The worker, about 100 MB, is let go when nothing has run for so long.
    idle_stop_s: float = Field(default=300.0, gt=0, allow_inf_nan=False)
    #: Pretended time in the device's queue, to see what a slow one is like.
    delay_s: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    #: Interpreter of the worker; it needs Qiskit, not Nightshot.
    python: str = Field(default_factory=lambda: sys.executable, min_length=1)


class _StoredRequest(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    version: Literal[1] = 1
    attempt_id: str
    device: str
    code: str
    framework: str
    shots: int
    cost_microusd: int


class _StoredResult(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    version: Literal[1] = 1
    #: None: it failed, for this reason.
    counts: list[dict[str, int]] | None = None
    facts: list[tuple[str, str]] = []
    reason: str = ""
    never_runs: bool = False


def build(settings: Settings, site: Site) -> Simulator:
    """Return the simulator that `settings` describe; nothing is started yet."""
    return Simulator(settings, site)


@dataclass(slots=True, eq=False)
class _Run:
    """A request on its way to a result, in memory only: its file is what lasts."""

    task: asyncio.Task[None] | None = None
    status_word: str = "queued"
    #: Why it does not get on; said by the next poll, which also tries again.
    trouble: str | None = None


class Simulator:
    """One local simulator behind the port of a provider."""

    paid = False

    def __init__(self, settings: Settings, site: Site) -> None:
        self._settings = settings
        self._site = site
        self._files = DurableFiles(site.state_dir)
        limits = Limits(settings.max_qubits, settings.wall_time_s, settings.memory_bytes)
        self._pool = WorkerPool(
            python=settings.python, limits=limits, jobs=settings.jobs, idle_stop_s=settings.idle_stop_s
        )
        self._runs: dict[str, _Run] = {}
        #: Ended and not yet asked for: the first poll need not read the file.
        self._fresh: dict[str, TaskReport] = {}
        self._proven = False
        self._closed = False
        self._finished: Callable[[str], None] | None = None

    @property
    def worker_pid(self) -> int | None:
        """Process id of the worker while there is one."""
        return self._pool.worker_pid

    async def devices(self) -> Sequence[Device]:
        """List the configured names; they are offline while Qiskit is not installed."""
        missing = missing_packages(self._settings.python)
        limit = f"Aer on this machine, up to {self._settings.max_qubits} qubits"
        return [Device(name, missing is None, missing or limit) for name in self._settings.devices]

    async def estimate(self, request: RunRequest) -> Estimate:
        """Price the request from the configured list. Raises EstimateFailed when it cannot run here."""
        if why_never := self._why_never(request):
            raise EstimateFailed(why_never, never_runs=True)
        if missing := missing_packages(self._settings.python):
            raise EstimateFailed(missing, needs_person=True)
        if not self._proven:
            # Another interpreter can only be asked by starting it; the first job is about to do so anyway.
            try:
                await self._pool.start()
            except WorkerUnavailable as error:
                raise EstimateFailed(str(error), needs_person=True) from error
            self._proven = True
        return self._price(request)

    def _price(self, request: RunRequest) -> Estimate:
        return estimate_from_prices(self._site.prices.get(request.device, PriceList()), request.shots)

    def _why_never(self, request: RunRequest) -> str | None:
        if request.device not in self._settings.devices:
            listed = ", ".join(self._settings.devices)
            return f"{self._site.name} has no device {request.device!r}; it has: {listed}"
        if request.framework not in READABLE:
            return (
                f"the local simulator reads {', '.join(READABLE)}, not {request.framework!r}: "
                "export the circuit as OpenQASM"
            )
        if request.shots < 1:
            return f"{request.shots} shots: at least 1 is needed"
        try:
            request.code.encode()
        except UnicodeEncodeError as error:
            return f"the code has half a character at offset {error.start}: it is no text that can be written"
        return None

    async def submit(self, request: RunRequest, send_gate: SendGate) -> Outcome:
        """Take the request durably and start it. Accepted means that it is on disk."""
        if why_never := self._why_never(request):
            return Refused(RefusalKind.INVALID, why_never)
        if self._closed:
            return NotSent(f"{self._site.name} has been closed")
        if reason := await send_gate():
            return NotSent(reason)
        cost_microusd = self._price(request).cost_microusd
        stored = _StoredRequest(
            attempt_id=request.attempt_id,
            device=request.device,
            code=request.code,
            framework=request.framework,
            shots=request.shots,
            cost_microusd=cost_microusd,
        )
        try:
            await self._files.write(self._request_path(request.attempt_id), stored.model_dump_json())
        except OSError as error:
            return NotSent(f"the request could not be written to {self._site.state_dir}: {error.strerror}")
        run = self._begin(stored)
        return Accepted(request.attempt_id, run.status_word, _cost_facts(cost_microusd))

    async def poll(self, provider_job_id: str, request: RunRequest) -> TaskReport:  # noqa: ARG002 - of the port
        """Say how far it is; starts again what a crash interrupted. Raises PollFailed."""
        if report := self._fresh.pop(provider_job_id, None):
            return report
        run = self._runs.get(provider_job_id)
        if run is not None and run.trouble is None:
            return StillOpen(run.status_word)
        try:
            if report := self._stored_report(provider_job_id):
                return report
            stored = self._stored_request(provider_job_id)
        except (OSError, ValueError) as error:
            raise PollFailed(f"the files of {provider_job_id} cannot be read: {error}") from error
        if stored is None:
            return NotKnown(f"no request of that name is in {self._site.state_dir}")
        trouble = run.trouble if run is not None else None
        again = self._begin(stored)
        if trouble is not None:
            raise PollFailed(trouble)
        return StillOpen(again.status_word)

    async def find(self, attempt_id: str) -> Evidence:
        """Tell whether an attempt was taken: its files say so, definitely. Never asked after `forget`."""
        # Written by this very process at this moment, perhaps: then the answer comes with the file.
        await self._files.close()
        try:
            stored = self._stored_request(attempt_id)
            if stored is not None:
                return Found(attempt_id, _cost_facts(stored.cost_microusd))
            if self._result_path(attempt_id).exists():
                return Found(attempt_id)
        except (OSError, ValueError) as error:
            return CannotTell(f"the files of {attempt_id} cannot be read: {error}")
        return NeverArrived(f"no request of that name is in {self._site.state_dir}")

    def tell_finished(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with the provider job id of every task that ends from now on: a hint only."""
        self._finished = listener

    async def forget(self, provider_job_id: str) -> None:
        """Remove the files of a task whose result is safe elsewhere; safe to call twice. Raises OSError."""
        run = self._runs.pop(provider_job_id, None)
        if run is not None and run.task is not None:
            run.task.cancel()
            await asyncio.gather(run.task, return_exceptions=True)
        self._fresh.pop(provider_job_id, None)
        # The request goes first: a crash in between then leaves a result, never something to run again.
        self._files.remove(self._request_path(provider_job_id))
        self._files.remove(self._result_path(provider_job_id))

    async def close(self) -> None:
        """Stop what runs (it is run again after the next start) and end the worker; safe to call twice."""
        self._closed = True
        tasks = [run.task for run in self._runs.values() if run.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._pool.close()
        await self._files.close()

    # ------------------------------------------------------------------------------------- running

    def _begin(self, stored: _StoredRequest) -> _Run:
        """Run the request in the background unless it already runs."""
        run = self._runs.get(stored.attempt_id)
        if run is not None and run.trouble is None:
            return run
        run = self._runs[stored.attempt_id] = _Run()
        if not self._closed:
            run.task = asyncio.create_task(self._run_to_the_end(stored, run))
        return run

    async def _run_to_the_end(self, stored: _StoredRequest, run: _Run) -> None:
        if self._settings.delay_s:
            await self._site.clock.sleep(self._settings.delay_s)
        try:
            result = _result_of(await self._simulate(stored, run))
        except WorkerUnavailable as error:
            run.trouble = str(error)
            return
        text = result.model_dump_json(exclude_defaults=True)
        await self._keep(stored.attempt_id, text, run)
        self._fresh[stored.attempt_id] = _report_of(result, text)
        del self._runs[stored.attempt_id]
        if self._finished is not None:
            self._finished(stored.attempt_id)

    async def _simulate(self, stored: _StoredRequest, run: _Run) -> Answer:
        def started() -> None:
            run.status_word = "running"

        seed = _seed_of(self._settings.seed, stored.attempt_id)
        work = Work(stored.code, stored.framework, stored.shots, seed)
        deaths = 0
        while True:
            answer = await self._pool.simulate(work, started)
            if not isinstance(answer, WorkerDied):
                return answer
            deaths += 1
            run.status_word = "queued"
            if deaths == WORKER_DEATHS_LIMIT:
                return Stopped(f"{answer.reason}, {deaths} times in a row")

    async def _keep(self, attempt_id: str, text: str, run: _Run) -> None:
        """Write the result down, however long the disk stays full."""
        while True:
            try:
                await self._files.write(self._result_path(attempt_id), text)
            except OSError as error:
                run.status_word = f"the result cannot be written: {error.strerror}"
                await self._site.clock.sleep(DISK_PATIENCE_S)
            else:
                return

    # --------------------------------------------------------------------------------------- files

    def _request_path(self, attempt_id: str) -> Path:
        return self._files.path(attempt_id, ".json")

    def _result_path(self, attempt_id: str) -> Path:
        return self._files.path(attempt_id, ".result.json")

    def _stored_request(self, attempt_id: str) -> _StoredRequest | None:
        text = self._files.read(self._request_path(attempt_id))
        return None if text is None else _StoredRequest.model_validate_json(text)

    def _stored_report(self, attempt_id: str) -> TaskReport | None:
        text = self._files.read(self._result_path(attempt_id))
        return None if text is None else _report_of(_StoredResult.model_validate_json(text), text)


def _cost_facts(cost_microusd: int) -> CostFacts:
    """Play money: it fills the caps like any cost, but no credits are applied and nobody is owed anything."""
    return CostFacts(cost_microusd, credits_applied_microcredits=0, overage_microusd=0)


def _seed_of(seed: int | None, attempt_id: str) -> int | None:
    """A seed of 31 bits for each attempt; two attempts never share their randomness."""
    if seed is None:
        return None
    digest = hashlib.sha256(f"{seed}:{attempt_id}".encode()).digest()
    return int.from_bytes(digest[:4]) >> 1


def _result_of(answer: Answer) -> _StoredResult:
    match answer:
        case Simulated(counts, facts):
            return _StoredResult(counts=list(counts), facts=list(facts))
        case CircuitRefused(reason):
            return _StoredResult(reason=reason, never_runs=True)
        case Stopped(reason) | WorkerDied(reason):
            return _StoredResult(reason=reason)
        case _:
            assert_never(answer)


def _report_of(result: _StoredResult, text: str) -> TaskReport:
    if result.counts is None:
        return Failed(result.reason, raw=text, never_runs=result.never_runs)
    return Completed(tuple(result.counts), BIT_0_FIRST, raw=text, facts=tuple(result.facts))
