"""Grants, alarms and limits in rows, on both databases."""

from __future__ import annotations

import dataclasses

from scheduler.core.alarms import AlarmRules
from scheduler.core.caps import Cap, Measure, Period, Scope
from scheduler.core.ledger import Account, AccountKind
from scheduler.core.lifecycle import AttemptState
from scheduler.store.engine import SqliteStore
from scheduler.store.postgres import PostgresStore
from scheduler.store.tx import StoreTx
from tests.support.books import CAPS, CREDIT, audit, give_credits, lose, paid_in, say_not_sent
from tests.support.stores import COST, NOW_US, query

Store = SqliteStore | PostgresStore
RULES = AlarmRules((50, 80))
LATER_US = NOW_US + 10**9
NIGHT_KEY = "night/cost/night:2026-11-22/everyone"
(NIGHT, *_) = CAPS


def small(limit: int | None) -> Cap:
    return dataclasses.replace(NIGHT, limit=limit)


async def test_expiry_takes_only_what_is_not_held_and_the_rest_when_it_is_let_go(store: Store) -> None:
    number = await store.write(lambda tx: give_credits(tx, 10 * CREDIT, expires_us=LATER_US))
    paid = await store.write(lambda tx: paid_in(tx, AttemptState.SUBMITTING, microcredits=4 * CREDIT))
    account = Account(AccountKind.GRANT, str(number))
    assert await store.write(lambda tx: tx.expire_grants(LATER_US - 1)) == 0
    assert await store.write(lambda tx: tx.expire_grants(LATER_US)) == 1
    assert await store.read(lambda tx: tx.balance(account)) == (4 * CREDIT, 4 * CREDIT)
    assert await store.write(lambda tx: tx.expire_grants(LATER_US + 1)) == 0, "what is held stays"

    def never_arrived(tx: StoreTx) -> None:
        lose(tx, paid)
        say_not_sent(tx, paid)

    await store.write(never_arrived)
    assert await store.write(lambda tx: tx.expire_grants(LATER_US + 2)) == 1
    assert await store.read(lambda tx: tx.balance(account)) == (0, 0)
    report = await store.read(lambda tx: audit(tx, now_us=LATER_US + 2))
    assert report.findings == ()


async def test_grants_are_numbered_and_given_back_with_a_failed_transaction(store: Store) -> None:
    class Broken(Exception):
        pass

    def broken(tx: StoreTx) -> None:
        give_credits(tx)
        raise Broken

    assert await store.write(give_credits) == 1
    try:
        await store.write(broken)
    except Broken:
        pass
    assert await store.write(give_credits) == 2
    assert [record.number for record in await store.read(lambda tx: tx.grant_records())] == [1, 2]


async def test_each_alarm_is_told_once_for_each_window(store: Store) -> None:
    caps = [small(3 * COST)]
    await store.write(lambda tx: paid_in(tx, AttemptState.SUBMITTING, caps=caps))
    assert await store.write(lambda tx: tx.new_alarms(caps, RULES, NOW_US)) == []
    await store.write(lambda tx: paid_in(tx, AttemptState.SETTLED, caps=caps))
    (alarm,) = await store.write(lambda tx: tx.new_alarms(caps, RULES, NOW_US))
    assert (alarm.window_key, alarm.percent) == (NIGHT_KEY, 50)
    assert await store.write(lambda tx: tx.new_alarms(caps, RULES, NOW_US)) == []
    await store.write(lambda tx: paid_in(tx, AttemptState.SUBMITTING, caps=caps))
    (alarm,) = await store.write(lambda tx: tx.new_alarms(caps, RULES, NOW_US))
    assert alarm.percent == 80
    (shown,) = await store.read(lambda tx: tx.open_alarms(caps, RULES, NOW_US))
    assert (shown.percent, "100 %" in shown.sentence) == (80, True)
    over_us = NOW_US + 86_400 * 10**6
    assert await store.read(lambda tx: tx.open_alarms(caps, RULES, over_us)) == [], "that night is over"


async def test_no_alarm_is_due_without_alarms_or_caps(store: Store) -> None:
    caps = [small(COST)]
    await store.write(lambda tx: paid_in(tx, AttemptState.SUBMITTING, caps=caps))
    assert await store.write(lambda tx: tx.new_alarms(caps, AlarmRules(()), NOW_US)) == []
    assert await store.write(lambda tx: tx.new_alarms([], RULES, NOW_US)) == []


async def test_open_windows_follow_a_changed_configuration(store: Store) -> None:
    await store.write(lambda tx: paid_in(tx, AttemptState.SUBMITTING, caps=[small(10 * COST)]))

    async def row() -> tuple[object, ...]:
        found = await store.read(query("SELECT limit_amount, excused FROM cap_windows"))
        return found[0]

    assert await store.write(lambda tx: tx.align_caps([small(COST // 2)], NOW_US)) == ["night"]
    assert await row() == (COST // 2, COST - COST // 2)
    assert await store.write(lambda tx: tx.align_caps([small(COST // 2)], NOW_US)) == []
    assert await store.write(lambda tx: tx.align_caps([small(None)], NOW_US)) == ["night"]
    assert await row() == (None, 0)
    assert await store.write(lambda tx: tx.align_caps([small(5 * COST)], NOW_US)) == ["night"]
    assert await row() == (5 * COST, 0)
    # What a person set at run time stays.
    await store.write(lambda tx: tx.set_cap_limit(NIGHT, NIGHT_KEY, 7 * COST, "ada", "beam time", NOW_US))
    assert await store.write(lambda tx: tx.align_caps([small(COST)], NOW_US)) == []
    assert await row() == (7 * COST, 0)


async def test_another_measure_under_the_same_name_has_windows_of_its_own(store: Store) -> None:
    await store.write(lambda tx: paid_in(tx, AttemptState.SUBMITTING, caps=[small(10 * COST)]))
    shots = Cap("night", Measure.SHOTS, Scope.EVERYONE, Period.NIGHT, 1)
    assert await store.write(lambda tx: tx.align_caps([shots], NOW_US)) == []
    assert await store.read(lambda tx: tx.open_windows(shots, NOW_US, 10)) == []
    (window,) = await store.read(lambda tx: tx.open_windows(NIGHT, NOW_US, 10))
    assert (window.key, window.held, window.limit) == (NIGHT_KEY, COST, 10 * COST)
