"""What time, other processes and people may do to money: nothing is paid twice, and the books say so."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from scheduler.core.records import NewGrant
from scheduler.core.task import Accepted, CostFacts, Outcome, RunRequest
from scheduler.ports import Provider, SendGate
from tests.faults.conftest import MakeGround
from tests.support import coda_server as coda
from tests.support.coda_server import Fault
from tests.support.fault_ground import DAY_S, PRICE_MICROCREDITS, PRICE_MICROUSD, Ground

SECOND_US = 1_000_000
#: 2026-11-30, 23:50 UTC.
END_OF_MONTH_US = 1_796_082_600 * SECOND_US
MIDNIGHT_US = END_OF_MONTH_US + 600 * SECOND_US
COMPLETED = ("completed", "settled", "posted")


@dataclass
class Interrupted:
    """The real provider, with something that happens between the intent and the gate, once."""

    real: Provider
    before_gate: Callable[[], Awaitable[None]] | None
    paid: bool = True

    async def submit(self, request: RunRequest, send_gate: SendGate) -> Outcome:
        happens, self.before_gate = self.before_gate, None
        if happens is not None:
            await happens()
        return await self.real.submit(request, send_gate)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


def interrupt(ground: Ground, happens: Callable[[], Awaitable[None]]) -> None:
    ground.kit.providers = {**ground.providers, "coda": Interrupted(ground.providers["coda"], happens)}


async def test_fault_11_a_node_suspended_between_intent_and_post(ground: Ground) -> None:
    async def suspended() -> None:
        ground.pass_s(10 * 60.0)

    interrupt(ground, suspended)
    await ground.receive()
    await ground.send()
    assert await ground.states() == [("waiting", "not_sent", "voided")]
    assert (ground.server.posts, await ground.night()) == (0, (0, 0))
    assert "it was to be sent before" in await ground.story()
    await ground.run(3)
    assert await ground.states() == [("completed", "not_sent", "voided"), COMPLETED]
    assert (ground.server.posts, len(ground.server.bills)) == (1, 1)
    assert await ground.findings() == []


async def test_fault_11_a_node_whose_attempt_was_given_up_meanwhile(ground: Ground) -> None:
    """Another process took it for dead: what it wakes up with is no longer its own to send."""

    async def taken_for_dead() -> None:
        await ground.reconcile.at_start()

    interrupt(ground, taken_for_dead)
    await ground.receive()
    await ground.send()
    assert (ground.server.posts, ground.server.bills) == (0, [])
    # Whoever took it for dead could not know: it waits for a word, and then runs and is paid once.
    assert await ground.states() == [("in_doubt", "in_doubt", "open")]
    assert "in doubt" in await ground.needs()
    await ground.ask("resolve", job="1", **{"as": "not-sent"}, reason="it was suspended")
    await ground.run(3)
    assert await ground.states() == [("completed", "not_sent", "voided"), COMPLETED]
    assert len(ground.server.bills) == 1
    assert await ground.findings() == []


async def give_credits(ground: Ground, amount: int, expires_us: int) -> None:
    now_us = ground.clock.now_us()
    grant = NewGrant("coda", "November", amount, 0, now_us, expires_us)
    await ground.store.write(lambda tx: tx.add_grant(grant, "ada", "the plan", now_us))


async def balances(ground: Ground) -> dict[str, int]:
    return await ground.store.read(lambda tx: tx.account_balances())


async def test_fault_15_grant_and_month_end_in_flight(make_ground: MakeGround) -> None:
    monthly = '[caps.monthly]\nmeasure = "cost"\nperiod = "month"\nlimit = "2.00 USD"\n'
    ground = make_ground(more=monthly, start_us=END_OF_MONTH_US)
    await ground.arm()
    await give_credits(ground, 5 * PRICE_MICROCREDITS, MIDNIGHT_US)
    await ground.begin()
    await ground.receive(2)
    await ground.send()
    # One fits under the month's cap; it runs on when month and grant are over.
    assert await ground.states() == [("running", "submitted", "open")]
    ground.pass_s(20 * 60.0)
    await ground.bookkeeping.step()
    for _ in range(3):
        await ground.look()
        ground.pass_s(60.0)
    months = await ground.rows(
        "SELECT key, posted, held FROM cap_windows WHERE cap = 'monthly' ORDER BY opened_us, key"
    )
    assert [row[1:] for row in months] == [(PRICE_MICROUSD, 0)], "it counts in the month that held it"
    assert "2026-11" in months[0][0]
    # Ten were granted: two are spent, eight expired unused, and none is missing.
    assert await balances(ground) == {"outside:coda": -PRICE_MICROCREDITS, "spent:coda": PRICE_MICROCREDITS}
    # The other one is December's, and waits for December's credits: no overage was allowed.
    await ground.arm()
    await ground.run(2)
    assert len(ground.server.bills) == 1
    await give_credits(ground, 5 * PRICE_MICROCREDITS, MIDNIGHT_US + 31 * 86_400 * SECOND_US)
    await ground.run(3)
    assert await ground.states() == [COMPLETED, COMPLETED]
    months = await ground.rows("SELECT posted, held FROM cap_windows WHERE cap = 'monthly'")
    assert sorted(months) == [(PRICE_MICROUSD, 0), (PRICE_MICROUSD, 0)]
    assert len(ground.server.bills) == 2
    assert await ground.findings() == []


@pytest.mark.parametrize(("jump_s", "word"), [(DAY_S, "forward by"), (-DAY_S, "back by")])
async def test_fault_16_clock_jumps(ground: Ground, jump_s: float, word: str) -> None:
    await ground.receive()
    await ground.estimate.step()
    ground.clock.jump(int(jump_s * SECOND_US))
    await ground.clockwatch.step()
    await ground.arm()
    await ground.run(3)
    assert (ground.server.posts, await ground.states()) == (0, [])
    assert word in await ground.needs()
    # The clock is put right: it goes on by itself.
    ground.clock.jump(-int(jump_s * SECOND_US))
    await ground.clockwatch.step()
    await ground.arm()
    await ground.run(3)
    assert await ground.states() == [COMPLETED]
    assert (ground.server.posts, len(ground.server.bills)) == (1, 1)
    assert await ground.findings() == []


@pytest.mark.parametrize(
    ("opens_us", "hours"),
    [(1_792_836_000 * SECOND_US, 25), (1_774_695_600 * SECOND_US, 23)],
    ids=["clocks go back", "clocks go forward"],
)
async def test_fault_16_clocks_change_at_night(make_ground: MakeGround, opens_us: int, hours: int) -> None:
    """The night of the change is one night with one cap, however many hours it has."""
    ground = make_ground(timezone="Europe/Berlin", start_us=opens_us)
    await ground.arm_night(PRICE_MICROUSD)
    await ground.begin()
    await ground.receive(3)
    for _ in range(hours):
        await ground.send()
        await ground.look()
        ground.pass_s(3600.0 - 1.0)
    await ground.send()
    assert len(ground.server.bills) == 1, "never a second night's cap within the night"
    ground.pass_s(float(hours))
    await ground.send()
    assert len(ground.server.bills) == 2, "and the next night has its own"


async def test_fault_20_an_operator_answers_wrongly_before_the_reply(ground: Ground) -> None:
    """'Not sent' was said too soon; then the reply comes: the job is followed instead of paid again."""
    ground.server.next_submits.append(Fault(proper=True, then="keep", delay_s=0.6))
    await ground.receive()
    await ground.estimate.step()
    await ground.admit.step()
    await ground.submit.step()
    async with asyncio.timeout(20):
        await ground.server.until(lambda: ground.server.posts == 1)
    # Somebody else took this process for dead, and a person took the word of a page that was behind.
    await ground.reconcile.at_start()
    assert await ground.states() == [("in_doubt", "in_doubt", "open")]
    await ground.ask("resolve", job="1", **{"as": "not-sent"}, reason="the page does not list it")
    assert await ground.states() == [("waiting", "not_sent", "voided")]
    await ground.calls_end()
    assert (await ground.states())[0][:2] == ("running", "submitted")
    await ground.run(3)
    assert (await ground.states())[0][:2] == ("completed", "settled")
    assert (ground.server.posts, len(ground.server.bills)) == (1, 1)
    assert await ground.night() == (PRICE_MICROUSD, 0)
    assert "the page does not list it" in await ground.story()
    assert await ground.findings() == []


async def test_fault_20_an_operator_answers_wrongly_and_it_was_paid_again(ground: Ground) -> None:
    """What a person caused is not hidden: both charges are booked, it is said, and the backend stops."""
    ground.server.next_submits.append(coda.BILLED_THEN_502)
    await ground.receive()
    await ground.run(1)
    await ground.ask("resolve", job="1", **{"as": "not-sent"}, reason="the page does not list it")
    await ground.run(3)
    assert [state[1] for state in await ground.states()] == ["not_sent", "settled"]
    ((first,),) = await ground.rows("SELECT id FROM attempts WHERE ordinal = 1")
    # The late reply turns up on disk, as when another node's files are read.
    cost = CostFacts(PRICE_MICROUSD, PRICE_MICROCREDITS, 0)
    slot = ground.submit.replies.reserve()
    slot.keep(first, Accepted(ground.server.bills[0].job_id, "submitted", cost, "{}"))
    said = await ground.again()
    assert any("corrected" in line for line in said), said
    assert "paid twice" in await ground.needs()
    assert sum(await ground.night()) == 2 * PRICE_MICROUSD == PRICE_MICROUSD * len(ground.server.bills)
    assert await ground.findings() == []
    await ground.receive()
    await ground.run(2)
    assert len(ground.server.bills) == 2, "nothing more is sent before a person has looked"
