"""Protects the study's report: each verdict said in both languages, one file without the network,
the same numbers in HTML, Markdown and CSV, equal bytes, failures shown, text never taken as markup.
"""
# ruff: noqa: RUF001

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Iterator, Tuple
from xml.etree import ElementTree

import pytest
from helpers.findings import BASELINE, CANDIDATE, made_findings
from helpers.pages import LIMITS, RATIOS, page, rows, words_of

from resdual_fairseq.errors import ResDualError
from resdual_fairseq.study.analysis.table import Findings, Interval, Note
from resdual_fairseq.study.analysis.verdict import judge
from resdual_fairseq.study.report import drawing, write_report, write_tables
from resdual_fairseq.study.report.analysis import Analysis
from resdual_fairseq.study.report.formats import gain
from resdual_fairseq.study.report.quality_figures import draw
from resdual_fairseq.study.report.texts import LANGUAGES, Texts
from resdual_fairseq.study.report.training_figures import draw_curve
from resdual_fairseq.study.spec.keys import Arm

LOSSES = {CANDIDATE: [2.3, 2.1, 2.0, None], BASELINE: [2.2, 2.0, 1.9, 1.8]}
VERDICTS: Dict[str, Tuple[Dict[str, Any], str, str]] = {
    "adopt": ({"gain": 1.5, "seed_sd": 0.1}, "Adopt residual", "採用を推奨します"),
    "do not adopt": ({"gain": -1.0}, "Do not adopt residual", "採用は推奨しません"),
    "undecided": ({"gain": 0.6, "seed_sd": 1.0}, "Undecided on residual", "（保留）"),
}
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Tuple[Findings, Path]:
    """Three arms at two depths; one never trains at the deeper, and once at the other."""
    arms = (CANDIDATE, BASELINE, "post")
    findings = made_findings(
        gain=1.0, arms=arms, depths=("2", "4"), budgets=(10, 20), fractions=(0.5, 1.0),
        seeds=(11, 12, 13), losses={**LOSSES, "post": [None] * 4}, sentences=20, ratios=RATIOS,
    )  # fmt: skip
    runs = []
    for run in findings.runs:
        if run.cell.arm == "post" and (run.cell.depth == "4+4" or run.seed == 12):
            detail = f"loss \x1b[0m 14.2 {SCRIPT}"
            run = replace(run, outcome="diverged", detail=detail, scores={}, valid_loss=None)
        if run.cell.arm == BASELINE and run.seed == 13:
            run = replace(run, failures={"killed": 2})
        runs.append(replace(run, curve=((4, 5.0), (8, 4.0))))
    folder = tmp_path_factory.mktemp("failing")
    findings = replace(findings, runs=runs)
    for language in LANGUAGES:
        write_report(findings, folder, language)
    return findings, folder


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("decision", VERDICTS)
def test_each_verdict_says_so(decision: str, language: str, tmp_path: Path) -> None:
    parts, english, japanese = VERDICTS[decision]
    findings = made_findings(**parts, ratios=RATIOS, criteria=LIMITS)
    assert judge(findings).decision == decision
    said = english if language == "en" else japanese
    others = {one[1 if language == "en" else 2] for one in VERDICTS.values()} - {said}
    told = words_of(page(findings, tmp_path, language))
    assert said in told and not any(other in told for other in others)
    stem = "report" if language == "en" else "report.ja"
    assert said in (tmp_path / f"{stem}.md").read_text(encoding="utf-8")


def test_criteria_have_tick_cross_or_question_mark(tmp_path: Path) -> None:
    ratios = {**RATIOS, "step_seconds": Interval(1.3, 1.2, 1.4)}
    ratios.pop("memory_gib")
    told = words_of(page(made_findings(gain=1.5, ratios=ratios, criteria=LIMITS), tmp_path))
    assert "✓ holds quality" in told and "✗ does not hold training time" in told
    assert "? open training memory not measured" in told


def test_an_undecided_study_names_what_would_decide_it(tmp_path: Path) -> None:
    findings = made_findings(gain=0.6, seed_sd=1.0)
    (wanted,) = judge(findings).wanted
    told = words_of(page(findings, tmp_path))
    assert f"Run {wanted.count} further seeds of each arm" in told
    assert "They are no chance to adopt" in told and "a second look" in told


@pytest.mark.slow
def test_failing_arms_are_results(failing: Tuple[Findings, Path]) -> None:
    _, folder = failing
    told = words_of((folder / "report.html").read_text(encoding="utf-8"))
    assert "did not train: 3 of 3 failed (diverged 3)" in told
    assert "1 of 3 failed (diverged 1)" in told
    assert "3/3" in (folder / "report.depth.svg").read_text(encoding="utf-8")
    assert "ended from outside 2" in told
    assert "tried: post 2+2, post 4+4. Lower values were not tried" in told
    told = words_of((folder / "report.ja.html").read_text(encoding="utf-8"))
    assert "学習できず：3 件すべて失敗（発散 3）" in told


def test_a_baseline_that_never_trains_is_named(tmp_path: Path) -> None:
    outcomes: Any = {(BASELINE, seed): "diverged" for seed in (11, 12, 13)}
    told = words_of(page(made_findings(seeds=(11, 12, 13), outcomes=outcomes), tmp_path))
    assert "Adopt residual" in told and f"Never trained there: {BASELINE}" in told


def elements(folder: Path) -> Iterator[ElementTree.Element]:
    for language in ("", ".ja"):
        html = (folder / f"report{language}.html").read_text(encoding="utf-8")
        yield from ElementTree.fromstring(html).iter()


def test_the_page_is_one_well_formed_file_without_network_or_script(
    failing: Tuple[Findings, Path],
) -> None:
    for element in elements(failing[1]):
        name = element.tag.rpartition("}")[2]
        assert name not in ("script", "link", "img", "iframe", "object", "image")
        for key, value in element.attrib.items():
            assert not key.startswith("on")
            if key.rpartition("}")[2] in ("href", "src", "srcset", "action"):
                assert value.startswith("#")
            assert "url(" not in value or "url(#" in value
        if name == "style":
            assert "url(" not in (element.text or "") and "@import" not in (element.text or "")


def test_references_within_the_page_lead_somewhere_and_names_are_unique(
    failing: Tuple[Findings, Path],
) -> None:
    html = (failing[1] / "report.html").read_text(encoding="utf-8")
    names = re.findall(r'\bid="([^"]+)"', html)
    assert len(set(names)) == len(names)
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', html)) <= set(names)


def test_markdown_and_csv_hold_the_numbers_of_the_page(failing: Tuple[Findings, Path]) -> None:
    findings, folder = failing
    primary = judge(findings).primary
    assert primary.gain is not None and primary.seed_sd is not None
    shown = gain(primary.gain, "bleu")
    for name in ("report.html", "report.md", "report.ja.html", "report.ja.md"):
        assert (folder / name).read_text(encoding="utf-8").count(shown) >= 3
    found = rows(folder / "comparisons.csv")
    (row,) = [one for one in found if one["reading"] == "primary"]
    assert [float(row[name]) for name in ("gain", "gain_low", "gain_high")] == list(primary.gain)
    assert (float(row["seed_sd"]), row["arm"]) == (primary.seed_sd, CANDIDATE)
    assert {one["metric"] for one in found} == {"bleu", "valid_loss"}


def test_csv_is_tidy_and_complete(failing: Tuple[Findings, Path], tmp_path: Path) -> None:
    findings, folder = failing
    runs = rows(folder / "runs.csv")
    assert len(runs) == len(findings.runs)
    assert [float(one["bleu"]) for one in runs if one["bleu"]] == [
        run.scores["bleu"] for run in findings.runs if run.scores
    ]
    assert len(rows(folder / "costs.csv")) == sum(len(one.values) for one in findings.costs)
    for path in write_tables(findings, tmp_path):
        assert path.read_bytes() == (folder / path.name).read_bytes()


def test_every_score_stands_in_the_table_of_runs(failing: Tuple[Findings, Path]) -> None:
    findings, folder = failing
    html = (folder / "report.html").read_text(encoding="utf-8")
    for run in findings.runs:
        if run.scores:
            assert f">{run.scores['bleu']:.2f}<" in html


@pytest.mark.slow
def test_equal_findings_give_equal_bytes(failing: Tuple[Findings, Path], tmp_path: Path) -> None:
    findings, folder = failing
    for path in write_report(findings, tmp_path, "ja"):
        assert path.read_bytes() == (folder / path.name).read_bytes(), path.name


def renamed(findings: Findings, name: str) -> Findings:
    """The candidate under a name that no spec lets through."""
    spec = findings.spec
    arms = {name: spec.arms[CANDIDATE], BASELINE: Arm(options=["--arch", name])}
    criteria = spec.criteria.model_copy(update={"candidate": name})
    spec = spec.model_copy(update={"arms": arms, "criteria": criteria, "name": name})
    runs = [
        replace(run, cell=run.cell._replace(arm=name)) if run.cell.arm == CANDIDATE else run
        for run in findings.runs
    ]
    return replace(findings, spec=spec, runs=runs)


def test_text_from_outside_is_never_markup(tmp_path: Path) -> None:
    findings = renamed(with_translations(made_findings(sentences=20), tmp_path), SCRIPT)
    findings = replace(
        findings, environment={SCRIPT: SCRIPT}, notes=(Note("not_all_known", {"what": SCRIPT}),)
    )
    html = page(findings, tmp_path)
    assert "<script" not in html and html.count("&lt;script") > 20
    assert SCRIPT in words_of(html)
    assert "<script" not in (tmp_path / "report.md").read_text(encoding="utf-8")
    ElementTree.fromstring((tmp_path / "report.arms.svg").read_text(encoding="utf-8"))


def with_translations(findings: Findings, folder: Path) -> Findings:
    """Hypotheses of every judging run, of which line 7 is the candidate's best."""
    runs = []
    for number, run in enumerate(findings.runs):
        if run.role == "judging" and run.sentences is not None:
            path = folder / f"hypotheses-{number}.txt"
            lines = [f"{run.cell.arm} says {i} {SCRIPT} | *x*" for i in range(1, 21)]
            path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            sentences = run.sentences.copy()
            sentences[6, 2:6] = sentences[6, 6:] if run.cell.arm == CANDIDATE else 0
            run = replace(run, hypotheses=path, sentences=sentences)
        runs.append(run)
    sources = tuple(f"Satz {i}" for i in range(1, 21))
    return replace(findings, runs=runs, sources=sources)


def test_translations_that_differ_most_are_shown(tmp_path: Path) -> None:
    findings = with_translations(made_findings(sentences=20), tmp_path)
    told = words_of(page(findings, tmp_path))
    shown = re.findall(r"Test sentence (\d+): ([+-][\d.]+) sentence BLEU", told)
    assert shown[0][0] == "7" and f"{CANDIDATE} says 7" in told and "source Satz 7" in told
    differences = [float(difference) for _, difference in shown]
    assert differences[:3] == sorted(differences[:3], reverse=True)


def test_without_translations_a_line_says_so(failing: Tuple[Findings, Path]) -> None:
    html = (failing[1] / "report.html").read_text(encoding="utf-8")
    assert "The translations that were scored are not on this machine" in html


def test_costs_are_named_by_language_and_unknown_ones_by_themselves(
    failing: Tuple[Findings, Path],
) -> None:
    for name, label in (("report", "time of an update (s)"), ("report.ja", "1 更新の時間（秒）")):
        told = words_of((failing[1] / f"{name}.html").read_text(encoding="utf-8"))
        assert label in told and "made_up_cost" in told and "+2.0 % [+1.0, +3.0]" in told


def test_the_axis_of_bleu_ends_where_bleu_ends() -> None:
    figure, (axis,) = drawing.panels([""])
    analysis = Analysis(made_findings(seed_sd=40.0, seeds=(11, 12)))
    assert figure and draw(axis, analysis, Texts("en"), [analysis.at("6+6")])
    assert axis.get_ylim() == (0, 100)
    failed: Any = {(CANDIDATE, 13): "diverged"}  # its cross stands in a strip below
    analysis = Analysis(made_findings(seed_sd=40.0, seeds=(11, 12, 13), outcomes=failed))
    assert draw(axis, analysis, Texts("en"), [analysis.at("6+6")])
    assert axis.get_ylim()[0] < 0 and min(axis.get_yticks()) >= 0


def test_the_first_page_says_that_differences_are_paired(failing: Tuple[Findings, Path]) -> None:
    for name, text in (
        ("report", "and not the ratio of the two columns"),
        ("report.ja", "列の比ではありません"),
    ):
        assert text in words_of((failing[1] / f"{name}.html").read_text(encoding="utf-8"))


def test_a_study_of_one_depth_has_its_arms_in_rows(tmp_path: Path) -> None:
    arms = [CANDIDATE, BASELINE, *(f"rival-{i}" for i in range(10))]
    findings = made_findings(arms=arms, outcomes={("rival-3", 12): "diverged"})
    told = words_of(page(findings, tmp_path))
    assert "BLEU of the arms (6+6 layers)" in told and f"Gain over {BASELINE} (6+6" in told
    drawn = (tmp_path / "report.arms.svg").read_text(encoding="utf-8")
    assert all(arm in drawn for arm in arms) and "1/5" in drawn
    assert len(set(drawing.looks(Analysis(findings)).values())) == len(arms)
    assert not (tmp_path / "report.depth.svg").exists()


def test_a_language_model_has_no_translations(tmp_path: Path) -> None:
    criteria = {"metric": "perplexity", "margin": 0.1}
    findings = made_findings(
        task="language_modeling", depths=["4", "6"], seed_sd=0.05, criteria=criteria
    )
    told = words_of(page(findings, tmp_path))
    assert "A language model has no translations." in told and "lower is better" in told
    assert "encoder" not in (tmp_path / "report.depth.svg").read_text(encoding="utf-8")


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResDualError, match=r"cannot be made \(Not a directory\)"):
        write_tables(made_findings(), tmp_path / "file" / "report")


@pytest.mark.parametrize("outcome, crosses", [(None, 0), ("killed", 0), ("diverged", 1)])
def test_a_cross_ends_the_curve_of_a_run_that_failed(outcome: Any, crosses: int) -> None:
    analysis = Analysis(made_findings(seeds=(11,)))
    run = replace(analysis.judging[0], curve=((4, 5.0), (8, 4.0)), outcome=outcome)
    _, (axis,) = drawing.panels([""])
    draw_curve(axis, run, drawing.looks(analysis)[CANDIDATE])
    assert [line.get_marker() for line in axis.get_lines()].count(drawing.FAILED) == crosses
