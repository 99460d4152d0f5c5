"""Every invariant holds on a clean ledger, and speaks up when a defect is planted behind the store's back."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from scheduler.core.audit import ROWS_SHOWN, AuditVerdict
from scheduler.core.lifecycle import AttemptState, HoldState
from scheduler.ports_store import Store
from scheduler.store.invariants import HOLD_STATES, INVARIANTS
from scheduler.store.schema import holds
from scheduler.store.tx import StoreTx
from tests.support.books import audit, broken, every_state, give_credits
from tests.support.stores import NOW_US, execute

#: What stands in a defect's way on each database; a test first shows that it does, then takes it away.
LET = {
    "entries": (["DROP TRIGGER entries_UPDATE"], ["DROP TRIGGER entries_append_only ON entries"]),
    "entries gone": (["DROP TRIGGER entries_DELETE"], ["DROP TRIGGER entries_append_only ON entries"]),
    "accounts": (
        ["PRAGMA ignore_check_constraints = ON"],
        ["ALTER TABLE accounts DROP CONSTRAINT ck_accounts_not_below_zero"],
    ),
    "cap_windows": (
        ["PRAGMA ignore_check_constraints = ON"],
        ["ALTER TABLE cap_windows DROP CONSTRAINT ck_cap_windows_kept"],
    ),
    "one live": (["DROP INDEX uq_attempts_one_live"], ["DROP INDEX uq_attempts_one_live"]),
    "one id": (["DROP INDEX uq_attempts_provider_job"], ["DROP INDEX uq_attempts_provider_job"]),
    "one post": (
        ["PRAGMA ignore_check_constraints = ON"],
        [
            "ALTER TABLE attempts DROP CONSTRAINT ck_attempts_one_post",
            "ALTER TABLE attempts DROP CONSTRAINT ck_attempts_posted",
        ],
    ),
}
_LATEST = "(SELECT MAX(id) FROM txns WHERE kind = 'settle')"
_SETTLED = "(SELECT MIN(id) FROM attempts WHERE state = 'settled')"
_SUBMITTED = "(SELECT MIN(id) FROM attempts WHERE state = 'submitted')"
_NEW_TXN = (
    "INSERT INTO txns (id, idem_key, kind, reverses, actor, reason, at_us) "
    "VALUES (900, 'planted', '{kind}', {reverses}, 'eve', 'planted', 1)"
)
#: Invariant -> statements that break it, and what has to be taken away first.
DEFECTS: dict[str, tuple[str | None, list[str]]] = {
    "txn-balanced": (None, [f"INSERT INTO entries VALUES ({_LATEST}, 9, 'spent:coda', 7)"]),
    "txn-two-lines": (None, [_NEW_TXN.format(kind="adjust", reverses="NULL")]),
    "account-named": (None, ["UPDATE accounts SET asset = 'usd' WHERE id = 'spent:coda'"]),
    "balance-journal": (None, ["UPDATE accounts SET posted = posted + 7 WHERE id = 'spent:coda'"]),
    "conserved": (None, ["UPDATE accounts SET posted = posted + 7 WHERE id = 'outside:coda'"]),
    "reversal-mirrors": (
        None,
        [
            _NEW_TXN.format(kind="refund", reverses=_LATEST),
            # The mirror of a settlement, twice over.
            "INSERT INTO entries SELECT 900, line, account_id, -2 * amount FROM entries "
            f"WHERE txn_id = {_LATEST}",
        ],
    ),
    "held-parts": (None, ["UPDATE accounts SET held = held - 1 WHERE id = 'grant:1'"]),
    "guarded-not-below-zero": ("accounts", ["UPDATE accounts SET held = posted + 1 WHERE id = 'grant:1'"]),
    "hold-parts": (None, [f"UPDATE holds SET amount_microusd = 1 WHERE attempt_id = {_SUBMITTED}"]),
    "hold-state": (None, [f"UPDATE holds SET state = 'voided' WHERE attempt_id = {_SUBMITTED}"]),
    "paid-held": (None, ["UPDATE attempts SET paid = true WHERE state = 'prepared'"]),
    "overage-held": (None, [f"UPDATE attempts SET accept_overage = true WHERE id = {_SUBMITTED}"]),
    "posted-booked": (None, ["UPDATE holds SET txn_id = NULL WHERE state = 'posted'"]),
    "settled-within-hold": (
        None,
        [f"UPDATE holds SET posted_microusd = 9000000 WHERE attempt_id = {_SETTLED}"],
    ),
    "grant-within-part": (
        None,
        ["DELETE FROM hold_parts WHERE attempt_id IN (SELECT attempt_id FROM holds WHERE state = 'posted')"],
    ),
    "expired-grant-empty": (None, ["UPDATE grants SET expires_us = 1"]),
    "cap-held": (None, ["UPDATE cap_windows SET held = held - 1 WHERE cap = 'night'"]),
    "cap-posted": (None, ["UPDATE cap_windows SET posted = posted - 1 WHERE cap = 'night'"]),
    "cap-part-closed": (None, [f"UPDATE cap_parts SET settled = 0 WHERE attempt_id = {_SUBMITTED}"]),
    "caps-kept": ("cap_windows", ["UPDATE cap_windows SET limit_amount = 1 WHERE cap = 'night'"]),
    "one-live-attempt": (
        "one live",
        [
            "UPDATE attempts SET ordinal = 2, "
            f"job_id = (SELECT job_id FROM attempts WHERE id = {_SETTLED}) WHERE id = {_SUBMITTED}"
        ],
    ),
    "provider-id-unique": (
        "one id",
        ["UPDATE attempts SET provider_job_id = 'p' WHERE provider_job_id IS NOT NULL"],
    ),
    "one-post": ("one post", [f"UPDATE attempts SET posts = 2 WHERE id = {_SUBMITTED}"]),
}

#: What a settlement has written is not written again: only new transactions can go wrong.
DEFECTS_SINCE: dict[str, tuple[str | None, list[str]]] = {
    "settled-within-hold": (None, ["UPDATE holds SET overage_microusd = 1 WHERE overage_microusd > 1"]),
}


def run(tx: StoreTx, statements: list[str]) -> None:
    for statement in statements:
        tx._c.execute(text(statement))


def let(tx: StoreTx, what: str) -> None:
    sqlite, postgresql = LET[what]
    run(tx, sqlite if tx._c.dialect.name == "sqlite" else postgresql)


def test_there_is_a_defect_for_every_invariant() -> None:
    assert set(DEFECTS) == {invariant.code for invariant in INVARIANTS}


def test_every_attempt_state_says_what_its_hold_must_be() -> None:
    said = [state for states in HOLD_STATES.values() for state in states]
    assert sorted(said) == sorted(set(AttemptState) - {AttemptState.PREPARED})
    assert set(HOLD_STATES) == set(HoldState)


def test_a_hold_has_nothing_that_could_expire() -> None:
    assert not [column.name for column in holds.c if "expire" in column.name or column.name.endswith("_us")]


async def test_an_empty_ledger_has_nothing_wrong(store: Store) -> None:
    report = await store.read(audit)
    assert report.findings == ()
    assert [code for code, _ in report.checked] == [invariant.code for invariant in INVARIANTS]


async def test_attempts_in_every_state_break_nothing(store: Store) -> None:
    await store.write(every_state)
    assert await store.read(broken) == []


@pytest.mark.parametrize("code", DEFECTS)
async def test_a_planted_defect_is_found(store: Store, code: str) -> None:
    await store.write(every_state)
    taken_away, statements = DEFECTS[code]
    if taken_away is not None:
        with pytest.raises(DBAPIError):
            await store.write(lambda tx: run(tx, statements))
        assert await store.read(broken) == [], "the database refused it whole"
        await store.write(lambda tx: let(tx, taken_away))
    await store.write(lambda tx: run(tx, statements))
    assert code in await store.read(broken)


@pytest.mark.parametrize("code", [i.code for i in INVARIANTS if i.at_start is not None])
async def test_a_defect_since_the_last_audit_is_found_at_the_next_start(store: Store, code: str) -> None:
    await store.write(lambda tx: tx.record_audit(tx.audit(True, NOW_US), "test", NOW_US))
    await store.write(give_credits)
    await store.write(lambda tx: tx.record_audit(tx.audit(True, NOW_US), "test", NOW_US))
    await store.write(every_state)
    taken_away, statements = DEFECTS_SINCE.get(code) or DEFECTS[code]
    assert await store.read(lambda tx: broken(tx, full=False)) == []
    if taken_away is not None:
        await store.write(lambda tx: let(tx, taken_away))
    await store.write(lambda tx: run(tx, statements))
    assert code in await store.read(lambda tx: broken(tx, full=False))


async def test_the_journal_refuses_to_be_edited(store: Store) -> None:
    await store.write(every_state)
    for statement in (
        "UPDATE entries SET amount = amount + 1",
        "DELETE FROM entries",
        "UPDATE txns SET reason = 'another'",
        "DELETE FROM txns",
    ):
        with pytest.raises(DBAPIError, match="append-only"):
            await store.write(execute(statement))
    assert await store.read(broken) == []


async def test_an_incremental_audit_starts_where_the_last_clean_one_ended(store: Store) -> None:
    await store.write(every_state)
    first = await store.read(lambda tx: tx.audit(False, NOW_US))
    assert first.full, "nothing was ever audited, so everything is looked at"
    await store.write(lambda tx: tx.record_audit(first, "test", NOW_US))
    await store.write(every_state)
    second = await store.read(lambda tx: tx.audit(False, NOW_US))
    assert not second.full
    assert second.findings == ()
    # A line that was changed long ago is a matter for the full audit.
    await store.write(lambda tx: let(tx, "entries"))
    await store.write(execute("UPDATE entries SET amount = amount + 1 WHERE txn_id = 1"))
    assert await store.read(lambda tx: broken(tx, full=False)) == []
    assert "txn-balanced" in await store.read(broken)


async def test_a_broken_verdict_stays_until_a_person_lifts_it(store: Store) -> None:
    await store.write(every_state)
    await store.write(lambda tx: tx.begin_audit(NOW_US))
    waiting = await store.read(lambda tx: tx.audit_stop())
    assert waiting is not None
    assert waiting.code == "auditing"

    await store.write(execute("UPDATE accounts SET posted = posted + 1 WHERE id = 'spent:coda'"))
    verdict = await store.write(lambda tx: tx.record_audit(tx.audit(False, NOW_US), "test", NOW_US))
    assert verdict is AuditVerdict.BROKEN
    await store.write(execute("UPDATE accounts SET posted = posted - 1 WHERE id = 'spent:coda'"))
    await store.write(lambda tx: tx.begin_audit(NOW_US))
    verdict = await store.write(lambda tx: tx.record_audit(tx.audit(True, NOW_US), "test", NOW_US))
    assert verdict is AuditVerdict.BROKEN, "neither a restart nor a clean audit lifts it"
    stop = await store.read(lambda tx: tx.audit_stop())
    assert stop is not None
    assert (stop.code, "balance-journal" in stop.sentence) == ("audit", True)

    assert not await store.write(
        lambda tx: tx.lift_audit(tx.audit(False, NOW_US), "ada", "looked", NOW_US)
    ), "only a full audit is enough"
    assert await store.write(lambda tx: tx.lift_audit(tx.audit(True, NOW_US), "ada", "looked", NOW_US))
    assert await store.read(lambda tx: tx.audit_stop()) is None


async def test_at_most_so_many_rows_are_shown(store: Store) -> None:
    await store.write(
        execute(
            "INSERT INTO txns (id, idem_key, kind, actor, reason, at_us) WITH RECURSIVE n(i) AS "
            "(SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50) "
            "SELECT i, 'k' || i, 'adjust', 'eve', 'planted', 1 FROM n"
        )
    )
    (finding,) = (await store.read(audit)).findings
    assert (finding.code, len(finding.rows)) == ("txn-two-lines", ROWS_SHOWN)
    assert finding.rows[0]["lines"] == 0
