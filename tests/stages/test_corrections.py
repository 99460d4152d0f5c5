"""Late evidence in the stages: a reply outweighs a person, and a double payment stops its backend."""

from __future__ import annotations

from scheduler.core.lifecycle import AttemptState
from scheduler.core.rules import Rules
from scheduler.core.task import NotSent, RefusalKind, Refused
from scheduler.ports_store import Store
from scheduler.stages.outcome import Sent, record_contradiction, record_outcome
from scheduler.store.tx import StoreTx
from tests.support.books import Paid, broken, intend_paid, paid_in, prepare_again, reply, spending
from tests.support.stores import BACKEND, NOW_US, query

RULES = Rules(lambda _name: None)


def sent(paid: Paid) -> Sent:
    return Sent(paid.attempt_id, paid.job_id, BACKEND)


async def test_a_late_reply_is_never_dropped(store: Store) -> None:
    paid = await store.write(lambda tx: paid_in(tx, AttemptState.NOT_SENT))
    word = await store.write(lambda tx: record_outcome(tx, sent(paid), reply(paid.attempt_id), RULES, NOW_US))
    assert word == "corrected"
    assert await store.read(query("SELECT state FROM attempts")) == [("submitted",)]
    assert await store.read(query("SELECT count(*) FROM pauses")) == [(0,)]
    assert await store.read(broken) == []


async def test_a_run_that_was_paid_twice_stops_its_backend(store: Store) -> None:
    first = await store.write(lambda tx: paid_in(tx, AttemptState.NOT_SENT))

    def again(tx: StoreTx) -> None:
        second = prepare_again(tx, first.job_id)
        intend_paid(tx, second, spending(job_id=second.job_id))

    await store.write(again)
    await store.write(
        lambda tx: record_contradiction(tx, first.attempt_id, BACKEND, reply(first.attempt_id), RULES, NOW_US)
    )
    ((backend, code, sentence, until_us),) = await store.read(
        query("SELECT backend, code, sentence, until_us FROM pauses")
    )
    assert (backend, code, until_us) == (BACKEND, "breaker", None)
    assert first.attempt_id in sentence
    assert await store.read(broken) == []


async def test_a_definite_no_gives_a_write_off_back(store: Store) -> None:
    for outcome in (Refused(RefusalKind.INVALID, "no such device"), NotSent("the cable was out")):
        paid = await store.write(lambda tx: paid_in(tx, AttemptState.WRITTEN_OFF))
        word = await store.write(lambda tx, p=paid, o=outcome: record_outcome(tx, sent(p), o, RULES, NOW_US))
        assert word == "corrected"
    assert await store.read(query("SELECT DISTINCT state FROM attempts")) == [("not_sent",)]
    assert await store.read(query("SELECT DISTINCT state FROM holds")) == [("voided",)]
    assert await store.read(broken) == []


async def test_what_says_nothing_new_changes_nothing(store: Store) -> None:
    paid = await store.write(lambda tx: paid_in(tx, AttemptState.SETTLED))
    before = await store.read(query("SELECT state, raw_reply FROM attempts"))
    word = await store.write(lambda tx: record_outcome(tx, sent(paid), reply(paid.attempt_id), RULES, NOW_US))
    assert word == "moved on"
    assert await store.read(query("SELECT state, raw_reply FROM attempts")) == before
