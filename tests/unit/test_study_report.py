"""Protects the study's report: each verdict said in both languages, one file without the network,
the same numbers in HTML, Markdown and CSV, equal bytes, failures shown, text never taken as markup.
"""
# ruff: noqa: RUF001

import math
import re
import string
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Iterator, Tuple
from xml.etree import ElementTree

import pytest
from helpers.findings import BASELINE, CANDIDATE, made_findings
from helpers.pages import LIMITS, RATIOS, page, rows, words_of

from resdual_fairseq.errors import ResDualError
from resdual_fairseq.study.analysis.table import Cell, Change, Findings, Interval, Note
from resdual_fairseq.study.analysis.verdict import judge
from resdual_fairseq.study.engine import outcomes, processes
from resdual_fairseq.study.planning.findings import NOT_STARTED
from resdual_fairseq.study.report import drawing, write_report, write_tables
from resdual_fairseq.study.report.analysis import Analysis
from resdual_fairseq.study.report.arm_figures import of_arms
from resdual_fairseq.study.report.formats import gain, limit, plain, share
from resdual_fairseq.study.report.quality_figures import draw
from resdual_fairseq.study.report.texts import LANGUAGES, Texts, entries
from resdual_fairseq.study.report.training_figures import draw_curve
from resdual_fairseq.study.report.tuned import on_edge
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


@pytest.mark.slow
def test_failing_arms_are_results(failing: Tuple[Findings, Path]) -> None:
    _, folder = failing
    told = words_of((folder / "report.html").read_text(encoding="utf-8"))
    assert "did not train: 3 of 3 failed (diverged 3)" in told
    assert "1 of 3 failed (diverged 1)" in told
    assert "3/3" in (folder / "report.depth.svg").read_text(encoding="utf-8")
    assert "ended from outside 2" in told
    assert "tried: post 2+2, post 4+4. Lower ones were not tried" in told
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


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_done_yet_is_a_page_as_well(language: str, tmp_path: Path) -> None:
    findings = replace(made_findings(criteria=LIMITS), runs=[])
    told = words_of(page(findings, tmp_path, language))
    assert {"en": "Undecided on residual", "ja": "（保留）"}[language] in told


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


def test_what_the_spec_leaves_out_is_said(tmp_path: Path) -> None:
    short = {"values": {"lr": [0.1, 0.2]}, "budget": 10}
    findings = made_findings(budgets=(10, 20), search=short, depths=("2", "4"))
    told = words_of(page(findings, tmp_path))
    for sentence in (
        "One data set, from de to en",
        "All of the data was used",
        "Widths tried: 64; layers tried: 2+2, 4+4",
        "The longest training was 20 updates",
        "Tuned at 10 updates, judged at longer trainings as well",
        "Power 0.8 is for detecting a gain, not for adopting",
    ):
        assert sentence in told


def test_what_was_changed_or_is_no_longer_used_is_said(tmp_path: Path) -> None:
    changes = (
        Change(
            "2026-01-02T03:04:05+00:00", 4, ("criteria.metric: bleu -> chrf", "threads: 1 -> 2")
        ),
        Change("2026-01-03T03:04:05+00:00", 4, ("threads: 2 -> 4",)),
        Change("2026-01-01T03:04:05+00:00", 0, ("seeds: [11] -> [11, 12]",)),
    )
    findings = replace(made_findings(), changes=changes, unused_seconds=7200.0)
    told = words_of(page(findings, tmp_path))
    assert "On 2026-01-02, with 4 models tested, the spec was changed in what decides" in told
    assert "(criteria.metric: bleu -> chrf)" in told
    assert "threads" not in told and "2026-01-03" not in told and "2026-01-01" not in told
    assert told.count("holds 2 hours of training and test that this spec does not ask for") == 2


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
        assert "the narrower the range" not in told and "Trained at none" not in told
    else:
        assert "予備測定が失敗したため未実行：上限（0.2 GiB）" in told


def test_a_study_whose_runs_are_not_all_known_says_so(tmp_path: Path) -> None:
    findings = replace(made_findings(), notes=(Note("not_all_known", {"what": "tuning"}),))
    n = len(findings.runs)
    assert f"{n} of the {n} runs known by now" in words_of(page(findings, tmp_path))
    told = words_of(page(findings, tmp_path, "ja"))
    assert "進行中：調整" in told and "tuning" not in told


def test_scores_of_tokens_are_told_from_those_of_text(tmp_path: Path) -> None:
    sentence = "scores are of the data-bin's own tokens, and not comparable with published ones"
    findings = made_findings()
    assert sentence in words_of(page(findings, tmp_path))
    data = findings.spec.data.model_copy(update={"reference": tmp_path / "test.en"})
    findings = replace(findings, spec=findings.spec.model_copy(update={"data": data}))
    assert sentence not in words_of(page(findings, tmp_path))


def test_best_values_on_an_edge_are_told() -> None:
    analysis = Analysis(made_findings(losses=LOSSES))
    assert on_edge(analysis, Cell(CANDIDATE, "6+6", 64, 1.0)) == []
    assert on_edge(analysis, Cell(BASELINE, "6+6", 64, 1.0)) == ["lr"]
    runs = [replace(run, outcome=None) if run.values == {"lr": 0.001} else run
            for run in analysis.findings.runs]  # fmt: skip
    unfinished = Analysis(replace(analysis.findings, runs=runs))
    assert on_edge(unfinished, Cell(BASELINE, "6+6", 64, 1.0)) == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_is_said_of_arms_that_do_not_translate(language: str, tmp_path: Path) -> None:
    findings = made_findings(budgets=(10, 20), seed_sd=0.0)
    runs = [
        replace(run, scores={"bleu": 0.3 if run.cell.arm == BASELINE else 0.1})
        for run in findings.runs
    ]
    told = words_of(page(replace(findings, runs=runs), tmp_path, language))
    floor, gained = {
        "en": ("Both arms stay below 1 BLEU", "does not get as good"),
        "ja": ("どちらの方式も BLEU が 1 未満", "達していません"),
    }[language]
    assert floor in told and gained not in told


@pytest.mark.parametrize("language", LANGUAGES)
def test_updates_of_runs_are_told_where_budgets_are_something_else(
    language: str, tmp_path: Path
) -> None:
    findings = made_findings()
    hours = findings.spec.budgets.model_copy(update={"unit": "hours"})
    note = Note("speed_busy", {"cores": "2.0"})
    timed = replace(
        findings, spec=findings.spec.model_copy(update={"budgets": hours}), notes=(note,)
    )
    head = {"en": "<th>Updates</th>", "ja": "<th>更新回数</th>"}[language]
    assert head in re.sub(r"<th [^>]*>", "<th>", page(timed, tmp_path, language))
    assert head not in re.sub(r"<th [^>]*>", "<th>", page(findings, tmp_path, language))
    wanted = {"en": "Measure the arms' speeds again", "ja": "速度を測り直してください"}[language]
    assert wanted in words_of(page(timed, tmp_path, language))


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResDualError, match=r"cannot be made \(Not a directory\)"):
        write_tables(made_findings(), tmp_path / "file" / "report")


def test_both_languages_have_every_text_with_the_same_places() -> None:
    def places(text: str) -> set:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name} - {"n"}

    for key, entry in entries().items():
        assert set(entry) - {"one"} == set(LANGUAGES), key
        assert all(text.strip() for text in entry.values()), key
        if "one" in entry:
            assert places(entry["one"]) <= places(entry["en"]), key
        assert places(entry["en"]) == places(entry["ja"]), key


def test_no_text_is_left_over() -> None:
    folder = Path(write_report.__code__.co_filename).parent
    code = "".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.py"))
    code += "".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.j2"))
    prefixes = tuple(set(re.findall(r'"([a-z]+_(?:[a-z]+_)?)(?:"|\{)', code)))
    names = set(re.findall(r'"([a-z_0-9]+)"', code))
    for key in entries():
        assert key in names or key.startswith((*prefixes, "figure_")), key


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


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_gain_at_the_margin_asks_for_no_thousands_of_seeds(language: str, tmp_path: Path) -> None:
    gained = judge(made_findings(gain=0.5)).primary.gain
    assert gained is not None
    findings = made_findings(gain=0.5, criteria={"margin": gained.estimate + 0.001})
    told = words_of(page(findings, tmp_path, language))
    assert {"en": "no reasonable number of seeds", "ja": "現実的な数のシード"}[language] in told
    assert "further seeds" not in told and "second look" not in told.split("In detail")[0]


def test_sentences_on_failures_are_told_in_japanese() -> None:
    """As outcomes.py makes them; a log's own line is left as it is."""
    say = Texts("ja")
    valid, train = [(100, 15.0)], [(50, 3.0)]
    failed = [
        outcomes.divergence(outcomes.Losses(train, valid, {}), 12.0),
        outcomes.divergence(outcomes.Losses(train, [(100, math.inf)], {}), math.inf),
        outcomes.divergence(outcomes.Losses(train, [], {}), 12.0),
    ]
    sentences = [one.detail for one in failed if one is not None]
    sentences += [outcomes.overflow_sentence(outcomes.Losses(one, [], {})) for one in (train, [])]
    limits = {"time": "2 hours", "memory": "3 GiB"}
    for stopped in limits:
        end = processes.Exit(-9, 1.0, 0, stopped)
        sentences.append(outcomes.ending(end, Path("log"), limits).detail)
    assert len(sentences) == 7
    told = [say.translated(sentence) for sentence in sentences]
    assert set(re.findall("[A-Za-z]{3,}", "".join(told))) == {"NaN", "inf", "hours", "GiB"}
    assert "100 更新" in told[0] and "12.00" in told[0] and "15.00" in told[0]
    assert "12.00" not in told[1]
    assert [Texts("en").translated(one) for one in sentences] == sentences
    assert say.translated("KeyError: 'x'") == "KeyError: 'x'"


def test_japanese_texts_hold_no_english() -> None:
    known = {
        "BLEU", "chrF", "TER", "COMET", "sacreBLEU", "Holm", "FLOPs", "GiB", "DATA", "SD",
        "torch", "Python", "Kocmi", "Wortsman", "Dodge", "resdual", "fairseq", "NaN",
        "limits", "hours", "memory", "gib",
    }  # fmt: skip
    for key, entry in entries().items():
        text = re.sub(r"\{\w+\}", "", entry["ja"])
        assert set(re.findall(r"[A-Za-z]{3,}", text)) <= known, key


def test_an_unknown_language_is_named() -> None:
    with pytest.raises(ValueError, match="no report in 'fr'"):
        Texts("fr")


@pytest.mark.parametrize(
    "value, text",
    [(0.0, "0"), (1234567, "1,234,567"), (0.04169, "0.04169"), (1.532e11, "1.532e+11")],
)
def test_numbers_keep_their_digits(value: float, text: str) -> None:
    assert plain(value) == text


def test_a_number_is_printed_on_its_side_of_what_it_is_compared_with() -> None:
    near = Interval(0.497, 0.001, 0.9)
    assert gain(near, "bleu", (0.0, 0.5)) == "+0.497 [+0.001,\u00a0+0.900]"
    assert gain(near, "bleu") == "+0.50 [+0.00,\u00a0+0.90]"
    assert share(Interval(1.03, 1.02, 1.0503), 1.05) == "+3.00\u00a0% [+2.00,\u00a0+5.03]"
    assert share(Interval(1.05, 1.04, 1.05), 1.05) == "+5.0\u00a0% [+4.0,\u00a0+5.0]"
    assert (limit(1.05), limit(1.0525)) == ("+5.0\u00a0%", "+5.25\u00a0%")


def test_points_that_tip_the_verdict_are_rounded_to_the_safe_side(tmp_path: Path) -> None:
    ratios = {
        **RATIOS,
        "latency_p50": Interval(1.07, 1.06, 1.0731),
        "memory_gib": Interval(1.0469, 1.0469, 1.0469),
    }
    findings = made_findings(gain=1.5, seed_sd=0.1, ratios=ratios, criteria=LIMITS)
    told = words_of(page(findings, tmp_path))
    assert "limits of at least these, the costs would hold: latency +7.4 %" in told
    assert "training memory +4.6 %" in told
    measured = judge(findings).primary.gain
    assert measured is not None
    stated = re.findall(r"If more than ([0-9.]+) BLEU", told)
    assert measured.estimate <= float(stated[0]) < measured.estimate + 0.01


@pytest.mark.parametrize("outcome, crosses", [(None, 0), ("killed", 0), ("diverged", 1)])
def test_a_cross_ends_the_curve_of_a_run_that_failed(outcome: Any, crosses: int) -> None:
    analysis = Analysis(made_findings(seeds=(11,)))
    run = replace(analysis.judging[0], curve=((4, 5.0), (8, 4.0)), outcome=outcome)
    _, (axis,) = drawing.panels([""])
    draw_curve(axis, run, drawing.looks(analysis)[CANDIDATE])
    assert [line.get_marker() for line in axis.get_lines()].count(drawing.FAILED) == crosses


def test_a_validation_loss_is_not_said_to_be_of_the_test_set(tmp_path: Path) -> None:
    for metric, is_test in (("bleu", True), ("valid_loss", False)):
        findings = made_findings(sentences=20, criteria={"metric": metric})
        told = words_of(page(findings, tmp_path))
        assert ("on 20 test sentences" in told) == is_test
        assert ("The validation loss judges here" in told) != is_test


def test_captions_name_the_width_where_there_are_several(tmp_path: Path) -> None:
    widths = [{"width": 64, "ffn": 256, "heads": 4}, {"width": 128, "ffn": 512, "heads": 4}]
    told = words_of(page(made_findings(widths=widths, depths=("2", "4")), tmp_path))
    assert "BLEU over depth, width 64" in told and "with its interval, width 64" in told
    assert ", width 64" not in words_of(page(made_findings(depths=("2", "4")), tmp_path))


def test_rates_of_a_search_that_learns_are_not_called_the_same(tmp_path: Path) -> None:
    findings = made_findings(losses=LOSSES)
    alike = "the same rates for all arms"
    assert alike in words_of(page(findings, tmp_path))
    search = findings.spec.search.model_copy(update={"method": "tpe"})
    findings = replace(findings, spec=findings.spec.model_copy(update={"search": search}))
    assert alike not in words_of(page(findings, tmp_path))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_single_failure_more_says_why_it_leaves_reliability_open(
    language: str, tmp_path: Path
) -> None:
    findings = made_findings(gain=1.5, seed_sd=0.1, outcomes={(CANDIDATE, 11): "diverged"})
    told = words_of(page(findings, tmp_path, language))
    assert {"en": "a single failure more may be chance", "ja": "偶然の可能性があるため"}[
        language
    ] in told
