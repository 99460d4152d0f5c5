"""The directory protocol: files in the inbox become batches in the store, each exactly once.

Scan, claim by rename, read safely, one transaction with a unique ingest key, then the move out of `claimed/`.
A crash anywhere repeats nothing and loses nothing: what is still in `claimed/` is taken up again under the
same key. The scan is the truth; a watcher only says that there may be something to see.
"""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from scheduler.core.job import BatchSpec
from scheduler.core.records import Received, ReceivedBatch
from scheduler.core.spooling import Look, is_complete
from scheduler.errors import SpecError
from scheduler.intake.claims import Claim, claim_file, claim_with_circuits, left_behind, short_name
from scheduler.intake.document import Defaults, is_manifest, read_document, referenced_files
from scheduler.intake.inbox import (
    FileRules,
    Seen,
    free_bytes,
    open_below,
    read_claimed,
    scan,
    set_aside,
    sync_folder,
    write_why,
)
from scheduler.ports import Kit

#: Files that go into one transaction.
GROUP = 250
#: Below this nothing is taken: the row, the reply and the result would not fit either.
LEAST_FREE_BYTES = 16 * 1024 * 1024


@lru_cache(maxsize=1024)
def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid:{uid}"


def owner_test(owners: Sequence[str]) -> Callable[[int], bool]:
    """Whose files are taken: `self` (the service's user), `any`, or the members of the named groups."""
    if "any" in owners:
        return lambda _uid: True

    @lru_cache(maxsize=1024)
    def is_owner(uid: int) -> bool:
        if "self" in owners and uid == os.geteuid():
            return True
        try:
            person = pwd.getpwuid(uid)
        except KeyError:
            return False
        groups = {
            g.gr_name for g in grp.getgrall() if person.pw_name in g.gr_mem or g.gr_gid == person.pw_gid
        }
        return bool(groups & set(owners))

    return is_owner


@dataclass(frozen=True, slots=True)
class SpoolPlan:
    """Where the spool works and by which rules."""

    inbox: Path
    claimed: Path
    queue: Path
    rejected: Path
    files: FileRules
    defaults: Defaults
    #: Full backend names for what people write. Raises SpecError when nothing is meant by it.
    resolve: Callable[[BatchSpec], BatchSpec]
    quiet_s: float = 2.0


@dataclass(slots=True)
class Taken:
    """A claimed file and what it turned out to be."""

    claim: Claim
    batch: ReceivedBatch | None = None
    problem: SpecError | None = None


@dataclass(slots=True)
class Spool:
    kit: Kit
    plan: SpoolPlan
    #: Paths, or folders, that a watcher saw renamed in: complete already.
    renamed_in: set[str] = field(default_factory=set)
    #: What stops the spool right now, for `status`; empty when nothing does.
    troubles: dict[str, str] = field(default_factory=dict)
    #: Files that were seen and are not complete yet.
    pending: int = 0
    _before: dict[str, Look] = field(default_factory=dict)
    _before_s: float = 0.0
    _told: dict[str, Look] = field(default_factory=dict)
    _ready: list[Seen] = field(default_factory=list)
    _recovered: bool = False
    _again_s: float | None = None

    async def step(self) -> int:
        """Take what is complete, at most a group of files; returns how many were settled."""
        taken = await asyncio.to_thread(self._take)
        if not taken:
            return 0
        batches = [each.batch for each in taken if each.batch is not None]
        received: list[Received] = []
        if batches:
            received = await self.kit.store.write(lambda tx: tx.receive(batches))
            self.kit.wake("estimate")
        await asyncio.to_thread(self._put_away, taken, {r.ingest_key: r for r in received})
        self.kit.wake("ingest")
        return len(taken)

    @property
    def unread(self) -> bool:
        """True while there are files that were found complete, or left behind, and are not taken yet."""
        return bool(self._ready) or not self._recovered

    async def due_in_s(self) -> float | None:
        """When the next look is needed because a file is not quiet yet."""
        return self._again_s

    # ------------------------------------------------------------------------------------- in a thread

    def _take(self) -> list[Taken]:
        self._again_s = None
        if not self._recovered:
            found = left_behind(self.plan.inbox, self.plan.claimed)
            self._recovered = len(found) <= GROUP
            if found:
                return [self._read(claim) for claim in found[:GROUP]]
        try:
            # One scan serves many groups: scanning again for each would read a full inbox over and over.
            ready = self._ready or self._look()
        except OSError as error:
            self._trouble("inbox", f"the inbox cannot be read: {error.strerror}: {self.plan.inbox}")
            self._make_inbox()
            return []
        if ready and (room := free_bytes(self.plan.claimed)) < LEAST_FREE_BYTES:
            self._trouble(
                "disk",
                f"only {room // 1024} KiB of disk are free: files stay in the inbox until there is room",
            )
            self._ready = []
            return []
        self.troubles.clear()
        group, self._ready = ready[:GROUP], ready[GROUP:]
        return [taken for each in group if (taken := self._claim(each)) is not None]

    def _trouble(self, what: str, sentence: str) -> None:
        if self.troubles.get(what) != sentence:
            self.kit.log("spool waits", what=what, reason=sentence)
        self.troubles[what] = sentence

    def _make_inbox(self) -> None:
        try:
            self.plan.inbox.mkdir()
            self.kit.log("inbox made again", path=str(self.plan.inbox))
        except OSError:
            pass  # the trouble is already told; the next scan tries again

    def _look(self) -> list[Seen]:
        """Scan; return what is complete, manifests first, because they may claim circuits."""
        now_ns, now_s = self.kit.clock.now_us() * 1000, self.kit.clock.monotonic_s()
        since_ns = int((now_s - self._before_s) * 1e9)
        quiet_ns = int(self.plan.quiet_s * 1e9)
        hints, self.renamed_in = self.renamed_in, set()
        looks: dict[str, Look] = {}
        ready: list[Seen] = []
        self.pending = 0
        for seen in scan(self.plan.inbox):
            if self._told.get(seen.path) == seen.look:
                continue
            if self._refuse_early(seen):
                continue
            looks[seen.path] = seen.look
            renamed = bool(hints) and _was_renamed_in(seen.path, hints)
            before = self._before.get(seen.path)
            if is_complete(
                seen.look,
                before,
                renamed_in=renamed,
                now_ns=now_ns,
                quiet_ns=quiet_ns,
                since_before_ns=since_ns,
            ):
                ready.append(seen)
            else:
                self.pending += 1
        self._remember(looks, now_s, since_ns * 2 >= quiet_ns)
        if self.pending:
            self._again_s = self.plan.quiet_s / 2
        ready.sort(key=lambda seen: (not is_manifest(seen.path), seen.look.mtime_ns, seen.path))
        return ready

    def _remember(self, looks: dict[str, Look], now_s: float, far_enough: bool) -> None:
        """Keep the older look until it is old enough to compare with: two quick scans prove nothing."""
        if far_enough or not self._before:
            self._before, self._before_s = looks, now_s
        else:
            self._before = {path: look for path, look in self._before.items() if looks.get(path) == look}

    def _refuse_early(self, seen: Seen) -> bool:
        """Refuse what is no job file without opening it, and leave alone what we may not read."""
        refusal = self.plan.files.refuse(
            seen.mode, seen.uid, seen.links, seen.look.size_bytes, user_name(seen.uid)
        )
        path = self.plan.inbox / seen.path
        if refusal is not None:
            refusal = SpecError(refusal.problem, file=seen.path, hint=refusal.hint)
            try:
                set_aside(path, self.plan.rejected, str(refusal))
                self.kit.log("rejected", file=seen.path, reason=refusal.problem)
            except OSError:
                self._tell_in_place(seen, str(refusal))
            return True
        if not os.access(path, os.R_OK):
            why = "the service may not read it, so it was left in the inbox"
            self._tell_in_place(seen, f"{seen.path}: {why}\n  chmod g+r it, or use: nightshot submit FILE")
            return True
        return False

    def _tell_in_place(self, seen: Seen, why: str) -> None:
        """Say once, in `rejected/`, why a file stays where it is."""
        self._told[seen.path] = seen.look
        self.kit.log("left in the inbox", file=seen.path, reason=why)
        try:
            write_why(self.plan.rejected / seen.path.rpartition("/")[2], why)
        except OSError as error:
            self._trouble(seen.path, f"{why} (and the note could not be written: {error.strerror})")

    def _claim(self, seen: Seen) -> Taken | None:
        key = f"{self.kit.clock.now_us():016x}{secrets.token_hex(4)}"
        try:
            circuits = self._circuits_of(seen) if is_manifest(seen.path) else []
            if circuits:
                claim = claim_with_circuits(self.plan.inbox, seen.path, circuits, self.plan.claimed, key)
            else:
                claim = claim_file(self.plan.inbox, seen.path, self.plan.claimed, key)
        except FileNotFoundError:
            return None  # taken back, or claimed with the manifest that names it
        except OSError as error:
            self._tell_in_place(
                seen,
                f"{seen.path}: it cannot be taken: {error.strerror}\n  let the service write to its folder",
            )
            return None
        return self._read(claim)

    def _circuits_of(self, seen: Seen) -> list[str]:
        """Paths, relative to the inbox, of the circuit files a manifest refers to."""
        try:
            fd = open_below(self.plan.inbox, seen.path)
        except OSError:
            return []
        with os.fdopen(fd, "rb") as file:
            names = referenced_files(seen.path, file.read(self.plan.files.max_file_bytes))
        folder = seen.path.rpartition("/")[0]
        return [f"{folder}/{name}" if folder else name for name in names]

    def _read(self, claim: Claim) -> Taken:
        try:
            content = read_claimed(claim.folder, claim.path, self.plan.files, user_name)

            def circuit(name: str) -> bytes:
                folder = claim.path.rpartition("/")[0]
                path = f"{folder}/{name}" if folder else name
                try:
                    return read_claimed(claim.folder, path, self.plan.files, user_name).data
                except FileNotFoundError:
                    raise SpecError(f"circuit {name!r} is not beside this file in the inbox") from None

            spec = self.plan.resolve(read_document(claim.name, content.data, self.plan.defaults, circuit))
        except SpecError as problem:
            return Taken(claim, problem=problem if problem.file else replace_place(problem, claim.name))
        except OSError as error:
            return Taken(claim, problem=SpecError(f"it cannot be read: {error.strerror}", file=claim.name))
        batch = ReceivedBatch(claim.key, spec, user_name(content.uid), "spool", self.kit.clock.now_us())
        return Taken(claim, batch=batch)

    def _put_away(self, taken: list[Taken], received: dict[str, Received]) -> None:
        for each in taken:
            if each.problem is not None:
                self._reject(each.claim, str(each.problem))
                continue
            answer = received[each.claim.key]
            if answer.duplicate:
                why = (
                    f"{each.claim.name}: the same bytes are queued already, as {answer.batch_id}\n"
                    "  to run it once more on purpose, add this to its header: again = true"
                )
                self._reject(each.claim, why)
            else:
                self._move_to_queue(each.claim, answer.batch_id)
        sync_folder(self.plan.queue)
        sync_folder(self.plan.claimed)

    def _move_to_queue(self, claim: Claim, batch_id: int) -> None:
        target = self.plan.queue / queue_name(batch_id, claim.name)
        try:
            os.rename(claim.moved_as, target)
        except OSError as error:
            self.kit.log("not moved to the queue folder", file=claim.name, error=error.strerror)
            return
        if claim.whole is None:
            try:
                os.chmod(target, 0o444, follow_symlinks=True)
            except OSError:
                pass  # somebody else's file: read-only by its place, not by its mode

    def _reject(self, claim: Claim, why: str) -> None:
        """Move a claimed file to `rejected/` under the name it had, with its reason beside it."""
        try:
            target = set_aside(claim.moved_as, self.plan.rejected, why, short_name(claim.name))
            self.kit.log("rejected", file=claim.name, reason=why.splitlines()[0], to=target.name)
        except OSError as error:
            self._trouble("rejected", f"{claim.name} cannot be put into rejected/: {error.strerror}")


def queue_name(batch_id: int, name: str) -> str:
    return f"{batch_id}-{short_name(name)}"


def replace_place(problem: SpecError, name: str) -> SpecError:
    return SpecError(problem.problem, file=name, line=problem.line, hint=problem.hint)


def _was_renamed_in(path: str, hints: set[str]) -> bool:
    while path:
        if path in hints:
            return True
        path = path.rpartition("/")[0]
    return False


def resolver(backend_name: Callable[[str], str]) -> Callable[[BatchSpec], BatchSpec]:
    """Replace what people write as a backend by its full name. Raises SpecError naming the unknown one."""

    def resolve(spec: BatchSpec) -> BatchSpec:
        names = {job.backend for job in spec.jobs}
        try:
            full = {name: backend_name(name) for name in names}
        except ValueError as error:
            raise SpecError(str(error), file=spec.name) from None
        return replace(spec, jobs=tuple(replace(job, backend=full[job.backend]) for job in spec.jobs))

    return resolve
