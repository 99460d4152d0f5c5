"""What a night did, for the one who reads it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Told:
    """What a night did, for the one who reads it."""

    seed: int
    lines: list[str] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    fates: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    bills: int = 0
    requests: int = 0
    virtual_hours: float = 0.0
    restored: bool = False

    def __str__(self) -> str:
        return (
            f"night {self.seed}: {sum(self.kills.values())} kills, {self.requests} requests, "
            f"{self.bills} bills, "
            f"{self.virtual_hours:.1f} h; {dict(self.states)}; {dict(self.fates)}"
        )
