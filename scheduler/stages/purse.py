"""The copy of the money that a decision is made on: caps with their books, grants with what is free."""

from __future__ import annotations

from collections.abc import Sequence

from scheduler.core.admission import Candidate, Purse, own_caps
from scheduler.core.caps import Cap, Measure, Period, Scope, Spender, Window, window_of
from scheduler.core.records import ArmingRecord
from scheduler.core.rules import Rules
from scheduler.core.spending import NIGHT_CAP, Funds
from scheduler.errors import ImpossibleArrow
from scheduler.ports_store import FundsTx

_ANYBODY = Spender("", None, "", 0, 0)


def night_cap(limit_microusd: int | None, rules: Rules) -> Cap:
    return Cap(
        NIGHT_CAP,
        Measure.COST,
        Scope.EVERYONE,
        Period.NIGHT,
        limit_microusd,
        zone=rules.zone,
        hours=rules.night_hours,
    )


def night_window(rules: Rules, now_us: int, limit_microusd: int | None = 0) -> Window:
    """Tonight's occurrence of the night's cap."""
    window = window_of(night_cap(limit_microusd, rules), _ANYBODY, now_us)
    if window is None:
        raise ImpossibleArrow("the night's cap is everybody's, and was found to be nobody's")
    return window


def armed_tonight(arming: ArmingRecord | None, rules: Rules, now_us: int) -> bool:
    """Whether anything paid may be sent; a limit of 0 is nothing, not even what is priced at $0.00."""
    if arming is None or not arming.night_limit_microusd:
        return False
    return arming.once_night in (None, rules.night(now_us).key)


def caps_in_force(arming: ArmingRecord | None, rules: Rules) -> tuple[Cap, ...]:
    limit = 0 if arming is None else arming.night_limit_microusd
    return (night_cap(limit, rules), *rules.spending.caps)


def purse_for(tx: FundsTx, jobs: Sequence[Candidate], rules: Rules, now_us: int) -> Purse:
    """Everything that may decide about these jobs, read in one transaction."""
    arming = tx.arming()
    caps = caps_in_force(arming, rules)
    windows = {
        window.key: window
        for job in jobs
        for cap in (*caps, *own_caps(job))
        if (window := window_of(cap, job.spender, now_us)) is not None
    }
    providers = sorted({job.backend.partition(":")[0] for job in jobs})
    funds = Funds(
        {window.key: books for window, books in tx.cap_books(list(windows.values()))},
        {provider: tx.grants_of(provider) for provider in providers},
    )
    return Purse(armed_tonight(arming, rules, now_us), caps, funds, rules.spending, tx.audit_stop())
