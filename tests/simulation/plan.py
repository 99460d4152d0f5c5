"""What a seed stands for: how large a night is, how bad, and by which rules money may be spent in it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from zoneinfo import ZoneInfo

from scheduler.core.admission import DoubtLimits
from scheduler.core.caps import Cap, Measure, Period, Scope
from scheduler.core.job import BatchSpec, JobSpec
from scheduler.core.records import ReceivedBatch
from scheduler.core.rules import BackendRules, Rules
from scheduler.core.spending import SpendingRules
from scheduler.core.timing import PollPace
from scheduler.policies.overage import Overage, OveragePolicy, decide_overage
from tests.support.pretend import Server

#: Sunday 22 November 2026, 17:00 in Berlin.
EVENING_US = 1_795_363_200_000_000
HOUR_US = 3_600_000_000
BERLIN = ZoneInfo("Europe/Berlin")
USD, CREDIT = 1_000_000, 1_000_000
USERS = ("ada", "bob", "eve")
PROJECTS = (None, "qec", "vqe")

#: Caps a night may have, with the limits it may have them at.
CAPS: tuple[tuple[Cap, tuple[int | None, ...]], ...] = (
    (
        Cap("people", Measure.COST, Scope.USER, Period.NIGHT, None, zone=BERLIN),
        (2 * USD, 6 * USD, 20 * USD),
    ),
    (Cap("projects", Measure.COST, Scope.PROJECT, Period.DAY, None), (3 * USD, 9 * USD)),
    (Cap("blind only", Measure.COST, Scope.BACKEND, Period.TOTAL, None, of="blind:qpu"), (4 * USD, 15 * USD)),
    (Cap("beyond", Measure.OVERAGE, Scope.EVERYONE, Period.DAY, None), (0, 2 * USD, 8 * USD)),
    (Cap("allowance", Measure.CREDITS, Scope.USER, Period.MONTH, None), (3 * CREDIT, 10 * CREDIT)),
    (Cap("wear", Measure.SHOTS, Scope.EVERYONE, Period.NIGHT, None, zone=BERLIN), (300, 1500)),
    (Cap("runs", Measure.TASKS, Scope.EVERYONE, Period.TOTAL, None), (3, 12, None)),
)


@dataclass(frozen=True)
class Plan:
    """A night before it begins."""

    seed: int
    jobs: int
    slots: int
    concurrency: int
    fault_rate: float
    kill_rate: float
    weather_rate: float
    #: The chances, at each step of time, that prices move and that the wall clock is put.
    drift_rate: float
    jump_rate: float
    #: Whether a crash may come with a database from a backup.
    restores: bool
    hours: float
    #: The servers lose most of their answers, and many jobs stand ready to be sent when that begins.
    fog: bool
    caps: tuple[Cap, ...]
    overage: Overage
    up_to_microusd: int
    approval_above_microusd: int | None
    #: What each account really has, and whether anybody recorded it; None never ends.
    credits: int | None
    grants: bool
    cents_per_credit: int
    quote_ttl_s: int

    @classmethod
    def of(cls, seed: int) -> Plan:
        rng = random.Random(f"plan {seed}")
        kill_rate = rng.choice((0.0, 0.003, 0.008, 0.02))
        fog = rng.random() < 0.15
        return cls(
            seed=seed,
            jobs=rng.randrange(5, 15),
            slots=12 if fog else rng.choice((1, 2, 4, 8)),
            concurrency=1 if fog else rng.choice((1, 3, 32)),
            fault_rate=rng.choice((0.4, 0.7) if fog else (0.2, 0.4, 0.7)),
            kill_rate=kill_rate,
            weather_rate=rng.choice((0.0, 0.0, 0.01, 0.05)),
            drift_rate=rng.choice((0.0, 0.01, 0.05)),
            jump_rate=rng.choice((0.0, 0.0, 0.02)),
            restores=kill_rate > 0 and rng.random() < 0.4,
            hours=rng.choice((1.5, 5.0, 20.0)),
            fog=fog,
            caps=tuple(_limited(cap, rng.choice(limits)) for cap, limits in CAPS if rng.random() < 0.45),
            overage=rng.choice(tuple(Overage)),
            up_to_microusd=rng.choice((1 * USD, 5 * USD)),
            approval_above_microusd=rng.choice((None, None, 2 * USD)),
            credits=rng.choice((None, 4 * CREDIT, 12 * CREDIT)),
            grants=rng.random() < 0.6,
            cents_per_credit=rng.choice((100, 100, 80, 130)),
            quote_ttl_s=rng.choice((600, 3600)),
        )

    @property
    def spending(self) -> SpendingRules:
        policy = OveragePolicy(self.overage, self.up_to_microusd)
        return SpendingRules(
            caps=self.caps,
            overage=partial(decide_overage, (policy,)),
            approval_above_microusd=self.approval_above_microusd,
        )

    def arrivals(self, rng: random.Random) -> list[tuple[int, ReceivedBatch]]:
        """Batches of jobs and when they come, in order."""
        arrivals: list[tuple[int, ReceivedBatch]] = []
        left = self.jobs
        while left > 0:
            size = min(left, rng.choice((1, 1, 3, 6)))
            left -= size
            at_us = EVENING_US + int(rng.random() ** 2 * self.hours * HOUR_US)
            key, backend = (
                f"batch {len(arrivals)}",
                rng.choice(("blind:qpu", "blind:qpu", "open:qpu", "free:qpu")),
            )
            jobs = tuple(self._job(rng, f"{key} {n}", backend) for n in range(size))
            batch = ReceivedBatch(key, BatchSpec(key, jobs, key), rng.choice(USERS), "spool", at_us)
            arrivals.append((at_us, batch))
        return sorted(arrivals, key=lambda arrival: arrival[0])

    def _job(self, rng: random.Random, name: str, backend: str) -> JobSpec:
        return JobSpec(
            name,
            f"OPENQASM 3.0; // {name}",
            "openqasm3",
            backend,
            shots=rng.choice((10, 100, 100, 300)),
            accept_overage=rng.random() < 0.5,
            priority=rng.randrange(3),
            project=rng.choice(PROJECTS),
            cap_microusd=rng.choice((None, None, None, None, 4 * USD)),
            # A job that was forgotten with its database is cancelled; one that is being retried could not be.
            retries=0 if self.restores else rng.choice((0, 0, 1)),
        )


def _limited(cap: Cap, limit: int | None) -> Cap:
    return Cap(cap.name, cap.measure, cap.scope, cap.period, limit, cap.of, cap.zone)


def rules_of(plan: Plan, servers: Mapping[str, Server]) -> Rules:
    known = {
        f"{name}:qpu": BackendRules(f"{name}:qpu", name, "pretend", server.paid, plan.slots)
        for name, server in servers.items()
    }
    return Rules(
        backend=known.get,
        zone=BERLIN,
        doubt_limits=DoubtLimits(3, 10_000_000),
        poll_pace=PollPace(30.0, 1200.0),
        submit_concurrency=plan.concurrency,
        quote_ttl_us=plan.quote_ttl_s * 1_000_000,
        spending=plan.spending,
    )
