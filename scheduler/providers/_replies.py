"""Reading what a server sent: nothing it says is believed before it is measured, and no secret survives it.

A reply may be half, huge, nested a million deep, full of control characters, or may echo our own token.
What can be read is read exactly (figures as int or Decimal, never float); what cannot is None, not a guess.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC
from decimal import Decimal, InvalidOperation
from email.utils import parsedate_to_datetime
from typing import Any

from pydantic import SecretStr

#: What stands where a secret stood.
SCRUBBED = "[secret removed]"
#: A server may ask for a longer pause; we look again after a day all the same.
LONGEST_RETRY_AFTER_S = 86_400.0
SENTENCE_CHARS = 500
#: A body cut off in the middle may end inside the echoed secret: from this length on, a piece is removed too.
_TELLING_PIECE_CHARS = 4
_SECONDS = re.compile(r"^[0-9]{1,9}(?:\.[0-9]{1,6})?$")


class JsonObject(dict[str, Any]):
    """A JSON object that remembers which of its keys were written more than once."""

    repeated: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer; `body` is None when it is no JSON object, `text` has no secret left in it."""

    status: int
    text: str
    body: JsonObject | None
    retry_after_s: float | None = None


def read_reply(status: int, data: bytes, pause_s: float | None, secret: SecretStr) -> Reply:
    """Return what `data` says; `secret` is gone before anything looks at it, so nothing can pass it on."""
    try:
        body = _read_object(scrub(data.decode("utf-8-sig"), secret))
    except UnicodeDecodeError:
        body = None
    return Reply(status, readable(data, secret), body, pause_s)


def _read_object(text: str) -> JsonObject | None:
    """Return the JSON object in `text`, or None when it is anything else.

    Figures become int or Decimal. One that is too large for either, NaN and Infinity become their text: a
    reply with such a figure can still name a job, and a text is never taken for a figure.
    """
    try:
        found = json.loads(
            text,
            object_pairs_hook=_object_from_pairs,
            parse_float=_decimal_or_text,
            parse_int=_int_or_text,
            parse_constant=str,
        )
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, JsonObject) else None


def _object_from_pairs(pairs: list[tuple[str, Any]]) -> JsonObject:
    found = JsonObject(pairs)
    if len(found) != len(pairs):
        found.repeated = frozenset(
            key for key, times in Counter(key for key, _ in pairs).items() if times > 1
        )
    return found


def _decimal_or_text(text: str) -> Decimal | str:
    try:
        return Decimal(text)
    except InvalidOperation:
        return text


def _int_or_text(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:  # beyond Python's limit of digits
        return text


def readable(data: bytes, secret: SecretStr) -> str:
    """Return `data` as text that a database takes, without `secret` and without a piece of it at the end."""
    text = scrub(data.decode("utf-8", errors="replace").replace("\x00", "�"), secret)
    hidden = secret.get_secret_value()
    for length in range(min(len(hidden) - 1, len(text)), _TELLING_PIECE_CHARS - 1, -1):
        if text.endswith(hidden[:length]):
            return text[:-length] + SCRUBBED
    return text


def scrub(text: str, secret: SecretStr) -> str:
    """Return `text` without `secret`, however JSON may have escaped it."""
    hidden = secret.get_secret_value()
    text = text.replace(hidden, SCRUBBED)
    return re.sub("".join(map(_spellings, hidden)), SCRUBBED, text) if "\\" in text else text


def _spellings(character: str) -> str:
    """A pattern for the ways JSON can write `character`."""
    short = r"\\?" if character in '/"\\' else ""
    return rf"(?:{short}{re.escape(character)}|\\u(?i:{ord(character):04x}))"


def one_line(text: str, limit: int = SENTENCE_CHARS) -> str:
    """Return `text` on one line without control characters, at most `limit` characters long."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: limit * 4]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def words_of(body: JsonObject | None) -> str:
    """Return the server's own words about what is wrong, or "" when it gave none."""
    for key in ("detail", "error", "message", "reason"):
        words = _words(None if body is None else body.get(key))
        if words:
            return one_line(words)
    return ""


def _words(value: object) -> str:
    match value:
        case str():
            return value
        case {"msg": str(msg), "loc": [*location]}:
            place = ".".join(str(step) for step in location)
            return f"{place}: {msg}" if place else msg
        case {"msg": str(msg)}:
            return msg
        case {"message": str(message)}:
            return message
        case list():
            return "; ".join(filter(None, map(_words, value[:20])))
        case _:
            return ""


def retry_after_s(headers: Iterable[str], now_us: int) -> float | None:
    """Return the seconds to wait that the `Retry-After` values ask for (seconds or HTTP date), or None.

    Never negative, never above LONGEST_RETRY_AFTER_S; of several values the longest counts.
    """
    pauses = [pause for header in headers if (pause := _pause_s(header.strip(), now_us)) is not None]
    return min(max(0.0, *pauses), LONGEST_RETRY_AFTER_S) if pauses else None


def _pause_s(header: str, now_us: int) -> float | None:
    if _SECONDS.match(header):
        return float(header)
    try:
        moment = parsedate_to_datetime(header)
    except (ValueError, TypeError, OverflowError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment.timestamp() - now_us / 1_000_000
