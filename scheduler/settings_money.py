"""What may be written about money: caps, overage, credits, approvals, alarms, and who may decide what.

Ambiguous caps are refused at start with their line: one that was meant differently costs money every night.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from scheduler.core.caps import UNLIMITED, Cap, Measure, Period, Scope, problems_of, read_amount, read_limit
from scheduler.core.money import Money, NotMoney
from scheduler.settings_types import MisplacedError, MoneyText, Percents, Table, Texts, ZoneName

#: The cap that `nightshot arm` sets, and the one that a job carries itself.
TAKEN_NAMES = {"night": "is what nightshot arm --night sets", "job": "is what a job file's own cap is called"}
_CAP_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


def _limit_text(value: object) -> object:
    if isinstance(value, bool | float):
        raise ValueError("write it as text, '40.00 USD' or '12.5': a float would lose its exact value")
    return str(value) if isinstance(value, int) else value


def _credits_text(value: object) -> object:
    text = _limit_text(value)
    if not isinstance(text, str):
        raise ValueError("write a number of credits, like '10'")
    try:
        read_amount(Measure.CREDITS, text)
    except NotMoney as error:
        raise ValueError(str(error)) from None
    return text


def _money_or_unlimited(value: object) -> object:
    if value == UNLIMITED or isinstance(value, Money):
        return value
    if not isinstance(value, str):
        raise ValueError("write it as text, '20.00 USD', or 'unlimited'")
    try:
        return Money.parse(value)
    except NotMoney as error:
        raise ValueError(f"{error}, or 'unlimited'") from None


class CapSettings(Table):
    """One `[caps.NAME]`. `limit` stays as written, because only with the measure it is a figure."""

    measure: Literal["cost", "overage", "credits", "shots", "tasks"]
    scope: Literal["everyone", "user", "project", "backend", "batch", "job"] = "everyone"
    of: str | None = None
    period: Literal["job", "night", "day", "month", "total"]
    limit: Annotated[str, BeforeValidator(_limit_text)]
    #: Empty is time.timezone. Coda's credits begin anew at 00:00 UTC.
    timezone: ZoneName | None = None

    @model_validator(mode="after")
    def _limit_is_an_amount(self) -> CapSettings:
        try:
            read_limit(Measure(self.measure), self.limit)
        except NotMoney as error:
            raise MisplacedError(("limit",), f"{error}; {UNLIMITED!r} is no limit, '0' is nothing") from None
        return self

    def cap(self, name: str, timezone: str) -> Cap:
        measure = Measure(self.measure)
        return Cap(
            name=name,
            measure=measure,
            scope=Scope(self.scope),
            period=Period(self.period),
            limit=read_limit(measure, self.limit),
            of=self.of,
            zone=zoneinfo.ZoneInfo(self.timezone or timezone),
        )


class OverageSettings(Table):
    """Spending beyond credits; `up_to` is for one job and only means something with that policy."""

    policy: Literal["never", "ask", "up to"] = "never"
    up_to: MoneyText = Money(0)

    @model_validator(mode="after")
    def _agree(self) -> OverageSettings:
        if self.policy == "up to" and not self.up_to.microusd:
            raise MisplacedError(("up_to",), "is missing for policy 'up to': write '5.00 USD', or 'never'")
        if self.policy != "up to" and self.up_to.microusd:
            raise MisplacedError(("up_to",), f"means nothing with policy {self.policy!r}: write 'up to'")
        return self


class CreditSettings(Table):
    #: Only predicts how many credits a job will take; what is booked is what the provider says.
    cents_per_credit: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    #: With so many credits unexplained, in either direction, nothing more is sent to that provider.
    unexplained_limit: Annotated[str, BeforeValidator(_credits_text)] = "10"

    @property
    def unexplained_limit_microcredits(self) -> int:
        return read_amount(Measure.CREDITS, self.unexplained_limit)


class ApprovalSettings(Table):
    above: Annotated[Money | Literal["unlimited"], BeforeValidator(_money_or_unlimited)] = "unlimited"

    @property
    def above_microusd(self) -> int | None:
        return self.above.microusd if isinstance(self.above, Money) else None


class AlarmSettings(Table):
    #: Percent of a cap.
    at: Percents = (50, 80)

    @model_validator(mode="after")
    def _percents(self) -> AlarmSettings:
        if any(not 1 <= percent <= 100 for percent in self.at):
            raise MisplacedError(("at",), "has a figure that is not between 1 and 100 percent")
        if list(self.at) != sorted(set(self.at)):
            raise MisplacedError(("at",), f"write each once, the smallest first: {sorted(set(self.at))}")
        return self


class RoleSettings(Table):
    """Who may do what: `self` is the user that the daemon runs as; other names are users or groups."""

    arm: Texts = ("self", "root")
    approve: Texts = ("self", "root")
    resolve: Texts = ("self", "root")
    #: Raise and lower caps, record and correct credits.
    caps: Texts = ("self", "root")
    approve_own: bool = False

    @model_validator(mode="after")
    def _named(self) -> RoleSettings:
        for option in ("arm", "approve", "resolve", "caps"):
            if any(not name.strip() for name in getattr(self, option)):
                raise MisplacedError((option,), "has a blank name: nobody is called that")
        return self


def check_caps(caps: Mapping[str, CapSettings], timezone: str) -> None:
    """Raise MisplacedError for the first cap that can be read in more than one way."""
    made: list[Cap] = []
    for name, written in caps.items():
        if not _CAP_NAME.fullmatch(name):
            raise MisplacedError(("caps", name), "a cap's name has small letters, digits, - and _ only")
        if name in TAKEN_NAMES:
            raise MisplacedError(("caps", name), f"{name!r} {TAKEN_NAMES[name]}: give it another name")
        known = set(problems_of(made))
        made.append(written.cap(name, timezone))
        for problem in problems_of(made):
            if problem not in known:
                raise MisplacedError(("caps", name), problem)
