"""`reconcile`: an invoice against our books. Every difference is listed; nothing is changed by it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypedDict

from scheduler.api.desk import Args, Caller, Desk
from scheduler.api.views import usd
from scheduler.core.invoice import Difference, NotAnInvoice, Unit, compare, read_invoice
from scheduler.core.money import Credits
from scheduler.core.timing import iso
from scheduler.errors import UsageError


class ReconcileArgs(Args):
    csv: str
    provider: str | None = None
    #: What a cost column without a unit in its name is in.
    unit: Literal["cents", "dollars"] | None = None


class DifferenceView(TypedDict):
    kind: str  # "not ours", "not in invoice", "cost", "credits", "twice"
    sentence: str
    provider_job_id: str
    job: str | None
    line: int | None


class TotalsView(TypedDict):
    runs: int
    cost_usd: str | None  # null: not a single figure is known
    credits: str | None
    unknown_costs: int  # runs without a figure, which are in no total


class ReconcileView(TypedDict):
    as_of: str
    provider: str
    since: str | None  # the days the invoice covers; null: it has no dates, so all runs were compared
    until: str | None
    columns: dict[str, str]
    unused_columns: list[str]
    bad_rows: list[str]
    differences: list[DifferenceView]
    invoice: TotalsView
    ours: TotalsView
    nameless: int  # runs of ours in doubt or written off, under an id that nobody told us


async def reconcile(desk: Desk, caller: Caller, args: ReconcileArgs) -> ReconcileView:  # noqa: ARG001
    provider = _provider_of(desk, args.provider)
    try:
        invoice = read_invoice(args.csv, Unit(args.unit) if args.unit else None)
    except NotAnInvoice as error:
        raise UsageError(f"the invoice cannot be compared: {error}") from None
    runs, nameless = await desk.kit.store.read(
        lambda tx: (tx.charged_runs(provider), tx.nameless_runs(provider))
    )
    period = invoice.period
    within = [run for run in runs if period is None or period[0] <= run.sent_us < period[1]]
    return {
        "as_of": iso(desk.now_us()),
        "provider": provider,
        "since": iso(period[0]) if period else None,
        "until": iso(period[1]) if period else None,
        "columns": dict(invoice.used_columns),
        "unused_columns": list(invoice.unused_columns),
        "bad_rows": list(invoice.bad_rows),
        "differences": [_difference_view(difference) for difference in compare(invoice, runs)],
        "invoice": _totals((line.cost_microusd, line.microcredits) for line in invoice.lines),
        "ours": _totals((run.cost_microusd, run.microcredits) for run in within),
        "nameless": nameless,
    }


def _provider_of(desk: Desk, name: str | None) -> str:
    paid = sorted(name for name, provider in desk.kit.providers.items() if provider.paid)
    if name is not None:
        if name not in desk.kit.providers:
            raise UsageError(f"no provider is called {name!r}", f"there are: {', '.join(paid) or 'none'}")
        return name
    if len(paid) != 1:
        raise UsageError(
            f"{len(paid)} paid providers are configured: say whose invoice it is", "--provider coda"
        )
    return paid[0]


def _difference_view(difference: Difference) -> DifferenceView:
    return {
        "kind": difference.kind,
        "sentence": difference.sentence,
        "provider_job_id": difference.provider_job_id,
        "job": difference.job,
        "line": difference.line,
    }


def _totals(figures: Iterable[tuple[int | None, int | None]]) -> TotalsView:
    known = list(figures)
    costs = [cost for cost, _ in known if cost is not None]
    taken = [microcredits for _, microcredits in known if microcredits is not None]
    return {
        "runs": len(known),
        "cost_usd": usd(sum(costs)) if costs else None,
        "credits": str(Credits(sum(taken))) if taken else None,
        "unknown_costs": len(known) - len(costs),
    }
