"""What the stages may ask of the store: one small protocol an arrow, all kept by one transaction object.

`write` runs a plain function in a transaction that is on disk when the call returns, and `read` runs one on a
consistent snapshot. The function must not wait for anything: several of them may share one commit, and none
may hold it up. Every method that changes a state names the state it read and says whether it won.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from scheduler.core.admission import BackendLoad, Candidate, Pause
from scheduler.core.audit import AuditReport, AuditStop, AuditVerdict
from scheduler.core.breaker import BreakerRules, BreakerState
from scheduler.core.breaker import Event as BreakerEvent
from scheduler.core.caps import CapBooks, Measure, Window
from scheduler.core.clocks import ClockMark
from scheduler.core.corrections import Corrected, Refund
from scheduler.core.intents import Intent, Mark
from scheduler.core.invoice import ChargedRun
from scheduler.core.job import JobRef
from scheduler.core.ledger import Grant
from scheduler.core.lifecycle import AttemptEvent, AttemptState, JobEvent, JobState
from scheduler.core.records import (
    ArmingRecord,
    AttemptRecord,
    BatchRecord,
    EndedJob,
    EventRecord,
    FinishedTask,
    JobRecord,
    LostAttempt,
    OpenTask,
    PreparedAttempt,
    Quote,
    Received,
    ReceivedBatch,
    ResultRecord,
    UnpricedJob,
)
from scheduler.core.settlement import Held, Settlement
from scheduler.core.spending import Spending
from scheduler.core.task import Accepted, Completed, NeverArrived
from scheduler.ports_budget import BudgetTx, EditTx
from scheduler.ports_time import TimeTx

T = TypeVar("T")


class JobMoves(Protocol):
    """Shared by all: move jobs along an arrow of the lifecycle and write down why."""

    def move_job(
        self, job_id: int, event: JobEvent, at_us: int, sentence: str, *, cost_microusd: int | None = None
    ) -> bool:
        """Move one job if it is still in a state the event may leave; False: somebody else moved it."""

    def note(self, job_ids: Iterable[int], at_us: int, event: str, sentence: str) -> None:
        """Append a line to the jobs' stories without changing their state."""

    def pause_backend(self, backend: str, pause: Pause, at_us: int) -> None:
        """Leave a backend, or a whole provider, alone; a pause that a person must lift is never shortened."""

    def record_breaker(
        self, backend: str, event: BreakerEvent, now_us: int, rules: BreakerRules
    ) -> BreakerState:
        """Count what a backend did, well or badly."""


class IntakeTx(Protocol):
    def receive(self, batches: Sequence[ReceivedBatch]) -> list[Received]:
        """Make batches durable, each at most once by its ingest key; answers in the order given."""

    def refused_needs(self, received: Sequence[ReceivedBatch]) -> dict[str, tuple[int | None, str]]:
        """Batches, by their ingest key, whose `after` names no job or a broken one: line and sentence."""


class EstimateTx(JobMoves, Protocol):
    def arming(self) -> ArmingRecord | None: ...

    def waiting_backends(self) -> list[str]: ...

    def unpriced_jobs(self, backend: str, now_us: int, limit: int) -> list[UnpricedJob]: ...

    def stale_heads(
        self, backend: str, now_us: int, limit: int, windows: Sequence[str] = ()
    ) -> list[UnpricedJob]:
        """The first jobs of a queue whose quote is too old to be relied on; `windows` are the open ones."""

    def unchanged_jobs(self, backend: str, asked: Sequence[UnpricedJob]) -> set[int]:
        """Those that still are what a price was asked for: nobody edited their shots or their backend."""

    def record_quotes(self, quotes: Sequence[Quote]) -> None: ...

    def postpone_job(self, job_id: int, code: str, until_us: int | None, sentence: str, at_us: int) -> bool:
        """Leave a waiting job waiting behind a gate of its own, and count the failure."""


class FundsTx(Protocol):
    """Reading what there is to spend."""

    def arming(self) -> ArmingRecord | None:
        """The arming in force, whichever night it is for; None when disarmed."""

    def cap_books(self, windows: Sequence[Window]) -> list[tuple[Window, CapBooks]]: ...

    def grants_of(self, provider: str) -> list[Grant]: ...

    def audit_stop(self) -> AuditStop | None:
        """What the last audit of the books keeps from being sent; None: nothing."""


class LoadTx(Protocol):
    def fill_loads(self, loads: Sequence[BackendLoad]) -> list[BackendLoad]:
        """Fill in flight, doubts and pauses from rows."""

    def fill_doubts(self, load: BackendLoad) -> BackendLoad:
        """Fill only the doubts of one backend and what they may cost."""


class AdmissionTx(JobMoves, FundsTx, LoadTx, Protocol):
    def waiting_backends(self) -> list[str]: ...

    def prepared_candidates(self) -> list[Candidate]:
        """Jobs that are admitted and not sent yet: no hold stands for them, and they count all the same."""

    def queue_heads(
        self, backend: str, now_us: int, limit: int, windows: Sequence[str] = ()
    ) -> list[Candidate]:
        """The first jobs that are not parked, in their order; `windows` are the open ones."""
        ...

    def prepare_attempts(self, admitted: Sequence[tuple[Candidate, str]], at_us: int) -> list[int]:
        """Admit jobs, each with a prepared attempt of the given id; returns those that still waited."""


class SubmissionTx(JobMoves, FundsTx, LoadTx, Protocol):
    def prepared_attempts(self, limit: int, without: frozenset[str]) -> list[PreparedAttempt]: ...

    def commit_intent(
        self, attempt_id: str, at_us: int, not_after_us: int, accept_overage: bool, *, paid: bool
    ) -> bool:
        """PREPARED → SUBMITTING with posts = 1; False: not ours to send any more."""

    def candidate_of(self, job_id: int) -> Candidate: ...

    def number_intent(self, attempt_id: str, at_us: int) -> Intent:
        """Give a paid intent its number for the journal."""

    def take_hold(self, attempt_id: str, spending: Spending, at_us: int) -> str | None:
        """Reserve under every cap and grant by conditional updates; a sentence says what has no room."""

    def send_refusal(self, attempt_id: str, now_us: int, paid: bool) -> str | None:
        """The last look before the first byte: None to send, or the sentence why not."""

    def attempt_accepted(self, attempt_id: str, outcome: Accepted, next_poll_us: int) -> bool:
        """SUBMITTING or IN_DOUBT → SUBMITTED; False: the id is another attempt's, or the state moved on."""

    def doubt_again(self, attempt_id: str, reason: str) -> bool:
        """SUBMITTED → IN_DOUBT, its hold stays; only while its id is a person's word and nobody else's."""

    def cover_cost(self, attempt_id: str, cost_microusd: int) -> int:
        """Raise an open hold to what the provider says it charged, cap or no cap; returns by how much.

        The excess is recorded as an overrun. Holds are never lowered here: settling gives back what is left.
        """

    def held_of(self, attempt_id: str) -> Held | None:
        """What an open hold reserved beside the cost; None when there is none."""

    def raise_caps(self, attempt_id: str, measure: Measure, amount: int) -> None:
        """Let every window of a measure know of a use above its hold; what exceeds a limit is excused."""

    def end_attempt(
        self, attempt_id: str, event: AttemptEvent, at_us: int, reason: str, raw: str = ""
    ) -> bool:
        """Close an attempt that costs nothing (refused, not sent) and give its hold back."""

    def lose_sight(self, attempt_id: str, at_us: int, reason: str, raw: str = "") -> bool:
        """SUBMITTING → IN_DOUBT; the hold stays."""

    def correct_attempt(
        self, attempt_id: str, evidence: Accepted | NeverArrived, actor: str, at_us: int, next_poll_us: int
    ) -> Corrected | None:
        """Put right what evidence contradicts; None: it says nothing new about the attempt."""

    def cancel_asked(self, job_id: int) -> bool: ...

    def take_retry(self, job_id: int) -> bool:
        """Use one of the retries a job asked for; False when it has none left."""

    def wait_behind(self, job_id: int, code: str, until_us: int | None, sentence: str) -> None:
        """Name the gate of its own that a job which was just sent back waits behind."""

    def pause_failures(self, backend: str) -> int:
        """How often in a row this backend was paused by failures."""

    def breaker_states(self) -> dict[str, BreakerState]: ...

    def pauses_of(self, backend: str) -> list[Pause]: ...

    def clear_pause(self, backend: str, code: str | None = None) -> bool:
        """Lift the pauses of a backend or provider, or only the one for this reason."""

    def forget_short_pauses(self, backend: str, now_us: int) -> None:
        """It works again: what would have ended by itself is over."""


class ClockTx(JobMoves, Protocol):
    def clock_mark(self) -> ClockMark | None: ...

    def set_clock_mark(self, mark: ClockMark) -> None: ...

    def database_us(self) -> int | None:
        """The database server's own time; None for a file, which has none."""

    def clear_pause(self, backend: str, code: str | None = None) -> bool: ...


class PollTx(JobMoves, Protocol):
    def due_tasks(self, now_us: int, limit: int, without: frozenset[str]) -> list[OpenTask]: ...

    def open_task(self, attempt_id: str) -> OpenTask | None: ...

    def next_due_us(self, without: frozenset[str] = frozenset()) -> int | None: ...

    def still_open(self, attempt_id: str, status_word: str, next_poll_us: int) -> None: ...

    def poll_failed(self, attempt_id: str, reason: str, next_poll_us: int) -> None: ...

    def finish_completed(self, task: OpenTask, report: Completed, at_us: int) -> bool: ...

    def finish_failed(self, attempt_id: str, reason: str, raw: str, never_runs: bool, at_us: int) -> bool: ...


class SettleTx(JobMoves, Protocol):
    def finished_tasks(self, limit: int) -> list[FinishedTask]: ...

    def settle_attempts(self, settled: Sequence[tuple[FinishedTask, Settlement]], at_us: int) -> None:
        """FINISHED → SETTLED, holds posted, jobs completed, failed or rejected: all or nothing."""


class PublishTx(Protocol):
    def ended_unpublished(self, limit: int) -> list[EndedJob]: ...

    def open_batch_counts(self, batch_ids: Sequence[int]) -> dict[int, dict[str, int]]:
        """Jobs per state of those batches that have not ended."""

    def mark_published(self, job_ids: Sequence[int], at_us: int) -> list[int]:
        """Mark jobs whose files are written; returns the batches that ended with them."""


class ReconcileTx(SubmissionTx, Protocol):
    def intent_mark(self) -> Mark | None: ...

    def intents_since(self, epoch: int, first: int) -> dict[int, tuple[str, AttemptState]]:
        """Attempts of an epoch by their number: from `first` on, and each that is SUBMITTING."""

    def see_journal_epoch(self, epoch: int) -> None: ...

    def start_epoch(self) -> int: ...

    def backend_of(self, attempt_id: str) -> str | None:
        """Where an attempt was sent; None: there is no such attempt."""

    def lost_attempts(self, limit: int = 1000) -> list[LostAttempt]: ...

    def write_off(self, attempt_id: str, at_us: int, actor: str, reason: str) -> bool:
        """IN_DOUBT → WRITTEN_OFF; the whole hold is posted: the money counts as spent."""


class AuditTx(Protocol):
    def expire_grants(self, now_us: int) -> int:
        """Take what nobody holds from the grants whose time is over; returns how many had any."""

    def audit(self, full: bool, now_us: int) -> AuditReport:
        """Look for rows that contradict an invariant; without `full` only since the last clean audit."""

    def record_audit(self, report: AuditReport, actor: str, at_us: int) -> AuditVerdict:
        """Keep the verdict; returns the one in force: a broken one stays until a person lifts it."""

    def begin_audit(self, at_us: int) -> None:
        """Keep paid submission waiting until this process has looked once."""

    def lift_audit(self, report: AuditReport, actor: str, reason: str, at_us: int) -> bool:
        """Let a person end the stop; False: the full audit is not clean, or nothing was stopped."""


class PeopleTx(ReconcileTx, Protocol):
    """What commands ask and change."""

    def find_job(self, ref: JobRef) -> JobRecord | None: ...

    def job_record(self, job_id: int) -> JobRecord: ...

    def latest_batch(self) -> int | None: ...

    def job_ids_of(self, ref: JobRef) -> list[int]: ...

    def list_jobs(
        self,
        *,
        state: str | None,
        backend: str | None,
        batch: int | None,
        after: int | None,
        limit: int,
        newest: bool = False,
    ) -> list[JobRecord]:
        """A page of jobs, the oldest first or the newest; `after` is where the last page ended."""
        ...

    def attempts_of(self, job_id: int) -> list[AttemptRecord]: ...

    def charged_runs(self, provider: str) -> list[ChargedRun]:
        """Every run that a provider accepted and named, the oldest first."""

    def nameless_runs(self, provider: str) -> int:
        """How many may have been charged under an id that nobody told us."""

    def last_charged_attempt(self, job_id: int) -> str | None:
        """The attempt of a job that was charged last; None when nothing was."""

    def refund_attempt(self, attempt_id: str, refund: Refund, actor: str, reason: str, at_us: int) -> str:
        """Book what the provider gave back. Raises NeedsPerson or UsageError when there is not so much."""

    def live_attempt_of(self, job_id: int) -> AttemptRecord | None: ...

    def events_of(self, job_id: int, limit: int = 200) -> list[EventRecord]: ...

    def results_of(self, job_id: int) -> list[ResultRecord]: ...

    def quote_of(self, job_id: int) -> str | None: ...

    def ask_cancel(self, job_id: int, at_us: int) -> None: ...

    def arm(self, record: ArmingRecord, night: Window) -> None: ...

    def disarm(self, actor: str, reason: str, at_us: int) -> bool: ...

    def in_doubt_use(self, window_key: str) -> int:
        """What attempts in doubt hold of a cap's window."""

    def state_counts(self, since_us: int) -> dict[str, int]:
        """Jobs per state: all unfinished ones, and those that ended since `since_us`."""

    def latest_batches(self, limit: int) -> list[BatchRecord]: ...

    def busy_backends(self) -> set[str]:
        """Backends, and providers, with tasks under way, doubts, a pause or a breaker that counts."""

    def waiting_by_backend(self) -> dict[str, int]: ...

    def first_unpriced(self, backend: str) -> Candidate | None: ...

    def prices_will_come(self, backend: str, windows: Sequence[str] = ()) -> bool:
        """True when a job of this backend has no price yet and time alone may bring one.

        What is parked, or waits for a window that is not among the open ones, is asked about once.
        """

    def jobs_in_state(self, state: JobState, limit: int) -> list[JobRecord]: ...

    def oldest_troubled_polls(self, failures: int, limit: int) -> list[tuple[JobRecord, str]]: ...


class Tx(
    IntakeTx,
    EstimateTx,
    AdmissionTx,
    ClockTx,
    PollTx,
    SettleTx,
    PublishTx,
    TimeTx,
    AuditTx,
    PeopleTx,
    EditTx,
    BudgetTx,
    Protocol,
): ...


class Store(Protocol):
    """The one durable memory."""

    async def write(self, work: Callable[[Tx], T]) -> T:
        """Run `work` in a transaction, durable on return. Raises TryAgain when the store cannot write now."""

    async def read(self, work: Callable[[Tx], T]) -> T:
        """Run `work` on a snapshot; it must not change anything. Raises TryAgain when the store is away."""

    async def read_behind(self, work: Callable[[Tx], T]) -> T:
        """Run `work`, which must not change anything, behind all writes asked before it.

        It may share the commit of the last of them, and is answered when that is durable. Raises TryAgain.
        """

    async def close(self) -> None: ...
