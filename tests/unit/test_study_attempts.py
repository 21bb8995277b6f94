"""Protects attempts: what goes on from a checkpoint, is tried again, fails, and its cost."""

import os
import signal
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import List
from unittest import mock

import pytest
import torch
from helpers import studies
from helpers.studies import ONE_DEPTH

from resdual_fairseq.errors import ResDualError
from resdual_fairseq.study.engine.attempt import Attempt
from resdual_fairseq.study.engine.attempts import (
    attempts,
    note_attempt,
    note_end_of_killed,
)
from resdual_fairseq.study.engine.outcomes import Ending
from resdual_fairseq.study.engine.processes import Exit
from resdual_fairseq.study.engine.tasks import StudyFolder, Task
from resdual_fairseq.study.measuring import costs
from resdual_fairseq.study.planning import todo
from resdual_fairseq.study.work import training

pytestmark = pytest.mark.slow


def test_a_killed_run_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    path = studies.write_spec(tmp_path, budgets={"unit": "updates", "values": [20000]}, **ONE_DEPTH)
    process = studies.start(path, train=studies.train_slowly)
    study = studies.study_of(path)[1]
    deadline = time.monotonic() + 300
    while not list(study.path.glob("tasks/*/run/checkpoint_last.pt")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    (kept,) = study.path.glob("tasks/*/run/checkpoint_last.pt")
    before = kept.read_text()
    seen = []

    def train(attempt: Attempt) -> object:
        own = attempt.run / "checkpoint_last.pt"
        seen.append((attempt.number, own.read_text() if own.exists() else ""))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        studies.work(path, train=train)
    assert seen == [(2, before)]


def test_a_failure_from_outside_is_tried_again_and_then_kept(tmp_path: Path) -> None:
    path = studies.write_spec(tmp_path, limits={"retries": 2}, **ONE_DEPTH)
    study = studies.study_of(path)[1]

    def train(attempt: Attempt) -> object:
        return Ending("killed", "ended by signal 9 from outside"), {}

    studies.work(path, train=train)
    ended = [one for one in study.records().values() if one["task"]["kind"] == "train"]
    assert {one["outcome"] for one in ended} == {"killed"}
    assert {len(one["attempts"]) for one in ended} == {3}


def test_a_test_that_crashes_is_no_result_and_its_model_is_kept(tmp_path: Path) -> None:
    path = studies.write_spec(tmp_path, **ONE_DEPTH)

    def evaluate(attempt: Attempt) -> object:
        return Ending("crashed", "unrecognized arguments: --beem 1"), {}

    with pytest.raises(ResDualError, match="test at update 40 failed, and its model is kept: unre"):
        studies.work(path, evaluate=evaluate)
    study = studies.study_of(path)[1]
    assert "evaluate" not in {one["task"]["kind"] for one in study.records().values()}
    before = set(study.records())
    said = tmp_path / "said"
    studies.work(path, said)
    begun = {line.split()[0] for line in said.read_text().splitlines()}
    assert not begun & before
    assert {outcome for outcome, _ in studies.results(path).values()} == {"completed"}


def test_flops_are_counted_where_a_calibration_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What else it found stays, as budgets in hours hang on it."""

    def calibrate(attempt: Attempt) -> object:
        found = dict(studies.calibrate(attempt)[1])
        del found["flops_per_update"]
        return Ending("completed"), found

    path = studies.write_spec(tmp_path, **ONE_DEPTH)
    studies.work(path, calibrate=calibrate)
    before = studies.results(path)
    monkeypatch.setattr(costs, "flops_of", lambda attempt, words: 1e9)
    path = studies.write_spec(tmp_path, budgets={"unit": "flops", "values": [2e10]}, **ONE_DEPTH)
    studies.work(path, calibrate=training.calibrate)
    after = studies.results(path)
    for name, (outcome, found) in before.items():
        more = {"flops_per_update": 1e9} if "symbols" in found else {}
        assert after[name] == (outcome, {**found, **more})


def attempt_at_training(folder: Path) -> Attempt:
    """Of a task of 20 updates, in an empty run folder."""
    spec, study = studies.study_of(studies.write_spec(folder, **ONE_DEPTH))
    task = Task("train", inputs={"updates": 20, "untrained": 10.0}, arm="pre")
    study.begin(task)
    attempt = Attempt(task, spec, study, study.folder(task.name) / "run", lambda: False)
    attempt.run.mkdir()
    return attempt


def test_checkpoints_that_cannot_be_read_are_no_failure_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = attempt_at_training(tmp_path)
    monkeypatch.setattr(attempt, "child", lambda *words: Exit(1, 1.0, 0))
    for name in ("checkpoint_last.pt", "checkpoint_1_15.pt"):
        (attempt.run / name).write_bytes(b"PK cut")
    ending, _ = training.train(attempt)
    assert ending.outcome == "killed" and not list(attempt.run.iterdir())
    torch.save({"model": {"weight": torch.ones(3)}}, attempt.run / "checkpoint_last.pt")
    assert training.train(attempt)[0].outcome == "crashed"
    assert list(attempt.run.iterdir())


def test_a_run_whose_last_checkpoint_a_kill_cut_at_its_end_is_done(tmp_path: Path) -> None:
    """fairseq wrote another of the same update before it."""
    attempt = attempt_at_training(tmp_path)
    attempt.number = 2
    own, other = attempt.run / "checkpoint_last.pt", attempt.run / "checkpoint_1_20.pt"
    torch.save({"model": {}, "optimizer_history": [{"num_updates": 19}]}, other)
    own.write_bytes(other.read_bytes()[:100])
    assert not training.is_at(attempt, 20)
    torch.save({"model": {}, "optimizer_history": [{"num_updates": 20}]}, other)
    assert training.is_at(attempt, 20) and own.exists() and not other.exists()
    assert training.is_at(attempt, 20)


def test_a_training_that_ends_before_its_last_update_is_not_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = attempt_at_training(tmp_path)
    attempt.number = 1
    state = {"model": {}, "optimizer_history": [{"num_updates": 16}]}
    torch.save(state, attempt.run / "checkpoint_last.pt")
    monkeypatch.setattr(attempt, "child", lambda *words: Exit(0, 1.0, 0))
    ending, _ = training.train(attempt)
    assert ending.outcome == "crashed" and "ended by itself before update 20" in ending.detail


def test_output_is_that_of_the_attempt_that_was_completed(tmp_path: Path) -> None:
    study, name = StudyFolder(tmp_path), "a"
    for run in ("run", "run-2"):
        (study.folder(name) / run).mkdir(parents=True)
        (study.folder(name) / run / "checkpoint_last.pt").write_text(run)
        note_attempt(study.folder(name), {"id": run, "host": "h", "pid": 1, "folder": run})
    assert study.output(name, "train") is None
    (study.folder(name) / "finished").write_text("run")
    output = study.output(name, "train")
    assert output is not None and output.read_text() == "run"


def test_a_completed_run_whose_output_cannot_be_made_again_ends_in_a_sentence(
    tmp_path: Path,
) -> None:
    path = studies.write_spec(tmp_path, **ONE_DEPTH)
    studies.work(path)
    path = studies.write_spec(tmp_path, decoding={"options": "--beam 3"}, **ONE_DEPTH)
    limits: List[float] = []

    def train(attempt: Attempt) -> object:
        limits.append(attempt.seconds_before)
        return Ending("out of time", "stopped at the limit of 1 hours"), {}

    with pytest.raises(ResDualError, match=r"was completed before.*'out of time': stopped at the"):
        studies.work(path, train=train)
    assert limits == [0.0]


def test_seconds_of_work_that_is_done_again_are_kept(tmp_path: Path) -> None:
    study, task = StudyFolder(tmp_path), Task("train", label="a")
    first = {**studies.record(task, {"valid_loss": 3.0}), "seconds": 10.0}
    study.write(first, 10.0)
    study.write({**first, "seconds": 5.0, "detail": "again"}, 5.0)
    kept = study.records()[task.name]
    assert (kept["seconds"], kept["detail"]) == (15.0, first["detail"])


def test_the_time_of_a_killed_attempt_is_that_of_its_log(tmp_path: Path) -> None:
    begun = {
        "id": "a",
        "host": "h",
        "pid": 1,
        "folder": "run",
        "began": "2026-01-01T00:00:00+00:00",
    }
    note_attempt(tmp_path, begun)
    note_end_of_killed(tmp_path)
    (tmp_path / "log").touch()
    os.utime(tmp_path / "log", (0, datetime(2026, 1, 1, 0, 2, tzinfo=timezone.utc).timestamp()))
    for _ in range(2):
        note_end_of_killed(tmp_path)
        assert [one["seconds"] for one in attempts(tmp_path)] == [120.0]
    assert len((tmp_path / "attempts.jsonl").read_text().splitlines()) == 2


def test_edited_lines_of_attempts_are_passed_over(tmp_path: Path) -> None:
    note_attempt(tmp_path, {"id": "a", "host": "h", "pid": 1, "folder": "run"})
    with (tmp_path / "attempts.jsonl").open("ab") as stream:
        stream.write(b'[1]\n"x"\n{}\n{"id": "b"}\n{"id": [1]}\n\xff\xfe\n{"id": "c", "ho')
    assert [one["id"] for one in attempts(tmp_path)] == ["a"]


def test_a_failure_that_a_limit_caused_is_done_again_under_another_limit(tmp_path: Path) -> None:
    def train(attempt: Attempt) -> object:
        if attempt.spec.limits.memory_gib == 1:
            return Ending("out of memory", "stopped at the limit of 1 GiB"), {}
        return studies.train(attempt)

    path = studies.write_spec(tmp_path, limits={"memory_gib": 1}, **ONE_DEPTH)
    studies.work(path, train=train)
    before = studies.results(path)
    assert "out of memory" in {outcome for outcome, _ in before.values()}
    studies.work(path, train=train)
    assert studies.results(path) == before
    path = studies.write_spec(tmp_path, limits={"memory_gib": 2}, **ONE_DEPTH)
    studies.work(path, train=train)
    assert {outcome for outcome, _ in studies.results(path).values()} == {"completed"}


def test_a_kill_from_outside_chooses_no_values(tmp_path: Path) -> None:
    def train(attempt: Attempt) -> object:
        if "0.001" in attempt.task.arguments:
            return Ending("killed", "ended by signal 9 from outside"), {}
        return studies.train(attempt)

    path = studies.write_spec(tmp_path, limits={"retries": 0}, depths=[2])
    studies.work(path, train=train)
    spec, study = studies.study_of(path)
    plan = todo.make_plan(spec, study.records())
    assert plan.open == "tuning"
    assert {run.role for run in plan.runs} == {"tuning"}


def test_a_calibration_counts_nothing_of_an_attempt_that_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = "num. shared model params: 1,000\n[src] dictionary: 4,000 types\n"
    line = "epoch 001:     10 / 536 loss=11.7, wps=1000, ups={}, wpb=100, bsz=51.3\n"
    before = head + line.format(1)
    log = tmp_path / "log"
    log.write_text(before + head + line.format(10))
    attempt = mock.Mock(log=log, run=tmp_path, **{"study.records.return_value": {}})
    attempt.child.return_value = Exit(0, 1.0, 1 << 20, log_start=len(before))
    attempt.limits.return_value = {}
    monkeypatch.setattr(training, "other_load", lambda seconds: 0.0)
    monkeypatch.setattr(training, "train_words", lambda *words: [])
    ending, found = training.calibrate(attempt)
    assert ending.outcome == "completed"
    assert found["seconds_per_update"] == pytest.approx(0.1)
