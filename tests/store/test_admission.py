"""Prices, queues, slots and pauses, all counted from rows."""

from __future__ import annotations

import pytest

from scheduler.core.admission import BackendLoad, Pause, backend_gates
from scheduler.core.lifecycle import AttemptState, JobEvent, JobState
from scheduler.core.records import Quote
from scheduler.ports_store import Store
from scheduler.stages.purse import purse_for
from tests.support.stores import (
    BACKEND,
    COST,
    DAY_US,
    NIGHT,
    NOW_US,
    RULES,
    SECOND_US,
    arm,
    attempt_in,
    job_in,
    make_batch,
    make_spec,
    night_books,
    prepare,
    price_jobs,
    priced_jobs,
    query,
    receive_jobs,
    tonight,
)

LATER_US = NOW_US + 3600 * SECOND_US


async def load_of(store: Store, backend: str = BACKEND) -> BackendLoad:
    (load,) = await store.read(lambda tx: tx.fill_loads([BackendLoad(backend, True, 8)]))
    return load


async def heads(store: Store, now_us: int = NOW_US, limit: int = 10) -> list[int]:
    return [job.job_id for job in await store.read(lambda tx: tx.queue_heads(BACKEND, now_us, limit))]


async def unpriced(store: Store, now_us: int = NOW_US) -> list[int]:
    return [job.job_id for job in await store.read(lambda tx: tx.unpriced_jobs(BACKEND, now_us, 10))]


# ------------------------------------------------------------------------------------------------ quotes


async def test_an_unpriced_job_carries_all_that_a_provider_needs(store: Store) -> None:
    spec = make_spec(
        "bell", code="OPENQASM 3.0;", shots=77, accept_overage=True, execution_hint="program_set"
    )
    await store.write(lambda tx: tx.receive([make_batch(spec)]))
    (job,) = await store.read(lambda tx: tx.unpriced_jobs(BACKEND, NOW_US, 10))
    request = job.request
    assert (request.device, request.code, request.framework) == ("iqm", "OPENQASM 3.0;", "openqasm3")
    assert (request.shots, request.accept_overage, request.execution_hint) == (77, True, "program_set")
    assert request.accept_overage is True, "a 1 would be another word in JSON"
    assert request.attempt_id == f"estimate-{job.job_id}"


async def test_a_quote_takes_the_job_from_the_unpriced_to_its_queue(store: Store) -> None:
    first, second = await store.write(lambda tx: receive_jobs(tx, 2))
    assert await heads(store) == []
    await store.write(lambda tx: price_jobs(tx, [first], 1_234_567))
    assert await heads(store) == [first]
    assert await unpriced(store) == [second]
    told = await store.read(lambda tx: tx.quote_of(first))
    assert told == "$1.234567 from price list: 1 × $1.30 per task, taken 2026-11-22T14:00:00.000Z"


async def test_a_free_job_is_priced_and_not_unknown(store: Store) -> None:
    (job_id,) = await store.write(lambda tx: priced_jobs(tx, cost_microusd=0))
    assert (await store.read(lambda tx: tx.candidate_of(job_id))).estimate_microusd == 0
    assert await heads(store) == [job_id]


async def test_a_quote_that_comes_too_late_changes_no_job(store: Store) -> None:
    job_id = await store.write(lambda tx: job_in(tx, JobState.CANCELLED))
    before = await store.read(lambda tx: tx.job_record(job_id))
    await store.write(lambda tx: tx.record_quotes([Quote(job_id, 99, "coda", "", "{}", NOW_US, LATER_US)]))
    assert await store.read(lambda tx: tx.job_record(job_id)) == before


async def test_a_postponed_job_comes_back_when_its_time_has_come(store: Store) -> None:
    (job_id,) = await store.write(receive_jobs)
    assert await store.write(
        lambda tx: tx.postpone_job(job_id, "estimate", LATER_US, "no price known: 503", NOW_US)
    )
    assert await unpriced(store) == []
    assert await unpriced(store, LATER_US) == [job_id]
    (job,) = await store.read(lambda tx: tx.unpriced_jobs(BACKEND, LATER_US, 1))
    assert job.failures == 1
    record = await store.read(lambda tx: tx.job_record(job_id))
    assert (record.state, record.wait_code, record.reason) == (
        JobState.WAITING,
        "estimate",
        "no price known: 503",
    )
    assert await store.read(lambda tx: tx.prices_will_come(BACKEND))

    await store.write(lambda tx: price_jobs(tx, [job_id]))
    record = await store.read(lambda tx: tx.job_record(job_id))
    assert (record.wait_code, record.wait_until_us, record.reason) == (None, None, None)


async def test_a_job_postponed_without_a_time_is_not_asked_about_again_and_again(store: Store) -> None:
    (job_id,) = await store.write(receive_jobs)
    await store.write(lambda tx: tx.postpone_job(job_id, "breaker", None, "no token", NOW_US))
    assert await unpriced(store, LATER_US) == []
    assert not await store.read(lambda tx: tx.prices_will_come(BACKEND))


@pytest.mark.parametrize("state", [s for s in JobState if s is not JobState.WAITING])
async def test_only_a_waiting_job_can_be_postponed(store: Store, state: JobState) -> None:
    job_id = await store.write(lambda tx: job_in(tx, state))
    assert not await store.write(lambda tx: tx.postpone_job(job_id, "estimate", None, "why", NOW_US))
    assert (await store.read(lambda tx: tx.job_record(job_id))).wait_code is None


async def stale(store: Store, now_us: int) -> list[int]:
    return [job.job_id for job in await store.read(lambda tx: tx.stale_heads(BACKEND, now_us, 10))]


async def test_a_price_is_asked_for_again_when_its_last_quote_has_run_out(store: Store) -> None:
    old, renewed, gone = await store.write(lambda tx: priced_jobs(tx, 3))
    await store.write(lambda tx: tx.move_job(gone, JobEvent.CANCEL, NOW_US, "cancelled"))
    end_us = NOW_US + SECOND_US
    await store.write(
        lambda tx: tx.record_quotes([Quote(renewed, COST, "coda", "", "{}", NOW_US, end_us + 1)])
    )
    assert await stale(store, end_us - 1) == []
    assert await stale(store, end_us) == [old]
    assert await heads(store, end_us) == [old, renewed], "it keeps its place; the gate says that it is stale"
    await store.write(lambda tx: price_jobs(tx, [old], COST + 5))
    job = await store.read(lambda tx: tx.candidate_of(old))
    assert (job.estimate_microusd, job.accepted_microusd) == (COST + 5, COST), "the first price was accepted"


async def test_the_heads_that_are_stale_come_in_the_order_of_the_queue(store: Store) -> None:
    specs = [make_spec(f"j{n}", priority=priority) for n, priority in enumerate((0, 5, 9))]
    await store.write(lambda tx: tx.receive([make_batch(*specs)]))
    await store.write(lambda tx: price_jobs(tx, [1, 2, 3]))
    await store.write(lambda tx: tx.postpone_job(2, "rate", LATER_US + 1, "too many", NOW_US))
    assert await stale(store, LATER_US) == [3, 1]


# ----------------------------------------------------------------------------------------------- queues


async def test_heads_come_by_priority_and_then_by_age(store: Store) -> None:
    specs = [make_spec(f"j{n}", priority=priority) for n, priority in enumerate((0, 5, 0, 9, 5))]
    await store.write(lambda tx: tx.receive([make_batch(*specs)]))
    await store.write(lambda tx: price_jobs(tx, [1, 2, 3, 4, 5]))
    assert await heads(store) == [4, 2, 5, 1, 3]
    assert await heads(store, limit=2) == [4, 2]


async def test_a_job_behind_a_gate_of_its_own_does_not_stand_in_the_others_way(store: Store) -> None:
    first, second, third = await store.write(lambda tx: priced_jobs(tx, 3))
    await store.write(lambda tx: tx.postpone_job(first, "credits", None, "no credits", NOW_US))
    await store.write(lambda tx: tx.postpone_job(second, "rate", LATER_US, "too many", NOW_US))
    assert await heads(store) == [third]
    assert await heads(store, LATER_US) == [second, third]


async def test_wait_behind_names_the_gate_of_a_job_that_was_sent_back(store: Store) -> None:
    (case,) = await store.write(lambda tx: prepare(tx, priced_jobs(tx)))
    await store.write(lambda tx: tx.wait_behind(case.job_id, "credits", None, "too early"))
    assert (await store.read(lambda tx: tx.job_record(case.job_id))).wait_code is None, "it does not wait"

    await store.write(lambda tx: tx.move_job(case.job_id, JobEvent.SEND_BACK, NOW_US, "refused"))
    await store.write(lambda tx: tx.wait_behind(case.job_id, "credits", None, "no credits left"))
    job = await store.read(lambda tx: tx.candidate_of(case.job_id))
    assert (job.wait_code, job.wait_reason) == ("credits", "no credits left")
    assert await heads(store) == []


async def test_backends_with_waiting_jobs_are_listed_once_each(store: Store) -> None:
    for backend in ("coda:iqm", "local:simulator", "coda:iqm", "a:b"):
        await store.write(lambda tx, b=backend: receive_jobs(tx, backend=b))
    await store.write(lambda tx: priced_jobs(tx, backend="priced:only"))
    await store.write(lambda tx: job_in(tx, JobState.CANCELLED, backend="gone:away"))
    assert await store.read(lambda tx: tx.waiting_backends()) == [
        "a:b",
        "coda:iqm",
        "local:simulator",
        "priced:only",
    ]


# ---------------------------------------------------------------------------------------- slots and loads

IN_FLIGHT = {AttemptState.PREPARED, AttemptState.SUBMITTING, AttemptState.SUBMITTED}


@pytest.mark.parametrize("state", list(AttemptState))
async def test_slots_are_counted_from_rows(store: Store, state: AttemptState) -> None:
    await store.write(lambda tx: [attempt_in(tx, state) for _ in range(2)])
    load = await load_of(store)
    assert load.in_flight == (2 if state in IN_FLIGHT else 0)
    in_doubt = state is AttemptState.IN_DOUBT
    assert (load.in_doubt, load.exposure_microusd) == ((2, 2 * COST) if in_doubt else (0, 0))
    assert (await load_of(store, "coda:other")).in_flight == 0
    promised = await store.read(lambda tx: tx.prepared_candidates())
    wanted = [(BACKEND, COST)] * 2 if state is AttemptState.PREPARED else []
    assert [(job.backend, job.estimate_microusd) for job in promised] == wanted


async def test_admission_moves_only_jobs_that_still_wait(store: Store) -> None:
    job_ids = await store.write(lambda tx: priced_jobs(tx, 3))
    candidates = await store.read(lambda tx: [tx.candidate_of(job_id) for job_id in job_ids])
    await store.write(lambda tx: tx.move_job(job_ids[1], JobEvent.CANCEL, NOW_US, "cancelled"))
    pairs = [(job, f"try-{job.job_id}") for job in candidates]
    moved = await store.write(lambda tx: tx.prepare_attempts(pairs, NOW_US))
    assert moved == [job_ids[0], job_ids[2]]
    assert await store.write(lambda tx: tx.prepare_attempts(pairs, NOW_US)) == [], "nobody is admitted twice"
    prepared = await store.read(lambda tx: tx.prepared_attempts(10, frozenset()))
    assert [a.job_id for a in prepared] == moved


async def test_a_second_try_of_a_job_counts_on(store: Store) -> None:
    first = await store.write(lambda tx: attempt_in(tx, AttemptState.REFUSED))
    await store.write(lambda tx: prepare(tx, [first.job_id]))
    attempts = await store.read(lambda tx: tx.attempts_of(first.job_id))
    assert [(a.ordinal, a.state) for a in attempts] == [(1, AttemptState.REFUSED), (2, AttemptState.PREPARED)]


async def test_prepared_attempts_come_oldest_first_without_those_in_hand(store: Store) -> None:
    cases = await store.write(lambda tx: [attempt_in(tx, AttemptState.PREPARED) for _ in range(4)])
    names = sorted(case.attempt_id for case in cases)
    found = await store.read(lambda tx: tx.prepared_attempts(2, frozenset(names[:1])))
    assert [attempt.attempt_id for attempt in found] == names[1:3]


# ----------------------------------------------------------------------------------------------- pauses


async def test_a_pause_of_the_backend_is_found_and_lifted(store: Store) -> None:
    pause = Pause("rate", "too many requests", LATER_US)
    await store.write(lambda tx: tx.pause_backend(BACKEND, pause, NOW_US))
    assert (await load_of(store)).pauses == (pause,)
    assert await store.read(lambda tx: tx.pauses_of(BACKEND)) == [pause]
    assert (await load_of(store, "coda:other")).pauses == ()
    assert await store.write(lambda tx: tx.clear_pause(BACKEND))
    assert not await store.write(lambda tx: tx.clear_pause(BACKEND))
    assert (await load_of(store)).pauses == ()


async def test_lifting_one_pause_lifts_no_other(store: Store) -> None:
    rate, refused = Pause("rate", "busy", LATER_US), Pause("credits", "the token is refused")
    for pause in (rate, refused):
        await store.write(lambda tx, p=pause: tx.pause_backend(BACKEND, p, NOW_US))
    assert set((await load_of(store)).pauses) == {rate, refused}
    assert not await store.write(lambda tx: tx.clear_pause(BACKEND, "clock"))
    assert await store.write(lambda tx: tx.clear_pause(BACKEND, "rate"))
    assert (await load_of(store)).pauses == (refused,)
    for pause in (rate, Pause("clock", "the clock was put back", LATER_US)):
        await store.write(lambda tx, p=pause: tx.pause_backend(BACKEND, p, NOW_US))
    await store.write(lambda tx: tx.forget_short_pauses(BACKEND, LATER_US))
    assert (await load_of(store)).pauses == (refused,), "it works again, but a person still has to look"
    assert await store.write(lambda tx: tx.clear_pause(BACKEND))
    assert (await load_of(store)).pauses == ()


async def test_a_pause_of_the_provider_stops_all_its_backends(store: Store) -> None:
    pause = Pause("breaker", "the token is refused")
    await store.write(lambda tx: tx.pause_backend("coda", pause, NOW_US))
    assert (await load_of(store)).pauses == (pause,)
    assert (await load_of(store, "coda:other")).pauses == (pause,)
    assert (await load_of(store, "local:simulator")).pauses == ()


@pytest.mark.parametrize("provider_until_us", [None, LATER_US])
async def test_an_old_pause_of_a_backend_does_not_hide_its_providers(
    store: Store, provider_until_us: int | None
) -> None:
    longer = Pause("breaker", "the token is refused", provider_until_us)
    await store.write(lambda tx: tx.pause_backend(BACKEND, Pause("rate", "busy", NOW_US - 1), NOW_US))
    await store.write(lambda tx: tx.pause_backend("coda", longer, NOW_US))
    load = await load_of(store)
    assert longer in load.pauses
    assert [gate.code for gate in backend_gates(load, NOW_US)] == ["breaker"]


async def test_failures_in_a_row_are_counted_until_the_pause_is_lifted(store: Store) -> None:
    for failures in (1, 2, 3):
        await store.write(lambda tx: tx.pause_backend(BACKEND, Pause("rate", "busy", LATER_US), NOW_US))
        assert await store.read(lambda tx: tx.pause_failures(BACKEND)) == failures
    await store.write(lambda tx: tx.forget_short_pauses(BACKEND, LATER_US))
    assert await store.read(lambda tx: tx.pause_failures(BACKEND)) == 0


@pytest.mark.parametrize("first_until_us", [None, LATER_US])
async def test_a_pause_is_never_cut_short(store: Store, first_until_us: int | None) -> None:
    first = Pause("rate", "Retry-After: 3600", first_until_us)
    await store.write(lambda tx: tx.pause_backend(BACKEND, first, NOW_US))
    await store.write(lambda tx: tx.pause_backend(BACKEND, Pause("rate", "busy", NOW_US + 1), NOW_US))
    assert (await load_of(store)).pauses == (first,)
    assert await store.read(lambda tx: tx.pause_failures(BACKEND)) == 2
    longer = Pause("rate", "the account is suspended")
    await store.write(lambda tx: tx.pause_backend(BACKEND, longer, NOW_US))
    assert (await load_of(store)).pauses == (longer,)


# ------------------------------------------------------------------------------------- the night's books


async def allowed(store: Store, now_us: int = NOW_US) -> tuple[bool, int | None]:
    """Whether paid jobs may be sent, and the night's limit, as admission sees them."""
    (job_id,) = await store.write(priced_jobs)
    purse = await store.read(lambda tx: purse_for(tx, [tx.candidate_of(job_id)], RULES, now_us))
    return purse.armed, purse.funds.books[tonight(now_us=now_us).key].limit


TOMORROW_US = NOW_US + DAY_US


async def test_nobody_armed_is_no_leave_at_all(store: Store) -> None:
    assert await allowed(store) == (False, 0)
    assert (await store.read(night_books)).free == 0


async def test_an_arming_for_every_night_is_in_force_tomorrow(store: Store) -> None:
    await store.write(lambda tx: arm(tx, 5 * COST))
    for now_us in (NOW_US, TOMORROW_US):
        assert await allowed(store, now_us) == (True, 5 * COST)


async def test_an_arming_for_once_is_for_its_night_only(store: Store) -> None:
    await store.write(lambda tx: arm(tx, 5 * COST, once=NIGHT))
    assert await allowed(store) == (True, 5 * COST)
    assert not (await allowed(store, TOMORROW_US))[0]


async def test_a_disarmed_night_keeps_its_books(store: Store) -> None:
    await store.write(lambda tx: attempt_in(tx, AttemptState.SUBMITTED))
    assert await store.write(lambda tx: tx.disarm("ada", "enough", NOW_US))
    assert not await store.write(lambda tx: tx.disarm("ada", "enough", NOW_US)), "it was not armed any more"
    assert not (await allowed(store))[0]
    assert (await store.read(night_books)).held == COST


async def test_arming_again_keeps_the_books_and_changes_the_limit(store: Store) -> None:
    await store.write(lambda tx: attempt_in(tx, AttemptState.SETTLED))
    await store.write(lambda tx: arm(tx, 7))
    books = await store.read(night_books)
    assert (books.limit, books.posted, books.free) == (7, COST, 7 - COST)
    arming = await store.read(lambda tx: tx.arming())
    assert arming is not None
    assert (arming.actor, arming.reason) == ("ada", "tonight's run")
    assert await store.read(query("SELECT count(*) FROM armings")) == [(2,)], "who armed is never edited"
