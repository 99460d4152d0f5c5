"""The last moment the clocks were believed, and what the database says the time is."""

from __future__ import annotations

from sqlalchemy import bindparam, select, text

from scheduler.core.clocks import ClockMark
from scheduler.store.intents import NODE
from scheduler.store.moves import Moves
from scheduler.store.schema import clock_marks

_MARK = select(clock_marks).where(clock_marks.c.node == bindparam("_node"))


class ClockRows(Moves):
    def clock_mark(self) -> ClockMark | None:
        row = self._run(_MARK, {"_node": NODE}).first()
        return None if row is None else ClockMark(row.wall_us, row.boot_us, row.boot_id)

    def set_clock_mark(self, mark: ClockMark) -> None:
        row = {"node": NODE, "wall_us": mark.wall_us, "boot_us": mark.boot_us, "boot_id": mark.boot_id}
        self.upsert(clock_marks, "node", row)

    def database_us(self) -> int | None:
        if self._c.dialect.name == "sqlite":
            return None
        now = text("SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)")
        return int(self._c.execute(now).scalar_one())
