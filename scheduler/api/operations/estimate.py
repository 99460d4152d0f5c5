"""`estimate`: what a file would cost, asked without queueing it, or what a job's last quote said.

A price that is not known makes the sum unknown: nothing is added as zero.
"""

from __future__ import annotations

import asyncio
import posixpath
from collections import Counter
from collections.abc import Sequence

from pydantic import Field

from scheduler.api.desk import Args, Caller, Desk
from scheduler.api.operations.jobs import find_job
from scheduler.api.operations.submit import Document, content_of
from scheduler.api.views import label_of, usd
from scheduler.core.job import AUTO_HINT, JobSpec
from scheduler.core.money import Money
from scheduler.core.pricing import Estimate
from scheduler.core.records import JobRecord, Quote
from scheduler.core.task import RunRequest
from scheduler.core.timing import SECOND_US, iso
from scheduler.core.views import EstimateView, PriceView
from scheduler.errors import SpecError, Unreachable, UsageError
from scheduler.intake.document import read_document
from scheduler.ports import EstimateFailed
from scheduler.ports_store import Tx

#: Questions to a provider for one command, and at one time.
MOST_QUESTIONS = 500
AT_ONCE = 8


class EstimateArgs(Args):
    documents: list[Document] = Field(default_factory=list)
    job: str | None = None


async def estimate(desk: Desk, caller: Caller, args: EstimateArgs) -> EstimateView:  # noqa: ARG001
    if (args.job is None) == (not args.documents):
        raise UsageError("name a job or give files, one of both", "nightshot estimate bell.qasm")
    if args.job is not None:
        text = args.job
        job, spec, quote = await desk.kit.store.read(lambda tx: _job_of(tx, text))
        if quote is not None:
            return _view(desk, [_quoted(desk, job, quote)])
        return _view(desk, [await _ask(desk, spec, 1)])
    counted = Counter(_comparable(job) for job in _read(desk, args.documents))
    if len(counted) > MOST_QUESTIONS:
        raise UsageError(
            f"{len(counted)} different jobs are too many questions for one command, {MOST_QUESTIONS} are not",
            "give fewer at once, or submit them: nothing is sent before it has a price",
        )
    prices: list[PriceView] = []
    asked = list(counted.items())
    for first in range(0, len(asked), AT_ONCE):
        group = asked[first : first + AT_ONCE]
        prices += await asyncio.gather(*(_ask(desk, job, count) for job, count in group))
    return _view(desk, prices)


def _job_of(tx: Tx, text: str) -> tuple[JobRecord, JobSpec, Quote | None]:
    job = find_job(tx, text)
    return job, tx.spec_of(job.job_id), tx.latest_quote(job.job_id)


def _read(desk: Desk, documents: Sequence[Document]) -> list[JobSpec]:
    """Every job of the files. Raises SpecError for the first file that is wrong."""
    attached = {posixpath.normpath(d.name): d for d in documents if d.attachment}

    def circuit(name: str) -> bytes:
        document = attached.get(posixpath.normpath(name))
        if document is None:
            raise SpecError(f"circuit {name!r} was not handed over with this file")
        return content_of(document)

    jobs: list[JobSpec] = []
    for document in documents:
        if not document.attachment:
            spec = read_document(document.name, content_of(document), desk.defaults, circuit)
            jobs += desk.resolve(spec).jobs
    return jobs


def _comparable(job: JobSpec) -> JobSpec:
    """The job without what no price depends on: a sweep of a thousand equal runs is one question."""
    return JobSpec(
        job.source_name, job.code, job.framework, job.backend, job.shots, execution_hint=job.execution_hint
    )


async def _ask(desk: Desk, job: JobSpec, count: int) -> PriceView:
    taken_us = desk.now_us()
    answer = await _price(desk, job)
    if isinstance(answer, str):
        return _price_view(desk, job, count, why=answer)
    lines = [str(line) for line in answer.lines if line.amount_microusd]
    quote = Quote(
        job_id=0,
        cost_microusd=answer.cost_microusd,
        source=answer.source,
        lines=" + ".join(lines),
        raw="",
        taken_us=taken_us,
        valid_until_us=taken_us + desk.kit.rules.quote_ttl_us,
    )
    return _price_view(desk, job, count, quote=quote)


async def _price(desk: Desk, job: JobSpec) -> Estimate | str:
    """A price, or the sentence why there is none."""
    rules, provider = desk.kit.rules.backend(job.backend), desk.kit.provider_of(job.backend)
    if rules is None or provider is None:
        return f"no provider is configured for {job.backend}"
    refused = rules.refuse_shots(job.shots)
    if refused is not None:
        return refused
    hint = None if job.execution_hint == AUTO_HINT else job.execution_hint
    request = RunRequest(
        "estimate", job.backend.partition(":")[2], job.code, job.framework, job.shots, execution_hint=hint
    )
    try:
        return await provider.estimate(request)
    except (EstimateFailed, Unreachable) as failure:
        return failure.message


def _quoted(desk: Desk, job: JobRecord, quote: Quote) -> PriceView:
    named = JobSpec(f"{label_of(job)} {job.name}", "", job.framework, job.backend, job.shots)
    return _price_view(desk, named, 1, quote=quote)


def _price_view(
    desk: Desk, job: JobSpec, count: int, *, quote: Quote | None = None, why: str | None = None
) -> PriceView:
    return {
        "name": job.name,
        "jobs": count,
        "backend": job.backend,
        "shots": job.shots,
        "cost_usd": usd(quote.cost_microusd) if quote else None,
        "source": quote.source if quote else None,
        "lines": [line for line in quote.lines.split(" + ") if line] if quote else [],
        "taken_at": iso(quote.taken_us) if quote else None,
        "age_s": max(0, desk.now_us() - quote.taken_us) / SECOND_US if quote else None,
        "valid_until": iso(quote.valid_until_us) if quote else None,
        "why": why,
    }


def _view(desk: Desk, prices: list[PriceView]) -> EstimateView:
    known = [(Money.parse(p["cost_usd"]), p["jobs"]) for p in prices if p["cost_usd"] is not None]
    unknown = sum(p["jobs"] for p in prices if p["cost_usd"] is None)
    total = Money(sum(cost.microusd * jobs for cost, jobs in known))
    return {
        "as_of": iso(desk.now_us()),
        "prices": prices,
        "jobs": sum(p["jobs"] for p in prices),
        "total_usd": None if unknown else total.decimal_text(),
        "unknown": unknown,
    }
