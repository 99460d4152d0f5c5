"""`status`: tonight's money, the queues, and last what needs a person."""

from __future__ import annotations

from scheduler import __version__
from scheduler.api.desk import Args, Caller, Desk
from scheduler.api.operations.backends import backend_views
from scheduler.api.views import batch_view, label_of, night_view
from scheduler.core.admission import BackendLoad, backend_gates, closed_gates
from scheduler.core.lifecycle import JobState
from scheduler.core.money import Money
from scheduler.core.records import ArmingRecord
from scheduler.core.timing import iso, night_of
from scheduler.core.views import ArmedView, NeedView, NightView, StatusView
from scheduler.core.windows import open_windows
from scheduler.ports_store import Tx
from scheduler.stages.purse import armed_tonight, caps_in_force, night_window, purse_for

BATCHES_SHOWN = 10
NEEDS_SHOWN = 20
#: Looks in a row that failed before a person is told.
TROUBLED_POLLS = 5


class StatusArgs(Args):
    pass


async def status(desk: Desk, caller: Caller, args: StatusArgs) -> StatusView:  # noqa: ARG001
    return await desk.kit.store.read(lambda tx: _status(desk, tx))


def _status(desk: Desk, tx: Tx) -> StatusView:
    now_us = desk.now_us()
    since = night_of(now_us, desk.kit.rules.zone)  # in the morning people look at the night behind them
    return {
        "as_of": iso(now_us),
        "version": __version__,
        "daemon": desk.pid is not None,
        "pid": desk.pid,
        "home": str(desk.home),
        "timezone": desk.timezone,
        "armed": armed_view(tx.arming()),
        "night": _tonight(desk, tx, now_us),
        "counts": tx.state_counts(since.opens_us),
        "backends": backend_views(desk, tx, now_us),
        "batches": [batch_view(batch) for batch in tx.latest_batches(BATCHES_SHOWN)],
        "needs_you": _needs(desk, tx, now_us),
    }


def armed_view(arming: ArmingRecord | None) -> ArmedView | None:
    if arming is None:
        return None
    return {
        "night_limit_usd": Money(arming.night_limit_microusd).decimal_text(),
        "once": arming.once_night is not None,
        "night": arming.once_night,
        "by": arming.actor,
        "at": iso(arming.at_us),
        "reason": arming.reason,
    }


def _tonight(desk: Desk, tx: Tx, now_us: int) -> NightView:
    arming, rules = tx.arming(), desk.kit.rules
    window = night_window(rules, now_us, arming.night_limit_microusd if arming else 0)
    ((_, books),) = tx.cap_books([window])
    armed = armed_tonight(arming, rules, now_us)
    return night_view(rules.night(now_us), armed, books, tx.in_doubt_use(window.key))


def _stuck_queues(desk: Desk, tx: Tx, now_us: int) -> list[NeedView]:
    """For each queue, what keeps its first job from starting that only a person can change."""
    needs: list[NeedView] = []
    house = desk.kit.rules
    for name in tx.waiting_backends():
        rules = house.backend(name)
        heads = tx.queue_heads(name, now_us, 1, open_windows(house.hours, now_us))
        first = next(iter(heads), None) or tx.first_unpriced(name)
        if rules is None or first is None:
            continue
        (load,) = tx.fill_loads([BackendLoad(name, rules.paid, rules.slots)])
        label = label_of(tx.job_record(first.job_id))
        purse = purse_for(tx, [first], house, now_us)
        own = closed_gates(first, load, purse, house.doubt_limits, now_us, house.hours)
        shared = {gate.code for gate in backend_gates(load, now_us)}
        needs += [
            {"what": gate.code, "job": label, "sentence": gate.sentence, "fix": gate.fix}
            for gate in own
            if gate.needs_person and gate.code not in shared
        ]
    return needs


def _needs(desk: Desk, tx: Tx, now_us: int) -> list[NeedView]:
    needs: list[NeedView] = []
    for job in tx.jobs_in_state(JobState.IN_DOUBT, NEEDS_SHOWN):
        label = label_of(job)
        # No verdict is suggested: "not-sent" pasted without looking would pay a second time. `why` says how.
        fix = f"nightshot why {label}"
        sentence = (job.reason or "nobody knows whether it was taken").removeprefix("in doubt: ")
        needs.append({"what": "in doubt", "job": label, "sentence": sentence, "fix": fix})
    for job, reason in tx.oldest_troubled_polls(TROUBLED_POLLS, NEEDS_SHOWN):
        needs.append({"what": "status unreadable", "job": label_of(job), "sentence": reason, "fix": None})
    needs += _stuck_queues(desk, tx, now_us)
    for view in backend_views(desk, tx, now_us):
        needs += [
            {"what": gate["code"], "job": None, "sentence": gate["sentence"], "fix": gate["fix"]}
            for gate in view["gates"]
            if gate["fix"] is not None
        ]
    caps = caps_in_force(tx.arming(), desk.kit.rules)
    for alarm in tx.open_alarms(caps, desk.kit.rules.spending.alarms, now_us):
        needs.append({"what": "alarm", "job": None, "sentence": alarm.sentence, "fix": "nightshot budget"})
    for what, sentence in desk.troubles().items():
        needs.append({"what": what, "job": None, "sentence": sentence, "fix": None})
    return needs
