"""What would change the verdict: runs that would decide, margins and limits that would tip it."""

from __future__ import annotations

from typing import Iterator, List

from ..analysis.verdict import MOST_LINES, MOST_SEEDS, RATIOS, Criterion, Wanted, told_from
from ..engine.outcomes import AT_LIMIT
from ..measuring.costs import AGAIN
from .analysis import Analysis
from .formats import DIGITS, downwards, per_cent, quality, upwards
from .texts import Texts


def sentences(analysis: Analysis, say: Texts) -> List[str]:
    verdict = analysis.verdict
    found = [wanted_sentence(one, analysis, say) for one in verdict.wanted]
    if any(one.what in ("seeds", "test_lines") and one.count for one in verdict.wanted):
        found.append(say("power_detects", margin=f"{analysis.spec.criteria.margin:g}"))
    if any(one.what == "seeds" for one in verdict.wanted):
        found.append(say("second_look"))
    if analysis.findings.stopped:
        found.append(stage_sentence(analysis, say))
    gain = next(one for one in verdict.criteria if one.name == "quality")
    return [*found, *tipping_margin(gain, analysis, say), *tipping_costs(analysis, say)]


def stage_sentence(analysis: Analysis, say: Texts) -> str:
    """What a study would go on with that its own stage ended."""
    stopped, spec = analysis.findings.stopped, analysis.spec
    stage = spec.stages.depth if stopped == "depth" else spec.stages.curves
    seeds = spec.seeds[spec.stages.depth.seeds :]
    return say(
        "wanted_stage",
        name=f"stages.{stopped}.stop_below",
        bound=f"{stage.stop_below:g}",
        seeds=say.listed(seeds or spec.seeds),
    )


def wanted_sentence(one: Wanted, analysis: Analysis, say: Texts) -> str:
    """What the verdict asks for, as a sentence."""
    names = say.listed([say("criterion_" + name) for name in one.criteria])
    if one.what == "tuning":
        return say("wanted_tuning", arms=say.listed(one.arms))
    if one.what == "runs":
        return say("wanted_runs", arm=one.arm, n=len(one.seeds), seeds=say.listed(one.seeds))
    if one.what == "limits" and not any(AT_LIMIT in detail for detail in details(analysis)):
        return say("wanted_memory", criteria=names)
    if one.what in ("training", "speeds", "limits", "rates", "crashes"):
        return say("wanted_" + one.what, criteria=names)
    if one.what == "nothing":
        return nothing_sentence(analysis, say)
    if one.what == "seeds" and one.count is None:
        has_one = len(analysis.verdict.primary.pairs) == 1 and "quality" in one.criteria
        return say("wanted_seeds_one" if has_one else "wanted_seeds", criteria=names)
    if one.what == "seeds":
        return say("wanted_seeds_count", n=one.count, criteria=names)
    if one.what == "test_lines":
        return say("wanted_test_lines", n=one.count, lines=f"{one.count:,}", criteria=names)
    unmeasured = any(
        c.measured is None or c.is_disturbed
        for c in analysis.verdict.criteria
        if c.name in one.criteria
    )
    return say(
        "wanted_costs" if unmeasured else "wanted_costs_again", criteria=names, command=AGAIN
    )


def details(analysis: Analysis) -> Iterator[str]:
    """How the runs of the primary endpoint ended that did not complete."""
    primary = analysis.verdict.primary
    return (run.detail for run in (*primary.candidate, *primary.baseline))


def nothing_sentence(analysis: Analysis, say: Texts) -> str:
    """That the gain lies where no study tells it from 0 or from the margin."""
    gain = analysis.verdict.primary.gain
    assert gain is not None
    return say(
        "wanted_nothing",
        bound=f"{told_from(gain, analysis.spec.criteria.margin):g}",
        metric=say("metric_" + analysis.metric),
        seeds=MOST_SEEDS,
        lines=f"{MOST_LINES:,}",
    )


def tipping_margin(one: Criterion, analysis: Analysis, say: Texts) -> List[str]:
    """The margin at which a decided quality would come out otherwise, rounded to the safe side."""
    measured = one.measured
    if one.state is None or measured is None or measured.low is None or measured.high is None:
        return []
    metric = say("metric_" + analysis.metric)
    digits = DIGITS[analysis.metric]
    if one.state:
        points = [upwards(value, digits) for value in (measured.estimate, measured.high)]
        estimate, high = (quality(point, analysis.metric) for point in points)
        return [say("tip_quality_holds", estimate=estimate, high=high, metric=metric)]
    if measured.low > 0:
        estimate = quality(downwards(measured.estimate, digits), analysis.metric)
        return [say("tip_quality_fails", estimate=estimate, metric=metric)]
    return [say("tip_quality_never", metric=metric)]


def tipping_costs(analysis: Analysis, say: Texts) -> List[str]:
    """The limits at which decided costs would come out otherwise, rounded to the safe side."""
    found = []
    for state, key, rounded in (
        (True, "tip_costs_hold", downwards),
        (False, "tip_costs_fail", upwards),
    ):
        limits = [
            f"{say('criterion_' + one.name)} {per_cent(rounded(high, 4), 2)}"
            for one in analysis.verdict.criteria
            if one.name in RATIOS and one.state is state and one.measured is not None
            and (high := one.measured.high) is not None
        ]  # fmt: skip
        if limits:
            found.append(say(key, limits=say.listed(limits)))
    return found
