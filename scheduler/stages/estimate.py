"""Estimate: a waiting job without a price gets one, or a reason why not. A failed estimate is never zero."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from scheduler.core.hints import HINTS, HintPrice, choose_hint
from scheduler.core.lifecycle import JobEvent
from scheduler.core.money import Money
from scheduler.core.pricing import Estimate
from scheduler.core.records import Quote, UnpricedJob
from scheduler.core.rules import BackendRules
from scheduler.core.task import RunRequest
from scheduler.core.timing import retry_at_us
from scheduler.core.windows import open_windows
from scheduler.errors import Unreachable
from scheduler.ports import EstimateFailed, Kit, Provider
from scheduler.ports_store import EstimateTx

#: Jobs priced in one transaction, and questions asked of one provider at a time.
GROUP = 200
AT_ONCE = 8
_NO_PROVIDER_PAUSE_S = 300.0


@dataclass(frozen=True, slots=True)
class Priced:
    """A price, the execution hint it was chosen with, and what was said of the other hints."""

    estimate: Estimate
    hint: str | None = None
    said: str = ""


@dataclass(frozen=True, slots=True)
class Estimating:
    kit: Kit

    async def step(self) -> int:
        def gather(tx: EstimateTx) -> dict[str, list[UnpricedJob]]:
            return {name: self._to_price(tx, name) for name in tx.waiting_backends()}

        # Behind the intake that woke us: the answer comes with its commit.
        waiting = await self.kit.store.read_behind(gather)
        return sum([await self._price_backend(name, jobs) for name, jobs in waiting.items()])

    async def _price_backend(self, backend: str, jobs: list[UnpricedJob]) -> int:
        priced = 0
        while jobs:
            answers = await self._ask(backend, jobs)
            if any(isinstance(answer, Priced) for _, answer in answers):
                self.kit.wake("admit")  # its work comes behind ours in the store, and may share our commit
            done = await self.kit.store.write(lambda tx, answers=answers: self._record(tx, backend, answers))  # type: ignore[misc]
            priced += done
            if any(isinstance(answer, EstimateFailed) for _, answer in answers):
                self.kit.wake("publish")  # one that can never run has ended
            if done < len(answers) or len(answers) < len(jobs):
                return priced  # the provider is in trouble: the rest would only fail as well
            if len(jobs) < GROUP:
                return priced  # what has come meanwhile has woken this stage again
            jobs = await self.kit.store.read(lambda tx: self._to_price(tx, backend))
        return priced

    def _to_price(self, tx: EstimateTx, backend: str) -> list[UnpricedJob]:
        now_us = self.kit.clock.now_us()
        jobs = tx.unpriced_jobs(backend, now_us, GROUP)
        rules = self.kit.rules.backend(backend)
        if len(jobs) == GROUP or rules is None or not rules.paid or tx.arming() is None:
            return jobs
        # Only those about to start are asked for again: a queue of a thousand need not be priced every hour.
        windows = open_windows(self.kit.rules.hours, now_us)
        return jobs + tx.stale_heads(backend, now_us, rules.slots, windows)

    async def _ask(
        self, backend: str, jobs: list[UnpricedJob]
    ) -> list[tuple[UnpricedJob, Priced | EstimateFailed]]:
        rules, provider = self.kit.rules.backend(backend), self.kit.provider_of(backend)
        if rules is None or provider is None or not rules.enabled:
            name = backend.partition(":")[0]
            what = (
                "is switched off"
                if rules and not rules.enabled
                else f"needs provider {name!r}, which is not configured"
            )
            problem = EstimateFailed(
                f"{backend} {what}", retry_after_s=_NO_PROVIDER_PAUSE_S, needs_person=True
            )
            return [(job, problem) for job in jobs]
        answers: list[tuple[UnpricedJob, Priced | EstimateFailed]] = []
        for first in range(0, len(jobs), AT_ONCE):
            group = jobs[first : first + AT_ONCE]
            found = await asyncio.gather(*(_estimate(provider, rules, job) for job in group))
            answers += zip(group, found, strict=True)
            if any(isinstance(a, EstimateFailed) and not a.never_runs for a in found):
                break
        return answers

    def _record(
        self, tx: EstimateTx, backend: str, answers: list[tuple[UnpricedJob, Priced | EstimateFailed]]
    ) -> int:
        now_us = self.kit.clock.now_us()
        quotes = []
        settled = 0
        unchanged = tx.unchanged_jobs(backend, [job for job, _ in answers])
        for job, answer in answers:
            if job.job_id not in unchanged:
                settled += 1  # edited while we asked: the answer is about another job, and it is asked again
                continue
            if isinstance(answer, Priced):
                quotes.append(_quote(job.job_id, answer, now_us, self.kit.rules.quote_ttl_us))
                settled += 1
                above = _above_own_cap(job, answer.estimate)
                if above is not None:
                    tx.move_job(job.job_id, JobEvent.REJECT, now_us, above, cost_microusd=0)
            elif answer.never_runs:
                tx.move_job(job.job_id, JobEvent.REJECT, now_us, answer.message, cost_microusd=0)
                settled += 1
            else:
                again_us = retry_at_us(backend, now_us, job.failures + 1, answer.retry_after_s)
                code = "breaker" if answer.needs_person else "estimate"
                tx.postpone_job(job.job_id, code, again_us, f"no price known: {answer.message}", now_us)
        tx.record_quotes(quotes)
        return settled


async def _estimate(provider: Provider, rules: BackendRules, job: UnpricedJob) -> Priced | EstimateFailed:
    refused = rules.refuse_shots(job.request.shots)
    if refused is not None:
        return EstimateFailed(refused, never_runs=True)
    if job.any_hint:
        return await _cheapest(provider, job.request)
    answer = await _one_estimate(provider, job.request)
    return Priced(answer) if isinstance(answer, Estimate) else answer


async def _one_estimate(provider: Provider, request: RunRequest) -> Estimate | EstimateFailed:
    try:
        return await provider.estimate(request)
    except EstimateFailed as failure:
        return failure
    except Unreachable as failure:
        return EstimateFailed(failure.message)


async def _cheapest(provider: Provider, request: RunRequest) -> Priced | EstimateFailed:
    """Ask the price of every execution hint, one after the other, and choose the cheapest that has one."""
    answers = {hint: await _one_estimate(provider, replace(request, execution_hint=hint)) for hint in HINTS}
    prices = [
        HintPrice(hint, a.cost_microusd) if isinstance(a, Estimate) else HintPrice(hint, None, a.message)
        for hint, a in answers.items()
    ]
    choice = choose_hint(prices)
    if choice.cheapest is None:
        plain = answers[None]
        return plain if isinstance(plain, EstimateFailed) else EstimateFailed(choice.text)
    chosen = answers[choice.cheapest.hint]
    if isinstance(chosen, EstimateFailed):
        return chosen
    return Priced(chosen, choice.cheapest.hint, choice.text)


def _above_own_cap(job: UnpricedJob, estimate: Estimate) -> str | None:
    if job.cap_microusd is None or estimate.cost_microusd <= job.cap_microusd:
        return None
    return f"its price, {Money(estimate.cost_microusd)}, is above its own cap of {Money(job.cap_microusd)}"


def _quote(job_id: int, priced: Priced, now_us: int, ttl_us: int) -> Quote:
    estimate = priced.estimate
    lines = priced.said or " + ".join(str(line) for line in estimate.lines if line.amount_microusd)
    return Quote(
        job_id,
        estimate.cost_microusd,
        estimate.source,
        lines,
        estimate.raw,
        now_us,
        now_us + ttl_us,
        priced.hint,
    )
