"""What must be true of the books at every moment, each as SQL that must return no rows.

The SQL is plain enough for SQLite and PostgreSQL. `statement` looks at everything; `at_start` looks at what
could have changed since the last audit (`:since` is the last audited transaction), because the journal is
append-only; None leaves it to a full audit. All sums are made by the database: an audit of five million
lines needs no more memory than one of five. That a hold of a sent attempt never expires needs no statement:
holds have nothing that could expire.
"""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.core.caps import Measure
from scheduler.core.ledger import Account, AccountKind, Asset, Kind
from scheduler.core.lifecycle import (
    ATTEMPT_IN_FLIGHT,
    ATTEMPT_LIVE,
    ATTEMPT_POSTED,
    AttemptState,
    HoldState,
)
from scheduler.store.schema import in_list

_A = AttemptState
#: What an attempt's state says about its hold; a prepared one has none yet.
HOLD_STATES: dict[HoldState, frozenset[AttemptState]] = {
    HoldState.OPEN: frozenset({_A.SUBMITTING, _A.IN_DOUBT, _A.SUBMITTED, _A.FINISHED}),
    HoldState.POSTED: frozenset({_A.SETTLED, _A.FAILED, _A.WRITTEN_OFF}),
    HoldState.VOIDED: frozenset({_A.REFUSED, _A.NOT_SENT}),
}
_NAMED = in_list({_A.SUBMITTED, _A.FINISHED, _A.SETTLED, _A.FAILED})
_NAMELESS = in_list({_A.PREPARED, _A.REFUSED, _A.NOT_SENT})

#: Attempts that are not over, through their partial indexes.
_LIVE = f"""(
    SELECT * FROM attempts WHERE state IN {in_list(ATTEMPT_IN_FLIGHT)}
    UNION SELECT * FROM attempts WHERE state IN {in_list({_A.SUBMITTING, _A.IN_DOUBT})}
    UNION SELECT * FROM attempts WHERE state = '{_A.FINISHED}')"""


@dataclass(frozen=True, slots=True)
class Invariant:
    """One sentence about the books and the statement whose every row contradicts it."""

    code: str
    sentence: str
    statement: str
    at_start: str | None = None


def _same(code: str, sentence: str, statement: str) -> Invariant:
    """One that is quick enough, or knows `:since`, so that it is the same at every audit."""
    return Invariant(code, sentence, statement, statement)


def _is_in(asset: Asset) -> str:
    """True for a line in this asset, told from its account's name: looking each up costs most of an audit."""
    kinds = [kind for kind in AccountKind if Account(kind, "x").asset is asset]
    return " OR ".join(f"substr(e.account_id, 1, {len(kind) + 1}) = '{kind}:'" for kind in kinds)


#: When all of it and the dollars in it sum to zero, so do the credits.
_TOTAL, _DOLLARS = "SUM(e.amount)", f"SUM(CASE WHEN {_is_in(Asset.USD)} THEN e.amount ELSE 0 END)"
_ASSET_OF = " ".join(f"WHEN '{kind}' THEN '{Account(kind, 'x').asset}'" for kind in AccountKind)

_JOURNAL = [
    _same(
        "txn-balanced",
        "every transaction sums to zero in each asset",
        f"""SELECT e.txn_id, {_DOLLARS} AS usd_off, {_TOTAL} - {_DOLLARS} AS credit_off
        FROM entries e WHERE e.txn_id > :since GROUP BY e.txn_id
        HAVING {_TOTAL} <> 0 OR {_DOLLARS} <> 0""",
    ),
    _same(
        "txn-two-lines",
        "every transaction has at least two lines",
        # Lines are numbered from one: only when there are too few of the first two is each one looked at.
        """SELECT t.id AS txn_id, COUNT(e.line) AS lines
        FROM txns t LEFT JOIN entries e ON e.txn_id = t.id
        WHERE t.id > :since
          AND (SELECT COUNT(*) FROM entries WHERE txn_id > :since AND line IN (1, 2))
              <> 2 * (SELECT COUNT(*) FROM txns WHERE id > :since)
        GROUP BY t.id HAVING COUNT(e.line) < 2""",
    ),
    _same(
        "account-named",
        "an account's name says its kind, and its kind its asset",
        f"""SELECT id AS account, kind, asset FROM accounts
        WHERE substr(id, 1, length(kind) + 1) <> kind || ':' OR asset <> CASE kind {_ASSET_OF} END""",
    ),
    Invariant(
        "balance-journal",
        "every balance is the sum of its lines in the journal",
        """SELECT a.id AS account, a.posted, COALESCE(j.total, 0) AS journal
        FROM accounts a LEFT JOIN
          (SELECT account_id, SUM(amount) AS total FROM entries GROUP BY account_id) j
          ON j.account_id = a.id
        WHERE a.posted <> COALESCE(j.total, 0)""",
        # Grouped by an expression: by the bare column SQLite would walk the whole index for its order.
        """SELECT a.id AS account, a.posted, COALESCE(m.balance, 0) + COALESCE(j.total, 0) AS journal
        FROM accounts a LEFT JOIN audit_marks m ON m.account_id = a.id LEFT JOIN
          (SELECT account_id || '' AS account_id, SUM(amount) AS total FROM entries
           WHERE txn_id > :since GROUP BY account_id || '') j
          ON j.account_id = a.id
        WHERE a.posted <> COALESCE(m.balance, 0) + COALESCE(j.total, 0)""",
    ),
    _same(
        "conserved",
        "all balances of an asset together are zero",
        "SELECT asset, SUM(posted) AS off FROM accounts GROUP BY asset HAVING SUM(posted) <> 0",
    ),
    _same(
        "reversal-mirrors",
        "a reversal takes back no more than there was, and a correction takes back all of it",
        f"""SELECT b.txn_id, b.account_id AS account, o.total AS booked, b.total AS taken_back
        FROM (SELECT t.reverses AS txn_id, e.account_id, SUM(e.amount) AS total
              FROM txns t JOIN entries e ON e.txn_id = t.id
              WHERE t.reverses IS NOT NULL GROUP BY t.reverses, e.account_id) b
        LEFT JOIN (SELECT e.txn_id, e.account_id, SUM(e.amount) AS total FROM entries e
              WHERE e.txn_id IN (SELECT reverses FROM txns WHERE reverses IS NOT NULL)
              GROUP BY e.txn_id, e.account_id) o
          ON o.txn_id = b.txn_id AND o.account_id = b.account_id
        WHERE o.total IS NULL
           OR NOT ((o.total > 0 AND b.total < 0 AND o.total + b.total >= 0)
                OR (o.total < 0 AND b.total > 0 AND o.total + b.total <= 0))
           OR (o.total + b.total <> 0 AND EXISTS (SELECT 1 FROM txns c
               WHERE c.reverses = b.txn_id AND c.kind = '{Kind.CORRECTION}'))
        UNION ALL
        SELECT c.reverses, o.account_id, o.amount, 0
        FROM txns c JOIN entries o ON o.txn_id = c.reverses
        WHERE c.reverses IS NOT NULL AND c.kind = '{Kind.CORRECTION}' AND NOT EXISTS (SELECT 1
          FROM txns r JOIN entries e ON e.txn_id = r.id
          WHERE r.reverses = c.reverses AND e.account_id = o.account_id)""",
    ),
]

_HOLD_STATE_OF = " ".join(
    f"WHEN a.state IN {in_list(states)} THEN '{hold}'" for hold, states in HOLD_STATES.items()
)
_OPEN_HOLD_SUMS = """SELECT p.{key}, SUM(p.amount) AS total
          FROM holds h JOIN {parts} p ON p.attempt_id = h.attempt_id
          WHERE h.state = 'open' GROUP BY p.{key}"""
_PARTS_AGREE = f"""SELECT p.attempt_id, p.window_key, p.amount, h.amount_microusd, h.overage_microusd
        FROM holds h JOIN cap_parts p ON p.attempt_id = h.attempt_id
        JOIN cap_windows w ON w.key = p.window_key
        WHERE ((w.measure = '{Measure.COST}' AND p.amount <> h.amount_microusd)
           OR (w.measure = '{Measure.OVERAGE}' AND p.amount <> h.overage_microusd)
           OR (w.measure = '{Measure.CREDITS}' AND p.amount <
               (SELECT COALESCE(SUM(c.amount), 0) FROM hold_parts c WHERE c.attempt_id = p.attempt_id)))"""
_PART_CLOSED = """SELECT p.attempt_id, p.window_key, p.settled, h.state AS hold_state
        FROM holds h JOIN cap_parts p ON p.attempt_id = h.attempt_id
        WHERE (h.state = 'open') <> (p.settled IS NULL)"""
#: Lines of settlements. CROSS JOIN keeps SQLite from walking the whole journal in search of holds.
_SETTLEMENTS = """FROM holds h CROSS JOIN txns t CROSS JOIN entries e CROSS JOIN accounts a
        WHERE h.txn_id > :since AND t.id = h.txn_id AND e.txn_id = h.txn_id AND a.id = e.account_id"""
_OVERAGE_ABOVE_HOLD = f"""SELECT h.attempt_id AS attempt, h.overage_microusd AS held, SUM(e.amount) AS settled
        {_SETTLEMENTS}
        AND t.kind NOT IN {in_list({Kind.SETTLE_OVER, Kind.CORRECTION})}
          AND a.kind = '{AccountKind.OVERAGE}'
        GROUP BY h.attempt_id, h.overage_microusd HAVING SUM(e.amount) > h.overage_microusd"""
_HOLDS = [
    _same(
        "held-parts",
        "what is held on an account is the sum of its open holds' parts",
        f"""SELECT a.id AS account, a.held, COALESCE(o.total, 0) AS open_parts
        FROM accounts a LEFT JOIN (
          {_OPEN_HOLD_SUMS.format(key="account_id", parts="hold_parts")}) o ON o.account_id = a.id
        WHERE a.held <> COALESCE(o.total, 0)""",
    ),
    _same(
        "guarded-not-below-zero",
        "no grant is below zero, nor holds more than it has",
        "SELECT id AS account, posted, held FROM accounts WHERE guarded AND (posted < held OR held < 0)",
    ),
    Invariant(
        "hold-parts",
        "a hold reserves under every cap what it holds, and no more credits than its caps know of",
        _PARTS_AGREE,
        f"{_PARTS_AGREE} AND h.state = 'open'",
    ),
    Invariant(
        "hold-state",
        "a hold is open, posted or given back as its attempt's state says",
        f"""SELECT a.id AS attempt, a.state, h.state AS hold_state
        FROM holds h JOIN attempts a ON a.id = h.attempt_id
        WHERE h.state <> CASE {_HOLD_STATE_OF} ELSE 'none' END""",
        f"""SELECT a.id AS attempt, a.state, h.state AS hold_state
        FROM holds h JOIN attempts a ON a.id = h.attempt_id
        WHERE h.state = 'open' AND a.state NOT IN {in_list(HOLD_STATES[HoldState.OPEN])}
        UNION ALL SELECT a.id, a.state, h.state FROM {_LIVE} a JOIN holds h ON h.attempt_id = a.id
        WHERE h.state <> 'open'""",
    ),
    Invariant(
        "paid-held",
        "every paid attempt beyond prepared has a hold",
        """SELECT a.id AS attempt, a.state FROM attempts a LEFT JOIN holds h ON h.attempt_id = a.id
        WHERE (a.paid OR a.intent_sequence IS NOT NULL) AND h.attempt_id IS NULL""",
        f"""SELECT a.id AS attempt, a.state FROM {_LIVE} a LEFT JOIN holds h ON h.attempt_id = a.id
        WHERE (a.paid OR a.intent_sequence IS NOT NULL) AND h.attempt_id IS NULL""",
    ),
    Invariant(
        "overage-held",
        "overage is accepted on the wire only when the whole quote is held for it",
        """SELECT a.id AS attempt, a.estimate_microusd, h.overage_microusd
        FROM attempts a LEFT JOIN holds h ON h.attempt_id = a.id
        WHERE a.accept_overage
          AND (h.attempt_id IS NULL OR h.overage_microusd <= 0
            OR h.overage_microusd < a.estimate_microusd)""",
        f"""SELECT a.id AS attempt, a.estimate_microusd, h.overage_microusd
        FROM {_LIVE} a LEFT JOIN holds h ON h.attempt_id = a.id
        WHERE a.accept_overage
          AND (h.attempt_id IS NULL OR h.overage_microusd <= 0
            OR h.overage_microusd < a.estimate_microusd)""",
    ),
    Invariant(
        "posted-booked",
        "a posted hold that used credits or overage is in the journal",
        """SELECT h.attempt_id AS attempt, a.credits_applied_microcredits, a.overage_microusd
        FROM holds h JOIN attempts a ON a.id = h.attempt_id
        WHERE h.state = 'posted' AND h.txn_id IS NULL
          AND (COALESCE(a.overage_microusd, h.overage_microusd) > 0
               OR COALESCE(a.credits_applied_microcredits, 0) > 0)""",
    ),
    Invariant(
        "settled-within-hold",
        "nothing was settled above its hold without saying so",
        f"""SELECT attempt_id AS attempt, amount_microusd AS held, posted_microusd AS settled
        FROM holds WHERE posted_microusd > amount_microusd
          AND overrun_microusd < posted_microusd - amount_microusd
        UNION ALL {_OVERAGE_ABOVE_HOLD}""",
        _OVERAGE_ABOVE_HOLD,
    ),
    _same(
        "grant-within-part",
        "no settlement takes from a grant what was not held on it",
        f"""SELECT h.attempt_id AS attempt, e.account_id AS account, e.amount AS booked
        {_SETTLEMENTS}
        AND a.kind = '{AccountKind.GRANT}' AND -e.amount > COALESCE((SELECT p.amount FROM hold_parts p
          WHERE p.attempt_id = h.attempt_id AND p.account_id = e.account_id), 0)""",
    ),
    _same(
        "expired-grant-empty",
        "an expired grant has nothing left but what is held",
        """SELECT g.id AS grant_id, g.label, a.posted, a.held
        FROM grants g JOIN accounts a ON a.id = g.account_id
        WHERE g.expires_us <= :now_us AND a.posted <> a.held""",
    ),
]

_CAPS = [
    _same(
        "cap-held",
        "what a cap's window holds is the sum of its open parts",
        f"""SELECT w.key AS window_key, w.held, COALESCE(o.total, 0) AS open_parts
        FROM cap_windows w LEFT JOIN (
          {_OPEN_HOLD_SUMS.format(key="window_key", parts="cap_parts")}) o ON o.window_key = w.key
        WHERE w.held <> COALESCE(o.total, 0)""",
    ),
    Invariant(
        "cap-posted",
        "what was used of a cap's window is the sum of its settled parts",
        """SELECT w.key AS window_key, w.posted, COALESCE(s.total, 0) AS settled_parts
        FROM cap_windows w LEFT JOIN
          (SELECT window_key, SUM(settled) AS total FROM cap_parts GROUP BY window_key) s
          ON s.window_key = w.key
        WHERE w.posted <> COALESCE(s.total, 0)""",
    ),
    Invariant(
        "cap-part-closed",
        "a part of a cap is settled when its hold is closed, and not before",
        _PART_CLOSED,
        f"{_PART_CLOSED} AND h.state = 'open'",
    ),
    _same(
        "caps-kept",
        "no cap's window has more held and used than its limit and what was excused for a recorded reason",
        """SELECT key AS window_key, limit_amount, held, posted, excused FROM cap_windows
        WHERE limit_amount IS NOT NULL AND held + posted > limit_amount + excused""",
    ),
]

_ATTEMPTS = [
    Invariant(
        "one-live-attempt",
        "a part of a job has at most one attempt that is alive or has its result",
        f"""SELECT job_id, part_ordinal, COUNT(*) AS live FROM attempts
        WHERE state IN {in_list(ATTEMPT_LIVE)} GROUP BY job_id, part_ordinal HAVING COUNT(*) > 1""",
    ),
    Invariant(
        "provider-id-unique",
        "a provider's id belongs to one attempt, and every accepted one has an id",
        f"""SELECT provider, provider_job_id, COUNT(*) AS attempts FROM attempts
        WHERE provider_job_id IS NOT NULL GROUP BY provider, provider_job_id HAVING COUNT(*) > 1
        UNION ALL
        SELECT provider, id, 1 FROM attempts
        WHERE (state IN {_NAMED} AND provider_job_id IS NULL)
           OR (state IN {_NAMELESS} AND provider_job_id IS NOT NULL)""",
    ),
    Invariant(
        "one-post",
        "an attempt is posted at most once, and one that may cost money was counted as posted",
        f"""SELECT id AS attempt, state, posts FROM attempts
        WHERE posts NOT IN (0, 1) OR (state IN {in_list(ATTEMPT_POSTED)} AND posts <> 1)""",
    ),
]

INVARIANTS: tuple[Invariant, ...] = (*_JOURNAL, *_HOLDS, *_CAPS, *_ATTEMPTS)
