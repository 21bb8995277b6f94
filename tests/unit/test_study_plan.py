"""Protects the plan: equal trials for all arms, names of tasks, budgets, stages, failures."""

from pathlib import Path
from typing import Any, Dict, List

import pytest
from helpers import studies
from helpers.studies import done, planned, with_records

from resdual_fairseq.errors import ResDualError
from resdual_fairseq.study.analysis.table import Note, Spent
from resdual_fairseq.study.analysis.verdict import judge
from resdual_fairseq.study.engine.tasks import Task
from resdual_fairseq.study.planning import repeating
from resdual_fairseq.study.planning.findings import NOT_STARTED, collect
from resdual_fairseq.study.planning.todo import make_plan


@pytest.mark.slow
def test_every_arm_gets_the_same_trials_seeds_and_data(tmp_path: Path) -> None:
    _, _, plan = done(studies.write_spec(tmp_path))
    rows: Dict[str, List[Any]] = {"pre": [], "resdual": []}
    for run in plan.runs:
        tuned = run.values if run.role == "tuning" else None
        rows[run.cell.arm].append((run.cell[1:], run.role, tuned, run.seed, run.budget))
    assert rows["pre"] == rows["resdual"]
    assert len(rows["pre"]) == 2 * (3 + 2 * 2)
    judged = [run for run in plan.runs if run.role == "judging"]
    assert {run.seed for run in judged} == {101, 102}
    assert all(run.evaluate for run in judged)
    assert not any(run.evaluate for run in plan.runs if run.role == "tuning")


@pytest.mark.slow
def test_budgets_are_branches_of_one_trunk(tmp_path: Path) -> None:
    _, _, plan = done(studies.write_spec(tmp_path))
    short, long = (
        next(r for r in plan.runs if r.role == "judging" and r.budget == budget)
        for budget in (20, 40)
    )
    assert long.train[0] == short.train[0]
    assert [plan.tasks[name].inputs["updates"] for name in short.train] == [16, 20]
    assert [plan.tasks[name].inputs["updates"] for name in long.train] == [16, 32, 40]
    branch = plan.tasks[long.train[-1]].arguments
    assert branch[branch.index("--lr-scheduler") + 1] == "polynomial_decay"
    assert branch[-6:] == (
        "--warmup-updates", "32", "--total-num-update", "40", "--max-update", "40",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("unit", "value", "updates"),
    [
        ("updates", 40, 40), ("epochs", 4, 40), ("tokens", 20000, 40), ("flops", 4e10, 40),
        ("hours", 1 / 180, 40), ("money", 0.1 / 180, 40),
    ],
)  # fmt: skip
def test_budgets_in_every_unit(tmp_path: Path, unit: str, value: float, updates: int) -> None:
    budgets = {"unit": unit, "values": [value]}
    path = studies.write_spec(tmp_path, budgets=budgets, prices={"hour": 0.1})
    _, _, plan = planned(path)
    assert {run.updates for run in plan.runs} == {updates}


def test_a_name_changes_with_all_that_decides_and_with_nothing_else() -> None:
    base = Task("train", ("--lr", "1"), {"data": "a"}, {"parent": "p"}, "label", "arm")
    names = {
        base.name,
        Task("evaluate", ("--lr", "1"), {"data": "a"}, {"parent": "p"}).name,
        Task("train", ("--lr", "2"), {"data": "a"}, {"parent": "p"}).name,
        Task("train", ("--lr", "1"), {"data": "b"}, {"parent": "p"}).name,
        Task("train", ("--lr", "1"), {"data": "a"}, {"parent": "q"}).name,
        Task("train", ("--lr", "1"), {"data": "a"}, {"data": "p"}).name,
    }
    assert len(names) == 6
    assert base.name == Task("train", ("--lr", "1"), {"data": "a"}, {"parent": "p"}, "other").name


def test_equal_numbers_are_one_run_however_they_are_written(tmp_path: Path) -> None:
    names = []
    for lr in ("1e-3", 0.001, "0.0010"):
        path = studies.write_spec(tmp_path, search={"values": {"lr": [lr]}})
        names.append(set(planned(path)[2].tasks))
    assert names[0] == names[1] == names[2]


@pytest.mark.slow
def test_results_are_used_after_the_spec_was_edited_where_their_name_holds(tmp_path: Path) -> None:
    studies.work(studies.write_spec(tmp_path))
    before = studies.results(tmp_path / "study.yaml")
    more = studies.write_spec(tmp_path, seeds=[101, 102, 103])
    spec, study = studies.study_of(more)
    plan = make_plan(spec, study.records())
    old = [run for run in plan.runs if run.seed != 103]
    assert all(run.last in before for run in old) and len(old) < len(plan.runs)
    other = studies.write_spec(tmp_path, training=studies.SPEC["training"] + " --dropout 0.3")
    spec, study = studies.study_of(other)
    assert not set(make_plan(spec, study.records()).tasks) & set(before)


def test_changed_data_change_every_name(tmp_path: Path) -> None:
    path = studies.write_spec(tmp_path)
    before = set(make_plan(*with_records(path)).tasks)
    (tmp_path / "data-bin" / "test.src-tgt.src.idx").write_text("another test set")
    assert set(make_plan(*with_records(path)).tasks) == before
    (tmp_path / "data-bin" / "train.src-tgt.src.idx").write_text("other text")
    assert not set(make_plan(*with_records(path)).tasks) & before


@pytest.mark.slow
def test_of_a_run_that_failed_all_parts_are_lost(tmp_path: Path) -> None:
    path = studies.write_spec(tmp_path, **{"depths": [2], "search": {"values": {"lr": [0.001]}}})

    def train(attempt: Any) -> Any:
        if "--total-num-update" in attempt.task.arguments and attempt.task.arm == "pre":
            return studies.Ending("out of time", "stopped at the limit of 1 hours"), {}
        return studies.train(attempt)

    studies.work(path, train=train)
    spec, study = studies.study_of(path)
    for name, one in study.records().items():
        (study.folder(name) / "result.json").unlink()
        study.write({**one, "seconds": 10.0})
    findings = collect(spec, study)
    # Tuning: trunk and branch. Judging: two seeds, each two parts of a trunk and two branches.
    assert findings.spent["pre"] == Spent(20.0, 80.0, 100.0)
    assert findings.spent["resdual"].failed == 0
    seconds = [run.seconds for run in findings.runs if run.cell.arm == "pre"]
    assert sorted(seconds) == [20.0, 20.0, 20.0, 30.0, 30.0]


@pytest.mark.slow
def test_a_model_that_cannot_run_is_a_row_of_the_report(tmp_path: Path) -> None:
    path = studies.write_spec(tmp_path)

    def calibrate(attempt: Any) -> Any:
        if "--residual" in attempt.task.arguments and "2" in attempt.task.arguments[4:]:
            return studies.Ending("out of memory", "stopped at the limit of 1 GiB"), {}
        return studies.calibrate(attempt)

    studies.work(path, calibrate=calibrate)
    rows = collect(*studies.study_of(path)).runs
    failed = [run for run in rows if run.outcome == "out of memory"]
    assert {run.cell.arm for run in failed} == {"pre"}
    assert {(run.updates, run.seconds, run.detail) for run in failed} == {
        (0, 0.0, f"{NOT_STARTED}stopped at the limit of 1 GiB")
    }


def test_pieces_of_words_are_not_scored(tmp_path: Path) -> None:
    path = studies.write_spec(tmp_path)
    (tmp_path / "data-bin" / "dict.tgt.txt").write_text("hou@@ 3\nse 3\n")
    with pytest.raises(ResDualError, match="add --post-process subword_nmt"):
        make_plan(*with_records(path))
    path = studies.write_spec(tmp_path, decoding={"options": "--post-process subword_nmt"})
    assert make_plan(*with_records(path)).tasks


@pytest.mark.slow
def test_a_stage_stops_the_study_by_its_criterion(tmp_path: Path) -> None:
    stages = {"depth": {"seeds": 1, "stop_below": 1.0}}
    spec, study, plan = done(studies.write_spec(tmp_path, stages=stages))
    assert plan.stopped == "depth" and not plan.open
    assert {run.seed for run in plan.runs if run.role == "judging"} == {101}
    assert {run.budget for run in plan.runs if run.role == "judging"} == {40}
    findings = collect(spec, study)
    assert findings.notes == (Note("stopped", {"stage": "depth"}),)
    verdict = judge(findings)
    assert verdict.decision == "do not adopt" and not verdict.is_interim
    assert [one.name for one in verdict.criteria if one.state is False] == ["stage"]
    stages = {"depth": {"seeds": 1, "stop_below": -1.0}}
    assert not done(studies.write_spec(tmp_path, stages=stages))[2].stopped


@pytest.mark.slow
def test_the_second_stage_looks_at_every_point_of_its_curves(tmp_path: Path) -> None:
    def evaluate(attempt: Any) -> Any:
        """The candidate is ahead at the smallest budget."""
        ending, found = studies.evaluate(attempt)
        ahead = attempt.task.arm == "resdual" and attempt.task.label.endswith("update 20")
        return ending, {**found, "scores": {"bleu": found["scores"]["bleu"] + 5 * ahead}}

    stages = {"depth": {"seeds": 1}, "curves": {"stop_below": 1.0}}
    assert done(studies.write_spec(tmp_path / ".", stages=stages))[2].stopped == "curves"
    (other := tmp_path / "other").mkdir()
    path = studies.write_spec(other, stages=stages)
    studies.work(path, evaluate=evaluate)
    assert not make_plan(*with_records(path)).stopped


def test_texts_in_another_order_are_other_data(tmp_path: Path) -> None:
    """Of a spec whose sides were swapped by mistake, no result is used."""
    for name, line in (("a.src", "one"), ("a.tgt", "two"), ("b.src", "one"), ("b.tgt", "two")):
        (tmp_path / name).write_text(f"{line}\n")
    names, languages = [], {"source_lang": "src", "target_lang": "tgt"}
    for text in (["a.src", "a.tgt"], ["a.tgt", "a.src"]):
        path = studies.write_spec(tmp_path, data={"text": text, **languages})
        names.append(set(make_plan(studies.study_of(path)[0], {}).tasks))
    assert not names[0] & names[1]


def test_a_score_is_repeated_in_the_language_that_sacrebleu_knows(tmp_path: Path) -> None:
    data = {**studies.SPEC["data"], "source_lang": "zh-TW", "target_lang": "ja_XX"}
    spec = studies.study_of(studies.write_spec(tmp_path, data=data))[0]
    assert " -l zh-ja -m bleu " in repeating.scoring(spec, "DATA/data-bin")[-1]
