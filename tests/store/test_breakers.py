"""Breakers in rows: a restart forgets no trouble, and a calm backend has no row at all."""

from __future__ import annotations

import pytest

from scheduler.core.breaker import BreakerRules, BreakerState, Event, Move, Phase, Relief, Trouble, record
from scheduler.ports_store import Store
from scheduler.store.open import open_store
from tests.support.stores import BACKEND, NOW_US, SECOND_US, query

RULES = BreakerRules(failures=2, refusals=2, doubts=2, suspicious_results=2, first_pause_us=10 * SECOND_US)
PROBE_US = NOW_US + 10 * SECOND_US
F = Trouble.FAILURE


async def tell(store: Store, *events: tuple[Event, int], backend: str = BACKEND) -> BreakerState:
    state = BreakerState()
    for event, at_us in events:
        state = await store.write(lambda tx, e=event, t=at_us: tx.record_breaker(backend, e, t, RULES))
    return state


@pytest.mark.parametrize(
    "events",
    [
        [(F, NOW_US)],
        [(F, NOW_US), (F, NOW_US)],
        [(F, NOW_US), (Trouble.DOUBT, NOW_US), (Relief.ACCEPTED, NOW_US)],
        [(F, NOW_US), (F, NOW_US), (Move.PROBE, PROBE_US)],
        [(F, NOW_US), (F, NOW_US), (Move.PROBE, PROBE_US), (F, PROBE_US)],
        [(F, NOW_US), (F, NOW_US), (Move.PROBE, PROBE_US), (Relief.ACCEPTED, PROBE_US)],
        [(Trouble.OVERRUN, NOW_US)],
        [(Trouble.CREDENTIALS, NOW_US), (Move.PROBE, 2 * NOW_US)],
        [(Trouble.OVERRUN, NOW_US), (Move.RESUME, NOW_US)],
        [(Relief.GOOD_RESULT, NOW_US)],
    ],
)
async def test_rows_say_what_the_rules_say(
    store: Store, database_url: str, events: list[tuple[Event, int]]
) -> None:
    wanted = BreakerState()
    for event, at_us in events:
        wanted = record(wanted, event, at_us, RULES)
    assert await tell(store, *events) == wanted
    again = open_store(database_url)
    try:
        found = await again.read(lambda tx: tx.breaker_states())
    finally:
        await again.close()
    assert found == ({} if wanted == BreakerState() else {BACKEND: wanted}), "a restart forgets nothing"


async def test_a_calm_breaker_has_no_row(store: Store) -> None:
    await tell(store, (Relief.ACCEPTED, NOW_US), (Relief.GOOD_RESULT, NOW_US), (Move.RESUME, NOW_US))
    assert await store.read(query("SELECT count(*) FROM breakers")) == [(0,)]
    await tell(store, (F, NOW_US), (Relief.ACCEPTED, NOW_US))
    assert await store.read(query("SELECT count(*) FROM breakers")) == [(0,)], "relieved: nothing to say"


async def test_one_backends_trouble_is_no_others(store: Store) -> None:
    await tell(store, (Trouble.OVERRUN, NOW_US))
    await tell(store, (F, NOW_US), backend="coda:ionq")
    states = await store.read(lambda tx: tx.breaker_states())
    assert {name: state.phase for name, state in states.items()} == {
        BACKEND: Phase.OPEN,
        "coda:ionq": Phase.CLOSED,
    }
    await tell(store, (Move.RESUME, NOW_US))
    assert set(await store.read(lambda tx: tx.breaker_states())) == {"coda:ionq"}


async def test_trouble_that_is_rolled_back_was_never_counted(store: Store) -> None:
    def fail(tx: object) -> None:
        tx.record_breaker(BACKEND, Trouble.OVERRUN, NOW_US, RULES)  # type: ignore[attr-defined]
        raise RuntimeError("the power went")

    with pytest.raises(RuntimeError, match="the power went"):
        await store.write(fail)
    assert await store.read(lambda tx: tx.breaker_states()) == {}
