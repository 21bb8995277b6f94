"""What the runs say about arms: gains with their intervals, and how an arm answers to tuning."""

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any, Callable, DefaultDict, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..spec.keys import LOWER_IS_BETTER
from ..spec.parts import Value, depth_name
from .statistics import CrossedBootstrap, crossed_bootstrap, expected_best, holm, t_interval, t_test
from .table import Cell, Findings, Interval, Run

Point = Tuple[Tuple[str, Value], ...]
"""Searched options and their values, by name."""


class Place(NamedTuple):
    """Where two arms are compared: a cell without its arm, at one budget."""

    depth: str
    width: int
    fraction: float
    budget: float


@dataclass(frozen=True)
class Comparison:
    """The candidate against the baseline at one place.

    Attributes:
        place: depth, width, share of the data, budget.
        primary: whether it is the primary endpoint; all others are exploratory.
        candidate, baseline: the judging runs there, in the order of their seeds, done or not.
        pairs: those of them that have a score and a partner with the same seed.
        gain: mean difference over seeds in the metric, positive where the candidate is better;
            the wider of ``by_seeds`` and ``by_bootstrap``; without bounds for one pair, None for
            none.
        by_seeds: the paired t interval over seeds.
        by_bootstrap: seeds and sentences resampled together; of BLEU only, from two pairs on.
        p: two-sided, of the interval that counts.
        p_holm: the same, adjusted within the depth curve: all depths with this width, share of
            the data and budget.
        seed_sd: standard deviation over seeds of one pair's difference.
        sentence_sd: see :class:`~.statistics.CrossedBootstrap`.
    """

    place: Place
    primary: bool
    candidate: Tuple[Run, ...]
    baseline: Tuple[Run, ...]
    pairs: Tuple[Tuple[Run, Run], ...] = ()
    gain: Optional[Interval] = None
    by_seeds: Optional[Interval] = None
    by_bootstrap: Optional[Interval] = None
    p: Optional[float] = None
    p_holm: Optional[float] = None
    seed_sd: Optional[float] = None
    sentence_sd: Optional[float] = None


def has_failed(run: Run) -> bool:
    """Whether it ended without a model, through its own doing.

    A run killed from outside is missing evidence, not a failure: it says nothing about the arm.
    """
    return run.outcome not in (None, "completed", "killed")


def score(run: Run, metric: str) -> Optional[float]:
    """Its score or validation loss; of a run that was not completed, neither counts."""
    return run.quality(metric) if run.outcome == "completed" else None


def places(findings: Findings, candidate: str, baseline: str) -> List[Place]:
    """Where both arms have judging runs, done or not, in the order of the runs."""
    seen: Dict[str, Dict[Place, None]] = {candidate: {}, baseline: {}}
    for run in findings.runs:
        if run.role == "judging" and run.cell.arm in seen:
            seen[run.cell.arm][Place(*run.cell[1:], run.budget)] = None
    return [place for place in seen[candidate] if place in seen[baseline]]


def primary_place(findings: Findings) -> Place:
    spec = findings.spec
    depth = depth_name(spec.criteria.depth, spec.task)
    return Place(depth, spec.widths[0].width, 1.0, max(spec.budgets.values))


def judged(findings: Findings, arm: str, place: Place) -> Tuple[Run, ...]:
    """An arm's judging runs at a place, in the order of their seeds."""
    cell = Cell(arm, *place[:3])
    found = [
        run
        for run in findings.runs
        if run.role == "judging" and run.cell == cell and run.budget == place.budget
    ]
    return tuple(sorted(found, key=lambda run: run.seed))


def compare(
    findings: Findings,
    place: Place,
    candidate: Optional[str] = None,
    metric: Optional[str] = None,
) -> Comparison:
    """An arm (default: the candidate) against the baseline at a place, ``p_holm`` left out."""
    criteria = findings.spec.criteria
    candidate, metric = candidate or criteria.candidate, metric or criteria.metric
    is_endpoint = (candidate, metric) == (criteria.candidate, criteria.metric)
    ours, theirs = (judged(findings, arm, place) for arm in (candidate, criteria.baseline))
    partners = {run.seed: run for run in theirs}
    pairs = [(run, partners[run.seed]) for run in ours if run.seed in partners]
    pairs = [pair for pair in pairs if all(score(run, metric) is not None for run in pair)]
    comparison = Comparison(
        place,
        is_endpoint and place == primary_place(findings),
        ours,
        theirs,
        tuple(pairs),
    )
    return with_gain(comparison, metric, criteria.level) if pairs else comparison


def with_gain(comparison: Comparison, metric: str, level: float) -> Comparison:
    """The comparison with what its pairs say."""
    scores = np.array(
        [[score(run, metric) for run in pair] for pair in comparison.pairs], dtype=float
    )
    gains = (scores[:, 0] - scores[:, 1]) * (-1 if metric in LOWER_IS_BETTER else 1)
    by_seeds = t_interval(gains, level)
    comparison = replace(comparison, gain=by_seeds, by_seeds=by_seeds, p=t_test(gains))
    if len(gains) < 2:
        return comparison
    comparison = replace(comparison, seed_sd=float(gains.std(ddof=1)))
    crossed = bootstrap(comparison, level) if metric == "bleu" else None
    if crossed is None:
        return comparison
    comparison = replace(comparison, by_bootstrap=crossed.interval, sentence_sd=crossed.sentence_sd)
    if span(crossed.interval) <= span(by_seeds):
        return comparison
    return replace(comparison, gain=crossed.interval, p=crossed.p)


def bootstrap(comparison: Comparison, level: float) -> Optional[CrossedBootstrap]:
    """Of the pairs' sentences; None where some run has none."""
    arms = [[run.sentences for run in arm] for arm in zip(*comparison.pairs)]
    if any(sentences is None for arm in arms for sentences in arm):
        return None
    return crossed_bootstrap(np.array(arms[0]), np.array(arms[1]), level)


def span(interval: Interval) -> float:
    assert interval.low is not None and interval.high is not None
    return interval.high - interval.low


def comparisons(
    findings: Findings, candidate: Optional[str] = None, metric: Optional[str] = None
) -> List[Comparison]:
    """An arm (default: the candidate) against the baseline wherever both have judging runs."""
    criteria = findings.spec.criteria
    found = [
        compare(findings, place, candidate, metric)
        for place in places(findings, candidate or criteria.candidate, criteria.baseline)
    ]
    curves: DefaultDict[Any, Dict[Place, float]] = defaultdict(dict)
    for one in found:
        if one.p is not None:
            curves[one.place[1:]][one.place] = one.p
    adjusted = {
        place: p for curve in curves.values() for place, p in zip(curve, holm(list(curve.values())))
    }
    return [replace(one, p_holm=adjusted.get(one.place)) for one in found]


def tuning_loss(findings: Findings, run: Run) -> Optional[float]:
    """Bits a token; a failure counts as the untrained model, and so does what is worse than it.

    None where the run is not done, or was killed from outside.
    """
    if has_failed(run):
        return findings.untrained_loss
    loss = score(run, "valid_loss")
    return None if loss is None else min(loss, findings.untrained_loss)


def choice_loss(findings: Findings, run: Run) -> Optional[float]:
    """What the choice of values goes by: any run that was completed is better than one that failed.

    None where the run is not done, or was killed from outside.
    """
    return 2 * findings.untrained_loss if has_failed(run) else score(run, "valid_loss")


def tuning_losses(
    findings: Findings,
    cell: Cell,
    loss_of: Callable[[Findings, Run], Optional[float]] = tuning_loss,
) -> Dict[Point, float]:
    """Loss of each point of the search at the tuning budget, in bits a token, mean over seeds."""
    spec = findings.spec
    budget = spec.search.budget or max(spec.budgets.values)
    losses: DefaultDict[Point, List[float]] = defaultdict(list)
    for run in findings.runs:
        if run.role == "tuning" and run.cell == cell and run.budget == budget:
            loss = loss_of(findings, run)
            if loss is not None:
                losses[tuple(sorted(run.values.items()))].append(loss)
    return {point: float(np.mean(values)) for point, values in losses.items()}


def tuning_curve(findings: Findings, cell: Cell) -> List[float]:
    """Expected best validation loss of n trials, n = 1 on; empty without points, and of tpe."""
    losses = tuning_losses(findings, cell)
    return expected_best(list(losses.values())) if findings.spec.search.method != "tpe" else []


def loss_by_learning_rate(findings: Findings, cell: Cell) -> Dict[float, float]:
    """The best loss at each learning rate over the other searched options, rates ascending.

    Empty where the learning rate was not searched.
    """
    best: Dict[float, float] = {}
    for point, loss in tuning_losses(findings, cell).items():
        for name, value in point:
            if name == "lr":
                best[float(value)] = min(loss, best.get(float(value), loss))
    return dict(sorted(best.items()))


def learning_rate_sensitivity(findings: Findings, cells: Sequence[Cell]) -> Dict[Cell, float]:
    """Mean loss over the learning rates that all the cells have, minus the best of them.

    In bits a token, no loss counting as more than the untrained one (Wortsman et al. 2023). Without
    cells that no rate trains; empty where the cells share fewer than two rates.
    """
    curves = {cell: loss_by_learning_rate(findings, cell) for cell in cells}
    shared = set.intersection(*(set(curve) for curve in curves.values()))
    if len(shared) < 2:
        return {}
    losses = {cell: [curve[rate] for rate in shared] for cell, curve in curves.items()}
    return {
        cell: float(np.mean(values)) - min(values)
        for cell, values in losses.items()
        if min(values) < findings.untrained_loss
    }
