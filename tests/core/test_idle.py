"""Until idle means: until only a person could move anything."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scheduler.core.admission import BackendLoad, Candidate, DoubtLimits, Pause, Purse
from scheduler.core.breaker import BreakerState, Phase, Trouble
from scheduler.core.caps import Cap, Measure, Period, Scope
from scheduler.core.idle import only_people_can_move

NOW_US = 1_000_000
LIMITS = DoubtLimits(3, 10_000_000)
CAPS = (Cap("night", Measure.COST, Scope.EVERYONE, Period.NIGHT, 5_000_000),)
DISARMED, ARMED = Purse(False, CAPS), Purse(True, CAPS)
PAID = BackendLoad("coda:iqm", paid=True, slots=2)
JOB = Candidate(1, "coda:iqm", 1_000_000)


def idle(
    counts: dict[str, int] | None = None,
    jobs: tuple[Candidate, ...] = (),
    load: BackendLoad = PAID,
    purse: Purse = ARMED,
) -> bool:
    heads = {load.name: jobs} if jobs else {}
    return only_people_can_move(counts or {}, heads, [load], purse, LIMITS, NOW_US)


@pytest.mark.parametrize(
    ("counts", "ended"),
    [
        ({}, True),
        ({"completed": 3, "failed": 1, "cancelled": 2, "rejected": 1}, True),
        ({"in_doubt": 2}, True),  # only evidence or a person can say
        ({"admitted": 1}, False),
        ({"running": 1}, False),
        ({"running": 0, "completed": 1}, True),
    ],
)
def test_what_is_under_way_is_waited_for(counts: dict[str, int], ended: bool) -> None:
    assert idle(counts) == ended


FULL = replace(PAID, in_flight=2)
BUSY = replace(PAID, pauses=(Pause("rate", "busy", NOW_US * 2),))
TRIPPED = replace(PAID, breaker=BreakerState(Phase.OPEN, Trouble.FAILURE, 1, NOW_US * 2))
OVERRUN = replace(PAID, breaker=BreakerState(Phase.OPEN, Trouble.OVERRUN))
BROKEN = replace(PAID, pauses=(Pause("breaker", "no token"),))
DOUBTFUL = replace(PAID, in_doubt=3)
DEAR = Candidate(2, "coda:iqm", 9_000_000)


@pytest.mark.parametrize(
    ("why", "jobs", "load", "purse", "ended"),
    [
        ("it may start", (JOB,), PAID, ARMED, False),
        ("disarmed", (JOB,), PAID, DISARMED, True),
        ("too dear for tonight", (DEAR,), PAID, ARMED, True),
        ("one of two may start", (DEAR, JOB), PAID, ARMED, False),
        ("no slot just now", (JOB,), FULL, ARMED, False),
        ("paused for a while", (JOB,), BUSY, ARMED, False),
        ("paused by a breaker", (JOB,), BROKEN, ARMED, True),
        ("a probe will tell", (JOB,), TRIPPED, ARMED, False),
        ("no probe may tell", (JOB,), OVERRUN, ARMED, True),
        ("paused and disarmed", (JOB,), BUSY, DISARMED, True),
        ("too many doubts", (JOB,), DOUBTFUL, ARMED, True),
        ("free", (JOB,), replace(PAID, paid=False), DISARMED, False),
    ],
)
def test_what_waits_is_waited_for_unless_a_person_must_act(
    why: str, jobs: tuple[Candidate, ...], load: BackendLoad, purse: Purse, ended: bool
) -> None:
    assert idle({"waiting": len(jobs)}, jobs, load, purse) == ended, why
