"""Caps in rows: all windows or none, and nothing stands above a limit without a recorded reason."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from scheduler.core.caps import Cap, Measure, Period, Scope, Spender, Use, Window, windows_of
from scheduler.core.lifecycle import AttemptState
from scheduler.core.spending import Spending
from scheduler.ports_store import Store
from scheduler.store.tx import StoreTx
from tests.support.books import broken
from tests.support.stores import (
    BACKEND,
    COST,
    DAY_US,
    NIGHT_KEY,
    NOW_US,
    Case,
    Refused,
    accept,
    commit_intent,
    execute,
    finish,
    hold,
    intend,
    lose_sight,
    prepare,
    priced_jobs,
    query,
    settle_all,
    tonight,
)

NIGHT = Cap("night", Measure.COST, Scope.EVERYONE, Period.NIGHT, 10 * COST)
PEOPLE = Cap("people", Measure.COST, Scope.USER, Period.MONTH, 3 * COST)
RUNS = Cap("runs", Measure.TASKS, Scope.EVERYONE, Period.TOTAL, 2)
BEYOND = Cap("beyond", Measure.OVERAGE, Scope.EVERYONE, Period.NIGHT, COST)
CAPS = (NIGHT, PEOPLE, RUNS)


def windows(*caps: Cap, now_us: int = NOW_US, user: str = "ada") -> tuple[Window, ...]:
    return tuple(windows_of(caps, Spender(user, None, BACKEND, 1, 1), now_us))


async def prepared(store: Store, count: int = 1) -> list[Case]:
    return await store.write(lambda tx: prepare(tx, priced_jobs(tx, count)))


async def rows(store: Store) -> dict[str, tuple[Any, ...]]:
    found = await store.read(query("SELECT cap, limit_amount, held, posted, excused FROM cap_windows"))
    return {row[0]: row[1:] for row in found}


async def night_row(store: Store) -> tuple[Any, ...]:
    return (await rows(store))["night"]


# ---------------------------------------------------------------------------------------- all or nothing


@pytest.mark.parametrize(
    ("limits", "blocked"),
    [
        ((10 * COST, 3 * COST, 2), None),
        ((COST - 1, 3 * COST, 2), "night"),
        ((10 * COST, COST - 1, 2), "people"),
        ((10 * COST, 3 * COST, 0), "runs"),
        ((COST - 1, COST - 1, 0), "night"),  # the first by key
        ((None, None, None), None),
    ],
)
async def test_every_window_has_room_or_none_is_touched(
    store: Store, limits: tuple[int | None, ...], blocked: str | None
) -> None:
    (case,) = await prepared(store)
    caps = [Cap(c.name, c.measure, c.scope, c.period, limit) for c, limit in zip(CAPS, limits, strict=True)]
    use = Use(COST, shots=100)
    answers: list[str | None] = []

    def reserve(tx: StoreTx) -> None:
        answers.append(tx.take_hold(case.attempt_id, Spending(use, windows(*caps), (), False), NOW_US))
        if answers[0] is not None:
            raise Refused

    if blocked is None:
        await store.write(reserve)
        assert {cap: row[1] for cap, row in (await rows(store)).items()} == {
            "night": COST,
            "people": COST,
            "runs": 1,
        }
        return
    with pytest.raises(Refused):
        await store.write(reserve)
    assert answers == [f"cap {blocked} has no room left for it"]
    assert await rows(store) == {}, "not even an empty window stays"
    assert await store.read(query("SELECT count(*) FROM cap_parts")) == [(0,)]


async def test_what_needs_nothing_of_a_full_window_is_not_held_up_by_it(store: Store) -> None:
    first, second = await prepared(store, 2)
    found = windows(NIGHT, BEYOND)

    def over(tx: StoreTx) -> None:
        assert commit_intent(tx, first)
        assert tx.take_hold(first.attempt_id, Spending(Use(COST, COST), found, (), True), NOW_US) is None
        tx.set_cap_limit(BEYOND, None, 0, "ada", "no more overage", NOW_US)

    await store.write(over)
    assert (await rows(store))["beyond"] == (0, COST, 0, COST)
    await store.write(lambda tx: hold(tx, second, COST, *found))
    assert (await rows(store))["beyond"] == (0, COST, 0, COST)
    assert await store.read(query("SELECT amount FROM cap_parts WHERE amount = 0")) == [(0,)]


async def test_each_has_a_window_of_its_own_and_the_night_is_everybodys(store: Store) -> None:
    cases = await prepared(store, 4)
    for case, user in zip(cases, ("ada", "ada", "bob", "eve"), strict=True):
        await store.write(lambda tx, c=case, u=user: hold(tx, c, COST, *windows(NIGHT, PEOPLE, user=u)))
    held = await store.read(query("SELECT key, held FROM cap_windows ORDER BY key"))
    assert held == [
        (NIGHT_KEY, 4 * COST),
        ("people/cost/month:2026-11/user:ada", 2 * COST),
        ("people/cost/month:2026-11/user:bob", COST),
        ("people/cost/month:2026-11/user:eve", COST),
    ]


# -------------------------------------------------------------------------------------- what is used up


async def test_releasing_and_settling_happen_once(store: Store) -> None:
    used, gone = await prepared(store, 2)
    for case in (used, gone):
        await store.write(lambda tx, c=case: hold(tx, c, COST, *windows(*CAPS)))
    for _ in range(3):
        await store.write(lambda tx: tx.release_caps(gone.attempt_id))
        await store.write(lambda tx: tx.settle_caps(used.attempt_id, {Measure.COST: COST - 5}))
        # What was let go is not used afterwards, and what was used is not let go.
        await store.write(lambda tx: tx.settle_caps(gone.attempt_id, {}))
        await store.write(lambda tx: tx.release_caps(used.attempt_id))
    assert await rows(store) == {
        "night": (10 * COST, 0, COST - 5, 0),
        "people": (3 * COST, 0, COST - 5, 0),
        "runs": (2, 0, 1, 0),
    }


async def test_an_unknown_figure_uses_all_that_was_held(store: Store) -> None:
    (case,) = await prepared(store)
    await store.write(lambda tx: hold(tx, case, COST, *windows(NIGHT)))
    await store.write(lambda tx: tx.settle_caps(case.attempt_id, {Measure.COST: None}))
    assert await night_row(store) == (10 * COST, 0, COST, 0)


@pytest.mark.parametrize(("charged", "excused"), [(9 * COST, 0), (10 * COST, 0), (10 * COST + 7, 7)])
async def test_a_settlement_above_its_hold_is_recorded_and_excused(
    store: Store, charged: int, excused: int
) -> None:
    (case,) = await prepared(store)
    await store.write(lambda tx: hold(tx, case, COST, *windows(NIGHT)))
    await store.write(lambda tx: tx.settle_caps(case.attempt_id, {Measure.COST: charged}))
    assert await night_row(store) == (10 * COST, 0, charged, excused)
    (late,) = await prepared(store)
    with pytest.raises(Refused):
        await store.write(lambda tx: hold(tx, late, max(1, 10 * COST - charged + 1), *windows(NIGHT)))


async def test_what_was_charged_is_raised_in_every_window_of_its_measure(store: Store) -> None:
    (case,) = await prepared(store)
    await store.write(lambda tx: hold(tx, case, COST, *windows(*CAPS)))
    for _ in range(2):
        await store.write(lambda tx: tx.raise_caps(case.attempt_id, Measure.COST, 4 * COST))
    await store.write(lambda tx: tx.raise_caps(case.attempt_id, Measure.COST, COST))
    assert await rows(store) == {
        "night": (10 * COST, 4 * COST, 0, 0),
        "people": (3 * COST, 4 * COST, 0, COST),
        "runs": (2, 1, 0, 0),
    }
    await store.write(lambda tx: tx.settle_caps(case.attempt_id, {Measure.COST: 4 * COST}))
    assert (await rows(store))["people"] == (3 * COST, 0, 4 * COST, COST)
    await store.write(lambda tx: tx.raise_caps(case.attempt_id, Measure.COST, 9 * COST))
    assert (await rows(store))["people"] == (3 * COST, 0, 4 * COST, COST), "a closed part is not raised"


# ----------------------------------------------------------------------------------- limits at run time


async def with_night_held(store: Store, amount: int) -> Case:
    (case,) = await prepared(store)
    await store.write(lambda tx: intend(tx, case, amount))
    return case


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (2 * COST, (2 * COST, COST, 0, 0)),
        (COST, (COST, COST, 0, 0)),
        (COST - 3, (COST - 3, COST, 0, 3)),
        (0, (0, COST, 0, COST)),
        (None, (None, COST, 0, 0)),
    ],
)
async def test_a_limit_below_what_is_promised_excuses_the_difference_and_no_more(
    store: Store, limit: int | None, expected: tuple[Any, ...]
) -> None:
    await with_night_held(store, COST)
    changed = await store.write(lambda tx: tx.set_cap_limit(NIGHT, NIGHT_KEY, limit, "ada", "why", NOW_US))
    assert changed == 1
    assert await night_row(store) == expected
    with pytest.raises(IntegrityError):
        # What was not excused cannot be there at all.
        await store.write(execute("UPDATE cap_windows SET limit_amount = 0, excused = 0, held = held + 1"))
    assert await store.read(broken) == []


async def test_an_excuse_does_not_outlive_a_raised_limit(store: Store) -> None:
    await with_night_held(store, COST)
    for limit, excused in ((0, COST), (10 * COST, 0), (COST - 1, 1)):
        await store.write(lambda tx, n=limit: tx.set_cap_limit(NIGHT, NIGHT_KEY, n, "ada", "why", NOW_US))
        assert await night_row(store) == (limit, COST, 0, excused)


@pytest.mark.parametrize("limit", [0, COST, None])
async def test_a_limit_set_before_its_window_opens_is_the_one_it_opens_with(
    store: Store, limit: int | None
) -> None:
    assert await store.write(lambda tx: tx.set_cap_limit(NIGHT, None, limit, "ada", "why", NOW_US)) == 0
    ((_, books),) = await store.read(lambda tx: tx.cap_books(list(windows(NIGHT))))
    assert (books.limit, books.held) == (limit, 0)
    (case,) = await prepared(store)
    if limit == 0:
        with pytest.raises(Refused):
            await store.write(lambda tx: hold(tx, case, COST, *windows(NIGHT)))
        return
    await store.write(lambda tx: hold(tx, case, COST, *windows(NIGHT)))
    assert await night_row(store) == (limit, COST, 0, 0)


async def test_one_windows_limit_is_no_other_windows(store: Store) -> None:
    mine, theirs = windows(PEOPLE), windows(PEOPLE, user="bob")
    await store.write(lambda tx: tx.set_cap_limit(PEOPLE, mine[0].key, 7, "ada", "why", NOW_US))
    found = await store.read(lambda tx: tx.cap_books([*mine, *theirs]))
    assert [books.limit for _, books in found] == [7, 3 * COST]
    await store.write(lambda tx: tx.set_cap_limit(PEOPLE, None, 9, "ada", "why", NOW_US))
    found = await store.read(lambda tx: tx.cap_books([*mine, *theirs]))
    assert [books.limit for _, books in found] == [7, 9], "what was said of one window stays"


async def test_a_night_that_is_over_keeps_the_limit_it_had(store: Store) -> None:
    await with_night_held(store, COST)
    tomorrow_us = NOW_US + DAY_US
    changed = await store.write(lambda tx: tx.set_cap_limit(NIGHT, None, 5, "ada", "why", tomorrow_us))
    assert changed == 0
    assert (await night_row(store))[0] == tonight().cap.limit
    ((_, books),) = await store.read(lambda tx: tx.cap_books([tonight(now_us=tomorrow_us)]))
    assert books.limit == 5


async def test_who_set_a_limit_is_written_down_and_never_edited(store: Store) -> None:
    for actor, limit in (("ada", 1), ("bob", None)):
        await store.write(
            lambda tx, a=actor, n=limit: tx.set_cap_limit(NIGHT, None, n, a, "beam time", NOW_US)
        )
    told = await store.read(query("SELECT cap, limit_amount, actor, reason FROM cap_limits ORDER BY id"))
    assert told == [("night", 1, "ada", "beam time"), ("night", None, "bob", "beam time")]


async def test_use_in_doubt_is_what_attempts_in_doubt_hold_of_a_window(store: Store) -> None:
    doubtful, settled = await prepared(store, 2)

    def go(tx: StoreTx) -> None:
        for case in (doubtful, settled):
            intend(tx, case)
        lose_sight(tx, doubtful)
        accept(tx, settled)
        finish(tx, settled)
        settle_all(tx)

    await store.write(go)
    assert await store.read(lambda tx: tx.in_doubt_use(NIGHT_KEY)) == COST
    assert await store.read(lambda tx: tx.in_doubt_use("another/window")) == 0
    (attempt,) = await store.read(lambda tx: tx.attempts_of(doubtful.job_id))
    assert attempt.state is AttemptState.IN_DOUBT
