"""What training took: the time to a quality, and the hours and money of the whole study."""

from __future__ import annotations

from typing import List, NamedTuple, Optional

import numpy as np

from ..analysis.table import Spent
from ..spec.keys import LOWER_IS_BETTER
from .analysis import Analysis
from .formats import NOTHING, hours, plain, quality
from .page import Block, Paragraph, Table
from .places import budget_name, with_width
from .texts import Texts


class Reached(NamedTuple):
    """The smallest budget at which an arm's mean is as good as a target, and what it took."""

    budget: float
    seconds: float
    measured_seconds: Optional[float]


def target(analysis: Analysis, depth: str) -> Optional[float]:
    """The baseline's mean at the largest budget; None where it has none."""
    scores = analysis.scores(analysis.baseline, analysis.at(depth))
    return float(np.mean(scores)) if scores else None


def reached(analysis: Analysis, arm: str, depth: str, wanted: float) -> Optional[Reached]:
    """Of the budgets that were judged, nothing in between; None where none was enough."""
    sign = -1 if analysis.metric in LOWER_IS_BETTER else 1
    for budget in analysis.budgets:
        place = analysis.at(depth, budget=budget)
        scores = analysis.scores(arm, place)
        if scores and sign * (float(np.mean(scores)) - wanted) >= 0:
            runs = [run for run in analysis.runs(arm, place) if run.outcome == "completed"]
            cost = analysis.cost(arm, depth)
            step = cost.values.get("step_seconds") if cost else None
            updates = float(np.mean([run.updates for run in runs]))
            seconds = float(np.mean([run.seconds for run in runs]))
            return Reached(budget, seconds, step.estimate * updates if step else None)
    return None


def has_judged(analysis: Analysis, arm: str, depth: str) -> bool:
    places = [analysis.at(depth, budget=budget) for budget in analysis.budgets]
    return any(run.outcome for place in places for run in analysis.runs(arm, place))


def target_blocks(analysis: Analysis, say: Texts) -> List[Block]:
    """The time to the baseline's final quality, of every arm and depth."""
    rows = []
    for depth in analysis.depths:
        wanted = target(analysis, depth)
        for arm in analysis.arms if wanted is not None else []:
            assert wanted is not None
            found = reached(analysis, arm, depth, wanted)
            judged = has_judged(analysis, arm, depth)
            cells = [NOTHING, NOTHING, say("not_reached") if judged else NOTHING]
            if found is not None:
                measured = found.measured_seconds
                cells = [
                    NOTHING if measured is None else hours(measured),
                    hours(found.seconds),
                    budget_name(analysis, say, found.budget),
                ]
            rows.append([depth, quality(wanted, analysis.metric), arm, *reversed(cells)])
    if not rows:
        return [Paragraph(say("no_target"))]
    names = ("depth", "target", "arm", "reached_at", "hours_run", "hours_measured")
    head = [say("head_" + name) for name in names]
    caption = say(
        "table_target", baseline=analysis.baseline, metric=say("metric_" + analysis.metric)
    )
    caption = with_width(analysis, say, caption)
    means = say.sentences([say("target_means"), hours_sentence(analysis, say)])
    return [Table(caption, head, rows, "lrllrr"), Paragraph(means)]


def hours_sentence(analysis: Analysis, say: Texts) -> str:
    """What machine the hours by measured updates are of; empty where nothing is measured."""
    costs = [one for one in analysis.findings.costs if one.width == analysis.place.width]
    if not costs:
        return ""
    return say("hours_busy" if any(one.is_disturbed for one in costs) else "hours_idle")


def spending_blocks(analysis: Analysis, say: Texts) -> List[Block]:
    """Hours and money of tuning, judging and failures, by arm."""
    rows = []
    for name, took in [*analysis.findings.spent.items(), (say("all_arms"), in_all(analysis))]:
        runs = [run for run in analysis.findings.runs if name in (run.cell.arm, say("all_arms"))]
        total = took.tuning + took.judging
        cells = [hours(seconds) for seconds in (*took, total)]
        rows.append(
            [name, *cells, money(analysis, total), str(sum(bool(r.failures) for r in runs))]
        )
    names = (
        "arm",
        "hours_tuning",
        "hours_judging",
        "hours_failed",
        "hours_all",
        "money",
        "retried",
    )
    head = [say("head_" + name, currency=analysis.spec.prices.currency) for name in names]
    table = Table(say("table_spending"), head, rows, "lrrrrrr", frozenset({len(rows) - 1}))
    told = say.sentences([price_sentence(analysis, say), unused_sentence(analysis, say)])
    return [table, Paragraph(told)]


def in_all(analysis: Analysis) -> Spent:
    ones = analysis.findings.spent.values()
    return Spent(*(sum(part) for part in zip(*ones))) if ones else Spent()


def money(analysis: Analysis, seconds: float) -> str:
    """Of training alone, by the price of an hour."""
    price = analysis.spec.prices.hour
    return f"{price * seconds / 3600:,.2f}" if price else NOTHING


def price_sentence(analysis: Analysis, say: Texts) -> str:
    prices = analysis.spec.prices
    if not prices.hour:
        return say.sentences([say("spending_means"), say("no_price")])
    price = say("price", hour=plain(prices.hour), currency=prices.currency)
    return say.sentences([say("spending_means"), price])


def unused_sentence(analysis: Analysis, say: Texts) -> str:
    """What was paid for and is not in the figures; empty where there is nothing."""
    seconds = analysis.findings.unused_seconds
    return say("study_unused", hours=hours(seconds)) if seconds else ""


def spending_sentence(analysis: Analysis, say: Texts) -> str:
    """The whole study in one sentence, for the first page."""
    took = in_all(analysis)
    seconds = took.tuning + took.judging
    runs = [run for run in analysis.findings.runs if run.updates > 0]
    done = sum(run.outcome is not None for run in runs)
    words = {"hours": hours(seconds), "done": done, "all": len(runs)}
    is_open = any(note.key == "not_all_known" for note in analysis.findings.notes)
    told = [say("study_spent_open" if is_open else "study_spent", **words)]
    if analysis.spec.prices.hour:
        amount = money(analysis, seconds)
        told.append(say("study_money", money=amount, currency=analysis.spec.prices.currency))
    return say.sentences([*told, unused_sentence(analysis, say)])
