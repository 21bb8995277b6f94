"""Protects reports of studies that are not done, or were ended by a stage."""
# ruff: noqa: RUF001

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.findings import BASELINE, CANDIDATE, made_findings
from helpers.pages import LIMITS, page, words_of

from resdual_fairseq.study.analysis.table import Note
from resdual_fairseq.study.planning.findings import NOT_STARTED
from resdual_fairseq.study.report.analysis import Analysis
from resdual_fairseq.study.report.arm_figures import of_arms
from resdual_fairseq.study.report.texts import LANGUAGES, Texts


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_interim_state_says_so(language: str, tmp_path: Path) -> None:
    findings = made_findings(
        gain=3.0, outcomes={(CANDIDATE, 14): None}, leave_out=((BASELINE, 15),)
    )
    told = words_of(page(findings, tmp_path, language))
    expected = {
        "en": ("Interim state. 8 of 10", f"Finish the planned run of {CANDIDATE} with the seed 14"),
        "ja": ("中間結果です。 主要評価項目の計画済み実行 10 件のうち 8 件", "シード 14）を完了"),
    }
    assert all(one in told for one in expected[language])


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_done_yet_is_a_page_as_well(language: str, tmp_path: Path) -> None:
    findings = replace(made_findings(criteria=LIMITS), runs=[])
    told = words_of(page(findings, tmp_path, language))
    assert {"en": "Undecided on residual", "ja": "（保留）"}[language] in told


@pytest.mark.parametrize("language", LANGUAGES)
def test_models_that_could_not_be_calibrated_are_no_runs(language: str, tmp_path: Path) -> None:
    """Nor does their want of memory speak of learning rates."""
    findings = made_findings()
    reason = "stopped at the limit of 0.2 GiB"
    runs = [
        replace(run, role=role, outcome="out of memory", detail=NOT_STARTED + reason, updates=0,
                seconds=0.0, scores={}, valid_loss=None)
        for role in ("judging", "tuning") for run in findings.runs
    ]  # fmt: skip
    findings = replace(findings, runs=runs, untrained_loss=math.inf)
    told = words_of(page(findings, tmp_path, language))
    figure = of_arms(Analysis(findings), Texts(language))
    assert figure is not None and list(figure.axes[0].get_xticks()) == []
    assert "inf" not in re.findall(r"\w+", told)
    if language == "en":
        assert "0 of 0 runs" in told and NOT_STARTED + reason in told
        assert "the narrower the range" not in told and "trained at none" not in told
    else:
        assert "予備測定が失敗したため未実行：上限（0.2 GiB）" in told


def test_a_study_whose_runs_are_not_all_known_says_so(tmp_path: Path) -> None:
    findings = replace(made_findings(), notes=(Note("not_all_known", {"what": "tuning"}),))
    n = len(findings.runs)
    assert f"{n} of the {n} runs known by now" in words_of(page(findings, tmp_path))
    told = words_of(page(findings, tmp_path, "ja"))
    assert "進行中：調整" in told and "tuning" not in told


def test_a_study_that_its_stage_ended_says_how_it_would_go_on(tmp_path: Path) -> None:
    findings = made_findings(seeds=(11, 12, 13), stages={"depth": {"stop_below": 0.3}})
    told = words_of(page(replace(findings, stopped="depth"), tmp_path))
    assert "ended at its own bound (stages.depth.stop_below, 0.3)" in told
    assert "up to the seeds 12, 13" in told


def test_a_study_that_its_stage_ended_early_is_not_called_undecidable(tmp_path: Path) -> None:
    stages = {"depth": {"stop_below": 0.3}}
    findings = replace(made_findings(gain=-1.0, seeds=(11,), stages=stages), stopped="depth")
    told = words_of(page(findings, tmp_path))
    assert "Do not adopt residual" in told and "pairs decide nothing" not in told
