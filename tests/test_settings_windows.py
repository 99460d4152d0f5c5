"""Opening hours mean one thing, or are refused with their line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import time
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from scheduler.composition import rules_of
from scheduler.core.windows import DAYS, Hours
from scheduler.errors import SettingsError
from scheduler.home import Home
from scheduler.settings import Loaded, load_settings
from scheduler.stages.purse import night_cap

Load = Callable[..., Loaded]
NIGHT = '[windows.night]\nopen = "22:00"\nclose = "06:00"\n'


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def loading(text: str = "", environ: Mapping[str, str] | None = None) -> Loaded:
        (tmp_path / "nightshot.toml").write_text(text, encoding="utf-8")
        return load_settings(Home.find(str(tmp_path), {}), None, {"TZ": "Europe/Berlin", **(environ or {})})

    return loading


def hours(loaded: Loaded) -> Mapping[str, Hours]:
    return rules_of(loaded.settings, {}).hours


def test_a_window_is_in_the_zone_of_the_house_and_begins_on_every_day(load: Load) -> None:
    night = Hours("night", time(22), time(6), ZoneInfo("Europe/Berlin"), frozenset(DAYS))
    assert hours(load(NIGHT)) == {"night": night}


def test_a_window_may_have_a_zone_and_days_of_its_own(load: Load) -> None:
    found = hours(load(NIGHT + 'timezone = "Asia/Tokyo"\ndays = ["sat", "sun"]\n'))["night"]
    assert (found.zone, found.days) == (ZoneInfo("Asia/Tokyo"), {"sat", "sun"})


def test_without_a_window_there_is_none(load: Load) -> None:
    assert hours(load()) == {}


def test_a_window_can_be_changed_by_the_environment(load: Load) -> None:
    found = hours(load(NIGHT, {"NIGHTSHOT_WINDOWS__NIGHT__OPEN": "21:30"}))["night"]
    assert found.open == time(21, 30)


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ('[windows.night]\nopen = "22:00"\n', ":1: windows.night.close", "required"),
        (NIGHT.replace("06:00", "22:00"), ":3: windows.night.close", "would never open"),
        (NIGHT.replace("06:00", "24:00"), ":3: windows.night.close", "no time of day"),
        (NIGHT.replace("22:00", "10 pm"), ":2: windows.night.open", "write it like '22:00'"),
        (NIGHT.replace('"22:00"', "22"), ":2: windows.night.open", "string"),
        (NIGHT + "days = []\n", ":4: windows.night.days", "would never open"),
        (NIGHT + 'days = ["Mon"]\n', ":4: windows.night.days", "'Mon' is no day"),
        (NIGHT + 'days = ["mon", "fridays"]\n', ":4: windows.night.days", "'fridays' is no day"),
        (
            NIGHT + 'timezone = "Europe/Berln"\n',
            ":4: windows.night.timezone",
            "did you mean 'Europe/Berlin'?",
        ),
        (NIGHT + 'timezone = "CET/CEST"\n', ":4: windows.night.timezone", "no time zone is called"),
        (NIGHT + 'closes = "06:00"\n', ":4: windows.night.closes", "did you mean 'close'?"),
        (NIGHT.replace("night]", '"Night!"]'), ':1: windows."Night!"', "small letters"),
        ("windows = 3\n", ":1: windows", "table"),
    ],
)
def test_what_is_no_window_is_refused_by_name_with_its_line(
    load: Load, text: str, place: str, says: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        load(text)
    assert place in str(refused.value)
    assert says in str(refused.value)


def test_hours_called_night_are_those_of_every_cap_a_night(load: Load) -> None:
    cap = '[caps.NAME]\nmeasure = "shots"\nperiod = "PERIOD"\nlimit = 5\n'
    caps = cap.replace("NAME", "a").replace("PERIOD", "night") + cap.replace("NAME", "b").replace(
        "PERIOD", "day"
    )
    settings = load(NIGHT + caps).settings
    rules = rules_of(settings, {})
    assert rules.night_hours == rules.hours["night"]
    assert {each.name: each.hours for each in rules.spending.caps} == {"a": rules.hours["night"], "b": None}
    assert night_cap(1, rules).hours == rules.hours["night"]
    other = rules_of(load(NIGHT.replace("night]", "weekend]") + caps).settings, {})
    assert other.night_hours is None
    assert night_cap(1, other).hours is None
