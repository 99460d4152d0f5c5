"""The database's half of the intent journal: numbers, given out inside the transaction of the intent."""

from __future__ import annotations

from sqlalchemy import bindparam, func, or_, select, update

from scheduler.core.intents import Intent, Mark
from scheduler.core.lifecycle import AttemptState
from scheduler.store.moves import Moves, is_state
from scheduler.store.schema import attempts, intent_marks

#: One daemon a database, until several are supported.
NODE = "main"
_M = intent_marks.c
_NEXT = (
    update(intent_marks)
    .where(_M.node == bindparam("_node"))
    .values(sequence=_M.sequence + 1)
    .returning(_M.epoch, _M.sequence)
)
_NUMBER = (
    update(attempts)
    .where(attempts.c.id == bindparam("_id"), attempts.c.intent_sequence.is_(None))
    .values(intent_epoch=bindparam("_epoch"), intent_sequence=bindparam("_sequence"))
)
_SINCE = select(attempts.c.intent_sequence, attempts.c.id, attempts.c.state).where(
    attempts.c.intent_epoch == bindparam("_epoch"),
    or_(
        attempts.c.intent_sequence >= bindparam("_from"),
        is_state(attempts.c.state, AttemptState.SUBMITTING),
    ),
)

_MARK = select(intent_marks).where(_M.node == bindparam("_node"))
_SEE_JOURNAL = (
    update(intent_marks)
    .where(_M.node == bindparam("_node"), _M.journal_epoch < bindparam("_epoch"))
    .values(journal_epoch=bindparam("_epoch"))
)


class IntentRows(Moves):
    def number_intent(self, attempt_id: str, at_us: int) -> Intent:
        """Give an intent the next number of this node, in its own transaction."""
        row = self._run(_NEXT, {"_node": NODE}).first()
        if row is None:
            self.insert_ignoring(intent_marks, [{"node": NODE, "epoch": 1, "sequence": 0}])
            row = self._run(_NEXT, {"_node": NODE}).first()
        values = {"_id": attempt_id, "_epoch": row.epoch, "_sequence": row.sequence}
        self._run(_NUMBER, values)
        return Intent(row.epoch, row.sequence, attempt_id, at_us)

    def intent_mark(self) -> Mark | None:
        row = self._run(_MARK, {"_node": NODE}).first()
        return None if row is None else Mark(row.epoch, row.sequence)

    def intents_since(self, epoch: int, first: int) -> dict[int, tuple[str, AttemptState]]:
        rows = self._run(_SINCE, {"_epoch": epoch, "_from": first})
        return {row.intent_sequence: (row.id, AttemptState(row.state)) for row in rows}

    def see_journal_epoch(self, epoch: int) -> None:
        """Remember how far the journal has come, so that the next epoch is above it."""
        self.insert_ignoring(intent_marks, [{"node": NODE, "epoch": 1, "sequence": 0}])
        self._run(_SEE_JOURNAL, {"_node": NODE, "_epoch": epoch})

    def start_epoch(self) -> int:
        """Begin a new epoch after a person compared what was sent: old numbers say nothing any more."""
        self.insert_ignoring(intent_marks, [{"node": NODE, "epoch": 1, "sequence": 0}])
        after = 1 + func.coalesce(_M.epoch, 0)
        later = 1 + _M.journal_epoch
        row = self._c.execute(select(after, later).where(_M.node == NODE)).one()
        epoch = int(max(row[0], row[1]))
        values = {"epoch": epoch, "sequence": 0}
        self._c.execute(update(intent_marks).where(_M.node == NODE).values(**values))
        return epoch
