"""Protects the engine: no task is done twice, none is lost, whoever is killed and whenever."""

import json
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, Set
from unittest import mock

import psutil
import pytest
import submitit
from helpers import studies
from helpers.studies import ONE_DEPTH, finished

from resdual_fairseq.errors import ResDualError
from resdual_fairseq.study import cli, starting, status, worker
from resdual_fairseq.study.engine.attempt import Attempt
from resdual_fairseq.study.engine.attempts import (
    attempts,
)
from resdual_fairseq.study.engine.outcomes import Ending
from resdual_fairseq.study.engine.tasks import StudyFolder, Task
from resdual_fairseq.study.planning import todo
from resdual_fairseq.study.planning.findings import collect
from resdual_fairseq.study.worker import Worker

pytestmark = pytest.mark.slow


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
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {one: signal.getsignal(one) for one in numbers}
    ignored = []
    job.cancel.side_effect = lambda: ignored.extend(signal.getsignal(one) for one in numbers)
    try:
        for one in numbers[1:]:
            signal.signal(one, signal.SIG_DFL)
        starting.end_as_by_ctrl_c()
        with pytest.raises(KeyboardInterrupt):
            starting.watch([job], StudyFolder(tmp_path), print)
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    assert ignored == 3 * [signal.SIG_IGN]  # a second signal cuts nothing short


def test_workers_can_be_ended_where_a_script_has_started_them_in_the_background(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell ignores SIGINT for them, with which submitit ends its jobs, and children inherit."""

    def forever(spec: Any, gpu: object) -> None:
        (spec.folder / "began").write_text(str(os.getpid()))
        while True:
            time.sleep(0.1)

    spec, study = studies.study_of(studies.write_spec(tmp_path))
    monkeypatch.setattr(starting, "work_on", forever)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        (job,) = starting.start_here(spec, study, 1)
        deadline = time.monotonic() + 120
        began = study.path / "began"
        while not (began.exists() and began.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process = psutil.Process(int(began.read_text()))
        job.cancel()
        assert not psutil.wait_procs([process], timeout=120)[1]
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_error_of_the_system_ends_a_worker_with_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, study = studies.study_of(studies.write_spec(tmp_path))
    study.path.touch()
    told = starting.work_on(spec)
    assert told.startswith(f"{study.path}") and "mend that and give the same command again" in told
    assert capsys.readouterr().out == f"error: {told}\n"


def test_workers_that_wait_for_costs_do_not_disturb_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan takes a processor for a moment, a look for the holder's lease does not."""

    class Enough(Exception):
        pass

    path = studies.write_spec(tmp_path, measure=True, **ONE_DEPTH)
    looks: List[int] = []
    plans: List[int] = []

    def look(seconds: float) -> None:
        looks.append(len(plans))
        if len(looks) == 5:
            raise Enough

    def plan(*given: Any) -> todo.Plan:
        plans.append(1)
        return todo.make_plan(*given)

    def measure_beside(attempt: Attempt) -> studies.Found:
        other = Worker(*studies.study_of(path), kinds={"measure"}, lease=2.0)
        with monkeypatch.context() as patch, pytest.raises(Enough):
            patch.setattr(time, "sleep", look)
            patch.setattr(worker, "make_plan", plan)
            other.work()
        return Ending("completed"), costs

    costs = {"costs": [], "failed": [], "idle": [0.0], "busy": False, "energy_is_measured": False}
    studies.work(path, measure=measure_beside)
    assert looks == [1, 1, 1, 1, 1]
    spec, study = studies.study_of(path)
    (name,) = (name for name, one in study.records().items() if one["task"]["kind"] == "measure")
    free = Worker(spec, study)
    free.wait(Task(**study.records()[name]["task"]), 0.01, 0.0)  # returns once nobody holds it


def test_a_study_that_kills_have_stopped_does_not_say_that_it_is_done(tmp_path: Path) -> None:
    path = studies.write_spec(tmp_path, limits={"retries": 0}, measure=True, **ONE_DEPTH)

    def train(attempt: Attempt) -> object:
        return Ending("killed", "ended by signal 9 from outside"), {}

    studies.work(path, train=train)
    cli.check_nothing_is_left(*studies.study_of(path))  # costs wait for what is not known
    with pytest.raises(ResDualError, match=r"waits for its tuning: 2 runs were killed"):
        cli.check_all_is_known(*studies.study_of(path))
    _, left = status.view(*studies.study_of(path))
    assert left == 0


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


def test_weights_of_a_run_that_a_limit_stopped_stay_until_it_is_done(tmp_path: Path) -> None:
    path = studies.write_spec(tmp_path, limits={"hours": 1}, **ONE_DEPTH)

    def train(attempt: Attempt) -> object:
        own = attempt.run / "checkpoint_last.pt"
        if attempt.spec.limits.hours == 1 and "parent" in attempt.task.needs:
            own.write_text(json.dumps({"updates": 1, "sum": 0.5}))
            stopped.add(attempt.task.name)
            return Ending("out of time", "1 hours"), {}
        if attempt.task.name in stopped:
            assert own.exists() and attempt.output("parent").exists()
            stopped.remove(attempt.task.name)
        return studies.train(attempt)

    stopped: Set[str] = set()
    studies.work(path, train=train)
    study = studies.study_of(path)[1]
    assert {study.records()[name]["outcome"] for name in stopped} == {"out of time"}
    studies.work(studies.write_spec(tmp_path, limits={"hours": 2}, **ONE_DEPTH), train=train)
    assert {one["outcome"] for one in study.records().values()} == {"completed"}
    assert not stopped
    limits = {"hours": 0.5}  # of a worker that has not seen the change: it redoes nothing
    studies.work(studies.write_spec(tmp_path, limits=limits, **ONE_DEPTH), train=train)
    assert not stopped
    assert list(study.path.glob("tasks/*/run*/*.pt")) == []


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
