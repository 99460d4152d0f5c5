"""JSON and JSONL, strictly: no duplicate keys, no NaN; lines are looked up only when something is wrong.

The standard library's C scanner does the reading. It does not know lines, so a second, slower scanner finds
them afterwards in documents that are refused anyway.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from scheduler.errors import SpecError
from scheduler.intake.formats import PATH_DEPTH_MAX, Document, Path, nearest_line, too_deep
from scheduler.intake.problems import PROBLEMS_SHOWN, printable, refuse_duplicates, shortened

#: Finding a line takes the slower scanner up to a microsecond a character.
CHARACTERS_MAX = 8 * 1024 * 1024


class _DuplicateKeyError(ValueError):
    """The same key twice in one object; `args[0]` is the key."""


class _NotANumberError(ValueError):
    """NaN or an infinity, which JSON does not have; `args[0]` is the word."""


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _DuplicateKeyError(key)
            seen.add(key)
    return value


def _refuse_constant(word: str) -> object:
    raise _NotANumberError(word)


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant)


def parse(text: str, file: str, *, depth_max: int) -> Document:
    """Parse one JSON document. Raises SpecError naming the line."""
    if len(text) > CHARACTERS_MAX:
        raise SpecError(
            f"{len(text):,} characters of JSON; at most {CHARACTERS_MAX:,} are read as one document",
            file=file,
            hint="Write large batches as .jsonl: one job in each line.",
        )
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        raise too_deep(file, None, depth_max) from None
    except _DuplicateKeyError:
        lines = _Lines(text)
        lines.scan(lambda: len(lines.duplicates) > PROBLEMS_SHOWN)
        refuse_duplicates(lines.duplicates, file)
    except _NotANumberError as error:
        line = next((token.line for token in _tokens(text) if token.text == error.args[0]), None)
        raise SpecError(_constant_sentence(error), file=file, line=line) from None
    except json.JSONDecodeError as error:
        raise SpecError(_syntax_sentence(error, text), file=file, line=error.lineno) from None
    except ValueError:  # an integer of more digits than Python converts
        line = next(
            (token.line for token in _tokens(text) if len(token.text) > 4000 and token.is_number), None
        )
        raise SpecError(_LONG_NUMBER, file=file, line=line) from None
    return Document(value, _Lines(text).of)


_LONG_NUMBER = "a number with thousands of digits"


def parse_line(line: str) -> object:
    """Parse one line of JSONL. Raises ValueError with a sentence."""
    try:
        return _DECODER.decode(line)
    except RecursionError:
        raise ValueError("nested too deeply; a job needs no more than 2 levels") from None
    except _DuplicateKeyError as error:
        raise ValueError(f"{shortened(error.args[0])}: written twice in this line; keep one") from None
    except _NotANumberError as error:
        raise ValueError(_constant_sentence(error)) from None
    except json.JSONDecodeError as error:
        raise ValueError(_syntax_sentence(error, line)) from None
    except ValueError:
        raise ValueError(_LONG_NUMBER) from None


def _constant_sentence(error: _NotANumberError) -> str:
    return f"{error.args[0]} is not a JSON number"


def _syntax_sentence(error: json.JSONDecodeError, text: str) -> str:
    if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string"):
        return "it ends in the middle of a value: the file looks truncated"
    if error.msg == "Extra data":
        return f"something follows the end of the JSON value (column {error.colno})"
    return f"not JSON: {printable(error.msg)} (column {error.colno})"


# ------------------------------------------------------------------------------- where things stand

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|[{}\[\]:,]|\n|-?[A-Za-z]+|-?[0-9][0-9.eE+-]*+', re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    line: int

    @property
    def is_number(self) -> bool:
        return self.text[0] in "-0123456789"


def _tokens(text: str) -> Iterator[_Token]:
    line = 1
    for found in _TOKEN.finditer(text):
        token = found[0]
        if token == "\n":
            line += 1
        else:
            yield _Token(token, line)


@dataclass(slots=True)
class _Container:
    """An object or array being scanned: where it stands, and which key or position comes next."""

    path: Path | None  # None: too deep to record
    is_object: bool
    position: int = 0
    key: str | None = None
    awaits_key: bool = True
    keys: dict[str, int] = field(default_factory=dict)

    def child(self) -> Path | None:
        if self.path is None or len(self.path) >= PATH_DEPTH_MAX:
            return None
        return (*self.path, (self.key or "") if self.is_object else self.position)


class _Lines:
    """The line of every key and list element, found as far as somebody asks. The syntax is right."""

    def __init__(self, text: str) -> None:
        self.tokens = _tokens(text)
        self.stack: list[_Container] = []
        #: The object or list that ended last: nothing more will be found inside it.
        self.closed: Path | None = None
        self.lines: dict[Path, int] = {}
        #: (key, line, line of the first one)
        self.duplicates: list[tuple[str, int, int]] = []

    def of(self, path: Path) -> int | None:
        """Return the line of a path, or of what contains it when it is not in the text."""
        if path not in self.lines:
            self.scan(lambda: path in self.lines or self.closed == path[:-1])
        return nearest_line(self.lines, path)

    def scan(self, enough: Callable[[], bool]) -> None:
        """Read on until there is enough, or to the end."""
        for token in self.tokens:
            self.read(token)
            if enough():
                return

    def read(self, token: _Token) -> None:
        top = self.stack[-1] if self.stack else None
        match token.text:
            case "}" | "]":
                self.closed = self.stack.pop().path
            case ",":
                if top:
                    top.position += 1
                    top.awaits_key = True
            case ":":
                return
            case word if top and top.is_object and top.awaits_key and word[0] == '"':
                self.enter_key(top, json.loads(word, strict=False), token.line)
            case word:
                path = top.child() if top else ()
                if path is not None and (top is None or not top.is_object):
                    self.lines[path] = token.line
                if word in ("{", "["):
                    self.stack.append(_Container(path, word == "{"))

    def enter_key(self, container: _Container, key: str, line: int) -> None:
        container.key = key
        container.awaits_key = False
        if key in container.keys:
            self.duplicates.append((key, line, container.keys[key]))
            return
        container.keys[key] = line
        path = container.child()
        if path is not None:
            self.lines[path] = line
