"""Protects the report of a study that has grown: what was found before stays in sight."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest
from helpers import studies
from helpers.findings import made_findings
from helpers.pages import page, words_of

from resdual_fairseq.study import cli
from resdual_fairseq.study.analysis.comparisons import primary_place
from resdual_fairseq.study.analysis.table import Cell, Findings, Run
from resdual_fairseq.study.analysis.verdict import Wanted, judge
from resdual_fairseq.study.engine.attempt import Attempt
from resdual_fairseq.study.engine.outcomes import Ending
from resdual_fairseq.study.planning.findings import collect
from resdual_fairseq.study.planning.todo import make_plan, wanted
from resdual_fairseq.study.report.analysis import Analysis
from resdual_fairseq.study.report.front import interim
from resdual_fairseq.study.report.texts import Texts

SEARCH = {"values": {"lr": [0.001, 0.002, 0.004]}, "extend": 1}
SOBOL = {"method": "sobol", "ranges": {"lr": {"low": 0.001, "high": 0.004}}, "trials": 2}
ARMS = {**studies.SPEC["arms"], "post": "--arch resdual_transformer --residual post"}
SMALL = {"search": SEARCH, "depths": [2], "budgets": {"unit": "updates", "values": [20]}}


def train(attempt: Attempt) -> studies.Found:
    """Low rates are best, but for Post-LN, which makes the grid grow upwards as well."""
    ending, found = studies.train(attempt)
    loss = 0.1 / found["valid_loss"] if attempt.task.arm == "post" else found["valid_loss"]
    return ending, {**found, "valid_loss": loss}


def found_by(tmp_path: Path, **changes: Any) -> Findings:
    return collect(*studies.study_of(write(tmp_path, **changes)))


def write(tmp_path: Path, **changes: Any) -> Path:
    return studies.write_spec(tmp_path, **{**SMALL, **changes})


def judged(findings: Findings) -> Dict[Tuple[Any, ...], Run]:
    """What is done, without the attempts that are told of the first of several runs."""
    return {
        (run.cell, tuple(run.values.items()), run.seed, run.budget): replace(run, failures={})
        for run in findings.runs
        if run.role == "judging" and run.outcome is not None
    }


def size_of(wants: Tuple[Wanted, ...]) -> List[Tuple[str, ...]]:
    return [one.arms for one in wants if one.what == "tuning"]


def test_a_new_depth_takes_nothing_out_of_the_report(tmp_path: Path) -> None:
    studies.work(write(tmp_path), train=train)
    before = found_by(tmp_path)
    after = found_by(tmp_path, depths=[2, 3])
    assert judged(after) == judged(before)
    assert len(judged(before)) == 4
    assert after.spent == before.spent
    old, new = judge(before), judge(after)
    assert (old.decision, old.criteria) == (new.decision, new.criteria)
    assert not new.is_interim
    assert {(cell.arm, cell.depth) for cell in after.untuned} == {
        ("pre", "3+3"), ("resdual", "3+3"),
    }  # fmt: skip


def test_a_new_arm_makes_the_verdict_wait_and_nothing_vanish(tmp_path: Path) -> None:
    studies.work(write(tmp_path), train=train)
    before = found_by(tmp_path)
    path = write(tmp_path, arms=ARMS)
    spec, study = studies.study_of(path)
    for calibrated in (False, True):
        if calibrated:
            studies.planned(path)
        findings = collect(spec, study)
        assert judged(findings) == judged(before)
        assert {cell.arm for cell in findings.untuned} == {"post"}
        verdict = judge(findings)
        assert (verdict.decision, verdict.is_interim) == ("undecided", True)
        assert size_of(verdict.wanted) == [("post",)]
        assert verdict.primary.gain == judge(before).primary.gain
        known = study.records()
        kinds = {one.kind for one in wanted(make_plan(spec, known), study, known)}
        assert kinds == ({"train"} if calibrated else {"calibrate"})  # workers wait as before
    text = words_of(page(findings, tmp_path / "report"))
    assert "Finish the tuning of post" in text
    assert "At 2+2 x 32 the tuning of post is not done" in text
    assert cli.results_in_use(spec, study)[1] > len(judged(before))


def test_what_the_grid_grows_to_is_judged_in_the_end(tmp_path: Path) -> None:
    studies.work(write(tmp_path), train=train)
    path = write(tmp_path, arms=ARMS)
    studies.work(path, train=train)
    spec, study = studies.study_of(path)
    whole = collect(spec, study)
    assert not whole.untuned
    values = {(run.cell.arm, run.values["lr"]) for run in whole.runs if run.role == "judging"}
    assert values == {("pre", 0.0005), ("resdual", 0.0005), ("post", 0.008)}
    grown = next(
        run for run in whole.runs
        if run.role == "tuning" and run.cell.arm == "pre" and run.values["lr"] == 0.008
    )  # fmt: skip
    (study.folder(grown.task) / "result.json").unlink()
    early = collect(*studies.study_of(path))
    assert [(cell.arm, cell.depth) for cell in early.untuned] == [("pre", grown.cell.depth)]
    assert judged(early) == judged(whole)


def test_a_new_arm_that_makes_no_grid_grow_yet_hides_nothing(tmp_path: Path) -> None:
    search = {**SEARCH, "extend": 2}
    studies.work(write(tmp_path, search=search), train=train)
    before = found_by(tmp_path, search=search)
    assert {run.values["lr"] for run in judged(before).values()} == {0.00025}
    _, study, plan = studies.planned(write(tmp_path, search=search, arms=ARMS))
    for run in plan.runs:  # the trials of the given grid, of which the highest rate is best
        if run.cell.arm == "post":
            loss = 0.01 / float(run.values["lr"])
            for name in run.train:
                found = {"valid_loss": loss, "valid": [[20, loss]]}
                study.write(studies.record(plan.tasks[name], found))
    early = found_by(tmp_path, search=search, arms=ARMS)
    assert judged(early) == judged(before)
    assert {cell.arm for cell in early.untuned} == {"pre", "resdual", "post"}
    tried = {run.values["lr"] for run in early.runs if run.role == "tuning"}
    assert tried == {0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008}


@pytest.mark.parametrize(
    "search", [{**SEARCH, "extend": 0}, {"values": {"lr": [0.001]}, "extend": 2}, SOBOL]
)
def test_no_verdict_waits_for_an_arm_that_cannot_change_it(
    tmp_path: Path, search: Dict[str, Any]
) -> None:
    studies.work(write(tmp_path, search=search), train=train)
    before = judge(found_by(tmp_path, search=search))
    studies.planned(write(tmp_path, search=search, arms=ARMS))
    findings = found_by(tmp_path, search=search, arms=ARMS)
    assert {cell.arm for cell in findings.untuned} == {"post"}
    assert "untuned_apart" in {note.key for note in findings.notes}
    assert judge(findings) == before


def test_a_decided_verdict_whose_tuning_goes_on_says_so(tmp_path: Path) -> None:
    findings = made_findings()
    place = primary_place(findings)
    arm = Cell("post", place.depth, place.width, 1.0)
    for untuned, words in (((arm,), "the tuning there is not"), ((), "")):
        analysis = Analysis(replace(findings, untuned=untuned))
        assert words in interim(analysis, Texts("en"))
        assert bool(interim(analysis, Texts("en"))) == bool(untuned)


@pytest.mark.parametrize(
    "search",
    [
        {**SEARCH, "values": {"lr": [0.001, 0.002, 0.003, 0.004]}},
        {**SEARCH, "values": {"lr": [0.001, 0.002, 0.004, 0.008]}},  # the best is beyond
        {**SEARCH, "seeds": [1, 2]},
    ],
)
def test_a_new_search_keeps_in_sight_what_was_judged(
    tmp_path: Path, search: Dict[str, Any]
) -> None:
    studies.work(write(tmp_path), train=train)
    before = found_by(tmp_path)
    after = found_by(tmp_path, search=search)
    assert judged(after) == judged(before)
    assert {cell.arm for cell in after.untuned} == {"pre", "resdual"}
    assert size_of(judge(after).wanted) == [("pre", "resdual")]


def test_a_trial_that_is_missing_leaves_the_best_one_in_sight(tmp_path: Path) -> None:
    path = write(tmp_path)
    studies.work(path, train=train)
    spec, study = studies.study_of(path)
    whole = collect(spec, study)
    worse = next(run for run in whole.runs if run.role == "tuning" and run.values["lr"] == 0.004)
    (study.folder(worse.task) / "result.json").unlink()
    early = collect(*studies.study_of(path))
    assert judged(early) == judged(whole)
    assert [cell.arm for cell in early.untuned] == [worse.cell.arm]


@pytest.mark.parametrize(("stages", "to_come"), [({}, 1), ({"depth": {"stop_below": 0.1}}, 0)])
def test_what_is_sure_to_come_is_shown_too(
    tmp_path: Path, stages: Dict[str, Any], to_come: int
) -> None:
    path = write(tmp_path)
    studies.work(path, train=train)
    spec, study = studies.study_of(path)
    gone = next(run for run in collect(spec, study).runs if run.role == "judging")
    (plan_run,) = (run for run in make_plan(spec, study.records()).runs if run.last == gone.task)
    for task in (*plan_run.train, plan_run.last):
        (study.folder(task) / "result.json").unlink()
    findings = found_by(tmp_path, depths=[2, 3], stages=stages)
    rows = [run for run in findings.runs if run.role == "judging" and run.outcome is None]
    assert [(run.cell, run.seed) for run in rows] == to_come * [(gone.cell, gone.seed)]
    assert not judge(findings).wanted[0].arms


@pytest.mark.parametrize("kind", ["calibrate", "train"])
def test_a_study_that_has_just_begun_shows_its_plan(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path)
    if kind == "train":
        studies.planned(path)
    findings = collect(*studies.study_of(path))
    assert not judged(findings)
    assert len(findings.untuned) == 2
    assert size_of(judge(findings).wanted) == [("pre", "resdual")]


def test_of_a_model_that_cannot_run_nothing_is_judged(tmp_path: Path) -> None:
    path = write(tmp_path)
    spec, study = studies.study_of(path)
    for task in make_plan(spec, {}).tasks.values():
        if task.arm == "resdual":
            study.write(studies.record(task, {}, "crashed"))
    findings = collect(*studies.study_of(path))
    assert not judged(findings)
    assert {note.key for note in findings.notes} == {"not_all_known"}


@pytest.mark.parametrize(
    "changes", [{"depths": [2, 3]}, {"arms": ARMS, "search": {**SEARCH, "extend": 0}}]
)
def test_a_verdict_on_a_model_that_cannot_run_stays(
    tmp_path: Path, changes: Dict[str, Any]
) -> None:
    def calibrate(attempt: Attempt) -> studies.Found:
        found = studies.calibrate(attempt)
        return (Ending("diverged"), {}) if attempt.task.arm == "resdual" else found

    own = {"search": changes.get("search", SEARCH)}
    studies.work(write(tmp_path, **own), train=train, calibrate=calibrate)
    before = judge(found_by(tmp_path, **own))
    assert before.decision == "do not adopt"
    if "arms" in changes:
        path = write(tmp_path, **changes)
        spec, study = studies.study_of(path)
        for task in make_plan(spec, study.records()).tasks.values():
            if task.arm == "post":
                study.write(studies.record(task, studies.calibrate(Attempt)[1]))  # type: ignore
    assert judge(found_by(tmp_path, **changes)) == before


def test_what_a_stage_may_call_off_has_not_begun_with_its_trunk(tmp_path: Path) -> None:
    changes = {
        "budgets": {"unit": "updates", "values": [20, 40]},
        "stages": {"depth": {"stop_below": 0.5}},
    }
    path = write(tmp_path, **changes)
    spec, study, _ = studies.done(path)
    judged_first = [run for run in collect(spec, study).runs if run.role == "judging"]
    assert {run.budget for run in judged_first} == {40}
    (study.folder(judged_first[0].task) / "result.json").unlink()
    begun = [run for run in collect(*studies.study_of(path)).runs if run.role == "judging"]
    assert {run.budget for run in begun} == {40}
