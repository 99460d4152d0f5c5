"""Intent numbers: without gap or repetition, given out with the intent or not at all."""

from __future__ import annotations

import asyncio

import pytest

from scheduler.core.intents import Intent, Mark
from scheduler.core.lifecycle import AttemptState
from scheduler.ports_store import Store
from scheduler.store.tx import StoreTx
from tests.support.stores import NOW_US, Case, attempt_in, commit_intent, lose_sight, query


async def prepared(store: Store, count: int) -> list[Case]:
    return await store.write(lambda tx: [attempt_in(tx, AttemptState.PREPARED) for _ in range(count)])


def number(tx: StoreTx, case: Case) -> Intent:
    assert commit_intent(tx, case, paid=False)
    return tx.number_intent(case.attempt_id, NOW_US)


async def test_a_new_database_knows_of_no_intent(store: Store) -> None:
    assert await store.read(lambda tx: tx.intent_mark()) is None
    assert await store.read(lambda tx: tx.intents_since(1, 0)) == {}


async def test_numbers_count_up_whoever_races_for_them(store: Store) -> None:
    cases = await prepared(store, 30)
    intents = await asyncio.gather(*(store.write(lambda tx, c=c: number(tx, c)) for c in cases))
    assert sorted(intent.sequence for intent in intents) == list(range(1, 31))
    assert {intent.attempt_id for intent in intents} == {case.attempt_id for case in cases}
    assert all((intent.epoch, intent.at_us) == (1, NOW_US) for intent in intents)
    assert await store.read(lambda tx: tx.intent_mark()) == Mark(1, 30)


async def test_a_number_goes_back_with_its_transaction(store: Store) -> None:
    first, second = await prepared(store, 2)

    def fail(tx: StoreTx) -> None:
        number(tx, first)
        raise RuntimeError("no room")

    with pytest.raises(RuntimeError, match="no room"):
        await store.write(fail)
    assert (await store.write(lambda tx: number(tx, second))).sequence == 1, "no number is missing"


async def test_intents_are_listed_from_a_number_on_with_what_became_of_them(store: Store) -> None:
    cases = await prepared(store, 3)
    for case in cases:
        await store.write(lambda tx, c=case: number(tx, c))
    for case in (cases[0], cases[2]):
        await store.write(lambda tx, c=case: lose_sight(tx, c))
    under_way = {2: (cases[1].attempt_id, AttemptState.SUBMITTING)}
    lost = {3: (cases[2].attempt_id, AttemptState.IN_DOUBT)}
    assert await store.read(lambda tx: tx.intents_since(1, 2)) == under_way | lost
    # Whatever is still under way is told, because a higher number may be in the journal before it.
    assert await store.read(lambda tx: tx.intents_since(1, 3)) == under_way | lost
    assert await store.read(lambda tx: tx.intents_since(1, 4)) == under_way
    assert await store.read(lambda tx: tx.intents_since(2, 0)) == {}


async def test_an_attempt_keeps_its_first_number(store: Store) -> None:
    (case,) = await prepared(store, 1)
    await store.write(lambda tx: number(tx, case))
    await store.write(lambda tx: tx.number_intent(case.attempt_id, NOW_US))
    found = await store.read(query("SELECT intent_epoch, intent_sequence FROM attempts"))
    assert found == [(1, 1)]


@pytest.mark.parametrize(
    ("seen", "epoch"),
    [([], 2), ([1], 2), ([1, 1], 2), ([5], 6), ([5, 3], 6)],
)
async def test_a_new_epoch_is_above_all_that_either_memory_knows(
    store: Store, seen: list[int], epoch: int
) -> None:
    """Also above a journal that is newer than this database: it may be a restored one."""
    (case, later) = await prepared(store, 2)
    await store.write(lambda tx: number(tx, case))
    for journal_epoch in seen:
        await store.write(lambda tx, e=journal_epoch: tx.see_journal_epoch(e))
    assert await store.write(lambda tx: tx.start_epoch()) == epoch
    assert await store.read(lambda tx: tx.intent_mark()) == Mark(epoch, 0)
    intent = await store.write(lambda tx: number(tx, later))
    assert (intent.epoch, intent.sequence) == (epoch, 1)


async def test_an_epoch_can_begin_before_the_first_intent(store: Store) -> None:
    assert await store.write(lambda tx: tx.start_epoch()) == 2
    assert await store.write(lambda tx: tx.start_epoch()) == 3
