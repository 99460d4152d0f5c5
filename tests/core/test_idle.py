"""Until idle means: until only a person could move anything."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scheduler.core.admission import BackendLoad, Candidate, DoubtLimits, NightBooks, Pause
from scheduler.core.idle import only_people_can_move

NOW_US = 1_000_000
LIMITS = DoubtLimits(3, 10_000_000)
DISARMED, ARMED = NightBooks("n"), NightBooks("n", 5_000_000)
PAID = BackendLoad("coda:iqm", paid=True, slots=2)
JOB = Candidate(1, "coda:iqm", 1_000_000)


def idle(
    counts: dict[str, int] | None = None,
    jobs: tuple[Candidate, ...] = (),
    load: BackendLoad = PAID,
    night: NightBooks = ARMED,
) -> bool:
    heads = {load.name: jobs} if jobs else {}
    return only_people_can_move(counts or {}, heads, [load], night, LIMITS, NOW_US)


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
BUSY = replace(PAID, pause=Pause("rate", "busy", NOW_US * 2))
BROKEN = replace(PAID, pause=Pause("breaker", "no token"))
DOUBTFUL = replace(PAID, in_doubt=3)
DEAR = Candidate(2, "coda:iqm", 9_000_000)


@pytest.mark.parametrize(
    ("why", "jobs", "load", "night", "ended"),
    [
        ("it may start", (JOB,), PAID, ARMED, False),
        ("disarmed", (JOB,), PAID, DISARMED, True),
        ("too dear for tonight", (DEAR,), PAID, ARMED, True),
        ("one of two may start", (DEAR, JOB), PAID, ARMED, False),
        ("no slot just now", (JOB,), FULL, ARMED, False),
        ("paused for a while", (JOB,), BUSY, ARMED, False),
        ("paused by a breaker", (JOB,), BROKEN, ARMED, True),
        ("paused and disarmed", (JOB,), BUSY, DISARMED, True),
        ("too many doubts", (JOB,), DOUBTFUL, ARMED, True),
        ("free", (JOB,), replace(PAID, paid=False), DISARMED, False),
    ],
)
def test_what_waits_is_waited_for_unless_a_person_must_act(
    why: str, jobs: tuple[Candidate, ...], load: BackendLoad, night: NightBooks, ended: bool
) -> None:
    assert idle({"waiting": len(jobs)}, jobs, load, night) == ended, why
