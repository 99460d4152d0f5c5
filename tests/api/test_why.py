"""`why` says all of it: every check, who is in front, what can never be, and what has become of the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from scheduler.core.admission import GATE_CODES, Pause, gate_rank
from scheduler.core.lifecycle import AttemptState, JobEvent, JobState
from scheduler.errors import NotFound
from scheduler.store.tx import StoreTx
from tests.api.conftest import Office, Opening
from tests.support.stores import (
    BACKEND,
    COST,
    NOW_US,
    SECOND_US,
    arm,
    attempt_in,
    job_in,
    make_batch,
    make_spec,
    price_jobs,
    priced_jobs,
    receive_jobs,
)

LOCAL = "local:simulator"
CODA = """
[providers.coda]
kind = "coda"
"""
SMALL = """
[caps.small]
measure = "cost"
scope = "everyone"
period = "month"
limit = "1.00 USD"
"""
NIGHT = """
[windows.night]
open = "22:00"
close = "06:00"
"""


def closed(view: Any) -> list[str]:
    return [check["code"] for check in view["checks"] if check["state"] == "closed"]


def said(view: Any, code: str) -> Any:
    (found,) = [check for check in view["checks"] if check["code"] == code]
    return found


# ---------------------------------------------------------------------------------------------- all checks


async def test_every_gate_is_listed_closed_ones_first_and_each_group_in_order(office: Opening) -> None:
    desk = await office(CODA + SMALL)
    await desk.write(priced_jobs)
    await desk.ask("hold", user="ada", jobs=["1"], reason="not yet")
    view = await desk.ask("why", job="1")
    codes = [check["code"] for check in view["checks"]]
    assert {"cap:" if code.startswith("cap:") else code for code in codes} == set(GATE_CODES)
    assert closed(view) == codes[:3] == ["disarmed", "held", "cap:small"]
    for group in (codes[:3], codes[3:]):
        assert [gate_rank(code) for code in group] == sorted(gate_rank(code) for code in group)
    assert all(check["sentence"] for check in view["checks"])
    assert [check["fix"] for check in view["checks"] if check["state"] != "closed"] == [None] * (
        len(codes) - 3
    )


async def test_why_and_show_name_the_same_gates(office: Opening) -> None:
    desk = await office(CODA + SMALL)
    await desk.write(priced_jobs)
    await desk.ask("hold", user="ada", jobs=["1"], reason="not yet")
    view, shown = await desk.ask("why", job="1"), await desk.ask("show", job="1")
    keys = ("code", "sentence", "opens_at", "fix")
    assert [{key: check[key] for key in keys} for check in view["checks"][:3]] == shown["gates"]


async def test_it_is_worked_out_anew_whatever_was_stored(office: Opening) -> None:
    desk = await office(CODA)
    job_id = (await desk.write(priced_jobs))[0]
    until_us = NOW_US + SECOND_US // 2
    await desk.write(arm)
    await desk.write(lambda tx: tx.postpone_job(job_id, "rate", until_us, "asked to wait", NOW_US))
    assert closed(await desk.ask("why", job="1")) == ["rate"]
    desk.clock.us = until_us
    assert closed(await desk.ask("why", job="1")) == ["turn"], "nothing was written in between"
    await desk.ask("disarm")
    assert closed(await desk.ask("why", job="1")) == ["disarmed"]


async def test_without_a_price_nobody_says_that_the_money_is_there(office: Opening) -> None:
    desk = await office(CODA + SMALL)
    await desk.write(receive_jobs)
    view = await desk.ask("why", job="1")
    assert closed(view) == ["disarmed", "estimate"]
    unknown = [check["code"] for check in view["checks"] if check["state"] == "not asked"]
    assert unknown == ["approval", "drift", "cap:", "credits", "overage", "turn"]
    assert view["place"] is None


async def test_on_a_free_backend_the_money_checks_say_so(office: Opening) -> None:
    desk = await office()
    await desk.write(lambda tx: priced_jobs(tx, backend=LOCAL))
    view = await desk.ask("why", job="1")
    assert said(view, "credits")["sentence"] == f"nothing on {LOCAL} costs money"
    assert view["outlook"] == {
        "kind": "turn",
        "sentence": f"every gate is open and it is the first in the queue of {LOCAL}: it is about to start",
    }


async def test_passed_checks_show_the_figures_that_were_looked_at(office: Opening) -> None:
    desk = await office(CODA + SMALL.replace("1.00", "9.00"))
    await desk.write(lambda tx: arm(tx, 10 * COST))
    await desk.write(priced_jobs)
    await desk.ask("budget_grant", credits="5", provider="coda", reason="r")
    view = await desk.ask("why", job="1")
    assert said(view, "disarmed")["sentence"] == "armed with $13.00 a night"
    assert said(view, "cap:small")["sentence"] == "$9.00 of $9.00 is free"
    assert said(view, "credits")["sentence"] == "5 are free for it"
    assert said(view, "slots")["sentence"] == "0 of 4 are taken"
    assert said(view, "estimate")["sentence"] == "a quote of $1.30, valid until 2026-11-22T14:00:01.000Z"


async def test_what_admitted_jobs_were_promised_is_not_free_any_more(office: Opening) -> None:
    desk = await office(CODA + SMALL.replace("1.00", "2.00"))
    await desk.write(arm)
    await desk.write(lambda tx: attempt_in(tx, AttemptState.PREPARED) and None)
    await desk.write(priced_jobs)
    assert closed(await desk.ask("why", job="2")) == ["cap:small"], "no hold stands for 1 yet"


async def test_a_backend_that_is_switched_off_or_gone_is_said_to_be(office: Opening) -> None:
    desk = await office(CODA + '[backends."coda:iqm"]\nenabled = false\n')
    await desk.write(arm)
    await desk.write(priced_jobs)
    await desk.write(lambda tx: priced_jobs(tx, backend="gone:iqm"))
    view = await desk.ask("why", job="1")
    assert (view["outlook"]["kind"], closed(view)) == ("never", ["breaker"])
    assert "switched off" in view["outlook"]["sentence"]
    view = await desk.ask("why", job="2")
    assert (view["outlook"]["kind"], closed(view)) == ("never", ["backend-offline"])


# ------------------------------------------------------------------------------------------------ whose fix


@pytest.mark.parametrize(
    ("user", "code", "who"),
    [
        ("keeper", "disarmed", None),
        ("ada", "disarmed", "whoever roles.arm names"),
        ("ada", "held", "keeper, and whoever roles.approve names"),
        ("keeper", "held", None),
        ("approver", "held", None),
        ("ada", "cap:small", "whoever roles.caps names"),
        ("ada", "approval", "whoever roles.approve names"),
        ("approver", "approval", None),
    ],
)
async def test_a_fix_says_who_may_when_you_may_not(
    office: Opening, user: str, code: str, who: str | None
) -> None:
    desk = await office(CODA + SMALL + '[approval]\nabove = "1.00 USD"\n')
    await desk.write(priced_jobs)
    await desk.ask("hold", user="approver", jobs=["1"], reason="r")
    await desk.ask("release", user="approver", jobs=["1"])
    await desk.write(lambda tx: tx.put_on_hold(1, "keeper", "r", NOW_US))
    assert said(await desk.ask("why", user=user, job="1"), code)["fix_by"] == who


# ---------------------------------------------------------------------------------------------- the queue


async def test_a_job_knows_its_place_and_who_is_in_front(office: Opening) -> None:
    desk = await office(CODA)
    await desk.write(arm)

    def fill(tx: StoreTx) -> None:
        for user, priority in (("ada", 0), ("bob", 5), ("cleo", 0), ("dan", -1), ("eve", 0)):
            tx.receive([make_batch(make_spec(user, priority=priority), user=user)])
        price_jobs(tx, [1, 2, 3, 4, 5])
        tx.put_on_hold(3, "cleo", "r", NOW_US)

    await desk.write(fill)
    place = (await desk.ask("why", job="5"))["place"]
    assert place == {
        "position": 3,
        "at_least": False,
        "ahead": [{"job": "2", "user": "bob"}, {"job": "1", "user": "ada"}],
    }
    view = await desk.ask("why", job="5")
    assert closed(view) == ["turn"]
    assert view["outlook"]["sentence"] == (
        f"every gate is open; 2 jobs are before it in the queue of {BACKEND}: 2 (bob), 1 (ada)"
    )
    assert (await desk.ask("why", job="2"))["place"]["position"] == 1
    assert (await desk.ask("why", job="3"))["place"] is None, "on hold is not in the queue"
    assert (await desk.ask("why", job="4"))["place"]["position"] == 4


# -------------------------------------------------------------------------------------------------- never

Seeding = Callable[[StoreTx], object]


def with_terms(**terms: Any) -> Seeding:
    def seed(tx: StoreTx) -> None:
        tx.receive([make_batch(make_spec("late", **terms))])
        price_jobs(tx, [1])

    return seed


@pytest.mark.parametrize(
    ("config", "seed", "says"),
    [
        (SMALL, priced_jobs, "it needs $1.30, and cap small allows $1.00 in all"),
        ("", with_terms(window="dusk"), "its window, dusk, is not configured"),
        (
            NIGHT,
            with_terms(window="night", deadline_us=NOW_US + 3600 * SECOND_US),
            "its deadline, 2026-11-22T15:00:00.000Z is too early: window night opens at "
            "2026-11-22T21:00:00.000Z",
        ),
        (
            "",
            with_terms(deadline_us=NOW_US - 1),
            "its deadline, 2026-11-22T13:59:59.999Z is over (it is 2026-11-22T14:00:00.000Z)",
        ),
    ],
    ids=["a limit that is too small", "no such window", "too late", "over"],
)
async def test_what_can_never_run_says_so_first(
    office: Opening, config: str, seed: Seeding, says: str
) -> None:
    desk = await office(CODA + config)
    await desk.write(arm)
    await desk.write(lambda tx: seed(tx) and None)
    outlook = (await desk.ask("why", job="1"))["outlook"]
    assert outlook["kind"] == "never"
    assert outlook["sentence"].startswith("it will not run unless something is changed: ")
    assert says in outlook["sentence"]


async def test_a_person_a_time_or_others_are_waited_for(office: Opening) -> None:
    desk = await office(CODA + NIGHT)
    await desk.write(with_terms(window="night"))
    assert (await desk.ask("why", job="1"))["outlook"] == {
        "kind": "person",
        "sentence": "it waits for a person (disarmed)",
    }
    await desk.write(arm)
    assert (await desk.ask("why", job="1"))["outlook"] == {
        "kind": "time",
        "sentence": "it waits until 2026-11-22T21:00:00.000Z",
    }
    desk.clock.us = NOW_US + 2 * SECOND_US
    await desk.write(priced_jobs)
    assert (await desk.ask("why", job="2"))["outlook"] == {
        "kind": "others",
        "sentence": "it waits for estimate, which nobody has to open",
    }


# ---------------------------------------------------------------------------------------------- the story


@pytest.mark.parametrize(
    ("state", "kind", "says"),
    [
        (AttemptState.PREPARED, "sending", "about to be sent"),
        (AttemptState.SUBMITTING, "sending", "it is being sent since 2026-11-22T14:00:00.000Z"),
        (AttemptState.SUBMITTED, "running", "not looked at yet, next at 2026-11-22T14:00:00.000Z"),
        (AttemptState.IN_DOUBT, "in doubt", "$1.30 stay reserved until a person says what happened"),
        (AttemptState.FINISHED, "running", "what it cost is being settled"),
        (AttemptState.SETTLED, "ended", "it cost $1.30 (charged: $1.30, "),
        (AttemptState.WRITTEN_OFF, "ended", "it cost $1.30 (unknown: "),
    ],
)
async def test_what_does_not_wait_tells_its_story(
    office: Opening, state: AttemptState, kind: str, says: str
) -> None:
    desk = await office(CODA)
    await desk.write(lambda tx: attempt_in(tx, state) and None)
    view = await desk.ask("why", job="1")
    assert view["outlook"]["kind"] == kind
    assert says in view["outlook"]["sentence"]
    assert view["checks"] == []
    assert view["place"] is None
    events = view["events"]
    assert [event["at"] for event in events] == sorted(event["at"] for event in events)
    assert len(view["attempts"]) == 1
    assert bool(view["choices"]) is (state is AttemptState.IN_DOUBT)


async def test_an_admitted_job_says_that_it_will_not_pass_the_last_question(office: Opening) -> None:
    desk = await office(CODA)
    await desk.write(lambda tx: attempt_in(tx, AttemptState.PREPARED) and None)
    await desk.ask("disarm")
    sentence = (await desk.ask("why", job="1"))["outlook"]["sentence"]
    assert sentence.startswith("admitted, and it goes back into the queue before it is sent: paid submission")


@pytest.mark.parametrize(
    ("event", "says"),
    [
        (JobEvent.CANCEL, "nothing was sent, nothing is owed; cancelled by ada"),
        (JobEvent.REJECT, "nothing was sent, nothing is owed; too many qubits"),
    ],
)
async def test_what_was_never_sent_cost_nothing(office: Opening, event: JobEvent, says: str) -> None:
    desk = await office(CODA)
    state = JobState.CANCELLED if event is JobEvent.CANCEL else JobState.REJECTED
    await desk.write(lambda tx: job_in(tx, state) and None)
    assert (await desk.ask("why", job="1"))["outlook"] == {"kind": "ended", "sentence": says}


async def test_a_doubt_is_named_by_the_job_that_waits_for_it(office: Opening) -> None:
    desk = await office(CODA + "[breaker]\ndoubts = 1\n")
    await desk.write(lambda tx: attempt_in(tx, AttemptState.IN_DOUBT) and None)
    await desk.write(priced_jobs)
    assert said(await desk.ask("why", job="2"), "doubt")["fix"] == "nightshot why 1"


async def test_a_pause_of_the_whole_account_is_a_closed_check(office: Opening) -> None:
    desk = await office(CODA)
    await desk.write(arm)
    await desk.write(priced_jobs)
    await desk.write(lambda tx: tx.pause_backend("coda", Pause("clock", "it jumped"), NOW_US))
    view = await desk.ask("why", job="1")
    assert said(view, "clock")["fix"] == "nightshot backends resume coda --gate clock --reason '…'"


async def test_no_such_job(office: Opening) -> None:
    desk: Office = await office()
    with pytest.raises(NotFound, match="there is no job 7"):
        await desk.ask("why", job="7")
