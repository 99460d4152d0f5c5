"""Everything the stages may ask of the outside world, on a page.

Adapters (providers, store, notifiers, circuits, clock) are built against these and nothing else; the
stages never learn which adapter they talk to.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from scheduler.core.pricing import Estimate, PriceList
from scheduler.core.task import Device, Evidence, Outcome, RunRequest, TaskReport
from scheduler.errors import NightshotError


class Clock(Protocol):
    """The one source of time; a virtual one replaces it in simulated nights."""

    def now_us(self) -> int:
        """Wall clock: microseconds since 1970 UTC."""

    def monotonic_s(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


# ------------------------------------------------------------------------------------------ providers

#: Asked after the connection stands and immediately before the first byte of the billable request:
#: None means send; a sentence means do not, and the outcome is NotSent with that reason.
SendGate = Callable[[], Awaitable[str | None]]


class EstimateFailed(NightshotError):
    """No price is known; the job waits, because unknown is never zero."""

    code = "estimate-failed"

    def __init__(self, message: str, *, retry_after_s: float | None = None, never_runs: bool = False) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
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
