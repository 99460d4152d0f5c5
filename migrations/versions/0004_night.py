"""When a job may be sent: hold, window, not_before, deadline, the jobs it comes after; openings of windows."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Plain ADD COLUMN on both databases: no table is rebuilt, and no constraint can be lost on the way.
    for column in (
        sa.Column("parked", sa.Integer(), server_default="0", nullable=False),
        sa.Column("window_name", sa.Text(), server_default="", nullable=False),
        sa.Column("not_before_us", sa.BigInteger(), nullable=True),
        sa.Column("deadline_us", sa.BigInteger(), nullable=True),
        sa.Column("waiting_on", sa.Integer(), server_default="0", nullable=False),
        sa.Column("on_hold_us", sa.BigInteger(), nullable=True),
        sa.Column("on_hold_by", sa.Text(), nullable=True),
        sa.Column("on_hold_reason", sa.Text(), nullable=True),
    ):
        op.add_column("jobs", column)
    op.drop_index("ix_jobs_ready", table_name="jobs")
    create_partial_index(
        "ix_jobs_ready",
        "jobs",
        ["backend", "parked", "window_name", sa.literal_column("priority DESC"), "id"],
        "state = 'waiting' AND estimate_microusd IS NOT NULL",
    )
    create_partial_index("ix_jobs_asleep", "jobs", ["not_before_us"], "state = 'waiting' AND parked >= 4")
    create_partial_index(
        "ix_jobs_deadline", "jobs", ["deadline_us"], "state = 'waiting' AND deadline_us IS NOT NULL"
    )
    op.create_table(
        "job_needs",
        sa.Column("job_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("before_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.CheckConstraint("job_id <> before_id", name=op.f("ck_job_needs_not_itself")),
        sa.CheckConstraint("rule IN ('any', 'ok')", name=op.f("ck_job_needs_rule")),
        sa.CheckConstraint("state IN ('broken', 'closed', 'met', 'open')", name=op.f("ck_job_needs_state")),
        sa.ForeignKeyConstraint(["before_id"], ["jobs.id"], name=op.f("fk_job_needs_before_id")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_needs_job_id")),
        sa.PrimaryKeyConstraint("job_id", "before_id", name=op.f("pk_job_needs")),
    )
    create_partial_index("ix_job_needs_open", "job_needs", ["before_id"], "state = 'open'")
    create_partial_index("ix_job_needs_broken", "job_needs", ["job_id"], "state = 'broken'")
    op.create_table(
        "occurrences",
        sa.Column("window_name", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("opens_us", sa.BigInteger(), nullable=False),
        sa.Column("closes_us", sa.BigInteger(), nullable=False),
        sa.Column("seen_us", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("closes_us > opens_us", name=op.f("ck_occurrences_order")),
        sa.PrimaryKeyConstraint("window_name", "key", name=op.f("pk_occurrences")),
    )


def create_partial_index(name: str, table: str, columns: list[object], where: str) -> None:
    clause = sa.text(where)
    op.create_index(name, table, columns, unique=False, sqlite_where=clause, postgresql_where=clause)
