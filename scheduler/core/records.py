"""What the store hands to the stages and takes from them: frozen rows in the words of the domain.

Times are microseconds since 1970 UTC (`_us`), money is micro-dollars (`_microusd`); None is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from scheduler.core.job import BatchSpec
from scheduler.core.lifecycle import AttemptState, JobState
from scheduler.core.settlement import NOTHING_BOOKED, Booked, Charge, charge_of
from scheduler.core.task import CostFacts, RunRequest
from scheduler.core.waits import ANY_TIME, Terms


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
    terms: Terms = ANY_TIME


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
    booked: Booked = NOTHING_BOOKED

    @property
    def charge(self) -> Charge | None:
        """Whether it was charged, and how that is known; None while it has not ended."""
        return charge_of(self.state, self.booked, self.cost, self.reason)


@dataclass(frozen=True, slots=True)
class Polled:
    """How a task at a provider is followed: when it is looked at next, and how often it was so far."""

    next_us: int
    polls: int
    failures: int


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


@dataclass(frozen=True, slots=True)
class NewGrant:
    """Credits that somebody says we have; empty tuples mean everybody and everywhere."""

    provider: str
    label: str
    amount_microcredits: int
    priority: int
    effective_us: int
    expires_us: int | None
    users: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    backends: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GrantRecord:
    """A grant and what is left of it; `held_microcredits` of that is promised to jobs."""

    number: int
    grant: NewGrant
    posted_microcredits: int
    held_microcredits: int

    @property
    def free_microcredits(self) -> int:
        return self.posted_microcredits - self.held_microcredits


@dataclass(frozen=True, slots=True)
class CreditPosition:
    """What our books say a provider's balance should be, in micro-credits; `grants` 0 is unknown, not zero.

    `applied` was taken by tasks whose end is not booked yet; `uncertain` is held by tasks of which nobody
    knows what they took.
    """

    grants: int
    posted: int
    unplanned: int
    unexplained: int
    applied: int
    uncertain: int

    @property
    def expected_most(self) -> int:
        return self.posted + self.unplanned + self.unexplained - self.applied

    @property
    def expected_least(self) -> int:
        return self.expected_most - self.uncertain

    def unexplained_by(self, observed: int) -> int:
        """How far an observed balance is from everything we expect; what is in flight explains a part."""
        return observed - min(max(observed, self.expected_least), self.expected_most)


@dataclass(frozen=True, slots=True)
class WindowRecord:
    """A cap's window as it stands in its row, in the cap's own micro-units."""

    key: str
    cap: str
    measure: str
    limit: int | None
    held: int
    posted: int
    in_doubt: int
    resets_us: int | None


@dataclass(frozen=True, slots=True)
class LedgerLine:
    account: str
    asset: str
    amount: int


@dataclass(frozen=True, slots=True)
class LedgerTxn:
    """One transaction of the journal with its lines; `job` is its job's name for people."""

    number: int
    kind: str
    actor: str
    reason: str
    at_us: int
    attempt_id: str | None
    job: str | None
    reverses: int | None
    lines: tuple[LedgerLine, ...]


@dataclass(frozen=True, slots=True)
class JobEdit:
    """What a person changes about a waiting job; None leaves it. A void price is asked for again."""

    backend: str | None = None
    shots: int | None = None
    priority: int | None = None
    cap_microusd: int | None = None

    @property
    def voids_price(self) -> bool:
        return self.backend is not None or self.shots is not None
