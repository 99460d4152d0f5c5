"""`nightshot submit`: hand files to the daemon over its socket, with the circuits that manifests refer to."""

from __future__ import annotations

import os
import stat
import sys
from base64 import b64encode
from pathlib import Path
from typing import Any

import click

from scheduler.cli.common import Where, echo_json, output_options, pass_where
from scheduler.cli.render import plain, plain_lines, plural
from scheduler.errors import SpecError, UsageError

#: What one call may carry; larger sweeps go through the inbox, which has no such limit.
LARGEST_CALL_BYTES = 256 << 20


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@click.option("--name", metavar="NAME", help="What standard input ('-') is called, like bell.qasm.")
@output_options
@pass_where
def submit(where: Where, files: tuple[str, ...], name: str | None, as_json: bool, quiet: bool) -> int:
    """Queue job files.

    Circuits are .qasm and .py, manifests .yaml .toml .json and .jsonl. Every file becomes a batch of its
    own; '-' reads standard input. With -q only the batch numbers are printed. Ends with 65 when a file was
    refused; the others are queued all the same.
    """
    documents = gather(files, name)
    view = where.ask("submit", {"documents": documents}, timeout_s=600)
    if as_json:
        echo_json(view)
    for batch in view["batches"]:
        number = batch["duplicate_of"] or batch["batch"]
        if quiet and not as_json:
            click.echo(str(number))
        elif not as_json:
            click.echo(_queued_line(batch))
    for refused in view["refused"]:
        click.echo(f"refused: {plain(refused['name'])}: {plain_lines(refused['why'])}", err=True)
    return SpecError.exit_code if view["refused"] else 0


def _queued_line(batch: dict[str, Any]) -> str:
    if batch["duplicate_of"] is not None:
        return (
            f"{plain(batch['name'])}: the same bytes are unfinished as batch {batch['duplicate_of']}; "
            "nothing was queued (again = true in its header queues it once more)"
        )
    return f"Batch {batch['batch']}: {plain(batch['name'])}, {plural(batch['jobs'], 'job')}"


def gather(files: tuple[str, ...], stdin_name: str | None) -> list[dict[str, Any]]:
    """Read the files, and those that manifests name, for a `submit` call. Raises SpecError."""
    documents: list[dict[str, Any]] = []
    attached: dict[str, bytes] = {}
    for file in files:
        if file == "-":
            if not stdin_name:
                raise UsageError(
                    "standard input has no name", "Say what it is: nightshot submit - --name bell.qasm"
                )
            documents.append(_document(stdin_name, sys.stdin.buffer.read()))
            continue
        path = Path(file)
        data = read_regular_file(path)
        documents.append(_document(path.name, data))
        for reference in referenced_circuits(path.name, data):
            circuit = _circuit_beside(path.parent, reference)
            if circuit is None:
                continue
            if attached.setdefault(reference, circuit) != circuit:
                raise SpecError(
                    f"another manifest of this call means another file by {reference!r}",
                    file=file,
                    hint="Submit the manifests one at a time.",
                )
            documents.append({**_document(reference, circuit), "attachment": True})
    if sum(len(document["content_base64"]) for document in documents) > LARGEST_CALL_BYTES:
        raise SpecError(
            "these files are too much for one call", hint="Submit fewer at once, or move them into the inbox."
        )
    return documents


def _document(name: str, data: bytes) -> dict[str, Any]:
    return {"name": name, "content_base64": b64encode(data).decode("ascii")}


def read_regular_file(path: Path) -> bytes:
    """Read a file without waiting on a pipe or a device. Raises SpecError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror}", file=str(path)) from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise SpecError("not a regular file", file=str(path), hint="Standard input is called '-'.")
        if found.st_size > LARGEST_CALL_BYTES:
            raise SpecError(f"{found.st_size} bytes is no job file", file=str(path))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def _circuit_beside(folder: Path, reference: str) -> bytes | None:
    """The bytes of a circuit beside its manifest; None leaves it to the daemon to say what is wrong."""
    pure = Path(reference)
    if pure.is_absolute() or ".." in pure.parts:
        return None
    try:
        return read_regular_file(folder / pure)
    except SpecError:
        return None


def referenced_circuits(name: str, data: bytes) -> tuple[str, ...]:
    """The files that a manifest names under `circuit`; one that cannot be read names none."""
    from scheduler.intake.paths import is_manifest

    if not is_manifest(name):
        return ()
    # The reader of job files is heavy, and a circuit on its own does not need it here.
    from scheduler.intake.document import referenced_files

    return referenced_files(name, data)
