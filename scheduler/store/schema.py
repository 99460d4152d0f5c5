"""The tables. CHECK constraints are made from the core's own sets, so code and database cannot disagree.

Times are microseconds since 1970 UTC, money is micro-dollars, JSON is text. NULL is unknown, never zero.
Every index that the hot path walks is partial: finished history is not in it.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Dialect,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)

from scheduler.core.audit import AuditVerdict
from scheduler.core.breaker import Phase, Trouble
from scheduler.core.caps import Measure
from scheduler.core.ledger import AccountKind, Asset, Kind
from scheduler.core.lifecycle import (
    ATTEMPT_IN_FLIGHT,
    ATTEMPT_LIVE,
    ATTEMPT_POSTED,
    JOB_ENDED,
    AttemptState,
    HoldState,
    JobState,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
#: SQLite makes an INTEGER primary key its rowid only under exactly this type.
RowId = BigInteger().with_variant(Integer, "sqlite")


class ForeignText(TypeDecorator[str]):
    """Words that others chose: what no database can keep becomes U+FFFD.

    A provider whose reply has a NUL character must not make its own outcome impossible to write down.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        if value is None or (value.isascii() and "\0" not in value):
            return value
        kept = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return kept.replace("\0", "\ufffd")


def in_list(values: Iterable[str]) -> str:
    return "(" + ", ".join(f"'{value}'" for value in sorted(values)) + ")"


def partial(name: str, *columns: object, where: str, unique: bool = False) -> Index:
    clause = text(where)
    return Index(name, *columns, unique=unique, sqlite_where=clause, postgresql_where=clause)  # type: ignore[arg-type]


#: Numbers are handed out in blocks inside the writing transaction, so rows can be inserted in bulk with ids.
sequences = Table(
    "sequences",
    metadata,
    Column("name", Text, primary_key=True),
    Column("next", BigInteger, nullable=False),
)

batches = Table(
    "batches",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=False),
    Column("ingest_key", Text, nullable=False, unique=True),
    Column("name", ForeignText, nullable=False),
    Column("user", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("size", Integer, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("ended_us", BigInteger),
    CheckConstraint("size > 0", name="not_empty"),
    partial("ix_batches_open", "digest", "user", where="ended_us IS NULL"),
)

circuits = Table(
    "circuits",
    metadata,
    Column("sha256", Text, primary_key=True),
    Column("code", Text, nullable=False),
)

_waiting = f"state = '{JobState.WAITING}'"
jobs = Table(
    "jobs",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=False),
    Column("batch_id", BigInteger, ForeignKey("batches.id"), nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("name", ForeignText, nullable=False),
    Column("user", Text, nullable=False),
    Column("project", Text),
    Column("tags", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("backend", Text, nullable=False),
    Column("shots", Integer, nullable=False),
    Column("framework", Text, nullable=False),
    Column("circuit_sha256", Text, ForeignKey("circuits.sha256"), nullable=False),
    Column("source_name", ForeignText, nullable=False),
    Column("accept_overage", Boolean(create_constraint=False), nullable=False),
    Column("execution_hint", Text),
    Column("priority", Integer, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("ended_us", BigInteger),
    Column("published_us", BigInteger),
    Column("cancel_asked_us", BigInteger),
    Column("estimate_microusd", BigInteger),
    Column("cost_microusd", BigInteger),
    # The first quote, or the one a person approved: drift is measured from it.
    Column("accepted_microusd", BigInteger),
    Column("approved_microusd", BigInteger),
    Column("quoted_us", BigInteger),
    Column("quote_valid_until_us", BigInteger),
    Column("chosen_hint", Text),
    Column("cap_microusd", BigInteger),
    Column("retries_left", Integer, nullable=False, server_default="0"),
    Column("wait_code", Text),
    Column("wait_until_us", BigInteger),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("reason", ForeignText),
    UniqueConstraint("batch_id", "ordinal"),
    CheckConstraint(f"state IN {in_list(JobState)}", name="state"),
    CheckConstraint(f"(state IN {in_list(JOB_ENDED)}) = (ended_us IS NOT NULL)", name="ended"),
    CheckConstraint("published_us IS NULL OR ended_us IS NOT NULL", name="published"),
    CheckConstraint("shots > 0 AND ordinal > 0", name="positive"),
    CheckConstraint("estimate_microusd >= 0 AND cost_microusd >= 0 AND cap_microusd >= 0", name="money"),
    CheckConstraint("retries_left >= 0", name="retries"),
    partial("ix_jobs_unpriced", "backend", "id", where=f"{_waiting} AND estimate_microusd IS NULL"),
    partial("ix_jobs_open", "state", where="ended_us IS NULL"),
    partial("ix_jobs_ended", "ended_us", "state", where="ended_us IS NOT NULL"),
    partial("ix_jobs_unpublished", "id", where="ended_us IS NOT NULL AND published_us IS NULL"),
    Index("ix_jobs_batch_state", "batch_id", "state"),
)
partial(
    "ix_jobs_ready",
    jobs.c.backend,
    jobs.c.priority.desc(),
    jobs.c.id,
    where=f"{_waiting} AND estimate_microusd IS NOT NULL",
)

parts = Table(
    "parts",
    metadata,
    Column("job_id", BigInteger, ForeignKey("jobs.id"), primary_key=True, autoincrement=False),
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    Column("shots", Integer, nullable=False),
    CheckConstraint("shots > 0 AND ordinal > 0", name="positive"),
)

quotes = Table(
    "quotes",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("job_id", BigInteger, ForeignKey("jobs.id"), nullable=False),
    Column("cost_microusd", BigInteger, nullable=False),
    Column("source", ForeignText, nullable=False),
    Column("lines", ForeignText, nullable=False),
    Column("raw", ForeignText, nullable=False),
    Column("taken_us", BigInteger, nullable=False),
    Column("valid_until_us", BigInteger, nullable=False),
    CheckConstraint("cost_microusd >= 0", name="money"),
    Index("ix_quotes_job", "job_id"),
)

_A = AttemptState
attempts = Table(
    "attempts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("job_id", BigInteger, nullable=False),
    Column("part_ordinal", Integer, nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("posts", Integer, nullable=False, server_default="0"),
    # Said with the intent: from then on an attempt without a hold is an audit's finding.
    Column("paid", Boolean(create_constraint=False), nullable=False, server_default=text("false")),
    Column("backend", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("provider_job_id", ForeignText),
    Column("provider_status", ForeignText),
    Column("estimate_microusd", BigInteger, nullable=False),
    Column("intent_epoch", Integer),
    Column("intent_sequence", BigInteger),
    Column("prepared_us", BigInteger, nullable=False),
    Column("sent_us", BigInteger),
    Column("send_not_after_us", BigInteger),
    Column("ended_us", BigInteger),
    Column("next_poll_us", BigInteger),
    Column("polls", Integer, nullable=False, server_default="0"),
    Column("poll_failures", Integer, nullable=False, server_default="0"),
    Column("estimated_cost_microusd", BigInteger),
    Column("credits_applied_microcredits", BigInteger),
    Column("overage_microusd", BigInteger),
    Column("accept_overage", Boolean(create_constraint=False), nullable=False, server_default=text("false")),
    Column("failure", ForeignText),
    Column("never_runs", Boolean(create_constraint=False), nullable=False, server_default=text("false")),
    Column("reason", ForeignText),
    Column("raw_reply", ForeignText),
    ForeignKeyConstraint(["job_id", "part_ordinal"], ["parts.job_id", "parts.ordinal"]),
    UniqueConstraint("job_id", "part_ordinal", "ordinal"),
    CheckConstraint(f"state IN {in_list(AttemptState)}", name="state"),
    CheckConstraint("posts IN (0, 1)", name="one_post"),
    CheckConstraint(f"state NOT IN {in_list(ATTEMPT_POSTED)} OR posts = 1", name="posted"),
    CheckConstraint(
        f"state NOT IN {in_list({_A.SUBMITTED, _A.FINISHED, _A.SETTLED, _A.FAILED})} OR provider_job_id IS NOT NULL",
        name="named_by_provider",
    ),
    CheckConstraint(
        f"state NOT IN {in_list({_A.PREPARED, _A.REFUSED, _A.NOT_SENT})} OR provider_job_id IS NULL",
        name="not_named_by_provider",
    ),
    # At most one try of a part may be alive: the last line of defence against paying twice.
    partial(
        "uq_attempts_one_live",
        "job_id",
        "part_ordinal",
        unique=True,
        where=f"state IN {in_list(ATTEMPT_LIVE)}",
    ),
    partial(
        "uq_attempts_provider_job",
        "provider",
        "provider_job_id",
        unique=True,
        where="provider_job_id IS NOT NULL",
    ),
    partial(
        "uq_attempts_intent",
        "intent_epoch",
        "intent_sequence",
        unique=True,
        where="intent_sequence IS NOT NULL",
    ),
    partial("ix_attempts_prepared", "prepared_us", where=f"state = '{_A.PREPARED}'"),
    partial("ix_attempts_in_flight", "backend", where=f"state IN {in_list(ATTEMPT_IN_FLIGHT)}"),
    partial("ix_attempts_due", "next_poll_us", where=f"state = '{_A.SUBMITTED}'"),
    partial("ix_attempts_lost", "backend", where=f"state IN {in_list({_A.SUBMITTING, _A.IN_DOUBT})}"),
    partial("ix_attempts_finished", "job_id", where=f"state = '{_A.FINISHED}'"),
)

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
    Column("txn_id", BigInteger, ForeignKey("txns.id"), unique=True),
    Column("evidence", ForeignText),
    CheckConstraint(f"state IN {in_list(HoldState)}", name="state"),
    CheckConstraint("amount_microusd >= 0 AND overage_microusd >= 0 AND overrun_microusd >= 0", name="money"),
    CheckConstraint(f"(state = '{HoldState.POSTED}') = (posted_microusd IS NOT NULL)", name="posted"),
    CheckConstraint(
        "refunded_microusd >= 0 AND refunded_microusd <= COALESCE(posted_microusd, 0)", name="refunded"
    ),
    partial("ix_holds_open", "attempt_id", where=f"state = '{HoldState.OPEN}'"),
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
    Index("ix_cap_parts_window", "window_key"),
)

results = Table(
    "results",
    metadata,
    Column("job_id", BigInteger, primary_key=True, autoincrement=False),
    Column("part_ordinal", Integer, primary_key=True, autoincrement=False),
    Column("attempt_id", Text, ForeignKey("attempts.id"), nullable=False),
    Column("counts", Text, nullable=False),
    Column("bit_order", Text, nullable=False),
    Column("shots_returned", Text, nullable=False),
    Column("facts", Text, nullable=False),
    Column("raw", ForeignText, nullable=False),
    Column("received_us", BigInteger, nullable=False),
    ForeignKeyConstraint(["job_id", "part_ordinal"], ["parts.job_id", "parts.ordinal"]),
)

job_events = Table(
    "job_events",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("job_id", BigInteger, ForeignKey("jobs.id"), nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("event", Text, nullable=False),
    Column("sentence", ForeignText, nullable=False),
    Index("ix_job_events_job", "job_id", "id"),
)

#: What a backend did lately, as `core.breaker` counts it; no row is a closed breaker with nothing to say.
breakers = Table(
    "breakers",
    metadata,
    Column("backend", Text, primary_key=True),
    Column("phase", Text, nullable=False),
    Column("cause", Text),
    Column("openings", Integer, nullable=False),
    Column("probe_us", BigInteger),
    Column("in_a_row", Text, nullable=False),
    CheckConstraint(f"phase IN {in_list(Phase)}", name="phase"),
    CheckConstraint(f"cause IS NULL OR cause IN {in_list(Trouble)}", name="cause"),
)

#: Both clocks of a machine when they were last believed.
clock_marks = Table(
    "clock_marks",
    metadata,
    Column("node", Text, primary_key=True),
    Column("wall_us", BigInteger, nullable=False),
    Column("boot_us", BigInteger, nullable=False),
    Column("boot_id", Text, nullable=False),
)

#: The number of the last paid intent, mirrored in the journal beside the database.
intent_marks = Table(
    "intent_marks",
    metadata,
    Column("node", Text, primary_key=True),
    Column("epoch", Integer, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    # The newest epoch the journal was seen in: the next one starts above both.
    Column("journal_epoch", Integer, nullable=False, server_default="0"),
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

#: A recorded reason to leave a backend alone; `until_us` NULL lasts until a person resumes it.
pauses = Table(
    "pauses",
    metadata,
    Column("backend", Text, primary_key=True),
    Column("code", Text, primary_key=True),
    Column("sentence", ForeignText, nullable=False),
    Column("until_us", BigInteger),
    Column("failures", Integer, nullable=False, server_default="1"),
    Column("since_us", BigInteger, nullable=False),
)
