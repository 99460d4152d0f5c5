"""Publishing: files, then what the provider kept, then the row; a crash in between repeats, never leaks."""

from __future__ import annotations

from scheduler.core.records import EndedJob
from scheduler.stages.publish import Publishing
from tests.support.bench import DONE, Bench, Scripted, accepted

UNPUBLISHED = "SELECT count(*) FROM jobs WHERE state = 'completed' AND published_us IS NULL"


class Files:
    def __init__(self) -> None:
        self.written: list[int] = []

    def write(self, ended: EndedJob, night: str) -> None:
        self.written.append(ended.job.job_id)


class Killed(BaseException):
    """The process is gone: no `except` of the program sees this."""


async def ended(bench: Bench) -> Publishing:
    bench.provider.outcomes.append(accepted("kept"))
    await bench.running()
    bench.provider.reports.append(DONE)
    bench.pass_s(5)
    await bench.poll.step()
    await bench.looked()
    await bench.settle.step()
    return Publishing(bench.kit, Files())


async def test_what_the_provider_kept_goes_before_anybody_stops_looking(bench: Bench) -> None:
    publish = await ended(bench)
    died_at: list[tuple[int, ...]] = []

    async def die(self: Scripted, provider_job_id: str) -> None:
        died_at.extend(await bench.rows(UNPUBLISHED))
        raise Killed

    class Mortal(Scripted):
        forget = die

    bench.kit.providers["coda"] = Mortal()  # type: ignore[index]
    try:
        await publish.step()
    except Killed:
        pass
    assert died_at == [(1,)]
    bench.kit.providers["coda"] = bench.provider  # type: ignore[index]
    assert await publish.step() == 1, "the next process finds it again"
    assert bench.provider.forgotten == ["p-kept"]
    assert await bench.rows(UNPUBLISHED) == [(0,)]


async def test_a_file_that_cannot_be_removed_keeps_no_result_back(bench: Bench) -> None:
    publish = await ended(bench)

    class Stuck(Scripted):
        async def forget(self, provider_job_id: str) -> None:
            raise PermissionError(13, "Permission denied", provider_job_id)

    bench.kit.providers["coda"] = Stuck()  # type: ignore[index]
    assert await publish.step() == 1
    assert await bench.rows(UNPUBLISHED) == [(0,)]
    assert [event for event, _ in bench.said if "files" in event] == ["provider's files not removed"]
