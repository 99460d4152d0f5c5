"""Requests that leave together write the journal in any order: a kill then must not make one 'never sent'.

Found by the kills on PostgreSQL: numbers 178, 181, 179 were written, the process died, and 181, which had
been sent and billed, was taken for unsent because the last line said 179.
"""

from __future__ import annotations

import itertools

import pytest

from scheduler.core.intents import Agreement, Intent, JournalRead, Mark, compare
from scheduler.core.lifecycle import AttemptState
from tests.support.fault_ground import Ground
from tests.support.stores import attempt_in

A = AttemptState


def lines(*numbers: int) -> list[Intent]:
    return [Intent(1, number, f"a{number}", 0) for number in numbers]


@pytest.mark.parametrize("order", list(itertools.permutations((2, 4, 5))))
def test_what_is_written_was_perhaps_sent_in_whatever_order(order: tuple[int, ...]) -> None:
    under_way = {number: (f"a{number}", A.SUBMITTING) for number in range(2, 7)}
    journal = JournalRead(1, tuple(lines(1, *order)))
    assert compare(Mark(1, 6), journal, under_way) == Agreement(("a3", "a6"))


@pytest.mark.parametrize("written", [(0, 2), (2, 0)])
async def test_a_kill_between_lines_out_of_order(ground: Ground, written: tuple[int, ...]) -> None:
    cases = [
        await ground.store.write(lambda tx: attempt_in(tx, A.SUBMITTING))  # type: ignore[arg-type]
        for _ in range(3)
    ]
    now_us = ground.clock.now_us()
    intents = [
        await ground.store.write(lambda tx, c=case: tx.number_intent(c.attempt_id, now_us))  # type: ignore[misc]
        for case in cases
    ]
    for place in written:
        ground.journal.append(intents[place])
    await ground.again()
    found = dict(await ground.rows("SELECT id, state FROM attempts"))
    assert [found[case.attempt_id] for case in cases] == ["in_doubt", "not_sent", "in_doubt"]
