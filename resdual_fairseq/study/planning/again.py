"""Which costs `resdual-study run --costs` measures again."""

from __future__ import annotations

from typing import Dict

from ..analysis.comparisons import primary_place
from ..analysis.verdict import RATIOS, judge
from ..engine.tasks import Record, StudyFolder
from ..spec.keys import Spec
from .findings import collect
from .todo import make_plan, records_of


def inconclusive_costs(spec: Spec, study: StudyFolder) -> Dict[str, int]:
    """Measurements that leave something open, with the times of their records.

    They were made beside other work, or an arm failed, or a criterion is open at their size.
    """
    results = study.path.glob("tasks/*/result.json")
    changed = {path.parent.name: path.stat().st_mtime_ns for path in results}
    findings, records = collect(spec, study), records_of(spec, study)
    place = primary_place(findings)
    is_open = any(one.name in RATIOS and one.state is None for one in judge(findings).criteria)
    found = {}
    for name, task in make_plan(spec, records).tasks.items():
        if task.kind == "measure" and name in records:
            size = task.inputs["depth"], task.inputs["width"]
            if is_flawed(records[name]) or (is_open and size == (place.depth, place.width)):
                found[name] = changed.get(name, 0)
    return found


def is_flawed(record: Record) -> bool:
    found = record["found"]
    return bool(record["outcome"] != "completed" or found["busy"] or found["failed"])
