"""The `nightshot` block at the top of a circuit file: found, read as TOML, and removed from the code.

In .qasm it is `// /// nightshot` … `// ///`, because `//` lines are the only comments every OpenQASM parser
skips. In .py it is the table `[tool.nightshot]` of the PEP 723 block `# /// script` … `# ///`, whose other
content stays. A block that would go unnoticed is an error, never a comment: its owner relies on it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scheduler.errors import SpecError
from scheduler.intake import frameworks
from scheduler.intake.formats import Document, Path
from scheduler.intake.problems import did_you_mean, shortened

if TYPE_CHECKING:
    from scheduler.intake import toml_text

_EXAMPLE = {"backend": "simulator", "shots": 100}


@dataclass(frozen=True, slots=True)
class Header:
    """What a header block says; `code` is the circuit without it, `line_of` the file's line of a field."""

    code: str
    fields: Mapping[str, object]
    line_of: Callable[[Path], int | None]
    found: bool


@dataclass(frozen=True, slots=True)
class _Style:
    """How a block looks in one language."""

    comment: str
    word: str
    table: Path
    example: str

    @property
    def opening(self) -> str:
        return f"{self.comment} /// {self.word}"

    @property
    def closing(self) -> str:
        return f"{self.comment} ///"


_QASM = _Style("//", "nightshot", (), "")
_PYTHON = _Style("#", "script", ("tool", "nightshot"), "[tool.nightshot]")
_STYLES = {".qasm": _QASM, ".py": _PYTHON}

_QASM_STRING_OR_COMMENT = re.compile(r'"[^"\n]*+"?|//[^\n]*+|/\*(?:[^*]|\*(?!/))*+(?:\*/)?')
_TOKENS = {".qasm": _QASM_STRING_OR_COMMENT, ".py": frameworks.STRING_OR_COMMENT}
_MARKER = re.compile(r"(?://|#)\s*+/++\s*+([\w-]++)\s*+")
_OWN_LINE = "Put it on a line of its own, at the top of the file."
_NO_LINE: Callable[[Path], int | None] = lambda _path: None  # noqa: E731 - a def would need a docstring to say less


def split(text: str, suffix: str, file: str, *, depth_max: int) -> Header:
    """Return the header of a .qasm or .py text and the code without it. Raises SpecError."""
    if "///" not in text:
        return Header(text, {}, _NO_LINE, found=False)
    style = _STYLES[suffix]
    lines = text.split("\n")
    openings, statement = _survey(text, suffix, file)
    blocks = [(first, _closing(lines, first, style, file)) for first in openings]
    if not blocks:
        return Header(text, {}, _NO_LINE, found=False)
    if len(blocks) > 1:
        raise SpecError(
            f"a second '{style.opening}' block; the first is on line {blocks[0][0] + 1}",
            file=file,
            line=blocks[1][0] + 1,
            hint="Put everything into the first block.",
        )
    first, last = blocks[0]
    try:
        document, kept = _read_block(lines[first : last + 1], first, style, file, depth_max)
    except SpecError as error:
        hint = error.hint or f"A header that works:\n{render({}, suffix)}"
        raise SpecError(error.problem, file=file, line=error.line, hint=hint) from None
    fields = _table(document.value, style.table)
    if fields is None:
        return Header(text, {}, _NO_LINE, found=False)
    if not isinstance(fields, dict):
        raise SpecError("tool.nightshot is not a table", file=file, line=document.line_of(style.table))
    if statement is not None and statement < first:
        raise SpecError(
            f"the block stands after the first statement (line {statement + 1})",
            file=file,
            line=first + 1,
            hint="Move the block to the top of the file.",
        )
    code = "\n".join([*lines[:first], *kept, *lines[last + 1 :]])
    return Header(code, fields, lambda path: document.line_of((*style.table, *path)), found=True)


def render(fields: Mapping[str, object], suffix: str) -> str:
    """Return a header block to paste, with these fields (or an example when there are none)."""
    style = _STYLES[suffix]
    body = [style.example] if style.example else []
    body += [
        f"{key} = {json.dumps(value, ensure_ascii=False, default=str)}"
        for key, value in (fields or _EXAMPLE).items()
    ]
    return "\n".join([style.opening, *(f"{style.comment} {line}" for line in body), style.closing])


def _survey(text: str, suffix: str, file: str) -> tuple[list[int], int | None]:
    """Return the 0-based lines on which blocks open, and that of the first statement.

    Comments are found together with strings: a block in a docstring is prose, `//` in a path no comment.
    """
    style = _STYLES[suffix]
    openings: list[int] = []
    statement: int | None = None
    line = position = 0
    for token in _TOKENS[suffix].finditer(text):
        between = text[position : token.start()]
        if statement is None and between.strip():
            statement = line + between[: len(between) - len(between.lstrip())].count("\n")
        line += between.count("\n")
        comment = token[0].strip()
        if "///" in comment and comment.startswith(style.comment) and _opens(comment, line, style, file):
            if text[text.rfind("\n", 0, token.start()) + 1 : token.start()].strip():
                raise SpecError(
                    "a block opens behind something else", file=file, line=line + 1, hint=_OWN_LINE
                )
            openings.append(line)
        line += token[0].count("\n")
        position = token.end()
    return openings, statement


def _opens(comment: str, line: int, style: _Style, file: str) -> bool:
    if comment == style.opening:
        return True
    found = _MARKER.fullmatch(comment)
    if found and (found[1] in ("script", "nightshot") or did_you_mean(found[1], ["nightshot"])):
        problem = f"'{shortened(comment)}' does not open a block"
        raise SpecError(problem, file=file, line=line + 1, hint=f"Write: {style.opening}")
    return False


def _closing(lines: list[str], first: int, style: _Style, file: str) -> int:
    for number in range(first + 1, len(lines)):
        stripped = lines[number].strip()
        if stripped == style.closing:
            return number
        if not stripped.startswith(style.comment) or stripped == style.opening:
            break
    raise SpecError(
        f"the block that opens here is not closed by a line '{style.closing}'",
        file=file,
        line=first + 1,
        hint=f"Every line of the block begins with '{style.comment}'; the last one is '{style.closing}'.",
    )


def _table(value: object, path: Path) -> object:
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def _read_block(
    block: list[str], first: int, style: _Style, file: str, depth_max: int
) -> tuple[Document, list[str]]:
    """Return the block's TOML, and the lines of the block that stay in the code."""
    from scheduler.intake import toml_text

    body = block[1:-1]
    toml = "\n".join(_uncommented(line, style) for line in body)
    document = toml_text.parse(toml, file, depth_max=depth_max, line_before=first + 1)
    if not style.table:
        return document, []
    statements = toml_text.scan(toml, file, depth_max=depth_max).statements
    others = [statement for statement in statements if statement.path[: len(style.table)] != style.table]
    if not others:
        return document, []
    kept = [
        line for line, ours in zip(body, _ours(len(body), statements, style.table), strict=True) if not ours
    ]
    return document, [block[0], *kept, block[-1]]


def _ours(length: int, statements: list[toml_text.Statement], table: Path) -> list[bool]:
    """Tell for each line of a block whether it belongs to our table, with the comments below its heading."""
    ours = [False] * length
    below_heading = False
    line = 0
    for statement in statements:
        mine = statement.path[: len(table)] == table
        ours[line : statement.first_line - 1] = [below_heading] * (statement.first_line - 1 - line)
        if statement.is_header:
            below_heading = mine
        ours[statement.first_line - 1 : statement.last_line] = [mine] * (
            statement.last_line - statement.first_line + 1
        )
        line = statement.last_line
    ours[line:] = [below_heading] * (length - line)
    return ours


def _uncommented(line: str, style: _Style) -> str:
    return line.strip("\r").lstrip().removeprefix(style.comment).removeprefix(" ")
