"""Bytes to text: UTF-8 and nothing else, because a guessed encoding would change a circuit unnoticed.

What is refused is named, so that the user knows which program wrote the file and how to convert it.
"""

from __future__ import annotations

import codecs

from scheduler.errors import SpecError

_MAGIC = (
    (b"\x1f\x8b", "a gzip archive", "Unpack it first: gunzip FILE"),
    (b"PK\x03\x04", "a zip archive", "Unpack it first: unzip FILE"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", "Unpack it first: unzstd FILE"),
    (b"\xfd7zXZ\x00", "an xz archive", "Unpack it first: unxz FILE"),
    (b"\x7fELF", "a program", "Drop the circuit's source text instead."),
    (b"%PDF-", "a PDF", "Drop the circuit's source text instead."),
    (b"\x89PNG", "a picture", "Drop the circuit's source text instead."),
    (b"QISKIT", "a Qiskit QPY file", "Export it as text: qiskit.qasm3.dumps(circuit)"),
)
# The four-byte marks first: UTF-32 little-endian begins with the mark of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
# What no text of any encoding contains, apart from tab, line feed, form feed and carriage return.
_CONTROL = bytes(set(range(32)) - {9, 10, 12, 13, 27})
_LOOKED_AT_BYTES = 4096


def decode(data: bytes, file: str, *, limit_bytes: int) -> str:
    """Return the text of a UTF-8 file without its byte order mark. Raises SpecError naming what it is."""
    if len(data) > limit_bytes:
        raise SpecError(
            f"the file has {len(data):,} bytes; at most {limit_bytes:,} are read",
            file=file,
            hint="Split it into several files; each becomes a batch of its own.",
        )
    if data.startswith(codecs.BOM_UTF8):
        data = data[len(codecs.BOM_UTF8) :]
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise _foreign(data, error.start, file) from None
    if "\0" in text:
        raise _foreign(data, data.index(b"\0"), file)
    if not text or text.isspace():
        raise SpecError(
            "the file is empty", file=file, hint="Nothing was queued. Write the circuit, then drop it."
        )
    return text


def _foreign(data: bytes, position: int, file: str) -> SpecError:
    for magic, what, hint in _MAGIC:
        if data.startswith(magic):
            return SpecError(f"this is {what}, not text", file=file, hint=hint)
    encoding = _wide_encoding(data)
    if encoding:
        return _convert(f"the file is {encoding} text, not UTF-8", encoding, file, line=None)
    line = data.count(b"\n", 0, position) + 1
    head = data[:_LOOKED_AT_BYTES]
    if data[position] == 0 or len(head.translate(None, _CONTROL)) < len(head):
        return SpecError(
            f"binary data, not text (byte 0x{data[position]:02x} at position {position + 1})",
            file=file,
            line=line,
            hint="Job files are UTF-8 text. Was the file damaged, or is it another one?",
        )
    problem = f"byte 0x{data[position]:02x} is not UTF-8; the file looks like Latin-1 or Windows-1252"
    return _convert(problem, "WINDOWS-1252", file, line=line)


def _wide_encoding(data: bytes) -> str | None:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return encoding
    # Without a mark: ASCII in 16 bits has a NUL in every other place and nowhere else.
    head = data[: min(len(data), _LOOKED_AT_BYTES) // 2 * 2]
    if len(head) >= 4:
        even, odd = head[0::2], head[1::2]
        if not odd.strip(b"\0") and even.count(0) == 0:
            return "UTF-16LE"
        if not even.strip(b"\0") and odd.count(0) == 0:
            return "UTF-16BE"
    return None


def _convert(problem: str, encoding: str, file: str, *, line: int | None) -> SpecError:
    hint = f"Convert it: iconv -f {encoding} -t UTF-8 FILE > FILE.utf8, then drop the new file."
    return SpecError(problem, file=file, line=line, hint=hint)
