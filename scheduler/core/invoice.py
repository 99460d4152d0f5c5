"""A provider's invoice against what we recorded: every difference is listed, and nothing is changed by it.

The columns of an invoice may be called many things; one whose unit cannot be told from its name is refused
rather than guessed.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from scheduler.core.money import MICRO, Credits, Money, NotMoney, micro_from_number
from scheduler.core.timing import to_us


class NotAnInvoice(ValueError):
    """The table as a whole cannot be read; the text says which columns it has and which are needed."""


class Unit(StrEnum):
    CENTS = "cents"
    DOLLARS = "dollars"


#: What a column may be called, in lower case with `_` for everything that is no letter or digit.
JOB_ID = ("provider_job_id", "job_id", "jobid", "task_id", "taskid", "quantum_task_id", "run_id", "id")
DATE = ("date", "day", "submitted_at", "created_at", "started_at", "time", "timestamp")
CENTS = ("cost_cents", "cost_in_cents", "amount_cents", "estimated_cost_cents", "price_cents", "cents")
DOLLARS = ("cost_usd", "cost_dollars", "amount_usd", "price_usd", "total_usd", "usd", "dollars")
NO_UNIT = ("cost", "amount", "price", "total")
CREDITS = ("credits", "credits_applied", "credits_used", "credit")
_DELIMITERS = ",;\t"


@dataclass(frozen=True, slots=True)
class InvoiceLine:
    """One row; None is a figure the invoice does not give."""

    line: int
    provider_job_id: str
    at_us: int | None
    cost_microusd: int | None
    microcredits: int | None


@dataclass(frozen=True, slots=True)
class Invoice:
    lines: tuple[InvoiceLine, ...]
    #: Sentences about rows that could not be read, each with its line.
    bad_rows: tuple[str, ...]
    used_columns: Mapping[str, str]
    unused_columns: tuple[str, ...]

    @property
    def period(self) -> tuple[int, int] | None:
        """The first and the last instant that its dates cover, in UTC days; None when it has no dates."""
        instants = [line.at_us for line in self.lines if line.at_us is not None]
        if not instants:
            return None
        day_us = 86_400 * MICRO
        return min(instants) // day_us * day_us, (max(instants) // day_us + 1) * day_us


def read_invoice(text: str, unit: Unit | None = None) -> Invoice:
    """Read a CSV with a header; `unit` is what a cost column without one in its name is in.

    Raises NotAnInvoice when columns are missing or ambiguous.
    """
    text = text.removeprefix("\ufeff")
    first = text.split("\n", 1)[0]
    delimiter = max(_DELIMITERS, key=first.count)
    rows = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    header = [_plain_name(cell) for cell in next(rows, [])]
    columns = _columns(header, unit)
    lines, bad = [], []
    try:
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            number = rows.line_num
            try:
                lines.append(_line(number, row, header, columns))
            except ValueError as error:
                bad.append(f"line {number}: {error}")
    except csv.Error as error:
        raise NotAnInvoice(f"line {rows.line_num}: it is no CSV: {error}") from None
    used = {what: header[index] for what, index in columns.items()}
    unused = tuple(name for i, name in enumerate(header) if i not in columns.values())
    return Invoice(tuple(lines), tuple(bad), used, unused)


_THOUSANDS = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+\.[0-9]+")


def _plain_name(cell: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", cell.strip().lower()).strip("_")


def _columns(header: Sequence[str], unit: Unit | None) -> dict[str, int]:
    found = {what: _one_of(header, names) for what, names in (("job_id", JOB_ID), ("date", DATE))}
    found["credits"] = _one_of(header, CREDITS)
    found["cents"], found["dollars"] = _one_of(header, CENTS), _one_of(header, DOLLARS)
    there = f"it has: {', '.join(header) or 'nothing'}"
    if found["job_id"] is None:
        raise NotAnInvoice(
            f"no column names the provider's job; {there}; it may be called {', '.join(JOB_ID)}"
        )
    plain = _one_of(header, NO_UNIT)
    if found["cents"] is not None and found["dollars"] is not None:
        found["dollars"] = None  # the same figure twice: cents are the provider's own
    elif found["cents"] is None and found["dollars"] is None and plain is not None:
        if unit is None:
            raise NotAnInvoice(
                f"column {header[plain]!r} does not say whether it is cents or dollars: --unit cents"
            )
        found[unit.value] = plain
    if all(found[what] is None for what in ("cents", "dollars", "credits")):
        names = ", ".join((*CENTS, *DOLLARS, *CREDITS))
        raise NotAnInvoice(f"no column names a cost or credits; {there}; it may be called {names}")
    return {what: index for what, index in found.items() if index is not None}


def _one_of(header: Sequence[str], names: Sequence[str]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _line(number: int, row: Sequence[str], header: Sequence[str], columns: Mapping[str, int]) -> InvoiceLine:
    if len(row) != len(header):
        raise ValueError(f"{len(row)} cells under {len(header)} columns")
    cells = {what: row[index].strip() for what, index in columns.items()}
    if not cells["job_id"]:
        raise ValueError("it names no job")
    try:
        cost = None
        if cells.get("cents"):
            cost = micro_from_number(_figure(cells["cents"]), per_unit=MICRO // 100)
        elif cells.get("dollars"):
            cost = micro_from_number(_figure(cells["dollars"]))
        credited = micro_from_number(cells["credits"]) if cells.get("credits") else None
    except NotMoney as error:
        raise ValueError(str(error)) from None
    at_us = _instant(cells["date"]) if cells.get("date") else None
    return InvoiceLine(number, cells["job_id"], at_us, cost, credited)


def _figure(text: str) -> str:
    figure = text.removeprefix("$").removesuffix("USD").strip()
    # Only with a decimal point behind them are commas thousands for certain: 1,250 may be 1.25 elsewhere.
    return figure.replace(",", "") if _THOUSANDS.fullmatch(figure) else figure


def _instant(text: str) -> int:
    """A date is its first instant in UTC, and so is a time without a zone: invoices are in UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no date: 2026-11-22 or 2026-11-22T18:41:00Z is one") from None
    return to_us(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class ChargedRun:
    """A run as we know it; None is a figure that the provider's reply did not give."""

    provider_job_id: str
    job: str
    sent_us: int
    cost_microusd: int | None
    microcredits: int | None


@dataclass(frozen=True, slots=True)
class Difference:
    """Where the invoice and our books do not say the same; `kind` is one of five words."""

    kind: str
    sentence: str
    provider_job_id: str
    job: str | None = None
    line: int | None = None


def compare(invoice: Invoice, ours: Iterable[ChargedRun]) -> list[Difference]:
    """List every difference: in the order of the invoice, then what it does not have."""
    known = {run.provider_job_id: run for run in ours}
    times = Counter(line.provider_job_id for line in invoice.lines)
    seen: set[str] = set()
    found: list[Difference] = []
    for line in invoice.lines:
        run = known.get(line.provider_job_id)
        if line.provider_job_id in seen:
            continue  # said at its first line
        seen.add(line.provider_job_id)
        found += _differences(line, run, times[line.provider_job_id])
    period = invoice.period
    for run in known.values():
        if run.provider_job_id in seen or (period and not period[0] <= run.sent_us < period[1]):
            continue
        sentence = f"job {run.job} ran as {run.provider_job_id}, and is not in the invoice"
        found.append(Difference("not in invoice", sentence, run.provider_job_id, run.job))
    return found


def _differences(line: InvoiceLine, run: ChargedRun | None, times: int) -> list[Difference]:
    found = []
    whose = (line.provider_job_id, None if run is None else run.job, line.line)
    if times > 1:
        found.append(Difference("twice", f"{line.provider_job_id} is in the invoice {times} times", *whose))
    if run is None:
        cost = "" if line.cost_microusd is None else f" for {Money(line.cost_microusd)}"
        sentence = f"the invoice has {line.provider_job_id}{cost}, and we know no such run"
        return [*found, Difference("not ours", sentence, *whose)]
    if line.cost_microusd is not None and line.cost_microusd != run.cost_microusd:
        here = "unknown" if run.cost_microusd is None else str(Money(run.cost_microusd))
        sentence = f"job {run.job} cost {here} here and {Money(line.cost_microusd)} in the invoice"
        found.append(Difference("cost", sentence, *whose))
    if line.microcredits is not None and line.microcredits != run.microcredits:
        here = "unknown" if run.microcredits is None else str(Credits(run.microcredits))
        sentence = f"job {run.job} took {here} credits here and {Credits(line.microcredits)} in the invoice"
        found.append(Difference("credits", sentence, *whose))
    return found
