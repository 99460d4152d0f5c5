"""The budget: what is shown, who may change it, and that every change says who and why."""

from __future__ import annotations

from typing import Any

import pytest

from scheduler.core.lifecycle import AttemptState
from scheduler.errors import NightshotError, NotAllowed, NotFound, RefusedByBudget, UsageError
from scheduler.stages.purse import night_cap
from tests.api.conftest import Office, Opening
from tests.support.books import CREDIT, paid_in
from tests.support.stores import COST, NOW_US, priced_jobs, query

MEMBER = '[caps.member]\nmeasure = "cost"\nscope = "user"\nperiod = "night"\nlimit = "15.00 USD"\n'
MONTH = '[caps.month]\nmeasure = "cost"\nperiod = "month"\nlimit = "400.00 USD"\n'
TASKS = '[caps.runs]\nmeasure = "tasks"\nperiod = "total"\nlimit = "unlimited"\n'
WHY = "the invoice says so"


async def grant(office: Office, credits_: str = "100", **other: Any) -> Any:
    return await office.ask("budget_grant", credits=credits_, provider="coda", reason=WHY, **other)


async def hold(office: Office, state: AttemptState = AttemptState.SUBMITTING, **other: Any) -> None:
    """A job of ada's that holds $1.30 of every configured cap and of the night's."""
    caps = (night_cap(1_000 * COST, office.desk.kit.rules), *office.desk.kit.rules.spending.caps)
    await office.write(lambda tx: paid_in(tx, state, caps=caps, **other))


def named(view: Any, name: str) -> Any:
    (cap,) = [cap for cap in view["caps"] if cap["name"] == name]
    return cap


# ------------------------------------------------------------------------------------------------ shown


async def test_a_fresh_install_has_no_arming_and_an_unknown_balance(office: Opening) -> None:
    view = await (await office()).ask("budget")
    assert view["armed"] is None
    (coda,) = view["credits"]
    assert (coda["provider"], coda["free"], coda["grants"]) == ("coda", None, []), "unknown is never zero"


async def test_every_cap_is_shown_with_what_is_spent_reserved_and_left(office: Opening) -> None:
    desk = await office(MEMBER + MONTH + TASKS)
    await desk.ask("arm", night="40.00")
    await hold(desk)
    await hold(desk, AttemptState.SETTLED)
    await hold(desk, AttemptState.IN_DOUBT)
    view = await desk.ask("budget")
    (window,) = named(view, "member")["windows"]
    assert window == {
        "key": "member/cost/night:2026-11-22/user:ada",
        "limit": "15.00",
        "spent": "1.30",
        "reserved": "2.60",
        "in_doubt": "1.30",
        "left": "11.10",
        "resets_at": "2026-11-23T11:00:00.000Z",
    }
    (runs,) = named(view, "runs")["windows"]
    assert (runs["limit"], runs["left"], runs["reserved"]) == (None, None, "2")
    assert named(view, "month")["windows"][0]["left"] == "396.10"
    assert named(view, "night")["windows"][0]["limit"] == "40.00"


async def test_a_cap_that_nobody_used_yet_is_shown_empty(office: Opening) -> None:
    (window,) = named(await (await office(MONTH)).ask("budget"), "month")["windows"]
    assert (window["spent"], window["left"]) == ("0.00", "400.00")


async def test_the_ledger_is_read_in_pages_and_by_account(office: Opening) -> None:
    desk = await office()
    for amount in ("1", "2", "3"):
        await grant(desk, amount)
    first = await desk.ask("budget_ledger", limit=2)
    assert [txn["transaction"] for txn in first["transactions"]] == [3, 2]
    second = await desk.ask("budget_ledger", limit=2, after=first["next"])
    assert [txn["transaction"] for txn in second["transactions"]] == [1]
    assert second["next"] is None
    (only,) = (await desk.ask("budget_ledger", account="grant:2"))["transactions"]
    assert (only["kind"], only["by"], only["reason"]) == ("grant", "keeper", WHY)
    assert only["entries"] == [
        {"account": "outside:coda", "unit": "credits", "amount": "-2"},
        {"account": "grant:2", "unit": "credits", "amount": "2"},
    ]
    with pytest.raises(UsageError, match="no account"):
        await desk.ask("budget_ledger", account="wallet")


async def test_a_settled_job_is_named_in_the_ledger(office: Opening) -> None:
    desk = await office()
    await grant(desk)
    await hold(desk, AttemptState.SETTLED, microcredits=2 * CREDIT)
    txn = (await desk.ask("budget_ledger"))["transactions"][0]
    assert (txn["kind"], txn["job"]) == ("settle", "1")
    (coda,) = (await desk.ask("budget"))["credits"]
    assert (coda["free"], coda["spent"]) == ("98", "2")


# ------------------------------------------------------------------------------------------- who and why


CHANGES = [
    ("budget_grant", {"credits": "5", "provider": "coda"}),
    ("budget_cap", {"name": "month", "limit": "5"}),
    ("budget_adjust", {"credits": "5", "grant": 1}),
    ("budget_observe", {"credits": "5", "provider": "coda"}),
]


@pytest.mark.parametrize(("op", "args"), CHANGES)
async def test_only_the_keeper_changes_money_and_says_why(
    office: Opening, op: str, args: dict[str, Any]
) -> None:
    desk = await office(MONTH)
    await grant(desk)
    before = await desk.ask("budget")
    with pytest.raises(NotAllowed, match="ada may not change caps and credits") as refused:
        await desk.ask(op, user="ada", reason=WHY, **args)
    assert "roles.caps" in refused.value.hint
    for reason in ("", "  "):
        with pytest.raises(UsageError, match="needs a reason"):
            await desk.ask(op, reason=reason, **args)
    assert await desk.ask("budget") == before
    await desk.ask(op, reason=WHY, **args)
    (_, facts) = desk.logged[-1]
    assert (facts["by"], facts["reason"]) == ("keeper", WHY)


@pytest.mark.parametrize(
    ("op", "args"),
    [
        ("arm", {"night": "5"}),
        ("resolve", {"job": "1", "as": "not-sent", "reason": WHY}),
        ("approve", {"jobs": ["1"]}),
    ],
)
async def test_the_other_roles_are_asked_for_too(office: Opening, op: str, args: dict[str, Any]) -> None:
    with pytest.raises(NotAllowed, match="ada may not"):
        await (await office()).ask(op, user="ada", **args)


async def test_self_is_the_daemons_own_user_and_nobody_else(office: Opening) -> None:
    import os

    from scheduler.intake.spool import user_name

    desk = await office(environ={"NIGHTSHOT_ROLES__CAPS": "self"})
    await desk.ask("budget_grant", user=user_name(os.geteuid()), credits="1", provider="coda", reason=WHY)
    with pytest.raises(NotAllowed):
        await desk.ask("budget_grant", user="keeper", credits="1", provider="coda", reason=WHY)


# ------------------------------------------------------------------------------------------------- caps


async def test_a_raised_cap_holds_for_open_and_later_windows(office: Opening) -> None:
    desk = await office(MEMBER)
    await hold(desk)
    view = await desk.ask("budget_cap", name="member", limit="20", reason=WHY)
    assert view["changed"] == ["cap member is $20.00 from now on"]
    cap = named(await desk.ask("budget"), "member")
    assert (cap["limit"], cap["windows"][0]["limit"]) == ("20.00", "20.00")
    rows = await desk.write(query("SELECT cap, limit_amount, actor, reason FROM cap_limits"))
    assert rows == [("member", 20_000_000, "keeper", WHY)]
    assert "admit" in desk.woken


async def test_a_cap_below_what_is_used_is_accepted_and_said(office: Opening) -> None:
    desk = await office(MEMBER)
    await hold(desk)
    view = await desk.ask("budget_cap", name="member", limit="1.00", reason=WHY)
    assert "$1.30 of member/cost/night:2026-11-22/user:ada" in view["changed"][1]
    assert "$0.30 more than that" in view["changed"][1]
    assert named(await desk.ask("budget"), "member")["windows"][0]["left"] == "0.00"


async def test_one_window_can_be_changed_alone(office: Opening) -> None:
    desk = await office(MEMBER)
    await hold(desk)
    key = "member/cost/night:2026-11-22/user:ada"
    await desk.ask("budget_cap", name="member", limit="30", window=key, reason=WHY)
    cap = named(await desk.ask("budget"), "member")
    assert (cap["limit"], cap["windows"][0]["limit"]) == ("15.00", "30.00")
    with pytest.raises(NotFound, match="no open window"):
        await desk.ask("budget_cap", name="member", limit="30", window=key + "x", reason=WHY)
    with pytest.raises(UsageError, match="a window for each user"):
        await desk.ask("budget_cap", name="member", limit="30", tonight=True, reason=WHY)


@pytest.mark.parametrize(
    ("scope", "period", "key", "none"),
    [
        ("user", "night", "c/cost/night:2026-11-22/user:ada", "c/cost/night:2026-11-22/user:bob"),
        ("user", "night", "c/cost/night:2026-11-22/user:ada", "c/cost/night:2026-11-23/user:ada"),
        ("backend", "total", "c/cost/total/backend:coda:iqm", "c/cost/total/backend:coda:ionq"),
        ("batch", "total", "c/cost/total/batch:1", "c/cost/total/batch:2"),
        ("job", "total", "c/cost/total/job:1", "c/cost/total/job:x"),
        ("user", "job", "c/cost/job:1/user:ada", "c/cost/job:1/user:bob"),
    ],
)
async def test_a_window_that_a_waiting_job_would_open_can_be_changed_before(
    office: Opening, scope: str, period: str, key: str, none: str
) -> None:
    cap = f'[caps.c]\nmeasure = "cost"\nscope = "{scope}"\nperiod = "{period}"\nlimit = "1.00 USD"\n'
    desk = await office('[providers.coda]\nkind = "coda"\n' + cap)
    await desk.ask("arm", night="50.00")
    await desk.write(priced_jobs)
    for wrong in (none, "", "c", key.replace("c/", "d/", 1), key + "x"):
        with pytest.raises(NotFound, match="no open window"):
            await desk.ask("budget_cap", name="c", limit="2", window=wrong, reason=WHY)
    before = await desk.ask("show", job="1")
    assert key in before["gates"][0]["fix"]
    await desk.ask("budget_cap", name="c", limit="1.30", window=key, reason=WHY)
    assert [gate["code"] for gate in (await desk.ask("show", job="1"))["gates"]] == ["turn"]


async def test_the_nights_cap_is_the_armings(office: Opening) -> None:
    desk = await office()
    with pytest.raises(UsageError, match="comes with arming") as refused:
        await desk.ask("budget_cap", name="night", limit="5.30", reason=WHY)
    assert refused.value.hint == "nightshot arm --night 5.30"
    await desk.ask("arm", night="5.00")
    await desk.ask("budget_cap", name="night", limit="5.30", tonight=True, reason=WHY)
    view = await desk.ask("budget")
    assert view["armed"]["night_limit_usd"] == "5.00", "tomorrow is as it was"
    assert named(view, "night")["windows"][0]["limit"] == "5.30"
    await desk.ask("budget_cap", name="night", limit="6.00", reason=WHY)
    view = await desk.ask("budget")
    assert (view["armed"]["night_limit_usd"], view["armed"]["reason"]) == ("6.00", WHY)
    assert named(view, "night")["windows"][0]["limit"] == "6.00"


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ({"name": "nope", "limit": "5"}, "no cap 'nope'"),
        ({"name": "month", "limit": "-5"}, "not an amount"),
        ({"name": "month", "limit": "NaN"}, "not an amount"),
        ({"name": "month", "limit": "5 EUR"}, "not an amount"),
        ({"name": "month", "limit": "1e3"}, "not an amount"),
        ({"name": "month", "limit": "9" * 19}, "larger than any bill"),
        ({"name": "month", "limit": 5.0}, "limit"),
        ({"name": "runs", "limit": "5.5"}, "fractions"),
        ({"name": "runs", "limit": "5 USD"}, "not a number"),
        ({"name": "month", "limit": "5", "tonight": True}, "counted by month"),
        ({"name": "month", "limit": "5", "tonight": True, "window": "x"}, "two different things"),
    ],
)
async def test_a_limit_that_means_nothing_is_refused(
    office: Opening, args: dict[str, Any], sentence: str
) -> None:
    desk = await office(MONTH + TASKS)
    with pytest.raises(NightshotError, match=sentence):
        await desk.ask("budget_cap", reason=WHY, **args)
    assert await desk.write(query("SELECT COUNT(*) FROM cap_limits")) == [(0,)]


async def test_what_a_gate_suggests_works_when_pasted(office: Opening) -> None:
    """`nightshot budget cap night 5.30 --reason '…'`, word by word."""
    desk = await office(MEMBER)
    await desk.ask("arm", night="1.00")
    await desk.write(lambda tx: paid_in(tx, AttemptState.REFUSED, caps=()))
    await desk.ask("budget_cap", name="member", limit="0.50", reason=WHY)
    await grant(desk, "1")
    gates = {gate["code"]: gate["fix"] for gate in (await desk.ask("show", user="ada", job="1.1"))["gates"]}
    assert gates["cap:night"] == "nightshot budget cap night 1.30 --reason '…'"
    window = "member/cost/night:2026-11-22/user:ada"
    assert gates["cap:member"] == f"nightshot budget cap member 1.30 --window {window} --reason '…'"
    assert gates["credits"] == "nightshot budget grant 1 --provider coda --reason '…'"


# ----------------------------------------------------------------------------------------------- grants


async def test_a_grant_says_for_whom_and_until_when(office: Opening) -> None:
    desk = await office()
    told = await grant(
        desk, "12.5", expires="2026-12-31", users=["ada"], backends=["iqm"], label="autumn", priority=3
    )
    # The last day is a whole day of the house.
    assert told["changed"] == ["grant 1: 12.5 credits of coda until 2026-12-31T23:00:00.000Z"]
    (found,) = (await desk.ask("budget"))["credits"][0]["grants"]
    assert (found["users"], found["backends"], found["priority"]) == (["ada"], ["coda:iqm"], 3)
    assert (found["state"], found["free"], found["label"]) == ("active", "12.5", "autumn")


async def test_a_grant_lifts_the_pause_for_want_of_credits_only(office: Opening) -> None:
    from scheduler.core.admission import Pause

    desk = await office()
    await desk.write(lambda tx: tx.pause_backend("coda", Pause("credits", "402"), NOW_US))
    await desk.write(lambda tx: tx.pause_backend("coda", Pause("breaker", "401"), NOW_US))
    assert len((await grant(desk))["changed"]) == 2
    assert await desk.write(lambda tx: [p.code for p in tx.pauses_of("coda")]) == ["breaker"]


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ({"credits": "-5"}, "not a number of credits"),
        ({"credits": "NaN"}, "not a number of credits"),
        ({"credits": "inf"}, "not a number of credits"),
        ({"credits": "1e3"}, "not a number of credits"),
        ({"credits": "5 USD"}, "not a number of credits"),
        ({"credits": "9" * 18}, "larger than any bill"),
        ({"credits": "0"}, "grants nothing"),
        ({"credits": 5.5}, "credits"),
        ({"provider": "nope"}, "no provider is called 'nope'"),
        ({"expires": "2026-11-21"}, "before now"),
        ({"expires": "2026-12-01", "starts": "2026-12-24"}, "before it starts"),
        ({"expires": "tomorrow"}, "is no date"),
        ({"expires": "2026-12-31T18:00"}, "does not say its time zone"),
        ({"expires": "9999-12-31"}, "is no date"),
        ({"priority": 9999}, "from -1000 to 1000"),
        ({"backends": ["local:simulator"]}, "not a backend of coda"),
        ({"backends": ["nope:x"]}, "no provider is called 'nope'"),
    ],
)
async def test_a_grant_that_means_nothing_is_refused(
    office: Opening, args: dict[str, Any], sentence: str
) -> None:
    desk = await office()
    with pytest.raises(NightshotError, match=sentence):
        await desk.ask("budget_grant", **{"credits": "5", "provider": "coda", "reason": WHY, **args})
    assert await desk.write(query("SELECT COUNT(*) FROM txns")) == [(0,)]


async def test_a_grant_that_starts_later_is_no_balance_yet(office: Opening) -> None:
    desk = await office()
    await grant(desk, starts="2027-01-01")
    (coda,) = (await desk.ask("budget"))["credits"]
    assert (coda["free"], coda["grants"][0]["state"]) == ("0", "not yet")


# ------------------------------------------------------------------------------------ adjust and observe


async def test_a_correction_never_takes_what_is_reserved(office: Opening) -> None:
    desk = await office()
    await grant(desk, "10")
    await hold(desk, microcredits=4 * CREDIT)
    with pytest.raises(RefusedByBudget, match=r"6 credits free \(4 are reserved"):
        await desk.ask("budget_adjust", credits="-6.5", grant=1, reason=WHY)
    told = await desk.ask("budget_adjust", credits="-6", grant=1, reason=WHY)
    assert told["changed"] == ["grant 1 has 0 credits free now, it had 6"]
    for credits_, sentence in [("0", "change nothing"), ("--5", "not a number"), ("x", "not a number")]:
        with pytest.raises(UsageError, match=sentence):
            await desk.ask("budget_adjust", credits=credits_, grant=1, reason=WHY)
    with pytest.raises(NotFound, match="no grant 7"):
        await desk.ask("budget_adjust", credits="5", grant=7, reason=WHY)


async def test_a_balance_of_nothing_known_cannot_be_compared(office: Opening) -> None:
    desk = await office()
    with pytest.raises(UsageError, match="its balance is unknown") as refused:
        await desk.ask("budget_observe", credits="95", provider="coda", reason="read 'it' there")
    assert refused.value.hint == (
        "nightshot budget grant 95 --provider coda --reason 'read '\"'\"'it'\"'\"' there'"
    )


async def test_a_difference_is_booked_until_somebody_explains_it(office: Opening) -> None:
    desk = await office()
    await grant(desk)
    told = await desk.ask("budget_observe", credits="95", provider="coda", reason=WHY)
    assert "5 fewer than expected (100): booked as unexplained" in told["changed"][0]
    assert (await desk.ask("budget"))["credits"][0]["unexplained"] == "-5"
    again = await desk.ask("budget_observe", credits="95", provider="coda", reason=WHY)
    assert again["changed"] == ["coda: 95 credits, as expected (95)"]
    await desk.ask("budget_adjust", credits="-5", grant=1, reason="a lab mate")
    (coda,) = (await desk.ask("budget"))["credits"]
    assert (coda["unexplained"], coda["free"]) == ("0", "95")
    assert (await desk.ask("budget_observe", credits="95", provider="coda", reason=WHY))["changed"] == [
        "coda: 95 credits, as expected (95)"
    ]


@pytest.mark.parametrize(
    ("observed", "unexplained"), [("97", "0"), ("100", "0"), ("96.5", "-0.5"), ("101", "1")]
)
async def test_what_is_under_way_explains_a_part(office: Opening, observed: str, unexplained: str) -> None:
    """Of a task that was sent and not answered nobody knows whether its three credits are gone."""
    desk = await office()
    await grant(desk)
    await hold(desk, AttemptState.IN_DOUBT, microcredits=3 * CREDIT)
    await desk.ask("budget_observe", credits=observed, provider="coda", reason=WHY)
    assert (await desk.ask("budget"))["credits"][0]["unexplained"] == unexplained


async def test_what_a_running_task_took_is_expected_before_it_is_booked(office: Opening) -> None:
    desk = await office()
    await grant(desk)
    await hold(desk, AttemptState.SUBMITTED, microcredits=3 * CREDIT)
    told = await desk.ask("budget_observe", credits="97", provider="coda", reason=WHY)
    assert told["changed"] == ["coda: 97 credits, as expected (97)"]


async def test_too_much_unexplained_stops_submission_there(office: Opening) -> None:
    desk = await office('[credits]\nunexplained_limit = "5"\n')
    await grant(desk)
    await desk.ask("budget_observe", credits="95", provider="coda", reason=WHY)
    assert await desk.write(lambda tx: tx.pauses_of("coda")) == []
    told = await desk.ask("budget_observe", credits="94.9", provider="coda", reason=WHY)
    assert told["changed"][-1] == "nightshot backends resume coda --reason '…'"
    (pause,) = await desk.write(lambda tx: tx.pauses_of("coda"))
    assert pause.until_us is None
    assert "-5.1 credits of coda are unexplained" in pause.sentence


# ----------------------------------------------------------------------------------------------- alarms


async def test_an_alarm_shows_in_status_and_budget(office: Opening) -> None:
    from scheduler.stages.bookkeeping import Bookkeeping

    desk = await office()
    await desk.ask("arm", night="2.00")
    await hold(desk)
    assert (await desk.ask("budget"))["alarms"] == []
    await Bookkeeping(desk.desk.kit).step()
    sentence = "cap night is at 65 %: $1.30 of $2.00 are spent or reserved"
    assert (await desk.ask("budget"))["alarms"] == [sentence]
    needs = (await desk.ask("status"))["needs_you"]
    assert {"what": "alarm", "job": None, "sentence": sentence, "fix": "nightshot budget"} in needs
    assert [event for event, _ in desk.logged].count("alarm") == 1
    await Bookkeeping(desk.desk.kit).step()
    assert [event for event, _ in desk.logged].count("alarm") == 1, "told once"
