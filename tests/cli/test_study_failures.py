"""Protects how runs and commands of a study fail: classified, named, in one sentence."""

import re
import shutil
from pathlib import Path
from typing import List

import pytest
import torch
from helpers.studies import record, study_of
from helpers.study_commands import SMALL, calibrated, refused, study, write_spec

from resdual_fairseq.study import starting
from resdual_fairseq.study.engine import commands, outcomes
from resdual_fairseq.study.engine.processes import run_child
from resdual_fairseq.study.planning import todo
from resdual_fairseq.study.worker import Worker

pytestmark = pytest.mark.slow


def test_runs_out_of_memory_are_results(reversal: Path, tmp_path: Path) -> None:
    spec = write_spec(tmp_path / "tiny.yaml", reversal, limits={"memory_gib": 0.05})
    output = study("run", spec)
    assert output.count("  out of memory: stopped at the limit of 0.05 GiB") == 2
    assert study("status", spec).count("out of memory") == 2
    study("report", spec)
    assert "out of memory" in (tmp_path / "tiny" / "report" / "report.md").read_text()


SCANT = """
from fairseq.criterions import register_criterion
from fairseq.criterions.cross_entropy import CrossEntropyCriterion, CrossEntropyCriterionConfig


@register_criterion("scant", dataclass=CrossEntropyCriterionConfig)
class Scant(CrossEntropyCriterion):
    def forward(self, *arguments, **keywords):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
"""


def test_no_batch_is_left_out_for_want_of_a_gpus_memory(reversal: Path, tmp_path: Path) -> None:
    """fairseq's trainer would go on without it; the words are those that torch raises."""
    (tmp_path / "scant").mkdir()
    (tmp_path / "scant" / "__init__.py").write_text(SCANT)
    words = [reversal, "--user-dir", tmp_path / "scant", "--criterion", "scant", "--cpu"]
    words += ["--arch", "transformer_tiny", "--optimizer", "adam", "--lr", 0.1, "--max-tokens", 300]
    words += ["--max-update", 2, "--no-save", "--source-lang", "src", "--target-lang", "tgt"]
    command = commands.child("fairseq-train", [str(word) for word in words])
    end = run_child(command, tmp_path / "log", commands.environment(1))
    told = outcomes.ending(end, tmp_path / "log")
    assert told.outcome == "out of memory" and "Tried to allocate" in told.detail


def test_a_huge_learning_rate_diverges(reversal: Path, tmp_path: Path) -> None:
    search = {"values": {"lr": [5.0]}}
    spec, folder = calibrated(write_spec(tmp_path / "tiny.yaml", reversal, search=search))
    plan = todo.make_plan(spec, folder.records())
    task = next(task for task in plan.tasks.values() if task.kind == "train")
    assert Worker(spec, folder).try_to_do(task, plan)
    ended = folder.records()[task.name]
    assert ended["outcome"] == "diverged"
    words = r"validation loss \d+\.\d\d bits at update 60, above the 4\.00 of equal chances"
    assert re.fullmatch(words, ended["detail"])


def test_bad_data_and_bad_options_are_named(
    reversal: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    spec = write_spec(tmp_path / "tiny.yaml", tmp_path / "none")
    for mode in ("plan", "run", "status"):
        assert f"there is no folder {tmp_path / 'none'}" in refused(mode, spec)
    sentence = starting.work_on(study_of(spec)[0])  # as a job of Slurm's, which only its log tells
    assert "there is no folder" in sentence and f"error: {sentence}" in capsys.readouterr().out
    shutil.copytree(reversal, tmp_path / "part")
    for path in (tmp_path / "part").glob("test.*"):
        path.unlink()
    sentence = refused("plan", write_spec(spec, tmp_path / "part"))
    assert "has no test.src-tgt.src.idx" in sentence
    arms = {"pre": "--arch no_such_arch", "resdual": "--arch resdual_transformer"}
    for mode in ("plan", "run"):
        assert "arms.pre: --arch" in refused(mode, write_spec(spec, reversal, arms=arms))
        sentence = refused(mode, write_spec(spec, reversal, decoding={"options": "--beem 1"}))
        assert "decoding.options: fairseq has no option --beem here" in sentence
    training = SMALL["training"].replace("--max-tokens 1000", "")
    sentence = refused("plan", write_spec(spec, reversal, training=training))
    assert "calibrate pre 1+1 failed" in sentence
    assert ": AssertionError: Must specify batch size" in sentence and "^" not in sentence


def test_a_cut_checkpoint_of_a_trunk_is_no_failure_of_its_branch(
    reversal: Path, tmp_path: Path
) -> None:
    """The trunk is trained again."""
    budgets = {"unit": "updates", "values": [20], "cooldown": 0.5}
    spec, folder = calibrated(write_spec(tmp_path / "tiny.yaml", reversal, budgets=budgets))
    plan = todo.make_plan(spec, folder.records())
    branch = next(task for task in plan.tasks.values() if "parent" in task.needs)
    trunk = plan.tasks[branch.needs["parent"]]
    folder.write(record(trunk, {"valid_loss": 3.0, "seconds_in_all": 1.0, "valid": []}))
    cut = folder.folder(trunk.name) / "run" / "checkpoint_last.pt"
    cut.parent.mkdir()
    torch.save({"model": {"weight": torch.ones(1000)}}, cut)
    cut.write_bytes(cut.read_bytes()[:2000])
    (folder.folder(trunk.name) / "finished").write_text("run")
    assert trunk not in todo.wanted(plan, folder, folder.records())
    said: List[str] = []
    assert Worker(spec, folder, said.append).try_to_do(branch, plan)
    records = folder.records()
    assert branch.name not in records, said
    left = todo.wanted(todo.make_plan(spec, records), folder, records)
    assert trunk in left and branch in left
