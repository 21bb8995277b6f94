"""Tables of what models take, measured alone: whatever the measurements are called."""

from __future__ import annotations

from typing import List, Sequence

from ..analysis.table import Cost
from ..measuring import costs
from .analysis import Analysis
from .formats import NOTHING, share, with_bounds
from .page import Block, Paragraph, Table
from .places import depth_name, with_width
from .texts import Texts

UPDATES = 100_000
JOULES_A_KWH = 3.6e6


def unit(name: str) -> str:
    return costs.NAMES.get(name, "")


def label(name: str, say: Texts) -> str:
    """What a measurement is called, with its unit; of an unknown one its bare name."""
    return say.known("cost_" + name, f"{name} ({unit(name)})" if unit(name) else name)


def missing(analysis: Analysis, say: Texts) -> str:
    """That nothing is measured, or nothing of the judged size."""
    return say("costs_missing_here" if analysis.findings.costs else "costs_missing")


def machine(analysis: Analysis, say: Texts) -> str:
    """What the costs were measured on; empty where that is not known."""
    processors = analysis.findings.cost_processors
    return say("costs_machine", processors=say.listed(processors)) if processors else ""


def blocks(analysis: Analysis, say: Texts) -> List[Block]:
    """One table a depth with values, and the differences to the baseline."""
    found: List[Block] = []
    for depth in analysis.depths:
        measured = [cost for arm in analysis.arms if (cost := analysis.cost(arm, depth))]
        names = list(dict.fromkeys(name for cost in measured for name in cost.values))
        if names:
            found.append(table(analysis, say, depth, measured, names))
    if not found:
        return [Paragraph(missing(analysis, say))]
    notes = [say("costs_means", level=f"{100 * analysis.spec.criteria.level:g} %")]
    notes.append(machine(analysis, say))
    energy = [cost for cost in analysis.findings.costs if "energy_joules" in cost.values]
    if energy:
        is_measured = all(cost.energy_is_measured for cost in energy)
        notes.append(say("energy_measured" if is_measured else "energy_estimated"))
    return [*found, Paragraph(say.sentences(notes))]


def table(
    analysis: Analysis, say: Texts, depth: str, measured: Sequence[Cost], names: Sequence[str]
) -> Table:
    """A row a measurement; each arm's value, and for all but the baseline the difference."""
    rivals = [cost for cost in measured if cost.arm != analysis.baseline]
    rows = []
    for name in names:
        values = [with_bounds(c.values[name]) if name in c.values else NOTHING for c in measured]
        rows.append([label(name, say), *values, *(share(c.ratios.get(name)) for c in rivals)])
    rows += priced(analysis, say, measured, len(rivals))
    head = [say("head_cost"), *(cost.arm for cost in measured)]
    head += [say("head_difference", arm=cost.arm, baseline=analysis.baseline) for cost in rivals]
    caption = with_width(analysis, say, say("table_costs", depth=depth_name(say, depth)))
    return Table(caption, head, rows, "l" + "r" * (len(head) - 1))


def priced(
    analysis: Analysis, say: Texts, measured: Sequence[Cost], rivals: int
) -> List[List[str]]:
    """What serving, and a hundred thousand updates' energy, cost by the spec's prices."""
    prices = analysis.spec.prices
    words = {"currency": prices.currency}
    served = say("served_cost", sentences=f"{prices.sentences:,}", **words)
    energy = say("energy_cost", updates=f"{UPDATES:,}", **words)
    rows = []
    for title, name, price in (
        (served, "sentences_per_second", lambda rate: prices.sentences / rate / 3600 * prices.hour),
        (energy, "energy_joules", lambda joules: joules * UPDATES / JOULES_A_KWH * prices.kwh),
    ):
        cells = [
            f"{price(c.values[name].estimate):,.2f}" if name in c.values else NOTHING
            for c in measured
        ]
        if any(cell not in (NOTHING, "0.00") for cell in cells):
            rows.append([title, *cells, *[NOTHING] * rivals])
    return rows
