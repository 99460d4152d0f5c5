"""What a night did, for the one who reads it."""

from __future__ import annotations

import json
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

    def to_text(self) -> str:
        return json.dumps(vars(self))

    @classmethod
    def from_text(cls, text: str) -> Told:
        told = cls(**json.loads(text))
        told.kills, told.fates, told.states = Counter(told.kills), Counter(told.fates), Counter(told.states)
        return told

    def __str__(self) -> str:
        return (
            f"night {self.seed}: {sum(self.kills.values())} kills, {self.requests} requests, "
            f"{self.bills} bills, "
            f"{self.virtual_hours:.1f} h; {dict(self.states)}; {dict(self.fates)}"
        )
