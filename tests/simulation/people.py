"""The person at the desk: arms, disarms, cancels, lifts pauses, settles doubts, always by real operations.

They say what is true: a doubt is settled by what the provider's books show, once nothing is under way there
any more, or it is written off.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

from scheduler.api.desk import Caller, Desk
from scheduler.api.operations import answer
from scheduler.errors import NightshotError
from tests.simulation.invariants import Books, require
from tests.support.pretend import SETTLED_AFTER_S, Server

ADA = Caller("ada")


class Person:
    def __init__(self, rng: random.Random, books: Books, servers: Mapping[str, Server]) -> None:
        self._rng = rng
        self._books = books
        self._servers = servers

    async def do_something(self, desk: Desk) -> str:
        """One act, chosen by chance; returns what it was."""
        acts: list[tuple[int, Callable[[Desk], Any]]] = [
            (4, self.arm),
            (1, self.disarm),
            (2, self.cancel),
            (4, self.resume),
            (6, self.resolve),
            (1, self.look),
        ]
        weights = [weight for weight, _ in acts]
        act = self._rng.choices([act for _, act in acts], weights)[0]
        return str(await act(desk))

    async def arm(self, desk: Desk, dollars: str | None = None) -> str:
        limit = dollars or f"{self._rng.choice((0, 1, 3, 6, 12, 30, 60))}.{self._rng.randrange(100):02d}"
        once = dollars is None and self._rng.random() < 0.2
        await answer(desk, ADA, "arm", {"night": limit, "once": once})
        return f"arm {limit}{' once' if once else ''}"

    async def disarm(self, desk: Desk) -> str:
        await answer(desk, ADA, "disarm", {"reason": "a bad feeling"})
        return "disarm"

    async def cancel(self, desk: Desk) -> str:
        jobs = self._books.rows("SELECT batch_id, ordinal FROM jobs WHERE ended_us IS NULL ORDER BY id")
        if not jobs:
            return "nothing to cancel"
        job = self._rng.choice(jobs)
        name = f"{job['batch_id']}.{job['ordinal']}"
        await answer(desk, ADA, "cancel", {"jobs": [name]})
        return f"cancel {name}"

    async def resume(self, desk: Desk) -> str:
        paused = self._books.rows("SELECT backend FROM pauses ORDER BY backend")
        for row in paused:
            given = {"backend": row["backend"], "reason": "seen to"}
            await answer(desk, ADA, "backends_resume", given)
        return f"resume {[row['backend'] for row in paused]}"

    async def look(self, desk: Desk) -> str:
        await answer(desk, ADA, "status", {})
        for row in self._books.rows(
            "SELECT batch_id, ordinal FROM jobs WHERE state = 'waiting' ORDER BY id LIMIT 3"
        ):
            shown = await answer(desk, ADA, "show", {"job": f"{row['batch_id']}.{row['ordinal']}"})
            told = shown["job"]["state"] != "waiting" or all(g["sentence"] for g in shown["gates"])
            named = bool(shown["gates"]) or shown["job"]["state"] != "waiting"
            require("a waiting job has a named reason", told and named, shown)
        return "look"

    async def resolve(self, desk: Desk, *, write_off: bool = True) -> str:
        """Settle every doubt that can be settled truthfully now."""
        doubts = self._books.rows(
            "SELECT a.id, a.provider, a.sent_us, j.batch_id, j.ordinal FROM attempts a"
            " JOIN jobs j ON j.id = a.job_id WHERE a.state = 'in_doubt' ORDER BY a.id"
        )
        told = []
        for doubt in doubts:
            given = self._truth(doubt, desk.now_us())
            if write_off and self._rng.random() < 0.15:
                given = {"as": "written-off"}
            if given is None:
                continue
            name = f"{doubt['batch_id']}.{doubt['ordinal']}"
            try:
                await answer(desk, ADA, "resolve", {"job": name, "reason": "the web page says so", **given})
                told.append(f"{name} {given['as']}")
            except NightshotError as moved:
                told.append(f"{name} not any more: {moved.message}")
        return f"resolve {told}"

    def _truth(self, doubt: Any, now_us: int) -> dict[str, str] | None:
        server = self._servers[doubt["provider"]]
        found = server.billed(doubt["id"])
        if found:
            return {"as": "accepted", "provider_job_id": found[0].provider_job_id}
        if server.under_way[doubt["id"]] or now_us < doubt["sent_us"] + SETTLED_AFTER_S * 1_000_000:
            return None  # it may still come
        return {"as": "not-sent"}
