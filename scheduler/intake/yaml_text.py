"""YAML 1.2, built from ruamel's events: every value has a line, and nothing unfolds before it is counted.

Only the core of the language: no tags, no merge keys, one document. `yes` and `22:30` are text, as YAML 1.2
says. An anchor is shared, not copied, and refused when writing it out would make a huge document.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.tag import Tag

from scheduler.errors import SpecError
from scheduler.intake.formats import PATH_DEPTH_MAX, Document, Path, nearest_line, too_deep
from scheduler.intake.problems import printable, refuse_duplicates, shortened

#: The pure reader takes up to 2 µs a character and 40 µs a value: two seconds, at these limits.
CHARACTERS_MAX = 1024 * 1024
VALUES_MAX = 50_000
#: Characters that a document may have when all its aliases are written out.
WRITTEN_OUT_MAX = 16 * 1024 * 1024

#: ruamel decodes tags (`!…`) one character after the other, in time quadratic in their length.
_TAG_LENGTH_MAX = 20_000
#: What a lone "!" is to ruamel: handle and suffix.
_PLAIN_TEXT_MARK = (None, "!")
_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_TRUE = frozenset(("true", "True", "TRUE"))
_FALSE = frozenset(("false", "False", "FALSE"))
_DECIMAL = re.compile(r"[-+]?[0-9]++")
_BASED = re.compile(r"0o[0-7]++|0x[0-9a-fA-F]++")
_REAL = re.compile(r"[-+]?(?:\.[0-9]++|[0-9]++(?:\.[0-9]*+)?)(?:[eE][-+]?[0-9]++)?")
_NOT_FINITE = frozenset((".inf", ".Inf", ".INF", "-.inf", "-.Inf", "-.INF", "+.inf", ".nan", ".NaN", ".NAN"))

#: What ruamel lets escape, apart from its own errors, when it reads garbage (chr() of a huge code point …).
_READER_BUGS = (ValueError, OverflowError, IndexError, KeyError, TypeError, AttributeError, AssertionError)


def parse(text: str, file: str, *, depth_max: int) -> Document:
    """Parse one YAML document. Raises SpecError naming the line."""
    if len(text) > CHARACTERS_MAX:
        raise _too_much(f"{len(text):,} characters of YAML; at most {CHARACTERS_MAX:,} are read", file)
    if any(len(word) > _TAG_LENGTH_MAX and "!" in word for word in text.split()):
        raise SpecError(f"a word of more than {_TAG_LENGTH_MAX:,} characters with a ! in it", file=file)
    composer = _Composer(text, file, depth_max)
    try:
        value = composer.compose()
    except SpecError:
        raise
    except RecursionError:
        raise too_deep(file, None, depth_max) from None
    except MarkedYAMLError as error:
        raise _syntax_error(error, file) from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SpecError("not YAML: a character that YAML does not allow", file=file, line=line) from None
    except YAMLError:
        raise SpecError("not YAML", file=file) from None
    except _READER_BUGS:
        raise SpecError("not YAML: the reader gave up", file=file, line=composer.line) from None
    return Document(value, lambda path: nearest_line(composer.lines, path))


def _syntax_error(error: MarkedYAMLError, file: str) -> SpecError:
    mark = error.problem_mark or error.context_mark
    what = printable(str(error.problem or error.context or "syntax")[:200])
    hint = "Indent with spaces; YAML does not allow tabs there." if "\\t" in what else ""
    return SpecError(f"not YAML: {what}", file=file, line=mark.line + 1 if mark else None, hint=hint)


def _too_much(problem: str, file: str) -> SpecError:
    return SpecError(problem, file=file, hint="Write large batches as .jsonl: one job in each line.")


class _Composer:
    """Events to plain values; recursion is bounded by the depth allowed."""

    def __init__(self, text: str, file: str, depth_max: int) -> None:
        self.events: Iterator[Event] = iter(YAML(typ="safe", pure=True).parse(text))
        self.file = file
        self.depth_max = depth_max
        self.line = 1
        self.lines: dict[Path, int] = {}
        self.duplicates: list[tuple[str, int, int]] = []
        self.anchors: dict[str, tuple[object, int]] = {}
        self.values = 0
        #: Characters so far, aliases written out.
        self.written_out = 0

    def refuse(self, problem: str, hint: str = "") -> SpecError:
        return SpecError(problem, file=self.file, line=self.line, hint=hint)

    def next_event(self) -> Event:
        event = next(self.events)
        self.line = event.start_mark.line + 1
        return event

    def compose(self) -> object:
        """Return the value of the only document."""
        value: object = None
        documents = 0
        for event in self.events:
            match event:
                case DocumentStartEvent():
                    self.line = event.start_mark.line + 1
                    documents += 1
                    if documents > 1:
                        raise self.refuse("a second document begins here; put one document in each file")
                    if event.version not in (None, (1, 2)):
                        raise self.refuse("only YAML 1.2 is read; remove the %YAML line")
                    value = self.value((), self.next_event())
                case DocumentEndEvent() | StreamEndEvent():
                    continue
        if self.duplicates:
            refuse_duplicates(self.duplicates, self.file)
        return value

    def value(self, path: Path, event: Event) -> object:
        """Return the value that begins with this event."""
        if isinstance(event, AliasEvent):
            return self.alias(event)
        self.values += 1
        if self.values > VALUES_MAX:
            raise _too_much(f"more than {VALUES_MAX:,} values in YAML", self.file)
        if len(path) > self.depth_max:
            raise too_deep(self.file, self.line, self.depth_max)
        if path and len(path) <= PATH_DEPTH_MAX:
            self.lines.setdefault(path, self.line)
        before = self.written_out
        self.grow(1)
        match event:
            case ScalarEvent():
                value = self.scalar(event)
            case MappingStartEvent():
                self.refuse_tag(event.ctag)
                value = self.mapping(path)
            case SequenceStartEvent():
                self.refuse_tag(event.ctag)
                value = self.sequence(path)
            case _:
                raise self.refuse("not YAML: a value is missing here")
        if event.anchor is not None:
            self.anchors[event.anchor] = (value, self.written_out - before)
        return value

    def alias(self, event: AliasEvent) -> object:
        known = self.anchors.get(event.anchor)
        if known is None:
            raise self.refuse(
                f"*{shortened(event.anchor)}: no finished &{shortened(event.anchor)} stands above"
            )
        value, size = known
        self.grow(size)
        return value

    def grow(self, characters: int) -> None:
        self.written_out += characters
        if self.written_out > WRITTEN_OUT_MAX:
            raise self.refuse("the aliases unfold to a huge document; write the jobs out, or use .jsonl")

    def refuse_tag(self, tag: Tag | None) -> None:
        if tag is not None and (tag.handle, tag.suffix) != _PLAIN_TEXT_MARK:
            written = f"{tag.handle or ''}{str(tag.suffix)[:40]}"
            raise self.refuse(f"the tag {shortened(written)} is not read; remove it")

    def scalar(self, event: ScalarEvent) -> object:
        text: str = event.value
        self.grow(len(text))
        tag = event.ctag
        if tag is not None and (tag.handle, tag.suffix) == ("!!", "str"):
            return text
        self.refuse_tag(tag)
        if event.style is not None or tag is not None:  # quoted, a block, or marked as text by a lone "!"
            return text
        try:
            return _plain(text)
        except ValueError:  # more digits than Python converts
            raise self.refuse("a number with thousands of digits") from None

    def mapping(self, path: Path) -> dict[str, object]:
        result: dict[str, object] = {}
        first_lines: dict[str, int] = {}
        while not isinstance(event := self.next_event(), MappingEndEvent):
            if not isinstance(event, ScalarEvent):
                raise self.refuse("a key must be plain text")
            key: str = event.value
            line = self.line
            self.grow(len(key))
            if key in first_lines:
                self.duplicates.append((key, line, first_lines[key]))
            first_lines.setdefault(key, line)
            if len(path) < PATH_DEPTH_MAX:
                self.lines.setdefault((*path, key), line)
            result[key] = self.value((*path, key), self.next_event())
        return result

    def sequence(self, path: Path) -> list[object]:
        result: list[object] = []
        while not isinstance(event := self.next_event(), SequenceEndEvent):
            result.append(self.value((*path, len(result)), event))
        return result


def _plain(text: str) -> object:
    """Resolve an unquoted scalar by the core schema of YAML 1.2."""
    if text in _NULL:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if _DECIMAL.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text[2:], 8 if text[1] == "o" else 16)
    if _REAL.fullmatch(text):
        return float(text)
    if text in _NOT_FINITE:
        return float(text.replace(".", ""))
    return text
