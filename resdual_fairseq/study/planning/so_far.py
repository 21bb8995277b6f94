"""The plan as a report shows it: with what is done where workers wait for calibration or tuning."""

from __future__ import annotations

from ..analysis.table import Cell
from ..spec.keys import Spec
from ..work import data
from .plan import Planner
from .planned import Plan, PlannedRun, Records, outcome
from .todo import make_plan


def plan_so_far(spec: Spec, records: Records) -> Plan:
    """The plan, and every further run that has begun at the best values that are known so far.

    A new arm makes the others wait at its sizes, since their grid may grow with it. What they
    found before stays in sight.
    """
    plan = make_plan(spec, records)
    if not plan.open:
        return plan
    inputs, user_dirs = data.input_checksums(spec), data.user_dirs(spec)
    early = Planner(spec, records, inputs, user_dirs, so_far=True).expand()
    begun = {row: run for row, run in early.rows.items() if has_begun(run, records)}
    plan.rows = {**plan.rows, **{row: run for row, run in begun.items() if row not in plan.rows}}
    plan.tasks = {**plan.tasks, **early.tasks}
    plan.untrained = early.untrained
    plan.untuned = [
        Cell(*model, fraction=1.0)
        for model, calibration in plan.calibrations.items()
        if calibration not in records or is_open(Cell(*model, fraction=1.0), plan, early, records)
    ]
    return plan


def has_begun(run: PlannedRun, records: Records) -> bool:
    return any(name in records for name in (*run.train, run.last))


def is_open(cell: Cell, plan: Plan, early: Plan, records: Records) -> bool:
    """Whether a value is still to be tried, or was killed from outside."""
    for run in (*plan.runs, *early.runs):
        if run.cell == cell and run.role == "tuning":
            record = outcome(run, records)
            if record is None or record["outcome"] == "killed":
                return True
    return False
