"""What people change about a job before it is sent: its approval, its figures, a second run of its code."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import case, select, update

from scheduler.core.job import JobSpec
from scheduler.core.lifecycle import JobState
from scheduler.core.records import JobEdit, Quote
from scheduler.store.moves import Moves
from scheduler.store.schema import circuits, jobs, parts, quotes

#: Gates that an approval opens.
_APPROVABLE = ("approval", "overage", "drift")


class Edits(Moves):
    def approve_job(self, job_id: int, price_microusd: int) -> bool:
        """Accept a waiting job's price; False: it moved on, or its price is another one by now."""
        opened = jobs.c.wait_code.in_(_APPROVABLE)
        statement = (
            update(jobs)
            .where(
                jobs.c.id == job_id,
                jobs.c.state == JobState.WAITING.value,
                jobs.c.estimate_microusd == price_microusd,
            )
            .values(
                approved_microusd=price_microusd,
                accepted_microusd=price_microusd,
                wait_code=case((opened, None), else_=jobs.c.wait_code),
                wait_until_us=case((opened, None), else_=jobs.c.wait_until_us),
            )
        )
        return self._c.execute(statement).rowcount == 1

    def edit_job(self, job_id: int, edit: JobEdit) -> bool:
        """Change a waiting job; False: it waits no longer. New shots or another backend void its price.

        An approval goes with the price: what was approved was another job.
        """
        named = {
            "backend": edit.backend,
            "shots": edit.shots,
            "priority": edit.priority,
            "cap_microusd": edit.cap_microusd,
        }
        values: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
        if edit.voids_price:
            values |= {
                "estimate_microusd": None,
                "accepted_microusd": None,
                "approved_microusd": None,
                "quoted_us": None,
                "quote_valid_until_us": None,
                "chosen_hint": None,
                "wait_code": None,
                "wait_until_us": None,
                "failures": 0,
                "reason": None,
            }
        waiting = jobs.c.state == JobState.WAITING.value
        if self._c.execute(update(jobs).where(jobs.c.id == job_id, waiting).values(**values)).rowcount != 1:
            return False
        if edit.shots is not None:
            self._c.execute(
                update(parts).where(parts.c.job_id == job_id, parts.c.ordinal == 1).values(shots=edit.shots)
            )
        return True

    def spec_of(self, job_id: int) -> JobSpec:
        """A job as its owner wrote it, to be run once more."""
        statement = (
            select(jobs, circuits.c.code)
            .join(circuits, circuits.c.sha256 == jobs.c.circuit_sha256)
            .where(jobs.c.id == job_id)
        )
        r = self._c.execute(statement).one()
        return JobSpec(
            name=r.name,
            code=r.code,
            framework=r.framework,
            backend=r.backend,
            shots=r.shots,
            accept_overage=r.accept_overage,
            execution_hint=r.execution_hint,
            priority=r.priority,
            project=r.project,
            tags=tuple(json.loads(r.tags)),
            source_name=r.source_name,
            again=True,
            cap_microusd=r.cap_microusd,
            retries=r.retries_left,
            # Its dates were those of the first run; its hours are those of every night.
            window=r.window_name,
        )

    def latest_quote(self, job_id: int) -> Quote | None:
        statement = select(quotes).where(quotes.c.job_id == job_id).order_by(quotes.c.id.desc()).limit(1)
        r = self._c.execute(statement).first()
        if r is None:
            return None
        return Quote(r.job_id, r.cost_microusd, r.source, r.lines, r.raw, r.taken_us, r.valid_until_us)
