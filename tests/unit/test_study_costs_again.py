"""Protects `run --costs`: it measures again what decides nothing yet, and keeps the rest."""

from pathlib import Path
from typing import Any, Dict, List

import pytest
from helpers import studies
from helpers.studies import planned

from resdual_fairseq.study.measuring.again import forget_inconclusive

NAMES = ("step_seconds", "latency_p50", "memory_gib")
FOUND: Dict[str, Any] = {
    "costs": [], "failed": [], "idle": [0.0], "busy": False, "energy_is_measured": False,
}  # fmt: skip


def rows(depth: str, interval: List[float]) -> List[Dict[str, Any]]:
    size = {"depth": depth, "width": 32, "values": {}}
    return [{"arm": "resdual", **size, "ratios": {name: interval for name in NAMES}}]


@pytest.mark.parametrize(
    ("changes", "again"),
    [
        ({}, 0),
        ({"busy": True}, 2),
        ({"failed": [{"arm": "pre", "depth": "2", "detail": "out of memory"}]}, 2),
        ({"interval": [1.05, 1.04, 1.06]}, 1),  # includes the limit, at the judged depth
    ],
)
def test_costs_that_decide_nothing_are_measured_again(
    tmp_path: Path, changes: Dict[str, Any], again: int
) -> None:
    criteria = {**studies.SPEC["criteria"], "training_cost": 0.05}
    path = studies.write_spec(tmp_path, measure=True, criteria=criteria)
    spec, study, plan = planned(path)
    measures = studies.named(plan.tasks.values(), "measure")
    assert len(measures) == 2
    given = {"interval": [1.01, 1.0, 1.02], **changes}
    interval = given.pop("interval")
    for task in measures.values():
        found = {**FOUND, "costs": rows(task.inputs["depth"], interval), **given}
        study.write(studies.record(task, found))
    assert forget_inconclusive(spec, study) == again
    kept = studies.named(
        [task for task in measures.values() if task.name in study.records()], "measure"
    )
    assert len(kept) == 2 - again
    if again == 1:
        assert [task.inputs["depth"] for task in kept.values()] == ["1+1"]
