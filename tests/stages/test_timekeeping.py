"""What the time alone changes: jobs wake, deadlines pass, windows open; nothing is sent outside its hours."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, time

from scheduler.core.job import Earlier
from scheduler.core.lifecycle import JobEvent
from scheduler.core.records import ArmingRecord, ReceivedBatch
from scheduler.core.task import Unknown
from scheduler.core.timing import to_datetime
from scheduler.core.waits import Rule
from scheduler.core.windows import Hours
from scheduler.stages.purse import armed_tonight, night_window
from scheduler.stages.timekeeping import GROUP, LONGEST_SLEEP_S, Timekeeping
from tests.support.bench import DONE, PRICE, Bench, MakeBench
from tests.support.stores import make_batch, make_spec

HOUR_S = 3600
HOUR_US = HOUR_S * 1_000_000
NIGHT = Hours("night", time(22), time(6), UTC)


def with_night(bench: Bench) -> Timekeeping:
    """The bench's day is a Sunday; it begins at 14:00."""
    assert to_datetime(bench.clock.now_us()).strftime("%a %H:%M") == "Sun 14:00"
    bench.kit.rules = replace(bench.kit.rules, hours={"night": NIGHT})
    return Timekeeping(bench.kit)


async def test_a_job_of_a_window_starts_when_it_opens_and_not_before(bench: Bench) -> None:
    keeping = with_night(bench)
    await bench.receive(2, window="night")
    await bench.estimate.step()
    assert await bench.admit.step() == 0
    bench.pass_s(8 * HOUR_S - 1)
    assert await bench.admit.step() == 0
    assert 0 < await keeping.due_in_s() <= 1
    bench.pass_s(1)
    bench.woken.clear()
    await keeping.step()
    assert "admit" in bench.woken
    await bench.estimate.step()  # the quotes of the afternoon are too old
    assert await bench.admit.step() == 2


async def test_what_is_left_of_a_window_waits_for_its_next_opening(make_bench: MakeBench) -> None:
    bench = make_bench(slots=1)
    await bench.arm()
    keeping = with_night(bench)
    await bench.receive(2, window="night")
    bench.pass_s(8 * HOUR_S)
    await bench.estimate.step()
    assert await bench.admit.step() == 1
    await bench.send()
    bench.pass_s(8 * HOUR_S)
    await keeping.step()
    assert to_datetime(bench.clock.now_us()).strftime("%H:%M") == "06:00"
    bench.slots = 2
    assert await bench.admit.step() == 0
    assert [job for job, _, _ in await bench.states()] == ["running", "waiting"], "what runs goes on"


async def test_a_job_of_a_window_that_nobody_configured_waits(bench: Bench) -> None:
    with_night(bench)
    bench.kit.rules = replace(bench.kit.rules, hours={})
    await bench.receive(window="night")
    await bench.estimate.step()
    assert await bench.admit.step() == 0


async def test_an_opening_is_told_and_recorded_once_over_a_restart(bench: Bench) -> None:
    bench.pass_s(9 * HOUR_S)
    bench.kit.rules = replace(bench.kit.rules, hours={"night": NIGHT})
    for _ in range(2):
        keeping = Timekeeping(bench.kit)
        await keeping.step()
        await keeping.step()
    told = [facts for event, facts in bench.said if event == "window opened"]
    assert told == [{"window": "night", "key": "2026-11-22", "closes": "2026-11-23T06:00:00.000Z"}]
    bench.pass_s(24 * HOUR_S)
    await keeping.step()
    rows = await bench.rows('SELECT window_name, "key" FROM occurrences ORDER BY "key"')
    assert rows == [("night", "2026-11-22"), ("night", "2026-11-23")]


async def test_a_job_wakes_when_its_time_has_come(bench: Bench) -> None:
    keeping = Timekeeping(bench.kit)
    await bench.receive(not_before_us=bench.clock.now_us() + 2_000_000)
    await bench.estimate.step()
    assert await bench.admit.step() == 0
    assert await keeping.step() == 0
    assert await keeping.due_in_s() == 2
    bench.pass_s(2)
    bench.woken.clear()
    assert await keeping.step() == 1
    assert "admit" in bench.woken
    assert await bench.admit.step() == 1


async def test_a_clock_that_was_put_back_starts_no_job_too_early(bench: Bench) -> None:
    keeping = Timekeeping(bench.kit)
    await bench.receive(not_before_us=bench.clock.now_us() + HOUR_US)
    bench.pass_s(HOUR_S)
    assert await keeping.step() == 1
    bench.clock.jump(-HOUR_US)
    await bench.estimate.step()
    assert await bench.admit.step() == 0


async def test_a_job_whose_deadline_passes_is_cancelled_with_the_reason_and_costs_nothing(
    bench: Bench,
) -> None:
    keeping = Timekeeping(bench.kit)
    await bench.disarm()
    await bench.receive(deadline_us=bench.clock.now_us() + HOUR_US // 2)
    await bench.receive()
    await bench.estimate.step()
    bench.pass_s(HOUR_S // 2)
    assert await keeping.step() == 0, "at its very instant it may still be sent"
    bench.pass_s(1)
    await bench.arm()
    assert await bench.admit.step() == 1, "nobody looked yet, and it is not admitted all the same"
    bench.woken.clear()
    assert await keeping.step() == 1
    assert "publish" in bench.woken
    assert await bench.rows("SELECT state, reason, cost_microusd FROM jobs WHERE id = 1") == [
        (
            "cancelled",
            "cancelled: its deadline, 2026-11-22T14:30:00.000Z, passed before it could be sent",
            0,
        )
    ]


async def test_many_deadlines_pass_in_groups(bench: Bench) -> None:
    keeping = Timekeeping(bench.kit)
    await bench.receive(GROUP + 5, deadline_us=bench.clock.now_us() + 1)
    bench.pass_s(1)
    assert await keeping.step() == GROUP
    assert "timekeeping" in bench.woken
    assert await keeping.step() == 5


async def test_what_runs_is_not_touched_by_its_deadline(bench: Bench) -> None:
    keeping = Timekeeping(bench.kit)
    await bench.admitted(deadline_us=bench.clock.now_us() + HOUR_US)
    await bench.send()
    bench.pass_s(2 * HOUR_S)
    assert await keeping.step() == 0
    assert await bench.states() == [("running", "submitted", "open")]


async def test_without_anything_to_keep_it_looks_again_before_long(bench: Bench) -> None:
    assert await Timekeeping(bench.kit).due_in_s() == LONGEST_SLEEP_S


# ------------------------------------------------------------------------------- jobs that come after others


def chain(length: int, rule: Rule = Rule.OK) -> ReceivedBatch:
    """Each comes after the one before it."""
    afters = [(Earlier(rule, f"job {n}", n),) if n else () for n in range(length)]
    return make_batch(*(make_spec(f"job {n}", after=after) for n, after in enumerate(afters, 1)))


async def receive_chain(bench: Bench, length: int, rule: Rule = Rule.OK) -> None:
    await bench.store.write(lambda tx: tx.receive([chain(length, rule)]) and None)
    await bench.estimate.step()


async def kept(bench: Bench) -> None:
    """Until nothing is left to be told."""
    keeping = Timekeeping(bench.kit)
    while await keeping.step():
        pass


async def test_a_chain_runs_in_its_order(bench: Bench) -> None:
    await receive_chain(bench, 3)
    for done in range(3):
        assert await bench.admit.step() == 1
        bench.provider.reports.append(DONE)
        await bench.send()
        bench.pass_s(60)
        await bench.poll.step()
        await bench.looked()
        await bench.settle.step()
        states = [job for job, _, _ in await bench.states()]
        assert states == ["completed"] * (done + 1) + ["waiting"] * (2 - done)
    assert len(bench.provider.sent) == 3


async def test_behind_a_job_that_was_cancelled_the_whole_chain_is_cancelled_and_says_why(
    bench: Bench,
) -> None:
    await receive_chain(bench, 4)
    now_us = bench.clock.now_us()
    await bench.store.write(lambda tx: tx.move_job(1, JobEvent.CANCEL, now_us, "cancelled by ada") and None)
    assert await Timekeeping(bench.kit).due_in_s() == 0
    await kept(bench)
    assert await bench.rows("SELECT state, reason FROM jobs ORDER BY id") == [
        ("cancelled", "cancelled by ada"),
        ("cancelled", "cancelled: it comes after 1.1, which is cancelled and had to complete"),
        ("cancelled", "cancelled: it comes after 1.2, which is cancelled and had to complete"),
        ("cancelled", "cancelled: it comes after 1.3, which is cancelled and had to complete"),
    ]
    assert await bench.admit.step() == 0
    assert "publish" in bench.woken
    assert bench.provider.sent == []


async def test_where_any_end_is_enough_the_next_one_starts(bench: Bench) -> None:
    await receive_chain(bench, 2, Rule.ANY)
    now_us = bench.clock.now_us()
    await bench.store.write(lambda tx: tx.move_job(1, JobEvent.CANCEL, now_us, "cancelled by ada") and None)
    await kept(bench)
    assert await bench.admit.step() == 1


async def test_a_job_in_doubt_has_not_ended(bench: Bench) -> None:
    await receive_chain(bench, 2, Rule.ANY)
    bench.provider.outcomes.append(Unknown("502"))
    assert await bench.admit.step() == 1
    await bench.send()
    await kept(bench)
    assert [job for job, _, _ in await bench.states()] == ["in_doubt", "waiting"]
    assert await bench.admit.step() == 0


async def test_a_long_chain_breaks_group_by_group(bench: Bench) -> None:
    first = make_spec("first")
    others = [make_spec(f"job {n}", after=(Earlier(Rule.OK, "first", 1),)) for n in range(GROUP + 5)]
    await bench.store.write(lambda tx: tx.receive([make_batch(first, *others)]) and None)
    now_us = bench.clock.now_us()
    await bench.store.write(lambda tx: tx.move_job(1, JobEvent.CANCEL, now_us, "cancelled by ada") and None)
    keeping = Timekeeping(bench.kit)
    assert await keeping.step() == GROUP
    assert "timekeeping" in bench.woken
    assert await keeping.step() == 5
    assert await keeping.step() == 0


# ------------------------------------------------------------------------------------- the night's own cap


async def test_with_hours_of_its_own_the_nights_cap_is_one_from_close_to_close(make_bench: MakeBench) -> None:
    bench = make_bench(slots=10)
    bench.kit.rules = bench.rules = replace(bench.rules, hours={"night": NIGHT}, night_hours=NIGHT)
    await bench.arm(2 * PRICE)
    await bench.receive(9)

    async def spent_at(hour: int) -> int:
        while to_datetime(bench.clock.now_us()).hour != hour:
            bench.pass_s(HOUR_S)
        await bench.estimate.step()
        admitted = await bench.admit.step()
        await bench.send()
        return admitted

    assert await spent_at(15) == 2, "the afternoon belongs to the night that comes"
    assert await spent_at(23) == 0
    assert await spent_at(2) == 0, "midnight is no new night"
    assert await spent_at(5) == 0
    assert await spent_at(6) == 2, "its close is the beginning of the next"
    assert await spent_at(12) == 0, "noon is nothing"
    rows = await bench.rows("SELECT key, held FROM cap_windows ORDER BY key")
    assert rows == [
        ("night/cost/night:2026-11-22/everyone", 2 * PRICE),
        ("night/cost/night:2026-11-23/everyone", 2 * PRICE),
    ]


async def test_armed_for_this_night_only_is_until_its_hours_close(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.kit.rules = bench.rules = replace(bench.rules, night_hours=NIGHT)
    now_us = bench.clock.now_us()
    record = ArmingRecord(10 * PRICE, bench.rules.night(now_us).key, "ada", "", now_us)
    await bench.store.write(lambda tx: tx.arm(record, night_window(bench.rules, now_us, 10 * PRICE)))
    for hours_on, armed in ((0, True), (8, True), (15, True), (16, False), (40, False)):
        found = armed_tonight(record, bench.rules, now_us + hours_on * HOUR_US)
        assert found == armed, hours_on
