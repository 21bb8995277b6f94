"""What may still go wrong with the verdict: failures, few seeds, edges of the search, open ends."""

from __future__ import annotations

from typing import List

from ..analysis.comparisons import has_failed
from ..analysis.verdict import MENDS
from . import tuned
from .analysis import Analysis
from .failures import counted
from .formats import DIGITS, gain
from .places import place_name
from .texts import Texts

DECIDING = (
    *("criteria.", "seeds:", "budgets.", "decoding.", "stages.", "widths:", "data.reference:"),
    *("comet.", "training:", "search."),
)
"""Keys of the spec that say what decides, by which runs and at which values."""
FEW_SEEDS = 5
"""Below this many pairs, the report says what the interval rests on."""


def sentences(analysis: Analysis, say: Texts) -> List[str]:
    """Most serious first."""
    found = [
        *changed(analysis, say),
        *failing_arms(analysis, say),
        *worse_elsewhere(analysis, say),
        *edges(analysis, say),
        *seeds(analysis, say),
        *killed(analysis, say),
        *unmeasured(analysis, say),
        *doubtful_costs(analysis, say),
    ]
    return found or [say("no_risks")]


def changed(analysis: Analysis, say: Texts) -> List[str]:
    """What decides was changed when scores could already be seen: the stated error is too low."""
    found = []
    own = tuple(
        f"arms.{arm}{end}" for arm in (analysis.candidate, analysis.baseline) for end in ".:"
    )
    for change in analysis.findings.changes:
        keys = [key for key in change.keys if key.startswith((*DECIDING, *own))]
        if keys and change.scored:
            words = {"day": change.when[:10], "keys": say.listed(keys)}
            found.append(say("risk_changed", n=change.scored, **words))
    return found


def failing_arms(analysis: Analysis, say: Texts) -> List[str]:
    """Failures of candidate and baseline, at all places and while tuning."""
    found = []
    for arm in (analysis.candidate, analysis.baseline):
        for key, runs in (("judging", analysis.judging), ("tuning", analysis.tuning)):
            own = [run for run in runs if run.cell.arm == arm and run.outcome is not None]
            failed = [run for run in own if has_failed(run)]
            if failed:
                words = {"arm": arm, "failed": len(failed), "all": len(own)}
                told = [say(f"risk_failures_{key}", how=counted(failed, say), **words)]
                if key == "tuning" and any(run.outcome in MENDS["rates"] for run in failed):
                    told.append(say("risk_narrow"))
                found.append(say.sentences(told))
    return found


def worse_elsewhere(analysis: Analysis, say: Texts) -> List[str]:
    """Places away from the primary endpoint where the candidate's whole interval is below 0."""
    others = [
        (one.place, one.gain)
        for one in analysis.comparisons(analysis.candidate)
        if one.gain is not None and one.place != analysis.place
    ]
    worse = [(place, found) for place, found in others if found.high is not None and found.high < 0]
    if not worse:
        return []
    place, lowest = min(worse, key=lambda one: one[1].estimate)
    words = {"place": place_name(analysis, say, place), "all": len(others)}
    shown = gain(lowest, analysis.metric)
    return [say("risk_worse", n=len(worse), gain=shown, metric=metric_name(analysis, say), **words)]


def metric_name(analysis: Analysis, say: Texts) -> str:
    return say("metric_" + analysis.metric)


def edges(analysis: Analysis, say: Texts) -> List[str]:
    """Values of candidate and baseline that were tuned onto an edge at the judged depth."""
    found = []
    for arm in (analysis.candidate, analysis.baseline):
        at_edge = tuned.on_edge(analysis, analysis.cell(arm, analysis.place.depth))
        if at_edge:
            found.append(say("risk_edge", arm=arm, options=say.listed(at_edge)))
    return found


def seeds(analysis: Analysis, say: Texts) -> List[str]:
    primary = analysis.verdict.primary
    n = len(primary.pairs)
    if not n:
        return []
    if primary.seed_sd is None:
        return [say("risk_one_seed")]
    if n >= FEW_SEEDS:
        return []
    sd = f"{primary.seed_sd:.{DIGITS[analysis.metric]}f}"
    return [say("risk_few_seeds", n=n, sd=sd, metric=metric_name(analysis, say))]


def killed(analysis: Analysis, say: Texts) -> List[str]:
    """Runs that were ended from outside and tried again: that decides nothing, but costs time."""
    retried = sum(bool(run.failures) for run in analysis.findings.runs)
    return [say("risk_retried", n=retried)] if retried else []


def unmeasured(analysis: Analysis, say: Texts) -> List[str]:
    found = [] if analysis.findings.costs else [say("risk_no_costs")]
    if len(analysis.spec.search.seeds) == 1 and analysis.tuning:
        found.append(say("risk_tuning_seed"))
    return found


def doubtful_costs(analysis: Analysis, say: Texts) -> List[str]:
    """Costs or speeds that were measured beside other work, or not of every arm."""
    keys = ("busy", "speed_busy", "speed_hosts", "cost_failed")
    notes = [one for one in analysis.findings.notes if one.key in keys]
    return [say("note_" + one.key, **one.values) for one in notes]
