"""Breakers in rows, so that a restart forgets no trouble and every command can show it."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import bindparam, select

from scheduler.core.breaker import BreakerRules, BreakerState, Event, Phase, Trouble, record
from scheduler.store.moves import Moves
from scheduler.store.schema import breakers

_ONE = select(breakers).where(breakers.c.backend == bindparam("_backend"))
_ALL = select(breakers)


def _state(row: Any) -> BreakerState:
    return BreakerState(
        phase=Phase(row.phase),
        cause=Trouble(row.cause) if row.cause else None,
        openings=row.openings,
        probe_us=row.probe_us,
        in_a_row={Trouble(name): count for name, count in json.loads(row.in_a_row).items()},
    )


class BreakerRows(Moves):
    def breaker_states(self) -> dict[str, BreakerState]:
        """Breakers that have something to say, by backend."""
        return {row.backend: _state(row) for row in self._run(_ALL)}

    def record_breaker(self, backend: str, event: Event, now_us: int, rules: BreakerRules) -> BreakerState:
        """Count an event for a backend; a calm breaker that stays calm is not written."""
        row = self._run(_ONE, {"_backend": backend}).first()
        before = BreakerState() if row is None else _state(row)
        after = record(before, event, now_us, rules)
        if after == before:
            return after
        if after == BreakerState():
            self._c.execute(breakers.delete().where(breakers.c.backend == backend))
            return after
        values = {
            "backend": backend,
            "phase": after.phase.value,
            "cause": after.cause.value if after.cause else None,
            "openings": after.openings,
            "probe_us": after.probe_us,
            "in_a_row": json.dumps({trouble.value: n for trouble, n in sorted(after.in_a_row.items())}),
        }
        self.upsert(breakers, "backend", values)
        return after
