"""What a provider may do to us: the job is found again or in doubt, paid once, and somebody is told."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Iterator

import pytest

from tests.faults.conftest import MakeGround
from tests.support import coda_server as coda
from tests.support.coda_server import CodaServer, Fault, answer
from tests.support.coda_thread import EveryTime
from tests.support.fault_ground import DAY_S, PRICE_MICROUSD, Ground

IN_DOUBT = ("in_doubt", "in_doubt", "open")
COMPLETED = ("completed", "settled", "posted")


async def assert_in_doubt_for_good(ground: Ground, bills: int, *words: str) -> None:
    """It stays in doubt through two more lives and two days; nothing is sent again; people are told why."""
    for _ in range(2):
        await ground.again()
        await ground.run(2)
        ground.pass_s(DAY_S)
    assert await ground.states() == [IN_DOUBT]
    assert (ground.server.posts, len(ground.server.bills)) == (1, bills)
    assert await ground.night() == (0, PRICE_MICROUSD), "the money stays reserved"
    needs = await ground.needs()
    assert "in doubt" in needs
    for word in words:
        assert word in await ground.story()
    assert await ground.findings() == []


async def lost(ground: Ground, fault: Fault) -> None:
    ground.server.next_submits.append(fault)
    await ground.receive()
    await ground.run(2)


async def test_fault_01_billed_then_502(ground: Ground) -> None:
    await lost(ground, coda.BILLED_THEN_502)
    await assert_in_doubt_for_good(ground, 1, "502")
    # A person finds the job at the provider: its result comes, and its price is spent once.
    job_id = ground.server.bills[0].job_id
    await ground.ask("resolve", job="1", **{"as": "accepted"}, provider_job_id=job_id, reason="it is listed")
    await ground.run(3)
    assert await ground.states() == [COMPLETED]
    assert await ground.night() == (PRICE_MICROUSD, 0)
    assert len(ground.server.bills) == 1


async def test_fault_02_billed_then_hang(ground: Ground) -> None:
    await lost(ground, coda.HANG_BILLED)
    await assert_in_doubt_for_good(ground, 1, "no whole answer within 1 s")


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that nobody listens on, and that nobody else gets meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.mark.parametrize("way", ["refused", "no such name", "no TLS"])
async def test_fault_03_refused_dns_or_tls(
    make_ground: MakeGround, server: CodaServer, closed_port: int, way: str
) -> None:
    address = {
        "refused": f"http://127.0.0.1:{closed_port}/v0/coda",
        "no such name": "https://nightshot.invalid/v0/coda",
        "no TLS": server.base_url.replace("http://", "https://"),
    }[way]
    well = make_ground()
    await well.arm()
    await well.receive()
    await well.estimate.step()
    # The price is known; then nothing can be reached any more.
    ground = make_ground(base_url=address)
    await ground.begin()
    await ground.run(2)
    found = await ground.states()
    assert set(found) == {("waiting", "not_sent", "voided")}
    assert (server.posts, server.bills) == (0, [])
    assert await ground.night() == (0, 0), "what was reserved is free again"
    assert "not sent: " in await ground.story()
    assert await ground.findings() == []


@pytest.mark.parametrize(("fault", "bills"), [(coda.RESET_BILLED, 1), (coda.RESET, 0)])
async def test_fault_04_reset_after_the_request(ground: Ground, fault: Fault, bills: int) -> None:
    await lost(ground, fault)
    await assert_in_doubt_for_good(ground, bills, "in doubt: ")


async def test_fault_05_307_to_itself(ground: Ground) -> None:
    await lost(ground, coda.REDIRECT_TO_ITSELF)
    await assert_in_doubt_for_good(ground, 0, "307")


@pytest.mark.parametrize(
    ("fault", "word"),
    [(coda.HALF_BODY, "in doubt: "), (coda.HTML_200, "in doubt: "), (coda.NO_ID, "without saying plainly")],
)
async def test_fault_06_half_json_html_or_no_id(ground: Ground, fault: Fault, word: str) -> None:
    await lost(ground, fault)
    await assert_in_doubt_for_good(ground, 1, word)


async def test_fault_07_an_id_that_is_known_already(ground: Ground) -> None:
    await ground.receive()
    await ground.run(2)
    assert await ground.states() == [COMPLETED]
    await lost(ground, coda.KNOWN_ID)
    await ground.again()
    await ground.run(2)
    assert await ground.states() == [COMPLETED, IN_DOUBT]
    assert (ground.server.posts, len(ground.server.bills)) == (2, 2)
    assert await ground.night() == (PRICE_MICROUSD, PRICE_MICROUSD)
    assert "belongs to another attempt" in await ground.story()


async def test_fault_14_a_charge_above_the_hold(ground: Ground) -> None:
    told = answer(200, {"success": True, "estimated_cost_cents": 10}, then="keep")
    ground.server.next_estimates = EveryTime(lambda: told)  # type: ignore[assignment]
    await ground.receive()
    await ground.run(2)
    await ground.receive()
    await ground.run(2)
    # What was really charged is booked, whatever was quoted, and the next one is not sent.
    assert await ground.states() == [COMPLETED]
    assert len(ground.server.bills) == 1
    assert await ground.night() == (PRICE_MICROUSD, 0)
    assert "charged $1.30 where $0.10 was quoted" in await ground.story()
    assert "charged $1.30 where $0.10 was quoted" in await ground.needs()
    assert await ground.findings() == []


async def test_fault_17_an_unknown_status_for_days(ground: Ground) -> None:
    vague = answer(200, {"success": True, "job_id": "?", "status": "pondering"}, then="keep")
    ground.server.next_statuses = EveryTime(lambda: vague)  # type: ignore[assignment]
    await ground.receive()
    for _ in range(5):
        await ground.run(3)
        ground.pass_s(DAY_S)
        await ground.again()
    assert await ground.states() == [("running", "submitted", "open")]
    assert (ground.server.posts, len(ground.server.bills)) == (1, 1)
    assert await ground.night() == (0, PRICE_MICROUSD)
    asked = len([r for r in ground.server.requests if r.path.endswith("/status")])
    assert 5 <= asked <= 40, "it is asked about, and ever more seldom"

    ground.server.next_statuses = deque()
    ground.pass_s(DAY_S)
    await ground.look()
    ground.pass_s(DAY_S)
    await ground.look()
    assert await ground.states() == [COMPLETED]
    assert await ground.night() == (PRICE_MICROUSD, 0)
