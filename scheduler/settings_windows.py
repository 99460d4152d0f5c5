"""What may be written about opening hours: `[windows.NAME]`, each a predicate that jobs can ask for.

A window that can never open, and a zone or a day that does not exist, are refused at start with their line.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Mapping
from datetime import time
from typing import Annotated

from pydantic import AfterValidator, model_validator

from scheduler.core.windows import DAYS, Hours
from scheduler.settings_types import MisplacedError, Table, Texts, ZoneName

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_TIME = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]")


def _time_of_day(value: str) -> str:
    if not _TIME.fullmatch(value):
        raise ValueError(f"{value!r} is no time of day: write it like '22:00', from '00:00' to '23:59'")
    return value


TimeOfDay = Annotated[str, AfterValidator(_time_of_day)]


class WindowSettings(Table):
    """One `[windows.NAME]`. A close that is not later than the open is on the next day."""

    open: TimeOfDay
    close: TimeOfDay
    #: Empty is time.timezone.
    timezone: ZoneName | None = None
    #: Days on which it begins.
    days: Texts = DAYS

    @model_validator(mode="after")
    def _opens(self) -> WindowSettings:
        if self.open == self.close:
            raise MisplacedError(("close",), "is the time it opens at, so it would never open: write another")
        for day in self.days:
            if day not in DAYS:
                raise MisplacedError(("days",), f"{day!r} is no day: write some of {', '.join(DAYS)}")
        if not self.days:
            raise MisplacedError(("days",), "is empty, so it would never open: name a day, or leave it out")
        return self

    def hours(self, name: str, timezone: str) -> Hours:
        return Hours(
            name,
            time.fromisoformat(self.open),
            time.fromisoformat(self.close),
            zoneinfo.ZoneInfo(self.timezone or timezone),
            frozenset(self.days),
        )


def check_windows(windows: Mapping[str, WindowSettings]) -> None:
    """Raise MisplacedError for the first window whose name cannot be one."""
    for name in windows:
        if not _NAME.fullmatch(name):
            problem = "a window's name has small letters, digits, - and _ only, and at most 40 of them"
            raise MisplacedError(("windows", name), problem)


def hours_of(windows: Mapping[str, WindowSettings], timezone: str) -> dict[str, Hours]:
    return {name: written.hours(name, timezone) for name, written in windows.items()}
