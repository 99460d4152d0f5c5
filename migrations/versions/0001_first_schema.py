"""The first schema: batches, jobs, parts, attempts, results; the journal, its caps and its holds."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

#: SQLite makes an INTEGER primary key its rowid only under exactly this type.
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("guarded", sa.Boolean(), nullable=False),
        sa.Column("posted", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("held", sa.BigInteger(), server_default="0", nullable=False),
        sa.CheckConstraint("asset IN ('credit', 'usd')", name=op.f("ck_accounts_asset")),
        sa.CheckConstraint(
            "kind IN ('grant', 'outside', 'overage', 'payable', 'spent', 'unexplained', 'unplanned')",
            name=op.f("ck_accounts_kind"),
        ),
        sa.CheckConstraint(
            "held >= 0 AND (NOT guarded OR posted >= held)", name=op.f("ck_accounts_not_below_zero")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts")),
    )
    op.create_table(
        "armings",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("armed", sa.Boolean(), nullable=False),
        sa.Column("night_limit_microusd", sa.BigInteger(), nullable=True),
        sa.Column("once_night", sa.Text(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "NOT armed OR (night_limit_microusd IS NOT NULL AND night_limit_microusd >= 0)",
            name=op.f("ck_armings_limit"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_armings")),
    )
    op.create_table(
        "audits",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "verdict IN ('broken', 'clean', 'lifted', 'pending')", name=op.f("ck_audits_verdict")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audits")),
    )
    op.create_table(
        "batches",
        sa.Column("id", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("ingest_key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("ended_us", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("size > 0", name=op.f("ck_batches_not_empty")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batches")),
        sa.UniqueConstraint("ingest_key", name=op.f("uq_batches_ingest_key")),
    )
    op.create_index(
        "ix_batches_open",
        "batches",
        ["digest", "user"],
        unique=False,
        sqlite_where=sa.text("ended_us IS NULL"),
        postgresql_where=sa.text("ended_us IS NULL"),
    )
    op.create_table(
        "breakers",
        sa.Column("backend", sa.Text(), nullable=False),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=True),
        sa.Column("openings", sa.Integer(), nullable=False),
        sa.Column("probe_us", sa.BigInteger(), nullable=True),
        sa.Column("in_a_row", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "cause IS NULL OR cause IN ('credentials', 'doubt', 'failure', 'overrun', 'refusal', 'suspicious result')",
            name=op.f("ck_breakers_cause"),
        ),
        sa.CheckConstraint("phase IN ('closed', 'half-open', 'open')", name=op.f("ck_breakers_phase")),
        sa.PrimaryKeyConstraint("backend", name=op.f("pk_breakers")),
    )
    op.create_table(
        "cap_limits",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("cap", sa.Text(), nullable=False),
        sa.Column("window_key", sa.Text(), nullable=True),
        sa.Column("limit_amount", sa.BigInteger(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("limit_amount >= 0", name=op.f("ck_cap_limits_limit")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cap_limits")),
    )
    op.create_index("ix_cap_limits_cap", "cap_limits", ["cap", "id"], unique=False)
    op.create_table(
        "cap_windows",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("cap", sa.Text(), nullable=False),
        sa.Column("measure", sa.Text(), nullable=False),
        sa.Column("limit_amount", sa.BigInteger(), nullable=True),
        sa.Column("held", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("posted", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("excused", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("resets_us", sa.BigInteger(), nullable=True),
        sa.Column("opened_us", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "measure IN ('cost', 'credits', 'overage', 'shots', 'tasks')", name=op.f("ck_cap_windows_measure")
        ),
        sa.CheckConstraint("held >= 0 AND posted >= 0 AND excused >= 0", name=op.f("ck_cap_windows_counts")),
        sa.CheckConstraint(
            "limit_amount IS NULL OR held + posted <= limit_amount + excused",
            name=op.f("ck_cap_windows_kept"),
        ),
        sa.CheckConstraint("limit_amount IS NULL OR limit_amount >= 0", name=op.f("ck_cap_windows_limit")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_cap_windows")),
    )
    op.create_index("ix_cap_windows_cap", "cap_windows", ["cap", "opened_us"], unique=False)
    op.create_table(
        "circuits",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_circuits")),
    )
    op.create_table(
        "clock_marks",
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("wall_us", sa.BigInteger(), nullable=False),
        sa.Column("boot_us", sa.BigInteger(), nullable=False),
        sa.Column("boot_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("node", name=op.f("pk_clock_marks")),
    )
    op.create_table(
        "intent_marks",
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("journal_epoch", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("node", name=op.f("pk_intent_marks")),
    )
    op.create_table(
        "pauses",
        sa.Column("backend", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("until_us", sa.BigInteger(), nullable=True),
        sa.Column("failures", sa.Integer(), server_default="1", nullable=False),
        sa.Column("since_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("backend", "code", name=op.f("pk_pauses")),
    )
    op.create_table(
        "sequences",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("next", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_sequences")),
    )
    op.create_table(
        "alarms",
        sa.Column("window_key", sa.Text(), nullable=False),
        sa.Column("percent", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("percent > 0", name=op.f("ck_alarms_percent")),
        sa.ForeignKeyConstraint(["window_key"], ["cap_windows.key"], name=op.f("fk_alarms_window_key")),
        sa.PrimaryKeyConstraint("window_key", "percent", name=op.f("pk_alarms")),
    )
    op.create_table(
        "audit_marks",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("txn_id", sa.BigInteger(), nullable=False),
        sa.Column("balance", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_audit_marks_account_id")),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_audit_marks")),
    )
    op.create_table(
        "grants",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("amount_microcredits", sa.BigInteger(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("effective_us", sa.BigInteger(), nullable=False),
        sa.Column("expires_us", sa.BigInteger(), nullable=True),
        sa.Column("users", sa.Text(), nullable=False),
        sa.Column("projects", sa.Text(), nullable=False),
        sa.Column("backends", sa.Text(), nullable=False),
        sa.CheckConstraint("amount_microcredits > 0", name=op.f("ck_grants_amount")),
        sa.CheckConstraint("expires_us IS NULL OR expires_us > effective_us", name=op.f("ck_grants_dates")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_grants_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_grants")),
        sa.UniqueConstraint("account_id", name=op.f("uq_grants_account_id")),
    )
    op.create_table(
        "jobs",
        sa.Column("id", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=True),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("backend", sa.Text(), nullable=False),
        sa.Column("shots", sa.Integer(), nullable=False),
        sa.Column("framework", sa.Text(), nullable=False),
        sa.Column("circuit_sha256", sa.Text(), nullable=False),
        sa.Column("source_name", sa.Text(), nullable=False),
        sa.Column("accept_overage", sa.Boolean(), nullable=False),
        sa.Column("execution_hint", sa.Text(), nullable=True),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("ended_us", sa.BigInteger(), nullable=True),
        sa.Column("published_us", sa.BigInteger(), nullable=True),
        sa.Column("cancel_asked_us", sa.BigInteger(), nullable=True),
        sa.Column("estimate_microusd", sa.BigInteger(), nullable=True),
        sa.Column("cost_microusd", sa.BigInteger(), nullable=True),
        sa.Column("accepted_microusd", sa.BigInteger(), nullable=True),
        sa.Column("approved_microusd", sa.BigInteger(), nullable=True),
        sa.Column("quoted_us", sa.BigInteger(), nullable=True),
        sa.Column("quote_valid_until_us", sa.BigInteger(), nullable=True),
        sa.Column("chosen_hint", sa.Text(), nullable=True),
        sa.Column("cap_microusd", sa.BigInteger(), nullable=True),
        sa.Column("retries_left", sa.Integer(), server_default="0", nullable=False),
        sa.Column("wait_code", sa.Text(), nullable=True),
        sa.Column("wait_until_us", sa.BigInteger(), nullable=True),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(state IN ('cancelled', 'completed', 'failed', 'rejected')) = (ended_us IS NOT NULL)",
            name=op.f("ck_jobs_ended"),
        ),
        sa.CheckConstraint(
            "state IN ('admitted', 'cancelled', 'completed', 'failed', 'in_doubt', 'rejected', 'running', 'waiting')",
            name=op.f("ck_jobs_state"),
        ),
        sa.CheckConstraint(
            "estimate_microusd >= 0 AND cost_microusd >= 0 AND cap_microusd >= 0", name=op.f("ck_jobs_money")
        ),
        sa.CheckConstraint("published_us IS NULL OR ended_us IS NOT NULL", name=op.f("ck_jobs_published")),
        sa.CheckConstraint("retries_left >= 0", name=op.f("ck_jobs_retries")),
        sa.CheckConstraint("shots > 0 AND ordinal > 0", name=op.f("ck_jobs_positive")),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name=op.f("fk_jobs_batch_id")),
        sa.ForeignKeyConstraint(["circuit_sha256"], ["circuits.sha256"], name=op.f("fk_jobs_circuit_sha256")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        sa.UniqueConstraint("batch_id", "ordinal", name=op.f("uq_jobs_batch_id_ordinal")),
    )
    op.create_index("ix_jobs_batch_state", "jobs", ["batch_id", "state"], unique=False)
    op.create_index(
        "ix_jobs_ended",
        "jobs",
        ["ended_us", "state"],
        unique=False,
        sqlite_where=sa.text("ended_us IS NOT NULL"),
        postgresql_where=sa.text("ended_us IS NOT NULL"),
    )
    op.create_index(
        "ix_jobs_open",
        "jobs",
        ["state"],
        unique=False,
        sqlite_where=sa.text("ended_us IS NULL"),
        postgresql_where=sa.text("ended_us IS NULL"),
    )
    op.create_index(
        "ix_jobs_ready",
        "jobs",
        ["backend", sa.literal_column("priority DESC"), "id"],
        unique=False,
        sqlite_where=sa.text("state = 'waiting' AND estimate_microusd IS NOT NULL"),
        postgresql_where=sa.text("state = 'waiting' AND estimate_microusd IS NOT NULL"),
    )
    op.create_index(
        "ix_jobs_unpriced",
        "jobs",
        ["backend", "id"],
        unique=False,
        sqlite_where=sa.text("state = 'waiting' AND estimate_microusd IS NULL"),
        postgresql_where=sa.text("state = 'waiting' AND estimate_microusd IS NULL"),
    )
    op.create_index(
        "ix_jobs_unpublished",
        "jobs",
        ["id"],
        unique=False,
        sqlite_where=sa.text("ended_us IS NOT NULL AND published_us IS NULL"),
        postgresql_where=sa.text("ended_us IS NOT NULL AND published_us IS NULL"),
    )
    op.create_table(
        "job_events",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_events_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job_events")),
    )
    op.create_index("ix_job_events_job", "job_events", ["job_id", "id"], unique=False)
    op.create_table(
        "parts",
        sa.Column("job_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ordinal", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("shots", sa.Integer(), nullable=False),
        sa.CheckConstraint("shots > 0 AND ordinal > 0", name=op.f("ck_parts_positive")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_parts_job_id")),
        sa.PrimaryKeyConstraint("job_id", "ordinal", name=op.f("pk_parts")),
    )
    op.create_table(
        "quotes",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("cost_microusd", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("lines", sa.Text(), nullable=False),
        sa.Column("raw", sa.Text(), nullable=False),
        sa.Column("taken_us", sa.BigInteger(), nullable=False),
        sa.Column("valid_until_us", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("cost_microusd >= 0", name=op.f("ck_quotes_money")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_quotes_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quotes")),
    )
    op.create_index("ix_quotes_job", "quotes", ["job_id"], unique=False)
    op.create_table(
        "attempts",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("part_ordinal", sa.Integer(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("posts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("paid", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("backend", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("provider_job_id", sa.Text(), nullable=True),
        sa.Column("provider_status", sa.Text(), nullable=True),
        sa.Column("estimate_microusd", sa.BigInteger(), nullable=False),
        sa.Column("intent_epoch", sa.Integer(), nullable=True),
        sa.Column("intent_sequence", sa.BigInteger(), nullable=True),
        sa.Column("prepared_us", sa.BigInteger(), nullable=False),
        sa.Column("sent_us", sa.BigInteger(), nullable=True),
        sa.Column("send_not_after_us", sa.BigInteger(), nullable=True),
        sa.Column("ended_us", sa.BigInteger(), nullable=True),
        sa.Column("next_poll_us", sa.BigInteger(), nullable=True),
        sa.Column("polls", sa.Integer(), server_default="0", nullable=False),
        sa.Column("poll_failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("estimated_cost_microusd", sa.BigInteger(), nullable=True),
        sa.Column("credits_applied_microcredits", sa.BigInteger(), nullable=True),
        sa.Column("overage_microusd", sa.BigInteger(), nullable=True),
        sa.Column("accept_overage", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.Column("never_runs", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("raw_reply", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "state IN ('failed', 'finished', 'in_doubt', 'not_sent', 'prepared', 'refused', 'settled', 'submitted', 'submitting', 'written_off')",
            name=op.f("ck_attempts_state"),
        ),
        sa.CheckConstraint(
            "state NOT IN ('failed', 'finished', 'in_doubt', 'settled', 'submitted', 'submitting', 'written_off') OR posts = 1",
            name=op.f("ck_attempts_posted"),
        ),
        sa.CheckConstraint(
            "state NOT IN ('failed', 'finished', 'settled', 'submitted') OR provider_job_id IS NOT NULL",
            name=op.f("ck_attempts_named_by_provider"),
        ),
        sa.CheckConstraint(
            "state NOT IN ('not_sent', 'prepared', 'refused') OR provider_job_id IS NULL",
            name=op.f("ck_attempts_not_named_by_provider"),
        ),
        sa.CheckConstraint("posts IN (0, 1)", name=op.f("ck_attempts_one_post")),
        sa.ForeignKeyConstraint(
            ["job_id", "part_ordinal"],
            ["parts.job_id", "parts.ordinal"],
            name=op.f("fk_attempts_job_id_part_ordinal"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempts")),
        sa.UniqueConstraint(
            "job_id", "part_ordinal", "ordinal", name=op.f("uq_attempts_job_id_part_ordinal_ordinal")
        ),
    )
    op.create_index(
        "ix_attempts_due",
        "attempts",
        ["next_poll_us"],
        unique=False,
        sqlite_where=sa.text("state = 'submitted'"),
        postgresql_where=sa.text("state = 'submitted'"),
    )
    op.create_index(
        "ix_attempts_finished",
        "attempts",
        ["job_id"],
        unique=False,
        sqlite_where=sa.text("state = 'finished'"),
        postgresql_where=sa.text("state = 'finished'"),
    )
    op.create_index(
        "ix_attempts_in_flight",
        "attempts",
        ["backend"],
        unique=False,
        sqlite_where=sa.text("state IN ('prepared', 'submitted', 'submitting')"),
        postgresql_where=sa.text("state IN ('prepared', 'submitted', 'submitting')"),
    )
    op.create_index(
        "ix_attempts_lost",
        "attempts",
        ["backend"],
        unique=False,
        sqlite_where=sa.text("state IN ('in_doubt', 'submitting')"),
        postgresql_where=sa.text("state IN ('in_doubt', 'submitting')"),
    )
    op.create_index(
        "ix_attempts_prepared",
        "attempts",
        ["prepared_us"],
        unique=False,
        sqlite_where=sa.text("state = 'prepared'"),
        postgresql_where=sa.text("state = 'prepared'"),
    )
    op.create_index(
        "uq_attempts_intent",
        "attempts",
        ["intent_epoch", "intent_sequence"],
        unique=True,
        sqlite_where=sa.text("intent_sequence IS NOT NULL"),
        postgresql_where=sa.text("intent_sequence IS NOT NULL"),
    )
    op.create_index(
        "uq_attempts_one_live",
        "attempts",
        ["job_id", "part_ordinal"],
        unique=True,
        sqlite_where=sa.text(
            "state IN ('finished', 'in_doubt', 'prepared', 'settled', 'submitted', 'submitting')"
        ),
        postgresql_where=sa.text(
            "state IN ('finished', 'in_doubt', 'prepared', 'settled', 'submitted', 'submitting')"
        ),
    )
    op.create_index(
        "uq_attempts_provider_job",
        "attempts",
        ["provider", "provider_job_id"],
        unique=True,
        sqlite_where=sa.text("provider_job_id IS NOT NULL"),
        postgresql_where=sa.text("provider_job_id IS NOT NULL"),
    )
    op.create_table(
        "results",
        sa.Column("job_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("part_ordinal", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("attempt_id", sa.Text(), nullable=False),
        sa.Column("counts", sa.Text(), nullable=False),
        sa.Column("bit_order", sa.Text(), nullable=False),
        sa.Column("shots_returned", sa.Text(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("raw", sa.Text(), nullable=False),
        sa.Column("received_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempts.id"], name=op.f("fk_results_attempt_id")),
        sa.ForeignKeyConstraint(
            ["job_id", "part_ordinal"],
            ["parts.job_id", "parts.ordinal"],
            name=op.f("fk_results_job_id_part_ordinal"),
        ),
        sa.PrimaryKeyConstraint("job_id", "part_ordinal", name=op.f("pk_results")),
    )
    op.create_table(
        "txns",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("idem_key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("attempt_id", sa.Text(), nullable=True),
        sa.Column("reverses", sa.BigInteger(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('adjust', 'correction', 'expire', 'grant', 'observe', 'refund', 'settle', 'settle_over', 'write_off')",
            name=op.f("ck_txns_kind"),
        ),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempts.id"], name=op.f("fk_txns_attempt_id")),
        sa.ForeignKeyConstraint(["reverses"], ["txns.id"], name=op.f("fk_txns_reverses")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_txns")),
        sa.UniqueConstraint("idem_key", name=op.f("uq_txns_idem_key")),
    )
    op.create_index(
        "ix_txns_attempt",
        "txns",
        ["attempt_id"],
        unique=False,
        sqlite_where=sa.text("attempt_id IS NOT NULL"),
        postgresql_where=sa.text("attempt_id IS NOT NULL"),
    )
    op.create_index(
        "ix_txns_reverses",
        "txns",
        ["reverses"],
        unique=False,
        sqlite_where=sa.text("reverses IS NOT NULL"),
        postgresql_where=sa.text("reverses IS NOT NULL"),
    )
    op.create_table(
        "entries",
        sa.Column("txn_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("line", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("amount <> 0", name=op.f("ck_entries_not_zero")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_entries_account_id")),
        sa.ForeignKeyConstraint(["txn_id"], ["txns.id"], name=op.f("fk_entries_txn_id")),
        sa.PrimaryKeyConstraint("txn_id", "line", name=op.f("pk_entries")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_entries_account", "entries", ["account_id", "amount"], unique=False)
    op.create_table(
        "holds",
        sa.Column("attempt_id", sa.Text(), nullable=False),
        sa.Column("amount_microusd", sa.BigInteger(), nullable=False),
        sa.Column("overage_microusd", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("posted_microusd", sa.BigInteger(), nullable=True),
        sa.Column("overrun_microusd", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("refunded_microusd", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("txn_id", sa.BigInteger(), nullable=True),
        sa.Column("evidence", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(state = 'posted') = (posted_microusd IS NOT NULL)", name=op.f("ck_holds_posted")
        ),
        sa.CheckConstraint("state IN ('open', 'posted', 'voided')", name=op.f("ck_holds_state")),
        sa.CheckConstraint(
            "amount_microusd >= 0 AND overage_microusd >= 0 AND overrun_microusd >= 0",
            name=op.f("ck_holds_money"),
        ),
        sa.CheckConstraint(
            "refunded_microusd >= 0 AND refunded_microusd <= COALESCE(posted_microusd, 0)",
            name=op.f("ck_holds_refunded"),
        ),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempts.id"], name=op.f("fk_holds_attempt_id")),
        sa.ForeignKeyConstraint(["txn_id"], ["txns.id"], name=op.f("fk_holds_txn_id")),
        sa.PrimaryKeyConstraint("attempt_id", name=op.f("pk_holds")),
        sa.UniqueConstraint("txn_id", name=op.f("uq_holds_txn_id")),
    )
    op.create_index(
        "ix_holds_open",
        "holds",
        ["attempt_id"],
        unique=False,
        sqlite_where=sa.text("state = 'open'"),
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_table(
        "cap_parts",
        sa.Column("attempt_id", sa.Text(), nullable=False),
        sa.Column("window_key", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("settled", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("amount >= 0 AND settled >= 0", name=op.f("ck_cap_parts_amount")),
        sa.ForeignKeyConstraint(["attempt_id"], ["holds.attempt_id"], name=op.f("fk_cap_parts_attempt_id")),
        sa.ForeignKeyConstraint(["window_key"], ["cap_windows.key"], name=op.f("fk_cap_parts_window_key")),
        sa.PrimaryKeyConstraint("attempt_id", "window_key", name=op.f("pk_cap_parts")),
    )
    op.create_index("ix_cap_parts_window", "cap_parts", ["window_key"], unique=False)
    op.create_table(
        "hold_parts",
        sa.Column("attempt_id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("amount > 0", name=op.f("ck_hold_parts_amount")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_hold_parts_account_id")),
        sa.ForeignKeyConstraint(["attempt_id"], ["holds.attempt_id"], name=op.f("fk_hold_parts_attempt_id")),
        sa.PrimaryKeyConstraint("attempt_id", "account_id", name=op.f("pk_hold_parts")),
    )
    op.create_index("ix_hold_parts_account", "hold_parts", ["account_id"], unique=False)
    numbers = sa.table("sequences", sa.column("name"), sa.column("next"))
    op.bulk_insert(numbers, [{"name": "batches", "next": 1}, {"name": "jobs", "next": 1}])
    for statement in append_only(op.get_bind().dialect.name):
        op.execute(statement)


def append_only(dialect: str) -> list[str]:
    """The journal is never edited: the database itself refuses."""
    if dialect == "sqlite":
        return [
            f"CREATE TRIGGER {table}_{verb} BEFORE {verb} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            for table in ("entries", "txns")
            for verb in ("UPDATE", "DELETE")
        ]
    function = (
        "CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$"
    )
    return [function] + [
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
        "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        for table in ("entries", "txns")
    ]
