"""The plan as a report shows it: with what is done where workers wait for calibration or tuning."""

from __future__ import annotations

from typing import Any, Tuple

from ..analysis.table import Cell
from ..spec.keys import Spec
from ..work import data
from .plan import Planner
from .planned import Plan, PlannedRun, Records, outcome
from .search import Needs
from .todo import make_plan


def plan_so_far(spec: Spec, records: Records) -> Plan:
    """The plan, and further runs: those that are sure to come, and those that have begun.

    A new arm makes the others wait at its sizes, since their grid may grow with it, and a new value
    makes all wait. What was judged before stays in sight, at the best values that are known.
    """
    plan = make_plan(spec, records)
    if not plan.open:
        return plan
    sure, early = early_plan(spec, records, "own trials"), early_plan(spec, records, "any trial")
    stages = spec.stages
    may_stop = any(one.stop_below is not None for one in (stages.depth, stages.curves))
    shown = {
        row: run for row, run in early.rows.items()
        if (row in sure.rows and not (run.role == "judging" and may_stop))
        or has_begun(run, records)
    }  # fmt: skip
    others = {beside(run) for run in shown.values() if run.updates > 0 and has_begun(run, records)}
    for row, run in shown.items():
        # A model that cannot run is judged where another one is.
        if run.updates > 0 or run.role == "tuning" or beside(run) in others:
            plan.rows.setdefault(row, run)
    plan.tasks = {**plan.tasks, **early.tasks}
    plan.untrained = early.untrained
    plan.untuned = [
        Cell(*model, fraction=1.0)
        for model, calibration in plan.calibrations.items()
        if calibration not in records or is_open(Cell(*model, fraction=1.0), plan, records)
    ]
    return plan


def early_plan(spec: Spec, records: Records, needs: Needs) -> Plan:
    inputs, user_dirs = data.input_checksums(spec), data.user_dirs(spec)
    return Planner(spec, records, inputs, user_dirs, needs).expand()


def beside(run: PlannedRun) -> Tuple[Any, ...]:
    """What runs of all arms share that are compared."""
    return run.cell._replace(arm=""), run.role, run.seed, run.budget


def has_begun(run: PlannedRun, records: Records) -> bool:
    """Whether a task that is this run's alone is done, or it failed; trunks are shared."""
    return run.train[-1] in records or outcome(run, records) is not None


def is_open(cell: Cell, plan: Plan, records: Records) -> bool:
    """Whether a value is still to be tried, or was killed from outside."""
    for run in plan.runs:
        if run.cell == cell and run.role == "tuning":
            record = outcome(run, records)
            if record is None or record["outcome"] == "killed":
                return True
    return False
