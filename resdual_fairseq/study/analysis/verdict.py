"""Whether to adopt the candidate: each criterion by its interval, and what would decide the rest.

The report can be made at any time, and each look at an unfinished study is one more chance to be
wrong. So quality and reliability stay undecided until every planned judging run of the primary
endpoint is done, and all tuning that may still change its values; what is there before is shown,
and decides nothing.
"""

import math
from dataclasses import dataclass
from typing import Dict, List, Literal, Optional, Tuple

from scipy import stats

from ..spec.keys import Criteria
from ..spec.parts import depth_name
from .comparisons import Comparison, compare, has_failed, places, primary_place, score
from .statistics import POWER, seeds_needed
from .table import Cost, Findings, Interval, Outcome, Run

Decision = Literal["adopt", "do not adopt", "undecided"]
CriterionName = Literal["quality", "reliability", "stage", "training_cost", "latency", "memory"]
RATIOS: Dict[CriterionName, str] = {
    "training_cost": "step_seconds",
    "latency": "latency_p50",
    "memory": "memory_gib",
}
"""The costs that bound each criterion, as they are called in ``table.Cost.ratios``."""
TIMES: Tuple[CriterionName, ...] = ("training_cost", "latency")
"""Costs that other work on the machine changes; memory is what the process itself holds."""
PAIRS = 3
"""Pairs of seeds below which quality stays open. With two, the interval holds only as far as scores
are normally distributed, and two that happen to agree make it look certain."""
MOST_SEEDS = 100
MOST_LINES = 20_000
"""Of an arm, and of a test set: with more than these no study is done."""
FAILURES = 2
"""Failures more than the baseline's that decide; a single one of a few seeds may be chance."""


FLOOR = 1.0
"""BLEU below which a model does not translate. Between two such there is nothing to compare."""
MENDS: Dict[Literal["limits", "rates", "crashes"], Tuple[Outcome, ...]] = {
    "limits": ("out of time", "out of memory"),
    "rates": ("diverged", "overflow"),
    "crashes": ("crashed",),
}
"""What would let runs train, by how they failed."""


@dataclass(frozen=True)
class Criterion:
    """One thing that has to hold.

    Attributes:
        name: which one.
        state: True where it holds, False where it does not, None where that is open.
        measured: quality: the gain in the metric; stage: the best gain seen; costs: the
            ratio to the baseline; reliability: how many more judging runs of the candidate failed.
            None where nothing is measured.
        bound: quality: the margin, from below; stage: the spec's own bound; the others: from above.
        is_disturbed: whether a time was measured beside other work, so that it decides nothing.
    """

    name: CriterionName
    state: Optional[bool]
    measured: Optional[Interval]
    bound: float
    is_disturbed: bool = False


@dataclass(frozen=True)
class Wanted:
    """What would help to decide.

    Attributes:
        what: ``tuning``: that of ``arms``, which may change the values judged; ``runs``: planned
            judging runs of ``arm`` with these ``seeds``; ``seeds``: ``count``
            further seeds of each arm (None where no variance is known to tell from);
            ``training``: larger budgets; ``speeds``: those of which budgets were made, measured
            again; ``limits``: higher ones of time or memory; ``rates``: other tuned values;
            ``crashes``: their causes; ``test_lines``: a test set of ``count`` sentences;
            ``nothing``: no reasonable number of seeds or sentences would do;
            ``costs``: these to be measured, or measured again.
        criteria: which ones it would decide.
    """

    what: Literal[
        "tuning", "runs", "seeds", "test_lines", "costs", "training", "speeds", "limits", "rates",
        "crashes", "nothing",
    ]  # fmt: skip
    criteria: Tuple[CriterionName, ...]
    arm: str = ""
    seeds: Tuple[int, ...] = ()
    count: Optional[int] = None
    arms: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """The decision, what it rests on, and what would decide it.

    Attributes:
        primary: the comparison at the primary endpoint, with its runs and intervals.
        is_interim: whether planned judging runs of the primary endpoint, or tuning that may change
            its values, are not done.
    """

    decision: Decision
    criteria: Tuple[Criterion, ...]
    wanted: Tuple[Wanted, ...]
    primary: Comparison
    is_interim: bool


def judge(findings: Findings) -> Verdict:
    """The verdict on what has been found so far."""
    bounds = findings.spec.criteria
    primary = compare(findings, primary_place(findings))
    missing = [] if findings.stopped else missing_runs(findings, primary)
    is_fair = not is_on_floor(primary) and not findings.has_disturbed_budgets
    criteria = [
        quality(primary, bounds.margin, not missing and is_fair),
        reliability(primary, not missing),
        *stage(findings, is_fair),
        *costs(findings, primary),
    ]
    decision = decide(criteria)
    wanted: List[Wanted] = []
    if decision == "undecided":
        wanted += missing or further_evidence(findings, primary, criteria)
        wanted += open_costs(criteria)
    elif decision == "do not adopt" and has_too_many_failures(criteria):
        wanted += mends(primary, criteria)
    return Verdict(decision, tuple(criteria), tuple(wanted), primary, bool(missing))


def decide(criteria: List[Criterion]) -> Decision:
    states = [one.state for one in criteria]
    if False in states:
        return "do not adopt"
    return "undecided" if None in states else "adopt"


def missing_runs(findings: Findings, primary: Comparison) -> List[Wanted]:
    """The planned judging runs of the primary endpoint that neither failed nor have a score.

    And the tuning that may still change their values.
    """
    bounds, untuned = findings.spec.criteria, untuned_arms(findings)
    wanted = [Wanted("tuning", ("quality", "reliability"), arms=untuned)] if untuned else []
    for arm, runs in ((bounds.candidate, primary.candidate), (bounds.baseline, primary.baseline)):
        done = {
            run.seed for run in runs if has_failed(run) or score(run, bounds.metric) is not None
        }
        planned = {*findings.spec.seeds, *(run.seed for run in runs)}
        if planned - done:
            seeds = tuple(sorted(planned - done))
            wanted.append(Wanted("runs", ("quality", "reliability"), arm, seeds))
    return wanted


def untuned_arms(findings: Findings) -> Tuple[str, ...]:
    """Arms whose tuning may still change the values of the two that are compared.

    With a grid that grows, which it does for all, it is that of every arm at their size.
    """
    place, criteria, search = primary_place(findings), findings.spec.criteria, findings.spec.search
    size = place.depth, place.width
    arms = [one.arm for one in findings.untuned if (one.depth, one.width) == size]
    own = (criteria.candidate, criteria.baseline)
    return tuple(arm for arm in arms if search.can_grow or arm in own)


def quality(primary: Comparison, margin: float, is_final: bool) -> Criterion:
    """A gain of the margin or more that is surely above 0; surely below the margin is a cross.

    Where the baseline never trains, there is no gain to measure, and two trained candidates are
    better.
    """
    state = None
    if is_final and primary.gain is not None:
        state = exceeds(primary.gain, margin) if len(primary.pairs) >= PAIRS else None
    elif is_final:
        state = (
            True if completed(primary.candidate) >= 2 and not completed(primary.baseline) else None
        )
    return Criterion("quality", state, primary.gain, margin)


def is_on_floor(primary: Comparison) -> bool:
    """Whether no run of either arm translates yet, whatever the metric of the verdict is."""
    found = [score(run, "bleu") for run in (*primary.candidate, *primary.baseline)]
    scores = [one for one in found if one is not None]
    return bool(scores) and max(scores) < FLOOR


def exceeds(gain: Interval, margin: float) -> Optional[bool]:
    if gain.low is None or gain.high is None:
        return None
    if gain.low > 0 and gain.estimate >= margin:
        return True
    return False if gain.high < margin else None


def completed(runs: Tuple[Run, ...]) -> int:
    return sum(run.outcome == "completed" for run in runs)


def reliability(primary: Comparison, is_final: bool) -> Criterion:
    """The candidate's runs fail no more often; one failure more leaves it open.

    Counts decide, since a test of a handful of runs would let almost anything pass. Two arms that
    never train are not compared.
    """
    arms = (primary.candidate, primary.baseline)
    failures = [sum(map(has_failed, runs)) for runs in arms]
    more = failures[0] - failures[1]
    state = None
    if is_final and any(map(completed, arms)):
        state = True if more <= 0 else False if more >= FAILURES else None
    return Criterion("reliability", state, Interval(float(more)), 0.0)


def stage(findings: Findings, is_fair: bool) -> List[Criterion]:
    """The criterion of a stage that called off the later ones: the candidate fell short of it.

    Open where scores or budgets cannot be compared: then the stage says nothing of the candidate.
    """
    if not findings.stopped:
        return []
    stages = findings.spec.stages
    bound = (stages.depth if findings.stopped == "depth" else stages.curves).stop_below
    state = False if is_fair else None
    return [Criterion("stage", state, best_gain(findings), float(bound or 0.0))]


def best_gain(findings: Findings) -> Optional[Interval]:
    """Of all that is judged at the first width; no best of several has bounds."""
    bounds, width = findings.spec.criteria, primary_place(findings).width
    seen = places(findings, bounds.candidate, bounds.baseline)
    gains = [compare(findings, place).gain for place in seen if place.width == width]
    estimates = [gain.estimate for gain in gains if gain is not None]
    return Interval(max(estimates)) if estimates else None


def costs(findings: Findings, primary: Comparison) -> List[Criterion]:
    """The criteria of cost that the spec sets, by the intervals of the ratios."""
    bounds = findings.spec.criteria
    cost = primary_cost(findings)
    ratios = dict(cost.ratios) if cost else {}
    factor, step = updates_ratio(primary), ratios.pop("step_seconds", None)
    if step is not None and factor is not None:
        ratios["step_seconds"] = step.times(factor)
    busy = cost is not None and cost.is_disturbed
    return [
        within(name, ratios.get(RATIOS[name]), 1 + limit, busy and name in TIMES)
        for name, limit in limits(bounds).items()
        if limit is not None
    ]


def updates_ratio(primary: Comparison) -> Optional[float]:
    """The candidate's updates over the baseline's: equal tokens or FLOPs may be unequal updates.

    None where an arm could not be calibrated, and so was never trained.
    """
    arms = (primary.candidate, primary.baseline)
    if not all(arms):
        return 1.0  # not known yet
    ours, theirs = (max(run.updates for run in runs) for runs in arms)
    return ours / theirs if ours and theirs else None


def open_costs(criteria: List[Criterion]) -> List[Wanted]:
    names = tuple(one.name for one in criteria if one.name in RATIOS and one.state is None)
    return [Wanted("costs", names)] if names else []


def limits(bounds: Criteria) -> Dict[CriterionName, Optional[float]]:
    return {
        "training_cost": bounds.training_cost,
        "latency": bounds.latency,
        "memory": bounds.memory,
    }


def primary_cost(findings: Findings) -> Optional[Cost]:
    """What the candidate takes in the primary endpoint's size."""
    spec = findings.spec
    place = primary_place(findings)
    for cost in findings.costs:
        size = (cost.arm, depth_name(cost.depth, spec.task), cost.width)
        if size == (spec.criteria.candidate, place.depth, place.width):
            return cost
    return None


def within(
    name: CriterionName, ratio: Optional[Interval], bound: float, is_disturbed: bool
) -> Criterion:
    state = None
    if not is_disturbed and ratio is not None and ratio.low is not None and ratio.high is not None:
        state = True if ratio.high <= bound else False if ratio.low > bound else None
    return Criterion(name, state, ratio, bound, is_disturbed and ratio is not None)


def further_evidence(
    findings: Findings, primary: Comparison, criteria: List[Criterion]
) -> List[Wanted]:
    """What would decide quality and reliability when all planned runs are done."""
    is_open = {one.name for one in criteria if one.state is None}
    wanted = []
    if "quality" in is_open:
        wanted += evidence_of_quality(findings, primary)
    if "reliability" in is_open and not any(one.what in ("seeds", *MENDS) for one in wanted):
        wanted.append(Wanted("seeds", ("reliability",)))
    return wanted


def evidence_of_quality(findings: Findings, primary: Comparison) -> List[Wanted]:
    """Seeds and sentences that would tell the gain from 0, or from the margin, if it stays.

    By power 0.8 at the observed variances, each source alone. Seeds that are added after a look
    are a second chance for an error; a fresh study of the same number has none.
    """
    bounds = findings.spec.criteria
    few = [Wanted("seeds", ("quality",))] if len(findings.spec.seeds) < PAIRS else []
    if findings.has_disturbed_budgets:
        return [Wanted("speeds", ("quality",)), *few]
    if is_on_floor(primary):
        return [Wanted("training", ("quality",)), *few]
    if mends(primary, []):
        return [*mends(primary, []), *few]
    if primary.gain is None or primary.seed_sd is None:
        return [Wanted("seeds", ("quality",))]
    distance = abs(primary.gain.estimate - told_from(primary.gain, bounds.margin))
    wanted = []
    lines = lines_needed(primary, distance, bounds.level)
    needed = seeds_needed(distance, primary.seed_sd / math.sqrt(2), bounds.level)
    if (lines or 0) > MOST_LINES or needed > MOST_SEEDS:
        can_tell = len(primary.pairs) >= PAIRS
        return [Wanted("nothing" if can_tell else "seeds", ("quality",))]
    if lines is not None:
        wanted.append(Wanted("test_lines", ("quality",), count=lines))
    if max(PAIRS, needed) > len(primary.pairs) or not wanted:
        further = max(1, max(PAIRS, needed) - len(primary.pairs))
        wanted.append(Wanted("seeds", ("quality",), count=further))
    return wanted


def told_from(gain: Interval, margin: float) -> float:
    """What a gain has yet to be told from: 0 where it is of the margin, else the margin."""
    return 0.0 if gain.estimate >= margin else margin


def has_too_many_failures(criteria: List[Criterion]) -> bool:
    return any(one.name == "reliability" and one.state is False for one in criteria)


def mends(primary: Comparison, criteria: List[Criterion]) -> List[Wanted]:
    """What would help arms whose failures leave too few pairs, or a candidate with too many."""
    arms = (primary.candidate, primary.baseline)
    groups: List[Tuple[CriterionName, Tuple[Run, ...]]] = [
        ("quality", runs) for runs in arms if completed(runs) < PAIRS and any(map(has_failed, runs))
    ]
    if has_too_many_failures(criteria):
        groups.append(("reliability", primary.candidate))
    found = []
    for what, outcomes in MENDS.items():
        names = [name for name, runs in groups if any(run.outcome in outcomes for run in runs)]
        if names:
            found.append(Wanted(what, tuple(dict.fromkeys(names))))
    return found


def lines_needed(primary: Comparison, distance: float, level: float) -> Optional[int]:
    """Sentences that tell a gain from a distance away; None where there are enough."""
    sentences = primary.pairs[0][0].sentences
    if primary.sentence_sd is None or sentences is None:
        return None
    lines = len(sentences)
    errors = stats.norm.ppf((1 + level) / 2) + stats.norm.ppf(POWER)
    needed = math.ceil(lines * (errors * primary.sentence_sd / distance) ** 2)
    return needed if needed > lines else None
