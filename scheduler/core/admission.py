"""Which waiting jobs may start now, and why the others may not.

`closed_gates` names every closed gate of one job; `decide` walks the heads of the queue once on a copy of
slots and money, spending as it goes, so two jobs of one pass can never both take the last of either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from scheduler.core.money import Money
from scheduler.core.timing import iso


@dataclass(frozen=True, slots=True)
class Gate:
    """A named reason why a waiting job does not start, with the number or the time that opens it."""

    code: str
    sentence: str
    fix: str | None = None
    opens_us: int | None = None

    @property
    def needs_person(self) -> bool:
        return self.code in NEEDS_PERSON


#: In the order in which they are shown.
GATE_CODES = (
    "disarmed",
    "backend-offline",
    "breaker",
    "estimate",
    "cap:night",
    "credits",
    "doubt",
    "rate",
    "slots",
    "turn",
)
#: Gates that no clock and no completion can open: `run --until-idle` ends when only these are left.
NEEDS_PERSON = frozenset({"disarmed", "breaker", "cap:night", "credits", "doubt"})


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
    pause: Pause | None = None


@dataclass(frozen=True, slots=True)
class NightBooks:
    """Tonight's cap and what is already promised under it; `limit_microusd` None: nobody armed tonight."""

    key: str
    limit_microusd: int | None = None
    held_microusd: int = 0
    posted_microusd: int = 0

    @property
    def free_microusd(self) -> int:
        return (self.limit_microusd or 0) - self.held_microusd - self.posted_microusd


@dataclass(frozen=True, slots=True)
class Candidate:
    """A waiting job as admission sees it; `estimate_microusd` None: no price is known yet."""

    job_id: int
    backend: str
    estimate_microusd: int | None
    wait_until_us: int | None = None
    wait_code: str | None = None
    wait_reason: str | None = None


def _money_gates(job: Candidate, load: BackendLoad, night: NightBooks, limits: DoubtLimits) -> list[Gate]:
    gates = []
    if night.limit_microusd is None:
        sentence = "paid submission is not armed: nothing that costs money is sent"
        gates.append(Gate("disarmed", sentence, "nightshot arm --night 50.00"))
    elif job.estimate_microusd is not None and job.estimate_microusd > night.free_microusd:
        needs, left, limit = (
            Money(job.estimate_microusd),
            Money(night.free_microusd),
            Money(night.limit_microusd),
        )
        short = Money(job.estimate_microusd - night.free_microusd)
        total = Money(night.limit_microusd + short.microusd).decimal_text()
        sentence = f"needs {needs}; {left} of {limit} is free tonight, short by {short}"
        gates.append(Gate("cap:night", sentence, f"nightshot arm --night {total}"))
    in_doubt = doubt_gate(load, limits)
    return [*gates, in_doubt] if in_doubt else gates


def doubt_gate(load: BackendLoad, limits: DoubtLimits) -> Gate | None:
    """The gate that stands closed while too much on a backend is in doubt."""
    within = load.in_doubt < limits.doubts and load.exposure_microusd < limits.exposure_microusd
    if within or not load.in_doubt:
        return None
    sentence = (
        f"{load.in_doubt} of at most {limits.doubts} submissions on {load.name} are in doubt "
        f"({Money(load.exposure_microusd)} of at most {Money(limits.exposure_microusd)})"
    )
    return Gate("doubt", sentence, "nightshot jobs --state in_doubt")


def backend_gates(load: BackendLoad, now_us: int) -> list[Gate]:
    """The closed gates of a backend that have nothing to do with one job."""
    gates = []
    if load.pause and (load.pause.until_us is None or load.pause.until_us > now_us):
        until = f"; tried again at {iso(load.pause.until_us)}" if load.pause.until_us else ""
        fix = None if load.pause.until_us else f"nightshot backends resume {load.name} --reason '…'"
        gates.append(Gate(load.pause.code, load.pause.sentence + until, fix, load.pause.until_us))
    if load.in_flight >= load.slots:
        sentence = f"{load.in_flight} of {load.slots} slots of {load.name} are taken"
        gates.append(Gate("slots", sentence))
    return gates


def closed_gates(
    job: Candidate, load: BackendLoad, night: NightBooks, limits: DoubtLimits, now_us: int
) -> tuple[Gate, ...]:
    """Return every closed gate of a waiting job, in the order of GATE_CODES; none means it may start."""
    gates = backend_gates(load, now_us)
    if job.estimate_microusd is None:
        sentence = job.wait_reason or "no price is known yet"
        gates.append(Gate(job.wait_code or "estimate", sentence, None, job.wait_until_us))
    elif job.wait_code and (job.wait_until_us is None or job.wait_until_us > now_us):
        gates.append(Gate(job.wait_code, job.wait_reason or "waiting", None, job.wait_until_us))
    if load.paid:
        gates += _money_gates(job, load, night, limits)
    return tuple(sorted(gates, key=lambda gate: GATE_CODES.index(gate.code)))


@dataclass(frozen=True, slots=True)
class Decision:
    """Who starts, in order, and for each backend the gates that stopped the first one that may not."""

    admitted: tuple[Candidate, ...]
    closed: Mapping[str, tuple[Gate, ...]]


def decide(
    loads: Sequence[BackendLoad],
    heads: Mapping[str, Sequence[Candidate]],
    night: NightBooks,
    limits: DoubtLimits,
    now_us: int,
) -> Decision:
    """Choose who starts, spending slots and the night's money on a copy while walking each queue in order.

    A job that does not fit stops its backend's queue only for money and slots it shares with everybody; one
    that waits for itself (a refused credit, a pause of its own) lets the others pass.
    """
    admitted: list[Candidate] = []
    closed: dict[str, tuple[Gate, ...]] = {}
    for load in loads:
        for job in heads.get(load.name, ()):
            gates = closed_gates(job, load, night, limits, now_us)
            if gates:
                closed.setdefault(load.name, gates)
                if any(gate.code == "slots" for gate in gates):
                    break
                continue
            admitted.append(job)
            load = replace(load, in_flight=load.in_flight + 1)
            if load.paid:
                night = replace(night, held_microusd=night.held_microusd + (job.estimate_microusd or 0))
    return Decision(tuple(admitted), closed)
