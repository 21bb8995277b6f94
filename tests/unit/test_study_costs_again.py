"""Protects `run --costs`: it measures again what decides nothing yet, and keeps the rest."""

from pathlib import Path
from typing import Any, Dict, List

import pytest
from helpers import studies
from helpers.studies import planned

from resdual_fairseq.study.engine.tasks import StudyFolder
from resdual_fairseq.study.planning.again import inconclusive_costs

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
    study.again = inconclusive_costs(spec, study)
    assert len(study.again) == again
    if again == 1:
        assert [measures[name].inputs["depth"] for name in study.again] == ["2+2"]
    plain = studies.study_of(studies.write_spec(tmp_path))[0]
    assert not inconclusive_costs(plain, study)  # whose spec asks for none


def test_one_disturbed_size_is_measured_again_alone(tmp_path: Path) -> None:
    criteria = {**studies.SPEC["criteria"], "training_cost": 0.05}
    path = studies.write_spec(tmp_path, measure=True, criteria=criteria)
    spec, study, plan = planned(path)
    measures = studies.named(plan.tasks.values(), "measure")
    for task in measures.values():
        depth = task.inputs["depth"]
        found = {**FOUND, "costs": rows(depth, [1.01, 1.0, 1.02]), "busy": depth == "1+1"}
        study.write(studies.record(task, found))
    assert [measures[name].inputs["depth"] for name in inconclusive_costs(spec, study)] == ["1+1"]


def test_an_old_measurement_stays_until_a_better_one_is_there(tmp_path: Path) -> None:
    path = studies.write_spec(tmp_path, measure=True)
    study, plan = planned(path)[1:]
    name, task = next(iter(studies.named(plan.tasks.values(), "measure").items()))

    def ask() -> None:
        result = study.folder(name) / "result.json"
        study.again = {name: result.stat().st_mtime_ns}
        assert name not in study.records()
        assert name in StudyFolder(study.path).records()  # to all others it is there

    def measured(**found: Any) -> None:
        outcome = found.pop("outcome", "completed")
        study.write(studies.record(task, {**FOUND, **found}, outcome))

    measured(busy=True, idle=[0.5], failed=[{"arm": "pre", "what": "int8"}])
    ask()
    measured(busy=True, idle=[1.0])
    assert study.records()[name]["found"]["idle"] == [1.0]
    ask()
    measured(outcome="out of memory")
    assert study.records()[name]["found"]["idle"] == [1.0]
    ask()
    measured(busy=True, idle=[1.0, 1.5])
    assert study.records()[name]["found"]["idle"] == [1.0]
    ask()
    measured(busy=True, idle=[0.5])
    assert study.records()[name]["found"]["idle"] == [0.5]
    ask()
    measured(idle=[0.01])
    assert study.records()[name]["found"]["idle"] == [0.01]
    for worse in ({"busy": True}, {"failed": [{"arm": "pre", "what": "int8"}]}):
        ask()
        measured(idle=[0.02], **worse)
        assert study.records()[name]["found"]["idle"] == [0.01]
    measured(idle=[0.03])  # nobody asked
    assert study.records()[name]["found"]["idle"] == [0.01]


def test_what_another_process_measured_again_counts_at_once(tmp_path: Path) -> None:
    path = studies.write_spec(tmp_path, measure=True)
    study, plan = planned(path)[1:]
    name, task = next(iter(studies.named(plan.tasks.values(), "measure").items()))
    study.write(studies.record(task, {**FOUND, "busy": True}))
    seen = (study.folder(name) / "result.json").stat().st_mtime_ns
    one, other = StudyFolder(study.path), StudyFolder(study.path)
    one.again, other.again = {name: seen}, {name: seen}
    one.write(studies.record(task, {**FOUND, "idle": [0.01]}))
    assert other.records()[name]["found"]["idle"] == [0.01]
    other.write(studies.record(task, {**FOUND, "idle": [0.02]}))
    assert other.records()[name]["found"]["idle"] == [0.01]
