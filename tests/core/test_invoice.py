"""Invoices: columns by whatever name, units never guessed, every difference said with its line."""

from __future__ import annotations

import pytest

from scheduler.core.invoice import ChargedRun, NotAnInvoice, Unit, compare, read_invoice
from scheduler.core.timing import iso

DAY_US = 1_795_305_600_000_000  # 2026-11-22T00:00:00Z
OURS = ChargedRun("p1", "12.1", DAY_US + 5, 1_300_000, 2_000_000)


@pytest.mark.parametrize(
    ("header", "cell", "microusd"),
    [
        ("cost_cents", "130", 1_300_000),
        ("Cost (cents)", "130.5", 1_305_000),
        ("Estimated Cost Cents", "0", 0),
        ("cost_usd", "1.30", 1_300_000),
        ("Amount USD", "$1.30", 1_300_000),
        ("dollars", "1.30 USD", 1_300_000),
        ("cost_usd", '"$1,250.00"', 1_250_000_000),
        ("cost_cents", '"1,234,567.5"', 12_345_675_000),
    ],
)
def test_a_cost_is_read_in_the_unit_that_its_column_names(header: str, cell: str, microusd: int) -> None:
    (line,) = read_invoice(f"Job ID,{header}\np1,{cell}\n").lines
    assert (line.line, line.provider_job_id, line.cost_microusd) == (2, "p1", microusd)
    assert (line.at_us, line.microcredits) == (None, None), "unknown is not zero"


@pytest.mark.parametrize("cell", ["1,250", "1.250,00", "12,50.00", "1,25.00", "nan", "-5", "1_000", "0x10"])
def test_a_figure_that_may_mean_two_things_is_told_and_not_guessed(cell: str) -> None:
    invoice = read_invoice(f'job_id,cost_usd\np1,"{cell}"\n')
    assert invoice.lines == ()
    assert [cell in sentence for sentence in invoice.bad_rows] == [True]


@pytest.mark.parametrize(("unit", "microusd"), [(Unit.CENTS, 1_300_000), (Unit.DOLLARS, 130_000_000)])
def test_a_cost_without_a_unit_needs_one(unit: Unit, microusd: int) -> None:
    text = "job_id,cost\np1,130\n"
    with pytest.raises(NotAnInvoice, match="'cost' does not say whether it is cents or dollars"):
        read_invoice(text)
    assert read_invoice(text, unit).lines[0].cost_microusd == microusd


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column names the provider's job; it has: nothing"),
        ("when,cost_cents\n", "no column names the provider's job; it has: when, cost_cents"),
        ("job_id,device\n", "no column names a cost or credits; it has: job_id, device"),
        ('job_id,cents\np1,"130\n', "it is no CSV"),
    ],
)
def test_a_table_that_is_no_invoice_is_refused(text: str, message: str) -> None:
    with pytest.raises(NotAnInvoice, match=message):
        read_invoice(text)


def test_rows_that_cannot_be_read_are_named_and_the_others_compared() -> None:
    text = (
        "job_id;date;cost_cents;credits;device\n"
        "p1;2026-11-22;130;2;iqm\n"
        ";2026-11-22;1;1;iqm\n"
        "p2;22.11.2026;1;1;iqm\n"
        "p3;2026-11-22;-5;1;iqm\n"
        "p4;2026-11-22;NaN;1;iqm\n"
        "p5;2026-11-22;1\n"
        "\n"
        "p6;2026-11-22T18:41:00+01:00;;2.5;iqm\n"
    )
    invoice = read_invoice("\ufeff" + text)
    assert [line.provider_job_id for line in invoice.lines] == ["p1", "p6"]
    assert (invoice.lines[1].cost_microusd, invoice.lines[1].microcredits) == (None, 2_500_000)
    problems = ["names no job", "no date", "negative", "not a finite", "3 cells under 5"]
    for number, (bad, problem) in enumerate(zip(invoice.bad_rows, problems, strict=True), 3):
        assert bad.startswith(f"line {number}: ")
        assert problem in bad
    assert invoice.unused_columns == ("device",)
    assert invoice.used_columns == {
        "job_id": "job_id",
        "date": "date",
        "cents": "cost_cents",
        "credits": "credits",
    }
    assert invoice.period is not None
    assert [iso(us)[:10] for us in invoice.period] == ["2026-11-22", "2026-11-23"]


def differences(text: str, *ours: ChargedRun) -> list[tuple[str, int | None]]:
    return [(d.kind, d.line) for d in compare(read_invoice(text), ours)]


def test_what_agrees_is_no_difference() -> None:
    assert differences("job_id,date,cost_cents,credits\np1,2026-11-22,130,2\n", OURS) == []


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("p1,2026-11-22,131,2", [("cost", 2)]),
        ("p1,2026-11-22,130,3", [("credits", 2)]),
        ("p1,2026-11-22,,", []),
        ("p1,2026-11-22,130,2\np1,2026-11-22,130,2", [("twice", 2)]),
        ("p9,2026-11-22,130,2\np1,2026-11-22,130,2", [("not ours", 2)]),
        ("p9,2026-11-22,130,2", [("not ours", 2), ("not in invoice", None)]),
        ("p9,2026-11-23,130,2", [("not ours", 2)]),
    ],
)
def test_every_difference_is_said(rows: str, expected: list[tuple[str, int | None]]) -> None:
    assert differences(f"job_id,date,cost_cents,credits\n{rows}\n", OURS) == expected


def test_without_dates_all_of_our_runs_are_expected() -> None:
    assert differences("job_id,cents\np9,130\n", OURS) == [("not ours", 2), ("not in invoice", None)]


def test_a_cost_that_we_do_not_know_differs_from_one_that_is_named() -> None:
    unknown = ChargedRun("p1", "12.1", DAY_US, None, None)
    (difference,) = compare(read_invoice("job_id,cents\np1,130\n"), [unknown])
    assert difference.sentence == "job 12.1 cost unknown here and $1.30 in the invoice"
