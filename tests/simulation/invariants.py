"""What must be true whatever happened, each with a name that a failing night is told by.

The rows are asked by SQL of their own, never through the store's code, and are held against what the
pretended providers wrote into their own books. The program's own audit runs beside them.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from scheduler.core.audit import AuditReport
from tests.simulation.books_sql import ALWAYS, GRANT_USES, SENT
from tests.simulation.limits import Limits
from tests.support.pretend import Bill, Server

Row = Mapping[str, Any]
CLOCK_PUT = "the clock was put"
RESTORED = "the database was restored"


class InvariantBroken(AssertionError):
    def __init__(self, name: str, facts: object) -> None:
        super().__init__(f"[{name}] {facts}")
        self.name = name


def require(name: str, holds: bool, facts: object = "") -> None:
    if not holds:
        raise InvariantBroken(name, facts)


class Books:
    """The database as an auditor sees it, and the providers' own books beside it."""

    def __init__(self, database: Path, journal: Path, servers: Iterable[Server], limits: Limits) -> None:
        self._path, self._journal = database, journal
        self._servers = list(servers)
        self._limits = limits
        self.most_doubts, self.most_exposed = 3, 10_000_000
        self.tolerance_ppm = 50_000
        #: The job of each attempt that ever reached a server, as people call it.
        self.job_of: dict[str, str] = {}
        #: Attempts that a restored database has forgotten or thinks unsent.
        self.forgotten: set[str] = set()
        #: Accounts to which nothing may go before a person resumes them, and why.
        self.must_wait: dict[str, str] = {}
        #: How far the wall clock was from true time when it was last believed.
        self.believed_offset_us = 0
        #: Money stops, as account and gate, that a commit took away, until somebody asks anew.
        self.let_go: set[tuple[str, str]] = set()
        self._stopped: set[tuple[str, str]] = set()
        #: From then on something free may run again: nobody is warned before that.
        self.restored = False
        self.open()

    def open(self) -> None:
        """Look at the file that is there now: it may be another one."""
        self._db = sqlite3.connect(self._path, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._holds = self.scalar("SELECT COUNT(*) FROM holds") or 0

    def close(self) -> None:
        self._db.close()

    def rows(self, sql: str, **values: object) -> list[dict[str, Any]]:
        return [dict(row) for row in self._db.execute(sql, values)]

    def one(self, sql: str, **values: object) -> dict[str, Any]:
        (row,) = self.rows(sql, **values)
        return row

    def scalar(self, sql: str, **values: object) -> int | None:
        value: int | None = self._db.execute(sql, values).fetchone()[0]
        return value

    def in_journal(self) -> set[str]:
        """The attempts that the intent journal has whole lines of, whatever their epoch."""
        found = set()
        for path in self._journal.glob("intents-*.log"):
            for line in path.read_bytes().split(b"\n")[:-1]:
                found.add(json.loads(line.partition(b" ")[2])[2])
        return found

    def forget(self) -> None:
        """A backup was put in the database's place: note what it does not know, and who must wait."""
        self.restored = True
        self.open()
        known = {row["id"] for row in self.rows("SELECT id FROM attempts WHERE posts = 1")}
        self.forgotten = set(self.job_of) - known
        if self.in_journal() - {row["id"] for row in self.rows("SELECT id FROM attempts WHERE posts = 1")}:
            for server in self._servers:
                if server.paid:
                    self.must_wait[server.name] = RESTORED

    # ---------------------------------------------------------------------------------------- each instant

    def after_commit(self) -> None:
        """A hold that has just come must be allowed, and must fit under every limit that people set."""
        rows = self.rows("SELECT backend, code FROM pauses WHERE code IN ('clock', 'journal')")
        stopped = {(row["backend"], row["code"]) for row in rows}
        self.let_go |= self._stopped - stopped
        self._stopped = stopped
        count = self.scalar("SELECT COUNT(*) FROM holds") or 0
        if count == self._holds:
            return
        self._holds = count
        held = self.rows(f"{SENT} ORDER BY a.intent_epoch DESC, a.intent_sequence DESC")
        last = held[0]
        arming = self.one("SELECT * FROM armings ORDER BY id DESC LIMIT 1")
        night = self._limits.night_of(last["sent_us"])
        allowed = arming["armed"] and arming["once_night"] in (None, night)
        require("nothing is held while disarmed", bool(allowed), last)
        for name, used, limit in self._limits.used_by(self, last, held):
            require(f"the {name} is kept", used <= limit, f"{used} of {limit}, last {last}")
        for use in self.rows(f"{GRANT_USES} WHERE a.id = :id", id=last["attempt_id"]):
            in_time = use["effective_us"] <= last["sent_us"] < (use["expires_us"] or 1 << 62)
            require("a grant is used in its time", in_time, (use, last))

    def request_arrived(self, server: Server, attempt_id: str, *, accept_overage: bool, now_us: int) -> None:
        """Looked at the moment the first byte leaves; `now_us` is what the daemon's wall clock says."""
        if server.paid or not self.restored:
            require("one request an attempt", server.requests[attempt_id] == 0, attempt_id)
        found = self.rows(
            "SELECT a.*, j.batch_id, j.ordinal AS job_ordinal, j.cancel_asked_us, j.quoted_us,"
            " j.quote_valid_until_us, j.accepted_microusd, h.state AS hold, h.amount_microusd,"
            " h.overage_microusd AS overage_held FROM attempts a JOIN jobs j ON j.id = a.job_id"
            " LEFT JOIN holds h ON h.attempt_id = a.id WHERE a.id = :id",
            id=attempt_id,
        )
        intended = bool(found) and found[0]["state"] == "submitting" and found[0]["posts"] == 1
        require("the intent is on disk before the first byte", intended, found)
        (sent,) = found
        self.job_of[attempt_id] = f"{sent['batch_id']}.{sent['job_ordinal']}"
        self.forgotten.discard(attempt_id)
        require("nothing is sent after its time", now_us <= sent["send_not_after_us"], sent)
        require("nothing is sent that was cancelled", sent["cancel_asked_us"] is None, sent)
        self._require_open(sent, now_us)
        if server.paid:
            self._require_money(server, sent, accept_overage)
        else:
            require("overage is accepted only where it is held", not accept_overage, sent)

    def _require_open(self, sent: Row, now_us: int) -> None:
        paused = self.rows(
            "SELECT * FROM pauses WHERE backend IN (:backend, :provider)"
            " AND (until_us IS NULL OR until_us > :now)",
            backend=sent["backend"],
            provider=sent["provider"],
            now=now_us,
        )
        require("nothing is sent to a paused backend", not paused, paused)
        broken = self.rows(
            "SELECT * FROM breakers WHERE backend = :backend AND phase = 'open'"
            " AND (probe_us IS NULL OR probe_us > :now)",
            backend=sent["backend"],
            now=now_us,
        )
        require("nothing is sent through an open breaker", not broken, broken)

    def _require_money(self, server: Server, sent: Row, accept_overage: bool) -> None:
        waits = self.must_wait.get(server.name)
        require(f"nothing paid is sent after {waits}", waits is None, sent)
        written = sent["id"] in self.in_journal()
        require("a journal line is on disk before the first byte", written, sent)
        armed = self.scalar("SELECT armed FROM armings ORDER BY id DESC LIMIT 1")
        require("nothing paid is sent while disarmed", bool(armed), sent)
        audited = self.rows("SELECT verdict FROM audits ORDER BY id DESC LIMIT 1")
        looked = bool(audited) and audited[0]["verdict"] in ("clean", "lifted")
        require("nothing paid is sent before the books were audited", looked, (audited, sent))
        valid = sent["quoted_us"] <= sent["sent_us"] < sent["quote_valid_until_us"]
        require("nothing paid is sent at an old price", valid, sent)
        tolerated = sent["accepted_microusd"] * (1_000_000 + self.tolerance_ppm)
        drifted = sent["estimate_microusd"] * 1_000_000 > tolerated
        require("nothing paid is sent at a price that drifted", not drifted, sent)
        doubts = self.one(
            "SELECT COUNT(*) AS n, COALESCE(SUM(estimate_microusd), 0) AS exposed FROM attempts"
            " WHERE state = 'in_doubt' AND backend = :backend",
            backend=sent["backend"],
        )
        few = doubts["n"] < self.most_doubts and doubts["exposed"] < self.most_exposed
        require("nothing paid is sent while too much is in doubt", few or not doubts["n"], (doubts, sent))
        held = sent["hold"] == "open" and sent["amount_microusd"] >= sent["estimate_microusd"]
        require("money is held before the first byte", held, sent)
        beyond = (sent["overage_held"] or 0) >= sent["estimate_microusd"] > 0
        told = bool(sent["accept_overage"]) == accept_overage
        require("overage is accepted only where it is held", told and (beyond or not accept_overage), sent)

    def bill_written(self, server: Server, bill: Bill) -> None:
        if server.paid or not self.restored:
            require("one bill an attempt", len(server.billed(bill.attempt_id)) == 1, bill)
        if server.paid:
            self.require_covered(bill)

    def require_covered(self, bill: Bill) -> None:
        """What was billed is posted or held: all of it, once the provider has said how much it was."""
        if bill.attempt_id in self.forgotten:
            return
        hold = self.rows(
            "SELECT h.*, a.estimate_microusd, a.estimated_cost_microusd AS told FROM holds h"
            " JOIN attempts a ON a.id = h.attempt_id WHERE h.attempt_id = :id",
            id=bill.attempt_id,
        )
        covered = {"open": "amount_microusd", "posted": "posted_microusd"}
        standing = [row[covered[row["state"]]] for row in hold if row["state"] in covered]
        told = bool(hold) and hold[0]["told"] is not None
        least = min(bill.cost_microusd, hold[0]["estimate_microusd"] if hold else 0)
        owed = bill.cost_microusd if told else least
        require("what was billed is posted or held", bool(standing) and standing[0] >= owed, (bill, hold))

    # ------------------------------------------------------------------------------- each death and the end

    def audit(self) -> None:
        """Ask everything."""
        for name, sql in ALWAYS.items():
            broken = self.rows(sql)
            require(name, not broken, broken)
        self._require_paid_once()
        for use in self.rows(GRANT_USES):
            named = ((use["user"], "users"), (use["project"], "projects"), (use["backend"], "backends"))
            ours = all(not (only := json.loads(use[of])) or who in only for who, of in named)
            require("a grant is used only by those it is for", ours, use)

    def believe(self, own: AuditReport) -> None:
        """The program's audit of the same books must find as little."""
        for finding in own.findings:
            require(f"audit: {finding.code}", False, (finding.sentence, finding.rows))

    def _require_paid_once(self) -> None:
        failed = {row["id"] for row in self.rows("SELECT id FROM attempts WHERE state = 'failed'")}
        for server in self._servers:
            if not server.paid and self.restored:
                continue
            bills = [bill for bill in server.bills if bill.attempt_id not in failed]
            per_job = Counter(self.job_of[bill.attempt_id] for bill in bills)
            require("one bill a job", max(per_job.values(), default=0) <= 1, per_job.most_common(3))
            require("one request an attempt", max(server.requests.values(), default=0) <= 1)
            for bill in bills if server.paid else ():
                self.require_covered(bill)

    def settled_as_billed(self) -> None:
        """At the end: each hold is closed with what the provider billed, or said."""
        settled = self.rows(
            "SELECT a.id, h.posted_microusd, h.amount_microusd, a.estimated_cost_microusd AS told,"
            " (SELECT COALESCE(SUM(e.amount), 0) FROM txns t JOIN entries e ON e.txn_id = t.id"
            "  WHERE t.attempt_id = a.id AND e.account_id = 'spent:' || a.provider) AS credits,"
            " (SELECT COALESCE(SUM(e.amount), 0) FROM txns t JOIN entries e ON e.txn_id = t.id"
            "  WHERE t.attempt_id = a.id AND e.account_id = 'overage:' || a.provider) AS overage"
            " FROM attempts a JOIN holds h ON h.attempt_id = a.id WHERE a.state IN ('settled', 'failed')"
        )
        bills = {bill.attempt_id: bill for server in self._servers for bill in server.bills}
        for row in settled:
            bill = bills[row["id"]]
            right = bill.cost_microusd if row["told"] is not None else row["amount_microusd"]
            require("a bill is settled once, as billed", row["posted_microusd"] == right, (row, bill))
            booked = (row["credits"], row["overage"]) == (bill.credits_microcredits, bill.overage_microusd)
            require("credits and overage are booked as billed", booked or row["told"] is None, (row, bill))
        left = self.rows("SELECT * FROM cap_windows WHERE held <> 0")
        left += self.rows("SELECT * FROM accounts WHERE held <> 0")
        require("no hold is left when everything has ended", not left, left)
