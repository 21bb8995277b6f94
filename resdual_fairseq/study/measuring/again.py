"""Which costs `resdual-study run --costs` measures again."""

from __future__ import annotations

from typing import Set

from ..analysis.comparisons import primary_place
from ..analysis.verdict import RATIOS, judge
from ..engine.tasks import Record, StudyFolder
from ..planning.findings import collect
from ..planning.todo import make_plan, records_of
from ..spec.keys import Spec


def inconclusive_costs(spec: Spec, study: StudyFolder) -> Set[str]:
    """The names of measurements that leave something open.

    They were made beside other work, or an arm failed, or a criterion is open at their size.
    """
    findings, records = collect(spec, study), records_of(spec, study)
    place = primary_place(findings)
    is_open = any(one.name in RATIOS and one.state is None for one in judge(findings).criteria)
    found = set()
    for name, task in make_plan(spec, records).tasks.items():
        if task.kind == "measure" and name in records:
            size = task.inputs["depth"], task.inputs["width"]
            if is_disturbed(records[name]) or (is_open and size == (place.depth, place.width)):
                found.add(name)
    return found


def is_disturbed(record: Record) -> bool:
    found = record["found"]
    return bool(record["outcome"] != "completed" or found["busy"] or found["failed"])
