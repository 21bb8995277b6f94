"""Protects the study's verdict: what it takes to adopt, what forbids it, and what is left open."""

from dataclasses import replace
from typing import Any, Dict, Optional, Tuple

import pytest
from helpers.findings import BASELINE, CANDIDATE, made_findings
from scipy import stats

from resdual_fairseq.study.analysis.statistics import seeds_needed
from resdual_fairseq.study.analysis.table import Findings, Interval, Note
from resdual_fairseq.study.analysis.verdict import Verdict, Wanted, is_on_floor, judge

LIMITS = {"training_cost": 0.05, "latency": 0.02, "memory": 0.1}
CHEAP = {
    "step_seconds": Interval(1.02, 1.01, 1.03),
    "latency_p50": Interval(1.0, 0.99, 1.01),
    "memory_gib": Interval(1.05, 1.05, 1.05),
}
SMALL = {"seed_sd": 0.1, "gain": 1.5}
STUDIES = 200


def states(verdict: Verdict) -> Dict[str, Optional[bool]]:
    return {one.name: one.state for one in verdict.criteria}


def test_adopt_needs_every_tick() -> None:
    verdict = judge(made_findings(**SMALL, ratios=CHEAP, criteria=LIMITS))
    assert verdict.decision == "adopt"
    assert set(states(verdict).values()) == {True}
    assert list(states(verdict)) == ["quality", "reliability", *LIMITS]
    assert [one.bound for one in verdict.criteria] == [0.5, 0.0, 1.05, 1.02, 1.1]
    assert (verdict.wanted, verdict.is_interim) == ((), False)


def test_a_gain_surely_below_the_margin_is_not_enough() -> None:
    verdict = judge(made_findings(gain=0.2, seed_sd=0.05))
    assert verdict.decision == "do not adopt"
    assert states(verdict) == {"quality": False, "reliability": True}
    assert verdict.wanted == ()


def test_a_gain_above_zero_but_not_of_the_margin_is_open() -> None:
    verdict = judge(made_findings(gain=0.4, seed_sd=0.12, random_seed=1))
    gain = verdict.primary.gain
    assert gain is not None and gain.low is not None and gain.high is not None
    assert gain.low > 0 and gain.estimate < 0.5 < gain.high
    assert verdict.decision == "undecided"


def test_scores_of_runs_without_a_partner_count_as_well() -> None:
    """One pair is left, whose scores are below the least; the other runs translate."""
    ended: Any = {(CANDIDATE, seed): "crashed" for seed in (12, 13)}
    findings = made_findings(seeds=(11, 12, 13), outcomes=ended)
    runs = [replace(run, scores={"bleu": 0.2}) if run.seed == 11 else run for run in findings.runs]
    primary = judge(replace(findings, runs=runs)).primary
    assert len(primary.pairs) == 1 and not is_on_floor(primary)


def test_budgets_by_disturbed_speeds_decide_no_quality() -> None:
    findings = made_findings(gain=-5.0, seed_sd=0.1)
    assert judge(findings).decision == "do not adopt"
    disturbed = replace(findings, notes=(Note("speed_busy", {"cores": "2.0"}),))
    verdict = judge(disturbed)
    assert (verdict.decision, states(verdict)["quality"]) == ("undecided", None)
    assert verdict.wanted == (Wanted("speeds", ("quality",)),)
    two = replace(made_findings(gain=-5.0, seeds=(11, 12)), notes=disturbed.notes)
    assert judge(two).wanted == (Wanted("speeds", ("quality",)), Wanted("seeds", ("quality",)))


def test_a_candidate_that_fails_by_limits_wants_higher_ones() -> None:
    ended: Any = {(CANDIDATE, 11): "out of memory", (CANDIDATE, 12): "out of time"}
    verdict = judge(made_findings(**SMALL, outcomes=ended))
    assert states(verdict)["reliability"] is False
    assert verdict.wanted == (Wanted("limits", ("reliability",)),)


def test_arms_that_do_not_translate_are_not_compared() -> None:
    """Though their scores are certain, and alike."""
    findings = made_findings(gain=0.0, seed_sd=0.0)
    runs = [replace(run, scores={"bleu": 0.02}) for run in findings.runs]
    verdict = judge(replace(findings, runs=runs))
    assert (verdict.decision, states(verdict)["quality"]) == ("undecided", None)
    assert verdict.wanted == (Wanted("training", ("quality",)),)
    spec = findings.spec
    by_chrf = spec.model_copy(
        update={"criteria": spec.criteria.model_copy(update={"metric": "chrf"})}
    )
    better = [
        replace(run, scores={"bleu": 0.1, "chrf": 6 + (run.cell.arm == CANDIDATE)}) for run in runs
    ]
    assert judge(replace(findings, spec=by_chrf, runs=better)).decision == "undecided"
    some = [
        replace(run, scores={"bleu": 0.02 + run.seed * (run.cell.arm == BASELINE)}) for run in runs
    ]
    assert judge(replace(findings, runs=some)).decision == "do not adopt"


@pytest.mark.parametrize(
    "outcome, what", [("out of time", "limits"), ("diverged", "rates"), ("crashed", "crashes")]
)
@pytest.mark.parametrize("arms", [(CANDIDATE, BASELINE), (CANDIDATE,)])
def test_where_all_runs_failed_that_is_to_change(
    arms: Tuple[str, ...], outcome: str, what: Any
) -> None:
    seeds = (11, 12, 13)
    ended: Any = {(arm, seed): outcome for arm in arms for seed in seeds}
    verdict = judge(made_findings(seeds=seeds, outcomes=ended))
    assert verdict.decision == ("undecided" if len(arms) == 2 else "do not adopt")
    criteria: Any = ("quality",) if len(arms) == 2 else ("quality", "reliability")
    assert verdict.wanted == (Wanted(what, criteria),)
    assert states(verdict)["reliability"] is (None if len(arms) == 2 else False)


@pytest.mark.parametrize("gain", [1.5, 0.2])
def test_undecided_wants_the_seeds_that_tell_the_gain_from_0_or_the_margin(gain: float) -> None:
    verdict = judge(made_findings(gain=gain, seed_sd=1.0, seeds=(11, 12, 13), random_seed=5))
    estimate, sd = verdict.primary.gain, verdict.primary.seed_sd
    assert verdict.decision == "undecided" and estimate is not None and sd is not None
    value = estimate.estimate
    distance = value if value >= 0.5 else 0.5 - value
    further = seeds_needed(distance, sd / 2**0.5) - 3
    assert verdict.wanted == (Wanted("seeds", ("quality",), count=further),)


@pytest.mark.parametrize(
    "gain, seed_sd, parts",
    [(0.5, 0.2, {}), (0.6, 0.02, {"sentences": 40, "sentence_spread": 0.2, "random_seed": 3})],
)
def test_where_no_reasonable_number_decides_none_is_named(
    gain: float, seed_sd: float, parts: Dict[str, Any]
) -> None:
    findings = made_findings(gain=gain, seed_sd=seed_sd, **parts)
    primary = judge(findings).primary
    assert primary.gain is not None
    near = findings.spec.criteria.model_copy(update={"margin": primary.gain.estimate + 0.001})
    findings = replace(findings, spec=findings.spec.model_copy(update={"criteria": near}))
    verdict = judge(findings)
    assert verdict.decision == "undecided"
    assert verdict.wanted == (Wanted("nothing", ("quality",)),)


def test_undecided_by_its_sentences_wants_a_larger_test_set() -> None:
    findings = made_findings(gain=0.8, seed_sd=0.02, sentences=40, sentence_spread=0.2)
    verdict = judge(findings)
    assert verdict.decision == "undecided"
    assert verdict.wanted[0].what == "test_lines"
    assert (verdict.wanted[0].count or 0) > 40


def test_one_seed_decides_nothing() -> None:
    verdict = judge(made_findings(**SMALL, seeds=(11,)))
    assert verdict.decision == "undecided"
    assert verdict.wanted == (Wanted("seeds", ("quality",)),)


@pytest.mark.parametrize(
    "ratio, state, decision",
    [
        (Interval(1.10, 1.08, 1.12), False, "do not adopt"),
        (Interval(1.04, 1.01, 1.07), None, "undecided"),
        (Interval(1.04, None, None), None, "undecided"),
        (None, None, "undecided"),
    ],
)
def test_costs_count_by_their_interval(
    ratio: Optional[Interval], state: Optional[bool], decision: str
) -> None:
    ratios = {**CHEAP, "step_seconds": ratio} if ratio else {}
    verdict = judge(made_findings(**SMALL, ratios=ratios, criteria={"training_cost": 0.05}))
    assert (verdict.decision, states(verdict)["training_cost"]) == (decision, state)
    wanted = () if state is False else (Wanted("costs", ("training_cost",)),)
    assert verdict.wanted == wanted


def test_times_measured_beside_other_work_decide_nothing() -> None:
    for step in (Interval(1.10, 1.08, 1.12), CHEAP["step_seconds"]):
        findings = made_findings(**SMALL, ratios={**CHEAP, "step_seconds": step}, criteria=LIMITS)
        assert judge(findings).decision != "undecided"
        other = [replace(cost, width=64, is_disturbed=True) for cost in findings.costs]
        both = replace(findings, costs=[*findings.costs, *other])
        assert judge(both) == judge(findings)  # of another size
        disturbed = [replace(cost, is_disturbed=True) for cost in findings.costs]
        verdict = judge(replace(findings, costs=disturbed))
        assert verdict.decision == "undecided"
        found = {one.name: (one.state, one.is_disturbed) for one in verdict.criteria[2:]}
        assert found == {
            "training_cost": (None, True), "latency": (None, True), "memory": (True, False)
        }  # fmt: skip
        assert verdict.wanted == (Wanted("costs", ("training_cost", "latency")),)


def test_training_time_is_that_of_all_updates() -> None:
    """Equal FLOPs or tokens may be fewer updates of the arm whose update takes longer."""
    findings = made_findings(
        **SMALL,
        ratios={"step_seconds": Interval(1.2, 1.16, 1.24)},
        criteria={"training_cost": 0.05},
    )
    assert judge(findings).decision == "do not adopt"
    runs = [
        replace(run, updates=800) if run.cell.arm == CANDIDATE else run for run in findings.runs
    ]
    verdict = judge(replace(findings, runs=runs))
    assert verdict.decision == "adopt"
    assert verdict.criteria[-1].measured == pytest.approx((0.96, 0.928, 0.992))


@pytest.mark.parametrize("arm", [CANDIDATE, BASELINE])
def test_an_arm_that_was_never_trained_took_no_training_time(arm: str) -> None:
    findings = made_findings(**SMALL, ratios=CHEAP, criteria={"training_cost": 0.05})
    runs = [
        replace(run, updates=0, outcome="out of memory") if run.cell.arm == arm else run
        for run in findings.runs
    ]
    criterion = judge(replace(findings, runs=runs)).criteria[-1]
    assert (criterion.name, criterion.state, criterion.measured) == ("training_cost", None, None)
    planned = [run for run in findings.runs if run.cell.arm != arm]  # tuning of one goes on
    criterion = judge(replace(findings, runs=planned)).criteria[-1]
    assert criterion.measured == pytest.approx(CHEAP["step_seconds"])


def test_costs_without_a_limit_are_no_criterion() -> None:
    verdict = judge(made_findings(**SMALL, ratios={**CHEAP, "latency_p50": Interval(9, 9, 9)}))
    assert (verdict.decision, list(states(verdict))) == ("adopt", ["quality", "reliability"])


@pytest.mark.parametrize("gain", [3.0, -3.0])
def test_an_unfinished_study_shows_its_gain_and_decides_nothing(gain: float) -> None:
    findings = made_findings(
        gain=gain, seed_sd=0.1, outcomes={(CANDIDATE, 14): None}, leave_out=((BASELINE, 15),)
    )
    verdict = judge(findings)
    assert (verdict.decision, verdict.is_interim) == ("undecided", True)
    assert verdict.primary.gain is not None and verdict.primary.gain.low is not None
    names = ("quality", "reliability")
    assert verdict.wanted == (
        Wanted("runs", names, CANDIDATE, (14,)),
        Wanted("runs", names, BASELINE, (15,)),
    )


def test_costs_that_are_surely_above_decide_before_the_last_run() -> None:
    ratios = {"step_seconds": Interval(1.3, 1.2, 1.4)}
    limits = {"training_cost": 0.05, "memory": 0.1}
    findings = made_findings(**SMALL, ratios=ratios, criteria=limits, leave_out=((BASELINE, 15),))
    verdict = judge(findings)
    assert verdict.decision == "do not adopt"
    assert verdict.is_interim and verdict.wanted == ()


def test_nothing_done_yet() -> None:
    findings = replace(made_findings(criteria=LIMITS), runs=[])
    verdict = judge(findings)
    assert (verdict.decision, verdict.primary.gain) == ("undecided", None)
    assert [one.what for one in verdict.wanted] == ["runs", "runs", "costs"]


@pytest.mark.parametrize("failed, state", [(0, True), (1, None), (2, False)])
def test_failures_of_the_candidate(failed: int, state: Optional[bool]) -> None:
    outcomes: Any = {(CANDIDATE, seed): "diverged" for seed in (11, 12, 13)[:failed]}
    verdict = judge(made_findings(**SMALL, outcomes=outcomes))
    assert states(verdict) == {"quality": True, "reliability": state}
    assert verdict.criteria[1].measured == Interval(failed)
    assert not verdict.is_interim


def test_failures_that_leave_too_few_pairs_are_to_be_mended() -> None:
    verdict = judge(made_findings(seeds=(11, 12, 13), outcomes={(BASELINE, 11): "diverged"}))
    assert verdict.decision == "undecided"
    assert verdict.wanted == (Wanted("rates", ("quality",)),)


def test_failures_of_both_arms_speak_for_none() -> None:
    outcomes: Any = {(arm, 11): "overflow" for arm in (CANDIDATE, BASELINE)}
    assert judge(made_findings(**SMALL, outcomes=outcomes)).decision == "adopt"


def test_a_candidate_that_trains_beats_a_baseline_that_never_does() -> None:
    outcomes: Any = {(BASELINE, seed): "diverged" for seed in (11, 12, 13)}
    findings = made_findings(seeds=(11, 12, 13), outcomes=outcomes)
    verdict = judge(findings)
    assert (verdict.decision, verdict.primary.gain) == ("adopt", None)
    outcomes.update({(CANDIDATE, seed): "diverged" for seed in (12, 13)})
    assert judge(made_findings(seeds=(11, 12, 13), outcomes=outcomes)).decision == "undecided"


def test_a_run_killed_from_outside_is_missing_and_no_failure() -> None:
    verdict = judge(made_findings(**SMALL, outcomes={(CANDIDATE, 12): "killed"}))
    assert (verdict.decision, states(verdict)["reliability"]) == ("undecided", None)
    assert verdict.wanted[0].seeds == (12,)
    assert verdict.criteria[1].measured == Interval(0)


@pytest.mark.parametrize("metric", ["valid_loss", "perplexity"])
def test_a_language_model_is_judged_where_lower_is_better(metric: str) -> None:
    parts = {"task": "language_modeling", "criteria": {"metric": metric, "margin": 0.1}}
    for gain, decision in ((0.5, "adopt"), (-0.5, "do not adopt")):
        assert judge(made_findings(gain=gain, seed_sd=0.05, **parts)).decision == decision


@pytest.mark.parametrize(
    "noise",
    [
        {"seed_sd": 0.8},
        {"seed_sd": 0.8, "seeds": (11, 12, 13)},
        {"seed_sd": 0.5, "sentences": 60, "sentence_spread": 0.2},
    ],
)
def test_without_a_difference_adopting_is_as_rare_as_stated(noise: Dict[str, Any]) -> None:
    """At a level of 0.95 an interval lies above 0 in 2.5 % of studies of equal arms."""
    decisions = [
        judge(made_findings(gain=0.0, random_seed=study, **noise)).decision
        for study in range(STUDIES)
    ]
    assert decisions.count("adopt") <= stats.binom.ppf(0.99, STUDIES, 0.025)


def ended_by_its_stage(**parts: Any) -> Findings:
    """Of one seed, at two depths; the shallower one, which does not decide, is the better."""
    findings = made_findings(
        gain=lambda cell, budget: -1.0 if cell.depth == "2+2" else -3.0,
        seed_sd=0.0, seeds=(11,), depths=("2", "6"), stages={"depth": {"stop_below": 0.3}},
    )  # fmt: skip
    return replace(findings, stopped="depth", **parts)


def test_a_stage_that_ended_the_study_rejects_by_the_best_of_all_depths() -> None:
    verdict = judge(ended_by_its_stage())
    assert (verdict.decision, states(verdict)["stage"]) == ("do not adopt", False)
    measured = verdict.criteria[-1].measured
    assert measured is not None and measured.estimate == pytest.approx(-1.0)


def test_a_stage_rejects_nothing_where_arms_cannot_be_compared() -> None:
    busy = ended_by_its_stage(notes=(Note("speed_busy", {"cores": "2.0"}),))
    findings = ended_by_its_stage()
    weak = replace(findings, runs=[replace(run, scores={"bleu": 0.2}) for run in findings.runs])
    for one in (busy, weak):
        assert (judge(one).decision, states(judge(one))["stage"]) == ("undecided", None)


@pytest.mark.parametrize("gain, decision", [(1.5, "adopt"), (-1.0, "do not adopt")])
def test_a_clear_difference_is_nearly_always_seen(gain: float, decision: str) -> None:
    parts = {"seed_sd": 0.2, "sentences": 300}
    decisions = [
        judge(made_findings(gain=gain, random_seed=study, **parts)).decision
        for study in range(STUDIES // 4)
    ]
    assert decisions.count(decision) >= 0.95 * len(decisions)
