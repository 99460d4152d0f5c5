"""A pretend provider on a virtual clock, with its own books and with faults.

`Server` stands for the machine on the other side: it outlives every daemon, counts each request and each
bill, and goes on with what has arrived when the daemon that sent it is dead. `Client` is the `Provider` that
one daemon holds. What happens to a request is drawn from a seeded generator the moment it arrives.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from scheduler.core.pricing import Estimate
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
    Unknown,
)
from scheduler.errors import Unreachable
from scheduler.ports import Clock, EstimateFailed, PollFailed, SendGate

#: How long a client waits for the answer to a request that has left.
REPLY_TIMEOUT_S = 120.0
#: No request that arrived is still being worked on after this: a person may then trust the provider's list.
SETTLED_AFTER_S = 600.0

#: What may become of a request, and how often among faults.
FATES = {
    "422": 4,
    "429": 4,
    "429 with a time": 4,
    "401": 1,
    "no credits": 1,
    "500": 4,
    "billed, then 502": 6,
    "hang": 3,
    "billed, then hang": 4,
    "hang, billed late": 3,
    "reset": 3,
    "billed, then reset": 4,
    "billed, no id": 4,
    "billed, an id already used": 6,
    "cost above the quote": 5,
    "no cost figure": 4,
    "raises after billing": 2,
}
#: A server that loses its answers: whether it took the request or not, nobody hears of it.
LOST = {
    fate: weight
    for fate, weight in FATES.items()
    if fate.startswith(("billed, then", "hang", "reset", "500"))
}
#: What may happen before a byte has left.
EARLY_FATES = {"not sent": 4, "not sent, try later": 2, "slow to connect": 3, "suspended for an hour": 2}


@dataclass(frozen=True)
class Bill:
    """One run that was taken: it costs this much from here on, whatever was answered."""

    attempt_id: str
    provider_job_id: str
    cost_microusd: int
    at_us: int
    fate: str
    #: How it was paid: credits that were taken from the account, and what was billed beyond them.
    credits_microcredits: int = 0
    overage_microusd: int = 0


@dataclass
class Task:
    """A run as the server knows it."""

    ends_us: int
    shots: int
    fails: bool
    never_runs: bool
    status_faults: random.Random


@dataclass
class Server:
    """The other side of one account; `price` is in micro-dollars a run."""

    name: str
    clock: Clock
    rng: random.Random
    spawn: Callable[[Coroutine[Any, Any, None]], object]
    paid: bool = True
    #: True when it can be asked what became of an attempt.
    tells: bool = False
    fault_rate: float = 0.0
    weights: dict[str, int] = field(default_factory=lambda: FATES)
    #: Called, before anything is done, with each request that arrives.
    on_arrival: Callable[[RunRequest], None] = lambda _request: None
    #: Called when a bill has been written.
    on_bill: Callable[[Bill], None] = lambda _bill: None
    price_microusd: int = 1_300_000
    #: What the account really has, whatever anybody recorded; None never ends.
    credits_microcredits: int | None = None
    #: What the provider really takes for a credit, whatever anybody predicts.
    cents_per_credit: int = 100

    bills: list[Bill] = field(default_factory=list)
    requests: Counter[str] = field(default_factory=Counter)
    under_way: Counter[str] = field(default_factory=Counter)
    arrived_us: dict[str, int] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    fates: Counter[str] = field(default_factory=Counter)
    listeners: list[Callable[[str], None]] = field(default_factory=list)

    def draw(self, fates: dict[str, int]) -> str | None:
        """What goes wrong this time; None when nothing does."""
        if self.rng.random() >= self.fault_rate:
            return None
        return self.rng.choices(list(fates), list(fates.values()))[0]

    def price_of(self, request: RunRequest) -> int:
        return self.price_microusd * request.shots // 100 if self.paid else 0

    def billed(self, attempt_id: str) -> list[Bill]:
        return [bill for bill in self.bills if bill.attempt_id == attempt_id]

    # ----------------------------------------------------------------------------------- the billable call

    def arrive(self, request: RunRequest) -> asyncio.Future[Outcome]:
        """Take a request off the wire. The answer comes, or never does, also when nobody waits any more."""
        self.on_arrival(request)
        self.requests[request.attempt_id] += 1
        self.arrived_us[request.attempt_id] = self.clock.now_us()
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        fate = self.draw(self.weights) or "accepted"
        self.fates[fate] += 1
        self.under_way[request.attempt_id] += 1
        self.spawn(self._serve(request, fate, answer))
        return answer

    async def _serve(self, request: RunRequest, fate: str, answer: asyncio.Future[Outcome]) -> None:
        try:
            await self.clock.sleep(self.rng.expovariate(1 / 4))
            outcome = await self._carry_out(request, fate, answer)
        finally:
            self.under_way[request.attempt_id] -= 1
        _say(answer, outcome)

    async def _carry_out(
        self, request: RunRequest, fate: str, answer: asyncio.Future[Outcome]
    ) -> Outcome | BaseException:
        lost = Unknown(f"pretended: {fate}", f"raw {fate}")
        timed_out = Unknown(f"no whole answer within {REPLY_TIMEOUT_S:g} s")
        match fate:
            case "422":
                return Refused(RefusalKind.INVALID, "422: cannot be transpiled")
            case "429":
                return Refused(RefusalKind.BUSY, "429: slow down")
            case "429 with a time":
                return Refused(RefusalKind.BUSY, "429: slow down", self.rng.uniform(1, 900))
            case "401":
                return Refused(RefusalKind.CREDENTIALS, "401: invalid token")
            case "no credits":
                return Refused(RefusalKind.CREDITS, "402: insufficient credits")
            case "500" | "reset":
                return lost
            case "hang":
                await self.clock.sleep(REPLY_TIMEOUT_S)
                return timed_out
            case "hang, billed late":
                await self.clock.sleep(REPLY_TIMEOUT_S)
                _say(answer, timed_out)
                await self.clock.sleep(self.rng.uniform(1, SETTLED_AFTER_S - 2 * REPLY_TIMEOUT_S))
                self._bill(request, fate)
                return timed_out
        bill = self._bill(request, fate)
        if bill is None:
            return Refused(RefusalKind.CREDITS, "402: insufficient credits, and overage was not accepted")
        match fate:
            case "billed, then hang":
                await self.clock.sleep(REPLY_TIMEOUT_S)
                return timed_out
            case "billed, then 502" | "billed, then reset" | "billed, no id":
                return lost
            case "raises after billing":
                return RuntimeError("pretended: the provider has a bug")
            case "billed, an id already used":
                return Accepted(
                    self.bills[0].provider_job_id, "submitted", self._cost_of(bill), "raw known id"
                )
            case "no cost figure":
                return Accepted(bill.provider_job_id, "submitted", CostFacts(), "raw no cost")
            case _:
                return Accepted(bill.provider_job_id, "submitted", self._cost_of(bill), "raw accepted")

    def _cost_of(self, bill: Bill) -> CostFacts:
        return CostFacts(bill.cost_microusd, bill.credits_microcredits, bill.overage_microusd)

    def _bill(self, request: RunRequest, fate: str) -> Bill | None:
        """Take a run and its price; None when the account cannot pay for it."""
        now_us, price = self.clock.now_us(), self.price_of(request)
        cost = price * 3 // 2 if fate == "cost above the quote" else price
        paid = self._pay(cost, request.accept_overage)
        if paid is None:
            return None
        bill = Bill(request.attempt_id, f"{self.name}-{len(self.bills) + 1}", cost, now_us, fate, *paid)
        self.bills.append(bill)
        runs_s = self.rng.choice((20, 200, 2000)) * (0.5 + self.rng.random())
        fails = self.fault_rate > 0 and self.rng.random() < 0.08
        self.tasks[bill.provider_job_id] = Task(
            now_us + int(runs_s * 1e6),
            request.shots,
            fails,
            fails and self.rng.random() < 0.3,
            random.Random(self.rng.random()),
        )
        self.spawn(self._tell_when_ended(bill, runs_s))
        self.on_bill(bill)
        return bill

    def _pay(self, cost_microusd: int, accept_overage: bool) -> tuple[int, int] | None:
        """Credits first, whole ones; the rest is overage if that was accepted."""
        per_credit_microusd = self.cents_per_credit * 10_000
        needed = -(-cost_microusd // per_credit_microusd) * 1_000_000
        if self.credits_microcredits is None:
            return needed, 0
        if self.credits_microcredits >= needed:
            self.credits_microcredits -= needed
            return needed, 0
        if not accept_overage:
            return None
        there, self.credits_microcredits = self.credits_microcredits, 0
        return there, max(0, cost_microusd - there * self.cents_per_credit // 100)

    async def _tell_when_ended(self, bill: Bill, runs_s: float) -> None:
        if not self.tells:
            return
        await self.clock.sleep(runs_s)
        for listener in list(self.listeners):
            listener(bill.attempt_id)

    # ----------------------------------------------------------------------------------------------- reads

    def quote(self, request: RunRequest) -> Estimate:
        match self.draw({"unreachable": 3, "later": 2, "never": 1, "a person": 1}):
            case "unreachable":
                raise Unreachable(f"{self.name} cannot be reached")
            case "later":
                raise EstimateFailed("503: try later", retry_after_s=self.rng.uniform(1, 600))
            case "never":
                raise EstimateFailed("422: too many qubits", never_runs=True)
            case "a person":
                raise EstimateFailed("there is no token", needs_person=True)
        return Estimate(self.price_of(request), self.name, raw="{}")

    def status(self, provider_job_id: str) -> TaskReport:
        match self.draw(
            {"unreadable": 3, "unreadable, later": 1, "not known": 2, "strange word": 3, "bug": 1}
        ):
            case "unreadable":
                raise PollFailed("503: try later")
            case "unreadable, later":
                raise PollFailed("429: slow down", retry_after_s=60)
            case "not known":
                return NotKnown("no such job")
            case "strange word":
                return StillOpen("transmogrifying")
            case "bug":
                raise RuntimeError("pretended: the provider's status has a bug")
        task = self.tasks.get(provider_job_id)
        if task is None:
            return NotKnown("no such job")
        if self.clock.now_us() < task.ends_us:
            return StillOpen("running")
        if task.fails:
            return Failed("calibration was lost", "raw failed", task.never_runs)
        ones = task.shots // 2
        return Completed(({"00": task.shots - ones, "11": ones},), BIT_0_FIRST, "raw completed")

    def evidence(self, attempt_id: str) -> Evidence:
        """What the server knows of an attempt; it does not know while it still works on it."""
        trouble = self.draw({"away": 2, "bug": 1})
        if trouble == "bug":
            raise RuntimeError("pretended: the provider's search has a bug")
        if not self.tells or self.under_way[attempt_id] or trouble:
            return CannotTell("it is not known yet")
        found = self.billed(attempt_id)
        if found:
            return Found(found[0].provider_job_id, self._cost_of(found[0]))
        return NeverArrived("there is no such job")


def _say(answer: asyncio.Future[Outcome], outcome: Outcome | BaseException) -> None:
    if answer.done():
        return  # nobody waits any more, or it has been answered
    if isinstance(outcome, BaseException):
        answer.set_exception(outcome)
        answer.exception()  # seen: the daemon that asked may be dead
    else:
        answer.set_result(outcome)


@dataclass
class Client:
    """One daemon's provider; `point` is told, by name, each place where that daemon may be killed."""

    server: Server
    point: Callable[[str], None]
    closed: bool = False

    @property
    def paid(self) -> bool:
        return self.server.paid

    async def devices(self) -> Sequence[Device]:
        return [Device("qpu", True)]

    async def estimate(self, request: RunRequest) -> Estimate:
        await self.server.clock.sleep(self.server.rng.uniform(0.01, 2))
        return self.server.quote(request)

    async def submit(self, request: RunRequest, send_gate: SendGate) -> Outcome:
        server = self.server
        match server.draw(EARLY_FATES):
            case "not sent":
                return NotSent("connection refused")
            case "not sent, try later":
                return NotSent("connection refused", retry_after_s=server.rng.uniform(1, 600))
            case "slow to connect":
                await server.clock.sleep(server.rng.uniform(1, 90))
            case "suspended for an hour":
                await server.clock.sleep(server.rng.uniform(300, 3600))
            case _:
                await server.clock.sleep(server.rng.uniform(0.01, 0.5))
        refusal = await send_gate()
        if refusal is not None:
            return NotSent(refusal)
        answer = server.arrive(request)
        self.point("the request has left")
        outcome = await answer
        self.point("the answer is here")
        return outcome

    async def poll(self, provider_job_id: str, request: RunRequest) -> TaskReport:
        await self.server.clock.sleep(self.server.rng.uniform(0.01, 2))
        return self.server.status(provider_job_id)

    async def find(self, attempt_id: str) -> Evidence:
        await self.server.clock.sleep(self.server.rng.uniform(0.01, 2))
        return self.server.evidence(attempt_id)

    def tell_finished(self, listener: Callable[[str], None]) -> None:
        self.server.listeners[:] = [listener]

    async def forget(self, provider_job_id: str) -> None:
        """Nothing is kept for a task."""

    async def close(self) -> None:
        self.closed = True
