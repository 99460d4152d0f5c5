"""What people's commands about money and about waiting jobs may ask of the store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from scheduler.core.alarms import Alarm, AlarmRules
from scheduler.core.caps import Cap, Scope
from scheduler.core.job import JobSpec
from scheduler.core.records import (
    CreditPosition,
    GrantRecord,
    JobEdit,
    LedgerTxn,
    NewGrant,
    Quote,
    WindowRecord,
)


class BookkeepingTx(Protocol):
    """What time alone changes about money."""

    def expire_grants(self, now_us: int) -> int:
        """Take what nobody holds from the grants whose time is over; returns how many had any."""

    def align_caps(self, caps: Iterable[Cap], now_us: int) -> list[str]:
        """Give open windows the limits of a changed configuration, but for those that people set."""

    def new_alarms(self, caps: Sequence[Cap], rules: AlarmRules, now_us: int) -> list[Alarm]:
        """Note every percentage that a window has newly reached, each once for ever."""


class BudgetTx(BookkeepingTx, Protocol):
    def add_grant(self, grant: NewGrant, actor: str, reason: str, at_us: int) -> int: ...

    def grant_records(self) -> list[GrantRecord]: ...

    def grant_record(self, number: int) -> GrantRecord | None: ...

    def adjust_grant(
        self, record: GrantRecord, amount: int, key: str, actor: str, reason: str, at_us: int
    ) -> int: ...

    def observe_credits(
        self, provider: str, difference: int, key: str, actor: str, reason: str, at_us: int
    ) -> int: ...

    def credit_position(self, provider: str, now_us: int) -> CreditPosition: ...

    def set_cap_limit(
        self, cap: Cap, window_key: str | None, limit: int | None, actor: str, reason: str, at_us: int
    ) -> int:
        """Set a limit at run time, for one window or for all; returns how many open ones changed."""

    def limits_set(self, caps: Sequence[str]) -> dict[tuple[str, str | None], int | None]:
        """Limits that people set, by cap and window (None: every window); the last one counts."""

    def open_windows(self, cap: Cap, now_us: int, limit: int) -> list[WindowRecord]: ...

    def waiting_job_of(self, scope: Scope, who: str) -> int | None:
        """Some job that waits and whose name in this scope is `who`; None: there is none."""

    def open_alarms(self, caps: Sequence[Cap], rules: AlarmRules, now_us: int) -> list[Alarm]: ...

    def ledger_page(self, account: str | None, before: int | None, limit: int) -> list[LedgerTxn]: ...

    def account_balances(self) -> dict[str, int]: ...


class EditTx(Protocol):
    def approve_job(self, job_id: int, price_microusd: int) -> bool:
        """Accept a waiting job's price; False: it moved on, or its price is another one by now."""

    def edit_job(self, job_id: int, edit: JobEdit) -> bool:
        """Change a waiting job; False: it waits no longer."""

    def spec_of(self, job_id: int) -> JobSpec: ...

    def latest_quote(self, job_id: int) -> Quote | None: ...
