"""TOML: the standard library reads it; a light scanner beside it knows lines and bounds the work.

The scanner runs first, because `tomllib` walks every prefix of a dotted key: one key of a megabyte of dots
would keep it busy for hours. It is forgiving; whatever is not TOML is refused by `tomllib`, with its line.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from functools import partial

from scheduler.errors import SpecError
from scheduler.intake.formats import Document, Path, nearest_line, too_deep
from scheduler.intake.problems import printable, refuse_duplicates

_TOKEN = re.compile(
    r'''(?P<string>"""(?:[^\\]|\\.)*?(?:"{3,5}|\\?\Z)|\'\'\'.*?(?:'{3,5}|\Z)'''
    r"""|"(?:[^"\\\n]|\\[^\n])*+(?:"|(?=\n)|\Z|\\)|'[^'\n]*+(?:'|(?=\n)|\Z))"""
    r"""|(?P<comment>\#[^\n]*)|(?P<newline>\n)|(?P<sign>[\[\]{},=.])|[ \t\r]++"""
    r"""|(?P<bare>[^\s\[\]{},=.\#"']+)|.""",
    re.DOTALL,
)
#: tomllib and the scanner read about half a megabyte a second at worst.
CHARACTERS_MAX = 512 * 1024
#: So short, and with fewer signs that nest than may be nested, a text cannot keep `tomllib` busy: it is
#: scanned only when somebody asks for a line. The header of a circuit, in every file of a full inbox, is one.
SMALL_CHARACTERS = 4096

_AT = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


@dataclass(frozen=True, slots=True)
class Statement:
    """One `key = value` or `[table]` line, which may span several; lines are 1-based and inclusive."""

    path: Path
    first_line: int
    last_line: int
    is_header: bool


@dataclass(slots=True)
class Scan:
    """What stands where in a TOML text."""

    statements: list[Statement] = field(default_factory=list)
    lines: dict[Path, int] = field(default_factory=dict)
    #: (key, line, line of the first one)
    duplicates: list[tuple[str, int, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    line: int

    @property
    def last_line(self) -> int:
        return self.line + self.text.count("\n") * (self.kind == "string")


def parse(text: str, file: str, *, depth_max: int, line_before: int = 0) -> Document:
    """Parse TOML whose first line is `line_before` + 1 of the file. Raises SpecError naming the line."""
    if len(text) > CHARACTERS_MAX:
        raise SpecError(
            f"{len(text):,} characters of TOML; at most {CHARACTERS_MAX:,} are read",
            file=file,
            hint="Write large batches as .jsonl: one job in each line.",
        )
    if len(text) <= SMALL_CHARACTERS and sum(map(text.count, "[{.")) < depth_max:
        try:
            value = tomllib.loads(text)
        except ValueError:
            pass  # below, the scanner finds out what to say
        else:
            return Document(value, partial(_line_in, text, depth_max, line_before))
    found = scan(text, file, depth_max=depth_max, line_before=line_before)
    if found.duplicates:
        refuse_duplicates(found.duplicates, file, line_before=line_before)
    try:
        value = tomllib.loads(text)
    except RecursionError:
        raise too_deep(file, None, depth_max) from None
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(error, text, file, line_before) from None
    except ValueError:  # an integer of more digits than Python converts, a date that does not exist
        raise SpecError("a number or date that cannot be read", file=file) from None

    def line_of(path: Path) -> int | None:
        line = nearest_line(found.lines, path)
        return line + line_before if line else None

    return Document(value, line_of)


def _line_in(text: str, depth_max: int, line_before: int, path: Path) -> int | None:
    line = nearest_line(scan(text, "", depth_max=depth_max).lines, path)
    return line + line_before if line else None


def _syntax_error(error: tomllib.TOMLDecodeError, text: str, file: str, line_before: int) -> SpecError:
    message = str(error)
    place = _AT.search(message)
    line = text.rstrip().count("\n") + 1
    if place:
        message = message[: place.start()]
        if place[1]:
            line = int(place[1])
    problem = f"not TOML: {printable(message[:200])}"
    return SpecError(problem, file=file, line=line + line_before)


def scan(text: str, file: str, *, depth_max: int, line_before: int = 0) -> Scan:
    """Find where everything stands. Raises SpecError when anything is nested deeper than `depth_max`."""
    return _Scanner(text, file, depth_max, line_before).run()


class _Scanner:
    def __init__(self, text: str, file: str, depth_max: int, line_before: int) -> None:
        self.tokens = _tokenize(text)
        self.at = 0
        self.file = file
        self.depth_max = depth_max
        self.line_before = line_before
        self.result = Scan()
        self.table: Path = ()
        #: How many `[[name]]` of each path were seen: what follows belongs to the last.
        self.list_lengths: dict[Path, int] = {}
        self.claimed: dict[Path, int] = {}

    def run(self) -> Scan:
        while self.at < len(self.tokens):
            token = self.tokens[self.at]
            if token.kind in ("newline", "comment"):
                self.at += 1
                continue
            if token.text == "[":
                path, is_header = self.read_header(token), True
            else:
                path, is_header = self.read_pair(self.table), False
            last_line = self.tokens[self.at - 1].last_line
            self.skip_line()
            self.result.statements.append(Statement(path, token.line, last_line, is_header))
        return self.result

    def read_header(self, opening: _Token) -> Path:
        self.at += 1
        is_list = self.at < len(self.tokens) and self.tokens[self.at].text == "["
        self.at += is_list
        parts = self.read_key("]")
        path: Path = ()
        for place, part in enumerate(parts):
            path = (*path, part)
            if place == len(parts) - 1 and is_list:
                self.list_lengths[path] = self.list_lengths.get(path, 0) + 1
            if path in self.list_lengths:
                self.result.lines.setdefault(path, opening.line)
                path = (*path, self.list_lengths[path] - 1)
        self.claim(path, parts, opening.line)
        self.table = path
        return path

    def read_pair(self, parent: Path) -> Path:
        line = self.tokens[self.at].line
        start = self.at
        parts = self.read_key("=")
        path = parent
        for part in parts:
            path = (*path, part)
            if len(path) - len(parent) < len(parts):
                self.result.lines.setdefault(path, line)
        if self.at < len(self.tokens) and self.tokens[self.at].text == "=":
            self.claim(path, parts, line)
            self.at += 1
            self.read_value(path)
        elif self.at == start:
            self.at += 1  # not TOML; tomllib will say so, but the scanner must move on
        return path

    def claim(self, path: Path, parts: list[str], line: int) -> None:
        """Note that this path is written here, and nowhere else."""
        if path in self.claimed:
            self.result.duplicates.append((".".join(parts), line, self.claimed[path]))
        self.claimed.setdefault(path, line)
        self.result.lines.setdefault(path, line)

    def read_key(self, end: str) -> list[str]:
        """Read `a."b".c` up to the sign that ends it, which is left to be read."""
        parts: list[str] = []
        while self.at < len(self.tokens):
            token = self.tokens[self.at]
            if token.kind == "newline" or token.text == end:
                break
            if token.kind in ("bare", "string"):
                parts.append(_key_text(token))
                self.bound_depth(len(parts), token.line)
            elif token.text != ".":
                break
            self.at += 1
        return parts

    def read_value(self, path: Path) -> None:
        self.skip_blank(newlines=False)
        if self.at >= len(self.tokens):
            return
        token = self.tokens[self.at]
        if token.text == "[" or token.text == "{":
            self.bound_depth(len(path) + 1, token.line)
            self.at += 1
            self.read_elements(path, token.text == "{")
            return
        while self.at < len(self.tokens):
            token = self.tokens[self.at]
            if token.kind in ("newline", "comment") or token.text in (",", "]", "}"):
                return
            self.at += 1

    def read_elements(self, path: Path, is_table: bool) -> None:
        """Read the inside of `[…]` or `{…}`, closing sign included."""
        position = 0
        while self.at < len(self.tokens):
            self.skip_blank(newlines=True)
            if self.at >= len(self.tokens):
                return
            token = self.tokens[self.at]
            if token.text in ("]", "}"):
                self.at += 1
                return
            if token.text == ",":
                position += 1
                self.at += 1
            elif is_table:
                self.read_pair(path)
            else:
                before = self.at
                self.result.lines.setdefault((*path, position), token.line)
                self.read_value((*path, position))
                self.at += self.at == before

    def skip_blank(self, *, newlines: bool) -> None:
        while self.at < len(self.tokens):
            kind = self.tokens[self.at].kind
            if kind != "comment" and not (newlines and kind == "newline"):
                return
            self.at += 1

    def skip_line(self) -> None:
        while self.at < len(self.tokens) and self.tokens[self.at].kind != "newline":
            self.at += 1

    def bound_depth(self, depth: int, line: int) -> None:
        if depth > self.depth_max:
            raise too_deep(self.file, line + self.line_before, self.depth_max)


def _tokenize(text: str) -> list[_Token]:
    tokens = []
    line = 1
    for found in _TOKEN.finditer(text):
        kind = found.lastgroup
        if kind:
            tokens.append(_Token(kind, found[0], line))
        if kind == "newline":
            line += 1
        elif kind == "string":
            line += found[0].count("\n")
    return tokens


def _key_text(token: _Token) -> str:
    if token.kind == "bare":
        return token.text
    if "\\" not in token.text and not token.text.startswith(('"""', "'''")):
        return token.text[1:-1]
    try:
        (key,) = tomllib.loads(f"{token.text} = 0")
    except ValueError:  # not TOML; tomllib will say where
        return token.text
    return key
