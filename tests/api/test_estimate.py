"""Estimates: lines and age of a price, and a sum that is unknown as soon as one price is."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from scheduler.errors import SpecError, UsageError
from tests.api.conftest import Opening
from tests.support.coda_account import TOKEN
from tests.support.coda_server import CodaServer
from tests.support.stores import SECOND_US, priced_jobs, query, receive_jobs

PRICES = '[backends."local:simulator"]\nprice_per_task = "0.30 USD"\nprice_per_shot = "0.01 USD"\n'
# A port of this machine that nobody listens on.
AWAY = '[providers.coda]\nbase_url = "http://127.0.0.1:9/v0/coda"\n'


def document(name: str, text: str) -> dict[str, Any]:
    return {"name": name, "content_base64": base64.b64encode(text.encode()).decode()}


def qasm(shots: int, backend: str = "simulator") -> str:
    header = f'// /// nightshot\n// backend = "{backend}"\n// shots = {shots}\n// ///\n'
    return f"{header}OPENQASM 3.0;\nqubit q;\n"


async def test_a_file_is_priced_with_its_lines_and_nothing_is_queued(office: Opening) -> None:
    desk = await office(PRICES)
    view = await desk.ask("estimate", documents=[document("a.qasm", qasm(100))])
    (price,) = view["prices"]
    assert (price["cost_usd"], price["source"], price["backend"]) == ("1.30", "price list", "local:simulator")
    assert price["lines"] == ["1 × $0.30 per task", "100 × $0.01 per shot"]
    assert (view["total_usd"], view["unknown"]) == ("1.30", 0)
    assert await desk.write(query("SELECT COUNT(*) FROM jobs")) == [(0,)]


async def test_equal_jobs_are_one_question_and_the_sum_counts_them(office: Opening) -> None:
    desk = await office(PRICES)
    lines = ['{"nightshot": 1, "count": 3}'] + [
        '{"code": "OPENQASM 3.0; qubit q;", "backend": "simulator"}'
    ] * 3
    view = await desk.ask("estimate", documents=[document("a.jsonl", "\n".join(lines) + "\n")])
    assert [price["jobs"] for price in view["prices"]] == [3]
    assert (view["jobs"], view["total_usd"]) == (3, "3.90")


async def test_one_unknown_price_makes_the_sum_unknown(office: Opening) -> None:
    desk = await office(PRICES + AWAY)
    view = await desk.ask(
        "estimate",
        documents=[document("a.qasm", qasm(100)), document("b.qasm", qasm(100, "coda:ionq-forte"))],
    )
    known, unknown = view["prices"]
    assert known["cost_usd"] == "1.30"
    assert (unknown["cost_usd"], unknown["age_s"]) == (None, None)
    assert unknown["why"]
    assert (view["total_usd"], view["unknown"]) == (None, 1)


async def test_the_provider_is_asked_when_it_has_the_price(office: Opening) -> None:
    async with CodaServer(token=TOKEN) as server:
        away = f'[providers.coda]\nbase_url = "{server.base_url}"\n'
        desk = await office(away, token=TOKEN)
        view = await desk.ask("estimate", documents=[document("a.qasm", qasm(100, "iqm"))])
        (price,) = view["prices"]
        assert price["cost_usd"] is not None
        assert price["source"] == "coda"
        assert server.posts == 0, "an estimate is no submission"


async def test_a_job_shows_its_quote_and_how_old_it_is(office: Opening) -> None:
    desk = await office()
    await desk.write(priced_jobs)
    desk.clock.us += 90 * SECOND_US
    (price,) = (await desk.ask("estimate", job="1.1"))["prices"]
    assert (price["cost_usd"], price["age_s"], price["lines"]) == ("1.30", 90.0, ["1 × $1.30 per task"])


async def test_a_job_without_a_quote_is_asked_for_now(office: Opening) -> None:
    desk = await office(PRICES)
    await desk.write(lambda tx: receive_jobs(tx, backend="local:simulator"))
    view = await desk.ask("estimate", job="1")
    assert view["total_usd"] == "1.30"


async def test_shots_that_the_backend_refuses_have_no_price(office: Opening) -> None:
    view = await (await office(PRICES)).ask("estimate", documents=[document("a.qasm", qasm(5, "iqm"))])
    assert "below the 10" in view["prices"][0]["why"]


async def test_what_cannot_be_asked_is_refused(office: Opening) -> None:
    desk = await office(PRICES)
    with pytest.raises(UsageError, match="name a job or give files"):
        await desk.ask("estimate")
    text = "// /// nightshot\n// shotz = 1\n// ///\nOPENQASM 3.0;\nqubit q;\n"
    with pytest.raises(SpecError, match=r"a\.qasm:2: shotz"):
        await desk.ask("estimate", documents=[document("a.qasm", text)])
