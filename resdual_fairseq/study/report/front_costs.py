"""The costs on the first page: the few that a decision turns on."""

from __future__ import annotations

from typing import List

from ..analysis.verdict import is_on_floor
from . import cost_tables, spending
from .analysis import Analysis
from .formats import NOTHING, plain, quality, share
from .page import Block, Items, Paragraph, Table
from .places import budget_name
from .texts import Texts

NAMES = (
    "step_seconds",
    "memory_gib",
    "latency_p50",
    "sentences_per_second",
    "scoring_tokens_per_second",
    "parameters",
)


def blocks(analysis: Analysis, say: Texts) -> List[Block]:
    found: List[Block] = []
    costs = [analysis.cost(arm) for arm in (analysis.candidate, analysis.baseline)]
    ours, theirs = costs
    names = [name for name in NAMES if ours and name in ours.ratios]
    if ours and names:
        rows = [
            [
                cost_tables.label(name, say),
                *(plain(c.values[name].estimate) if c and name in c.values else NOTHING
                  for c in (ours, theirs)),
                share(ours.ratios[name]),
            ]
            for name in names
        ]  # fmt: skip
        notes = [say("costs_paired"), cost_tables.machine(analysis, say)]
        head = [say("head_cost"), analysis.candidate, analysis.baseline, say("head_ratio")]
        found += [Table("", head, rows, "lrrr"), Paragraph(say.sentences(notes))]
    else:
        found.append(Paragraph(cost_tables.missing(analysis, say)))
    lines = [target_sentence(analysis, say), spending.spending_sentence(analysis, say)]
    return [*found, Items([line for line in lines if line])]


def target_sentence(analysis: Analysis, say: Texts) -> str:
    """When each arm is as good as the baseline at its end; empty where that is not known."""
    depth = analysis.place.depth
    wanted = spending.target(analysis, depth)
    if wanted is None or not analysis.scores(analysis.candidate, analysis.place):
        return ""
    if is_on_floor(analysis.verdict.primary):
        return ""
    found = spending.reached(analysis, analysis.candidate, depth, wanted)
    words = {
        "candidate": analysis.candidate,
        "baseline": analysis.baseline,
        "quality": quality(wanted, analysis.metric),
        "metric": say("metric_" + analysis.metric),
    }
    if found is None:
        return say("front_not_reached", **words)
    return say("front_reached", budget=budget_name(analysis, say, found.budget), **words)
