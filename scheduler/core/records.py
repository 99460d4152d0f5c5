"""What the store hands to the stages and takes from them: frozen rows in the words of the domain.

Times are microseconds since 1970 UTC (`_us`), money is micro-dollars (`_microusd`); None is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from scheduler.core.job import BatchSpec
from scheduler.core.lifecycle import AttemptState, JobState
from scheduler.core.task import CostFacts, RunRequest


@dataclass(frozen=True, slots=True)
class ReceivedBatch:
    """A batch about to be made durable; `ingest_key` makes a repeated try find the first one."""

    ingest_key: str
    spec: BatchSpec
    user: str
    source: str  # "spool", "socket" or "demo"
    received_us: int


@dataclass(frozen=True, slots=True)
class Received:
    """What became of a received batch: a new number, an old one, or the unfinished twin it repeats."""

    ingest_key: str
    batch_id: int
    is_new: bool
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class UnpricedJob:
    """A job that needs a price, its first or a newer one; `any_hint` asks for the cheapest of all hints."""

    job_id: int
    failures: int
    request: RunRequest
    cap_microusd: int | None = None
    any_hint: bool = False


@dataclass(frozen=True, slots=True)
class Quote:
    """A price for one job; `lines` and `raw` are for people."""

    job_id: int
    cost_microusd: int
    source: str
    lines: str
    raw: str
    taken_us: int
    valid_until_us: int
    chosen_hint: str | None = None


@dataclass(frozen=True, slots=True)
class PreparedAttempt:
    """An admitted job's next try, everything needed to send it."""

    attempt_id: str
    job_id: int
    backend: str
    estimate_microusd: int
    request: RunRequest


@dataclass(frozen=True, slots=True)
class OpenTask:
    """A task at a provider that has not ended as far as we know."""

    attempt_id: str
    job_id: int
    backend: str
    provider_job_id: str
    sent_us: int
    polls: int
    poll_failures: int
    request: RunRequest


@dataclass(frozen=True, slots=True)
class LostAttempt:
    """An attempt whose outcome nobody recorded: left SUBMITTING by a crash, or IN_DOUBT."""

    attempt_id: str
    job_id: int
    backend: str
    state: AttemptState


@dataclass(frozen=True, slots=True)
class FinishedTask:
    """A task that ended at the provider and is not settled yet; `failure` None means it has counts."""

    attempt_id: str
    job_id: int
    backend: str
    provider_job_id: str
    hold_microusd: int | None
    cost: CostFacts
    failure: str | None
    never_runs: bool


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    attempt_id: str
    ordinal: int
    state: AttemptState
    provider_job_id: str | None
    provider_status: str | None
    prepared_us: int
    sent_us: int | None
    ended_us: int | None
    hold_microusd: int | None
    hold_state: str | None
    cost: CostFacts
    reason: str | None
    raw_reply: str | None


@dataclass(frozen=True, slots=True)
class ResultRecord:
    counts_json: str
    bit_order: str
    shots_returned: tuple[int, ...]
    raw: str
    facts: tuple[tuple[str, str], ...]
    received_us: int


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job as people ask about it."""

    job_id: int
    batch_id: int
    ordinal: int
    batch_size: int
    name: str
    user: str
    project: str | None
    tags: tuple[str, ...]
    state: JobState
    backend: str
    shots: int
    framework: str
    priority: int
    source_name: str
    code_sha256: str
    created_us: int
    ended_us: int | None
    estimate_microusd: int | None
    cost_microusd: int | None
    wait_code: str | None
    wait_until_us: int | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class EndedJob:
    """Everything that is written about a job when it has ended."""

    job: JobRecord
    batch_name: str
    code: str
    attempts: tuple[AttemptRecord, ...]
    results: tuple[ResultRecord, ...]
    quote_text: str | None


@dataclass(frozen=True, slots=True)
class EventRecord:
    at_us: int
    event: str
    sentence: str


@dataclass(frozen=True, slots=True)
class ArmingRecord:
    night_limit_microusd: int
    once_night: str | None
    actor: str
    reason: str
    at_us: int


@dataclass(frozen=True, slots=True)
class BatchRecord:
    batch_id: int
    name: str
    user: str
    source: str
    created_us: int
    size: int
    counts: dict[str, int] = field(default_factory=dict)
