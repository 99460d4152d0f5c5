"""Prices and admission: who waits for a quote, who is next in each queue, what is in flight."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Row, Select, bindparam, func, insert, or_, select, update

from scheduler.core.admission import BackendLoad, Candidate, Pause
from scheduler.core.breaker import BreakerState
from scheduler.core.job import AUTO_HINT
from scheduler.core.lifecycle import ATTEMPT_IN_FLIGHT, AttemptState, JobEvent, JobState
from scheduler.core.records import ArmingRecord, Quote, UnpricedJob
from scheduler.core.task import RunRequest
from scheduler.core.waits import ANY_TIME, Terms
from scheduler.store.breakers import BreakerRows
from scheduler.store.moves import in_states, is_state
from scheduler.store.schema import armings, attempts, circuits, job_events, jobs, pauses, quotes

_WAITING = is_state(jobs.c.state, JobState.WAITING)
_UNPRICED_JOB = jobs.c.estimate_microusd.is_(None)
_PRICED_JOB = jobs.c.estimate_microusd.is_not(None)
#: A job that waits behind a gate of its own (credits, a retry) must not stand in the others' way.
_DUE = jobs.c.wait_code.is_(None) | (jobs.c.wait_until_us <= bindparam("_now"))

#: What a provider needs to know of a job, in the order in which `request_of` reads it.
REQUEST_COLUMNS = (
    jobs.c.backend,
    circuits.c.code,
    jobs.c.framework,
    jobs.c.shots,
    jobs.c.accept_overage,
    jobs.c.execution_hint,
    jobs.c.chosen_hint,
)


def with_circuit(statement: Select[Any]) -> Select[Any]:
    return statement.join(circuits, circuits.c.sha256 == jobs.c.circuit_sha256)


def request_of(row: Row[Any], attempt_id: str) -> RunRequest:
    return RunRequest(
        attempt_id=attempt_id,
        device=row.backend.partition(":")[2],
        code=row.code,
        framework=row.framework,
        shots=row.shots,
        accept_overage=bool(row.accept_overage),  # SQLite's own 0 or 1
        # "auto" is ours: on the wire goes what its three prices chose.
        execution_hint=row.chosen_hint if row.execution_hint == AUTO_HINT else row.execution_hint,
    )


_TO_PRICE = with_circuit(
    select(jobs.c.id, jobs.c.failures, jobs.c.cap_microusd, jobs.c.priority, *REQUEST_COLUMNS).select_from(
        jobs
    )
)
#: The queue of one backend for one window ("" is any time), without what is parked: the prefix of its index.
QUEUED = (
    _WAITING,
    _PRICED_JOB,
    jobs.c.backend == bindparam("_backend"),
    jobs.c.parked == 0,
    jobs.c.window_name == bindparam("_window"),
    _DUE,
)
#: First of their queue, and their quote is too old to be relied on.
_STALE = (
    _TO_PRICE.where(*QUEUED)
    # From the future: the clock was put back, and until it is there again nobody would ask.
    .where(or_(jobs.c.quote_valid_until_us <= bindparam("_now"), jobs.c.quoted_us > bindparam("_now")))
    .order_by(jobs.c.priority.desc(), jobs.c.id)
    .limit(bindparam("_limit"))
)
_UNPRICED = (
    _TO_PRICE.where(_WAITING, _UNPRICED_JOB, jobs.c.backend == bindparam("_backend"), _DUE)
    .order_by(jobs.c.id)
    .limit(bindparam("_limit"))
)
_SHOTS_OF = select(jobs.c.id, jobs.c.shots).where(
    jobs.c.id.in_(bindparam("_ids", expanding=True)), jobs.c.backend == bindparam("_backend")
)
_PRICE_JOB = (
    update(jobs)
    .where(jobs.c.id == bindparam("_id"), _WAITING)
    .values(
        estimate_microusd=bindparam("_cost"),
        accepted_microusd=func.coalesce(jobs.c.accepted_microusd, bindparam("_cost")),
        quoted_us=bindparam("_taken"),
        quote_valid_until_us=bindparam("_valid_until"),
        chosen_hint=bindparam("_hint"),
        failures=0,
        wait_code=None,
        wait_until_us=None,
        reason=None,
    )
)
_POSTPONE = (
    update(jobs)
    .where(jobs.c.id == bindparam("_id"), _WAITING)
    .values(
        wait_code=bindparam("_code"),
        wait_until_us=bindparam("_until"),
        reason=bindparam("_reason"),
        failures=jobs.c.failures + 1,
    )
)
_REASON = select(jobs.c.reason).where(jobs.c.id == bindparam("_id"))
#: When a job may be sent, in the order in which `terms_of` reads it.
TERMS_COLUMNS = (
    jobs.c.window_name,
    jobs.c.not_before_us,
    jobs.c.deadline_us,
    jobs.c.waiting_on,
    jobs.c.on_hold_by,
    jobs.c.on_hold_reason,
)
CANDIDATE_COLUMNS = (
    jobs.c.id,
    jobs.c.backend,
    jobs.c.estimate_microusd,
    jobs.c.wait_until_us,
    jobs.c.wait_code,
    jobs.c.reason,
    jobs.c.user,
    jobs.c.project,
    jobs.c.batch_id,
    jobs.c.ordinal,
    jobs.c.shots,
    jobs.c.accept_overage,
    jobs.c.approved_microusd,
    jobs.c.accepted_microusd,
    jobs.c.quoted_us,
    jobs.c.quote_valid_until_us,
    jobs.c.cap_microusd,
    jobs.c.priority,
    *TERMS_COLUMNS,
)
_PROMISED = (
    select(*CANDIDATE_COLUMNS)
    .select_from(attempts.join(jobs, jobs.c.id == attempts.c.job_id))
    .where(is_state(attempts.c.state, AttemptState.PREPARED))
)
_CANDIDATE = select(*CANDIDATE_COLUMNS).where(jobs.c.id == bindparam("_id"))
_HEADS = (
    select(*CANDIDATE_COLUMNS)
    .where(*QUEUED)
    .order_by(jobs.c.priority.desc(), jobs.c.id)
    .limit(bindparam("_limit"))
)
#: The next backend in the index after a given one: a walk over the few names, not over a million rows.
_NEXT_BACKEND = [
    select(jobs.c.backend)
    .where(_WAITING, priced, jobs.c.backend > bindparam("_after"))
    .order_by(jobs.c.backend)
    .limit(1)
    for priced in (_UNPRICED_JOB, _PRICED_JOB)
]
_LAST_ARMING = select(armings).order_by(armings.c.id.desc()).limit(1)
_IN_FLIGHT = (
    select(attempts.c.backend, func.count())
    .where(in_states(attempts.c.state, ATTEMPT_IN_FLIGHT))
    .group_by(attempts.c.backend)
)
_IN_DOUBT = (
    select(attempts.c.backend, func.count(), func.sum(attempts.c.estimate_microusd))
    .where(in_states(attempts.c.state, {AttemptState.SUBMITTING, AttemptState.IN_DOUBT}))
    .where(attempts.c.state == AttemptState.IN_DOUBT.value)
    .group_by(attempts.c.backend)
)
_DOUBTS_OF = _IN_DOUBT.where(attempts.c.backend == bindparam("_backend"))
_LAST_TRY = (
    select(attempts.c.job_id, func.max(attempts.c.ordinal))
    .where(attempts.c.job_id.in_(bindparam("_ids", expanding=True)))
    .group_by(attempts.c.job_id)
)
_PAUSES = select(pauses).order_by(pauses.c.backend, pauses.c.code)
_ATTEMPTS, _QUOTES, _EVENTS = insert(attempts), insert(quotes), insert(job_events)


def terms_of(row: Any) -> Terms:
    terms = Terms(
        window=row.window_name,
        not_before_us=row.not_before_us,
        deadline_us=row.deadline_us,
        waiting_on=row.waiting_on,
        on_hold_by=row.on_hold_by,
        on_hold_reason=row.on_hold_reason or "",
    )
    return ANY_TIME if terms == ANY_TIME else terms


def candidate(row: Any) -> Candidate:
    return Candidate(
        job_id=row.id,
        backend=row.backend,
        estimate_microusd=row.estimate_microusd,
        wait_until_us=row.wait_until_us,
        wait_code=row.wait_code,
        wait_reason=row.reason,
        user=row.user,
        project=row.project,
        batch_id=row.batch_id,
        shots=row.shots,
        accept_overage=bool(row.accept_overage),
        approved_microusd=row.approved_microusd,
        accepted_microusd=row.accepted_microusd,
        quoted_us=row.quoted_us,
        quote_valid_until_us=row.quote_valid_until_us,
        cap_microusd=row.cap_microusd,
        label=f"{row.batch_id}.{row.ordinal}",
        terms=terms_of(row),
    )


def _to_price(row: Any) -> UnpricedJob:
    request = request_of(row, f"estimate-{row.id}")
    return UnpricedJob(row.id, row.failures, request, row.cap_microusd, row.execution_hint == AUTO_HINT)


class Admission(BreakerRows):
    def unpriced_jobs(self, backend: str, now_us: int, limit: int) -> list[UnpricedJob]:
        rows = self._run(_UNPRICED, {"_backend": backend, "_now": now_us, "_limit": limit})
        return [_to_price(row) for row in rows]

    def stale_heads(
        self, backend: str, now_us: int, limit: int, windows: Sequence[str] = ()
    ) -> list[UnpricedJob]:
        return [_to_price(row) for row in self._first_of(_STALE, backend, now_us, limit, windows)]

    def _first_of(
        self, statement: Any, backend: str, now_us: int, limit: int, windows: Sequence[str]
    ) -> list[Any]:
        """The first of a backend's queue in its order: of the queue for any time, and of each open window."""
        rows: list[Any] = []
        for window in ("", *windows):
            values = {"_backend": backend, "_window": window, "_now": now_us, "_limit": limit}
            rows += self._run(statement, values)
        if windows:
            rows.sort(key=lambda row: (-row.priority, row.id))
        return rows[:limit]

    def unchanged_jobs(self, backend: str, asked: Sequence[UnpricedJob]) -> set[int]:
        shots = {job.job_id: job.request.shots for job in asked}
        rows = self._run(_SHOTS_OF, {"_ids": sorted(shots), "_backend": backend})
        return {row.id for row in rows if row.shots == shots[row.id]}

    def record_quotes(self, quoted: Sequence[Quote]) -> None:
        if not quoted:
            return
        for quote in quoted:
            values = {
                "_id": quote.job_id,
                "_cost": quote.cost_microusd,
                "_taken": quote.taken_us,
                "_valid_until": quote.valid_until_us,
                "_hint": quote.chosen_hint,
            }
            self._run(_PRICE_JOB, values)
        rows = [
            {
                "job_id": q.job_id,
                "cost_microusd": q.cost_microusd,
                "source": q.source,
                "lines": q.lines,
                "raw": q.raw,
                "taken_us": q.taken_us,
                "valid_until_us": q.valid_until_us,
            }
            for q in quoted
        ]
        self._run(_QUOTES, rows)

    def postpone_job(self, job_id: int, code: str, until_us: int | None, sentence: str, at_us: int) -> bool:
        values = {"_id": job_id, "_code": code, "_until": until_us, "_reason": sentence}
        said_before = self._run(_REASON, {"_id": job_id}).scalar()
        if self._run(_POSTPONE, values).rowcount != 1:
            return False
        if (
            sentence != said_before
        ):  # a provider that is away all night is one line in the story, not a hundred
            self.note((job_id,), at_us, "postpone", sentence)
        return True

    def waiting_backends(self) -> list[str]:
        found: set[str] = set()
        for statement in _NEXT_BACKEND:
            name = ""
            while (following := self._run(statement, {"_after": name}).scalar()) is not None:
                found.add(following)
                name = following
        return sorted(found)

    def fill_loads(self, loads: Sequence[BackendLoad]) -> list[BackendLoad]:
        in_flight = {name: count for name, count in self._run(_IN_FLIGHT)}
        doubts = {name: (count, int(micro)) for name, count, micro in self._run(_IN_DOUBT)}
        paused: dict[str, list[Pause]] = defaultdict(list)
        for row in self._run(_PAUSES):
            paused[row.backend].append(Pause(row.code, row.sentence, row.until_us))
        states = self.breaker_states()
        return [
            replace(
                load,
                breaker=states.get(load.name, BreakerState()),
                in_flight=in_flight.get(load.name, 0),
                in_doubt=doubts.get(load.name, (0, 0))[0],
                exposure_microusd=doubts.get(load.name, (0, 0))[1],
                pauses=(*paused[load.name], *paused[load.name.partition(":")[0]]),
            )
            for load in loads
        ]

    def fill_doubts(self, load: BackendLoad) -> BackendLoad:
        row = self._run(_DOUBTS_OF, {"_backend": load.name}).first()
        return load if row is None else replace(load, in_doubt=row[1], exposure_microusd=int(row[2]))

    def busy_backends(self) -> set[str]:
        """Backends, and providers, with tasks under way, doubts, a pause or a breaker that counts."""
        counted = [row[0] for statement in (_IN_FLIGHT, _IN_DOUBT) for row in self._run(statement)]
        return {*counted, *(row.backend for row in self._run(_PAUSES)), *self.breaker_states()}

    def prepared_candidates(self) -> list[Candidate]:
        return [candidate(row) for row in self._run(_PROMISED)]

    def arming(self) -> ArmingRecord | None:
        row = self._run(_LAST_ARMING).first()
        if row is None or not row.armed:
            return None
        return ArmingRecord(row.night_limit_microusd, row.once_night, row.actor, row.reason, row.at_us)

    def queue_heads(
        self, backend: str, now_us: int, limit: int, windows: Sequence[str] = ()
    ) -> list[Candidate]:
        return [candidate(row) for row in self._first_of(_HEADS, backend, now_us, limit, windows)]

    def candidate_of(self, job_id: int) -> Candidate:
        (row,) = self._run(_CANDIDATE, {"_id": job_id})
        return candidate(row)

    def prepare_attempts(self, admitted: Sequence[tuple[Candidate, str]], at_us: int) -> list[int]:
        moved = set(self.move_jobs([job.job_id for job, _ in admitted], JobEvent.ADMIT, "admitted"))
        ours = [(job, attempt_id) for job, attempt_id in admitted if job.job_id in moved]
        if not ours:
            return []
        tried = {job_id: last for job_id, last in self._run(_LAST_TRY, {"_ids": sorted(moved)})}
        rows = [
            {
                "id": attempt_id,
                "job_id": job.job_id,
                "part_ordinal": 1,
                "ordinal": tried.get(job.job_id, 0) + 1,
                "state": AttemptState.PREPARED.value,
                "backend": job.backend,
                "provider": job.backend.partition(":")[0],
                "estimate_microusd": job.estimate_microusd,
                "prepared_us": at_us,
            }
            for job, attempt_id in ours
        ]
        self._run(_ATTEMPTS, rows)
        events = [
            {
                "job_id": job.job_id,
                "at_us": at_us,
                "event": JobEvent.ADMIT.value,
                "sentence": f"admitted to {job.backend} as attempt {attempt_id}",
            }
            for job, attempt_id in ours
        ]
        self._run(_EVENTS, events)
        return sorted(moved)
