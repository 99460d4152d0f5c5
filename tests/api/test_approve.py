"""Approvals: who may give them, at which price, and that nobody approves a job of their own."""

from __future__ import annotations

from typing import Any

import pytest

from scheduler.errors import NotAllowed, NotFound, UsageError
from tests.api.conftest import Office, Opening
from tests.support.stores import price_jobs, priced_jobs, receive_jobs

DEAR = '[approval]\nabove = "1.00 USD"\n'


async def gates(office: Office, job: str = "1") -> dict[str, Any]:
    return {gate["code"]: gate["fix"] for gate in (await office.ask("show", job=job))["gates"]}


async def test_the_fix_that_the_gate_prints_opens_it(office: Opening) -> None:
    desk = await office(DEAR)
    await desk.write(priced_jobs)
    fix = (await gates(desk))["approval"]
    assert fix == "nightshot approve 1.1"
    told = await desk.ask("approve", user="approver", jobs=[fix.split()[-1]], reason="beam time")
    assert told["changed"] == ["1 may cost $1.30"]
    assert "approval" not in await gates(desk)
    events = (await desk.ask("show", job="1"))["events"]
    assert events[-1]["sentence"] == "$1.30 approved by approver: beam time"
    assert "admit" in desk.woken
    again = await desk.ask("approve", user="approver", jobs=["1"])
    assert again["unchanged"] == ["1 was approved already, at $1.30"]


async def test_a_higher_price_has_to_be_approved_again(office: Opening) -> None:
    desk = await office(DEAR)
    (job,) = await desk.write(priced_jobs)
    await desk.ask("approve", user="approver", jobs=["1"])
    await desk.write(lambda tx: price_jobs(tx, [job], 2_000_000))
    assert "approval" in await gates(desk)
    told = await desk.ask("approve", user="approver", jobs=["1"], at_most="1.99")
    assert told["unchanged"] == ["1 costs $2.00 by now, more than $1.99"]
    assert "approval" in await gates(desk)


async def test_an_approved_price_is_the_one_that_drift_is_measured_from(office: Opening) -> None:
    desk = await office()
    (job,) = await desk.write(priced_jobs)
    await desk.write(lambda tx: price_jobs(tx, [job], 2_000_000))
    assert (await gates(desk))["drift"] == "nightshot approve 1.1"
    await desk.ask("approve", user="approver", jobs=["1.1"])
    assert "drift" not in await gates(desk)


async def test_nobody_approves_a_job_of_their_own_unless_allowed(office: Opening) -> None:
    desk = await office(environ={"NIGHTSHOT_ROLES__APPROVE": "ada"})
    await desk.write(priced_jobs)
    with pytest.raises(NotAllowed, match="nobody approves their own") as refused:
        await desk.ask("approve", user="ada", jobs=["1"])
    assert "approve_own = true" in refused.value.hint
    allowed = await office(
        environ={"NIGHTSHOT_ROLES__APPROVE": "ada", "NIGHTSHOT_ROLES__APPROVE_OWN": "true"}
    )
    await allowed.write(priced_jobs)
    assert (await allowed.ask("approve", user="ada", jobs=["1"]))["changed"]


async def test_a_batch_is_approved_with_its_sum(office: Opening) -> None:
    desk = await office(DEAR)
    await desk.write(lambda tx: priced_jobs(tx, 3))
    told = await desk.ask("approve", user="approver", jobs=["1", "1.2"])
    assert told["changed"][-1] == "3 jobs, together $3.90"


async def test_a_job_without_a_price_cannot_be_approved(office: Opening) -> None:
    desk = await office()
    await desk.write(receive_jobs)
    told = await desk.ask("approve", user="approver", jobs=["1"])
    assert "has no price yet" in told["unchanged"][0]


async def test_what_cannot_be_approved_is_said(office: Opening) -> None:
    desk = await office()
    with pytest.raises(NotFound):
        await desk.ask("approve", user="approver", jobs=["7"])
    with pytest.raises(UsageError, match="no job was named"):
        await desk.ask("approve", user="approver", jobs=[])
    with pytest.raises(UsageError, match="not an amount"):
        await desk.ask("approve", user="approver", jobs=["1"], at_most="-1")
    await desk.write(priced_jobs)
    await desk.ask("cancel", jobs=["1"])
    assert "nothing to approve" in (await desk.ask("approve", user="approver", jobs=["1"]))["unchanged"][0]
