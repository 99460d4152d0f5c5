"""What must be true whatever happened, each with a name that a failing night is told by.

The rows are asked by SQL of their own, never through the store's code, and are held against what the
pretended providers wrote into their own books.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable

from tests.support.pretend import Bill, Server


class InvariantBroken(AssertionError):
    def __init__(self, name: str, facts: object) -> None:
        super().__init__(f"[{name}] {facts}")
        self.name = name


def require(name: str, holds: bool, facts: object = "") -> None:
    if not holds:
        raise InvariantBroken(name, facts)


#: Questions that must return no rows, at any moment at all.
ALWAYS = {
    "held is the sum of the open holds": """
        SELECT n.key, n.held_microusd FROM nights n WHERE n.held_microusd <> (
          SELECT COALESCE(SUM(h.amount_microusd), 0) FROM holds h
          WHERE h.night = n.key AND h.state = 'open')""",
    "posted is the sum of what the holds posted": """
        SELECT n.key, n.posted_microusd FROM nights n WHERE n.posted_microusd <> (
          SELECT COALESCE(SUM(h.posted_microusd), 0) FROM holds h WHERE h.night = n.key)""",
    "one post an attempt": "SELECT id, posts FROM attempts WHERE posts > 1",
    "a sent attempt was counted as posted": """
        SELECT id, state FROM attempts
        WHERE posts <> 1 AND state NOT IN ('prepared', 'not_sent')""",
    "one live attempt a part": """
        SELECT job_id, part_ordinal, COUNT(*) FROM attempts
        WHERE state IN ('prepared', 'submitting', 'submitted', 'in_doubt', 'finished', 'settled')
        GROUP BY job_id, part_ordinal HAVING COUNT(*) > 1""",
    "whatever may cost money has an open hold": """
        SELECT a.id, a.state, h.state FROM attempts a LEFT JOIN holds h ON h.attempt_id = a.id
        WHERE a.state IN ('submitting', 'submitted', 'in_doubt', 'finished')
          AND a.provider <> 'free' AND COALESCE(h.state, 'none') <> 'open'""",
    "what costs nothing gave its hold back": """
        SELECT a.id, a.state, h.state FROM attempts a JOIN holds h ON h.attempt_id = a.id
        WHERE a.state IN ('refused', 'not_sent', 'prepared') AND h.state <> 'voided'""",
    "what ended has its hold posted": """
        SELECT a.id, a.state, h.state FROM attempts a LEFT JOIN holds h ON h.attempt_id = a.id
        WHERE a.state IN ('settled', 'written_off')
          AND a.provider <> 'free' AND COALESCE(h.state, 'none') <> 'posted'""",
    "a job and its attempt agree": """
        SELECT j.id, j.state, a.id, a.state FROM jobs j LEFT JOIN attempts a ON a.job_id = j.id
          AND a.state IN ('prepared', 'submitting', 'submitted', 'in_doubt', 'finished', 'settled')
        WHERE CASE j.state
          WHEN 'waiting' THEN a.id IS NOT NULL
          WHEN 'cancelled' THEN a.id IS NOT NULL
          WHEN 'admitted' THEN COALESCE(a.state, '') NOT IN ('prepared', 'submitting')
          WHEN 'running' THEN COALESCE(a.state, '') NOT IN ('submitted', 'finished')
          WHEN 'in_doubt' THEN COALESCE(a.state, '') <> 'in_doubt'
          WHEN 'completed' THEN COALESCE(a.state, '') <> 'settled'
          ELSE COALESCE(a.state, 'settled') <> 'settled' END""",
    "a completed job has its result": """
        SELECT j.id FROM jobs j LEFT JOIN results r ON r.job_id = j.id
        WHERE j.state = 'completed' AND r.job_id IS NULL""",
    "an id belongs to one attempt": """
        SELECT provider, provider_job_id FROM attempts WHERE provider_job_id IS NOT NULL
        GROUP BY provider, provider_job_id HAVING COUNT(*) > 1""",
}


class Books:
    """The database as an auditor sees it, and the providers' own books beside it."""

    def __init__(self, path: str, servers: Iterable[Server]) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._servers = list(servers)
        self._holds = 0
        self.most_doubts, self.most_exposed = 3, 10_000_000

    def close(self) -> None:
        self._db.close()

    def rows(self, sql: str, **values: object) -> list[sqlite3.Row]:
        return self._db.execute(sql, values).fetchall()

    def one(self, sql: str, **values: object) -> sqlite3.Row:
        (row,) = self.rows(sql, **values)
        return row

    def scalar(self, sql: str, **values: object) -> int | None:
        value: int | None = self._db.execute(sql, values).fetchone()[0]
        return value

    # ---------------------------------------------------------------------------------------- each instant

    def after_commit(self) -> None:
        """A hold that has just come must fit under what a person allowed for its night, and be allowed."""
        count = self.scalar("SELECT COUNT(*) FROM holds") or 0
        if count == self._holds:
            return
        self._holds = count
        last = self.one("SELECT h.*, h.rowid FROM holds h ORDER BY h.rowid DESC LIMIT 1")
        arming = self.one("SELECT * FROM armings ORDER BY id DESC LIMIT 1")
        allowed = arming["armed"] and arming["once_night"] in (None, last["night"])
        require("nothing is held while disarmed", bool(allowed), dict(last))
        spent = self.scalar(
            "SELECT SUM(CASE state WHEN 'open' THEN amount_microusd WHEN 'posted' THEN posted_microusd END)"
            " FROM holds WHERE night = :night AND state <> 'voided'",
            night=last["night"],
        )
        limit = arming["night_limit_microusd"]
        require("the night's cap is kept", (spent or 0) <= limit, f"{spent} of {limit}, last {dict(last)}")

    def request_arrived(self, server: Server, attempt_id: str, now_us: int) -> None:
        """Looked at in the very moment in which the first byte leaves."""
        require("one request an attempt", server.requests[attempt_id] == 0, attempt_id)
        found = self.rows(
            "SELECT a.*, j.cancel_asked_us, h.state AS hold, h.amount_microusd FROM attempts a"
            " JOIN jobs j ON j.id = a.job_id LEFT JOIN holds h ON h.attempt_id = a.id WHERE a.id = :id",
            id=attempt_id,
        )
        intended = bool(found) and found[0]["state"] == "submitting" and found[0]["posts"] == 1
        require("the intent is on disk before the first byte", intended, [dict(row) for row in found])
        (sent,) = found
        require("nothing is sent after its time", now_us <= sent["send_not_after_us"], dict(sent))
        require("nothing is sent that was cancelled", sent["cancel_asked_us"] is None, dict(sent))
        paused = self.rows(
            "SELECT * FROM pauses WHERE backend IN (:backend, :provider)"
            " AND (until_us IS NULL OR until_us > :now)",
            backend=sent["backend"],
            provider=sent["provider"],
            now=now_us,
        )
        require("nothing is sent to a paused backend", not paused, [dict(row) for row in paused])
        if server.paid:
            armed = self.scalar("SELECT armed FROM armings ORDER BY id DESC LIMIT 1")
            require("nothing paid is sent while disarmed", bool(armed), dict(sent))
            valid = self.scalar(
                "SELECT MAX(valid_until_us) FROM quotes WHERE job_id = :job", job=sent["job_id"]
            )
            require("nothing paid is sent at an old price", (valid or 0) > sent["sent_us"], dict(sent))
            doubts = self.one(
                "SELECT COUNT(*) AS n, COALESCE(SUM(estimate_microusd), 0) AS exposed FROM attempts"
                " WHERE state = 'in_doubt' AND backend = :backend",
                backend=sent["backend"],
            )
            few = doubts["n"] < self.most_doubts and doubts["exposed"] < self.most_exposed
            require("nothing paid is sent while too much is in doubt", few, (dict(doubts), dict(sent)))
            held = sent["hold"] == "open" and sent["amount_microusd"] >= sent["estimate_microusd"]
            require("money is held before the first byte", held, dict(sent))

    def bill_written(self, server: Server, bill: Bill) -> None:
        require("one bill an attempt", len(server.billed(bill.attempt_id)) == 1, bill)
        if server.paid:
            self.require_covered(bill)

    def require_covered(self, bill: Bill) -> None:
        """What was billed is posted or held: all of it, once the provider has said how much it was."""
        hold = self.rows(
            "SELECT h.*, a.estimate_microusd, a.estimated_cost_microusd AS told FROM holds h"
            " JOIN attempts a ON a.id = h.attempt_id WHERE h.attempt_id = :id",
            id=bill.attempt_id,
        )
        covered = {"open": "amount_microusd", "posted": "posted_microusd"}
        standing = [row[covered[row["state"]]] for row in hold if row["state"] in covered]
        told = bool(hold) and hold[0]["told"] is not None
        owed = (
            bill.cost_microusd
            if told
            else min(bill.cost_microusd, hold[0]["estimate_microusd"] if hold else 0)
        )
        facts = (bill, [dict(row) for row in hold])
        require("what was billed is posted or held", bool(standing) and standing[0] >= owed, facts)

    # ------------------------------------------------------------------------------- each death and the end

    def audit(self) -> None:
        for name, sql in ALWAYS.items():
            broken = [dict(row) for row in self.rows(sql)]
            require(name, not broken, broken)
        jobs = {row["id"]: row["job_id"] for row in self.rows("SELECT id, job_id FROM attempts")}
        for server in self._servers:
            per_job = Counter(jobs[bill.attempt_id] for bill in server.bills)
            require("one bill a job", max(per_job.values(), default=0) <= 1, per_job.most_common(3))
            require("one request an attempt", max(server.requests.values(), default=0) <= 1)
            for bill in server.bills if server.paid else ():
                self.require_covered(bill)

    def settled_as_billed(self) -> None:
        """At the end: each hold is closed with what the provider billed, or said."""
        posted = {
            row["id"]: row
            for row in self.rows(
                "SELECT a.id, h.posted_microusd, h.amount_microusd, a.estimated_cost_microusd AS told"
                " FROM attempts a JOIN holds h ON h.attempt_id = a.id WHERE a.state = 'settled'"
            )
        }
        bills = {bill.attempt_id: bill for server in self._servers for bill in server.bills}
        for attempt_id, row in posted.items():
            bill = bills[attempt_id]
            right = bill.cost_microusd if row["told"] is not None else row["amount_microusd"]
            require("a bill is settled once, as billed", row["posted_microusd"] == right, (dict(row), bill))
        left = [dict(row) for row in self.rows("SELECT * FROM nights WHERE held_microusd <> 0")]
        require("no hold is left when everything has ended", not left, left)
