"""Holds, their parts and the caps' windows lie in the order of their keys, each told once.

A reservation writes a hold and a part for each cap: with a hidden row number each of them was written twice,
an index on the parts' windows, which only sums over everything would use, a third time, and every hold stood
in an index of transactions that it did not have yet. The meaning of the tables does not change. SQLite cannot
alter a table to it: each is written anew from its own text.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLES = ("cap_windows", "holds", "cap_parts", "hold_parts")
#: Becomes an index of the holds that have a transaction.
ONCE = "uq_holds_txn_id"


def upgrade() -> None:
    op.drop_index("ix_cap_parts_window", "cap_parts")
    if op.get_bind().dialect.name == "sqlite":
        for table in TABLES:
            _without_row_numbers(table)
    else:
        op.drop_constraint(ONCE, "holds", type_="unique")
    booked = sa.text("txn_id IS NOT NULL")
    op.create_index(
        "ix_holds_booked", "holds", ["txn_id"], unique=True, sqlite_where=booked, postgresql_where=booked
    )


def _without_row_numbers(table: str) -> None:
    """The upgrade has foreign keys off meanwhile, counts the rows and checks all references afterwards."""
    say = op.get_bind().exec_driver_sql
    stored = "SELECT sql FROM sqlite_master WHERE type = ? AND tbl_name = ? AND sql IS NOT NULL"
    (made,) = say(stored, ("table", table)).scalars()
    indexes = list(say(stored, ("index", table)).scalars())
    head, body = made.split("(", 1)
    lines = [line.strip().rstrip(",") for line in body.rpartition(")")[0].split("\n") if line.strip()]
    kept = ", ".join(line for line in lines if f"CONSTRAINT {ONCE} " not in line)
    if table not in head:
        raise sa.exc.InvalidRequestError(f"the text of table {table} is not one of ours: {head}")
    say(f"CREATE TABLE {table}_by_key ({kept}) WITHOUT ROWID")
    say(f"INSERT INTO {table}_by_key SELECT * FROM {table}")
    say(f"DROP TABLE {table}")
    say(f"ALTER TABLE {table}_by_key RENAME TO {table}")
    for index in indexes:
        say(index)
