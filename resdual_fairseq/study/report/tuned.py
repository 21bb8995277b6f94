"""What tuning chose: the values, their losses, and whether they lie on an edge."""

from __future__ import annotations

import math
from typing import Dict, List, Optional, Sequence, Tuple

from ..analysis.comparisons import (
    Point,
    choice_loss,
    learning_rate_sensitivity,
    tuning_losses,
)
from ..analysis.table import Cell
from ..planning.search import beyond
from .analysis import Analysis
from .formats import NOTHING, quality
from .page import Block, Paragraph, Picture, Table
from .places import budget_name, values_name, with_width
from .texts import Texts

NEAR = 0.05
"""Share of a continuous range that counts as its edge."""
COLUMNS = (1, 2, 4, 8, 16, 32, 64, 128)
"""Numbers of trials whose expected loss is listed."""


def best(analysis: Analysis, cell: Cell) -> Optional[Tuple[Dict[str, object], float]]:
    """The values of the lowest loss so far, and that loss; None where none has trained."""
    losses = tuning_losses(analysis.findings, cell, choice_loss)
    point = min(losses, key=lambda one: losses[one], default=None)
    if point is None or losses[point] >= analysis.findings.untrained_loss:
        return None
    return dict(point), losses[point]


def is_tuned(analysis: Analysis, cell: Cell) -> bool:
    """Whether all of its trials are done."""
    return all(run.outcome is not None for run in analysis.tuning if run.cell == cell)


def on_edge(analysis: Analysis, cell: Cell) -> List[str]:
    """Searched options whose best value has nothing tried on one side, where there is something."""
    return [name for name, edge in edges(analysis, cell).items() if edge]


def edges(analysis: Analysis, cell: Cell) -> Dict[str, bool]:
    """Whether the best value of a searched number is on an edge; without those that have no inside.

    Empty until all trials are done.
    """
    found = best(analysis, cell)
    if found is None or not is_tuned(analysis, cell):
        return {}
    points = list(tuning_losses(analysis.findings, cell))
    places = {
        name: is_edge(analysis, points, name, value)
        for name, value in found[0].items()
        if isinstance(value, (int, float))
    }
    return {name: edge for name, edge in places.items() if edge is not None}


def is_edge(analysis: Analysis, points: List[Point], name: str, value: float) -> Optional[bool]:
    """None where a value is the last of those tried, and there is none beyond."""
    one = analysis.spec.search.ranges.get(name)
    if one is None:
        tried = {v for point in points for n, v in point if n == name}
        return is_edge_of(sorted(v for v in tried if isinstance(v, (int, float))), name, value)
    low, high = one.low, one.high
    if one.log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return min(value - low, high - value) < NEAR * (high - low)


def is_edge_of(tried: Sequence[float], name: str, value: float) -> Optional[bool]:
    """The same of a grid, from its lowest value to its highest."""
    if tried[0] < value < tried[-1]:
        return False
    ends = zip((tried[0], tried[-1]), (tried[1], tried[-2])) if len(tried) > 1 else ()
    further = [list(beyond(name, end, inner)) for end, inner in ends if end == value]
    return True if any(further) else None


def blocks(analysis: Analysis, say: Texts, pictures: Dict[str, Picture]) -> List[Block]:
    """The section on tuning."""
    spec = analysis.spec
    budget = spec.search.budget or max(spec.budgets.values)
    told = say(
        "tuning_how",
        method=spec.search.method,
        options=say.listed([*spec.search.values, *spec.search.ranges]),
        budget=budget_name(analysis, say, budget),
        seeds=say.listed(spec.search.seeds),
    )
    if not analysis.tuning:
        return [Paragraph(told), Paragraph(say("no_tuning"))]
    return [
        Paragraph(told),
        values_table(analysis, say),
        *([pictures["rates"]] if "rates" in pictures else []),
        *sensitivity(analysis, say),
        *([pictures["trials"]] if spec.search.method != "tpe" else []),
        *expected(analysis, say),
    ]


def values_table(analysis: Analysis, say: Texts) -> Table:
    """One row a depth, width and arm: the best of tuning, and with what the arm was judged."""
    rows = []
    for depth in analysis.depths:
        for width in analysis.widths:
            for arm in analysis.arms:
                rows.append(values_row(analysis, say, analysis.cell(arm, depth, width)))
    head = ("depth", "width", "arm", "trials", "trials_failed", "best_values", "best_loss",
            "edge", "judged_with")  # fmt: skip
    return Table(say("table_tuned"), [say("head_" + name) for name in head], rows, "lrlrrlrll")


def values_row(analysis: Analysis, say: Texts, cell: Cell) -> List[str]:
    found = best(analysis, cell)
    own = [run for run in analysis.tuning if run.cell == cell]
    done = [run for run in own if run.outcome is not None]
    failed = sum(run.outcome != "completed" for run in done)
    judged_with = dict.fromkeys(values_name(r.values) for r in analysis.judging if r.cell == cell)
    ends = on_edge(analysis, cell)
    inside = say("inside") if edges(analysis, cell) else NOTHING
    return [
        cell.depth,
        str(cell.width),
        cell.arm,
        str(len(done)) if len(done) == len(own) else say("some_of", done=len(done), all=len(own)),
        str(failed),
        NOTHING if found is None else values_name(found[0]),  # type: ignore[arg-type]
        NOTHING if found is None else quality(found[1], "valid_loss"),
        say("on_edge", options=say.listed(ends)) if ends else inside,
        "; ".join(judged_with) or NOTHING,
    ]


def sensitivity(analysis: Analysis, say: Texts) -> List[Block]:
    """Mean loss over the common learning rates minus the best of them."""
    rows = []
    for depth in analysis.depths:
        cells = [analysis.cell(arm, depth) for arm in analysis.arms]
        found = learning_rate_sensitivity(analysis.findings, cells)
        if found:
            rows.append([depth, *(quality(found.get(cell), "valid_loss") for cell in cells)])
    if not rows:
        return []
    head = [say("head_depth"), *analysis.arms]
    untrained = quality(analysis.findings.untrained_loss, "valid_loss")
    return [
        Table(
            with_width(analysis, say, say("table_sensitivity")),
            head,
            rows,
            "l" + "r" * len(analysis.arms),
        ),
        Paragraph(say("sensitivity_means", loss=untrained)),
    ]


def expected(analysis: Analysis, say: Texts) -> List[Block]:
    """Expected best loss of 1, 2, 4 ... and all trials."""
    curves = {
        (depth, arm): analysis.expected_losses(arm, depth)
        for depth in analysis.depths
        for arm in analysis.arms
    }
    most = max(map(len, curves.values()))
    if most < 2:
        key = "expected_not_tpe" if analysis.spec.search.method == "tpe" else "expected_few"
        return [Paragraph(say(key))]
    columns = [n for n in COLUMNS if n < most] + [most]
    rows = [
        [depth, arm, *(quality(curve[n - 1], "valid_loss") if n <= len(curve) else NOTHING
                       for n in columns)]
        for (depth, arm), curve in curves.items() if curve
    ]  # fmt: skip
    head = [say("head_depth"), say("head_arm"), *(say("head_n_trials", n=n) for n in columns)]
    caption = with_width(analysis, say, say("table_expected"))
    return [Table(caption, head, rows, "ll" + "r" * len(columns))]
