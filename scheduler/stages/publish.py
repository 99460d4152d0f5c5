"""Publish: an ended job becomes files. The row says `published` only when they are on disk."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from scheduler.core.records import EndedJob
from scheduler.core.timing import night_of
from scheduler.ports import Kit, ResultFiles

GROUP = 100


@dataclass(frozen=True, slots=True)
class Publishing:
    kit: Kit
    files: ResultFiles

    async def step(self) -> int:
        ended = await self.kit.store.read(lambda tx: tx.ended_unpublished(GROUP))
        if not ended:
            return 0
        written = await asyncio.to_thread(self._write, ended)
        if not written:
            return 0
        now_us = self.kit.clock.now_us()
        ended_batches = await self.kit.store.write(
            lambda tx: tx.mark_published([job.job.job_id for job in written], now_us)
        )
        if ended_batches:
            self.kit.wake("label")
        await self._forget(written)
        if len(ended) == GROUP:
            self.kit.wake("publish")
        return len(written)

    def _write(self, ended: list[EndedJob]) -> list[EndedJob]:
        written = []
        for job in ended:
            ended_us = job.job.ended_us or self.kit.clock.now_us()
            try:
                self.files.write(job, night_of(ended_us, self.kit.rules.zone).key)
            except OSError as error:
                # Nothing is lost: the result is in the store and is written when there is room again.
                self.kit.log("results not written yet", job=job.job.job_id, error=str(error))
                break
            written.append(job)
        return written

    async def _forget(self, written: list[EndedJob]) -> None:
        for job in written:
            provider = self.kit.provider_of(job.job.backend)
            for attempt in job.attempts:
                if provider is not None and attempt.provider_job_id is not None:
                    await provider.forget(attempt.provider_job_id)
