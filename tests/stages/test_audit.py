"""Auditing on real rows: paid submission waits for the first look, and stops at a broken sentence."""

from __future__ import annotations

from scheduler.core.lifecycle import AttemptState
from scheduler.core.timing import night_of
from scheduler.stages.audit import BEFORE_NIGHT_US, HOUR_US, Auditing
from tests.support.bench import Bench
from tests.support.books import paid_in
from tests.support.stores import execute, query

BREAK = "UPDATE cap_windows SET posted = posted + {} WHERE key = (SELECT min(key) FROM cap_windows)"
VERDICTS = query("SELECT verdict FROM audits ORDER BY id")


async def stop_code(bench: Bench) -> str | None:
    stop = await bench.kit.store.read(lambda tx: tx.audit_stop())
    return None if stop is None else stop.code


async def test_paid_submission_waits_for_the_first_look_and_nothing_else(bench: Bench) -> None:
    auditing = Auditing(bench.kit)
    await auditing.at_start()
    assert await stop_code(bench) == "auditing"
    assert await auditing.due_in_s() == 0.0
    assert await auditing.step() == 0
    assert await stop_code(bench) is None
    assert await bench.kit.store.read(VERDICTS) == [("pending",), ("clean",)]


async def test_it_looks_again_every_hour_and_before_a_night(bench: Bench) -> None:
    auditing = Auditing(bench.kit)
    await auditing.at_start()
    await auditing.step()
    assert await auditing.step() == 0
    assert len(await bench.kit.store.read(VERDICTS)) == 2, "nothing is due yet"
    assert await auditing.due_in_s() == HOUR_US / 1e6

    start_us = bench.clock.now_us()
    bench.clock.advance_to(start_us + HOUR_US)
    await auditing.step()
    assert len(await bench.kit.store.read(VERDICTS)) == 3

    opens_us = night_of(start_us, bench.kit.rules.zone).closes_us
    bench.clock.advance_to(opens_us - BEFORE_NIGHT_US - HOUR_US // 4)
    await auditing.step()
    assert await auditing.due_in_s() == HOUR_US / 4 / 1e6
    bench.clock.advance_to(opens_us - BEFORE_NIGHT_US)
    looks = len(await bench.kit.store.read(VERDICTS))
    await auditing.step()
    await auditing.step()
    assert len(await bench.kit.store.read(VERDICTS)) == looks + 1, "once for a night"


async def test_a_broken_sentence_stops_what_costs_money_until_a_person_lifts_it(bench: Bench) -> None:
    await bench.kit.store.write(lambda tx: paid_in(tx, AttemptState.SETTLED))
    await bench.kit.store.write(execute(BREAK.format(1)))
    auditing = Auditing(bench.kit)
    await auditing.at_start()
    assert await auditing.step() > 0
    assert await stop_code(bench) == "audit"
    await bench.kit.store.write(execute(BREAK.format(-1)))
    bench.clock.advance_to(bench.clock.now_us() + HOUR_US)
    assert await auditing.step() == 0
    assert await stop_code(bench) == "audit", "that it is true again is not enough: somebody must look"


async def test_while_stopped_nothing_is_admitted_or_sent(bench: Bench) -> None:
    await bench.receive()
    await bench.estimate.step()
    await bench.kit.store.write(lambda tx: tx.begin_audit(bench.clock.now_us()))
    await bench.admit.step()
    assert await bench.kit.store.read(query("SELECT count(*) FROM attempts")) == [(0,)]
    await Auditing(bench.kit).step()
    await bench.admit.step()
    assert await bench.kit.store.read(query("SELECT state FROM attempts")) == [("prepared",)]
    await bench.kit.store.write(lambda tx: tx.begin_audit(bench.clock.now_us()))
    await bench.send()
    assert await bench.kit.store.read(query("SELECT state FROM attempts")) == [("not_sent",)]
    assert await bench.kit.store.read(query("SELECT count(*) FROM holds")) == [(0,)]
