"""`submit`: job files handed over by a person or a program, made durable before the answer."""

from __future__ import annotations

import base64
import binascii
import posixpath
import secrets

from scheduler.api.desk import Args, Caller, Desk
from scheduler.core.records import ReceivedBatch
from scheduler.core.timing import iso
from scheduler.core.views import RefusedDocument, SubmittedBatch, SubmitView
from scheduler.errors import SpecError
from scheduler.intake.document import read_document
from scheduler.intake.problems import printable
from scheduler.intake.receiving import receive


class Document(Args):
    name: str
    content_base64: str
    #: True for a circuit file that one of the other documents refers to.
    attachment: bool = False


class SubmitArgs(Args):
    documents: list[Document]


def content_of(document: Document) -> bytes:
    try:
        return base64.b64decode(document.content_base64, validate=True)
    except binascii.Error:
        raise SpecError("its content is not base64", file=document.name) from None


async def submit(desk: Desk, caller: Caller, args: SubmitArgs) -> SubmitView:
    attached = {posixpath.normpath(d.name): d for d in args.documents if d.attachment}
    refused: list[RefusedDocument] = []
    batches: list[ReceivedBatch] = []
    names: dict[str, str] = {}
    now_us = desk.now_us()

    def circuit(name: str) -> bytes:
        document = attached.get(posixpath.normpath(name))
        if document is None:
            raise SpecError(f"circuit {name!r} was not handed over with this file")
        return content_of(document)

    for document in args.documents:
        if document.attachment:
            continue
        try:
            content = content_of(document)
            spec = desk.resolve(read_document(document.name, content, desk.defaults, circuit, now_us))
        except SpecError as problem:
            refused.append({"name": document.name, "why": str(problem)})
            continue
        key = f"socket-{now_us:016x}{secrets.token_hex(6)}"
        names[key] = printable(document.name)
        batches.append(ReceivedBatch(key, spec, caller.user, "socket", now_us))
    accepted: list[SubmittedBatch] = []
    if batches:
        received, problems = await desk.kit.store.write(lambda tx: receive(tx, batches, names))
        refused += [{"name": names[key], "why": str(problem)} for key, problem in problems.items()]
        desk.kit.wake("estimate")
        specs = {batch.ingest_key: batch.spec for batch in batches}
        for answer in received:
            spec = specs[answer.ingest_key]
            accepted.append(
                {
                    "batch": answer.batch_id,
                    "name": spec.name,
                    "jobs": len(spec.jobs),
                    "duplicate_of": answer.batch_id if answer.duplicate else None,
                }
            )
    return {"as_of": iso(now_us), "batches": accepted, "refused": refused}
