"""Protects records: they travel between machines, and those that cannot be used are named."""

import json
from pathlib import Path
from typing import List

import pytest
from helpers import studies
from helpers.studies import ONE_DEPTH

from resdual_fairseq.errors import ResDualError
from resdual_fairseq.files import write_json
from resdual_fairseq.study import records
from resdual_fairseq.study.engine.tasks import StudyFolder, Task, read_record, sealed
from resdual_fairseq.study.planning.findings import collect

pytestmark = pytest.mark.slow


def test_records_travel_between_machines(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir(), there.mkdir()
    studies.work(studies.write_spec(here))
    study = studies.study_of(here / "study.yaml")[1]
    count = records.export_records(study, tmp_path / "records")
    path = studies.write_spec(there)
    other = studies.study_of(path)[1]
    assert records.import_records(other, tmp_path / "records", False) == count
    assert records.import_records(other, tmp_path / "records", False) == 0
    begun: List[str] = []
    studies.work(path, train=lambda attempt: begun.append(attempt.task.name))
    assert begun == [] and studies.results(path) == studies.results(here / "study.yaml")
    assert (
        collect(*studies.study_of(path)).runs
        == collect(*studies.study_of(here / "study.yaml")).runs
    )


def test_records_that_cannot_be_used_are_named_and_none_is_taken(tmp_path: Path) -> None:
    studies.work(studies.write_spec(tmp_path, depths=[2]))
    study = studies.study_of(tmp_path / "study.yaml")[1]
    folder = tmp_path / "records"
    with pytest.raises(ResDualError, match="no folder"):
        records.import_records(study, folder, False)
    folder.mkdir()
    with pytest.raises(ResDualError, match="holds no records"):
        records.import_records(study, folder, False)
    records.export_records(study, folder)
    (folder / "notes.json").write_text("no record")
    damaged = sorted(folder.glob("[0-9a-f]*.json"))[-1]
    damaged.write_text(json.dumps({**json.loads(damaged.read_text()), "outcome": "diverged"}))
    fresh = StudyFolder(tmp_path / "fresh")
    with pytest.raises(ResDualError, match=str(damaged)):
        records.import_records(fresh, folder, False)
    assert fresh.records() == {}


def test_a_sealed_record_without_all_of_its_keys_is_refused(tmp_path: Path) -> None:
    task = Task("train", label="a")
    record = studies.record(task, {"valid_loss": 3.0})
    path = tmp_path / "record.json"
    path.write_text(json.dumps(sealed(record)))
    assert read_record(path, task.name)["found"]
    del record["found"]
    path.write_text(json.dumps(sealed(record)))
    with pytest.raises(ResDualError, match="it is not whole, or of another task"):
        read_record(path, task.name)


def test_a_result_from_elsewhere_takes_the_place_of_a_failure(tmp_path: Path) -> None:
    path = studies.write_spec(tmp_path, **ONE_DEPTH)
    studies.work(path)
    study, there = studies.study_of(path)[1], tmp_path / "records"
    records.export_records(study, there)
    failed = next(one for one in study.records().values() if one["task"]["kind"] == "train")
    name = Task(**failed["task"]).name
    write_json(
        study.folder(name) / "result.json", sealed({**failed, "outcome": "killed", "found": {}})
    )
    assert records.import_records(study, there, with_costs=False) == 1
    assert study.records()[name]["outcome"] == "completed"
    assert records.import_records(study, there, with_costs=False) == 0
    diverged = {**failed, "outcome": "diverged", "found": {}}
    write_json(study.folder(name) / "result.json", sealed(diverged))
    assert records.import_records(study, there, with_costs=False) == 0


def test_what_was_killed_elsewhere_is_tried_here(tmp_path: Path) -> None:
    study, there, task = StudyFolder(tmp_path / "study"), tmp_path / "there", Task("train")
    there.mkdir()
    record = studies.record(task, {}, outcome="killed")
    write_json(there / f"{task.name}.json", sealed(record))
    assert records.import_records(study, there, with_costs=False) == 0


@pytest.mark.parametrize("damage", ["cut", "edited", "moved", "format"])
def test_damaged_results_are_named(tmp_path: Path, damage: str) -> None:
    path = studies.write_spec(tmp_path, **ONE_DEPTH)
    studies.work(path)
    study = studies.study_of(path)[1]
    one, other = sorted(study.path.glob("tasks/*/result.json"))[:2]
    text = one.read_text()
    if damage == "cut":
        one.write_text(text[: len(text) // 2])
    elif damage == "edited":
        one.write_text(text.replace('"completed"', '"crashed"'))
    elif damage == "moved":
        one.write_text(other.read_text())
    else:
        record = study.records()[one.parent.name]
        record["format"] = 99
        write_json(one, sealed(record))
    with pytest.raises(ResDualError) as error:
        studies.work(path)
    sentence = str(error.value)
    assert str(one) in sentence and "\n" not in sentence
    assert ("format 99" in sentence) == (damage == "format")
    one.write_text(text)
    studies.work(path)
