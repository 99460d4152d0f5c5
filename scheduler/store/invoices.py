"""What a provider may have charged, as an invoice would list it."""

from __future__ import annotations

from sqlalchemy import bindparam, func, select

from scheduler.core.invoice import ChargedRun
from scheduler.core.job import job_label
from scheduler.core.lifecycle import AttemptState
from scheduler.store.moves import Moves, in_states
from scheduler.store.schema import attempts, batches, jobs

_RUNS = (
    select(
        attempts.c.provider_job_id,
        attempts.c.sent_us,
        attempts.c.prepared_us,
        attempts.c.estimated_cost_microusd,
        attempts.c.credits_applied_microcredits,
        jobs.c.batch_id,
        jobs.c.ordinal,
        batches.c.size,
    )
    .select_from(
        attempts.join(jobs, jobs.c.id == attempts.c.job_id).join(batches, batches.c.id == jobs.c.batch_id)
    )
    .where(attempts.c.provider == bindparam("_provider"), attempts.c.provider_job_id.is_not(None))
    .order_by(attempts.c.sent_us, attempts.c.id)
)
_NAMELESS = select(func.count()).where(
    attempts.c.provider == bindparam("_provider"),
    attempts.c.provider_job_id.is_(None),
    in_states(attempts.c.state, {AttemptState.IN_DOUBT, AttemptState.WRITTEN_OFF}),
)


class InvoiceRows(Moves):
    def charged_runs(self, provider: str) -> list[ChargedRun]:
        """Every run that a provider accepted and named, the oldest first."""
        return [
            ChargedRun(
                provider_job_id=r.provider_job_id,
                job=job_label(r.batch_id, r.ordinal, r.size),
                sent_us=r.sent_us or r.prepared_us,
                cost_microusd=r.estimated_cost_microusd,
                microcredits=r.credits_applied_microcredits,
            )
            for r in self._run(_RUNS, {"_provider": provider})
        ]

    def nameless_runs(self, provider: str) -> int:
        """How many may have been charged under an id that nobody told us."""
        return int(self._run(_NAMELESS, {"_provider": provider}).scalar_one())
