"""The auditor's questions, in SQL that knows the tables and none of the program's code."""

from __future__ import annotations

_LIVE = "('prepared', 'submitting', 'submitted', 'in_doubt', 'finished', 'settled')"

#: Questions that must return no rows, at any moment at all.
ALWAYS = {
    "held is the sum of the open holds": """
        SELECT w.key, w.held FROM cap_windows w WHERE w.held <> (
          SELECT COALESCE(SUM(p.amount), 0) FROM cap_parts p JOIN holds h ON h.attempt_id = p.attempt_id
          WHERE p.window_key = w.key AND h.state = 'open')
        UNION ALL
        SELECT a.id, a.held FROM accounts a WHERE a.held <> (
          SELECT COALESCE(SUM(p.amount), 0) FROM hold_parts p JOIN holds h ON h.attempt_id = p.attempt_id
          WHERE p.account_id = a.id AND h.state = 'open')""",
    "posted is the sum of what the holds posted": """
        SELECT w.key, w.posted FROM cap_windows w WHERE w.measure = 'cost' AND w.posted <> (
          SELECT COALESCE(SUM(h.posted_microusd), 0) FROM cap_parts p
          JOIN holds h ON h.attempt_id = p.attempt_id
          WHERE p.window_key = w.key AND h.state = 'posted')""",
    "a balance is the sum of its entries": """
        SELECT a.id, a.posted FROM accounts a WHERE a.posted <> (
          SELECT COALESCE(SUM(e.amount), 0) FROM entries e WHERE e.account_id = a.id)""",
    "one settlement an attempt": """
        SELECT attempt_id, COUNT(*) FROM txns WHERE attempt_id IS NOT NULL AND kind LIKE 'settle%'
        GROUP BY attempt_id HAVING COUNT(*) > 1""",
    "one post an attempt": "SELECT id, posts FROM attempts WHERE posts > 1",
    "a sent attempt was counted as posted": """
        SELECT id, state FROM attempts
        WHERE posts <> 1 AND state NOT IN ('prepared', 'not_sent')""",
    "one live attempt a part": f"""
        SELECT job_id, part_ordinal, COUNT(*) FROM attempts
        WHERE state IN {_LIVE} GROUP BY job_id, part_ordinal HAVING COUNT(*) > 1""",
    "whatever may cost money has an open hold": """
        SELECT a.id, a.state, h.state FROM attempts a LEFT JOIN holds h ON h.attempt_id = a.id
        WHERE a.state IN ('submitting', 'submitted', 'in_doubt', 'finished')
          AND a.provider <> 'free' AND COALESCE(h.state, 'none') <> 'open'""",
    "what costs nothing gave its hold back": """
        SELECT a.id, a.state, h.state FROM attempts a JOIN holds h ON h.attempt_id = a.id
        WHERE a.state IN ('refused', 'not_sent', 'prepared') AND h.state <> 'voided'""",
    "what ended has its hold posted": """
        SELECT a.id, a.state, h.state FROM attempts a LEFT JOIN holds h ON h.attempt_id = a.id
        WHERE a.state IN ('settled', 'failed', 'written_off')
          AND a.provider <> 'free' AND COALESCE(h.state, 'none') <> 'posted'""",
    "a job and its attempt agree": f"""
        SELECT j.id, j.state, a.id, a.state FROM jobs j LEFT JOIN attempts a ON a.job_id = j.id
          AND a.state IN {_LIVE}
        WHERE CASE j.state
          WHEN 'waiting' THEN a.id IS NOT NULL
          WHEN 'cancelled' THEN a.id IS NOT NULL
          WHEN 'admitted' THEN COALESCE(a.state, '') NOT IN ('prepared', 'submitting')
          WHEN 'running' THEN COALESCE(a.state, '') NOT IN ('submitted', 'finished')
          WHEN 'in_doubt' THEN COALESCE(a.state, '') <> 'in_doubt'
          WHEN 'completed' THEN COALESCE(a.state, '') <> 'settled'
          ELSE a.id IS NOT NULL END""",
    "a completed job has its result": """
        SELECT j.id FROM jobs j LEFT JOIN results r ON r.job_id = j.id
        WHERE j.state = 'completed' AND r.job_id IS NULL""",
    "an id belongs to one attempt": """
        SELECT provider, provider_job_id FROM attempts WHERE provider_job_id IS NOT NULL
        GROUP BY provider, provider_job_id HAVING COUNT(*) > 1""",
}

#: Every hold with whose it is: the rows of which any limit's use is a sum.
SENT = """
    SELECT h.attempt_id, h.state, h.amount_microusd, h.posted_microusd, h.overage_microusd AS overage_held,
      a.overage_microusd AS overage_told, a.credits_applied_microcredits AS credits_told, a.sent_us,
      a.backend, a.estimate_microusd,
      (SELECT SUM(p.amount) FROM hold_parts p WHERE p.attempt_id = a.id) AS credits_held,
      j.id AS job_id, j.shots, j.project, j.cap_microusd, b.user
    FROM holds h JOIN attempts a ON a.id = h.attempt_id
    JOIN jobs j ON j.id = a.job_id JOIN batches b ON b.id = j.batch_id"""

#: Every use of a grant, reserved or booked, with whose it was.
GRANT_USES = """
    SELECT g.*, a.id AS attempt_id, a.backend, j.project, b.user
    FROM (SELECT attempt_id, account_id FROM hold_parts
          UNION SELECT t.attempt_id, e.account_id FROM txns t JOIN entries e ON e.txn_id = t.id
          WHERE t.attempt_id IS NOT NULL) u
    JOIN (SELECT account_id, users, projects, backends, effective_us, expires_us FROM grants) g
      ON g.account_id = u.account_id
    JOIN attempts a ON a.id = u.attempt_id JOIN jobs j ON j.id = a.job_id
    JOIN batches b ON b.id = j.batch_id"""
