"""Protects shares of the data: nested, alike for all arms, read by every command of a run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fairseq.data import indexed_dataset
from helpers import studies
from helpers.commands import preprocess, write_reversals
from helpers.studies import with_records

from resdual_fairseq.study.engine.tasks import Task
from resdual_fairseq.study.planning import repeating
from resdual_fairseq.study.planning.findings import collect
from resdual_fairseq.study.planning.todo import make_plan
from resdual_fairseq.study.work import data


@pytest.mark.slow
def test_commands_read_the_share_of_the_data_that_a_run_had(tmp_path: Path) -> None:
    data = {**studies.SPEC["data"], "fractions": [0.5, 1.0]}
    path = studies.write_spec(tmp_path, depths=[2], data=data)

    def subset(attempt: Any) -> Any:
        (attempt.run / "data").mkdir()
        return studies.Ending("completed"), {}

    studies.work(path, subset=subset)
    spec, study = studies.study_of(path)
    (share,) = studies.named(make_plan(spec, study.records()).tasks.values(), "subset")
    assert "STUDY=FOLDER_OF_THIS_STUDY" in repeating.settings(spec)
    for run in collect(spec, study).runs:
        (*_, train, test) = [line for line in run.commands if "fairseq-" in line]
        read = f'"$STUDY"/tasks/{share}/run/data' if run.cell.fraction < 1 else '"$DATA"'
        assert train.startswith(f"fairseq-train {read} ") or run.role == "tuning"
        assert test.startswith('fairseq-generate "$DATA" ') or run.role == "tuning"


@pytest.mark.slow
def test_shares_of_the_data_are_nested_and_equal_for_all_arms(tmp_path: Path) -> None:
    parts = [set(data.shares(1000, share)) for share in (0.1, 0.25, 0.5, 1.0)]
    assert [len(one) for one in parts] == [100, 250, 500, 1000]
    assert all(a < b for a, b in zip(parts, parts[1:]))
    path = studies.write_spec(tmp_path, data={**studies.SPEC["data"], "fractions": [0.5, 1.0]})
    plan = make_plan(*with_records(path))
    assert [task.kind for task in plan.tasks.values()].count("subset") == 0
    studies.work(path, subset=lambda attempt: made_subset(attempt))
    plan = make_plan(*with_records(path))
    (subset,) = [name for name, task in plan.tasks.items() if task.kind == "subset"]
    users = [run for run in plan.runs if run.cell.fraction == 0.5]
    assert {run.cell.arm for run in users} == {"pre", "resdual"}
    assert all(plan.tasks[name].needs["data"] == subset for run in users for name in run.train)


def made_subset(attempt: Any) -> Any:
    (attempt.run / "data").mkdir()
    return studies.Ending("completed"), {}


@pytest.mark.slow
def test_a_share_of_a_real_data_bin(tmp_path: Path) -> None:
    write_reversals(tmp_path)
    preprocess(tmp_path / "data-bin", tmp_path)
    path = studies.write_spec(tmp_path / ".", data={**studies.SPEC["data"], "fractions": [0.2, 1]})
    spec, study = studies.study_of(path)
    task = Task("subset", inputs={"fraction": 0.2})
    attempt = studies.Attempt(task, spec, study, tmp_path / "run", lambda: False)
    attempt.run.mkdir()
    data.subset(attempt)
    sides = []
    for language in ("src", "tgt"):
        name = f"train.src-tgt.{language}"
        whole, part = (
            indexed_dataset.make_dataset(str(folder / name), impl="mmap")
            for folder in (tmp_path / "data-bin", attempt.run / "data")
        )
        chosen = data.shares(len(whole), 0.2)
        assert len(part) == len(chosen)
        assert all(np.array_equal(part[i], whole[int(j)]) for i, j in enumerate(chosen))
        sides.append(part)
    assert [line.tolist()[:-1] for line in sides[0]] == [line.tolist()[-2::-1] for line in sides[1]]
