"""The directory protocol: files in the inbox become batches in the store, each exactly once.

Scan, claim by rename, read safely, one transaction with a unique ingest key, then the move out of `claimed/`.
A crash anywhere repeats nothing and loses nothing: what is still in `claimed/` is taken up again under the
same key. The scan is the truth; a watcher only says that there may be something to see.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from scheduler.core.job import BatchSpec
from scheduler.core.records import Received
from scheduler.errors import SpecError
from scheduler.intake.claims import Claim, claim_file, claim_with_circuits, left_behind
from scheduler.intake.document import is_manifest, referenced_files
from scheduler.intake.inbox import (
    Seen,
    free_bytes,
    is_being_written,
    is_gone,
    opened,
    read_all,
    sync_folder,
)
from scheduler.intake.lookout import Lookout
from scheduler.intake.notes import Notes
from scheduler.intake.owners import owner_test, user_name
from scheduler.intake.problems import printable
from scheduler.intake.receiving import receive
from scheduler.intake.taking import SpoolPlan, Taken, mistake, read_claims
from scheduler.ports import Kit
from scheduler.rejected import put_aside, short_name

__all__ = ["Spool", "SpoolPlan", "owner_test", "resolver", "user_name"]

#: Files that go into one transaction, and how much of them may be in memory at a time.
GROUP = 250
GROUP_BYTES = 64 * 1024 * 1024
#: Below this nothing is taken: the row, the reply and the result would not fit either.
LEAST_FREE_BYTES = 16 * 1024 * 1024
#: Seconds until what could not be moved out of `claimed/` is tried again.
RETRY_S = 5.0


@dataclass(slots=True)
class Spool:
    kit: Kit
    plan: SpoolPlan
    _lookout: Lookout = field(init=False)
    _notes: Notes = field(init=False)
    _troubles: dict[str, str] = field(default_factory=dict)
    _ready: list[Seen] = field(default_factory=list)
    _left: list[Claim] = field(default_factory=list)
    #: Claimed and read already, while the group before was being committed.
    _ahead: list[Taken] = field(default_factory=list)
    #: When `claimed/` is to be looked through (monotonic; 0 is at once); None while nothing is left there.
    _left_due_s: float | None = 0.0

    def __post_init__(self) -> None:
        self._notes = Notes(self.plan.rejected, self.kit.log)
        self._lookout = Lookout(self.kit, self.plan, self._notes)

    async def step(self) -> int:
        """Take what is complete, at most a group of files; returns how many were settled."""
        try:
            taken, self._ahead = self._ahead, []
            taken = taken or await asyncio.to_thread(self._take)
            if not taken:
                if self._ready:
                    self.kit.wake("ingest")  # nothing of this group could be taken; there are others
                return 0
            # While this group is being committed, the next one is claimed and read.
            ahead = asyncio.create_task(asyncio.to_thread(self._take_ahead))
            try:
                received = await self._receive(taken)
            finally:
                # Also after a failure: whatever it claims is in `claimed/` before that is looked through.
                await asyncio.gather(ahead, return_exceptions=True)
            await asyncio.to_thread(self._put_away, taken, received)
            self._ahead = ahead.result()
        except BaseException:
            self._left_due_s = 0.0  # what was claimed is in `claimed/`, and taken up from there
            raise
        self.kit.wake("ingest")
        return len(taken)

    def heard_rename(self, path: str) -> None:
        """A watcher saw `path`, a file or a folder, renamed into the inbox: it is complete."""
        self._lookout.renamed_in.add(path)

    @property
    def renamed_in(self) -> set[str]:
        """What was heard and not looked at yet."""
        return self._lookout.renamed_in

    @property
    def pending(self) -> int:
        """Files that were seen and are not complete yet."""
        return len(self._lookout.waiting)

    @property
    def unread(self) -> bool:
        """True while there are files that were found complete, or left behind, and are not taken yet."""
        return bool(self._ready or self._ahead or self._left) or self._left_due_s == 0.0

    @property
    def troubles(self) -> dict[str, str]:
        """What stops the spool or keeps single files in the inbox right now, for `status`."""
        return {**self._troubles, **self._notes.sentences()}

    async def due_in_s(self) -> float | None:
        """When the next look is needed: a file is not quiet yet, or something is left in `claimed/`."""
        again_s = self._lookout.again_s
        if self._left_due_s is None:
            return again_s
        left_s = max(0.0, self._left_due_s - self.kit.clock.monotonic_s())
        return left_s if again_s is None else min(left_s, again_s)

    async def _receive(self, taken: list[Taken]) -> dict[str, Received]:
        """Make the batches durable; one that the store cannot hold is refused and harms no other."""
        good = [each for each in taken if each.batch is not None]
        batches = [each.batch for each in good if each.batch is not None]
        if not batches:
            return {}
        files = {each.claim.key: printable(each.claim.name) for each in good}
        self.kit.wake("estimate")  # what it asks comes behind this in the store, and with its commit
        try:
            received, refused = await self.kit.store.write(lambda tx: receive(tx, batches, files))
        except (ValueError, TypeError, OverflowError) as error:
            if len(good) > 1:
                alone = [await self._receive([each]) for each in good]
                return {key: answer for found in alone for key, answer in found.items()}
            good[0].batch, good[0].problem = None, mistake(self.kit, good[0].claim, "storing", error)
            return {}
        for each in good:
            if each.claim.key in refused:
                each.batch, each.problem = None, refused[each.claim.key]
        return {answer.ingest_key: answer for answer in received}

    # ------------------------------------------------------------------------------------- in a thread

    def _take(self) -> list[Taken]:
        left = self._next_left()
        if left:
            return read_claims(self.kit, self.plan, left)
        claims = self._claim_group(self._next_ready())
        if claims:
            # A file that came back to the inbox after a power cut would be a second batch.
            sync_folder(self.plan.claimed)
        return read_claims(self.kit, self.plan, claims)

    def _take_ahead(self) -> list[Taken]:
        """The next group of the same scan; never from `claimed/`, where the present group still is."""
        if not self._ready or self._left or self._left_due_s is not None:
            return []
        return self._take()

    def _next_left(self) -> list[Claim]:
        """A group of what an earlier process, or an earlier step that failed, left in `claimed/`."""
        now_s = self.kit.clock.monotonic_s()
        if not self._left and self._left_due_s is not None and now_s >= self._left_due_s:
            self._left_due_s = None
            try:
                self._left = left_behind(self.plan.inbox, self.plan.claimed)
            except OSError as error:
                self._left_due_s = now_s + RETRY_S
                self._trouble("claimed", f"{self.plan.claimed} cannot be looked through: {error.strerror}")
            else:
                self._over("claimed")
        count = _fitting(claim.size_bytes for claim in self._left[:GROUP])
        group, self._left = self._left[:count], self._left[count:]
        return group

    def _next_ready(self) -> list[Seen]:
        try:
            # One scan serves many groups: scanning again for each would read a full inbox over and over.
            ready = self._ready or self._lookout.look()
        except OSError as error:
            self._trouble("inbox", f"the inbox cannot be read: {error.strerror}: {self.plan.inbox}")
            self._make(self.plan.inbox)
            return []
        self._over("inbox")
        if not self._has_room():
            self._ready = []
            return []
        count = _fitting(min(s.look.size_bytes, self.plan.files.max_file_bytes) for s in ready[:GROUP])
        group, self._ready = ready[:count], ready[count:]
        return group

    def _has_room(self) -> bool:
        try:
            room = free_bytes(self.plan.claimed)
        except OSError as error:
            self._trouble("claimed", f"nothing can be taken: {error.strerror}: {self.plan.claimed}")
            self._make(self.plan.claimed, 0o700)
            return False
        self._over("claimed")
        if room >= LEAST_FREE_BYTES:
            self._over("disk")
            return True
        self._trouble(
            "disk", f"only {room // 1024} KiB of disk are free: files stay in the inbox until there is room"
        )
        return False

    def _trouble(self, what: str, sentence: str) -> None:
        if what not in self._troubles:
            self.kit.log("spool waits", what=what, reason=sentence)
        self._troubles[what] = sentence

    def _over(self, what: str) -> None:
        if self._troubles.pop(what, None) is not None:
            self.kit.log("spool goes on", what=what)

    def _make(self, folder: Path, mode: int = 0o755) -> None:
        try:
            folder.mkdir(mode)
            self.kit.log("folder made again", path=str(folder))
        except OSError:
            pass  # the trouble is already told; the next scan tries again

    def _claim_group(self, group: list[Seen]) -> list[Claim]:
        if not group:
            return []
        try:
            with opened(self.plan.inbox) as inbox:
                return [claim for each in group if (claim := self._claim(each, inbox)) is not None]
        except OSError as error:
            self._trouble("inbox", f"the inbox cannot be read: {error.strerror}: {self.plan.inbox}")
            return []

    def _claim(self, seen: Seen, inbox: int) -> Claim | None:
        key = f"{self.kit.clock.now_us():016x}{secrets.token_hex(4)}"
        claimed = self.plan.claimed
        waiting = self._lookout.waiting
        if seen.path in waiting:
            return None  # a circuit of a manifest that waits for another circuit
        fd = self._lookout.open_to_take(seen, inbox)
        if fd is None:
            return None
        try:
            circuits = self._circuits_of(seen, fd)
            if not waiting.isdisjoint(circuits) or any(_is_open(inbox, each) for each in circuits):
                waiting.update(circuits, [seen.path])
                return None
            if circuits:
                claim = claim_with_circuits(
                    self.plan.inbox, seen.path, seen.uid, circuits, claimed, key, user_name
                )
            else:
                claim = claim_file(inbox, seen.path, claimed, key)
        except OSError as error:
            if not is_gone(error):  # else taken back, or claimed with the manifest that names it
                self._notes.tell(seen.path, _why_not_claimed(error))
            self._left_due_s = 0.0 if (claimed / key).exists() else self._left_due_s
            return None
        self._notes.forget(seen.path)
        return claim

    def _circuits_of(self, seen: Seen, fd: int) -> list[str]:
        """Paths, relative to the inbox, of the circuit files a manifest refers to; closes `fd`."""
        try:
            if not is_manifest(seen.path):
                return []
            data = read_all(fd, min(os.fstat(fd).st_size, self.plan.files.max_file_bytes))
        finally:
            os.close(fd)
        names = referenced_files(seen.path, data)
        folder = seen.path.rpartition("/")[0]
        return [f"{folder}/{name}" if folder else name for name in names]

    def _put_away(self, taken: list[Taken], received: dict[str, Received]) -> None:
        try:
            self.plan.queue.mkdir(exist_ok=True)
        except OSError:
            pass  # each file that cannot be moved there tells why
        for each in taken:
            answer = received.get(each.claim.key)
            try:
                if each.problem is not None:
                    self._reject(each.claim, str(each.problem))
                elif answer is not None and answer.duplicate:
                    self._reject(each.claim, _why_not_twice(each.claim, answer.batch_id))
                elif answer is not None:
                    self._move_to_queue(each.claim, answer.batch_id)
            except FileNotFoundError:
                self.kit.log("a claimed file is gone", file=printable(each.claim.name))

    def _move_to_queue(self, claim: Claim, batch_id: int) -> None:
        target = f"{self.plan.queue}/{queue_name(batch_id, claim.name)}"
        try:
            if claim.whole is None:
                # Strings, not paths: of a folder full of files their joining was a tenth of all work.
                source = f"{claim.folder}/{claim.path}"
                _make_read_only(source)
                os.rename(source, target)
            else:
                os.rename(claim.whole, target)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not os.path.lexists(claim.moved_as):
                raise
            self._put_away_later("queue", f"batch {batch_id} is queued, but its file", claim, error)
        else:
            self._over("queue")

    def _reject(self, claim: Claim, why: str) -> None:
        """Move a claimed file to `rejected/` under the name it had, with its reason beside it."""
        try:
            target = put_aside(
                self.plan.rejected, claim.name, why, lambda target: os.rename(claim.moved_as, target)
            )
        except FileNotFoundError:
            raise
        except OSError as error:
            self._put_away_later("rejected", f"it was refused ({why.splitlines()[0]}), but", claim, error)
        else:
            self._over("rejected")
            self.kit.log("rejected", file=printable(claim.name), reason=why.splitlines()[0], to=target.name)

    def _put_away_later(self, where: str, what: str, claim: Claim, error: OSError) -> None:
        self._left_due_s = self.kit.clock.monotonic_s() + RETRY_S
        self._trouble(
            where, f"{what} {printable(claim.name)} cannot be moved to {where}/ yet: {error.strerror}"
        )


def _why_not_twice(claim: Claim, batch_id: int) -> str:
    return (
        f"{printable(claim.name)}: the same bytes are queued already, as {batch_id}\n"
        "  to run it once more on purpose, add this to its header: again = true"
    )


def queue_name(batch_id: int, name: str) -> str:
    return f"{batch_id}-{short_name(name)}"


def _is_open(inbox: int, circuit: str) -> bool:
    try:
        return is_being_written(inbox, circuit)
    except OSError:
        return False  # missing or closed to us: reading the manifest tells


def _make_read_only(path: str) -> None:
    try:
        os.chmod(path, 0o444)
    except PermissionError:
        pass  # somebody else's file: read-only by its place, not by its mode


def _fitting(sizes: Iterable[int]) -> int:
    """How many of these may be read at once: as many as fit, and at least one."""
    count = total = 0
    for size in sizes:
        total += size
        if count and total > GROUP_BYTES:
            break
        count += 1
    return count


def _why_not_claimed(error: OSError) -> str:
    match error.errno:
        case errno.EXDEV:
            return "it is on another file system than the inbox\n  move it into the inbox itself"
        case errno.EACCES | errno.EPERM:
            return "it cannot be taken out of its folder\n  let the service write to the folder: chmod g+w"
        case _:
            return f"it cannot be taken now: {error.strerror}"


def resolver(backend_name: Callable[[str], str]) -> Callable[[BatchSpec], BatchSpec]:
    """Replace what people write as a backend by its full name. Raises SpecError naming the unknown one."""

    full_name = lru_cache(maxsize=256)(backend_name)

    def resolve(spec: BatchSpec) -> BatchSpec:
        names = {job.backend for job in spec.jobs}
        try:
            full = {name: full_name(name) for name in names}
        except ValueError as error:
            raise SpecError(str(error), file=spec.name) from None
        jobs = tuple([job.on(full[job.backend]) for job in spec.jobs])
        return BatchSpec(spec.name, jobs, spec.digest, spec.attachments)

    return resolve
