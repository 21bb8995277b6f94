"""Protects `resdual-study`: a study from plan to report, failures, kills, full disks, bad input."""

import csv
import json
import multiprocessing
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple

import optuna
import psutil
import pytest
import torch
from helpers.commands import run
from helpers.studies import study_of
from helpers.study_commands import refused, study, write_spec

from resdual_fairseq.study import cli
from resdual_fairseq.study.engine.tasks import StudyFolder
from resdual_fairseq.study.planning import repeating
from resdual_fairseq.study.planning.findings import collect

pytestmark = pytest.mark.slow

TASKS = 8
"""Of a small study: of two arms each a calibration, a tuning run, a judging run and its test."""


class Done(NamedTuple):
    """A study that nothing disturbed."""

    spec: Path
    folder: Path
    planned: str  # what `plan` printed
    done: str  # what `run --workers 2` printed
    records: Path  # what `export --records` wrote


def found(folder: Path) -> Dict[str, Any]:
    """What a study's tasks found, without what differs from run to run."""
    varies = ("seconds", "seconds_in_all", "seconds_per_update", "memory")
    return {
        name: (one["outcome"], {k: v for k, v in one["found"].items() if k not in varies})
        for name, one in StudyFolder(folder).records().items()
    }


def copy_without(done: Done, place: Path, *labels: str) -> List[str]:
    """Copy the finished study but for these tasks; the names of them."""
    shutil.copytree(done.folder, place, dirs_exist_ok=True)
    by_label = {one["task"]["label"]: n for n, one in StudyFolder(done.folder).records().items()}
    for label in labels:
        shutil.rmtree(place / "tasks" / by_label[label])
    return [by_label[label] for label in labels]


@pytest.fixture(scope="module")
def done(reversal: Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    place = tmp_path_factory.mktemp("study")
    spec = write_spec(place / "tiny.yaml", reversal)
    planned, told = study("plan", spec), study("run", spec, "--workers", 2)
    study("export", spec, "--records", place / "records")
    return Done(spec, place / "tiny", planned, told, place / "records")


def test_a_plan_lists_models_runs_and_seeds(done: Done) -> None:
    begun = [line[13:] for line in done.planned.splitlines() if " calibrate " in line]
    assert begun == ["calibrate pre 1+1", "calibrate resdual 1+1"]
    for text in ("17,856", "In all 0.", "seeds 101; 60 updates", "sd over seeds"):
        assert text in done.planned


def test_two_workers_do_every_task_once_and_another_finds_nothing_to_do(done: Done) -> None:
    records = StudyFolder(done.folder).records()
    assert [one["outcome"] for one in records.values()] == ["completed"] * TASKS
    assert [one["attempts"] for one in records.values()] == [["completed"]] * TASKS
    said = done.done.splitlines()
    assert said[-1].startswith("all runs are done")
    logs = sorted((done.folder / "workers").glob("*_log.out"))
    assert len(logs) == 2
    printed = "\n".join([done.planned, *(log.read_text() for log in logs)])
    begun = [line.split(" ")[0] for line in printed.splitlines()]
    assert [begun.count(name) for name in records] == [1] * TASKS
    ended = [f"{name} {one['task']['label']}: completed" for name, one in records.items()]
    assert sum(line in said for line in ended) == TASKS - 2
    before = {path: path.stat().st_mtime_ns for path in done.folder.rglob("*")}
    again = [line for line in study("run", done.spec).splitlines() if "tensorboardX" not in line]
    assert again == said[-1:]
    assert {path: path.stat().st_mtime_ns for path in done.folder.rglob("*")} == before
    shown = study("status", done.spec)
    assert "all runs are done" in shown and shown.count("1 of 1") == 4


def table(path: Path) -> List[Dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as stream:
        return list(csv.DictReader(stream))


def test_reports_and_tables_tell_what_the_records_hold(done: Done, tmp_path: Path) -> None:
    study("report", done.spec, "--out", tmp_path)
    study("report", done.spec, "--out", tmp_path, "--lang", "ja")
    study("export", done.spec, "--csv", tmp_path / "tables")
    page, japanese = (tmp_path / name for name in ("report.html", "report.ja.html"))
    assert '<html lang="en"' in page.read_text() and '<html lang="ja"' in japanese.read_text()
    assert (tmp_path / "report.md").stat().st_size and (tmp_path / "report.ja.md").stat().st_size
    own = "python -c 'import fairseq_cli.train as command, resdual_fairseq; command.cli_main()'"
    told = (tmp_path / "report.md").read_text()
    assert f'{own} "$DATA"' in told and "DATA=FOLDER_OF_THE_DATA_BIN" in told
    rows = table(tmp_path / "runs.csv")
    assert rows == table(tmp_path / "tables" / "runs.csv")
    scores = {
        one["task"]["arm"]: one["found"]["scores"]["bleu"]
        for one in StudyFolder(done.folder).records().values()
        if one["task"]["kind"] == "evaluate"
    }
    shown = {row["arm"]: float(row["bleu"]) for row in rows if row["role"] == "judging"}
    assert shown == pytest.approx(scores, abs=0.01)
    assert len(rows) == 4


def test_the_commands_of_a_report_repeat_its_numbers(
    done: Done, reversal: Path, tmp_path: Path
) -> None:
    """In an empty folder, as they stand there."""
    spec, folder = study_of(done.spec)
    runs = collect(spec, folder).runs
    (judged,) = (run for run in runs if run.role == "judging" and run.cell.arm == "pre")
    plugin = next(line for line in repeating.settings(spec) if line.startswith("PLUGIN"))
    lines = [f"DATA={reversal}", plugin, *judged.commands]
    output = run("bash", "-e", "-c", "\n".join(lines), cwd=tmp_path)
    assert f"| valid on 'valid' subset | loss {judged.valid_loss}" in output
    scores = {one["name"]: one["score"] for one in json.loads(output[output.rindex("[\n{") :])}
    expected = {name.lower().rstrip("2"): round(score, 2) for name, score in scores.items()}
    assert expected == {name: round(score, 2) for name, score in judged.scores.items()}


def test_tuning_runs_become_trials_of_optuna(done: Done, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    assert "wrote 2 trials" in study("export", done.spec, "--optuna", storage)
    losses = {
        one["task"]["arm"]: one["found"]["valid_loss"]
        for one in StudyFolder(done.folder).records().values()
        if one["task"]["kind"] == "train" and "seed 1," in one["task"]["label"]
    }
    for arm, loss in losses.items():
        (trial,) = optuna.load_study(study_name=f"study: {arm} 1+1 x 32", storage=storage).trials
        assert (trial.params, trial.value) == ({"lr": 0.002}, loss)
    assert "holds this study already" in refused("export", done.spec, "--optuna", storage)


def test_records_are_taken_up_by_a_fresh_folder(done: Done, tmp_path: Path) -> None:
    here = ("--folder", tmp_path / "fresh")
    assert f"took up {TASKS} new" in study("import", done.spec, done.records, *here)
    assert found(tmp_path / "fresh") == found(done.folder)
    assert "took up 0 new" in study("import", done.spec, done.records, *here)
    assert "all runs are done" in study("status", done.spec, *here)
    study("run", done.spec, *here)
    assert not list(tmp_path.rglob("log"))


def test_records_are_taken_up_before_the_data_are_here(done: Done, tmp_path: Path) -> None:
    folder = tmp_path / "fresh"
    spec = write_spec(tmp_path / "study.yaml", tmp_path / "not-here", folder=str(folder))
    told = study("import", spec, done.records)
    assert f"took up {TASKS} new" in told
    assert "is not known yet" in told and str(tmp_path / "not-here") in told
    assert found(folder) == found(done.folder)


def test_an_edited_spec_says_so_and_what_is_done_stays(
    done: Done, reversal: Path, tmp_path: Path
) -> None:
    """What it adds runs out of time."""
    folder = StudyFolder(tmp_path / "tiny")
    shutil.copytree(done.folder, folder.path)
    search = {"values": {"lr": [0.002, 0.003]}, "extend": 0}
    changes = {"search": search, "limits": {"hours": 0.0001}}
    spec = write_spec(tmp_path / "tiny.yaml", reversal, **changes)
    output = study("run", spec)
    assert "search.values.lr: [0.002] -> [0.002, 0.003]" in output
    assert "limits.hours: None -> 0.0001" in output
    before = found(done.folder)
    assert {name: found(folder.path)[name] for name in before} == before
    new = [one for name, one in folder.records().items() if name not in before]
    assert sorted(one["task"]["arm"] for one in new) == ["pre", "resdual"]
    assert {one["outcome"] for one in new} == {"out of time"}
    assert output.count("  out of time: stopped at the limit of 0.0001 hours") == 2
    assert study("status", spec).count("1 out of time") == 2


context = multiprocessing.get_context("fork")


def start(*words: object) -> Any:
    """The command in a process of its own."""
    process = context.Process(target=cli.main, args=([str(word) for word in words],))
    process.start()
    return process


def wait_for(there: Callable[[], object], process: Any) -> None:
    deadline = time.monotonic() + 300
    while not there():
        assert process.is_alive() and time.monotonic() < deadline
        time.sleep(0.005)


def weights(folder: Path, name: str) -> Dict[str, torch.Tensor]:
    path = folder / "tasks" / name / "run" / "checkpoint_last.pt"
    state: Dict[str, torch.Tensor] = torch.load(path, weights_only=False)["model"]
    return state


def test_a_training_whose_worker_is_killed_goes_on_to_the_same_weights(
    done: Done, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    judged = "resdual 1+1, lr 0.002, seed 101"
    name, _ = copy_without(
        done, broken, f"{judged}, cool-down to update 60", f"{judged}, test at update 60"
    )
    process = start("run", done.spec, "--folder", broken)
    worker = psutil.Process(process.pid)
    last = broken / "tasks" / name / "run" / "checkpoint_last.pt"
    wait_for(lambda: last.exists() and worker.children(), process)
    children = worker.children(recursive=True)
    process.kill()
    process.join()
    _, alive = psutil.wait_procs(children, timeout=300)
    assert children and not alive
    assert name not in StudyFolder(broken).records()
    study("run", done.spec, "--folder", broken)
    assert found(broken) == found(done.folder)
    assert StudyFolder(broken).records()[name]["attempts"] == ["killed", "completed"]
    assert "Loaded checkpoint" in (broken / "tasks" / name / "log").read_text()
    one, other = weights(broken, name), weights(done.folder, name)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system in memory, of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() or mount is None:
        pytest.skip("only root may mount a small tmpfs")
    words = [mount, "-t", "tmpfs", "-o", "size=64m", "study", str(place)]
    made = subprocess.run(words, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"a small tmpfs cannot be mounted here: {made.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def resize(disk: Path, free: int) -> None:
    """Leave so many bytes free on it."""
    used = shutil.disk_usage(disk).used
    words = ["mount", "-o", f"remount,size={(used + free) // 1024}k", str(disk)]
    subprocess.run(words, check=True)


def test_a_full_disk_is_said_and_the_same_command_goes_on(done: Done, disk: Path) -> None:
    (name,) = copy_without(done, disk, "pre 1+1, lr 0.002, seed 1, cool-down to update 60")
    checkpoint = next(done.folder.glob("tasks/*/run/checkpoint_last.pt")).stat().st_size
    resize(disk, checkpoint * 3 // 2)  # the first one fits, its copy does not
    sentence = refused("run", done.spec, "--folder", disk)
    assert f"the disk of {disk} is full; make room and run again" in sentence
    assert found(disk).items() <= found(done.folder).items()
    resize(disk, 64 << 20)
    assert "all runs are done" in study("run", done.spec, "--folder", disk)
    assert found(disk) == found(done.folder)
    assert StudyFolder(disk).records()[name]["attempts"] == ["disk full", "completed"]
