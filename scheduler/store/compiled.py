"""Statements compiled once: SQL text and the order of its values, so that a run costs what the driver costs.

SQLAlchemy works out cache key, parameters, types and result columns anew for every execution, 25 µs around
the 2 µs that SQLite takes. The statements of this package are constants, so all of that is done once each.
Only for sqlite3, which takes plain values: asyncpg wants SQLAlchemy's casts, and the network costs more.
"""

from __future__ import annotations

import sqlite3
from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Protocol

from sqlalchemy import Connection, Executable
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler

Values = Mapping[str, Any]
#: A list for an IN is compiled for each of its lengths: worth it for the few of an idle daemon, which soon
#: come again, and not for the many of a busy one, which share the price of one execution.
LONGEST_LIST = 4
NO_VALUES: Values = {}


class Answer(Protocol):
    """What is asked of a result, here and of SQLAlchemy's: rows are tuples with names."""

    @property
    def rowcount(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...

    def first(self) -> Any: ...

    def scalar(self) -> Any: ...

    def scalar_one(self) -> Any: ...

    def scalars(self) -> Iterable[Any]: ...


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of one execution, read to the end: no cursor stays open over a commit."""

    rowcount: int
    rows: list[Any]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.rows)

    def first(self) -> Any:
        return self.rows[0] if self.rows else None

    def scalar(self) -> Any:
        return self.rows[0][0] if self.rows else None

    def scalar_one(self) -> Any:
        ((value,),) = self.rows
        return value

    def scalars(self) -> Iterable[Any]:
        return [row[0] for row in self.rows]


@dataclass(slots=True)
class _Compiled:
    sql: str
    #: Values that are part of the statement (`state = 'submitting'`), by name.
    constants: Mapping[str, Any]
    #: For each list, what its values are called in the SQL.
    lists: Mapping[str, Sequence[str]]
    #: Puts a mapping's values into the order of the SQL.
    in_order: Callable[[Values], tuple[Any, ...]]
    #: Positions whose values a type of ours changes on the way in (ForeignText).
    processors: Sequence[tuple[int, Callable[[Any], Any]]]
    #: Names a row; known after the first execution.
    named: Callable[[Sequence[Any]], Any] | None = None

    def bind(self, values: Values) -> tuple[Any, ...]:
        if self.constants or self.lists:
            values = {**self.constants, **values}
        for name, names in self.lists.items():
            values.update(zip(names, values[name], strict=True))  # type: ignore[attr-defined] # our own, above
        ordered = self.in_order(values)
        if not self.processors:
            return ordered
        changed = list(ordered)
        for position, process in self.processors:
            changed[position] = process(changed[position])
        return tuple(changed)

    def read(self, cursor: sqlite3.Cursor) -> _Rows:
        if cursor.description is None:
            return _Rows(cursor.rowcount, [])
        if self.named is None:
            # `rename` is for a count(*) without a name of its own.
            names = [column[0] for column in cursor.description]
            row: Any = namedtuple("Row", names, rename=True)  # type: ignore[misc] # known only at run time
            self.named = row._make
        rows = [self.named(row) for row in cursor.fetchall()]
        return _Rows(cursor.rowcount, rows)


_KNOWN: dict[tuple[Executable, tuple[str, ...], tuple[tuple[str, int], ...]], _Compiled] = {}


def driver_of(connection: Connection) -> sqlite3.Connection | None:
    """SQLite's own connection; None for another database, and when somebody listens to every statement."""
    # The tests of query plans listen: they shall hear of all of them.
    if connection.dialect.name != "sqlite" or connection.dispatch.before_cursor_execute:
        return None
    driver: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]
    return driver


def run(
    connection: Connection,
    statement: Executable,
    values: Values | Sequence[Values],
    driver: sqlite3.Connection | None = None,
) -> Answer:
    """Execute a constant of this package inside an open transaction; several mappings are one executemany.

    `driver` is what `driver_of` says of the connection, asked once for a transaction. Not for statements that
    are made for one call: they would be kept for ever. Rows come as the driver gives
    them: a Boolean of SQLite is 0 or 1. Raises DBAPIError.
    """
    driver = driver or driver_of(connection)
    if driver is None:
        return connection.execute(statement, values)
    if type(values) is dict or isinstance(values, Mapping):
        lengths = tuple([(name, len(value)) for name, value in values.items() if type(value) is list])
        if lengths and max(length for _, length in lengths) > LONGEST_LIST:
            return connection.execute(statement, values)
        compiled = _compiled_for(connection, statement, values, lengths)
        bound: Any = compiled.bind(values)
        execute: Callable[..., sqlite3.Cursor] = driver.execute
    else:
        compiled = _compiled_for(connection, statement, values[0])
        bound = [compiled.bind(each) for each in values]
        execute = driver.executemany
    try:
        return compiled.read(execute(compiled.sql, bound))
    except sqlite3.Error as error:
        raise DBAPIError.instance(
            compiled.sql, bound, error, sqlite3.Error, dialect=connection.dialect
        ) from error


def _compiled_for(
    connection: Connection, statement: Executable, values: Values, lengths: tuple[tuple[str, int], ...] = ()
) -> _Compiled:
    key = (statement, tuple(values), lengths)
    compiled = _KNOWN.get(key)
    if compiled is None:
        compiled = _KNOWN[key] = _compile(connection, statement, values)
    return compiled


def _compile(connection: Connection, statement: Any, values: Values) -> _Compiled:
    dialect = connection.dialect
    compiled: SQLCompiler = statement.compile(dialect=dialect, column_keys=list(values))
    # Lists become single values, those that are part of the statement (`state IN (…)`) once and for all.
    expanded = compiled.construct_expanded_state(dict(values))
    names = tuple(expanded.positiontup or ())
    lists = {name: found for name, found in expanded.parameter_expansion.items() if name in values}
    given = {*values, *(name for found in lists.values() for name in found)}
    constants = {name: value for name, value in expanded.parameters.items() if name not in given}
    processors = [
        (position, process)
        for position, name in enumerate(names)
        if name in values and (process := compiled.binds[name].type.bind_processor(dialect)) is not None
    ]
    return _Compiled(expanded.statement, constants, lists, _getter(names), processors)


def _getter(names: tuple[str, ...]) -> Callable[[Values], tuple[Any, ...]]:
    match names:
        case ():
            return lambda _values: ()
        case (only,):
            return lambda values: (values[only],)
        case _:
            return itemgetter(*names)
