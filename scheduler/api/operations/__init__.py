"""Every operation by its name on the socket: arguments are checked, the answer is a view.

The same functions serve a running daemon and a command that works on the store itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pydantic import ValidationError

from scheduler.api.desk import Args, Caller, Desk
from scheduler.api.operations import (
    approve,
    arming,
    audit,
    backends,
    budget,
    caps,
    change,
    edit,
    estimate,
    grants,
    hold,
    jobs,
    reconcile,
    refund,
    rerun,
    status,
    submit,
    why,
)
from scheduler.errors import NotFound, UsageError

Operation = Callable[[Desk, Caller, Any], Awaitable[Mapping[str, Any]]]

OPERATIONS: dict[str, tuple[type[Args], Operation]] = {
    "approve": (approve.ApproveArgs, approve.approve),
    "arm": (arming.ArmArgs, arming.arm),
    "audit": (audit.AuditArgs, audit.audit),
    "backends": (backends.BackendsArgs, backends.backends),
    "backends_resume": (backends.ResumeArgs, backends.backends_resume),
    "budget": (budget.BudgetArgs, budget.budget),
    "budget_adjust": (grants.AdjustArgs, grants.budget_adjust),
    "budget_cap": (caps.CapArgs, caps.budget_cap),
    "budget_grant": (grants.GrantArgs, grants.budget_grant),
    "budget_ledger": (budget.LedgerArgs, budget.budget_ledger),
    "budget_observe": (grants.ObserveArgs, grants.budget_observe),
    "budget_refund": (refund.RefundArgs, refund.budget_refund),
    "cancel": (change.CancelArgs, change.cancel),
    "disarm": (arming.DisarmArgs, arming.disarm),
    "edit": (edit.EditArgs, edit.edit),
    "estimate": (estimate.EstimateArgs, estimate.estimate),
    "hold": (hold.HoldArgs, hold.hold),
    "jobs": (jobs.JobsArgs, jobs.jobs),
    "reconcile": (reconcile.ReconcileArgs, reconcile.reconcile),
    "release": (hold.ReleaseArgs, hold.release),
    "rerun": (rerun.RerunArgs, rerun.rerun),
    "resolve": (change.ResolveArgs, change.resolve),
    "results": (jobs.JobArgs, jobs.results),
    "show": (jobs.JobArgs, jobs.show),
    "status": (status.StatusArgs, status.status),
    "submit": (submit.SubmitArgs, submit.submit),
    "why": (jobs.JobArgs, why.why),
}


async def answer(desk: Desk, caller: Caller, name: str, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Run one operation. Raises NotFound, UsageError and whatever the operation refuses with."""
    if name not in OPERATIONS:
        raise NotFound(f"there is no operation {name!r}", f"there are: {', '.join(OPERATIONS)}")
    model, operation = OPERATIONS[name]
    try:
        args = model.model_validate(given)
    except ValidationError as error:
        raise UsageError("; ".join(_problem(detail) for detail in error.errors(include_url=False))) from None
    return await operation(desk, caller, args)


def _problem(detail: Any) -> str:
    place = ".".join(str(part) for part in detail["loc"])
    return f"{place}: {detail['msg']}" if place else str(detail["msg"])
