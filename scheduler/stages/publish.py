"""Publish: an ended job becomes files. The row says `published` only when they are on disk.

The provider's own files go between the two: were the row first, a crash before them would leave them for
good, because nobody looks at a published job again.
"""

from __future__ import annotations

import asyncio
import errno
from dataclasses import dataclass

from scheduler.core.job import job_label
from scheduler.core.records import EndedJob
from scheduler.core.timing import night_of
from scheduler.errors import TryAgain
from scheduler.ports import Kit, ResultFiles

GROUP = 100
#: The disk's failures: the next job would only fail as well.
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})


@dataclass(frozen=True, slots=True)
class Publishing:
    kit: Kit
    files: ResultFiles

    async def step(self) -> int:
        ended = await self.kit.store.read(lambda tx: tx.ended_unpublished(GROUP))
        if not ended:
            return 0
        written, trouble = await asyncio.to_thread(self._write, ended)
        if written:
            self.kit.wake("timekeeping")  # what has ended may break what comes after it
            await self._forget(written)
            await self._mark(written)
        if trouble is not None:
            raise trouble
        if len(ended) == GROUP:
            self.kit.wake("publish")
        return len(written)

    async def _mark(self, written: list[EndedJob]) -> None:
        now_us = self.kit.clock.now_us()
        ended_batches = await self.kit.store.write(
            lambda tx: tx.mark_published([job.job.job_id for job in written], now_us)
        )
        if ended_batches:
            self.kit.wake("label")

    def _write(self, ended: list[EndedJob]) -> tuple[list[EndedJob], TryAgain | None]:
        """Write what can be written; the first that cannot be is the trouble that people are told about.

        Nothing is lost: the result is in the store and is written when the cause is gone.
        """
        written: list[EndedJob] = []
        trouble: TryAgain | None = None
        for job in ended:
            ended_us = job.job.ended_us or self.kit.clock.now_us()
            try:
                self.files.write(job, night_of(ended_us, self.kit.rules.zone).key)
            except OSError as error:
                where = f": {error.filename}" if error.filename else ""
                trouble = trouble or TryAgain(
                    f"the results of job {_label(job)} cannot be written yet: {error.strerror}{where}",
                    "they are safe in the store and are written when the cause is gone",
                )
                if error.errno in _DISK:
                    break
            else:
                written.append(job)
        return written, trouble

    async def _forget(self, written: list[EndedJob]) -> None:
        for job in written:
            provider = self.kit.provider_of(job.job.backend)
            for attempt in job.attempts:
                if provider is None or attempt.provider_job_id is None:
                    continue
                try:
                    await provider.forget(attempt.provider_job_id)
                except OSError as error:
                    # A file left over must not keep a result from the one who waits for it.
                    self.kit.log(
                        "provider's files not removed", attempt=attempt.attempt_id, reason=str(error)
                    )


def _label(ended: EndedJob) -> str:
    return job_label(ended.job.batch_id, ended.job.ordinal, ended.job.batch_size)
