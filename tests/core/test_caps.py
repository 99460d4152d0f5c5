"""Caps: which window a use counts against, when it resets, and which configurations are refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.caps import (
    Cap,
    CapBooks,
    Measure,
    Period,
    Scope,
    Spender,
    Use,
    amount_text,
    first_blocking,
    period_of,
    problems_of,
    read_limit,
    window_of,
    windows_of,
)
from scheduler.core.money import LARGEST_MICRO, NotMoney
from scheduler.core.timing import night_of, to_datetime, to_us

HOUR_US = 3_600_000_000
ADA = Spender(user="ada", project="ions", backend="coda:iqm", batch=7, job=70)


def at(text: str) -> int:
    """Microseconds of a moment in UTC, written `2026-03-29 01:00`."""
    return to_us(datetime.fromisoformat(text).replace(tzinfo=UTC))


def zone_of(name: str) -> tzinfo:
    return UTC if name == "UTC" else ZoneInfo(name)


# Every row: zone, period, a moment in UTC, the occurrence it is in, and when the next begins in UTC.
# Worked out by hand from the changes of the clock that zdump prints, not by the code under test.
PERIODS = """
Europe/Berlin       | night | 2026-11-22 11:00           | 2026-11-22 | 2026-11-23 11:00
Europe/Berlin       | night | 2026-11-22 10:59:59.999999 | 2026-11-21 | 2026-11-22 11:00
Europe/Berlin       | night | 2026-03-28 23:30           | 2026-03-28 | 2026-03-29 10:00
Europe/Berlin       | night | 2026-03-29 01:00           | 2026-03-28 | 2026-03-29 10:00
Europe/Berlin       | night | 2026-10-25 00:30           | 2026-10-24 | 2026-10-25 11:00
Europe/Berlin       | night | 2026-10-25 01:30           | 2026-10-24 | 2026-10-25 11:00
Europe/Berlin       | night | 2026-12-31 23:30           | 2026-12-31 | 2027-01-01 11:00
Europe/Berlin       | day   | 2026-03-28 22:59:59.999999 | 2026-03-28 | 2026-03-28 23:00
Europe/Berlin       | day   | 2026-03-28 23:00           | 2026-03-29 | 2026-03-29 22:00
Europe/Berlin       | day   | 2026-10-24 22:00           | 2026-10-25 | 2026-10-25 23:00
Europe/Berlin       | month | 2026-03-31 21:59:59.999999 | 2026-03    | 2026-03-31 22:00
Europe/Berlin       | month | 2026-03-31 22:00           | 2026-04    | 2026-04-30 22:00
Europe/Berlin       | month | 2026-10-31 22:59           | 2026-10    | 2026-10-31 23:00
Europe/Berlin       | month | 2026-12-31 23:00           | 2027-01    | 2027-01-31 23:00
UTC                 | day   | 2026-11-22 23:59:59.999999 | 2026-11-22 | 2026-11-23 00:00
UTC                 | day   | 2026-11-23 00:00           | 2026-11-23 | 2026-11-24 00:00
UTC                 | month | 2028-02-28 23:59           | 2028-02    | 2028-03-01 00:00
UTC                 | month | 2027-02-28 23:59:59.999999 | 2027-02    | 2027-03-01 00:00
UTC                 | day   | 2028-02-29 12:00           | 2028-02-29 | 2028-03-01 00:00
UTC                 | month | 2026-12-31 23:59:59.999999 | 2026-12    | 2027-01-01 00:00
UTC                 | night | 2026-11-23 00:00           | 2026-11-22 | 2026-11-23 12:00
UTC                 | month | 2026-01-31 00:00           | 2026-01    | 2026-02-01 00:00
America/New_York    | day   | 2026-03-08 05:00           | 2026-03-08 | 2026-03-09 04:00
America/New_York    | day   | 2026-11-01 04:00           | 2026-11-01 | 2026-11-02 05:00
America/New_York    | night | 2026-11-01 06:30           | 2026-10-31 | 2026-11-01 17:00
America/New_York    | month | 2026-03-01 04:59:59.999999 | 2026-02    | 2026-03-01 05:00
America/New_York    | day   | 2027-01-01 04:59           | 2026-12-31 | 2027-01-01 05:00
Australia/Lord_Howe | day   | 2026-04-04 13:00           | 2026-04-05 | 2026-04-05 13:30
Australia/Lord_Howe | day   | 2026-10-03 13:30           | 2026-10-04 | 2026-10-04 13:00
Australia/Lord_Howe | night | 2026-10-03 15:30           | 2026-10-03 | 2026-10-04 01:00
Australia/Lord_Howe | night | 2026-04-04 15:00           | 2026-04-04 | 2026-04-05 01:30
America/Sao_Paulo   | day   | 2018-11-04 02:59:59.999999 | 2018-11-03 | 2018-11-04 03:00
America/Sao_Paulo   | day   | 2018-11-04 03:00           | 2018-11-04 | 2018-11-05 02:00
America/Sao_Paulo   | day   | 2018-02-18 01:59           | 2018-02-17 | 2018-02-18 03:00
America/Sao_Paulo   | day   | 2018-02-18 02:30           | 2018-02-17 | 2018-02-18 03:00
America/Sao_Paulo   | night | 2018-11-04 03:00           | 2018-11-03 | 2018-11-04 14:00
Africa/Cairo        | day   | 2024-04-25 21:59:59.999999 | 2024-04-25 | 2024-04-25 22:00
Africa/Cairo        | day   | 2024-04-25 22:00           | 2024-04-26 | 2024-04-26 21:00
Africa/Cairo        | day   | 2024-10-31 20:30           | 2024-10-31 | 2024-10-31 22:00
Africa/Cairo        | day   | 2024-10-31 21:30           | 2024-10-31 | 2024-10-31 22:00
Africa/Cairo        | month | 2024-10-31 21:30           | 2024-10    | 2024-10-31 22:00
America/St_Johns    | day   | 2009-11-01 02:30:30        | 2009-11-01 | 2009-11-02 03:30
America/St_Johns    | day   | 2009-11-01 02:45           | 2009-11-01 | 2009-11-02 03:30
America/St_Johns    | month | 2009-11-01 02:45           | 2009-11    | 2009-12-01 03:30
America/Havana      | day   | 2026-11-01 04:30           | 2026-11-01 | 2026-11-02 05:00
America/Havana      | day   | 2026-11-01 05:30           | 2026-11-01 | 2026-11-02 05:00
Pacific/Apia        | day   | 2011-12-30 09:59:59.999999 | 2011-12-29 | 2011-12-30 10:00
Pacific/Apia        | day   | 2011-12-30 10:00           | 2011-12-31 | 2011-12-31 10:00
Pacific/Apia        | night | 2011-12-30 09:00           | 2011-12-29 | 2011-12-30 22:00
Pacific/Apia        | night | 2011-12-30 16:00           | 2011-12-29 | 2011-12-30 22:00
Pacific/Apia        | night | 2011-12-30 22:00           | 2011-12-31 | 2011-12-31 22:00
Pacific/Apia        | month | 2011-12-30 10:00           | 2011-12    | 2011-12-31 10:00
"""
ROWS = [tuple(cell.strip() for cell in line.split("|")) for line in PERIODS.strip().splitlines()]
ZONES = sorted({row[0] for row in ROWS})


@pytest.mark.parametrize(("zone", "period", "now", "key", "resets"), ROWS)
def test_an_occurrence_ends_where_the_calendar_of_its_zone_says(
    zone: str, period: str, now: str, key: str, resets: str
) -> None:
    assert period_of(Period(period), at(now), zone_of(zone)) == (key, at(resets))


#: Stretches in which each zone does its worst, as (first day, days).
STRETCHES = {
    "Africa/Cairo": [("2024-04-20", 12), ("2024-10-25", 12)],
    "America/Havana": [("2026-03-01", 12), ("2026-10-28", 8)],
    "America/New_York": [("2026-03-05", 6), ("2026-10-29", 6)],
    "America/Sao_Paulo": [("2018-02-14", 8), ("2018-10-30", 8)],
    "America/St_Johns": [("2009-03-05", 6), ("2009-10-28", 8)],
    "Australia/Lord_Howe": [("2026-04-01", 8), ("2026-09-30", 8)],
    "Europe/Berlin": [("2026-03-25", 10), ("2026-10-22", 14), ("2026-12-28", 8)],
    "Pacific/Apia": [("2011-12-26", 12)],
    "UTC": [("2028-02-26", 6), ("2026-12-28", 8)],
}


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("period", [Period.NIGHT, Period.DAY, Period.MONTH])
def test_windows_follow_each_other_without_gap_overlap_or_a_name_used_twice(
    zone: str, period: Period
) -> None:
    where = zone_of(zone)
    for first_day, days in STRETCHES[zone]:
        now_us, end_us = at(first_day), at(first_day) + days * 24 * HOUR_US
        names: list[str] = []
        open_name, open_until_us = period_of(period, now_us, where)
        while now_us < end_us:
            name, resets_us = period_of(period, now_us, where)
            assert resets_us is not None
            assert resets_us > now_us
            assert open_until_us is not None
            if now_us < open_until_us:
                assert (name, resets_us) == (open_name, open_until_us)
            else:
                assert name != open_name
                names.append(open_name)
                open_name, open_until_us = name, resets_us
            # The instants just around each reset are looked at, whatever the step.
            now_us = min(now_us + HOUR_US // 12, max(open_until_us - 1, now_us + 1))
        names.append(open_name)
        assert len(names) == len(set(names))
        assert names == sorted(names)


@pytest.mark.parametrize("zone", [zone for zone in ZONES if zone != "Pacific/Apia"])
@given(now_us=st.integers(at("2000-01-01"), at("2037-12-31")))
def test_a_night_is_the_night_that_is_armed(zone: str, now_us: int) -> None:
    night = night_of(now_us, zone_of(zone))
    assert period_of(Period.NIGHT, now_us, zone_of(zone)) == (night.key, night.closes_us)


@given(
    now_us=st.integers(at("1990-01-01"), at("2037-12-31")),
    zone=st.sampled_from([*ZONES, "Pacific/Kiritimati", "Asia/Kathmandu", "America/Asuncion", "Asia/Tehran"]),
    period=st.sampled_from([Period.NIGHT, Period.DAY, Period.MONTH]),
)
def test_at_its_reset_and_not_before_another_occurrence_begins(
    now_us: int, zone: str, period: Period
) -> None:
    name, resets_us = period_of(period, now_us, zone_of(zone))
    assert resets_us is not None
    assert resets_us > now_us
    assert period_of(period, resets_us - 1, zone_of(zone)) == (name, resets_us)
    assert period_of(period, resets_us, zone_of(zone))[0] > name


@pytest.mark.parametrize("period", [Period.JOB, Period.TOTAL])
def test_what_a_job_or_everything_together_used_never_resets(period: Period) -> None:
    assert period_of(period, at("2026-11-22"), UTC) == ("", None)


def test_credits_reset_at_midnight_utc_while_the_night_goes_on_in_its_own_zone() -> None:
    night = Cap("night", Measure.COST, Scope.EVERYONE, Period.NIGHT, 1, zone=ZoneInfo("Europe/Berlin"))
    credit = Cap("credit-day", Measure.CREDITS, Scope.EVERYONE, Period.DAY, 1)
    before, after = (windows_of([night, credit], ADA, at(f"2026-11-{t}")) for t in ("22 23:59", "23 00:00"))
    assert [w.key for w in before] == [
        "credit-day/credits/day:2026-11-22/everyone",
        "night/cost/night:2026-11-22/everyone",
    ]
    assert [w.key for w in after] == [
        "credit-day/credits/day:2026-11-23/everyone",
        "night/cost/night:2026-11-22/everyone",
    ]
    assert [w.resets_us for w in after] == [at("2026-11-24"), at("2026-11-23 11:00")]


@pytest.mark.parametrize(
    ("scope", "period", "key"),
    [
        (Scope.EVERYONE, Period.TOTAL, "c/cost/total/everyone"),
        (Scope.EVERYONE, Period.JOB, "c/cost/job:70/everyone"),
        (Scope.USER, Period.NIGHT, "c/cost/night:2026-11-21/user:ada"),
        (Scope.USER, Period.JOB, "c/cost/job:70/user:ada"),
        (Scope.PROJECT, Period.MONTH, "c/cost/month:2026-11/project:ions"),
        (Scope.BACKEND, Period.DAY, "c/cost/day:2026-11-22/backend:coda:iqm"),
        (Scope.BATCH, Period.TOTAL, "c/cost/total/batch:7"),
        (Scope.JOB, Period.JOB, "c/cost/job:70/job:70"),
    ],
)
def test_a_window_is_named_after_its_cap_measure_occurrence_and_owner(
    scope: Scope, period: Period, key: str
) -> None:
    window = window_of(Cap("c", Measure.COST, scope, period, 1), ADA, at("2026-11-22 01:00"))
    assert window is not None
    assert window.key == key


def test_every_difference_between_two_uses_that_a_cap_tells_apart_gives_another_window() -> None:
    others = [
        ADA,
        replace(ADA, user="bob"),
        replace(ADA, project="atoms"),
        replace(ADA, backend="coda:ionq"),
        replace(ADA, batch=8, job=80),
        replace(ADA, job=71),
    ]
    seen: dict[str, tuple[object, ...]] = {}
    for measure in Measure:
        for scope in Scope:
            for period in Period:
                cap = Cap("c", measure, scope, period, 1)
                for who in others:
                    for now in ("2026-11-22 01:00", "2026-11-23 13:00", "2026-12-22 01:00"):
                        window = window_of(cap, who, at(now))
                        assert window is not None
                        job = who.job if period is Period.JOB else None
                        when = period_of(period, at(now), UTC)[0]
                        identity = (measure, scope, period, who.named(scope), when, job)
                        assert seen.setdefault(window.key, identity) == identity


def test_a_cap_for_somebody_else_is_not_about_this_use() -> None:
    caps = [
        Cap("bob", Measure.COST, Scope.USER, Period.DAY, 1, of="bob"),
        Cap("ada", Measure.COST, Scope.USER, Period.DAY, 1, of="ada"),
        Cap("atoms", Measure.COST, Scope.PROJECT, Period.DAY, 1, of="atoms"),
    ]
    assert [w.cap.name for w in windows_of(caps, ADA, 0)] == ["ada"]


def test_a_job_without_a_project_counts_against_no_project() -> None:
    each_project = Cap("projects", Measure.COST, Scope.PROJECT, Period.DAY, 1)
    assert window_of(each_project, replace(ADA, project=None), 0) is None


def test_windows_come_in_the_order_of_their_keys_whatever_the_configuration_s() -> None:
    caps = [Cap(name, Measure.COST, Scope.EVERYONE, Period.TOTAL, 1) for name in "cab"]
    keys = [w.key for w in windows_of(caps, ADA, 0)]
    assert keys == sorted(keys)
    assert len(keys) == 3


USE = Use(cost_microusd=5, overage_microusd=4, credits_microcredits=3, shots=2, tasks=1)


@pytest.mark.parametrize(("measure", "amount"), list(zip(Measure, [5, 4, 3, 2, 1], strict=True)))
def test_each_measure_reads_its_own_figure(measure: Measure, amount: int) -> None:
    assert USE.of(measure) == amount


@pytest.mark.parametrize(
    ("limit", "held", "posted", "needed", "blocks"),
    [
        (None, 10**15, 10**15, 10**15, False),  # unlimited
        (0, 0, 0, 1, True),  # nothing
        (0, 0, 0, 0, False),  # what is free of charge needs no room
        (10, 0, 0, 10, False),
        (10, 0, 0, 11, True),
        (10, 4, 4, 2, False),
        (10, 4, 4, 3, True),
        (10, 0, 12, 1, True),  # lowered below what is spent, or a recorded overrun
        (10, 0, 12, 0, False),
    ],
)
def test_a_window_blocks_what_does_not_fit_beside_what_is_held_and_posted(
    limit: int | None, held: int, posted: int, needed: int, blocks: bool
) -> None:
    window = window_of(Cap("c", Measure.COST, Scope.EVERYONE, Period.TOTAL, limit), ADA, 0)
    assert window is not None
    book = CapBooks(window.key, limit, held, posted)
    found = first_blocking([(window, book)], Use(needed))
    assert found == ((window, book, needed) if blocks else None)


def test_nested_caps_all_hold_and_the_first_that_blocks_is_named() -> None:
    caps = [
        Cap("a", Measure.COST, Scope.EVERYONE, Period.MONTH, 100),
        Cap("b", Measure.SHOTS, Scope.USER, Period.NIGHT, 1),
        Cap("c", Measure.COST, Scope.USER, Period.TOTAL, 4),
    ]
    books = [(w, CapBooks(w.key, w.cap.limit)) for w in windows_of(caps, ADA, 0)]
    blocking = first_blocking(books, USE)
    assert blocking is not None
    assert (blocking[0].cap.name, blocking[2]) == ("b", 2)


@pytest.mark.parametrize("field", ["cost_microusd", "overage_microusd", "credits_microcredits", "shots"])
def test_a_negative_use_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match="is negative"):
        replace(USE, **{field: -1})


@pytest.mark.parametrize(
    ("measure", "amount", "text"),
    [
        (Measure.COST, 1_300_000, "$1.30"),
        (Measure.OVERAGE, -5, "-$0.000005"),
        (Measure.CREDITS, 2_000_000, "2 credits"),
        (Measure.CREDITS, 1_000_000, "1 credit"),
        (Measure.CREDITS, 1_500_000, "1.5 credits"),
        (Measure.CREDITS, -1_500_000, "-1.5 credits"),
        (Measure.SHOTS, 100, "100 shots"),
        (Measure.SHOTS, 1, "1 shot"),
        (Measure.TASKS, 1, "1 task"),
        (Measure.TASKS, 0, "0 tasks"),
    ],
)
def test_amounts_carry_their_unit(measure: Measure, amount: int, text: str) -> None:
    assert amount_text(measure, amount) == text


@pytest.mark.parametrize(
    ("measure", "text", "limit"),
    [
        (Measure.COST, "40.00 USD", 40_000_000),
        (Measure.OVERAGE, "$0.5", 500_000),
        (Measure.COST, "0", 0),
        (Measure.CREDITS, "12.5", 12_500_000),
        (Measure.CREDITS, "1 credit", 1_000_000),
        (Measure.SHOTS, "10000", 10_000),
        (Measure.SHOTS, " 100 shots ", 100),
        (Measure.TASKS, "0", 0),
        *((measure, "unlimited", None) for measure in Measure),
    ],
)
def test_a_limit_is_read_in_the_unit_of_its_measure(measure: Measure, text: str, limit: int | None) -> None:
    assert read_limit(measure, text) == limit


@pytest.mark.parametrize(
    ("measure", "text"),
    [
        (Measure.COST, "40 credits"),
        (Measure.COST, "40 EUR"),
        (Measure.CREDITS, "40.00 USD"),
        (Measure.CREDITS, "5 shots"),
        (Measure.TASKS, "5 shots"),
        (Measure.SHOTS, "1.5"),
        (Measure.SHOTS, "1e3"),
        (Measure.SHOTS, str(LARGEST_MICRO + 1)),
        (Measure.SHOTS, "9" * 5000),
        *((measure, text) for measure in Measure for text in ("", "-1", "NaN", "inf", "null", "١")),
    ],
)
def test_what_is_no_limit_of_its_measure_is_refused(measure: Measure, text: str) -> None:
    with pytest.raises(NotMoney):
        read_limit(measure, text)


NIGHT = Cap("night", Measure.COST, Scope.EVERYONE, Period.NIGHT, 50_000_000)
EACH = Cap("people", Measure.COST, Scope.USER, Period.NIGHT, 10_000_000)
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    "caps",
    [
        [],
        [NIGHT, EACH],
        [NIGHT, replace(NIGHT, name="month", period=Period.MONTH, limit=1)],
        [NIGHT, replace(NIGHT, name="shots", measure=Measure.SHOTS, limit=1)],
        [NIGHT, replace(NIGHT, name="again")],  # the same said twice has one reading
        [EACH, replace(EACH, name="ada", of="ada", limit=10_000_000)],
        [EACH, replace(EACH, name="ada", of="ada", limit=0)],
        [replace(EACH, limit=None), replace(EACH, name="ada", of="ada", limit=None)],
        [replace(EACH, of="bob"), replace(EACH, name="ada", of="ada", limit=None)],
        [
            replace(NIGHT, name="d1", period=Period.DAY),
            replace(NIGHT, name="d2", period=Period.DAY, limit=1, zone=BERLIN),
        ],
        [replace(NIGHT, period=Period.JOB)],
        [replace(NIGHT, scope=Scope.BACKEND, of="coda:iqm")],
        [replace(NIGHT, limit=0)],
        [replace(NIGHT, limit=LARGEST_MICRO)],
    ],
)
def test_caps_with_one_reading_are_taken(caps: list[Cap]) -> None:
    assert problems_of(caps) == []


@pytest.mark.parametrize(
    ("caps", "problem"),
    [
        ([NIGHT, replace(EACH, name="night")], "'night' is there twice: give the second another name"),
        (
            [NIGHT, replace(NIGHT, name="n2", limit=1_000_000)],
            "caps 'night' and 'n2' limit the same thing to $50.00 and to $1.00: keep one",
        ),
        (
            [NIGHT, replace(NIGHT, name="n2", limit=None)],
            "caps 'night' and 'n2' limit the same thing to $50.00 and to unlimited: keep one",
        ),
        (
            [
                replace(NIGHT, name="a", period=Period.JOB),
                replace(NIGHT, name="b", scope=Scope.JOB, period=Period.TOTAL, limit=1),
            ],
            "caps 'a' and 'b' limit the same thing",
        ),
        (
            [
                replace(NIGHT, name="a", scope=Scope.BATCH, period=Period.JOB),
                replace(NIGHT, name="b", scope=Scope.JOB, period=Period.JOB, limit=1, zone=BERLIN),
            ],
            "caps 'a' and 'b' limit the same thing",
        ),
        (
            [
                replace(NIGHT, name="a", period=Period.TOTAL),
                replace(NIGHT, name="b", period=Period.TOTAL, limit=1, zone=BERLIN),
            ],
            "caps 'a' and 'b' limit the same thing",  # a total has no midnight to be told apart by
        ),
        (
            [EACH, replace(EACH, name="ada", of="ada", limit=20_000_000)],
            "cap 'ada' would let ada use $20.00, but 'people' stops each user at $10.00: lower it, or raise",
        ),
        (
            [replace(EACH, name="ada", of="ada", limit=None), EACH],
            "cap 'ada' would let ada use unlimited, but 'people' stops each user at $10.00",
        ),
        ([replace(NIGHT, of="ada")], "of = 'ada' means nothing for scope everyone: remove it"),
        ([replace(NIGHT, scope=Scope.JOB, of="12")], "of = '12' means nothing for scope job"),
        ([replace(NIGHT, scope=Scope.BATCH, of="12")], "of = '12' means nothing for scope batch"),
        ([replace(EACH, of="")], "of is blank: name a user, or remove it for each user"),
        (
            [replace(EACH, scope=Scope.BACKEND, of="iqm")],
            "of = 'iqm' is no full name of a backend: write 'provider:device'",
        ),
        (
            [replace(EACH, scope=Scope.BACKEND, of="coda:")],
            "of = 'coda:' is no full name of a backend: write 'provider:device'",
        ),
        ([replace(NIGHT, limit=-1)], "limit -1 is negative; 0 is nothing, null is unlimited"),
        ([replace(NIGHT, limit=LARGEST_MICRO + 1)], "is larger than any bill; null is unlimited"),
        ([replace(NIGHT, name=" ")], "must not be blank or contain '/'"),
        ([replace(NIGHT, name="a/b")], "must not be blank or contain '/'"),
    ],
)
def test_an_ambiguous_configuration_is_refused_with_its_fix(caps: list[Cap], problem: str) -> None:
    problems = problems_of(caps)
    assert len(problems) == 1
    assert problem in problems[0]


def test_every_problem_is_said_at_once() -> None:
    assert len(problems_of([replace(NIGHT, limit=-1, of="ada"), NIGHT])) == 3


def test_a_zone_of_fixed_offset_counts_its_own_days() -> None:
    east = timezone(timedelta(hours=14))
    name, resets_us = period_of(Period.DAY, at("2026-11-22 10:00"), east)
    assert (name, resets_us) == ("2026-11-23", at("2026-11-23 10:00"))
    assert resets_us is not None
    assert to_datetime(resets_us).astimezone(east).hour == 0
