"""Label: the queue folder shows what was accepted and has not ended, with one true line beside each file."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from scheduler.errors import TryAgain
from scheduler.ports import Kit, QueueFolder

#: Batches looked at in one step; the next step goes on with the others.
GROUP = 500


@dataclass(slots=True)
class Labelling:
    kit: Kit
    folder: QueueFolder
    _said: dict[int, str] = field(default_factory=dict)
    _trouble: TryAgain | None = None

    async def step(self) -> int:
        self._trouble = None
        present = await asyncio.to_thread(self.folder.batches)
        changed = 0
        for first in range(0, len(present), GROUP):
            ids = present[first : first + GROUP]
            counts = await self.kit.store.read(lambda tx, ids=ids: tx.open_batch_counts(ids))  # type: ignore[misc]
            changed += await asyncio.to_thread(self._apply, ids, counts)
        if self._trouble is not None:
            raise self._trouble
        return changed

    def _apply(self, ids: list[int], counts: dict[int, dict[str, int]]) -> int:
        changed = 0
        for batch_id in ids:
            if batch_id not in counts:
                self.folder.remove(batch_id)
                self._said.pop(batch_id, None)
                changed += 1
                continue
            line = label_of(batch_id, counts[batch_id])
            if self._trouble is not None or self._said.get(batch_id) == line:
                continue
            try:
                self.folder.label(batch_id, line)
            except OSError as error:
                # Go on with what has ended: taking files away works on a full disk, and makes room.
                self._trouble = TryAgain(
                    f"the lines beside the files in queue/ cannot be written: {error.strerror}",
                    "nothing waits for them; nightshot status tells the same",
                )
                continue
            self._said[batch_id] = line
            changed += 1
        return changed


def label_of(batch_id: int, counts: dict[str, int]) -> str:
    """`12: 3 waiting, 1 running. Ask: nightshot jobs --batch 12`."""
    told = ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in sorted(counts.items()))
    ask = f"nightshot show {batch_id}" if sum(counts.values()) == 1 else f"nightshot jobs --batch {batch_id}"
    return f"{batch_id}: {told}. Ask: {ask}"
