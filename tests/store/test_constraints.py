"""The last line of defence: what the code should never ask, the database refuses."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from scheduler.core.lifecycle import AttemptState, JobState
from scheduler.ports_store import Store
from scheduler.store.tx import StoreTx
from tests.support.stores import Case, attempt_in, execute, job_in, receive_jobs

A = AttemptState


def set_attempt(values: str) -> Any:
    return lambda tx, case: execute(f"UPDATE attempts SET {values} WHERE id = :id", id=case.attempt_id)(tx)


def set_job(values: str) -> Any:
    return lambda tx, case: execute(f"UPDATE jobs SET {values} WHERE id = :id", id=case.job_id)(tx)


def set_hold(values: str) -> Any:
    return lambda tx, case: execute(f"UPDATE holds SET {values} WHERE attempt_id = :id", id=case.attempt_id)(
        tx
    )


def set_part(values: str) -> Any:
    where = "WHERE attempt_id = :id"
    return lambda tx, case: execute(f"UPDATE cap_parts SET {values} {where}", id=case.attempt_id)(tx)


def set_window(values: str) -> Any:
    return lambda tx, case: execute(f"UPDATE cap_windows SET {values}")(tx)


def copy_attempt(tx: StoreTx, case: Case, **changed: Any) -> int:
    """Insert the same attempt again under another id, some columns changed."""
    columns = "job_id part_ordinal ordinal state posts backend provider provider_job_id estimate_microusd"
    names = [*columns.split(), "prepared_us"]
    values = [f":{name}" if name in changed else name for name in names]
    statement = (
        f"INSERT INTO attempts (id, {', '.join(names)}) "
        f"SELECT 'copy', {', '.join(values)} FROM attempts WHERE id = :id"
    )
    return execute(statement, id=case.attempt_id, **changed)(tx)


REFUSED: dict[str, tuple[AttemptState, Any]] = {
    "a second live attempt of a part": (
        A.PREPARED,
        lambda tx, case: copy_attempt(tx, case, ordinal=2),
    ),
    "a second try with the same number": (
        A.REFUSED,
        copy_attempt,
    ),
    "a second post": (A.SUBMITTING, set_attempt("posts = posts + 1")),
    "sent without a post": (A.SUBMITTED, set_attempt("posts = 0")),
    "being sent without a post": (A.PREPARED, set_attempt("state = 'submitting'")),
    "accepted without an id": (A.SUBMITTING, set_attempt("state = 'submitted'")),
    "refused and named all the same": (A.REFUSED, set_attempt("provider_job_id = 'p'")),
    "an unknown attempt state": (A.SUBMITTED, set_attempt("state = 'lost'")),
    "an attempt of a part that is not there": (A.SUBMITTED, set_attempt("part_ordinal = 9")),
    "an unknown job state": (A.SETTLED, set_job("state = 'done'")),
    "ended without a time": (A.SETTLED, set_job("ended_us = NULL")),
    "a time without an end": (A.SUBMITTED, set_job("ended_us = 5")),
    "published before the end": (A.SUBMITTED, set_job("published_us = 5")),
    "no shots": (A.SUBMITTED, set_job("shots = 0")),
    "a negative estimate": (A.SUBMITTED, set_job("estimate_microusd = -1")),
    "a negative cost": (A.SETTLED, set_job("cost_microusd = -1")),
    "a job of no batch": (A.SUBMITTED, set_job("batch_id = 4711")),
    "a job without its circuit": (A.SUBMITTED, set_job("circuit_sha256 = 'gone'")),
    "a hold posted without an amount": (A.SUBMITTED, set_hold("state = 'posted'")),
    "an open hold with an amount posted": (A.SUBMITTED, set_hold("posted_microusd = 1")),
    "an unknown hold state": (A.SUBMITTED, set_hold("state = 'lapsed'")),
    "a negative hold": (A.SUBMITTED, set_hold("amount_microusd = -1")),
    "a hold posted below zero": (A.SETTLED, set_hold("posted_microusd = -1")),
    "more refunded than was posted": (A.SETTLED, set_hold("refunded_microusd = posted_microusd + 1")),
    "a refund of what is still open": (A.SUBMITTED, set_hold("refunded_microusd = 1")),
    "a hold's part of no window": (A.SUBMITTED, set_part("window_key = 'never'")),
    "a negative part": (A.SUBMITTED, set_part("amount = -1")),
    "a part settled below zero": (A.SETTLED, set_part("settled = -1")),
    "more given back than was held": (A.SUBMITTED, set_window("held = held - 2000000")),
    "more unposted than was posted": (A.SETTLED, set_window("posted = posted - 2000000")),
    "a negative limit": (A.SUBMITTED, set_window("limit_amount = -1")),
    "more held than the limit, and no reason recorded": (A.SUBMITTED, set_window("limit_amount = 1")),
    "an excuse below zero": (A.SUBMITTED, set_window("excused = -1")),
    "a window of an unknown measure": (A.SUBMITTED, set_window("measure = 'hours'")),
    "a window deleted under its parts": (
        A.SUBMITTED,
        lambda tx, case: execute("DELETE FROM cap_windows")(tx),
    ),
    "a hold deleted under its parts": (
        A.SUBMITTED,
        lambda tx, case: execute("DELETE FROM holds WHERE attempt_id = :id", id=case.attempt_id)(tx),
    ),
    "more retries than a job may ask for": (A.SUBMITTED, set_job("retries_left = -1")),
    "an attempt deleted under its hold": (
        A.SUBMITTED,
        lambda tx, case: execute("DELETE FROM attempts WHERE id = :id", id=case.attempt_id)(tx),
    ),
    "two results of one part": (
        A.FINISHED,
        lambda tx, case: execute("INSERT INTO results SELECT * FROM results")(tx),
    ),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_the_database_refuses(store: Store, what: str) -> None:
    state, change = REFUSED[what]
    case = await store.write(lambda tx: attempt_in(tx, state))
    with pytest.raises(IntegrityError):
        await store.write(lambda tx: change(tx, case))


async def test_the_database_refuses_one_provider_id_for_two_attempts(store: Store) -> None:
    await store.write(lambda tx: [attempt_in(tx, A.SUBMITTED) for _ in range(2)])
    with pytest.raises(IntegrityError):
        await store.write(execute("UPDATE attempts SET provider_job_id = 'the same'"))


async def test_the_database_refuses_one_intent_number_for_two_attempts(store: Store) -> None:
    await store.write(lambda tx: [attempt_in(tx, A.SUBMITTED) for _ in range(2)])
    with pytest.raises(IntegrityError):
        await store.write(execute("UPDATE attempts SET intent_epoch = 1, intent_sequence = 1"))


async def test_the_database_refuses_two_jobs_at_one_place_of_a_batch(store: Store) -> None:
    await store.write(lambda tx: receive_jobs(tx, 2))
    with pytest.raises(IntegrityError):
        await store.write(execute("UPDATE jobs SET ordinal = 1"))


@pytest.mark.parametrize("limit", ["NULL", "-1"])
async def test_the_database_refuses_an_arming_without_a_limit(store: Store, limit: str) -> None:
    statement = (
        "INSERT INTO armings (armed, night_limit_microusd, actor, reason, at_us) "
        f"VALUES (true, {limit}, 'ada', '', 1)"
    )
    with pytest.raises(IntegrityError):
        await store.write(execute(statement))


@pytest.mark.parametrize("state", list(JobState))
async def test_every_state_of_the_code_is_one_the_database_takes(store: Store, state: JobState) -> None:
    job_id = await store.write(lambda tx: job_in(tx, state))
    assert (await store.read(lambda tx: tx.job_record(job_id))).state is state
