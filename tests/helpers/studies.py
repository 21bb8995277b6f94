"""Small studies with made-up trainings, worked on by real workers in processes of their own."""

import json
import multiprocessing
import time
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional, Tuple
from unittest import mock

import torch
import yaml
from fairseq.data import indexed_dataset

from resdual_fairseq.files import write_whole
from resdual_fairseq.study import worker
from resdual_fairseq.study.engine.attempt import Attempt
from resdual_fairseq.study.engine.outcomes import Ending
from resdual_fairseq.study.engine.provenance import record_of
from resdual_fairseq.study.engine.tasks import StudyFolder, Task
from resdual_fairseq.study.planning.planned import Plan
from resdual_fairseq.study.planning.todo import make_plan
from resdual_fairseq.study.spec.keys import Spec
from resdual_fairseq.study.spec.reading import read_spec
from resdual_fairseq.study.worker import Worker

Found = Tuple[Ending, Dict[str, Any]]
SPEC: Dict[str, Any] = {
    "data": {"data_bin": "data-bin", "source_lang": "src", "target_lang": "tgt"},
    "arms": {
        "pre": "--arch resdual_transformer --residual pre",
        "resdual": "--arch resdual_transformer",
    },
    "depths": [1, 2],
    "widths": [{"width": 32, "ffn": 32, "heads": 2}],
    "training": "--optimizer adam --max-tokens 1000 --warmup-updates 4",
    "budgets": {"unit": "updates", "values": [20, 40]},
    "search": {"values": {"lr": [0.001, 0.002, 0.004]}, "extend": 0},
    "seeds": [101, 102],
    "criteria": {"candidate": "resdual", "baseline": "pre", "depth": 2},
    "measure": False,
}
ONE_DEPTH: Dict[str, Any] = {"depths": [2], "search": {"values": {"lr": [0.001]}}}


def write_spec(place: Path, **changes: Any) -> Path:
    """A spec in this folder, beside made-up data; None takes a key away."""
    data_bin = place / "data-bin"
    if not data_bin.exists():
        data_bin.mkdir()
        for split in ("train", "valid", "test"):
            for name in (split, f"{split}.src-tgt.src", f"{split}.src-tgt.tgt"):
                write_split(data_bin / name, 1)
    values = {key: one for key, one in {**SPEC, **changes}.items() if one is not None}
    path = place / "study.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def write_split(name: Path, sentences: int) -> None:
    """A file of a data-bin; the name has no ending."""
    builder = indexed_dataset.make_builder(f"{name}.bin", impl="mmap")
    for _ in range(sentences):
        builder.add_item(torch.tensor([4, 5, 2]))
    builder.finalize(f"{name}.idx")


def study_of(path: Path) -> Tuple[Spec, StudyFolder]:
    spec = read_spec(path)
    return spec, StudyFolder(Path(str(spec.folder)))


def calibrate(attempt: Attempt) -> Found:
    return Ending("completed"), {
        "updates_per_epoch": 10, "tokens_per_update": 500.0, "seconds_per_update": 0.5,
        "parameters": 1000, "symbols": 1024, "memory": 1 << 20, "flops_per_update": 1e9,
    }  # fmt: skip


def train(attempt: Attempt, pause: float = 0.0) -> Found:
    """Counts updates, and goes on from the file that an earlier attempt or the parent left.

    As fairseq's, it takes some time to start, and begins anew where there is no file then.
    """
    own, target = attempt.run / "checkpoint_last.pt", attempt.task.inputs["updates"]
    if not own.exists() and "parent" in attempt.task.needs:
        write_whole(own, attempt.output("parent").read_text())
    time.sleep(20 * pause)
    state = json.loads(own.read_text()) if own.exists() else {"updates": 0, "sum": 0.0}
    rate = float(attempt.task.arguments[attempt.task.arguments.index("--lr") + 1])
    while state["updates"] < target:
        state = {"updates": state["updates"] + 1, "sum": state["sum"] * 0.9 + rate}
        if pause or state["updates"] == target:
            time.sleep(pause)
            write_whole(own, json.dumps(state))
    found = {"valid_loss": state["sum"], "valid": [[target, state["sum"]]], "updates": target}
    return Ending("completed"), {**found, "seconds_in_all": 1.0}


def train_slowly(attempt: Attempt) -> Found:
    """A checkpoint every millisecond."""
    return train(attempt, pause=0.001)


def evaluate(attempt: Attempt) -> Found:
    state = json.loads(attempt.output("parent").read_text())
    return Ending("completed"), {"scores": {"bleu": 10 + state["sum"]}, "signatures": {}}


ACTIONS = {"calibrate": calibrate, "train": train, "evaluate": evaluate}
context = multiprocessing.get_context("fork")


def work(path: Path, said: Optional[Path] = None, lease: float = 2.0, **actions: Any) -> None:
    """One worker, to its end, with made-up actions."""

    def say(text: str) -> None:
        if said is not None:
            with said.open("a") as stream:
                stream.write(text + "\n")

    with mock.patch.object(worker, "ACTIONS", {**ACTIONS, **actions}):
        Worker(*study_of(path), say=say, lease=lease).work(poll=0.05)


def start(path: Path, *arguments: Any, **actions: Any) -> Any:
    """A worker in a process of its own."""
    process = context.Process(target=work, args=(path, *arguments), kwargs=actions, daemon=True)
    process.start()
    return process


def results(path: Path) -> Dict[str, Tuple[str, Any]]:
    """What was found, without what differs from run to run."""
    records = study_of(path)[1].records()
    return {name: (one["outcome"], one["found"]) for name, one in records.items()}


def named(tasks: Iterable[Task], kind: str) -> Dict[str, Task]:
    return {task.name: task for task in tasks if task.kind == kind}


def record(task: Task, found: Dict[str, Any], outcome: str = "completed") -> Dict[str, Any]:
    """A made-up result."""
    return record_of(task, Ending(outcome), found, [{"outcome": outcome}], {})


def planned(path: Path, found: Optional[Dict[str, Any]] = None) -> Tuple[Spec, StudyFolder, Plan]:
    """The plan of a study whose calibrations are done."""
    spec, study = study_of(path)
    for task in make_plan(spec, {}).tasks.values():
        if task.kind == "calibrate":
            values = {**calibrate(None)[1], **(found or {})}  # type: ignore[arg-type]
            study.write(record(task, values))
    return spec, study, make_plan(spec, study.records())


def done(path: Path) -> Tuple[Spec, StudyFolder, Plan]:
    """The plan of a study after all of its work."""
    work(path)
    spec, study = study_of(path)
    return spec, study, make_plan(spec, study.records())


def with_records(path: Path) -> Tuple[Spec, Dict[str, Any]]:
    spec, study = study_of(path)
    return spec, study.records()


def finished(path: Path, processes: List[Any]) -> Dict[str, Tuple[str, Any]]:
    """What was found once all of these workers have ended well."""
    for process in processes:
        process.join(300)
        assert process.exitcode == 0
    return results(path)
