"""What stages and commands may ask of the store about when a job may be sent: part of `ports_store.Tx`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from scheduler.core.records import Polled
from scheduler.core.waits import Before
from scheduler.core.windows import Occurrence


class TimeTx(Protocol):
    def wake_sleepers(self, now_us: int, limit: int) -> int:
        """Put jobs whose `not_before` has come into the queue; returns how many."""

    def overdue_jobs(self, now_us: int, limit: int) -> list[tuple[int, int]]:
        """Waiting jobs whose deadline is over, each with it."""

    def next_time_us(self) -> int | None:
        """When the next job's time comes, or its deadline is over."""

    def record_occurrence(self, occurrence: Occurrence, at_us: int) -> bool:
        """Note that a window opened; False: this opening was seen before."""

    def broken_needs(self, limit: int) -> list[tuple[int, Before]]:
        """Jobs that come after one which did not end as they asked, each with it."""

    def close_needs(self, job_id: int) -> None:
        """Such a job has been told."""

    def needs_of(self, job_id: int) -> tuple[Before, ...]:
        """What a job still waits for, the first few."""

    def jobs_ahead(
        self, backend: str, priority: int, job_id: int, now_us: int, limit: int, windows: Sequence[str] = ()
    ) -> int:
        """How many jobs stand before this one in its backend's queue, counted up to about `limit`."""

    def polled(self, attempt_id: str) -> Polled | None:
        """How a task is followed that runs at a provider; None when it does not."""

    def put_on_hold(self, job_id: int, actor: str, reason: str, at_us: int) -> bool:
        """Keep a job that is not sent yet from being sent; False: it was sent, has ended, or is on hold."""

    def release(self, job_id: int) -> bool:
        """Let a job go that was on hold; False: it was not."""
