"""What the daemon answers to people and programs: plain JSON shapes, one for each question.

Times are UTC in ISO 8601 with a `Z`; money is a decimal string of dollars beside a unit in its name
(`cost_usd`), or null when it is unknown. The command and the control socket share these and nothing else.
"""

from __future__ import annotations

from typing import TypedDict


class GateView(TypedDict):
    code: str  # "slots", "disarmed", "cap:night" …
    sentence: str  # why it is closed, with the number or the time that opens it
    opens_at: str | None  # when it opens by itself, where that is known
    fix: str | None  # a command that works when pasted, or null


class NightView(TypedDict):
    key: str  # date of its start: "2026-11-22"
    name: str  # "Sun 22 → Mon 23 Nov"
    opens_at: str
    closes_at: str
    limit_usd: str | None  # null: nothing armed, so nothing paid may be spent
    held_usd: str
    posted_usd: str
    in_doubt_usd: str
    free_usd: str | None


class ArmedView(TypedDict):
    night_limit_usd: str
    once: bool  # for one night only
    night: str | None  # which one, when once
    by: str
    at: str
    reason: str


class BackendView(TypedDict):
    name: str  # "coda:iqm"
    provider: str
    kind: str
    paid: bool
    slots: int
    in_flight: int
    waiting: int
    in_doubt: int
    gates: list[GateView]  # closed ones that concern the whole backend


class BatchView(TypedDict):
    id: int
    name: str
    user: str
    source: str  # "spool", "socket" or "demo"
    created_at: str
    size: int
    counts: dict[str, int]  # job state -> number, only states that occur


class NeedView(TypedDict):
    what: str  # "in doubt", "provider refuses our credentials" …
    job: str | None
    sentence: str
    fix: str | None


class StatusView(TypedDict):
    as_of: str
    version: str
    daemon: bool  # false when answered from the store because no daemon runs
    pid: int | None
    home: str
    timezone: str
    armed: ArmedView | None
    night: NightView
    counts: dict[str, int]
    backends: list[BackendView]
    batches: list[BatchView]  # the latest ones, newest first
    needs_you: list[NeedView]


class JobView(TypedDict):
    job: str  # "12" or "12.3"
    batch: int
    name: str
    user: str
    state: str
    backend: str
    shots: int
    framework: str
    priority: int
    project: str | None
    tags: list[str]
    created_at: str
    ended_at: str | None
    estimate_usd: str | None
    cost_usd: str | None  # what it cost as far as known; null is unknown
    reason: str | None  # the last sentence said about it


class JobsView(TypedDict):
    as_of: str
    jobs: list[JobView]
    next: int | None  # hand it back as `after` for the next page; null at the end


class AttemptView(TypedDict):
    attempt: str
    ordinal: int
    state: str
    provider_job_id: str | None
    provider_status: str | None
    prepared_at: str
    sent_at: str | None
    ended_at: str | None
    hold_usd: str | None
    hold_state: str | None
    estimated_cost_usd: str | None
    credits_applied: str | None
    overage_usd: str | None
    #: charged, refunded, unknown or not charged, and how that is known; None until it has ended.
    charge: str | None
    charge_evidence: str | None
    reason: str | None


class EventView(TypedDict):
    at: str
    event: str
    sentence: str


class ResultView(TypedDict):
    job: str
    counts: list[dict[str, int]]  # one per circuit in the code
    bit_order: str
    shots_asked: int
    shots_returned: list[int]
    shots_match: bool
    folder: str | None  # where the files are; null while they are being written


class ShowView(TypedDict):
    as_of: str
    job: JobView
    gates: list[GateView]  # every closed gate of a waiting job, ranked
    quote: str | None  # "price list: 1 × $0.30 per task + 100 × …, taken 18:41 UTC"
    attempts: list[AttemptView]
    events: list[EventView]
    result: ResultView | None
    code_sha256: str


class CheckView(TypedDict):
    """One of all the checks that a waiting job has to pass."""

    code: str  # as in GateView
    state: str  # "closed", "open" or "not asked": it cannot be said yet
    sentence: str
    opens_at: str | None
    fix: str | None  # a command that works when pasted, or null
    fix_by: str | None  # who may give it, when the one who asks may not


class OutlookView(TypedDict):
    #: "never" (unless something is changed), "person", "time", "others" or "turn" while it waits; else
    #: "sending", "running", "in doubt" or "ended".
    kind: str
    sentence: str


class AheadView(TypedDict):
    job: str
    user: str


class PlaceView(TypedDict):
    position: int  # 1 is the next one
    at_least: bool  # there may be more before it: nobody counts further
    ahead: list[AheadView]  # the first ones in the queue


class ChoiceView(TypedDict):
    """One of the things that a person may say about a job in doubt, and only one of them is true."""

    when: str
    command: str
    then: str


class WhyView(TypedDict):
    as_of: str
    daemon: bool  # false when no daemon runs, so that nothing moves
    job: JobView
    outlook: OutlookView
    checks: list[CheckView]  # all of them while it waits, closed ones first; none when it does not
    place: PlaceView | None  # while it is in its backend's queue
    attempts: list[AttemptView]
    events: list[EventView]  # the story of a job that does not wait
    choices: list[ChoiceView]  # of a job in doubt
    result: ResultView | None


class SubmittedBatch(TypedDict):
    batch: int
    name: str
    jobs: int
    duplicate_of: int | None  # an unfinished batch of the same bytes: nothing was queued


class RefusedDocument(TypedDict):
    name: str
    why: str


class SubmitView(TypedDict):
    as_of: str
    batches: list[SubmittedBatch]
    refused: list[RefusedDocument]


class ChangedView(TypedDict):
    """What a state-changing command did, one line a thing."""

    as_of: str
    changed: list[str]
    unchanged: list[str]


class CapWindowView(TypedDict):
    """One occurrence of a cap; amounts are decimal text in the cap's unit."""

    key: str  # "member/cost/night:2026-11-22/user:alice"
    limit: str | None  # null is unlimited
    spent: str
    reserved: str
    in_doubt: str  # a part of what is reserved
    left: str | None
    resets_at: str | None  # null: never


class CapView(TypedDict):
    name: str
    measure: str  # "cost", "overage", "credits", "shots" or "tasks"
    unit: str  # "USD", "credits", "shots" or "tasks"
    scope: str
    of: str | None
    period: str
    limit: str | None  # of a new window; null is unlimited
    windows: list[CapWindowView]
    more: bool  # there are more windows than these


class GrantView(TypedDict):
    grant: int
    label: str
    state: str  # "active", "used up", "not yet" or "expired"
    amount: str  # credits, when it was recorded
    free: str
    reserved: str
    priority: int
    effective_at: str
    expires_at: str | None
    users: list[str]  # empty: everybody
    projects: list[str]
    backends: list[str]


class CreditsView(TypedDict):
    """What is known of one provider's credits; `free` null is unknown, because no grant is recorded."""

    provider: str
    free: str | None
    reserved: str
    spent: str
    unplanned: str  # taken by the provider beyond every grant
    unexplained: str  # what people read there and nothing here explains; below zero is missing
    overage_usd: str
    grants: list[GrantView]


class BudgetView(TypedDict):
    as_of: str
    timezone: str
    armed: ArmedView | None
    caps: list[CapView]
    credits: list[CreditsView]
    alarms: list[str]


class EntryView(TypedDict):
    account: str  # "grant:1", "spent:coda"
    unit: str  # "USD" or "credits"
    amount: str  # into the account; below zero is out of it


class TxnView(TypedDict):
    transaction: int
    at: str
    kind: str
    by: str
    reason: str
    job: str | None
    attempt: str | None
    reverses: int | None
    entries: list[EntryView]


class LedgerView(TypedDict):
    as_of: str
    transactions: list[TxnView]  # the latest first
    next: int | None  # hand it back as `after` for the next page; null at the end


class PriceView(TypedDict):
    """What one job would cost; `cost_usd` null is unknown, and `why` says why."""

    name: str
    jobs: int  # how many of the asked are exactly this one
    backend: str
    shots: int
    cost_usd: str | None
    source: str | None  # "price list", or the provider's name
    lines: list[str]
    taken_at: str | None
    age_s: float | None
    valid_until: str | None
    why: str | None


class EstimateView(TypedDict):
    as_of: str
    prices: list[PriceView]
    jobs: int
    total_usd: str | None  # null when one price is unknown
    unknown: int  # jobs without a price
