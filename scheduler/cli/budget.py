"""`nightshot budget`: what may be spent, what was, and what changes it, each time with a reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import click

from scheduler.cli.change import echo_changed
from scheduler.cli.common import Where, echo_json, output_options, pass_where
from scheduler.cli.render import bar, dollars, local_time, paint, plain, table, zone_named

if TYPE_CHECKING:
    from datetime import tzinfo

    from scheduler.core.views import BudgetView, CapView, CapWindowView, CreditsView, GrantView, TxnView

reason_option = click.option("--reason", required=True, metavar="TEXT", help="Why, for the record.")

#: -5 is an amount, not an option: what it means, or that it means nothing here, is said by name.
NEGATIVE_TOO = {"ignore_unknown_options": True}


@click.group(invoke_without_command=True)
@output_options
@click.pass_context
def budget(ctx: click.Context, as_json: bool, quiet: bool) -> None:
    """Show caps and credits; the subcommands change them.

    Of each cap: its limit, what is spent, what is reserved for jobs under way, and what is left.
    Credits stand beside dollars and are never converted.
    """
    if ctx.invoked_subcommand is not None:
        return
    view = ctx.ensure_object(Where).ask("budget")
    if as_json:
        echo_json(view)
        return
    for line in budget_lines(cast("BudgetView", view), short=quiet):
        click.echo(line)


@budget.command("grant", context_settings=NEGATIVE_TOO)
@click.argument("credits_", metavar="CREDITS")
@click.option("--provider", required=True, metavar="NAME", help="Whose credits they are, like coda.")
@click.option("--priority", type=int, default=0, metavar="N", help="Higher is used up earlier. Default 0.")
@click.option("--starts", metavar="DATE", help="Not to be used before. Default: now.")
@click.option("--expires", metavar="DATE", help="The last day to use them, or an instant with its zone.")
@click.option("--user", "users", multiple=True, metavar="NAME", help="Only for this user; may be repeated.")
@click.option("--project", "projects", multiple=True, metavar="NAME", help="Only for this project.")
@click.option("--backend", "backends", multiple=True, metavar="NAME", help="Only for this backend.")
@click.option("--label", default="", metavar="TEXT", help="What to call them in lists.")
@reason_option
@output_options
@pass_where
def grant(
    where: Where,
    credits_: str,
    provider: str,
    priority: int,
    starts: str | None,
    expires: str | None,
    users: tuple[str, ...],
    projects: tuple[str, ...],
    backends: tuple[str, ...],
    label: str,
    reason: str,
    as_json: bool,
    quiet: bool,
) -> int:
    """Record credits that you have with a provider.

    Until there is a grant the balance is unknown: jobs are sent, and the provider refuses what it will not
    give. With one, a job waits here when too few are free for it.
    """
    args = {
        "credits": credits_,
        "provider": provider,
        "priority": priority,
        "starts": starts,
        "expires": expires,
        "users": list(users),
        "projects": list(projects),
        "backends": list(backends),
        "label": label,
        "reason": reason,
    }
    return echo_changed(where.ask("budget_grant", args), as_json, quiet)


@budget.command("cap", context_settings=NEGATIVE_TOO)
@click.argument("name", metavar="NAME")
@click.argument("limit", metavar="LIMIT")
@click.option("--tonight", is_flag=True, help="Only for the night that is on.")
@click.option("--window", metavar="KEY", help="Only for one window, as 'nightshot budget' names it.")
@reason_option
@output_options
@pass_where
def cap(
    where: Where,
    name: str,
    limit: str,
    tonight: bool,
    window: str | None,
    reason: str,
    as_json: bool,
    quiet: bool,
) -> int:
    """Raise or lower a cap's limit.

    LIMIT is dollars for cost and overage (50.00), otherwise a number; 'unlimited' is no limit and 0 is
    nothing. What is spent or reserved already stays, also when it is more. The cap 'night' is the one that
    arming sets.
    """
    args = {"name": name, "limit": limit, "tonight": tonight, "window": window, "reason": reason}
    return echo_changed(where.ask("budget_cap", args), as_json, quiet)


@budget.command("adjust", context_settings=NEGATIVE_TOO)
@click.argument("credits_", metavar="CREDITS")
@click.option("--grant", "number", type=int, required=True, metavar="N", help="The grant to correct.")
@reason_option
@output_options
@pass_where
def adjust(where: Where, credits_: str, number: int, reason: str, as_json: bool, quiet: bool) -> int:
    """Correct a grant by so many credits, like 5 or -3.5.

    The other side of the booking is what is unexplained, so a difference that was observed disappears when
    somebody has explained it.
    """
    args = {"credits": credits_, "grant": number, "reason": reason}
    return echo_changed(where.ask("budget_adjust", args), as_json, quiet)


@budget.command("refund", context_settings=NEGATIVE_TOO)
@click.argument("job", metavar="JOB")
@click.argument("amount", required=False, metavar="AMOUNT")
@click.option("--all", "everything", is_flag=True, help="Everything it was charged.")
@reason_option
@output_options
@pass_where
def refund(
    where: Where, job: str, amount: str | None, everything: bool, reason: str, as_json: bool, quiet: bool
) -> int:
    """Book what the provider gave back for a job.

    AMOUNT is dollars (1.30) or credits ('2 credits'). It comes off the caps of the time when the job ran;
    shots and runs stay counted, because they happened.
    """
    if everything == (amount is not None):
        raise click.UsageError("name an AMOUNT or --all, one of the two")
    args = {"job": job, "amount": amount, "reason": reason}
    return echo_changed(where.ask("budget_refund", args), as_json, quiet)


@budget.command("observe", context_settings=NEGATIVE_TOO)
@click.argument("credits_", metavar="CREDITS")
@click.option("--provider", required=True, metavar="NAME", help="Where the balance was read, like coda.")
@reason_option
@output_options
@pass_where
def observe(where: Where, credits_: str, provider: str, reason: str, as_json: bool, quiet: bool) -> int:
    """Tell the balance that you read at the provider.

    What the books do not explain is booked as unexplained; more of it than credits.unexplained_limit stops
    submission there until somebody has looked.
    """
    args = {"credits": credits_, "provider": provider, "reason": reason}
    return echo_changed(where.ask("budget_observe", args), as_json, quiet)


@budget.command("ledger")
@click.option("--account", metavar="NAME", help="Only what moved this account, like grant:1 or spent:coda.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, metavar="N")
@click.option("--after", type=int, metavar="CURSOR", help="Continue where the last page ended.")
@output_options
@pass_where
def ledger(
    where: Where, account: str | None, limit: int, after: int | None, as_json: bool, quiet: bool
) -> None:
    """List what was booked, the latest first."""
    args: dict[str, Any] = {"account": account, "limit": limit, "after": after}
    view = where.ask("budget_ledger", {name: value for name, value in args.items() if value is not None})
    if as_json:
        return echo_json(view)
    if quiet:
        for txn in view["transactions"]:
            click.echo(str(txn["transaction"]))
        return None
    for line in ledger_lines(view["transactions"]):
        click.echo(line)
    if view["next"] is not None:
        import shlex

        only = ["--account", account] if account else []
        command = [
            "nightshot",
            "budget",
            "ledger",
            *only,
            "--limit",
            str(limit),
            "--after",
            str(view["next"]),
        ]
        click.echo(f"More: {shlex.join(command)}")
    return None


# ------------------------------------------------------------------------------------------------ lines


def budget_lines(view: BudgetView, *, short: bool = False) -> list[str]:
    zone = zone_named(view["timezone"])
    lines = [] if short else [f"Budget at {local_time(view['as_of'], zone)}"]
    for cap_ in view["caps"]:
        lines += _cap_lines(cap_, view, zone)
    for credits_ in view["credits"]:
        lines += _credits_lines(credits_, zone)
    lines += [paint(f"  ! {plain(alarm)}", fg="yellow") for alarm in view["alarms"]]
    return lines


def _cap_lines(cap_: CapView, view: BudgetView, zone: tzinfo | None) -> list[str]:
    whose = {"everyone": "everyone together", "job": "each job"}.get(cap_["scope"], f"each {cap_['scope']}")
    if cap_["of"] is not None:
        whose = f"{cap_['scope']} {plain(cap_['of'])}"
    each = "in total" if cap_["period"] == "total" else f"a {cap_['period']}"
    name = plain(cap_["name"])
    if cap_["name"] == "night" and view["armed"] is None:
        return [f"{name}  not armed: nothing paid is sent (nightshot arm --night 50.00)"]
    lines = [f"{name}  {_amount(cap_['limit'], cap_['unit'])} of {cap_['measure']} {each}, {whose}"]
    lines += [f"  {line}" for window in cap_["windows"] for line in _window_lines(window, cap_, zone)]
    if cap_["more"]:
        lines.append("  … and older windows: nightshot budget ledger")
    return lines


def _window_lines(window: CapWindowView, cap_: CapView, zone: tzinfo | None) -> list[str]:
    unit = cap_["unit"]
    used = float(window["spent"]) + float(window["reserved"])
    drawn = "" if window["limit"] is None else f"{bar(used, float(window['limit']))} "
    left = "no limit" if window["left"] is None else f"{_amount(window['left'], unit)} left"
    doubt = f" (in doubt {_amount(window['in_doubt'], unit)})" if float(window["in_doubt"]) else ""
    resets = f", new at {local_time(window['resets_at'], zone)}" if window["resets_at"] else ""
    of = "" if window["limit"] == cap_["limit"] else f" of {_amount(window['limit'], unit)}"
    return [
        f"{drawn}spent {_amount(window['spent'], unit)} + reserved {_amount(window['reserved'], unit)}{doubt}"
        f"{of}, {left}{resets}",
        f"  {plain(window['key'])}",
    ]


def _credits_lines(view: CreditsView, zone: tzinfo | None) -> list[str]:
    name = plain(view["provider"])
    if view["free"] is None:
        add = f"nightshot budget grant CREDITS --provider {name} --reason '…'"
        lines = [f"credits of {name}  unknown, no grant is recorded ({add})"]
    else:
        lines = [f"credits of {name}  {view['free']} free, {view['reserved']} reserved"]
    lines[0] += f", {view['spent']} spent, overage {dollars(view['overage_usd'])}"
    lines += [f"  {_grant_line(grant_, zone)}" for grant_ in view["grants"]]
    if view["unplanned"] != "0":
        lines.append(f"  {view['unplanned']} taken beyond every grant")
    if view["unexplained"] != "0":
        lines.append(f"  {view['unexplained']} unexplained")
    return lines


def _grant_line(view: GrantView, zone: tzinfo | None) -> str:
    limits = [*view["users"], *view["projects"], *view["backends"]]
    parts = [
        f"grant {view['grant']}",
        plain(view["label"]),
        f"{view['free']} of {view['amount']} free",
        f"{view['reserved']} reserved" if view["reserved"] != "0" else "",
        view["state"] if view["state"] != "active" else "",
        f"from {_date(view['effective_at'], zone)}" if view["state"] == "not yet" else "",
        f"until {_date(view['expires_at'], zone)}" if view["expires_at"] else "",
        f"only for {plain(', '.join(limits))}" if limits else "",
    ]
    return ", ".join(part for part in parts if part)


def _date(iso: str, zone: tzinfo | None) -> str:
    """Grants live for years: the year is told as well."""
    from datetime import datetime

    return datetime.fromisoformat(iso).astimezone(zone).strftime("%d %b %Y %H:%M %Z").removeprefix("0")


def _amount(text: str | None, unit: str) -> str:
    if text is None:
        return "unlimited"
    return dollars(text) if unit == "USD" else f"{text} {unit}"


def ledger_lines(rows: list[TxnView]) -> list[str]:
    if not rows:
        return ["Nothing is booked yet."]
    cells = []
    for txn in rows:
        for index, entry in enumerate(txn["entries"]):
            first = index == 0
            cells.append(
                (
                    str(txn["transaction"]) if first else "",
                    local_time(txn["at"]) if first else "",
                    txn["kind"].replace("_", " ") if first else "",
                    (txn["job"] or "") if first else "",
                    entry["account"],
                    f"{entry['amount']} {entry['unit']}",
                    txn["by"] if first else "",
                    txn["reason"] if first else "",
                )
            )
    headers = ("TXN", "WHEN", "KIND", "JOB", "ACCOUNT", "AMOUNT", "BY", "REASON")
    return table(headers, cells, right=("TXN", "AMOUNT"))
