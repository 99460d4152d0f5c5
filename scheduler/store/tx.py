"""The transaction object that stages see: everything the protocols in `ports_store` promise."""

from __future__ import annotations

from scheduler.store.clocks import ClockRows
from scheduler.store.corrections import Corrections
from scheduler.store.edits import Edits
from scheduler.store.intake import Intake
from scheduler.store.invoices import InvoiceRows
from scheduler.store.people import People
from scheduler.store.timekeeping import TimeRows
from scheduler.store.turns import TurnRows


class StoreTx(Intake, People, Edits, Corrections, ClockRows, InvoiceRows, TimeRows, TurnRows):
    """One open transaction; it must not outlive the function it was given to."""
