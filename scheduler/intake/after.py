"""`after`: which jobs come first. Names of the same file become places, and what can never start is refused.

An entry is a name or a number, "calibrate" or "12.3"; before it may stand how that job has to end: "ok:" (it
completes; as without) or "any:" (it ends, however).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

from scheduler.core.job import Earlier, JobRef, JobSpec
from scheduler.core.waits import Rule
from scheduler.intake.problems import did_you_mean, shortened, shown

#: Of all jobs of a file together: a job that waits for a thousand others is a thousand rows.
ENTRIES_MAX = 100_000
#: (0-based job, 0-based entry of its `after`, sentence)
Report = Callable[[int, int, str], None]


def entries(texts: Sequence[str]) -> tuple[Earlier, ...]:
    """What is written, not yet looked up."""
    return tuple([_entry(text) for text in texts])


def _entry(text: str) -> Earlier:
    word, colon, name = text.partition(":")
    if colon and word in set(Rule):
        return Earlier(Rule(word), name)
    return Earlier(Rule.OK, text)


def resolve(
    jobs: Sequence[JobSpec], line_of: Callable[[int, int], int | None], report: Report
) -> tuple[JobSpec, ...]:
    """Find out which jobs are meant; reports what nobody can mean, and circles."""
    entries_here = sum(len(job.after) for job in jobs)
    if not entries_here:
        return tuple(jobs)
    if entries_here > ENTRIES_MAX:
        report(0, 0, f"after: {entries_here:,} entries in one file; at most {ENTRIES_MAX:,} are kept")
        return tuple(jobs)
    places: dict[str, list[int]] = defaultdict(list)
    for index, job in enumerate(jobs):
        places[job.name].append(index + 1)
    found = []
    for index, job in enumerate(jobs):
        looked_up = [
            _look_up(index, number, earlier, places, line_of, report)
            for number, earlier in enumerate(job.after)
        ]
        after = tuple(each for each in looked_up if each is not None)
        _report_twice(index, after, report)
        found.append(replace(job, after=after) if job.after else job)
    _report_circle(found, report)
    return tuple(found)


def _look_up(
    index: int,
    number: int,
    earlier: Earlier,
    places: dict[str, list[int]],
    line_of: Callable[[int, int], int | None],
    report: Report,
) -> Earlier | None:
    name = earlier.written
    here = places.get(name, [])
    if len(here) > 1:
        several = (
            f"after: {len(here)} jobs of this file are called {shown(name)}: give each a name of its own"
        )
        report(index, number, several)
    elif here == [index + 1]:
        report(index, number, f"after: {shown(name)} is this job itself; it would never start")
    elif here:
        return replace(earlier, ordinal=here[0], line=line_of(index, number))
    elif (ref := JobRef.parse(name)) is not None:
        return replace(earlier, ref=ref, line=line_of(index, number))
    else:
        others = [other for other, there in places.items() if there != [index + 1]]
        report(index, number, f"after: {_unknown(name, others)}")
    return None


def _unknown(name: str, others: Sequence[str]) -> str:
    close = did_you_mean(name, others)
    guess = f", did you mean '{shortened(close)}'?" if close else ""
    number = "" if close else "; one that is queued already is named by its number, like '12.3'"
    return f"no job of this file is called {shown(name)}{guess}{number}"


def _report_twice(index: int, after: Sequence[Earlier], report: Report) -> None:
    seen: set[object] = set()
    for number, earlier in enumerate(after):
        meant = earlier.ordinal or earlier.ref
        if meant in seen:
            report(index, number, f"after: {shown(earlier.written)} is named twice; keep one")
        seen.add(meant)


def _report_circle(jobs: Sequence[JobSpec], report: Report) -> None:
    """Take away, again and again, what waits for nothing more; the rest waits in a circle or behind one."""
    waits = {n: {e.ordinal for e in job.after if e.ordinal} for n, job in enumerate(jobs, 1) if job.after}
    later: dict[int, list[int]] = defaultdict(list)
    for n, earlier in waits.items():
        for place in earlier:
            later[place].append(n)
    free = [n for n in range(1, len(jobs) + 1) if not waits.get(n)]
    while free:
        done = free.pop()
        for n in later.get(done, ()):
            waits[n].discard(done)
            if not waits[n]:
                free.append(n)
    left = {n: earlier for n, earlier in waits.items() if earlier}
    if left:
        circle = _circle(left)
        names = " → ".join(f"'{shortened(jobs[n - 1].name)}'" for n in (*circle, circle[0]))
        report(circle[0] - 1, 0, f"after: {names} is a circle: none of them could ever start")


def _circle(left: dict[int, set[int]]) -> list[int]:
    """One circle among jobs that all wait for another one of them."""
    path: list[int] = []
    place: dict[int, int] = {}
    n = min(left)
    while n not in place:
        place[n] = len(path)
        path.append(n)
        n = min(left[n])
    circle = path[place[n] :]
    first = circle.index(min(circle))
    return [*circle[first:], *circle[:first]]
