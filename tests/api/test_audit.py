"""The audit at the desk: every sentence is shown, a broken one stops what costs money, a person lifts it."""

from __future__ import annotations

import pytest

from scheduler.core.lifecycle import AttemptState
from scheduler.errors import NotAllowed, UsageError
from scheduler.store.invariants import INVARIANTS
from tests.api.conftest import Opening
from tests.support.books import CREDIT, every_state, give_credits, paid_in
from tests.support.stores import NOW_US, execute, query

BREAK = "UPDATE accounts SET posted = posted + {} WHERE id = 'spent:coda'"


async def test_every_sentence_is_shown_with_what_breaks_it(office: Opening) -> None:
    desk = await office()
    await desk.write(every_state)
    view = await desk.ask("audit")
    assert (view["clean"], view["stopped"], view["lifted"]) == (True, None, False)
    assert [i["code"] for i in view["invariants"]] == [i.code for i in INVARIANTS]
    assert all(i["holds"] and not i["rows"] for i in view["invariants"])

    await desk.write(execute(BREAK.format(1)))
    view = await desk.ask("audit")
    broken = {i["code"]: i["rows"] for i in view["invariants"] if not i["holds"]}
    assert not view["clean"]
    assert broken["balance-journal"][0]["account"] == "spent:coda"
    assert "balance-journal" in view["stopped"]


async def test_only_a_clean_audit_and_a_person_with_a_reason_lift_the_stop(office: Opening) -> None:
    desk = await office()
    await desk.write(every_state)
    await desk.write(execute(BREAK.format(1)))
    await desk.ask("audit")
    with pytest.raises(NotAllowed):
        await desk.ask("audit", user="ada", resume=True, reason="it looks fine")
    with pytest.raises(UsageError, match="reason"):
        await desk.ask("audit", resume=True)
    view = await desk.ask("audit", resume=True, reason="I want to go on")
    assert (view["lifted"], view["stopped"] is None) == (False, False), "what is broken cannot be waved away"

    await desk.write(execute(BREAK.format(-1)))
    view = await desk.ask("audit")
    assert (view["clean"], view["stopped"] is None) == (True, False)
    view = await desk.ask("audit", resume=True, reason="restored from the backup")
    assert (view["lifted"], view["stopped"]) == (True, None)
    said = await desk.write(query("SELECT actor, sentence FROM audits WHERE verdict = 'lifted'"))
    assert said == [("keeper", "restored from the backup")]


async def test_a_grant_that_has_just_expired_is_no_finding(office: Opening) -> None:
    desk = await office()
    await desk.write(lambda tx: give_credits(tx, 9 * CREDIT, expires_us=NOW_US + 1))
    desk.clock.us += 10
    assert (await desk.ask("audit"))["clean"]


async def test_an_invoice_is_compared_and_nothing_is_changed(office: Opening) -> None:
    desk = await office()
    paid = await desk.write(lambda tx: paid_in(tx, AttemptState.SETTLED))
    await desk.write(lambda tx: paid_in(tx, AttemptState.IN_DOUBT))
    before = await desk.write(query("SELECT count(*) FROM txns"))
    text = f"Job ID,Date,Cost (cents),Device\np-{paid.attempt_id},2026-11-22,131,iqm\np9,2026-11-22,5,iqm\n"
    view = await desk.ask("reconcile", csv=text, provider="coda")
    assert [d["kind"] for d in view["differences"]] == ["cost", "not ours"]
    assert (view["invoice"]["cost_usd"], view["ours"]["cost_usd"]) == ("1.36", "1.30")
    assert (view["nameless"], view["unused_columns"]) == (1, ["device"])
    assert await desk.write(query("SELECT count(*) FROM txns")) == before
    with pytest.raises(UsageError, match="no provider is called"):
        await desk.ask("reconcile", csv=text, provider="nobody")
    with pytest.raises(UsageError, match="no column names the provider's job"):
        await desk.ask("reconcile", csv="a,b\n", provider="coda")


@pytest.mark.parametrize(
    ("amount", "told"),
    [
        (None, "refunded $1.30 and 2 credits"),
        ("0.30", "refunded $0.30 and 0 credits"),
        ("2 credits", "refunded $0.00 and 2 credits"),
    ],
)
async def test_a_refund_is_booked_with_who_and_why(office: Opening, amount: str | None, told: str) -> None:
    desk = await office()

    def settled(tx):
        give_credits(tx)
        return paid_in(tx, AttemptState.SETTLED, microcredits=2 * CREDIT)

    await desk.write(settled)
    view = await desk.ask("budget_refund", job="1", amount=amount, reason="credit note 7")
    assert told in view["changed"][0]
    assert (await desk.ask("audit"))["clean"]
    story = (await desk.ask("show", job="1"))["events"]
    assert any(e["event"] == "refund" and "(keeper)" in e["sentence"] for e in story)


@pytest.mark.parametrize("amount", ["0", "-1", "NaN", "1e3", "99.00", "99 credits", "two"])
async def test_a_refund_that_cannot_be_is_refused(office: Opening, amount: str) -> None:
    desk = await office()
    await desk.write(lambda tx: paid_in(tx, AttemptState.SETTLED))
    with pytest.raises(UsageError):
        await desk.ask("budget_refund", job="1", amount=amount, reason="credit note 7")
    with pytest.raises(NotAllowed):
        await desk.ask("budget_refund", user="ada", job="1", amount="1.00", reason="mine")


async def test_a_second_answer_about_a_doubt_corrects_the_first(office: Opening) -> None:
    desk = await office()
    await desk.write(lambda tx: paid_in(tx, AttemptState.IN_DOUBT))
    await desk.ask("resolve", job="1", **{"as": "not-sent"}, reason="not in the list")
    assert (await desk.ask("show", job="1"))["job"]["state"] == "waiting"
    told = await desk.ask(
        "resolve", job="1", **{"as": "accepted"}, provider_job_id="p77", reason="it was on page two"
    )
    assert "is followed" in told["changed"][0]
    assert (await desk.ask("show", job="1"))["job"]["state"] == "running"
    assert (await desk.ask("audit"))["clean"]
