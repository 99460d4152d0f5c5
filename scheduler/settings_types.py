"""The kinds of value that settings are made of, and the error that names another key than the one read."""

from __future__ import annotations

import difflib
import re
import zoneinfo
from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from scheduler.core.drift import PPM
from scheduler.core.money import Money, NotMoney

_PERCENT = re.compile(r"(?P<number>[0-9]{1,4}(?:\.[0-9]{1,4})?) ?%")


def _money(value: object) -> object:
    if isinstance(value, Money):
        return value
    if not isinstance(value, str):
        raise ValueError("write it as text, '2.00 USD': a bare number would lose its exact value")
    try:
        return Money.parse(value)
    except NotMoney as error:
        raise ValueError(str(error)) from None


def zone_name(value: str) -> str:
    try:
        zoneinfo.ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        near = difflib.get_close_matches(value, sorted(zoneinfo.available_timezones()), 1)
        guess = f", did you mean '{near[0]}'?" if near else ": write it like 'Europe/Berlin'"
        raise ValueError(f"no time zone is called {value!r}{guess}") from None
    return value


def ppm_of(percent: str) -> int:
    """`5 %` in parts per million, exactly. Raises ValueError with the accepted form."""
    found = _PERCENT.fullmatch(percent.strip())
    if not found:
        raise ValueError("write it as text, '5 %', with at most four digits after the point")
    return int(Decimal(found["number"]) * PPM / 100)


def _percent(value: str) -> str:
    ppm_of(value)
    return value


def _list_to_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


MoneyText = Annotated[Money, BeforeValidator(_money)]
#: Kept as written, so that `config show` repeats it; `ppm_of` says how much it is.
PercentText = Annotated[str, AfterValidator(_percent)]
ZoneName = Annotated[str, AfterValidator(zone_name)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_list_to_tuple)]
Percents = Annotated[tuple[int, ...], BeforeValidator(_list_to_tuple)]
Seconds = Annotated[float, Field(gt=0, le=86_400 * 7, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class MisplacedError(ValueError):
    """A value is wrong only beside others; `key` is where a person would correct it."""

    def __init__(self, key: tuple[str, ...], problem: str) -> None:
        super().__init__(problem)
        self.key = key


class Table(BaseModel):
    """A table of settings: an unknown key, a wrong type and a change after reading are all refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, arbitrary_types_allowed=True)
