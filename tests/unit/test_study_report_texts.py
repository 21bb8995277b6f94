"""Protects the report's words and numbers: both languages, rounding, special cases."""

import math
import re
import string
from dataclasses import replace
from pathlib import Path
from typing import Optional

import pytest
from helpers.findings import BASELINE, CANDIDATE, made_findings
from helpers.pages import LIMITS, RATIOS, page, words_of

from resdual_fairseq.study.analysis.table import Cell, Change, Interval, Note
from resdual_fairseq.study.analysis.verdict import judge
from resdual_fairseq.study.engine import outcomes, processes
from resdual_fairseq.study.report import write_report
from resdual_fairseq.study.report.analysis import Analysis
from resdual_fairseq.study.report.formats import gain, limit, plain, share
from resdual_fairseq.study.report.texts import LANGUAGES, Texts, entries
from resdual_fairseq.study.report.tuned import is_edge, on_edge

LOSSES = {CANDIDATE: [2.3, 2.1, 2.0, None], BASELINE: [2.2, 2.0, 1.9, 1.8]}


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
        Change(
            "2026-01-04T03:04:05+00:00",
            8,
            ("search.values.lr: [1.0] -> [2.0]", "arms.other.options: --a -> --b"),
        ),
        Change("2026-01-05T03:04:05+00:00", 8, (f"arms.{CANDIDATE}: --a -> --b",)),
    )
    findings = replace(made_findings(), changes=changes, unused_seconds=7200.0)
    told = words_of(page(findings, tmp_path))
    assert "On 2026-01-02, with 4 models tested, the spec was changed in what decides" in told
    assert "(criteria.metric: bleu -> chrf)" in told
    assert "threads" not in told and "2026-01-03" not in told and "2026-01-01" not in told
    assert "(search.values.lr: [1.0] -> [2.0])" in told
    assert f"(arms.{CANDIDATE}: --a -> --b)" in told
    assert told.count("holds 2 hours of training and test that this spec does not ask for") == 2


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


@pytest.mark.parametrize(("best", "edge"), [(0.0, None), (0.1, False), (0.2, True)])
def test_no_share_lies_below_zero(best: float, edge: Optional[bool]) -> None:
    analysis = Analysis(made_findings(losses=LOSSES))
    points = [(("dropout", value),) for value in (0.0, 0.1, 0.2)]
    assert is_edge(analysis, points, "dropout", best) is edge


@pytest.mark.parametrize("language", LANGUAGES)
def test_more_memory_is_asked_for_where_no_limit_was_set(language: str, tmp_path: Path) -> None:
    outcomes = {(CANDIDATE, seed): "out of memory" for seed in (11, 12, 13, 14)}
    ended = made_findings(outcomes=outcomes)
    at_limit, at_machine = {
        "en": ("Give the runs more time or memory", "a machine with more memory"),
        "ja": ("上限に達して", "メモリの多いマシン"),
    }[language]
    for detail, sentence, other in (
        ("CUDA out of memory", at_machine, at_limit),
        ("not started, since: stopped at the limit of 8 GiB", at_limit, at_machine),
    ):
        runs = [
            replace(run, detail=detail) if run.outcome != "completed" else run for run in ended.runs
        ]
        told = words_of(page(replace(ended, runs=runs), tmp_path, language))
        assert sentence in told and other not in told


def test_only_a_grid_that_may_grow_is_said_to_grow(tmp_path: Path) -> None:
    findings = made_findings(losses={CANDIDATE: [None, None, None]})
    grows = "a grid grows only where"
    told = words_of(page(findings, tmp_path))
    assert "trained at none" in told and grows in told
    search = findings.spec.search.model_copy(update={"extend": 0})
    findings = replace(findings, spec=findings.spec.model_copy(update={"search": search}))
    told = words_of(page(findings, tmp_path))
    assert "trained at none" in told and grows not in told


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
        "limits", "hours", "memory", "gib", "retries",
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
        "latency_p50": Interval(1.07, 1.06, 1.07314),
        "memory_gib": Interval(1.0469, 1.0469, 1.0469),
    }
    findings = made_findings(gain=1.5, seed_sd=0.1, ratios=ratios, criteria=LIMITS)
    told = words_of(page(findings, tmp_path))
    assert "limits of at least these, the costs would hold: latency +7.32 %" in told
    assert "training memory +4.69 %" in told
    measured = judge(findings).primary.gain
    assert measured is not None
    stated = re.findall(r"If more than ([0-9.]+) BLEU", told)
    assert measured.estimate <= float(stated[0]) < measured.estimate + 0.01


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
