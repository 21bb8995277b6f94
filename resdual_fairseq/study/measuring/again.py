"""Which costs `resdual-study run --costs` measures again."""

from __future__ import annotations

from ..analysis.comparisons import primary_place
from ..analysis.verdict import RATIOS, judge
from ..engine.tasks import Record, StudyFolder
from ..planning.findings import collect
from ..spec.keys import Spec


def forget_inconclusive(spec: Spec, study: StudyFolder) -> int:
    """Let costs be measured again that are open at some size; returns at how many sizes.

    They were measured beside other work, or an arm failed, or a criterion is still open there.
    """
    findings = collect(spec, study)
    place = primary_place(findings)
    is_open = any(
        one.name in RATIOS and one.state is None and one.measured is not None
        for one in judge(findings).criteria
    )
    again = 0
    for name, record in study.records().items():
        if record["task"]["kind"] != "measure":
            continue
        inputs = record["task"]["inputs"]
        is_primary = (inputs["depth"], inputs["width"]) == (place.depth, place.width)
        if is_inconclusive(record) or (is_open and is_primary):
            (study.folder(name) / "result.json").unlink()
            again += 1
    return again


def is_inconclusive(record: Record) -> bool:
    found = record["found"]
    return bool(record["outcome"] != "completed" or found["busy"] or found["failed"])
