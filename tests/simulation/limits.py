"""How much was used under each limit that people set, summed anew from the holds, never from a cache."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from scheduler.core.caps import Cap, Measure, Period, Scope

Row = Mapping[str, Any]
NIGHT = "night"


class Rows(Protocol):
    def rows(self, sql: str, **values: object) -> list[dict[str, Any]]: ...


class Limits:
    """The caps of a night's configuration and the one that `arm` sets."""

    def __init__(self, caps: Sequence[Cap], zone: ZoneInfo, *, clock_is_put: bool) -> None:
        self._caps = (Cap(NIGHT, Measure.COST, Scope.EVERYONE, Period.NIGHT, 0, zone=zone), *caps)
        self._zone = zone
        #: A clock that was put shows windows as closed that are not: a new limit then passes them by, and
        #: only the largest that anybody ever set can be relied on.
        self._largest = clock_is_put

    def night_of(self, at_us: int) -> str:
        local = datetime.fromtimestamp(at_us / 1e6, UTC).astimezone(self._zone)
        return (local.replace(tzinfo=None) - timedelta(hours=12)).date().isoformat()

    def used_by(self, books: Rows, last: Row, held: Sequence[Row]) -> Iterator[tuple[str, int, int]]:
        """Each limited cap that the last hold counts against: its name, what is used, its limit in force."""
        for cap in self._caps:
            whose = self._occurrence(cap, last)
            limit = self._limit(books, cap)
            if whose is None or limit is None or not _amount(cap.measure, last):
                continue
            same = [row for row in held if self._occurrence(cap, row) == whose]
            name = "night's cap" if cap.name == NIGHT else f"{cap.measure} cap"
            yield name, sum(_amount(cap.measure, row) for row in same), limit
        if last["cap_microusd"] is not None:
            same = [row for row in held if row["job_id"] == last["job_id"]]
            yield "job's own cap", sum(_amount(Measure.COST, row) for row in same), last["cap_microusd"]

    def _limit(self, books: Rows, cap: Cap) -> int | None:
        if cap.name == NIGHT:
            said = books.rows("SELECT night_limit_microusd AS set_to FROM armings WHERE armed ORDER BY id")
        else:
            said = books.rows(
                "SELECT limit_amount AS set_to FROM cap_limits WHERE cap = :cap ORDER BY id", cap=cap.name
            )
        limits: list[int | None] = [cap.limit, *(row["set_to"] for row in said)]
        if not self._largest:
            return limits[-1]
        return None if None in limits else max(limit for limit in limits if limit is not None)

    def _occurrence(self, cap: Cap, row: Row) -> tuple[str, str] | None:
        """Whose use it is and in which period; None when the cap is not about it."""
        scopes = {Scope.EVERYONE: "", Scope.USER: "user", Scope.PROJECT: "project", Scope.BACKEND: "backend"}
        column = scopes[cap.scope]
        who = row[column] if column else ""
        if who is None or cap.of not in (None, who):
            return None
        match cap.period:
            case Period.NIGHT:
                return who, self.night_of(row["sent_us"])
            case Period.DAY:
                return who, datetime.fromtimestamp(row["sent_us"] / 1e6, UTC).date().isoformat()
            case Period.MONTH:
                return who, f"{datetime.fromtimestamp(row['sent_us'] / 1e6, UTC):%Y-%m}"
            case _:
                return who, ""


def _amount(measure: Measure, row: Row) -> int:
    """What a hold takes of a measure: all of it while it is open, what was told once it is posted."""
    state = row["state"]
    if state == "voided":
        return 0
    told: int | None
    match measure:
        case Measure.COST:
            held, told = row["amount_microusd"], row["posted_microusd"]
        case Measure.OVERAGE:
            held, told = row["overage_held"], row["overage_told"]
        case Measure.CREDITS:
            predicted = -(-row["estimate_microusd"] // 1_000_000) * 1_000_000
            held, told = row["credits_held"] or predicted, row["credits_told"]
        case Measure.SHOTS:
            held = told = row["shots"]
        case Measure.TASKS:
            held = told = 1
    amount: int = held if state == "open" or told is None else told
    return amount
