"""What is left to do: the plan as it is now, against what lies in the study's folder."""

from __future__ import annotations

from typing import Dict, List, Set

from ..engine.tasks import Record, StudyFolder, Task
from ..spec.keys import Spec
from ..work import data
from .plan import Planner
from .planned import Plan, Records, failed

LIMITED = ("out of memory", "out of time", "killed")
"""Outcomes that other limits may change."""


def records_of(spec: Spec, study: StudyFolder) -> Records:
    """The results that count: without failures that limits caused which are others now.

    Nor does a calibration count that was made for budgets in another unit and has no FLOPs.
    """
    limits = spec.limits.model_dump()
    return {
        name: record
        for name, record in study.records().items()
        if (record["outcome"] not in LIMITED or record.get("limits", limits) == limits)
        and not lacks_flops(spec, record)
    }


def lacks_flops(spec: Spec, record: Record) -> bool:
    is_calibration = record["task"]["kind"] == "calibrate" and not failed(record)
    asked = is_calibration and spec.budgets.unit == "flops"
    return asked and "flops_per_update" not in record["found"]


def make_plan(spec: Spec, records: Records) -> Plan:
    """The plan as these results let it be known."""
    return Planner(spec, records, data.input_checksums(spec), data.user_dirs(spec)).expand()


def wanted(plan: Plan, study: StudyFolder, records: Records) -> List[Task]:
    """What is left to do, in order, each task after those whose output it reads.

    A task that has a result is done again only where its output is needed and is not here: it was
    computed elsewhere, or cleared away.
    """
    order: Dict[str, Task] = {}

    def want(name: str, for_output: bool) -> bool:
        """Whether the task can come to be done; adds it and what it needs."""
        task = plan.tasks[name]
        if failed(records.get(name)):
            return False
        if name in records and not (for_output and study.output(name, task.kind) is None):
            return True
        if not all(want(need, True) for need in task.needs.values()):
            return False
        order[name] = task
        return True

    for goal in plan.goals:
        if goal not in records:
            want(goal, False)
    return [task for name, task in plan.tasks.items() if name in order]


def needed(plan: Plan, spec: Spec, study: StudyFolder, records: Records) -> Set[str]:
    """The tasks whose output is read again, or would be with higher limits or further stages."""
    found = {need for task in wanted(plan, study, records) for need in task.needs.values()}
    for name in plan.tasks:
        if name in records and records[name]["outcome"] in LIMITED:
            found |= {name, *plan.tasks[name].needs.values()}
    for run in plan.runs if plan.waits_for_stage or spec.keep_checkpoints else []:
        if run.role == "judging":
            found |= set(run.train)
    return found


def is_ready(task: Task, plan: Plan, study: StudyFolder) -> bool:
    """Whether all that the task reads is on this disk."""
    needs = [plan.tasks[name] for name in task.needs.values()]
    return all(study.output(need.name, need.kind) is not None for need in needs)
