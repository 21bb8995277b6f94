"""The page for whoever decides."""

from __future__ import annotations

from typing import Dict, List

from ..analysis.comparisons import has_failed, score
from ..analysis.verdict import FAILURES, FLOOR, PAIRS, Criterion, is_on_floor, untuned_arms
from . import changes, front_costs, risks
from .analysis import Analysis
from .formats import gain, level, limit, plain, share
from .page import CriterionRow, Front, Picture
from .places import place_name
from .texts import Texts

DECISIONS = {"adopt": "adopt", "do not adopt": "reject", "undecided": "open"}
STATES = {True: "holds", False: "fails", None: "open"}
MARKS = {"holds": "✓", "fails": "✗", "open": "?"}
PICTURES = ("depth", "arms", "budget", "rate")


def front(analysis: Analysis, say: Texts, pictures: Dict[str, Picture]) -> Front:
    verdict = analysis.verdict
    decision = DECISIONS[verdict.decision]
    return Front(
        title=analysis.spec.name,
        question=question(analysis, say),
        decision=decision,
        headline=say("verdict_" + decision, candidate=analysis.candidate),
        reason=reason(analysis, say),
        interim=interim(analysis, say),
        criteria=[criterion_row(one, analysis, say) for one in verdict.criteria],
        pictures=[pictures[name] for name in PICTURES if name in pictures],
        costs=front_costs.blocks(analysis, say),
        risks=risks.sentences(analysis, say),
        changes=changes.sentences(analysis, say),
    )


def question(analysis: Analysis, say: Texts) -> str:
    """What was asked: arms, primary endpoint and seeds."""
    runs = () if analysis.metric == "valid_loss" else analysis.verdict.primary.candidate
    lines = next((len(run.sentences) for run in runs if run.sentences is not None), None)
    return say(
        "question",
        candidate=analysis.candidate,
        baseline=analysis.baseline,
        metric=say("metric_" + analysis.metric),
        place=place_name(analysis, say, analysis.place),
        n=len(analysis.spec.seeds),
        test="" if lines is None else say("question_lines", lines=plain(lines)),
    )


def interim(analysis: Analysis, say: Texts) -> str:
    """That more is to come; empty where the primary endpoint is complete."""
    if not analysis.verdict.is_interim:
        return ""
    primary = analysis.verdict.primary
    runs = [*primary.candidate, *primary.baseline]
    done = sum(has_failed(run) or score(run, analysis.metric) is not None for run in runs)
    planned = {(run.cell.arm, run.seed) for run in runs}
    arms = (analysis.candidate, analysis.baseline)
    planned |= {(arm, seed) for arm in arms for seed in analysis.spec.seeds}
    key = "interim_tuning" if untuned_arms(analysis.findings) else "interim"
    return say(key, done=done, planned=len(planned))


def reason(analysis: Analysis, say: Texts) -> str:
    """One or two sentences: what decided, and what the gain is."""
    verdict = analysis.verdict
    by_state: Dict[str, List[str]] = {state: [] for state in MARKS}
    for one in verdict.criteria:
        by_state[STATES[one.state]].append(say("criterion_" + one.name))
    decision = DECISIONS[verdict.decision]
    named = by_state["fails" if decision == "reject" else "open"]
    why = say("reason_" + decision, criteria=say.listed(named))
    return say.sentences([why, gain_sentence(analysis, say)])


def gain_sentence(analysis: Analysis, say: Texts) -> str:
    primary, words = analysis.verdict.primary, arms_of(analysis)
    if primary.gain is None:
        failed = never_trained(analysis)
        return say("no_gain_failed" if failed else "no_gain", arms=say.listed(failed), **words)
    if is_on_floor(primary):
        return say("gain_floor", least=f"{FLOOR:g}")
    told = say(
        "gain_sentence_one" if len(primary.pairs) == 1 else "gain_sentence",
        **words,
        n=len(primary.pairs),
        gain=gain(primary.gain, analysis.metric, (0.0, analysis.spec.criteria.margin)),
        metric=say("metric_" + analysis.metric),
        level=level(analysis.spec.criteria.level),
        margin=plain(analysis.spec.criteria.margin),
    )
    # What is decided, as by the study's own stage or a cost, is so however few the pairs are.
    is_open = len(primary.pairs) < PAIRS and analysis.verdict.decision == "undecided"
    return say.sentences([told, *([say("few_pairs", least=PAIRS)] if is_open else [])])


def never_trained(analysis: Analysis) -> List[str]:
    """Arms of which every run at the primary endpoint failed."""
    primary = analysis.verdict.primary
    both = ((analysis.candidate, primary.candidate), (analysis.baseline, primary.baseline))
    return [arm for arm, runs in both if runs and all(map(has_failed, runs))]


def arms_of(analysis: Analysis) -> Dict[str, str]:
    return {"candidate": analysis.candidate, "baseline": analysis.baseline}


def criterion_row(one: Criterion, analysis: Analysis, say: Texts) -> CriterionRow:
    state = STATES[one.state]
    words = {**arms_of(analysis), "metric": say("metric_" + analysis.metric)}
    if one.name == "quality":
        failed = never_trained(analysis)
        without = say("failed_short" if failed else "not_measured", arms=say.listed(failed))
        bounds = (0.0, one.bound)
        measured = gain(one.measured, analysis.metric, bounds) if one.measured else without
        asked = say("asked_quality", margin=plain(one.bound), **words)
    elif one.name == "stage":
        measured = say("not_measured")
        if one.measured:
            measured = gain(one.measured, analysis.metric, (one.bound,))
        asked = say("asked_stage", bound=plain(one.bound), **words)
    elif one.name == "reliability":
        measured = failures_sentence(analysis, say)
        more = one.measured.estimate if one.measured else 0
        if 0 < more < FAILURES and not analysis.verdict.is_interim:
            measured = say("failed_one_more", failed=measured)
        asked = say("asked_reliability", **words)
    else:
        measured = share(one.measured, one.bound) if one.measured else say("not_measured")
        measured = say("measured_busy", measured=measured) if one.is_disturbed else measured
        asked = say("asked_cost", limit=limit(one.bound))
    name = say("criterion_" + one.name)
    return CriterionRow(state, MARKS[state], say("state_" + state), name, measured, asked)


def failures_sentence(analysis: Analysis, say: Texts) -> str:
    """Failed runs of both arms at the primary endpoint."""
    primary = analysis.verdict.primary
    both = ((analysis.candidate, primary.candidate), (analysis.baseline, primary.baseline))
    return say.listed(
        [say("failed_of", arm=arm, failed=sum(map(has_failed, runs)),
             all=sum(run.outcome is not None for run in runs)) for arm, runs in both]
    )  # fmt: skip
