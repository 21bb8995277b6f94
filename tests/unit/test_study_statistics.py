"""Protects the study's statistics: they are scipy's, sacreBLEU's, and those of the plan."""

from dataclasses import replace
from itertools import product
from typing import List, Tuple

import numpy as np
import pytest
from helpers.findings import BASELINE, CANDIDATE, UNTRAINED, made_findings, made_sentences
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.significance import PairedTest
from scipy import stats

from resdual_fairseq.study.analysis.comparisons import (
    compare,
    comparisons,
    learning_rate_sensitivity,
    loss_by_learning_rate,
    primary_place,
    tuning_curve,
)
from resdual_fairseq.study.analysis.statistics import (
    approximate_randomization,
    corpus_bleu,
    crossed_bootstrap,
    expected_best,
    holm,
    power,
    seeds_needed,
    t_interval,
    t_test,
)
from resdual_fairseq.study.analysis.table import Cell

WORDS = ["the", "a", "dog", "cat", "sees", "hears", "home", "old", "small", "near", "never"]
CELLS = [Cell(arm, "6+6", 64, 1.0) for arm in (CANDIDATE, BASELINE)]


def translations(
    errors: Tuple[float, ...], sentences: int = 60
) -> Tuple[List[List[str]], List[str]]:
    """For each rate of wrong words a system's lines, and the references."""
    rng = np.random.default_rng(3)
    references = [list(rng.choice(WORDS, rng.integers(3, 15))) for _ in range(sentences)]
    systems = [
        [" ".join(w if rng.random() > rate else "wrong" for w in line) for line in references]
        for rate in errors
    ]
    return systems, [" ".join(line) for line in references]


def sentence_statistics(lines: List[str], references: List[str]) -> np.ndarray:
    return np.array(BLEU()._extract_corpus_statistics(lines, [references]))


def test_paired_t_interval_is_scipys() -> None:
    first, second = [30.1, 30.9, 30.4, 31.2], [29.8, 30.1, 30.3, 30.6]
    gains = np.subtract(first, second)
    wanted = stats.ttest_rel(first, second)
    interval = t_interval(gains, 0.9)
    assert interval[1:] == pytest.approx(tuple(wanted.confidence_interval(0.9)))
    assert t_test(gains) == pytest.approx(wanted.pvalue)


def test_one_value_has_no_interval_and_equal_ones_no_width() -> None:
    assert t_interval([0.3], 0.95) == (0.3, None, None)
    assert t_test([0.3]) is None
    assert t_interval([0.5, 0.5], 0.95) == (0.5, 0.5, 0.5)
    assert (t_test([0.5, 0.5]), t_test([0.0, 0.0])) == (0.0, 1.0)


@pytest.mark.parametrize("lines", [[""], ["the"], ["the dog sees"], ["the dog sees a old cat"]])
def test_bleu_of_short_texts_is_sacrebleus(lines: List[str]) -> None:
    references = ["the dog hears a old cat home"]
    got = corpus_bleu(sentence_statistics(lines, references).sum(axis=0))
    assert got == pytest.approx(BLEU().corpus_score(lines, [references]).score, abs=1e-9)


@pytest.mark.parametrize("errors", [0.0, 0.2, 0.6, 0.9, 1.0])
def test_bleu_of_statistics_is_sacrebleus(errors: float) -> None:
    (lines,), references = translations((errors,))
    got = corpus_bleu(sentence_statistics(lines, references).sum(axis=0))
    assert got == pytest.approx(BLEU().corpus_score(lines, [references]).score, abs=1e-9)


@pytest.mark.parametrize("errors", [(0.30, 0.33), (0.3, 0.5), (0.3, 0.3)])
def test_approximate_randomization_is_sacrebleus(errors: Tuple[float, ...]) -> None:
    """With the same seed it makes the same draws, so that p is the same."""
    (first, second), references = translations(errors)
    named = [("baseline", second), ("candidate", first)]
    _, scores = PairedTest(named, {"BLEU": BLEU()}, [references], "ar", n_samples=1000)()
    sentences = [sentence_statistics(lines, references) for lines in (first, second)]
    got = approximate_randomization(*sentences, trials=1000)
    assert got == pytest.approx(scores["BLEU"][1].p_value, abs=0.003)


def test_a_system_does_not_differ_from_itself() -> None:
    (lines,), references = translations((0.3,))
    sentences = sentence_statistics(lines, references)
    interval, p, sentence_sd = crossed_bootstrap(*np.stack([sentences] * 2)[:, None], 0.95)
    assert (interval, p, sentence_sd) == ((0.0, 0.0, 0.0), 1.0, 0.0)


def test_crossed_bootstrap_resamples_as_written() -> None:
    """Against loops over resamples, arms and seeds, with sacreBLEU's own BLEU of the sums."""
    rng = np.random.default_rng(1)
    factors = rng.lognormal(0, 0.3, 50)
    arms = [np.stack([made_sentences(rng, factors, b) for b in (28, 30, 33)]) for b in (0, 1)]
    bleu = BLEU()._compute_score_from_stats
    drawn = []
    for _ in range(1500):
        rows, seeds = rng.integers(50, size=50), rng.integers(3, size=3)
        scores = [[bleu(arm[s][rows].sum(axis=0)).score for s in seeds] for arm in arms]
        drawn.append(np.mean(scores[0]) - np.mean(scores[1]))
    found = crossed_bootstrap(*arms, 0.9, resamples=4000).interval
    assert found[1:] == pytest.approx(np.quantile(drawn, [0.05, 0.95]), abs=0.3)


def test_bootstrap_says_the_same_twice_and_shows_what_sentences_add() -> None:
    rng = np.random.default_rng(2)
    wide, narrow = [
        np.stack([[made_sentences(rng, rng.lognormal(0, spread, n), 30)] * 2 for _ in range(2)])
        for n, spread in ((50, 0.3), (800, 0.0))
    ]
    assert crossed_bootstrap(*wide, 0.95) == crossed_bootstrap(*wide, 0.95)
    sds = [crossed_bootstrap(*arms, 0.95).sentence_sd for arms in (wide, narrow)]
    assert sds[0] > 3 * sds[1]


def test_holm_is_as_in_the_textbook() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def test_seeds_needed_are_those_of_the_plan() -> None:
    sds = (0.1, 0.2, 0.3, 0.5)
    assert [seeds_needed(0.5, sd) for sd in sds] == [3, 5, 8, 18]
    assert [seeds_needed(0.5, sd, comparisons=6) for sd in sds] == [5, 8, 13, 28]
    assert seeds_needed(0.001, 0.5) == pytest.approx(2 * (2.8016 * 500) ** 2, rel=1e-3)
    assert seeds_needed(0.5, 0.0) == 2


def test_power_is_that_of_simulated_tests() -> None:
    rng = np.random.default_rng(4)
    first, second = rng.normal(0.5, 0.3, (20_000, 5)), rng.normal(0, 0.3, (20_000, 5))
    found = (stats.ttest_rel(first, second, axis=1).pvalue < 0.05).mean()
    assert power(5, 0.5, 0.3, 0.95, 1) == pytest.approx(found, abs=0.01)


def test_expected_best_is_the_mean_over_all_draws() -> None:
    losses = [3.0, 2.5, 4.0]
    wanted = [np.mean([min(draw) for draw in product(losses, repeat=n)]) for n in (1, 2, 3)]
    assert expected_best(losses) == pytest.approx(wanted)


LOSSES = {CANDIDATE: (3.0, 2.5, 2.7, None), BASELINE: (2.9, 2.6, 30.0, 2.8)}


def test_tuning_counts_failures_as_the_untrained_model() -> None:
    findings = made_findings(losses=LOSSES)
    rates = findings.spec.search.values["lr"]
    curves = [loss_by_learning_rate(findings, cell) for cell in CELLS]
    assert curves[0] == dict(zip(rates, (3.0, 2.5, 2.7, UNTRAINED)))
    assert curves[1] == dict(zip(rates, (2.9, 2.6, UNTRAINED, 2.8)))
    assert tuning_curve(findings, CELLS[0]) == expected_best([3.0, 2.5, 2.7, UNTRAINED])
    assert learning_rate_sensitivity(findings, CELLS) == {
        CELLS[0]: pytest.approx((3.0 + 2.5 + 2.7 + UNTRAINED) / 4 - 2.5),
        CELLS[1]: pytest.approx((2.9 + 2.6 + UNTRAINED + 2.8) / 4 - 2.6),
    }


def test_an_arm_that_no_rate_trains_is_not_called_easy_to_tune() -> None:
    findings = made_findings(losses={CANDIDATE: (UNTRAINED,) * 3, BASELINE: (2.9, 2.6, 2.4)})
    assert set(learning_rate_sensitivity(findings, CELLS)) == {CELLS[1]}


def test_sensitivity_needs_a_common_grid() -> None:
    findings = made_findings(losses={CANDIDATE: (3.0, 2.5), BASELINE: (2.9, 2.6, 2.4)})
    assert learning_rate_sensitivity(findings, CELLS)[CELLS[1]] == pytest.approx(0.15)
    findings = made_findings(losses={CANDIDATE: (3.0,), BASELINE: (2.9, 2.6, 2.4)})
    assert learning_rate_sensitivity(findings, CELLS) == {}


def test_the_best_of_the_other_options_counts_at_a_learning_rate() -> None:
    findings = made_findings(losses=LOSSES)
    more = [
        replace(run, values={**run.values, "dropout": 0.3}, valid_loss=2.4)
        for run in findings.runs
        if run.role == "tuning" and run.values["lr"] == 0.001
    ]
    findings = replace(findings, runs=[*findings.runs, *more])
    assert list(loss_by_learning_rate(findings, CELLS[0]).values()) == [3.0, 2.4, 2.7, UNTRAINED]
    assert len(tuning_curve(findings, CELLS[0])) == 5


def test_no_expected_best_of_a_search_that_learns() -> None:
    search = {"method": "tpe", "ranges": {"lr": {"low": 0.0001, "high": 0.01}}}
    findings = made_findings(search=search)
    assert tuning_curve(findings, CELLS[0]) == []


@pytest.mark.parametrize("metric", ["bleu", "chrf", "ter", "valid_loss"])
def test_gains_are_positive_where_the_candidate_is_better(metric: str) -> None:
    findings = made_findings(gain=1.0, seed_sd=0.05, criteria={"metric": metric})
    comparison = compare(findings, primary_place(findings))
    assert comparison.gain is not None and comparison.gain.estimate == pytest.approx(1, abs=0.1)
    assert comparison.seed_sd == pytest.approx(0.05 * 2**0.5, rel=0.7)


def test_the_wider_interval_counts_with_its_p() -> None:
    seeds = made_findings(gain=0.5, seed_sd=1.5, sentences=300)
    sentences = made_findings(gain=0.5, seed_sd=0.05, sentences=50, sentence_spread=0.3)
    for findings, by_seeds in ((seeds, True), (sentences, False)):
        found = compare(findings, primary_place(findings))
        assert found.gain == (found.by_seeds if by_seeds else found.by_bootstrap)
        assert found.sentence_sd and found.seed_sd
        assert found.gain is not None and found.gain.low is not None and found.p is not None
        assert (found.p < 0.05) == (found.gain.low > 0)


def test_few_data_give_what_there_is() -> None:
    one = made_findings(seeds=(11,), sentences=40)
    found = compare(one, primary_place(one))
    assert found.gain is not None and found.gain.low is None
    assert (found.p, found.seed_sd, found.by_bootstrap) == (None, None, None)
    unpaired = made_findings(seeds=(11, 12), leave_out=((CANDIDATE, 11), (BASELINE, 12)))
    found = compare(unpaired, primary_place(unpaired))
    assert (found.gain, found.pairs, len(found.candidate)) == (None, (), 1)
    mixed = made_findings(outcomes={(CANDIDATE, 12): "diverged", (BASELINE, 13): None})
    found = compare(mixed, primary_place(mixed))
    assert [pair[0].seed for pair in found.pairs] == [11, 14, 15]


def test_what_a_failed_run_measured_on_the_way_does_not_count() -> None:
    findings = made_findings(criteria={"metric": "valid_loss"})
    runs = [replace(run, outcome="diverged") if run.seed == 11 else run for run in findings.runs]
    findings = replace(findings, runs=runs)
    found = compare(findings, primary_place(findings))
    assert [pair[0].seed for pair in found.pairs] == [12, 13, 14, 15]


def test_only_the_endpoint_is_primary_and_holm_stays_within_a_depth_curve() -> None:
    findings = made_findings(
        depths=("6", "12", "18"), budgets=(500.0, 1000.0), fractions=(0.5, 1.0), seed_sd=0.9
    )
    found = comparisons(findings)
    assert len(found) == 3 * 2 * 2
    assert [one.place for one in found if one.primary] == [("18+18", 64, 1.0, 1000.0)]
    curve = [one for one in found if one.place[1:] == (64, 1.0, 500.0)]
    p_values = [one.p for one in curve if one.p is not None]
    assert [one.p_holm for one in curve] == holm(p_values)
    assert not any(one.primary for one in comparisons(findings, metric="valid_loss"))


def test_any_arm_can_be_set_against_the_baseline() -> None:
    arms = (CANDIDATE, BASELINE, "learned")
    findings = made_findings(
        arms=arms, gain=lambda cell, budget: 2.0 if cell.arm == "learned" else 0.0
    )
    (other,) = comparisons(findings, "learned")
    assert other.gain is not None and other.gain.estimate == pytest.approx(2.0, abs=0.4)
    assert not other.primary
