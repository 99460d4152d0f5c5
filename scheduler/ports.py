"""Everything the stages may ask of the outside world, on a page.

Adapters (providers, store, notifiers, circuits, clock) are built against these and nothing else; the
stages never learn which adapter they talk to.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from scheduler.core.clocks import ClockMark
from scheduler.core.intents import Intent, JournalRead
from scheduler.core.pricing import Estimate, PriceList
from scheduler.core.records import EndedJob
from scheduler.core.rules import Rules
from scheduler.core.task import Device, Evidence, Outcome, RunRequest, TaskReport
from scheduler.errors import NightshotError
from scheduler.ports_store import Store


class Clock(Protocol):
    """The one source of time; a virtual one replaces it in simulated nights."""

    def now_us(self) -> int:
        """Wall clock: microseconds since 1970 UTC."""

    def monotonic_s(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...

    def both(self) -> ClockMark:
        """The wall clock and the clock since boot, read together."""


# ------------------------------------------------------------------------------------------ providers

#: Asked after the connection stands and immediately before the first byte of the billable request:
#: None means send; a sentence means do not, and the outcome is NotSent with that reason.
SendGate = Callable[[], Awaitable[str | None]]


class EstimateFailed(NightshotError):
    """No price is known; the job waits, because unknown is never zero."""

    code = "estimate-failed"

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float | None = None,
        never_runs: bool = False,
        needs_person: bool = False,
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        #: Only a person can change it (a missing token, a missing package): time alone will not.
        self.needs_person = needs_person
        #: The provider says that this job can never run as it is (a 422, too many qubits …).
        self.never_runs = never_runs


class PollFailed(NightshotError):
    """The status could not be read this time; reading may be repeated for ever."""

    code = "poll-failed"

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Provider(Protocol):
    """A service that runs circuits; one object per configured account."""

    #: True when a run costs real money: guarded by arming and the night's cap.
    paid: bool

    async def devices(self) -> Sequence[Device]:
        """List the devices. Raises Unreachable."""

    async def estimate(self, request: RunRequest) -> Estimate:
        """Predict the cost without spending anything. Raises EstimateFailed."""

    async def submit(self, request: RunRequest, send_gate: SendGate) -> Outcome:
        """Make the one billable call. Never sends twice and never raises for what the network does."""

    async def poll(self, provider_job_id: str, request: RunRequest) -> TaskReport:
        """Read a task's status; repeatable. Raises PollFailed."""

    async def find(self, attempt_id: str) -> Evidence:
        """Look for evidence about an attempt whose outcome was lost; read-only."""

    def tell_finished(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with an attempt's id when its task ends, if that is known here: a hint only."""

    async def forget(self, provider_job_id: str) -> None:
        """The results are safe with us: what was kept locally for this task may go. Safe to repeat."""

    async def close(self) -> None:
        """Let go of connections and worker processes; safe to call twice."""


@dataclass(frozen=True, slots=True)
class Site:
    """What a provider is told about where it runs."""

    name: str
    state_dir: Path
    clock: Clock
    #: Prices by device name, from the configuration; a device without an entry has no price list.
    prices: Mapping[str, PriceList] = field(default_factory=dict)
    #: Reads a secret by name (`coda-token`) at the time of use, so that a rotated one is picked up.
    secret: Callable[[str], str | None] = lambda _name: None


# ------------------------------------------------------------------------------------------ replies, results


class ReplySlot(Protocol):
    """Room on disk for one reply, taken before the request leaves, so that a full disk cannot lose it."""

    def keep(self, attempt_id: str, outcome: Outcome) -> None:
        """Put the outcome on disk (checksum, fsync) before the database hears of it. Blocks."""

    def release(self) -> None:
        """Give the slot back once the outcome is committed."""


class ReplyFiles(Protocol):
    def reserve(self) -> ReplySlot:
        """Take a preallocated slot. Raises TryAgain when there is no room for a reply. Blocks."""

    def adopt(self) -> None:
        """Use the last process's slots again: what they hold is in the database now. Blocks."""

    def kept(self) -> Mapping[str, Outcome]:
        """Read every intact outcome on disk, by attempt; a half-written one is not there. Blocks."""


class IntentLog(Protocol):
    """The second memory of what was sent, outside the database and its backups."""

    def newest(self) -> JournalRead:
        """Read the newest epoch's lines; what cannot be read is named in it. Never raises. Blocks."""

    def begin(self, epoch: int) -> None:
        """Have a file for this epoch. Raises TryAgain when it cannot be made. Blocks."""

    def append(self, intent: Intent) -> None:
        """Put an intent on disk before its request leaves. Raises TryAgain when it cannot be. Blocks."""


class ResultFiles(Protocol):
    """Where ended jobs become files for people."""

    def write(self, ended: EndedJob, night: str) -> None:
        """Write one job's folder, complete or not at all; writing it again changes nothing. Blocks."""


class QueueFolder(Protocol):
    """The copies of accepted files that people see while their jobs wait and run."""

    def batches(self) -> list[int]:
        """Numbers of the batches that have a file there, ascending. Blocks."""

    def label(self, batch_id: int, line: str) -> None:
        """Write one line beside a batch's file. Raises OSError. Blocks."""

    def remove(self, batch_id: int) -> None:
        """Take an ended batch's file and line away; its source stands in the results. Blocks."""


@dataclass(slots=True)
class Kit:
    """What every stage is given."""

    store: Store
    clock: Clock
    providers: Mapping[str, Provider]
    rules: Rules
    #: Tell a stage, by name, that there may be work for it.
    wake: Callable[[str], None]
    #: A new name for an attempt, unique for ever.
    new_id: Callable[[], str]
    #: Write a line to the log: an event, then facts.
    log: Callable[..., None]

    def provider_of(self, backend: str) -> Provider | None:
        return self.providers.get(backend.partition(":")[0])
