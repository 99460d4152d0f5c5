"""What Coda's answers mean: pure reading, from a whole answer to a word of ours.

The rule: an answer to the billable call that does not plainly say "taken" or "refused" is Unknown, and one
that contradicts itself does not say anything plainly.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

from scheduler.core.money import Credits, Money, NotMoney
from scheduler.core.pricing import Estimate
from scheduler.core.task import (
    BIT_ORDER_OF_PROVIDER,
    Accepted,
    Completed,
    CostFacts,
    Counts,
    Device,
    Failed,
    NotKnown,
    Outcome,
    RefusalKind,
    Refused,
    StillOpen,
    TaskReport,
    Unknown,
)
from scheduler.ports import EstimateFailed
from scheduler.providers._http import EVIDENCE_BYTES
from scheduler.providers._replies import SCRUBBED, JsonObject, Reply, one_line, words_of

#: Answers to the billable call after which nothing runs, when a JSON object says so.
REFUSING = frozenset({400, 401, 402, 403, 404, 422, 429})
_ABOUT_CREDITS = re.compile(r"\b(?:credits?|overages?|insufficient|balance)\b", re.IGNORECASE)
_BITS = re.compile(r"^[01]+(?: [01]+)*$")
_MOST_SHOTS = 10**15


def estimate_of(reply: Reply, source: str) -> Estimate | EstimateFailed:
    """Read an answer to the estimate; one without a plain figure is a failure, never a price of zero."""
    body, words = reply.body, words_of(reply.body)
    if reply.status != 200 or body is None or body.get("success", True) is not True:
        return EstimateFailed(
            f"no estimate: {said(reply, words)}",
            retry_after_s=reply.retry_after_s,
            never_runs=_never_runs(reply, words),
            needs_person=reply.status in (401, 402, 403),
        )
    problems: list[str] = []
    cost_microusd = _cents(body, "estimated_cost_cents", problems)
    if cost_microusd is None:
        problem = problems[0] if problems else "the answer has no estimated_cost_cents"
        return EstimateFailed(f"no estimate: {one_line(problem)}")
    return Estimate(cost_microusd, source, raw=reply.text)


def outcome_of(reply: Reply) -> Outcome:
    """Read a whole answer to the billable call; what contradicts itself is Unknown."""
    body = reply.body
    words = words_of(body)
    answered = said(reply, words)
    evidence = reply.text[:EVIDENCE_BYTES]
    if body is None:
        return Unknown(f"{answered}, and the body is no JSON object", evidence)
    if body.repeated & {"job_id", "success"}:
        return Unknown(f"{answered}, and the body says two things about the job", evidence)
    job_id, success = body.get("job_id"), body.get("success", True)
    if 200 <= reply.status < 300:
        if success is True and job_id is not None:
            return _accepted(reply, body)
        if reply.status == 200 and success is False and job_id is None:
            return Refused(_kind_of(reply, words), answered, reply.retry_after_s, evidence)
        return Unknown(f"{answered}, without saying plainly whether it took the job", evidence)
    if reply.status in REFUSING and job_id is None and body.get("success") is not True:
        return Refused(_kind_of(reply, words), answered, reply.retry_after_s, evidence)
    return Unknown(f"{answered}: the job may have been taken, or not", evidence)


def _accepted(reply: Reply, body: JsonObject) -> Accepted | Unknown:
    job_id = body["job_id"]
    if not isinstance(job_id, str) or not 0 < len(job_id) <= 200 or job_id != one_line(job_id):
        return Unknown("Coda accepted, but its job_id is no usable name", reply.text[:EVIDENCE_BYTES])
    if SCRUBBED in job_id:
        return Unknown("Coda accepted, but its job_id has our token in it", reply.text[:EVIDENCE_BYTES])
    problems: list[str] = []
    cost = CostFacts(
        estimated_cost_microusd=_cents(body, "estimated_cost_cents", problems),
        credits_applied_microcredits=_credits(body, "credits_applied", problems),
        overage_microusd=_cents(body, "overage_cents", problems),
    )
    notes = "".join(f"\n// nightshot: {one_line(problem)}" for problem in problems)
    word = one_line(str(body.get("status") or "submitted"), 100)
    return Accepted(job_id, word, cost, reply.text[:EVIDENCE_BYTES] + notes)


def _kind_of(reply: Reply, words: str) -> RefusalKind:
    if reply.status in (401, 403):
        return RefusalKind.CREDENTIALS
    # A list of faulty fields is about the request, whatever words are in it.
    listed = reply.body is not None and isinstance(reply.body.get("detail"), list)
    if reply.status == 402 or (not listed and _ABOUT_CREDITS.search(words)):
        return RefusalKind.CREDITS
    return RefusalKind.BUSY if reply.status == 429 else RefusalKind.INVALID


def _never_runs(reply: Reply, words: str) -> bool:
    """Whether a refused estimate is about the job; a bare "Not Found" is about a path that has moved."""
    if reply.body is None or _ABOUT_CREDITS.search(words):
        return False
    return reply.status in (400, 422) or (reply.status == 404 and words not in ("", "Not Found"))


def said(reply: Reply, words: str) -> str:
    """`Coda answered 422: body.shots: must be at most 10000`."""
    return f"Coda answered {reply.status}: {words}" if words else f"Coda answered {reply.status}"


def _cents(body: JsonObject, key: str, problems: list[str]) -> int | None:
    figure = _figure(body, key, problems)
    try:
        return None if figure is None else Money.from_cents(figure).microusd
    except NotMoney as error:
        problems.append(f"{key} is unknown: {error}")
        return None


def _credits(body: JsonObject, key: str, problems: list[str]) -> int | None:
    figure = _figure(body, key, problems)
    try:
        return None if figure is None else Credits.from_number(figure).microcredits
    except NotMoney as error:
        problems.append(f"{key} is unknown: {error}")
        return None


def _figure(body: JsonObject, key: str, problems: list[str]) -> int | Decimal | None:
    value = body.get(key)
    if value is None:
        return None
    if key in body.repeated or isinstance(value, bool) or not isinstance(value, int | Decimal):
        problems.append(f"{key} is unknown: {value!r} is not one number")
        return None
    return value


def report_of(reply: Reply, provider_job_id: str) -> TaskReport | str:
    """Read a status answer; a string says why it tells nothing about the task."""
    body, words = reply.body, words_of(reply.body)
    if body is None:
        return f"{said(reply, words)}, and the body is no JSON object"
    if reply.status == 404:
        return NotKnown(said(reply, words), reply.text)
    if reply.status != 200:
        return said(reply, words)
    word = body.get("status")
    plain = word.strip().lower() if isinstance(word, str) else ""
    if body.get("job_id", provider_job_id) != provider_job_id:
        return "the answer is about another job"
    if plain == "failed":
        return Failed(words or "Coda says that it failed, and not why", reply.text)
    if body.get("success", True) is not True:
        return NotKnown(words or "Coda answered success: false", reply.text)
    if not isinstance(word, str) or not plain:
        return "the answer has no status word"
    if plain != "completed":
        return StillOpen(one_line(word, 100), reply.text)
    return _completed(body, reply)


def _completed(body: JsonObject, reply: Reply) -> Completed | StillOpen | str:
    results = body.get("results")
    if results is None or results in ({}, []):
        # Results may be written after the word. Asked again ever more slowly; an empty histogram now
        # would end a paid task with nothing.
        return StillOpen("completed, results not there yet", reply.text)
    circuits = results if isinstance(results, list) else [results]
    counts = [_counts(circuit) for circuit in circuits]
    for number, found in enumerate(counts, 1):
        if isinstance(found, str):
            sense = one_line(found)
            return f"completed, but the counts of circuit {number} make no sense: {sense}"
    return Completed(
        tuple(found for found in counts if not isinstance(found, str)), BIT_ORDER_OF_PROVIDER, reply.text
    )


def _counts(value: Any) -> Counts | str:
    if not isinstance(value, JsonObject) or not value:
        return f"{str(value)[:80]!r} is not a histogram"
    if value.repeated:
        return f"{min(value.repeated)[:80]!r} is counted twice"
    counts: Counts = {}
    for bits, shots in value.items():
        if not _BITS.match(bits):
            return f"{bits[:80]!r} is not a bit string"
        if isinstance(shots, bool) or not isinstance(shots, int | Decimal) or not 0 <= shots <= _MOST_SHOTS:
            return f"{str(shots)[:80]!r} is not a number of shots"
        if shots != int(shots):
            return f"{str(shots)[:80]!r} shots of {bits[:80]!r} is not a whole number"
        counts[bits] = int(shots)
    return counts


def device_of(entry: Any) -> Device | None:
    """Read one listed device, every unknown field kept in `raw`; None when it has nothing to be called by."""
    if not isinstance(entry, JsonObject):
        return None
    names = [entry.get(key) for key in ("id", "name")]
    name = next((one_line(n, 200) for n in names if isinstance(n, str) and n.strip()), None)
    if name is None:
        return None
    told = [entry.get(key) for key in ("name", "provider", "description")]
    description = ", ".join(text for text in told if isinstance(text, str) and text != name)
    raw = json.dumps(entry, default=str)
    return Device(name, _online(entry), one_line(description), raw)


def _online(entry: JsonObject) -> bool | None:
    word = entry.get("online", entry.get("status"))
    if isinstance(word, bool):
        return word
    match word.strip().lower() if isinstance(word, str) else None:
        case "online" | "available" | "operational" | "active":
            return True
        case "offline" | "unavailable" | "maintenance" | "retired":
            return False
        case _:
            return None
