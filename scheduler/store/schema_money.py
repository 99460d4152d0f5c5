"""The tables of money: caps and their windows, the journal and its accounts, holds, arming, audits.

Amounts are micro-dollars or micro-credits, as the cap's measure or the account's asset says.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
)

from scheduler.core.audit import AuditVerdict
from scheduler.core.caps import Measure
from scheduler.core.ledger import AccountKind, Asset, Kind
from scheduler.core.lifecycle import HoldState
from scheduler.store.schema_base import ForeignText, RowId, in_list, metadata, partial

#: The last line of a cap that was set at run time (by `arm` or `budget cap`); `window_key` NULL is every one.
cap_limits = Table(
    "cap_limits",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("cap", Text, nullable=False),
    Column("window_key", Text),
    Column("limit_amount", BigInteger),
    Column("actor", Text, nullable=False),
    Column("reason", ForeignText, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    CheckConstraint("limit_amount >= 0", name="limit"),
    Index("ix_cap_limits_cap", "cap", "id"),
)

#: One row an occurrence of a cap. `held` and `posted` move only by guarded updates. `excused` is what stands
#: above the limit for a recorded reason: a settlement above its hold, or a limit lowered later.
cap_windows = Table(
    "cap_windows",
    metadata,
    Column("key", Text, primary_key=True),
    Column("cap", Text, nullable=False),
    Column("measure", Text, nullable=False),
    Column("limit_amount", BigInteger),
    Column("held", BigInteger, nullable=False, server_default="0"),
    Column("posted", BigInteger, nullable=False, server_default="0"),
    Column("excused", BigInteger, nullable=False, server_default="0"),
    Column("resets_us", BigInteger),
    Column("opened_us", BigInteger, nullable=False),
    CheckConstraint(f"measure IN {in_list(Measure)}", name="measure"),
    CheckConstraint("held >= 0 AND posted >= 0 AND excused >= 0", name="counts"),
    CheckConstraint("limit_amount IS NULL OR limit_amount >= 0", name="limit"),
    CheckConstraint("limit_amount IS NULL OR held + posted <= limit_amount + excused", name="kept"),
    Index("ix_cap_windows_cap", "cap", "opened_us"),
    sqlite_with_rowid=False,
)

#: Percentages of a cap's window that were told, each once for ever.
alarms = Table(
    "alarms",
    metadata,
    Column("window_key", Text, ForeignKey("cap_windows.key"), primary_key=True),
    Column("percent", Integer, primary_key=True, autoincrement=False),
    Column("at_us", BigInteger, nullable=False),
    CheckConstraint("percent > 0", name="percent"),
)

#: Double entry in two assets; the cached balances must equal the journal, and audits say so.
accounts = Table(
    "accounts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("asset", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("guarded", Boolean(create_constraint=False), nullable=False),
    Column("posted", BigInteger, nullable=False, server_default="0"),
    Column("held", BigInteger, nullable=False, server_default="0"),
    CheckConstraint(f"asset IN {in_list(Asset)}", name="asset"),
    CheckConstraint(f"kind IN {in_list(AccountKind)}", name="kind"),
    CheckConstraint("held >= 0 AND (NOT guarded OR posted >= held)", name="not_below_zero"),
)

txns = Table(
    "txns",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("idem_key", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("attempt_id", Text, ForeignKey("attempts.id")),
    # What a refund or a correction takes back; together they never take back more than there was.
    Column("reverses", BigInteger, ForeignKey("txns.id")),
    Column("actor", Text, nullable=False),
    Column("reason", ForeignText, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    CheckConstraint(f"kind IN {in_list(Kind)}", name="kind"),
    partial("ix_txns_attempt", "attempt_id", where="attempt_id IS NOT NULL"),
    partial("ix_txns_reverses", "reverses", where="reverses IS NOT NULL"),
)

entries = Table(
    "entries",
    metadata,
    Column("txn_id", BigInteger, ForeignKey("txns.id"), primary_key=True, autoincrement=False),
    Column("line", Integer, primary_key=True, autoincrement=False),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False),
    Column("amount", BigInteger, nullable=False),
    CheckConstraint("amount <> 0", name="not_zero"),
    # The amount is in it, so that an audit sums an account without looking up a single row.
    Index("ix_entries_account", "account_id", "amount"),
    # In the order of the journal, which is the order in which it is written and audited.
    sqlite_with_rowid=False,
)

grants = Table(
    "grants",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False, unique=True),
    Column("provider", Text, nullable=False),
    Column("label", ForeignText, nullable=False),
    Column("amount_microcredits", BigInteger, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("effective_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger),
    Column("users", Text, nullable=False),
    Column("projects", Text, nullable=False),
    Column("backends", Text, nullable=False),
    CheckConstraint("amount_microcredits > 0", name="amount"),
    CheckConstraint("expires_us IS NULL OR expires_us > effective_us", name="dates"),
)

#: What is reserved for an attempt, in the transaction of its intent; closed exactly once.
holds = Table(
    "holds",
    metadata,
    Column("attempt_id", Text, ForeignKey("attempts.id"), primary_key=True),
    Column("amount_microusd", BigInteger, nullable=False),
    Column("overage_microusd", BigInteger, nullable=False, server_default="0"),
    Column("state", Text, nullable=False),
    Column("posted_microusd", BigInteger),
    Column("overrun_microusd", BigInteger, nullable=False, server_default="0"),
    Column("refunded_microusd", BigInteger, nullable=False, server_default="0"),
    Column("txn_id", BigInteger, ForeignKey("txns.id")),
    Column("evidence", ForeignText),
    CheckConstraint(f"state IN {in_list(HoldState)}", name="state"),
    CheckConstraint("amount_microusd >= 0 AND overage_microusd >= 0 AND overrun_microusd >= 0", name="money"),
    CheckConstraint(f"(state = '{HoldState.POSTED}') = (posted_microusd IS NOT NULL)", name="posted"),
    CheckConstraint(
        "refunded_microusd >= 0 AND refunded_microusd <= COALESCE(posted_microusd, 0)", name="refunded"
    ),
    partial("ix_holds_open", "attempt_id", where=f"state = '{HoldState.OPEN}'"),
    partial("ix_holds_booked", "txn_id", where="txn_id IS NOT NULL", unique=True),
    sqlite_with_rowid=False,
)

#: A hold's share of a grant's credits.
hold_parts = Table(
    "hold_parts",
    metadata,
    Column("attempt_id", Text, ForeignKey("holds.attempt_id"), primary_key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), primary_key=True),
    # The order in which the grants are used up: settling less than was held takes from the first ones.
    Column("ordinal", Integer, nullable=False),
    Column("amount", BigInteger, nullable=False),
    CheckConstraint("amount > 0", name="amount"),
    Index("ix_hold_parts_account", "account_id"),
    sqlite_with_rowid=False,
)

#: A hold's share of a cap's window; `settled` is what was used in the end.
cap_parts = Table(
    "cap_parts",
    metadata,
    Column("attempt_id", Text, ForeignKey("holds.attempt_id"), primary_key=True),
    Column("window_key", Text, ForeignKey("cap_windows.key"), primary_key=True),
    Column("amount", BigInteger, nullable=False),
    Column("settled", BigInteger),
    CheckConstraint("amount >= 0 AND settled >= 0", name="amount"),
    # No index by window: only sums over all rows would use it, and every reservation would pay for it.
    sqlite_with_rowid=False,
)

#: Append-only: who armed or disarmed paid submission, when and why. The last row is in force.
armings = Table(
    "armings",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("armed", Boolean(create_constraint=False), nullable=False),
    Column("night_limit_microusd", BigInteger),
    Column("once_night", Text),
    Column("actor", Text, nullable=False),
    Column("reason", ForeignText, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    CheckConstraint(
        "NOT armed OR (night_limit_microusd IS NOT NULL AND night_limit_microusd >= 0)", name="limit"
    ),
)

#: What audits said; the last row is in force, and one that is broken stays so until a person lifts it.
audits = Table(
    "audits",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("verdict", Text, nullable=False),
    Column("sentence", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    CheckConstraint(f"verdict IN {in_list(AuditVerdict)}", name="verdict"),
)

#: Up to which transaction an account's balance was summed and found right; the journal is append-only.
audit_marks = Table(
    "audit_marks",
    metadata,
    Column("account_id", Text, ForeignKey("accounts.id"), primary_key=True),
    Column("txn_id", BigInteger, nullable=False),
    Column("balance", BigInteger, nullable=False),
)
