"""Nights over daylight saving, the pace of polls, and retries that obey."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.timing import (
    SECOND_US,
    PollPace,
    iso,
    iso_or_none,
    next_poll_at_us,
    night_of,
    retry_at_us,
    to_datetime,
    to_us,
)

HOUR_US = 3600 * SECOND_US
ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC", "Asia/Kathmandu", "Pacific/Apia"]
#: Any moment from 2000 to 2060.
moments = st.integers(946_684_800, 2_840_140_800).map(lambda s: s * SECOND_US)


def us(*when: int) -> int:
    return to_us(datetime(*when, tzinfo=UTC))  # type: ignore[misc,arg-type]


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", "2026-03-28", 23),
        ("Europe/Berlin", "2026-10-24", 25),
        ("Europe/Berlin", "2026-11-22", 24),
        ("America/New_York", "2026-03-07", 23),
        ("America/New_York", "2026-10-31", 25),
        ("Australia/Lord_Howe", "2026-10-03", 23.5),
        ("Australia/Lord_Howe", "2026-04-04", 24.5),
        ("UTC", "2026-03-28", 24),
        ("Pacific/Apia", "2011-12-28", 24),
    ],
)
def test_a_night_lasts_from_noon_to_noon_whatever_the_clocks_do(zone: str, day: str, hours: float) -> None:
    noon = datetime.fromisoformat(f"{day}T12:00").replace(tzinfo=ZoneInfo(zone))
    night = night_of(to_us(noon.astimezone(UTC)), ZoneInfo(zone))
    assert night.key == day
    assert night.opens_us == to_us(noon.astimezone(UTC))
    assert night.closes_us - night.opens_us == hours * HOUR_US


@pytest.mark.parametrize("zone", ZONES)
@given(now_us=moments)
def test_every_moment_is_in_one_night_and_the_next_one_follows_at_once(zone: str, now_us: int) -> None:
    tz = ZoneInfo(zone)
    night = night_of(now_us, tz)
    assert night.opens_us <= now_us < night.closes_us
    assert night_of(night.opens_us, tz) == night, "the first moment belongs to it"
    assert night_of(night.closes_us - 1, tz) == night, "and so does the last"
    following = night_of(night.closes_us, tz)
    assert following.opens_us == night.closes_us, "no gap and no overlap"
    assert following.key > night.key, "and no two nights share a name"


def test_a_night_is_named_for_people() -> None:
    assert night_of(us(2026, 11, 22, 20), UTC).name == "Sun 22 → Mon 23 Nov"
    assert night_of(us(2026, 12, 1, 3), UTC).name == "Mon 30 Nov → Tue 1 Dec"


def test_times_are_told_in_utc() -> None:
    assert iso(us(2026, 11, 22, 14, 5, 6, 789_999)) == "2026-11-22T14:05:06.789Z"
    assert iso_or_none(None) is None
    assert iso_or_none(0) == "1970-01-01T00:00:00.000Z"


@given(st.integers(-(10**15), 4 * 10**15))
def test_a_time_comes_back_to_the_microsecond(moment_us: int) -> None:
    assert to_us(to_datetime(moment_us)) == moment_us
    assert to_us(to_datetime(moment_us).astimezone(ZoneInfo("Europe/Berlin"))) == moment_us


# ------------------------------------------------------------------------------------------------- polls

ids = st.text(min_size=1, max_size=20)
paces = st.tuples(st.floats(0.05, 10), st.floats(10, 3600)).map(lambda p: PollPace(*p))


@given(ids, moments, st.integers(0, 30 * 86_400), st.integers(1, 10_000), paces)
def test_a_poll_is_neither_too_soon_nor_too_late(
    attempt: str, sent_us: int, waited_s: int, polls: int, pace: PollPace
) -> None:
    now_us = sent_us + waited_s * SECOND_US
    pause_s = (next_poll_at_us(attempt, sent_us, now_us, polls, pace) - now_us) / SECOND_US
    assert 0.85 * pace.min_interval_s - 1e-5 <= pause_s <= 1.15 * pace.max_interval_s + 1e-5
    if waited_s / 8 <= pace.max_interval_s:
        assert pause_s <= 1.15 * max(pace.min_interval_s, waited_s / 8) + 1e-5


def test_the_first_look_is_soon() -> None:
    pace = PollPace(2.0, 300.0)
    assert next_poll_at_us("a", 0, 5 * SECOND_US, 0, pace) == 7 * SECOND_US


def test_a_task_unknown_for_days_costs_a_few_calls_a_day() -> None:
    now_us, polls, pace = 0, 0, PollPace(1.0, 7200.0)
    while now_us < 7 * 86_400 * SECOND_US:
        now_us, polls = next_poll_at_us("a", 0, now_us, polls, pace), polls + 1
    assert polls < 200


def test_a_clock_that_went_back_does_not_stop_the_polls() -> None:
    now_us = 1_000 * SECOND_US
    assert (
        now_us
        < next_poll_at_us("a", now_us + HOUR_US, now_us, 3, PollPace(1.0, 300.0))
        < now_us + 2 * SECOND_US
    )


# ----------------------------------------------------------------------------------------------- retries


@given(ids, moments, st.integers(0, 10**6), st.one_of(st.none(), st.floats(0, 10**9)))
def test_a_retry_obeys_retry_after_and_never_waits_for_ever(
    key: str, now_us: int, failures: int, retry_after_s: float | None
) -> None:
    pause_s = (retry_at_us(key, now_us, failures, retry_after_s) - now_us) / SECOND_US
    assert pause_s >= 1.0
    assert pause_s <= max(300.0, min(retry_after_s or 0, 86_400.0))
    if retry_after_s is not None:
        assert pause_s >= min(retry_after_s, 86_400.0) - 1e-5


def test_retries_get_rarer_and_are_spread() -> None:
    pauses = [retry_at_us("coda:iqm", 0, failures, None) / SECOND_US for failures in range(1, 12)]
    for failures, pause_s in enumerate(pauses, 1):
        ceiling_s = min(300.0, 2.0 * 2 ** (failures - 1))
        assert ceiling_s / 2 <= pause_s <= ceiling_s
    assert len({retry_at_us(f"backend {n}", 0, 5, None) for n in range(100)}) > 90
    assert retry_at_us("a", 0, 3, None) == retry_at_us("a", 0, 3, None), "the same key and try wait the same"


def test_one_poll_after_another_moves_forward() -> None:
    assert timedelta(microseconds=next_poll_at_us("a", 0, 0, 1, PollPace())) > timedelta(0)
