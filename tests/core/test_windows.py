"""Windows are predicates: what the wall clock skips or shows twice opens and closes once."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from scheduler.core.caps import Period, period_of
from scheduler.core.timing import night_of, to_datetime, to_us
from scheduler.core.windows import DAYS, Hours, first_instant_us, night_at, open_occurrences, open_windows

BERLIN, NEW_YORK, LORD_HOWE = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York"), "Australia/Lord_Howe"
MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US


def hours(opens: str, closes: str, zone: str = "Europe/Berlin", days: str = "") -> Hours:
    chosen = frozenset(days.split()) if days else frozenset(DAYS)
    return Hours("w", time.fromisoformat(opens), time.fromisoformat(closes), ZoneInfo(zone), chosen)


def us(text: str) -> int:
    return to_us(datetime.fromisoformat(text.replace("Z", "+00:00")))


def utc(instant_us: int) -> str:
    return to_datetime(instant_us).strftime("%Y-%m-%dT%H:%MZ")


#: hours, zone, days, date of its start, when that occurrence opens and closes (None: it does not take place)
OCCURRENCES = [
    # Over midnight, plain, in winter and in summer.
    ("22:00 06:00", "Europe/Berlin", "", "2026-11-22", "2026-11-22T21:00Z", "2026-11-23T05:00Z"),
    ("22:00 06:00", "Europe/Berlin", "", "2026-07-01", "2026-07-01T20:00Z", "2026-07-02T04:00Z"),
    ("22:00 06:00", "UTC", "", "2026-03-28", "2026-03-28T22:00Z", "2026-03-29T06:00Z"),
    ("22:00 06:00", "Asia/Kolkata", "", "2026-11-22", "2026-11-22T16:30Z", "2026-11-23T00:30Z"),
    # Berlin's spring: 02:00 becomes 03:00 at 01:00Z. The night is an hour short.
    ("22:00 06:00", "Europe/Berlin", "", "2026-03-28", "2026-03-28T21:00Z", "2026-03-29T04:00Z"),
    ("02:30 06:00", "Europe/Berlin", "", "2026-03-29", "2026-03-29T01:00Z", "2026-03-29T04:00Z"),
    ("02:00 06:00", "Europe/Berlin", "", "2026-03-29", "2026-03-29T01:00Z", "2026-03-29T04:00Z"),
    ("03:00 06:00", "Europe/Berlin", "", "2026-03-29", "2026-03-29T01:00Z", "2026-03-29T04:00Z"),
    ("22:00 02:30", "Europe/Berlin", "", "2026-03-28", "2026-03-28T21:00Z", "2026-03-29T01:00Z"),
    ("01:30 02:30", "Europe/Berlin", "", "2026-03-29", "2026-03-29T00:30Z", "2026-03-29T01:00Z"),
    ("02:10 02:50", "Europe/Berlin", "", "2026-03-29", None, None),  # all of it is skipped
    ("02:30 03:15", "Europe/Berlin", "", "2026-03-29", "2026-03-29T01:00Z", "2026-03-29T01:15Z"),
    # Berlin's autumn: 03:00 becomes 02:00 at 01:00Z. The night is an hour long, and 02:30 is meant once.
    ("22:00 06:00", "Europe/Berlin", "", "2026-10-24", "2026-10-24T20:00Z", "2026-10-25T05:00Z"),
    ("02:30 06:00", "Europe/Berlin", "", "2026-10-25", "2026-10-25T00:30Z", "2026-10-25T05:00Z"),
    ("22:00 02:30", "Europe/Berlin", "", "2026-10-24", "2026-10-24T20:00Z", "2026-10-25T00:30Z"),
    ("02:00 02:45", "Europe/Berlin", "", "2026-10-25", "2026-10-25T00:00Z", "2026-10-25T00:45Z"),
    ("02:30 03:00", "Europe/Berlin", "", "2026-10-25", "2026-10-25T00:30Z", "2026-10-25T02:00Z"),
    ("03:00 06:00", "Europe/Berlin", "", "2026-10-25", "2026-10-25T02:00Z", "2026-10-25T05:00Z"),
    # New York: 02:00 becomes 03:00 at 07:00Z, and 02:00 becomes 01:00 at 06:00Z.
    ("22:00 06:00", "America/New_York", "", "2026-03-07", "2026-03-08T03:00Z", "2026-03-08T10:00Z"),
    ("02:30 06:00", "America/New_York", "", "2026-03-08", "2026-03-08T07:00Z", "2026-03-08T10:00Z"),
    ("01:30 02:00", "America/New_York", "", "2026-11-01", "2026-11-01T05:30Z", "2026-11-01T07:00Z"),
    ("22:00 06:00", "America/New_York", "", "2026-10-31", "2026-11-01T02:00Z", "2026-11-01T11:00Z"),
    # Lord Howe moves by half an hour: 02:00 becomes 02:30 at 15:30Z, and 02:00 becomes 01:30 at 15:00Z.
    ("02:15 06:00", LORD_HOWE, "", "2026-10-04", "2026-10-03T15:30Z", "2026-10-03T19:00Z"),
    ("02:30 06:00", LORD_HOWE, "", "2026-10-04", "2026-10-03T15:30Z", "2026-10-03T19:00Z"),
    ("01:45 06:00", LORD_HOWE, "", "2026-04-05", "2026-04-04T14:45Z", "2026-04-04T19:30Z"),
    ("22:00 06:00", LORD_HOWE, "", "2026-10-03", "2026-10-03T11:30Z", "2026-10-03T19:00Z"),
    # Midnight itself is skipped in Beirut's spring, and shown twice in Havana's autumn.
    ("00:00 06:00", "Asia/Beirut", "", "2026-03-29", "2026-03-28T22:00Z", "2026-03-29T03:00Z"),
    ("00:00 01:00", "America/Havana", "", "2026-11-01", "2026-11-01T04:00Z", "2026-11-01T06:00Z"),
    # Apia had no 30 December 2011: nothing begins on it.
    ("22:00 06:00", "Pacific/Apia", "", "2011-12-29", "2011-12-30T08:00Z", "2011-12-30T10:00Z"),
    ("08:00 20:00", "Pacific/Apia", "", "2011-12-30", None, None),
    ("22:00 06:00", "Pacific/Apia", "", "2011-12-30", None, None),
    # Days are those of its start.
    ("22:00 06:00", "Europe/Berlin", "fri", "2026-11-27", "2026-11-27T21:00Z", "2026-11-28T05:00Z"),
    ("22:00 06:00", "Europe/Berlin", "fri", "2026-11-28", None, None),
    ("00:00 06:00", "Europe/Berlin", "sat", "2026-11-28", "2026-11-27T23:00Z", "2026-11-28T05:00Z"),
    # Coda's credits begin anew at 00:00 UTC: a window from there on, and one up to there.
    ("00:00 06:00", "UTC", "", "2026-10-25", "2026-10-25T00:00Z", "2026-10-25T06:00Z"),
    ("22:00 00:00", "UTC", "", "2026-10-24", "2026-10-24T22:00Z", "2026-10-25T00:00Z"),
]


@pytest.mark.parametrize(("spoken", "zone", "days", "day", "opens", "closes"), OCCURRENCES)
def test_an_occurrence_opens_and_closes_at_these_instants(
    spoken: str, zone: str, days: str, day: str, opens: str | None, closes: str | None
) -> None:
    window = hours(*spoken.split(), zone, days)
    found = window.on(date.fromisoformat(day))
    if opens is None or closes is None:
        assert found is None
        return
    assert found is not None
    assert (found.key, utc(found.opens_us), utc(found.closes_us)) == (day, opens, closes)
    # The predicate says the same: shut before, open from its first instant, shut from its last.
    assert window.occurrence(found.opens_us - 1) is None
    assert window.occurrence(found.opens_us) == found
    assert window.occurrence(found.closes_us - 1) == found
    assert window.occurrence(found.closes_us) is None
    assert window.next(found.opens_us - 1) == found
    assert window.opens_us(found.opens_us - 1) == found.opens_us
    assert window.changes_us(found.opens_us - 1) == found.opens_us
    assert window.changes_us(found.opens_us) == found.closes_us


#: An instant, hours, zone, days: whether it is open, and when something may start.
ASKED = [
    ("2026-10-25T00:45Z", "02:00 02:45", "Europe/Berlin", "", False, "2026-10-26T01:00Z"),
    ("2026-10-25T01:15Z", "02:00 02:45", "Europe/Berlin", "", False, "2026-10-26T01:00Z"),  # 02:15 once more
    ("2026-03-29T00:59Z", "02:30 06:00", "Europe/Berlin", "", False, "2026-03-29T01:00Z"),
    ("2026-03-29T00:30Z", "02:10 02:50", "Europe/Berlin", "", False, "2026-03-30T00:10Z"),
    ("2026-03-22T12:00Z", "02:10 02:50", "Europe/Berlin", "sun", False, "2026-04-05T00:10Z"),  # two weeks
    ("2026-11-23T04:59Z", "22:00 06:00", "Europe/Berlin", "sun", True, "2026-11-23T04:59Z"),
    ("2026-11-23T05:00Z", "22:00 06:00", "Europe/Berlin", "sun", False, "2026-11-29T21:00Z"),
    ("2026-11-28T09:00Z", "22:00 06:00", "Europe/Berlin", "mon tue wed thu fri", False, "2026-11-30T21:00Z"),
    ("2026-11-01T05:30Z", "01:15 01:45", "America/New_York", "", True, "2026-11-01T05:30Z"),
    ("2026-11-01T06:30Z", "01:15 01:45", "America/New_York", "", False, "2026-11-02T06:15Z"),
    ("2026-11-01T04:30Z", "23:00 23:59", "America/Havana", "", False, "2026-11-02T04:00Z"),
    ("2026-11-01T05:30Z", "00:00 00:45", "America/Havana", "", False, "2026-11-02T05:00Z"),  # midnight again
]


@pytest.mark.parametrize(("now", "spoken", "zone", "days", "is_open", "may_start"), ASKED)
def test_it_is_open_or_says_when_it_opens(
    now: str, spoken: str, zone: str, days: str, is_open: bool, may_start: str
) -> None:
    window = hours(*spoken.split(), zone, days)
    assert window.is_open(us(now)) is is_open
    found = window.opens_us(us(now))
    assert found is not None
    assert utc(found) == may_start


#: What begins anew, and when: the period, its zone, an instant, the name of the period and its end.
RESETS = [
    (Period.DAY, "UTC", "2026-10-24T23:59Z", "2026-10-24", "2026-10-25T00:00Z"),  # Coda's credits
    (Period.DAY, "UTC", "2026-10-25T00:00Z", "2026-10-25", "2026-10-26T00:00Z"),
    (Period.DAY, "Europe/Berlin", "2026-10-25T12:00Z", "2026-10-25", "2026-10-25T23:00Z"),  # 25 hours
    (Period.DAY, "Europe/Berlin", "2026-03-29T12:00Z", "2026-03-29", "2026-03-29T22:00Z"),  # 23 hours
    (Period.MONTH, "UTC", "2026-10-31T23:59Z", "2026-10", "2026-11-01T00:00Z"),
    (Period.MONTH, "America/New_York", "2026-11-01T03:59Z", "2026-10", "2026-11-01T04:00Z"),
    (Period.NIGHT, "Europe/Berlin", "2026-10-25T01:30Z", "2026-10-24", "2026-10-25T11:00Z"),  # 25 hours
    (Period.NIGHT, LORD_HOWE, "2026-10-03T15:45Z", "2026-10-03", "2026-10-04T01:00Z"),
]


@pytest.mark.parametrize(("period", "zone", "now", "name", "ends"), RESETS)
def test_what_is_counted_begins_anew_at_these_instants(
    period: Period, zone: str, now: str, name: str, ends: str
) -> None:
    found, resets_us = period_of(period, us(now), ZoneInfo(zone))
    assert resets_us is not None
    assert (found, utc(resets_us)) == (name, ends)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", LORD_HOWE, "America/Havana"])
@pytest.mark.parametrize(
    "spoken", ["22:00 06:00", "02:30 03:15", "00:00 00:30", "23:45 00:15", "01:45 01:15"]
)
def test_over_two_years_occurrences_follow_each_other_and_each_date_has_at_most_one(
    spoken: str, zone: str
) -> None:
    window = hours(*spoken.split(), zone)
    first = date(2026, 1, 1)
    found = [each for n in range(730) if (each := window.on(first + timedelta(days=n))) is not None]
    assert len({each.key for each in found}) == len(found)
    assert len(found) >= 728
    for before, after in pairwise(found):
        assert before.opens_us < before.closes_us <= after.opens_us < after.closes_us


def test_walking_through_a_night_meets_one_occurrence_whatever_the_clock_shows() -> None:
    window = hours("02:00", "02:45")
    start = us("2026-10-24T12:00Z")
    met = {found.key for m in range(24 * 60) if (found := window.occurrence(start + m * MINUTE_US))}
    assert met == {"2026-10-25"}


def test_a_local_time_is_the_first_instant_that_shows_it_or_later() -> None:
    for zone in (BERLIN, NEW_YORK, ZoneInfo(LORD_HOWE), ZoneInfo("Pacific/Apia")):
        for day in (
            date(2026, 3, 29),
            date(2026, 10, 25),
            date(2026, 3, 8),
            date(2026, 11, 1),
            date(2026, 4, 5),
        ):
            for minutes in range(0, 24 * 60, 5):
                wall = datetime.combine(day, time(minutes // 60, minutes % 60))
                found = first_instant_us(wall, zone)
                assert to_datetime(found).astimezone(zone).replace(tzinfo=None) >= wall
                assert to_datetime(found - 1).astimezone(zone).replace(tzinfo=None) < wall or (
                    to_datetime(found - 1).astimezone(zone).fold == 0
                    and first_instant_us(wall - timedelta(microseconds=1), zone) < found
                )


def test_the_open_windows_are_named() -> None:
    both = {"night": hours("22:00", "06:00"), "day": hours("08:00", "18:00")}
    assert open_windows(both, us("2026-11-22T22:00Z")) == ("night",)
    assert [each.key for each in open_occurrences(both, us("2026-11-23T02:00Z"))] == ["2026-11-22"]
    assert open_windows(both, us("2026-11-23T06:30Z")) == ()


def test_a_night_has_a_name_for_people() -> None:
    found = hours("22:00", "06:00").occurrence(us("2026-11-22T23:00Z"))
    assert found is not None
    assert found.name == "Sun 22 → Mon 23 Nov"


NIGHTS = ["22:00 06:00", "20:00 08:00", "01:00 05:00", "02:30 03:15", "02:10 02:50", "23:00 02:30"]


@pytest.mark.parametrize("days", ["", "mon tue wed thu fri", "sun"])
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", LORD_HOWE])
@pytest.mark.parametrize("spoken", NIGHTS)
def test_nights_by_hours_follow_each_other_without_gap_or_overlap(spoken: str, zone: str, days: str) -> None:
    window = hours(*spoken.split(), zone, days)
    now_us = us("2026-01-01T00:00Z")
    keys: list[str] = []
    while now_us < us("2027-01-10T00:00Z"):
        night = night_at(now_us, UTC, window)
        occurrence = window.on(date.fromisoformat(night.key))
        assert occurrence is not None
        assert (occurrence.opens_us, occurrence.closes_us) == (night.opens_us, night.closes_us)
        # From the close before to its own it is this night, and the caps say the same.
        for instant_us in (now_us, (now_us + night.closes_us) // 2, night.closes_us - 1):
            assert night_at(instant_us, UTC, window) == night
            found = period_of(Period.NIGHT, instant_us, UTC, window)
            assert found == (night.key, night.closes_us)
        keys.append(night.key)
        now_us = night.closes_us
    assert keys == sorted(set(keys)), "no date has two nights"
    assert len(keys) >= 52


@pytest.mark.parametrize(
    ("now", "key", "ends"),
    [
        ("2026-10-24T15:00Z", "2026-10-24", "2026-10-25T05:00Z"),  # the afternoon before
        ("2026-10-24T23:30Z", "2026-10-24", "2026-10-25T05:00Z"),
        ("2026-10-25T00:30Z", "2026-10-24", "2026-10-25T05:00Z"),  # 02:30, the first time
        ("2026-10-25T01:30Z", "2026-10-24", "2026-10-25T05:00Z"),  # 02:30 again: no second night
        ("2026-10-25T04:59Z", "2026-10-24", "2026-10-25T05:00Z"),
        ("2026-10-25T05:00Z", "2026-10-25", "2026-10-26T05:00Z"),  # the close begins the next one
        ("2026-03-28T23:30Z", "2026-03-28", "2026-03-29T04:00Z"),
        ("2026-03-29T04:00Z", "2026-03-29", "2026-03-30T04:00Z"),
    ],
)
def test_over_the_change_of_the_clock_a_night_is_one(now: str, key: str, ends: str) -> None:
    found, resets_us = period_of(Period.NIGHT, us(now), UTC, hours("22:00", "06:00"))
    assert resets_us is not None
    assert (found, utc(resets_us)) == (key, ends)


def test_without_hours_a_night_is_noon_to_noon() -> None:
    for text in ("2026-11-22T10:59Z", "2026-11-22T11:00Z", "2026-11-23T10:59Z"):
        assert night_at(us(text), BERLIN, None) == night_of(us(text), BERLIN)


def test_an_instant_is_utc_whatever_the_zone() -> None:
    assert first_instant_us(datetime(2026, 11, 22, 22, 0), UTC) == us("2026-11-22T22:00Z")  # noqa: DTZ001
