"""After a crash: an answer from the reply file or a doubt, and evidence for those in doubt."""

from __future__ import annotations

import asyncio

import pytest

from scheduler.core.task import (
    Accepted,
    CannotTell,
    CostFacts,
    Evidence,
    Found,
    NeverArrived,
    NotSent,
    Outcome,
    RefusalKind,
    Refused,
    Unknown,
)
from scheduler.replies import ReplySlots
from tests.support.bench import PRICE, Bench, accepted
from tests.support.stores import execute


async def killed_during_the_call(bench: Bench, outcome: Outcome | None) -> None:
    """Leave an attempt SUBMITTING, as SIGKILL would; with an outcome, its reply file is whole."""
    await bench.admitted()
    arrived = asyncio.Event()

    async def die() -> None:
        arrived.set()
        await asyncio.Event().wait()

    bench.provider.during_call = die
    await bench.submit.step()
    await asyncio.wait_for(arrived.wait(), 10)
    await bench.submit.drain(0)
    bench.provider.during_call = None
    assert await bench.states() == [("admitted", "submitting", "open")]
    if outcome is not None:
        ReplySlots(bench.folder / "replies").reserve().keep("attempt-1", outcome)
    bench.again()


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (None, ("in_doubt", "in_doubt", "open")),
        (Unknown("502"), ("in_doubt", "in_doubt", "open")),
        (accepted(), ("running", "submitted", "open")),
        (Refused(RefusalKind.INVALID, "422"), ("rejected", "refused", "voided")),
        (Refused(RefusalKind.BUSY, "429"), ("waiting", "refused", "voided")),
        (NotSent("no route"), ("waiting", "not_sent", "voided")),
    ],
)
async def test_what_was_left_submitting_gets_its_reply_or_its_doubt(
    bench: Bench, outcome: Outcome | None, state: tuple[str, str, str]
) -> None:
    await killed_during_the_call(bench, outcome)
    said = await bench.reconcile.at_start()
    assert await bench.states() == [state]
    assert len(said) == 1
    assert ("its reply file" in said[0]) == (outcome is not None)
    assert await bench.reconcile.at_start() == []
    assert await bench.states() == [state]
    assert len(bench.provider.sent) == 1


async def test_a_half_written_reply_is_a_doubt(bench: Bench) -> None:
    await killed_during_the_call(bench, accepted())
    for path in (bench.folder / "replies").glob("*.reply"):
        data = bytearray(path.read_bytes())
        data[60] ^= 0xFF
        path.write_bytes(data)
    await bench.reconcile.at_start()
    assert await bench.states() == [("in_doubt", "in_doubt", "open")]


async def test_a_reply_above_its_quote_is_held_when_it_is_found_on_disk(bench: Bench) -> None:
    await killed_during_the_call(bench, accepted(cost=2 * PRICE))
    await bench.reconcile.at_start()
    assert await bench.rows("SELECT amount_microusd, overrun_microusd FROM holds") == [(2 * PRICE, PRICE)]
    assert await bench.night() == (2 * PRICE, 0)


@pytest.mark.parametrize(
    ("evidence", "state", "cost"),
    [
        (CannotTell("no list"), ("in_doubt", "in_doubt", "open"), None),
        (Found("p-7", CostFacts(PRICE, None, None)), ("running", "submitted", "open"), PRICE),
        (NeverArrived("not in the list"), ("waiting", "not_sent", "voided"), None),
    ],
)
async def test_evidence_settles_a_doubt(
    bench: Bench, evidence: Evidence, state: tuple[str, str, str], cost: int | None
) -> None:
    bench.provider.outcomes.append(Unknown("502", "<html>bad gateway</html>"))
    await bench.running()
    bench.provider.evidence.append(evidence)
    await bench.reconcile.step()
    assert await bench.states() == [state]
    rows = await bench.rows("SELECT estimated_cost_microusd, raw_reply FROM attempts")
    assert rows == [(cost, "<html>bad gateway</html>")]


async def test_a_cancelled_job_that_never_arrived_is_cancelled(bench: Bench) -> None:
    bench.provider.outcomes.append(Unknown("502"))
    (job,) = await bench.running()
    await bench.store.write(lambda tx: tx.ask_cancel(job, bench.clock.now_us()))
    bench.provider.evidence.append(NeverArrived("not in the list"))
    await bench.reconcile.step()
    assert await bench.states() == [("cancelled", "not_sent", "voided")]


async def test_reconciling_leaves_a_call_of_this_very_process_alone(bench: Bench) -> None:
    await bench.admitted()
    reconciled: list[int] = []

    async def reconcile_meanwhile() -> None:
        reconciled.append(await bench.reconcile.step())

    bench.provider.during_call = reconcile_meanwhile
    bench.provider.evidence.append(NeverArrived("not in the list yet"))
    await bench.send()
    assert reconciled == [0]
    assert await bench.states() == [("running", "submitted", "open")]


async def test_more_old_doubts_than_are_looked_at_at_a_time_hide_nothing(bench: Bench) -> None:
    """A thousand doubts are older than the attempt that the crash left: it must still get its reply."""
    await killed_during_the_call(bench, accepted())
    jobs = await bench.receive(1001)
    first = jobs[0]
    made = await bench.store.write(
        execute(
            "INSERT INTO attempts (id, job_id, part_ordinal, ordinal, state, posts, backend, provider,"
            " estimate_microusd, prepared_us, sent_us)"
            " SELECT 'old-' || id, id, 1, 1, 'in_doubt', 1, 'coda:iqm', 'coda', 0, 1, 1 FROM jobs"
            " WHERE id >= :first",
            first=first,
        )
    )
    assert made == 1001
    await bench.reconcile.at_start()
    assert await bench.rows("SELECT state FROM attempts WHERE id = 'attempt-1'") == [("submitted",)]


@pytest.mark.parametrize("word", ["a\x00b", "\ud800", "x" * 200_000])
async def test_no_reply_can_make_itself_impossible_to_write_down(bench: Bench, word: str) -> None:
    outcome = Accepted("p-1", "submitted", CostFacts(PRICE, 0, 0), word)
    await killed_during_the_call(bench, outcome)
    await bench.reconcile.at_start()
    assert await bench.states() == [("running", "submitted", "open")]


async def test_a_search_that_fails_does_not_keep_the_daemon_from_starting(bench: Bench) -> None:
    bench.provider.outcomes.append(Unknown("502"))
    await bench.running()
    bench.provider.evidence.append(RuntimeError("a bug"))
    assert await bench.reconcile.at_start() == []
    assert await bench.states() == [("in_doubt", "in_doubt", "open")]
