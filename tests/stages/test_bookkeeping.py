"""Bookkeeping on real rows: grants expire in time, alarms are logged once, limits follow the settings."""

from __future__ import annotations

from typing import Any

from scheduler.core.lifecycle import AttemptState
from scheduler.core.records import ArmingRecord
from scheduler.core.rules import Rules
from scheduler.core.spending import SpendingRules
from scheduler.ports import Kit
from scheduler.stages.bookkeeping import Bookkeeping
from scheduler.stages.purse import night_window
from scheduler.store.engine import SqliteStore
from scheduler.store.open import open_store
from tests.simulation.clock import VirtualClock
from tests.support.books import CAPS, CREDIT, give_credits, paid_in
from tests.support.databases import Databases
from tests.support.stores import COST, NOW_US, query

HOUR_US = 3600 * 1_000_000


class Notebook:
    """A kit that remembers what was logged."""

    def __init__(self, store: Any, rules: Rules) -> None:
        self.logged: list[str] = []
        self.clock = VirtualClock(NOW_US)
        self.kit = Kit(store, self.clock, {}, rules, lambda _s: None, lambda: "", self._log)  # type: ignore[arg-type]

    def _log(self, event: str, **facts: Any) -> None:
        self.logged.append(event)


async def test_time_alone_expires_grants_and_tells_alarms(databases: Databases, tmp_path: Any) -> None:
    store = open_store(databases.make("sqlite", tmp_path))
    assert isinstance(store, SqliteStore)
    rules = Rules(lambda _name: None, spending=SpendingRules(caps=(CAPS[1],)))
    notebook = Notebook(store, rules)
    books = Bookkeeping(notebook.kit)
    arming = ArmingRecord(2 * COST, None, "ada", "tonight", NOW_US)
    night = night_window(rules, NOW_US, 2 * COST)
    await store.write(lambda tx: tx.arm(arming, night))
    await store.write(lambda tx: give_credits(tx, 10 * CREDIT, expires_us=NOW_US + HOUR_US))
    assert await books.step() == 0
    await store.write(lambda tx: paid_in(tx, AttemptState.SUBMITTING, caps=[night.cap], microcredits=CREDIT))
    assert await books.step() == 1
    notebook.clock.advance_to(NOW_US + HOUR_US)
    assert await books.step() == 1
    assert await books.step() == 0
    assert notebook.logged == ["alarm", "grants expired"]
    assert await store.read(query("SELECT kind, actor FROM txns ORDER BY id")) == [
        ("grant", "ada"),
        ("expire", "nightshot"),
    ]
    await store.close()
