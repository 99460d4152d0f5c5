"""Stages on a real store with a scripted provider: what a test says happens, and nothing else."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from scheduler.core.admission import DoubtLimits
from scheduler.core.pricing import Estimate
from scheduler.core.records import ArmingRecord
from scheduler.core.rules import BackendRules, Rules
from scheduler.core.spending import SpendingRules
from scheduler.core.task import (
    BIT_0_FIRST,
    Accepted,
    CannotTell,
    Completed,
    CostFacts,
    Device,
    Evidence,
    NotSent,
    Outcome,
    RunRequest,
    StillOpen,
    TaskReport,
)
from scheduler.core.timing import PollPace
from scheduler.journal import IntentJournal
from scheduler.ports import IntentLog, Kit, ReplyFiles, SendGate
from scheduler.ports_store import Store, Tx
from scheduler.replies import ReplySlots
from scheduler.stages.admit import Admitting
from scheduler.stages.estimate import Estimating
from scheduler.stages.poll import Polling
from scheduler.stages.purse import night_window
from scheduler.stages.reconcile import Reconciling
from scheduler.stages.settle import Settling
from scheduler.stages.submit import Submitting
from tests.simulation.clock import VirtualClock
from tests.support.stores import NOW_US, query, receive_jobs

T = TypeVar("T")
PRICE = 1_300_000
BACKEND = "coda:iqm"
DONE = Completed(({"00": 48, "11": 52},), BIT_0_FIRST, "raw completed")


def accepted(
    number: object = 1, cost: int | None = PRICE, *, raw: str = '{"job_id": "…"}', credit: int = 2
) -> Accepted:
    return Accepted(f"p-{number}", "submitted", CostFacts(cost, credit * 1_000_000, 0), raw)


@dataclass
class Scripted:
    """A provider that does what was put into its queues, in order; afterwards it behaves."""

    paid: bool = True
    estimates: deque[Estimate | Exception] = field(default_factory=deque)
    outcomes: deque[Outcome | Exception] = field(default_factory=deque)
    reports: deque[TaskReport | Exception] = field(default_factory=deque)
    evidence: deque[Evidence | Exception] = field(default_factory=deque)
    #: Called before the send gate is asked, and between its answer and the answer of the provider.
    before_gate: Callable[[], Any] | None = None
    during_call: Callable[[], Any] | None = None
    asked: list[str] = field(default_factory=list)
    sent: list[RunRequest] = field(default_factory=list)
    vetoes: list[str] = field(default_factory=list)
    polls: list[str] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    _numbers: Any = field(default_factory=lambda: itertools.count(1))

    async def devices(self) -> Sequence[Device]:
        return [Device("iqm")]

    async def estimate(self, request: RunRequest) -> Estimate:
        self.asked.append(request.attempt_id)
        return _next(self.estimates, Estimate(PRICE, "coda", raw="{}"))

    async def submit(self, request: RunRequest, send_gate: SendGate) -> Outcome:
        if self.before_gate is not None:
            await self.before_gate()
        veto = await send_gate()
        if veto is not None:
            self.vetoes.append(veto)
            return NotSent(veto)
        self.sent.append(request)
        if self.during_call is not None:
            await self.during_call()
        return _next(self.outcomes, accepted(next(self._numbers)))

    async def poll(self, provider_job_id: str, request: RunRequest) -> TaskReport:
        self.polls.append(provider_job_id)
        return _next(self.reports, StillOpen("running"))

    async def find(self, attempt_id: str) -> Evidence:
        return _next(self.evidence, CannotTell("there is no list"))

    def tell_finished(self, listener: Callable[[str], None]) -> None:
        """It never tells."""

    async def forget(self, provider_job_id: str) -> None:
        self.forgotten.append(provider_job_id)

    async def close(self) -> None:
        """Nothing is open."""


def _next(queue: deque[Any], otherwise: Any) -> Any:
    found = queue.popleft() if queue else otherwise
    if isinstance(found, Exception):
        raise found
    return found


@dataclass
class Bench:
    """The stages of one process; `again()` is the next process on the same store and files."""

    store: Store
    folder: Path
    provider: Scripted = field(default_factory=Scripted)
    clock: VirtualClock = field(default_factory=lambda: VirtualClock(NOW_US))
    slots: int = 4
    concurrency: int = 32
    doubts: DoubtLimits = field(default_factory=lambda: DoubtLimits(3, 10_000_000))
    woken: list[str] = field(default_factory=list)
    said: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    replies: ReplyFiles | None = None
    journal: IntentLog | None = None
    spending: SpendingRules = field(default_factory=SpendingRules)
    _numbers: Any = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        rules = BackendRules(BACKEND, "coda", "coda", self.provider.paid, self.slots, 10, 10_000)
        self.rules = Rules(
            backend={BACKEND: rules}.get,
            doubt_limits=self.doubts,
            poll_pace=PollPace(1.0, 60.0),
            submit_concurrency=self.concurrency,
            spending=self.spending,
        )
        self.kit = Kit(
            store=self.store,
            clock=self.clock,
            providers={"coda": self.provider},
            rules=self.rules,
            wake=self.woken.append,
            new_id=lambda: f"attempt-{next(self._numbers)}",
            log=lambda event, **facts: self.said.append((event, facts)),
        )
        self.again()

    def again(self) -> None:
        """Forget every object of the last process."""
        replies = self.replies or ReplySlots(self.folder / "replies")
        journal = self.journal or IntentJournal(self.folder / "journal")
        self.estimate = Estimating(self.kit)
        self.admit = Admitting(self.kit)
        self.submit = Submitting(self.kit, replies, journal)
        self.poll = Polling(self.kit)
        self.settle = Settling(self.kit)
        self.reconcile = Reconciling(self.kit, replies, journal)

    async def arm(self, limit_microusd: int = 1000 * PRICE) -> None:
        record = ArmingRecord(limit_microusd, None, "ada", "tonight's run", self.clock.now_us())
        window = night_window(self.rules, self.clock.now_us(), limit_microusd)
        await self.store.write(lambda tx: tx.arm(record, window))

    async def disarm(self) -> None:
        await self.store.write(lambda tx: tx.disarm("ada", "enough", self.clock.now_us()))

    async def receive(self, count: int = 1, **other: Any) -> list[int]:
        return await self.store.write(lambda tx: receive_jobs(tx, count, **other))  # type: ignore[arg-type]

    async def admitted(self, count: int = 1, **other: Any) -> list[int]:
        """Jobs that are priced and admitted, and not sent."""
        jobs = await self.receive(count, **other)
        await self.estimate.step()
        assert await self.admit.step() == count
        return jobs

    async def running(self, count: int = 1) -> list[int]:
        """Jobs that the provider took."""
        jobs = await self.admitted(count)
        await self.send()
        return jobs

    async def send(self) -> None:
        await self.submit.step()
        await self.sent_all()

    async def sent_all(self) -> None:
        """Let every call come to its end, sleeping through the pauses in virtual time."""
        await self.let_pass(lambda: not self.submit.in_hand)

    async def looked(self) -> None:
        await self.let_pass(lambda: not self.poll.in_hand)

    async def let_pass(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not done():
                await asyncio.sleep(0.001)
                due_us = self.clock.next_due_us()
                if due_us is not None:
                    self.clock.advance_to(due_us)

    def pass_s(self, seconds: float) -> None:
        self.clock.advance_to(self.clock.now_us() + int(seconds * 1e6))

    async def rows(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        return await self.store.read(query(sql, **values))  # type: ignore[arg-type]

    async def states(self) -> list[tuple[str, str | None, str | None]]:
        """Job, last attempt and its hold, for each job in order."""
        return await self.rows(
            "SELECT j.state, a.state, h.state FROM jobs j"
            " LEFT JOIN attempts a ON a.job_id = j.id AND a.ordinal ="
            " (SELECT MAX(ordinal) FROM attempts b WHERE b.job_id = j.id)"
            " LEFT JOIN holds h ON h.attempt_id = a.id ORDER BY j.id"
        )

    async def night(self) -> tuple[int, int]:
        """What is held and what is spent under the night's cap."""
        ((held, spent),) = await self.rows("SELECT held, posted FROM cap_windows WHERE cap = 'night'")
        return held, spent

    async def pauses(self) -> list[tuple[Any, ...]]:
        return await self.rows("SELECT backend, code, until_us IS NULL FROM pauses ORDER BY backend")


MakeBench = Callable[..., Bench]


@dataclass
class Moody:
    """A store in front of a real one that says no as often as `refusals` says."""

    real: Store
    #: One entry for each operation to come; an exception is raised before anything happens.
    refusals: deque[Exception | None] = field(default_factory=deque)

    async def write(self, work: Callable[[Tx], T]) -> T:
        self._mood()
        return await self.real.write(work)

    async def read(self, work: Callable[[Tx], T]) -> T:
        return await self.real.read(work)

    async def read_behind(self, work: Callable[[Tx], T]) -> T:
        return await self.real.read_behind(work)

    async def close(self) -> None:
        await self.real.close()

    def _mood(self) -> None:
        refusal = self.refusals.popleft() if self.refusals else None
        if refusal is not None:
            raise refusal
