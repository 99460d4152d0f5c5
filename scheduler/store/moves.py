"""State writes that every stage shares.

Each names the states it may leave, so a rescuer never overwrites a finisher.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Executable,
    Table,
    bindparam,
    case,
    func,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects import sqlite

from scheduler.core.admission import Pause
from scheduler.core.lifecycle import (
    JOB_ARROWS,
    JOB_ENDED,
    JobEvent,
    JobState,
    job_states_before,
)
from scheduler.store.compiled import NO_VALUES, Answer, Values, driver_of, run
from scheduler.store.later import tell_later_jobs
from scheduler.store.schema import job_events, jobs, pauses, sequences


def is_state(column: ColumnElement[Any], state: str) -> ColumnElement[bool]:
    """`state = 'waiting'` written out: SQLite uses a partial index only when it sees the literal."""
    return column == literal_column(f"'{state}'")


def in_states(column: ColumnElement[Any], states: Iterable[str]) -> ColumnElement[bool]:
    """The same for a set, written exactly as the schema's partial indexes write it."""
    return column.in_([literal_column(f"'{state}'") for state in sorted(states)])


def targets_of(event: JobEvent) -> JobState:
    """The one state an event leads to, whatever it left."""
    (target,) = {after for (_, e), after in JOB_ARROWS.items() if e == event}
    return target


_EVENTS = insert(job_events)
_FORGET = pauses.delete().where(
    pauses.c.backend == bindparam("_backend"), pauses.c.until_us <= bindparam("_now")
)
_SOURCES = {event: sorted(job_states_before(event)) for event in JobEvent}
#: Events after which more is known about what a job has cost: its ends, and a failed try that was paid.
_COSTS = frozenset(event for event in JobEvent if targets_of(event) in JOB_ENDED) | {JobEvent.RETRY}
_COST: Any = bindparam("_cost", type_=jobs.c.cost_microusd.type)
#: A job costs what all its tries cost together; a cost that is unknown (None) leaves what is known.
_COST_SO_FAR = case(
    (_COST.is_(None), jobs.c.cost_microusd), else_=func.coalesce(jobs.c.cost_microusd, 0) + _COST
)
_MOVE_ONE = {
    event: update(jobs)
    .where(jobs.c.id == bindparam("_id"), jobs.c.state.in_(_SOURCES[event]))
    .values(
        state=targets_of(event).value,
        reason=bindparam("_reason"),
        wait_code=None,
        wait_until_us=None,
        **({"ended_us": bindparam("_at")} if targets_of(event) in JOB_ENDED else {}),
        **({"cost_microusd": _COST_SO_FAR} if event in _COSTS else {}),
    )
    for event in JobEvent
}
_MOVE_MANY = {
    event: update(jobs)
    .where(jobs.c.id.in_(bindparam("_ids", expanding=True)), jobs.c.state.in_(_SOURCES[event]))
    .values(state=targets_of(event).value, reason=bindparam("_reason"), wait_code=None, wait_until_us=None)
    .returning(jobs.c.id)
    for event in JobEvent
    if targets_of(event) not in JOB_ENDED
}
_TAKE_NUMBERS = (
    update(sequences)
    .where(sequences.c.name == bindparam("_name"))
    .values(next=sequences.c.next + bindparam("_count"))
    .returning(sequences.c.next)
)


@cache
def _insert_ignoring(dialect_name: str, table: Table) -> Any:
    return _insert(dialect_name, table).on_conflict_do_nothing()


def _insert(dialect_name: str, table: Table) -> Any:
    """The dialect's own INSERT, which knows ON CONFLICT."""
    if dialect_name == "postgresql":
        from sqlalchemy.dialects import postgresql  # 2 MB that a daemon on SQLite has no use for

        return postgresql.insert(table)
    return sqlite.insert(table)


class Moves:
    """The base of the transaction object: a connection inside an open transaction."""

    def __init__(self, connection: Connection) -> None:
        self._c = connection
        self._driver = driver_of(connection)

    def _run(self, statement: Executable, values: Values | Sequence[Values] = NO_VALUES) -> Answer:
        """Execute a constant of this package, compiled once; `compiled.run` tells what it is not for."""
        if self._driver is None:
            return self._c.execute(statement, values)
        return run(self._c, statement, values, self._driver)

    def insert_ignoring(self, table: Table, rows: Sequence[dict[str, Any]]) -> None:
        """Insert rows whose key may already be there, and then leave what is there alone."""
        self._run(_insert_ignoring(self._c.dialect.name, table), rows)

    def upsert(self, table: Any, key: str, row: dict[str, Any]) -> None:
        others = {name: value for name, value in row.items() if name != key}
        inserted = _insert(self._c.dialect.name, table).values(**row)
        self._c.execute(inserted.on_conflict_do_update(index_elements=[key], set_=others))

    def take_numbers(self, name: str, count: int) -> range:
        """Reserve `count` consecutive numbers; a rolled-back transaction gives them back."""
        after = self._run(_TAKE_NUMBERS, {"_name": name, "_count": count}).scalar_one()
        return range(after - count, after)

    def move_job(
        self, job_id: int, event: JobEvent, at_us: int, sentence: str, *, cost_microusd: int | None = None
    ) -> bool:
        """Move a job along one arrow; `cost_microusd` is what its latest try cost, None is unknown."""
        values: dict[str, Any] = {"_id": job_id, "_reason": sentence}
        if targets_of(event) in JOB_ENDED:
            values["_at"] = at_us
        if event in _COSTS:
            # Every arrow to cancelled leaves from where nothing was sent, or is known not to have arrived.
            values["_cost"] = 0 if event is JobEvent.CANCEL else cost_microusd
        if self._run(_MOVE_ONE[event], values).rowcount != 1:
            return False
        self.note((job_id,), at_us, event, sentence)
        if targets_of(event) in JOB_ENDED:
            tell_later_jobs(self._run, job_id, targets_of(event))
        return True

    def move_jobs(self, job_ids: Sequence[int], event: JobEvent, sentence: str) -> list[int]:
        """Move many along one arrow; returns those that moved. The story is the caller's to note."""
        if not job_ids:
            return []
        return sorted(self._run(_MOVE_MANY[event], {"_ids": list(job_ids), "_reason": sentence}).scalars())

    def note(self, job_ids: Iterable[int], at_us: int, event: str, sentence: str) -> None:
        rows = [{"job_id": i, "at_us": at_us, "event": str(event), "sentence": sentence} for i in job_ids]
        if rows:
            self._run(_EVENTS, rows if len(rows) > 1 else rows[0])

    def pause_backend(self, backend: str, pause: Pause, at_us: int) -> None:
        """Pause for a reason; another reason stands beside it, and lifting one lifts no other."""
        same = (pauses.c.backend == backend) & (pauses.c.code == pause.code)
        found = self._c.execute(select(pauses).where(same)).first()
        values = {"sentence": pause.sentence, "until_us": pause.until_us, "since_us": at_us}
        if found is None:
            self._c.execute(insert(pauses), {"backend": backend, "code": pause.code, "failures": 1, **values})
        else:
            if pause.until_us is not None and (found.until_us is None or found.until_us > pause.until_us):
                # What one answer asked for, or a person has to end, is not cut short by the next.
                values |= {"sentence": found.sentence, "until_us": found.until_us}
            self._c.execute(update(pauses).where(same).values(failures=found.failures + 1, **values))

    def pause_failures(self, backend: str) -> int:
        statement = select(func.coalesce(func.max(pauses.c.failures), 0)).where(pauses.c.backend == backend)
        return int(self._c.execute(statement).scalar_one())

    def pauses_of(self, backend: str) -> list[Pause]:
        rows = self._c.execute(select(pauses).where(pauses.c.backend == backend).order_by(pauses.c.code))
        return [Pause(row.code, row.sentence, row.until_us) for row in rows]

    def clear_pause(self, backend: str, code: str | None = None) -> bool:
        where = pauses.c.backend == backend
        if code is not None:
            where &= pauses.c.code == code
        return self._c.execute(pauses.delete().where(where)).rowcount > 0

    def forget_short_pauses(self, backend: str, now_us: int) -> None:
        """It works again: pauses that have ended by themselves, and how many they were, are forgotten."""
        self._run(_FORGET, {"_backend": backend, "_now": now_us})
