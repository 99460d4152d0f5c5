"""One life after another of the real stages, with the real store, journal, reply files and Coda adapter.

Composed from a configuration file like the daemon, and driven by hand on a virtual clock: a test may let days
pass, or let another process look at the same rows in the middle of a call.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scheduler.api.desk import Caller, Desk
from scheduler.api.operations import answer
from scheduler.composition import build_desk, build_kit, build_providers
from scheduler.home import Home, make_folders
from scheduler.intake.spool import user_name
from scheduler.journal import IntentJournal
from scheduler.ports import Provider
from scheduler.ports_store import Store
from scheduler.replies import ReplySlots
from scheduler.settings import load_settings
from scheduler.stages.admit import Admitting
from scheduler.stages.audit import Auditing
from scheduler.stages.bookkeeping import Bookkeeping
from scheduler.stages.clockwatch import Clockwatching
from scheduler.stages.estimate import Estimating
from scheduler.stages.poll import Polling
from scheduler.stages.reconcile import Reconciling
from scheduler.stages.settle import Settling
from scheduler.stages.submit import Submitting
from tests.simulation.clock import VirtualClock
from tests.support.coda_account import TOKEN
from tests.support.coda_server import CodaServer
from tests.support.stores import NOW_US, arm, query, receive_jobs

#: What the server asks for a hundred shots, and what it says of credits for it.
PRICE_MICROUSD = 1_300_000
PRICE_MICROCREDITS = 2_000_000
DAY_S = 86_400.0


def configuration(base_url: str, timezone: str, more: str) -> str:
    return f"""\
[time]
timezone = "{timezone}"
[providers.coda]
kind = "coda"
base_url = "{base_url}"
reply_timeout_s = 1.0
connect_timeout_s = 1.0
mark_code = true
[backends."coda:iqm"]
slots = 4
{more}
"""


@dataclass
class Ground:
    """The stages of one process; `again` is the next process on the same rows and files."""

    store: Store
    folder: Path
    server: CodaServer
    base_url: str = ""
    timezone: str = "UTC"
    more: str = ""
    start_us: int = NOW_US
    said: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = VirtualClock(self.start_us)
        self.home = Home(self.folder / "home", config_candidates=(self.folder / "home" / "nightshot.toml",))
        make_folders(self.home)
        text = configuration(self.base_url or self.server.base_url, self.timezone, self.more)
        self.home.config_candidates[0].write_text(text)
        environ = {"CODA_API_TOKEN": TOKEN}
        self.loaded = load_settings(self.home, None, environ)
        self.providers: dict[str, Provider] = build_providers(self.loaded.settings, self.home, environ)
        self.kit = build_kit(self.loaded.settings, self.store, self.providers, lambda _stage: None, self._log)
        self.kit.clock = self.clock
        self.desk: Desk = build_desk(self.loaded, self.home, self.kit)
        self.journal = IntentJournal(self.home.journal)
        self._compose()

    def _log(self, event: str, **facts: Any) -> None:
        self.said.append((event, facts))

    def _compose(self) -> None:
        replies = ReplySlots(self.home.replies)
        self.estimate = Estimating(self.kit)
        self.admit = Admitting(self.kit)
        self.submit = Submitting(self.kit, replies, self.journal)
        self.poll = Polling(self.kit)
        self.settle = Settling(self.kit)
        self.clockwatch = Clockwatching(self.kit)
        self.bookkeeping = Bookkeeping(self.kit)
        self.audit = Auditing(self.kit)
        self.reconcile = Reconciling(self.kit, replies, self.journal)

    async def close(self) -> None:
        for provider in self.providers.values():
            await provider.close()
        self.journal.close()

    # --------------------------------------------------------------------------------------- what happens

    async def begin(self) -> list[str]:
        """What a daemon does before its first timer; returns what it found out about the last one."""
        await self.audit.at_start()
        found = await self.reconcile.at_start()
        await self.audit.step()
        await self.clockwatch.step()
        return found

    async def again(self) -> list[str]:
        self._compose()
        return await self.begin()

    async def receive(self, count: int = 1, **other: Any) -> list[int]:
        return await self.store.write(lambda tx: receive_jobs(tx, count, **other))  # type: ignore[arg-type]

    async def arm(self) -> None:
        now_us = self.clock.now_us()
        await self.store.write(lambda tx: arm(tx, 1_000 * PRICE_MICROUSD, now_us=now_us))  # type: ignore[arg-type]

    async def arm_night(self, limit_microusd: int) -> None:
        """Arm every night with so much, as a person does."""
        dollars, micro = divmod(limit_microusd, 1_000_000)
        await self.ask("arm", night=f"{dollars}.{micro:06d}", reason="a test")

    async def send(self) -> None:
        """Price, admit and send what may go, and wait for the answers."""
        await self.estimate.step()
        await self.admit.step()
        await self.submit.step()
        await self.calls_end()

    async def calls_end(self) -> None:
        async with asyncio.timeout(30):
            while self.submit.in_hand:  # noqa: ASYNC110 - the stage tells nobody when a call has ended
                await asyncio.sleep(0.005)

    async def look(self) -> None:
        """Poll what is due, and settle what has ended."""
        await self.poll.step()
        await self.poll.settle_down()
        await self.settle.step()

    async def run(self, rounds: int = 8) -> None:
        """Let a few minutes pass in which everything that can happen does."""
        for _ in range(rounds):
            await self.send()
            self.pass_s(60.0)
            await self.look()

    def pass_s(self, seconds: float) -> None:
        self.clock.advance_to(self.clock.true_us() + int(seconds * 1e6))

    async def ask(self, operation: str, **given: Any) -> Mapping[str, Any]:
        """What a person types, as the user that the daemon runs as."""
        return await answer(self.desk, Caller(user_name(os.geteuid())), operation, given)

    # ---------------------------------------------------------------------------------------------- facts

    async def rows(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        return await self.store.read(query(sql, **values))  # type: ignore[arg-type]

    async def states(self) -> list[tuple[str, str, str]]:
        """Job, attempt and hold of every attempt, in order."""
        found = await self.rows(
            "SELECT j.state, a.state, h.state FROM attempts a JOIN jobs j ON j.id = a.job_id"
            " LEFT JOIN holds h ON h.attempt_id = a.id ORDER BY a.job_id, a.ordinal"
        )
        return [(str(job), str(attempt), str(hold)) for job, attempt, hold in found]

    async def night(self) -> tuple[int, int]:
        """What the night's caps count as posted and as held, all nights together."""
        ((posted, held),) = await self.rows(
            "SELECT SUM(posted), SUM(held) FROM cap_windows WHERE cap = 'night' AND measure = 'cost'"
        )
        return int(posted), int(held)

    async def story(self) -> str:
        """Everything that the jobs' own stories say, in one text."""
        found = await self.rows("SELECT sentence FROM job_events ORDER BY id")
        return "\n".join(str(sentence) for (sentence,) in found)

    async def needs(self) -> str:
        told = await self.ask("status")
        return "\n".join(f"{need['what']}: {need['sentence']}" for need in told["needs_you"])

    async def findings(self) -> list[str]:
        """What a full audit of the books has to say against them."""
        now_us = self.clock.now_us()
        report = await self.store.read(lambda tx: tx.audit(True, now_us))
        return [str(finding) for finding in report.findings]
