"""The tables. CHECK constraints are made from the core's own sets, so code and database cannot disagree.

Times are microseconds since 1970 UTC, money is micro-dollars, JSON is text. NULL is unknown, never zero.
Every index that the hot path walks is partial: finished history is not in it.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from scheduler.core.breaker import Phase, Trouble
from scheduler.core.lifecycle import (
    ATTEMPT_IN_FLIGHT,
    ATTEMPT_LIVE,
    ATTEMPT_POSTED,
    JOB_ENDED,
    AttemptState,
    JobState,
)
from scheduler.core.waits import Need, Parked, Rule
from scheduler.store.schema_base import ForeignText, RowId, in_list, metadata, partial
from scheduler.store.schema_money import (
    accounts,
    alarms,
    armings,
    audit_marks,
    audits,
    cap_limits,
    cap_parts,
    cap_windows,
    entries,
    grants,
    hold_parts,
    holds,
    txns,
)

__all__ = [
    "accounts",
    "alarms",
    "armings",
    "attempts",
    "audit_marks",
    "audits",
    "batches",
    "breakers",
    "cap_limits",
    "cap_parts",
    "cap_windows",
    "circuits",
    "clock_marks",
    "entries",
    "grants",
    "hold_parts",
    "holds",
    "in_list",
    "intent_marks",
    "job_events",
    "job_needs",
    "jobs",
    "metadata",
    "occurrences",
    "parts",
    "pauses",
    "quotes",
    "results",
    "sequences",
    "txns",
]

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
#: As queries have to say it, word for word, for the index to be used.
ASLEEP = f"parked >= {Parked.TOO_EARLY.value}"
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
    # When it may be sent (core.waits). What is parked is not in the queue, so that no pass looks at it.
    Column("parked", Integer, nullable=False, server_default="0"),
    Column("window_name", Text, nullable=False, server_default=""),
    Column("not_before_us", BigInteger),
    Column("deadline_us", BigInteger),
    Column("waiting_on", Integer, nullable=False, server_default="0"),
    Column("on_hold_us", BigInteger),
    Column("on_hold_by", Text),
    Column("on_hold_reason", ForeignText),
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
    partial("ix_jobs_asleep", "not_before_us", where=f"{_waiting} AND {ASLEEP}"),
    partial("ix_jobs_deadline", "deadline_us", where=f"{_waiting} AND deadline_us IS NOT NULL"),
)
partial(
    "ix_jobs_ready",
    jobs.c.backend,
    jobs.c.parked,
    jobs.c.window_name,
    jobs.c.priority.desc(),
    jobs.c.id,
    where=f"{_waiting} AND estimate_microusd IS NOT NULL",
)

#: Which job comes after which: `open` until the earlier one has ended.
job_needs = Table(
    "job_needs",
    metadata,
    Column("job_id", BigInteger, ForeignKey("jobs.id"), primary_key=True, autoincrement=False),
    Column("before_id", BigInteger, ForeignKey("jobs.id"), primary_key=True, autoincrement=False),
    Column("rule", Text, nullable=False),
    Column("state", Text, nullable=False),
    CheckConstraint(f"rule IN {in_list(Rule)}", name="rule"),
    CheckConstraint(f"state IN {in_list(Need)}", name="state"),
    CheckConstraint("job_id <> before_id", name="not_itself"),
    partial("ix_job_needs_open", "before_id", where=f"state = '{Need.OPEN}'"),
    partial("ix_job_needs_broken", "job_id", where=f"state = '{Need.BROKEN}'"),
)

#: Every opening of a window that was seen: the key is the date it began, so none is seen twice.
occurrences = Table(
    "occurrences",
    metadata,
    Column("window_name", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("opens_us", BigInteger, nullable=False),
    Column("closes_us", BigInteger, nullable=False),
    Column("seen_us", BigInteger, nullable=False),
    CheckConstraint("closes_us > opens_us", name="order"),
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
#: A provider has named them, so they can be asked about.
_NAMED = frozenset({_A.SUBMITTED, _A.FINISHED, _A.SETTLED, _A.FAILED})
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
        f"state NOT IN {in_list(_NAMED)} OR provider_job_id IS NOT NULL",
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
