"""Edits: a waiting job only, by its owner, and never with a price or an approval of what it was before."""

from __future__ import annotations

from typing import Any

import pytest

from scheduler.core.lifecycle import AttemptState
from scheduler.errors import NightshotError, NotAllowed
from scheduler.stages.estimate import Estimating
from tests.api.conftest import Opening
from tests.support.books import paid_in
from tests.support.stores import priced_jobs, query, receive_jobs

LOCAL = "local:simulator"
PRICES = '[backends."local:simulator"]\nprice_per_task = "0.30 USD"\nprice_per_shot = "0.01 USD"\n'


async def test_new_shots_void_price_and_approval(office: Opening) -> None:
    desk = await office(PRICES)
    await desk.write(lambda tx: priced_jobs(tx, backend=LOCAL))
    await desk.ask("approve", user="approver", jobs=["1"])
    told = await desk.ask("edit", user="ada", job="1.1", shots=50, reason="enough")
    assert told["changed"] == ["1: 50 shots (were 100); its price is asked again"]
    columns = "estimate_microusd, accepted_microusd, approved_microusd, quoted_us, quote_valid_until_us"
    assert await desk.write(query(f"SELECT {columns} FROM jobs")) == [(None,) * 5]
    assert await desk.write(query("SELECT shots FROM parts")) == [(50,)]
    assert {"estimate", "admit"} <= set(desk.woken)
    await Estimating(desk.desk.kit).step()
    view = await desk.ask("show", job="1")
    assert (view["job"]["shots"], view["job"]["estimate_usd"]) == (50, "0.80")
    assert view["events"][-1]["sentence"].endswith("50 shots (were 100) (by ada: enough)")


async def test_a_price_that_was_asked_before_the_edit_is_not_taken(office: Opening) -> None:
    desk = await office(PRICES)
    await desk.write(lambda tx: receive_jobs(tx, backend=LOCAL))
    estimating = Estimating(desk.desk.kit)
    kit = desk.desk.kit
    account = kit.providers["local"]

    class Slow:
        """The account, but somebody edits the job while it is asked."""

        paid = True

        async def estimate(self, request: Any) -> Any:
            await desk.ask("edit", user="ada", job="1", shots=1000)
            return await account.estimate(request)

    kit.providers = {**kit.providers, "local": Slow()}  # type: ignore[dict-item]
    await estimating.step()
    assert (await desk.ask("show", job="1"))["job"]["estimate_usd"] is None, "the answer was about 100 shots"
    # Asked again, about 1000, which the edit leaves as they are; the edit has woken the stage.
    await estimating.step()
    assert (await desk.ask("show", job="1"))["job"]["estimate_usd"] == "10.30"


async def test_priority_and_cap_keep_the_price(office: Opening) -> None:
    desk = await office()
    await desk.write(priced_jobs)
    told = await desk.ask("edit", user="ada", job="1", priority=7, cap="2.00")
    assert told["changed"] == ["1: priority 7 (was 0), cap $2.00"]
    view = await desk.ask("show", job="1")
    assert (view["job"]["priority"], view["job"]["estimate_usd"]) == (7, "1.30")


async def test_the_fix_of_a_jobs_own_cap_works_when_pasted(office: Opening) -> None:
    desk = await office()
    await desk.write(priced_jobs)
    await desk.ask("edit", user="ada", job="1", cap="1.00")
    gates = {gate["code"]: gate["fix"] for gate in (await desk.ask("show", job="1"))["gates"]}
    assert gates["cap:job"] == "nightshot edit 1.1 --cap 1.30"
    await desk.ask("edit", user="ada", job="1.1", cap="1.30")
    assert "cap:job" not in {gate["code"] for gate in (await desk.ask("show", job="1"))["gates"]}


async def test_another_backend_by_its_short_name(office: Opening) -> None:
    desk = await office(PRICES)
    await desk.write(priced_jobs)
    told = await desk.ask("edit", user="ada", job="1", backend="ionq-forte")
    assert told["changed"] == ["1: backend coda:ionq-forte (was coda:iqm); its price is asked again"]


async def test_only_the_owner_and_the_approver_edit(office: Opening) -> None:
    desk = await office()
    await desk.write(priced_jobs)
    with pytest.raises(NotAllowed, match="1 is a job of ada"):
        await desk.ask("edit", user="bob", job="1", priority=1)
    assert (await desk.ask("edit", user="approver", job="1", priority=1))["changed"]


async def test_what_was_sent_cannot_be_edited(office: Opening) -> None:
    desk = await office()
    await desk.write(lambda tx: paid_in(tx, AttemptState.SUBMITTED))
    told = await desk.ask("edit", user="ada", job="1", shots=50)
    assert told["unchanged"] == ["1 is running: only a waiting job can be changed"]
    assert await desk.write(query("SELECT shots FROM jobs")) == [(100,)]


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ({}, "nothing was said to change"),
        ({"shots": 0}, "from 1 to"),
        ({"shots": 5}, "below the 10 that coda:iqm takes"),
        ({"shots": 2_000_000}, "from 1 to"),
        ({"shots": 10.5}, "shots"),
        ({"shots": True}, "shots"),
        ({"priority": 9999}, "from -1000 to 1000"),
        ({"cap": "-1"}, "not an amount"),
        ({"cap": "NaN"}, "not an amount"),
        ({"backend": "nope:x"}, "no provider is called 'nope'"),
        ({"backend": "local:simulator", "shots": -1}, "from 1 to"),
    ],
)
async def test_an_edit_that_means_nothing_is_refused(
    office: Opening, args: dict[str, Any], sentence: str
) -> None:
    desk = await office()
    await desk.write(priced_jobs)
    with pytest.raises(NightshotError, match=sentence):
        await desk.ask("edit", user="ada", job="1", **args)
