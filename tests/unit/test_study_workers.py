"""Protects the engine: no task is done twice, none is lost, whoever is killed and whenever."""

import json
import os
import random
import shutil
import signal
import time
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Dict, List
from unittest import mock

import pytest
import submitit
import torch
from filelock import SoftFileLease
from helpers import studies

from resdual_fairseq.errors import ResDualError
from resdual_fairseq.study import cli, records, starting
from resdual_fairseq.study.engine.attempt import Attempt
from resdual_fairseq.study.engine.attempts import (
    attempts,
    next_run_folder,
    note_attempt,
    note_end_of_killed,
)
from resdual_fairseq.study.engine.leases import Leases
from resdual_fairseq.study.engine.outcomes import Ending
from resdual_fairseq.study.engine.processes import Exit
from resdual_fairseq.study.engine.tasks import StudyFolder, Task, read_record, sealed, write_json
from resdual_fairseq.study.measuring import costs
from resdual_fairseq.study.planning import todo
from resdual_fairseq.study.planning.findings import collect
from resdual_fairseq.study.work import training
from resdual_fairseq.study.worker import Worker


def finished(path: Path, processes: List[object]) -> Dict[str, object]:
    for process in processes:
        process.join(300)  # type: ignore[attr-defined]
        assert process.exitcode == 0  # type: ignore[attr-defined]
    return studies.results(path)


pytestmark = pytest.mark.slow
ONE_DEPTH = {"depths": [2], "search": {"values": {"lr": [0.001]}}}
"""Keys of a study of few tasks."""


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Dict[str, object]:
    """The results of the whole study, by one worker that nobody disturbs."""
    path = studies.write_spec(tmp_path_factory.mktemp("unbroken"))
    studies.work(path)
    return studies.results(path)


def test_three_workers_do_every_task_once(tmp_path: Path, unbroken: Dict[str, object]) -> None:
    path, said = studies.write_spec(tmp_path), tmp_path / "said"
    found = finished(
        path, [studies.start(path, said, lease=60.0, train=studies.train_slowly) for _ in range(3)]
    )
    assert found == unbroken
    begun = Counter(line.split()[0] for line in said.read_text().splitlines())
    assert {name: begun[name] for name in found} == dict.fromkeys(found, 1)
    study = studies.study_of(path)[1]
    hosts = {attempts(study.folder(name))[0]["pid"] for name in found}
    assert len(hosts) == 3


def measure(attempt: Attempt) -> studies.Found:
    """Made-up costs, during which nothing else may be measured."""
    alone = attempt.study.path / "measured"
    alone.mkdir()
    time.sleep(0.2)
    alone.rmdir()
    size = {name: attempt.task.inputs[name] for name in ("depth", "width")}
    row = {"arm": "pre", **size, "values": {}, "ratios": {}}
    found = {
        "costs": [row],
        "failed": [],
        "busy": True,
        "idle": [0.3],
    }
    return Ending("completed"), {**found, "energy_is_measured": False}


def test_costs_are_measured_size_by_size_and_told_together(tmp_path: Path) -> None:
    """So that a kill loses one size; of two workers that are left over one waits."""
    path = studies.write_spec(tmp_path, depths=[2, "2+1"], seeds=[101], measure=True)
    finished(path, [studies.start(path, lease=60.0, measure=measure) for _ in range(2)])
    findings = collect(*studies.study_of(path))
    assert [(cost.depth, cost.width) for cost in findings.costs] == [("2+1", 32), ("2+2", 32)]
    assert [note.values["cores"] for note in findings.notes if note.key == "busy"] == ["0.3"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_ten_kills_at_random_lose_nothing(
    tmp_path: Path, unbroken: Dict[str, object], seed: int
) -> None:
    path, draw = studies.write_spec(tmp_path), random.Random(seed)
    running = [studies.start(path, train=studies.train_slowly) for _ in range(2)]
    hit = 0
    for _ in range(10):
        time.sleep(draw.uniform(0.02, 0.15))
        victim = draw.randrange(2)
        hit += running[victim].is_alive()
        running[victim].kill()
        running[victim].join()
        running[victim] = studies.start(path, train=studies.train_slowly)
    assert hit >= 8
    assert finished(path, running) == unbroken
    study = studies.study_of(path)[1]
    assert sum(len(attempts(study.folder(name))) for name in unbroken) <= len(unbroken) + 10


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


def test_a_killed_worker_is_told_and_the_others_are_waited_for(tmp_path: Path) -> None:
    killed = mock.Mock(paths=mock.Mock(stdout="1_log.out"))
    killed.result.side_effect = submitit.core.utils.UncompletedJobError("no output")
    other = mock.Mock(**{"result.return_value": ""})
    told: List[str] = []
    starting.watch([killed, other], StudyFolder(tmp_path), told.append)
    assert told == ["a worker was killed; what it said last stands in 1_log.out"]
    assert other.result.called
    spec, study = studies.study_of(studies.write_spec(tmp_path))
    with pytest.raises(ResDualError, match=r"with \d+ tasks left; the same command goes on"):
        cli.check_nothing_is_left(spec, study)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_workers_end_with_the_process_that_started_them(
    tmp_path: Path, number: signal.Signals
) -> None:
    def ended() -> bool:
        os.kill(os.getpid(), number)
        return False

    job = mock.Mock(**{"done.side_effect": ended})
    before = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGHUP)}
    try:
        for one in before:
            signal.signal(one, signal.SIG_DFL)
        with pytest.raises(KeyboardInterrupt):
            starting.watch([job], StudyFolder(tmp_path), print)
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    assert job.cancel.called


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


def test_a_study_that_kills_have_stopped_does_not_say_that_it_is_done(tmp_path: Path) -> None:
    path = studies.write_spec(tmp_path, limits={"retries": 0}, **ONE_DEPTH)

    def train(attempt: Attempt) -> object:
        return Ending("killed", "ended by signal 9 from outside"), {}

    studies.work(path, train=train)
    with pytest.raises(ResDualError, match=r"waits for its tuning: 2 runs were killed"):
        cli.check_all_is_known(*studies.study_of(path))


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


def test_a_lease_without_a_name_is_removed_in_time(tmp_path: Path) -> None:
    """Its writer was killed between making the file and writing into it."""
    path = studies.write_spec(tmp_path, **ONE_DEPTH)
    spec, study = studies.study_of(path)
    held = study.folder(next(iter(todo.make_plan(spec, {}).tasks)))
    held.mkdir(parents=True)
    (held / "lease").touch()
    studies.work(path, lease=0.5)
    assert held.name in study.records()


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


def test_weights_of_a_task_at_work_stay(tmp_path: Path, unbroken: Dict[str, object]) -> None:
    """Another worker that finishes a task looks at all folders."""
    path = studies.write_spec(tmp_path)

    def train(attempt: Attempt) -> object:
        if "parent" in attempt.task.needs:
            own = attempt.run / "checkpoint_last.pt"
            own.write_text(attempt.output("parent").read_text())
            Worker(*studies.study_of(path)).clear()
            assert own.exists()
        return studies.train(attempt)

    studies.work(path, train=train)
    assert studies.results(path) == unbroken


def test_weights_go_once_nothing_needs_them(tmp_path: Path) -> None:
    path = studies.write_spec(tmp_path, **ONE_DEPTH)
    studies.work(path)
    study = studies.study_of(path)[1]
    assert list(study.path.glob("tasks/*/run*/*.pt")) == []
    kept = tmp_path / "kept"
    kept.mkdir()
    path = studies.write_spec(kept, keep_checkpoints=True, **ONE_DEPTH)
    studies.work(path)
    spec, study = studies.study_of(path)
    plan = todo.make_plan(spec, study.records())
    judged = {run.train[-1] for run in plan.runs if run.role == "judging"}
    there = {one.parent.parent.name for one in kept.glob("study/tasks/*/run*/*.pt")}
    assert judged <= there
