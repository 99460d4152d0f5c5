"""Which waiting jobs may start now, and why the others may not.

`closed_gates` names every closed gate of one job; `decide` walks the heads of the queue once on a copy of
slots and money, spending as it goes, so two jobs of one pass can never both take the last of either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

from scheduler.core.audit import AuditStop
from scheduler.core.breaker import BreakerState, Phase
from scheduler.core.breaker import gate as breaker_gate
from scheduler.core.caps import Cap, Measure, Period, Scope, Spender, Window, windows_of
from scheduler.core.drift import Drifted, Fresh, LatestQuote, Stale, judge_quote
from scheduler.core.money import Money
from scheduler.core.spending import (
    JOB_CAP,
    NIGHT_CAP,
    Funds,
    Refusal,
    Spending,
    SpendingRules,
    Wish,
    plan_spending,
    spend,
)
from scheduler.core.timing import iso
from scheduler.core.waits import ANY_TIME, Terms, waits_of
from scheduler.core.windows import Hours


@dataclass(frozen=True, slots=True)
class Gate:
    """A named reason why a waiting job does not start, with the number or the time that opens it."""

    code: str
    sentence: str
    fix: str | None = None
    opens_us: int | None = None

    @property
    def needs_person(self) -> bool:
        if self.code == "breaker" and self.opens_us is not None:
            return False  # a probe will tell
        return self.code in NEEDS_PERSON or self.code.startswith("cap:")


#: In the order in which they are shown; `cap:` stands for every `cap:<name>`.
GATE_CODES = (
    "disarmed",
    "audit",
    "auditing",
    "held",
    "approval",
    "not-before",
    "window",
    "deadline",
    "dependency",
    "backend-offline",
    "breaker",
    "journal",
    "estimate",
    "drift",
    "clock",
    "cap:",
    "credits",
    "overage",
    "doubt",
    "rate",
    "slots",
    "turn",
)
#: Gates that no clock and no completion can open: `run --until-idle` ends when only these are left.
NEEDS_PERSON = frozenset(
    {
        "disarmed",
        "audit",
        "held",
        "approval",
        "breaker",
        "journal",
        "clock",
        "drift",
        "credits",
        "overage",
        "doubt",
    }
)

#: Money stops: a pause for one of these ends only when a person names it, so that nobody lifts one unread.
NAMED_GATES = frozenset({"journal", "clock"})


def gate_rank(code: str) -> int:
    return GATE_CODES.index("cap:" if code.startswith("cap:") else code)


@dataclass(frozen=True, slots=True)
class Pause:
    """A recorded reason to leave a backend alone; `until_us` None lasts until a person resumes it."""

    code: str
    sentence: str
    until_us: int | None = None


@dataclass(frozen=True, slots=True)
class DoubtLimits:
    """How many unresolved doubts, or how much money in doubt, pause paid submission on a backend."""

    doubts: int
    exposure_microusd: int


@dataclass(frozen=True, slots=True)
class BackendLoad:
    """One backend as rows show it now."""

    name: str
    paid: bool
    slots: int
    in_flight: int = 0
    in_doubt: int = 0
    exposure_microusd: int = 0
    #: The oldest job in doubt here; filled in where somebody asks.
    first_in_doubt: str | None = None
    pauses: tuple[Pause, ...] = ()
    breaker: BreakerState = field(default_factory=BreakerState)

    @property
    def room(self) -> int:
        """Free slots; an open breaker lets one probe through at a time."""
        if self.breaker.phase is not Phase.CLOSED:
            return max(0, min(self.slots, 1) - self.in_flight)
        return max(0, self.slots - self.in_flight)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A waiting job as admission sees it; `estimate_microusd` None: no price is known yet."""

    job_id: int
    backend: str
    estimate_microusd: int | None
    wait_until_us: int | None = None
    wait_code: str | None = None
    wait_reason: str | None = None
    user: str = ""
    project: str | None = None
    batch_id: int = 0
    shots: int = 0
    accept_overage: bool = False
    approved_microusd: int | None = None
    accepted_microusd: int | None = None
    quoted_us: int | None = None
    quote_valid_until_us: int | None = None
    cap_microusd: int | None = None
    label: str = ""
    terms: Terms = ANY_TIME

    @property
    def quote(self) -> LatestQuote | None:
        """The latest quote, None when there is none yet."""
        if self.estimate_microusd is None or self.quoted_us is None or self.quote_valid_until_us is None:
            return None
        return LatestQuote(self.estimate_microusd, self.quoted_us, self.quote_valid_until_us)

    @property
    def spender(self) -> Spender:
        return Spender(self.user, self.project, self.backend, self.batch_id, self.job_id)

    def wish(self, quote_microusd: int) -> Wish:
        return Wish(
            self.spender, quote_microusd, self.shots, self.accept_overage, self.approved_microusd, self.label
        )


def own_caps(job: Candidate) -> tuple[Cap, ...]:
    if job.cap_microusd is None:
        return ()
    return (Cap(JOB_CAP, Measure.COST, Scope.JOB, Period.JOB, job.cap_microusd),)


@dataclass(frozen=True, slots=True)
class Purse:
    """A copy of the money for one pass: whether paid submission is armed, the caps, and what is free."""

    armed: bool
    caps: tuple[Cap, ...]
    funds: Funds = field(default_factory=Funds)
    rules: SpendingRules = field(default_factory=SpendingRules)
    #: What the last audit of the books keeps from being sent.
    stop: AuditStop | None = None

    def windows(self, job: Candidate, now_us: int) -> list[Window]:
        return windows_of((*self.caps, *own_caps(job)), job.spender, now_us)

    def plan(self, job: Candidate, now_us: int) -> tuple[Spending | None, tuple[Refusal, ...]]:
        """What the job would hold, or why the money says no; a job without a price has no plan."""
        if job.estimate_microusd is None:
            return None, ()
        wish = job.wish(job.estimate_microusd)
        return plan_spending(wish, self.windows(job, now_us), self.funds, self.rules, now_us)

    def after(self, job: Candidate, now_us: int) -> Purse:
        """The copy after this job was promised what it needs."""
        spending, _ = self.plan(job, now_us)
        if spending is None:
            return self
        return replace(self, funds=spend(self.funds, spending, job.backend.partition(":")[0]))


def judge_money(
    job: Candidate, load: BackendLoad, purse: Purse, limits: DoubtLimits, now_us: int
) -> tuple[Spending | None, list[Gate]]:
    """What the job would hold, and its closed gates; nothing may be held unless there are none.

    Asked at admission, and again in the transaction of the intent.
    """
    gates = []
    if not purse.armed:
        sentence = "paid submission is not armed: nothing that costs money is sent"
        gates.append(Gate("disarmed", sentence, "nightshot arm --night 50.00"))
    if purse.stop is not None:
        gates.append(Gate(purse.stop.code, purse.stop.sentence, purse.stop.fix))
    gates += _quote_gates(job, purse, now_us)
    spending, refusals = purse.plan(job, now_us)
    # Arming gives the night its limit: until then, that there is no room under it is the same reason again.
    same = "" if purse.armed else f"cap:{NIGHT_CAP}"
    gates += [Gate(r.code, r.sentence, r.fix, r.opens_us) for r in refusals if r.code != same]
    in_doubt = doubt_gate(load, limits)
    return spending, [*gates, in_doubt] if in_doubt else gates


def doubt_gate(load: BackendLoad, limits: DoubtLimits) -> Gate | None:
    """The gate that stands closed while too much on a backend is in doubt."""
    within = load.in_doubt < limits.doubts and load.exposure_microusd < limits.exposure_microusd
    if within or not load.in_doubt:
        return None
    sentence = (
        f"{load.in_doubt} of at most {limits.doubts} submissions on {load.name} are in doubt "
        f"({Money(load.exposure_microusd)} of at most {Money(limits.exposure_microusd)})"
    )
    first = load.first_in_doubt
    return Gate("doubt", sentence, f"nightshot why {first}" if first else "nightshot jobs --state in_doubt")


def _quote_gates(job: Candidate, purse: Purse, now_us: int) -> list[Gate]:
    if job.quote is None:
        return []
    judged = judge_quote(
        job.accepted_microusd, job.quote, now_us, tolerance_ppm=purse.rules.quote_tolerance_ppm
    )
    match judged:
        case Fresh():
            return []
        case Stale():
            return [Gate("estimate", judged.sentence)]
        case Drifted():
            return [Gate("drift", judged.sentence, f"nightshot approve {job.label}")]
        case _:
            assert_never(judged)


def resume_command(backend: str, code: str) -> str:
    """The command that lifts this pause of a backend; a money stop is of its whole account."""
    if code in NAMED_GATES:
        return f"nightshot backends resume {backend.partition(':')[0]} --gate {code} --reason '…'"
    return f"nightshot backends resume {backend} --reason '…'"


def backend_gates(load: BackendLoad, now_us: int) -> list[Gate]:
    """The closed gates of a backend that have nothing to do with one job."""
    gates = []
    for pause in load.pauses:
        if pause.until_us is not None and pause.until_us <= now_us:
            continue
        until = f"; tried again at {iso(pause.until_us)}" if pause.until_us else ""
        fix = None if pause.until_us else resume_command(load.name, pause.code)
        gates.append(Gate(pause.code, pause.sentence + until, fix, pause.until_us))
    broken = breaker_gate(load.breaker, now_us)
    if broken is not None:
        fix = None if load.breaker.probe_us else resume_command(load.name, "breaker")
        gates.append(Gate("breaker", broken, fix, load.breaker.probe_us))
    if load.room <= 0:
        sentence = f"{load.in_flight} of {load.slots} slots of {load.name} are taken"
        if load.breaker.phase is not Phase.CLOSED:
            sentence = f"{load.name} is being tried with one job first; its breaker is {load.breaker.phase}"
        gates.append(Gate("slots", sentence))
    return gates


#: A job that asks for hours which nobody configured waits: who leaves them out opens nothing.
NO_HOURS: Mapping[str, Hours] = {}


def closed_gates(
    job: Candidate,
    load: BackendLoad,
    purse: Purse,
    limits: DoubtLimits,
    now_us: int,
    hours: Mapping[str, Hours] = NO_HOURS,
) -> tuple[Gate, ...]:
    """Return every closed gate of a waiting job, in the order of GATE_CODES; none means it may start."""
    gates = backend_gates(load, now_us)
    waits = waits_of(job.terms, job.label, hours, now_us)
    gates += [Gate(wait.code, wait.sentence, wait.fix, wait.opens_us) for wait in waits]
    if job.estimate_microusd is None:
        sentence = job.wait_reason or "no price is known yet"
        gates.append(Gate(job.wait_code or "estimate", sentence, None, job.wait_until_us))
    elif job.wait_code and (job.wait_until_us is None or job.wait_until_us > now_us):
        gates.append(Gate(job.wait_code, job.wait_reason or "waiting", None, job.wait_until_us))
    if load.paid:
        gates += judge_money(job, load, purse, limits, now_us)[1]
    return tuple(sorted(gates, key=lambda gate: gate_rank(gate.code)))


@dataclass(frozen=True, slots=True)
class Decision:
    """Who starts, in order, and for each backend the gates that stopped the first one that may not."""

    admitted: tuple[Candidate, ...]
    closed: Mapping[str, tuple[Gate, ...]]


def decide(
    loads: Sequence[BackendLoad],
    heads: Mapping[str, Sequence[Candidate]],
    purse: Purse,
    limits: DoubtLimits,
    now_us: int,
    hours: Mapping[str, Hours] = NO_HOURS,
) -> Decision:
    """Choose who starts, spending slots and money on a copy while walking each queue in order.

    A job that does not fit lets the others pass, but for a backend without a free slot.
    """
    admitted: list[Candidate] = []
    closed: dict[str, tuple[Gate, ...]] = {}
    for load in loads:
        for job in heads.get(load.name, ()):
            gates = closed_gates(job, load, purse, limits, now_us, hours)
            if gates:
                closed.setdefault(load.name, gates)
                if any(gate.code == "slots" for gate in gates):
                    break
                continue
            admitted.append(job)
            load = replace(load, in_flight=load.in_flight + 1)
            if load.paid:
                purse = purse.after(job, now_us)
    return Decision(tuple(admitted), closed)
