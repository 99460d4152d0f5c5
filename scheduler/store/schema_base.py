"""What all tables share: names of constraints, types, and indexes that hold a part of the rows."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import BigInteger, Dialect, Index, Integer, MetaData, Text, TypeDecorator, text

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
