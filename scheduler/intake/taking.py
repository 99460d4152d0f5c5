"""A claimed file becomes a batch or a reason; one that nobody foresaw is a reason too and harms no other."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scheduler.core.job import BatchSpec
from scheduler.core.records import ReceivedBatch
from scheduler.errors import SpecError, TryAgain
from scheduler.intake.claims import Claim
from scheduler.intake.document import Defaults, read_document
from scheduler.intake.inbox import FileRules, is_gone, opened, read_claimed
from scheduler.intake.owners import user_name
from scheduler.intake.problems import printable
from scheduler.ports import Kit

#: Failures that are ours and pass: the file is not to blame.
_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


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


def mistake(kit: Kit, claim: Claim, doing: str, error: Exception) -> SpecError:
    """A failure that nobody foresaw, told as what it is and logged with its trace."""
    name = printable(claim.name)
    kit.log("spool failed", file=name, doing=doing, error=repr(error), trace=True)
    return SpecError(
        f"nightshot failed at {doing} it: {type(error).__name__}: {printable(str(error))}",
        file=name,
        hint="this is a mistake in nightshot: please report it, with the file if you can",
    )


def read_claims(kit: Kit, plan: SpoolPlan, claims: Sequence[Claim]) -> list[Taken]:
    """Read what was claimed together. Raises TryAgain. Blocks."""
    if not claims:
        return []
    try:
        with opened(plan.claimed) as claimed:
            return [read_claim(kit, plan, claim, claimed) for claim in claims]
    except OSError as error:
        raise TryAgain(f"{plan.claimed} cannot be read now: {error.strerror}") from error


def read_claim(kit: Kit, plan: SpoolPlan, claim: Claim, claimed: int | None = None) -> Taken:
    """Read a claimed file and its circuits. Raises TryAgain when it is our turn to have trouble. Blocks.

    `claimed` is the descriptor of the folder of claims when it is open already.
    """
    try:
        return Taken(claim, batch=_batch_of(kit, plan, claim, claimed))
    except SpecError as problem:
        if problem.file:
            return Taken(claim, problem=problem)
        file = printable(claim.name)
        return Taken(
            claim, problem=SpecError(problem.problem, file=file, line=problem.line, hint=problem.hint)
        )
    except OSError as error:
        if error.errno in _OURS:
            raise TryAgain(f"{printable(claim.name)} cannot be read now: {error.strerror}") from error
        sentence = f"it cannot be read: {error.strerror}"
        return Taken(claim, problem=SpecError(sentence, file=printable(claim.name)))
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - one file must not stop all that come with it or after it
        return Taken(claim, problem=mistake(kit, claim, "reading", error))


def _batch_of(kit: Kit, plan: SpoolPlan, claim: Claim, claimed: int | None) -> ReceivedBatch:
    place = claim.folder if claimed is None or claim.whole is not None else claimed
    content = read_claimed(place, claim.path, plan.files, user_name)
    folder = claim.path.rpartition("/")[0]

    def circuit(name: str) -> bytes:
        most = min(plan.files.max_file_bytes, plan.defaults.max_code_bytes)
        rules = replace(plan.files, max_file_bytes=most)
        path = f"{folder}/{name}" if folder else name
        if why := claim.not_taken.get(path):
            raise SpecError(why, file=printable(name))
        try:
            return read_claimed(claim.folder, path, rules, user_name).data
        except SpecError as problem:
            raise SpecError(problem.problem, file=printable(name), hint=problem.hint) from None
        except OSError as error:
            if is_gone(error):
                raise SpecError(
                    f"{printable(name)} is not beside this file in the inbox: drop both together"
                ) from None
            raise

    now_us = _claimed_us(claim, kit)
    spec = plan.resolve(read_document(claim.name, content.data, plan.defaults, circuit, now_us))
    return ReceivedBatch(claim.key, spec, user_name(content.uid), "spool", kit.clock.now_us())


def _claimed_us(claim: Claim, kit: Kit) -> int:
    """When the file was taken: read again after a crash, a deadline is judged as it was the first time."""
    try:
        return int(claim.key[:16], 16)
    except ValueError:
        return kit.clock.now_us()
