"""Protects leases: no task twice, a silent worker taken over, a lost lease keeps nothing."""

import os
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import List

import pytest
from filelock import SoftFileLease
from helpers import studies
from helpers.studies import ONE_DEPTH

from resdual_fairseq.errors import ResDualError
from resdual_fairseq.study.engine.attempt import Attempt
from resdual_fairseq.study.engine.attempts import (
    next_run_folder,
    note_attempt,
)
from resdual_fairseq.study.engine.leases import Leases
from resdual_fairseq.study.engine.outcomes import Ending
from resdual_fairseq.study.planning import todo
from resdual_fairseq.study.worker import Worker

pytestmark = pytest.mark.slow


def test_a_worker_that_lost_its_lease_stops_and_keeps_nothing(tmp_path: Path) -> None:
    path = studies.write_spec(tmp_path, **ONE_DEPTH)
    study = studies.study_of(path)[1]
    lost = []

    def train(attempt: Attempt) -> object:
        (attempt.folder / "lease").unlink()
        deadline = time.monotonic() + 300
        while not attempt.is_lost():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        lost.append(attempt.task.name)
        if len(lost) > 1:
            raise KeyboardInterrupt
        return Ending("killed", "another worker took the task over"), {}

    with pytest.raises(KeyboardInterrupt):
        studies.work(path, lease=0.5, train=train)
    assert lost[0] == lost[1] and lost[0] not in study.records()


def test_a_silent_worker_of_another_host_is_taken_over_in_a_copy(tmp_path: Path) -> None:
    path = studies.write_spec(tmp_path, **ONE_DEPTH)
    study = studies.study_of(path)[1]
    studies.work(path)
    name = next(n for n, one in study.records().items() if one["task"]["kind"] == "calibrate")
    folder = study.folder(name)
    (folder / "result.json").unlink()
    (folder / "attempts.jsonl").write_text(
        '{"id": "a", "host": "other", "pid": 1, "folder": "run"}\n'
    )
    (folder / "run" / "kept").write_text("by the other")
    studies.work(path)
    assert study.records()[name]["outcome"] == "completed"
    assert (folder / "run-2" / "kept").read_text() == "by the other"


def test_a_worker_that_was_stopped_here_is_taken_over_in_a_copy(tmp_path: Path) -> None:
    """Its child goes on in the first folder."""
    folder, alive = tmp_path / "task", {"id": "a", "host": "here", "pid": os.getpid()}
    (folder / "run").mkdir(parents=True)
    note_attempt(folder, {**alive, "folder": "run"})
    assert next_run_folder(folder, "here").name == "run-2"
    note_attempt(folder, {"id": "a", "ended": "now"})
    assert next_run_folder(folder, "here").name == "run"


def test_a_worker_that_another_took_over_from_keeps_nothing_when_its_child_ends(
    tmp_path: Path,
) -> None:
    """It was stopped meanwhile, and does not know yet that its lease is lost."""
    path = studies.write_spec(tmp_path, **ONE_DEPTH)
    study = studies.study_of(path)[1]
    taken: List[str] = []

    def train(attempt: Attempt) -> object:
        if not taken:
            taken.append(attempt.task.name)
            note_attempt(attempt.folder, {"id": "b", "host": "other", "pid": 1, "folder": "run-2"})
            (attempt.folder / "run-2").mkdir()
            return Ending("completed"), {"valid_loss": -1.0, "valid": [], "seconds_in_all": 1.0}
        assert attempt.task.name != taken[0] or attempt.run.name != "run"
        return studies.train(attempt)

    studies.work(path, train=train)
    record = study.records()[taken[0]]
    assert record["found"]["valid_loss"] > 0
    assert record["attempts"] == ["killed", "killed", "completed"]


def test_a_task_that_another_holds_is_left_alone(tmp_path: Path) -> None:
    path = studies.write_spec(tmp_path, **ONE_DEPTH)
    spec, study = studies.study_of(path)
    plan = todo.make_plan(spec, {})
    held = next(iter(plan.tasks.values()))
    study.begin(held)
    with SoftFileLease(study.folder(held.name) / "lease", lease_duration=60.0):
        process = studies.start(path, lease=60.0)
        others = set(plan.tasks) - {held.name}
        deadline = time.monotonic() + 300
        while set(study.records()) < others:
            assert process.is_alive() and time.monotonic() < deadline
            time.sleep(0.05)
        assert process.is_alive() and set(study.records()) == others
    process.join(300)
    assert held.name in study.records()


def test_a_full_disk_is_no_other_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No lease of a dead worker can be taken over on it."""
    path = studies.write_spec(tmp_path, **ONE_DEPTH)
    spec, study = studies.study_of(path)
    monkeypatch.setattr(Leases, "acquire", lambda leases, place: None)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(total=1, free=0))
    study.path.mkdir()
    with pytest.raises(ResDualError, match=r"the disk of .* is full; make room"):
        Worker(spec, study).work()


def test_a_lease_without_a_name_is_removed_in_time(tmp_path: Path) -> None:
    """Its writer was killed between making the file and writing into it."""
    path = studies.write_spec(tmp_path, **ONE_DEPTH)
    spec, study = studies.study_of(path)
    held = study.folder(next(iter(todo.make_plan(spec, {}).tasks)))
    held.mkdir(parents=True)
    (held / "lease").touch()
    studies.work(path, lease=0.5)
    assert held.name in study.records()


def test_a_dead_worker_is_taken_over_where_names_cannot_be_exchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on NFS, where filelock tells its lease as one that is held."""
    monkeypatch.setattr("filelock._soft.exchange_names", lambda *names: False)
    path = studies.write_spec(tmp_path, **ONE_DEPTH)
    spec, study = studies.study_of(path)
    held = study.folder(next(iter(todo.make_plan(spec, {}).tasks)))
    held.mkdir(parents=True)

    def hold() -> None:
        lease = SoftFileLease(held / "lease", lease_duration=0.5)
        lease.acquire()
        os.kill(os.getpid(), signal.SIGKILL)

    holder = studies.context.Process(target=hold)
    holder.start()
    holder.join(60)
    assert holder.exitcode == -signal.SIGKILL and (held / "lease").stat().st_size
    assert Leases(0.5).acquire(held / "lease") is None
    studies.work(path, lease=0.5)
    assert held.name in study.records()
    assert not list(held.glob("lease*"))
