"""Statements compiled once: SQL text and the order of its values, so that a run costs a dictionary lookup.

SQLAlchemy works out cache key, parameters and types anew for every execution, 25 µs on top of the 2 µs that
SQLite takes. The statements of this package are constants, so all of that is done once for each. Only where
the driver takes plain values (sqlite3): asyncpg wants SQLAlchemy's casts, and there the network costs most.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, CursorResult, Executable
from sqlalchemy.sql.compiler import SQLCompiler

Values = Mapping[str, Any]
Processor = Callable[[Any], Any]
NO_VALUES: Values = {}


@dataclass(frozen=True, slots=True)
class _Compiled:
    sql: str
    #: Values that are part of the statement (`state = 'submitting'`), by name.
    constants: Mapping[str, Any]
    #: Puts a mapping's values into the order of the SQL.
    in_order: Callable[[Values], tuple[Any, ...]]
    #: Positions whose values a type of ours changes on the way in (ForeignText).
    processors: Sequence[tuple[int, Processor]]

    def bind(self, values: Values) -> tuple[Any, ...]:
        ordered = self.in_order({**self.constants, **values} if self.constants else values)
        if not self.processors:
            return ordered
        changed = list(ordered)
        for position, process in self.processors:
            changed[position] = process(changed[position])
        return tuple(changed)


_KNOWN: dict[tuple[Executable, tuple[str, ...]], _Compiled] = {}


def run(
    connection: Connection, statement: Executable, values: Values | Sequence[Values]
) -> CursorResult[*tuple[Any, ...]]:
    """Execute a constant of this package; several mappings are one executemany.

    Not for statements that are made for one call (they would be kept for ever) or that take a list for an
    IN, and rows come as the driver gives them: a Boolean of SQLite is 0 or 1.
    """
    if connection.dialect.name != "sqlite":
        return connection.execute(statement, values)
    if isinstance(values, Mapping):
        compiled = _compiled_for(connection, statement, values)
        return connection.exec_driver_sql(compiled.sql, compiled.bind(values))
    compiled = _compiled_for(connection, statement, values[0])
    return connection.exec_driver_sql(compiled.sql, [compiled.bind(each) for each in values])


def _compiled_for(connection: Connection, statement: Executable, values: Values) -> _Compiled:
    key = (statement, tuple(values))
    compiled = _KNOWN.get(key)
    if compiled is None:
        compiled = _KNOWN[key] = _compile(connection, statement, values)
    return compiled


def _compile(connection: Connection, statement: Any, values: Values) -> _Compiled:
    dialect = connection.dialect
    compiled: SQLCompiler = statement.compile(dialect=dialect, column_keys=list(values))
    if any(bind.expanding and name in values for name, bind in compiled.binds.items()):
        raise ValueError("a statement that takes a list is different for each length: execute it")
    # Lists that are part of the statement (`state IN (…)`) become single values here, once and for all.
    expanded = compiled.construct_expanded_state(dict(values))
    names = tuple(expanded.positiontup or ())
    constants = {name: value for name, value in expanded.parameters.items() if name not in values}
    processors = [
        (position, process)
        for position, name in enumerate(names)
        if name in values and (process := compiled.binds[name].type.bind_processor(dialect)) is not None
    ]
    return _Compiled(expanded.statement, constants, _getter(names), processors)


def _getter(names: tuple[str, ...]) -> Callable[[Values], tuple[Any, ...]]:
    match names:
        case ():
            return lambda _values: ()
        case (only,):
            return lambda values: (values[only],)
        case _:
            return itemgetter(*names)
