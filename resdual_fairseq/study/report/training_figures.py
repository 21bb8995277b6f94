"""Figures of tuning and training: loss over learning rate, over trials, and over updates."""

from __future__ import annotations

from typing import Any, List, Optional, Sequence, Tuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..analysis.comparisons import has_failed, loss_by_learning_rate, score
from ..analysis.table import Cell, Run
from . import drawing
from .analysis import Analysis
from .places import depth_name
from .texts import Texts


def over_learning_rate(analysis: Analysis, say: Texts, depths: Sequence[str]) -> Optional[Figure]:
    """One panel a depth; every tuning run a point, and a line through the best of each rate."""
    depths = [d for d in depths if any(rates(analysis, arm, d) for arm in analysis.arms)]
    if not depths:
        return None
    figure, axes = drawing.panels([depth_name(say, depth) for depth in depths])
    style = drawing.looks(analysis)
    with_failures = False
    for axis, depth in zip(axes, depths):
        failed = []
        for arm in analysis.arms:
            draw_rates(axis, analysis, analysis.cell(arm, depth), style[arm])
            failed += [(rate, arm) for rate, run in rates(analysis, arm, depth) if has_failed(run)]
        if failed:
            strip(axis, failed, analysis.arms, style)
            with_failures = True
        scale(
            axis, sorted({rate for arm in analysis.arms for rate, _ in rates(analysis, arm, depth)})
        )
        axis.set_xlabel(say("axis_learning_rate"))
    for axis in axes[:: drawing.COLUMNS]:
        axis.set_ylabel(say("axis_valid_loss"))
    further = [drawing.cross_in_legend(say)] if with_failures else []
    drawing.legend(figure, analysis.arms, style, further)
    return figure


def rates(analysis: Analysis, arm: str, depth: str) -> List[Tuple[float, Run]]:
    """Tuning runs at the tuning budget with their learning rate, where that was searched."""
    spec = analysis.spec
    budget = spec.search.budget or max(spec.budgets.values)
    cell = analysis.cell(arm, depth)
    return [
        (float(run.values["lr"]), run)
        for run in analysis.tuning
        if run.cell == cell and run.budget == budget and "lr" in run.values and run.outcome
    ]


def draw_rates(axis: Any, analysis: Analysis, cell: Cell, look: drawing.Look) -> None:
    """An arm's losses, the best of each rate joined, and a ring around the best of all."""
    found = [
        (rate, score(run, "valid_loss")) for rate, run in rates(analysis, cell.arm, cell.depth)
    ]
    trained = [(rate, loss) for rate, loss in found if loss is not None]
    if not trained:
        return
    axis.plot(*zip(*trained), **drawing.dots(look))
    rates_that_train = {rate for rate, _ in trained}
    best = {
        rate: loss
        for rate, loss in loss_by_learning_rate(analysis.findings, cell).items()
        if rate in rates_that_train
    }
    axis.plot(list(best), list(best.values()), marker=look.marker, **drawing.line(look))
    rate = min(best, key=lambda one: best[one])
    ring = {"marker": "o", "markersize": 11, "markerfacecolor": "none", "markeredgewidth": 1.2}
    axis.plot([rate], [best[rate]], color=look.color, linestyle="none", **ring)


def strip(axis: Any, failed: List[Tuple[float, str]], arms: Sequence[str], style: Any) -> None:
    """Crosses over the points, one row an arm: what failed has no loss to show."""
    low, high = axis.get_ylim()
    if not axis.get_lines():
        low, high = 0.0, 1.0
        axis.set_yticks([])
    rows = [arm for arm in arms if any(arm == one for _, one in failed)]
    part = 0.08 * len(rows)
    axis.set_ylim(low, high + (part + 0.02) / (1 - part - 0.02) * (high - low))
    axis.axhline(high, color="#999999", linewidth=0.6)
    for rate, arm in failed:
        height = 1 - 0.08 * (rows.index(arm) + 0.5)
        axis.plot(
            [rate], [height], transform=axis.get_xaxis_transform(), **drawing.crosses(style[arm])
        )


def scale(axis: Any, values: Sequence[float]) -> None:
    """A log axis that names the learning rates that were tried, or every second one of many."""
    if not values:
        return
    axis.set_xscale("log")
    axis.set_xlim(values[0] / 1.4, values[-1] * 1.4)
    shown = values[:: -(-len(values) // 5)]
    drawing.names_on(axis.xaxis, shown, [f"{value:.2g}" for value in shown])


def over_trials(analysis: Analysis, say: Texts) -> Optional[Figure]:
    """Expected best loss of n trials, one panel a depth."""
    curves = {
        (arm, depth): analysis.expected_losses(arm, depth)
        for arm in analysis.arms
        for depth in analysis.depths
    }
    depths = [d for d in analysis.depths if any(len(curves[a, d]) > 1 for a in analysis.arms)]
    if not depths:
        return None
    figure, axes = drawing.panels([depth_name(say, depth) for depth in depths])
    style = drawing.looks(analysis)
    for axis, depth in zip(axes, depths):
        for arm in analysis.arms:
            heights = curves[arm, depth]
            trials = np.arange(1, len(heights) + 1)
            axis.plot(trials, heights, marker=style[arm].marker, **drawing.line(style[arm]))
        axis.set_xlabel(say("axis_trials"))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis in axes[:: drawing.COLUMNS]:
        axis.set_ylabel(say("axis_expected_loss"))
    drawing.legend(figure, analysis.arms, style)
    return figure


def over_updates(analysis: Analysis, say: Texts) -> Optional[Figure]:
    """Validation loss in training, a line a seed, and where the cool-down ends it."""
    depths = [d for d in analysis.depths if any(r.curve for r in at(analysis, analysis.arms, d))]
    if not depths:
        return None
    figure, axes = drawing.panels([depth_name(say, depth) for depth in depths])
    style = drawing.looks(analysis)
    for axis, depth in zip(axes, depths):
        for arm in analysis.arms:
            for run in at(analysis, [arm], depth):
                draw_curve(axis, run, style[arm])
        axis.set_xlabel(say("axis_updates"))
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    for axis in axes[:: drawing.COLUMNS]:
        axis.set_ylabel(say("axis_valid_loss"))
    drawing.legend(figure, analysis.arms, style)
    return figure


def at(analysis: Analysis, arms: Sequence[str], depth: str) -> List[Run]:
    """Judging runs of the largest budget."""
    return [run for arm in arms for run in analysis.runs(arm, analysis.at(depth))]


def draw_curve(axis: Any, run: Run, look: drawing.Look) -> None:
    if not run.curve:
        return
    axis.plot(*zip(*run.curve), linewidth=0.9, alpha=0.8, **drawing.line(look))
    if has_failed(run):
        axis.plot(*run.curve[-1], **drawing.crosses(look))
    final = score(run, "valid_loss")
    if final is None:
        return
    updates, loss = run.curve[-1]
    axis.plot([updates, run.updates], [loss, final], color=look.color, linewidth=0.5, alpha=0.6)
    axis.plot([run.updates], [final], color=look.color, marker=look.marker, markersize=4)
