"""`why`: every check that keeps a job or lets it go, worked out now; of one that does not wait, its story."""

from __future__ import annotations

from scheduler.api.desk import Caller, Desk
from scheduler.api.operations.jobs import JobArgs, find_job, folder_of
from scheduler.api.story import choices_of, now_of
from scheduler.api.views import attempt_view, event_view, job_view, result_view
from scheduler.api.waiting import Look, look_at
from scheduler.core.checks import Asked, Check, Place, all_checks
from scheduler.core.lifecycle import JobState
from scheduler.core.outlook import outlook
from scheduler.core.records import JobRecord
from scheduler.core.roles import Role
from scheduler.core.timing import iso, iso_or_none
from scheduler.core.views import AheadView, CheckView, PlaceView, WhyView
from scheduler.ports_store import Tx

#: Whose command a fix is, by its first word; what is not here anybody may give.
_ROLE_OF = {
    "arm": Role.ARM,
    "approve": Role.APPROVE,
    "audit": Role.RESOLVE,
    "budget": Role.CAPS,
}


async def why(desk: Desk, caller: Caller, args: JobArgs) -> WhyView:
    return await desk.kit.store.read(lambda tx: _why(desk, tx, caller, args.job))


def _why(desk: Desk, tx: Tx, caller: Caller, text: str) -> WhyView:
    job = find_job(tx, text)
    if job.state is JobState.WAITING:
        return _waits(desk, caller, job, look_at(desk, tx, job))
    attempts = tx.attempts_of(job.job_id)
    kind, sentence = now_of(desk, tx, job, attempts)
    return {
        **_nothing(desk, job),
        "outlook": {"kind": kind, "sentence": sentence},
        "attempts": [attempt_view(attempt) for attempt in attempts],
        "events": [event_view(event) for event in tx.events_of(job.job_id)],
        "choices": choices_of(job, attempts),
        "result": result_view(job, tx.results_of(job.job_id), folder_of(desk, job)),
    }


def _nothing(desk: Desk, job: JobRecord) -> WhyView:
    return {
        "as_of": iso(desk.now_us()),
        "daemon": desk.pid is not None,
        "job": job_view(job),
        "outlook": {"kind": "", "sentence": ""},
        "checks": [],
        "place": None,
        "attempts": [],
        "events": [],
        "choices": [],
        "result": None,
    }


def _waits(desk: Desk, caller: Caller, job: JobRecord, look: Look) -> WhyView:
    found = outlook(look.asked, look.closed, look.lasting)
    checks = all_checks(look.asked, look.closed, look.place)
    return {
        **_nothing(desk, job),
        "outlook": {"kind": found.hope.value, "sentence": found.sentence},
        "checks": [_check_view(desk, caller, look.asked, check) for check in checks],
        "place": _place_view(look.place),
    }


def _check_view(desk: Desk, caller: Caller, asked: Asked, check: Check) -> CheckView:
    return {
        "code": check.code,
        "state": check.verdict.value,
        "sentence": check.sentence,
        "opens_at": iso_or_none(check.opens_us),
        "fix": check.fix,
        "fix_by": None if check.fix is None else _who_may(desk, caller, asked, check.fix),
    }


def _who_may(desk: Desk, caller: Caller, asked: Asked, fix: str) -> str | None:
    """Who may give this command, when the one who asks may not."""
    command = fix.split()[1]
    role = _ROLE_OF.get(command)
    owner = asked.job.user
    if command in ("release", "edit"):
        who = asked.job.terms.on_hold_by if command == "release" else owner
        may = caller.user == who or desk.roles.has(Role.APPROVE, caller.user)
        return None if may else f"{who}, and whoever roles.approve names"
    if role is not None and not desk.roles.has(role, caller.user):
        return f"whoever roles.{role} names"
    if command == "approve" and caller.user == owner and not desk.roles.approve_own:
        return f"whoever roles.approve names, but not {owner}, whose job it is"
    return None


def _place_view(place: Place | None) -> PlaceView | None:
    if place is None:
        return None
    ahead: list[AheadView] = [{"job": label, "user": user} for label, user in place.first]
    return {"position": place.ahead + 1, "at_least": place.more, "ahead": ahead}
