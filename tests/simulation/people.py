"""The people at the desk: they arm, approve, grant, cap, cancel, resume and resolve, by real operations.

They say what is true: a doubt is settled by what the provider's books show, once nothing is under way there
any more, or it is written off. After a restored backup they compare with the journal before they go on.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

from scheduler.api.desk import Caller, Desk
from scheduler.api.operations import answer
from scheduler.core.admission import NAMED_GATES
from scheduler.core.caps import Cap
from scheduler.core.timing import iso
from scheduler.errors import NightshotError
from tests.simulation.clock import VirtualClock
from tests.simulation.invariants import CLOCK_PUT, RESTORED, Books, require
from tests.simulation.plan import HOUR_US, PROJECTS, USERS
from tests.support.pretend import SETTLED_AFTER_S, Server

ADA = Caller("ada")
#: What the simulation knows to be wrong while this gate should be closed.
WAITS_BEHIND = {"journal": RESTORED, "clock": CLOCK_PUT}


class Person:
    def __init__(
        self, rng: random.Random, books: Books, servers: Mapping[str, Server], caps: tuple[Cap, ...]
    ) -> None:
        self._rng = rng
        self._books = books
        self._servers = servers
        self._caps = caps

    async def do_something(self, desk: Desk) -> str:
        """One act, chosen by chance; returns what it was."""
        acts: list[tuple[int, Callable[[Desk], Any]]] = [
            (4, self.arm),
            (1, self.disarm),
            (2, lambda desk: self.approve(desk, everything=True)),
            (2, self.cancel),
            (4, self.resume),
            (6, self.resolve),
            (3, self.approve),
            (2, self.grant),
            (1, self.adjust),
            (2, self.cap),
            (1, self.edit),
            (1, self.look),
        ]
        weights = [weight for weight, _ in acts]
        act = self._rng.choices([act for _, act in acts], weights)[0]
        return str(await act(desk))

    # ------------------------------------------------------------------------------------------- the money

    async def arm(self, desk: Desk, dollars: str | None = None) -> str:
        limit = dollars or f"{self._rng.choice((0, 3, 6, 12, 30, 60))}.{self._rng.randrange(100):02d}"
        once = dollars is None and self._rng.random() < 0.2
        await answer(desk, ADA, "arm", {"night": limit, "once": once})
        return f"arm {limit}{' once' if once else ''}"

    async def disarm(self, desk: Desk) -> str:
        await answer(desk, ADA, "disarm", {"reason": "a bad feeling"})
        return "disarm"

    async def grant(self, desk: Desk, credits_text: str | None = None, provider: str | None = None) -> str:
        given: dict[str, Any] = {
            "credits": credits_text or str(self._rng.choice((2, 5, 20))),
            "provider": provider or self._rng.choice(("blind", "open")),
            "reason": "the contract",
        }
        if credits_text is None:
            given["priority"] = self._rng.randrange(3)
            if self._rng.random() < 0.5:
                given["expires"] = iso(desk.now_us() + int(self._rng.uniform(0.2, 12) * HOUR_US))
            if self._rng.random() < 0.4:
                given["users"] = [self._rng.choice(USERS)]
            if self._rng.random() < 0.3:
                given["projects"] = [self._rng.choice([p for p in PROJECTS if p])]
        await answer(desk, ADA, "budget_grant", given)
        return f"grant {given}"

    async def adjust(self, desk: Desk) -> str:
        grants = self._books.rows("SELECT id FROM grants ORDER BY id")
        if not grants:
            return "nothing to adjust"
        given = {
            "grant": self._rng.choice(grants)["id"],
            "credits": self._rng.choice(("-1", "-2.5", "3")),
            "reason": "seen on the web page",
        }
        await answer(desk, ADA, "budget_adjust", given)
        return f"adjust {given}"

    async def cap(self, desk: Desk, limit: str | None = None) -> str:
        said = []
        caps = self._caps if limit else self._rng.sample(self._caps, min(1, len(self._caps)))
        for cap in caps:
            given = {
                "name": cap.name,
                "limit": limit or str(self._rng.choice((0, 5, 20, 40))),
                "reason": "so",
            }
            if cap.measure == "shots" and not limit:
                given["limit"] = str(self._rng.choice((100, 400, 4000)))
            await answer(desk, ADA, "budget_cap", given)
            said.append(f"{given['name']} {given['limit']}")
        return f"cap {said}"

    async def approve(self, desk: Desk, *, everything: bool = False) -> str:
        jobs = self._waiting()
        if not jobs:
            return "nothing to approve"
        named = jobs if everything else [self._rng.choice(jobs)]
        await answer(desk, ADA, "approve", {"jobs": named})
        return f"approve {named}"

    # -------------------------------------------------------------------------------------------- the jobs

    def _waiting(self) -> list[str]:
        rows = self._books.rows("SELECT batch_id, ordinal FROM jobs WHERE state = 'waiting' ORDER BY id")
        return [f"{row['batch_id']}.{row['ordinal']}" for row in rows]

    async def cancel(self, desk: Desk) -> str:
        jobs = self._books.rows("SELECT batch_id, ordinal FROM jobs WHERE ended_us IS NULL ORDER BY id")
        if not jobs:
            return "nothing to cancel"
        job = self._rng.choice(jobs)
        name = f"{job['batch_id']}.{job['ordinal']}"
        await answer(desk, ADA, "cancel", {"jobs": [name]})
        return f"cancel {name}"

    async def edit(self, desk: Desk) -> str:
        jobs = self._waiting()
        if not jobs:
            return "nothing to edit"
        given = {"job": self._rng.choice(jobs), **self._rng.choice(({"shots": 50}, {"priority": 5}))}
        await answer(desk, ADA, "edit", given)
        return f"edit {given}"

    async def raise_own_caps(self, desk: Desk) -> str:
        """A failed try was paid, and what is left of the job's own cap may be too little for the next."""
        jobs = self._books.rows(
            "SELECT batch_id, ordinal FROM jobs j WHERE state = 'waiting' AND cap_microusd < 100000000"
            " AND EXISTS (SELECT 1 FROM attempts a WHERE a.job_id = j.id AND a.state = 'failed') ORDER BY id"
        )
        for job in jobs:
            given = {"job": f"{job['batch_id']}.{job['ordinal']}", "cap": "100.00"}
            await answer(desk, ADA, "edit", given)
        return f"own caps {len(jobs)}"

    async def resume(self, desk: Desk) -> str:
        rows = self._books.rows(
            "SELECT backend, code FROM pauses UNION SELECT backend, 'breaker' FROM breakers"
        )
        if any(row["code"] == "journal" for row in rows):
            await self._compare_with_the_journal(desk)
        for name in sorted({row["backend"] for row in rows if row["code"] not in NAMED_GATES}):
            await answer(desk, ADA, "backends_resume", {"backend": name, "reason": "seen to"})
        for row in rows:
            if row["code"] in NAMED_GATES:
                await self._lift(desk, row["backend"], row["code"])
        return f"resume {[(row['backend'], row['code']) for row in rows]}"

    async def _lift(self, desk: Desk, account: str, gate: str) -> None:
        """Lift a money stop that was seen: the journal is compared, or the time is believed."""
        self._books.let_go.clear()
        try:
            given = {"backend": account, "gate": gate, "reason": "seen to"}
            await answer(desk, ADA, "backends_resume", given)
        finally:  # an error may be a commit whose answer was lost
            if (account, gate) in self._books.let_go:
                self._believe(desk, account, gate)

    def _believe(self, desk: Desk, account: str, gate: str) -> None:
        clock = desk.kit.clock
        if gate == "clock" and isinstance(clock, VirtualClock):
            self._books.believed_offset_us = clock.offset_us
        if self._books.must_wait.get(account) == WAITS_BEHIND[gate]:
            del self._books.must_wait[account]

    async def _compare_with_the_journal(self, desk: Desk) -> None:
        """What the database has forgotten may have been paid: such a job must not be sent once more."""
        lost = self._books.in_journal() & self._books.forgotten
        for name in sorted({self._books.job_of[attempt_id] for attempt_id in lost}):
            doubts = self._doubts(name)
            if doubts:
                given = {"job": name, "as": "written-off", "reason": "it was sent again, says the journal"}
                await answer(desk, ADA, "resolve", given)
            await answer(desk, ADA, "cancel", {"jobs": [name], "reason": "it was sent, says the journal"})

    async def look(self, desk: Desk) -> str:
        await answer(desk, ADA, "status", {})
        await answer(desk, ADA, "budget", {})
        for name in self._waiting()[:3]:
            shown = await answer(desk, ADA, "show", {"job": name})
            told = shown["job"]["state"] != "waiting" or all(g["sentence"] for g in shown["gates"])
            named = bool(shown["gates"]) or shown["job"]["state"] != "waiting"
            require("a waiting job has a named reason", told and named, shown)
        return "look"

    # ------------------------------------------------------------------------------------------ the doubts

    def _doubts(self, name: str | None = None) -> list[dict[str, Any]]:
        rows = self._books.rows(
            "SELECT a.id, a.provider, a.sent_us, j.batch_id || '.' || j.ordinal AS name FROM attempts a"
            " JOIN jobs j ON j.id = a.job_id WHERE a.state = 'in_doubt' ORDER BY a.id"
        )
        return [row for row in rows if name in (None, row["name"])]

    async def resolve(self, desk: Desk, *, write_off: bool = True) -> str:
        """Settle every doubt that can be settled truthfully now."""
        told = []
        for doubt in self._doubts():
            given = self._truth(doubt)
            if write_off and self._rng.random() < 0.15:
                given = {"as": "written-off"}
            if given is None:
                continue
            try:
                said = {"job": doubt["name"], "reason": "the web page says so", **given}
                await answer(desk, ADA, "resolve", said)
                told.append(f"{doubt['name']} {given['as']}")
            except NightshotError as moved:
                told.append(f"{doubt['name']} not any more: {moved.message}")
        return f"resolve {told}"

    def _truth(self, doubt: dict[str, Any]) -> dict[str, str] | None:
        server = self._servers[doubt["provider"]]
        found = server.billed(doubt["id"])
        if found:
            return {"as": "accepted", "provider_job_id": found[0].provider_job_id}
        arrived_us = server.arrived_us.get(doubt["id"], 0)
        settled_us = arrived_us + SETTLED_AFTER_S * 1_000_000
        if server.under_way[doubt["id"]] or server.clock.now_us() < settled_us:
            return None  # it may still come
        return {"as": "not-sent"}
