"""The configuration as the decisions see it: frozen, already checked, in their own units."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo

from scheduler.core.admission import DoubtLimits
from scheduler.core.breaker import BreakerRules
from scheduler.core.money import MICRO
from scheduler.core.spending import SpendingRules
from scheduler.core.timing import SECOND_US, Night, PollPace
from scheduler.core.windows import Hours, night_at


@dataclass(frozen=True, slots=True)
class BackendRules:
    """What is configured for one backend; shots None is no limit of ours."""

    name: str
    provider: str
    kind: str
    paid: bool
    slots: int
    min_shots: int | None = None
    max_shots: int | None = None
    enabled: bool = True

    def refuse_shots(self, shots: int) -> str | None:
        """A sentence when a job of so many shots can never run here."""
        if self.min_shots is not None and shots < self.min_shots:
            return f"shots = {shots} is below the {self.min_shots} that {self.name} takes at least"
        if self.max_shots is not None and shots > self.max_shots:
            return f"shots = {shots} is above the {self.max_shots} that {self.name} takes at most"
        return None


@dataclass(frozen=True, slots=True)
class Rules:
    """Everything a stage needs to know that is not in the store."""

    #: Rules of a backend by its full name; None when its provider is not configured.
    backend: Callable[[str], BackendRules | None]
    zone: tzinfo = UTC
    #: Opening hours by name; a job that asks for hours that are not here waits.
    hours: Mapping[str, Hours] = field(default_factory=dict)
    #: The hours that a night's cap, and arming for a night, go by; None is noon to noon.
    night_hours: Hours | None = None
    doubt_limits: DoubtLimits = field(default_factory=lambda: DoubtLimits(3, 10 * MICRO))
    spending: SpendingRules = field(default_factory=SpendingRules)
    breaker: BreakerRules = field(default_factory=BreakerRules)
    poll_pace: PollPace = field(default_factory=PollPace)
    quote_ttl_us: int = 3600 * SECOND_US
    #: How long after its intent an attempt may still be sent; a suspended machine wakes up too late.
    send_within_us: int = 60 * SECOND_US
    submit_concurrency: int = 32

    def night(self, now_us: int) -> Night:
        """The night that what is spent now belongs to."""
        return night_at(now_us, self.zone, self.night_hours)
