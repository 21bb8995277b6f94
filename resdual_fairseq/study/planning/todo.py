"""What is left to do: the plan as it is now, against what lies in the study's folder."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Set

from ..engine.tasks import Record, StudyFolder, Task
from ..spec.keys import Spec
from ..work import data
from .plan import Planner
from .planned import Plan, Records, failed

LIMITED = ("out of memory", "out of time", "killed")
"""Outcomes that other limits may change."""


def records_of(spec: Spec, study: StudyFolder) -> Records:
    """The results that count: without failures that limits caused of which one is higher now.

    Nor does a calibration count that was made for budgets in another unit and has no FLOPs.
    """
    limits = spec.limits.model_dump()
    return {
        name: record
        for name, record in study.records().items()
        if not (record["outcome"] in LIMITED and are_higher(limits, record.get("limits", limits)))
        and not lacks_flops(spec, record)
    }


def are_higher(limits: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Whether a limit is higher than it was, or gone, and none is lower.

    So two workers with other limits, one of whom has not seen a change, never redo each other's.
    """
    pairs = [(limits[key], before[key]) for key in limits if limits[key] != before[key]]
    return bool(pairs) and all(new is None or (old is not None and new > old) for new, old in pairs)


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


def unneeded(plan: Plan, spec: Spec, study: StudyFolder, records: Records) -> List[str]:
    """Trainings that are done and whose weights no task will read: others are at work."""
    keep = needed(plan, spec, study, records)
    done = [task for name, task in plan.tasks.items() if name in records]
    return [task.name for task in done if task.kind == "train" and task.name not in keep]


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


def in_turn(left: List[Task], plan: Plan, kinds: Optional[Set[str]] = None) -> List[Task]:
    """What to take of what is left; costs come last, size by size, when all else is done.

    Args:
        kinds: of tasks, if not all.
    """
    if kinds is not None:
        left = [task for task in left if task.kind in kinds]
    others = [task for task in left if task.kind != "measure"]
    return others if others or (plan.open and kinds is None) else left[:1]


def is_ready(task: Task, plan: Plan, study: StudyFolder) -> bool:
    """Whether all that the task reads is on this disk."""
    needs = [plan.tasks[name] for name in task.needs.values()]
    return all(study.output(need.name, need.kind) is not None for need in needs)
