"""Figures of quality: over depth, over training time, over the data, and the gain."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..analysis.comparisons import Place, has_failed
from ..analysis.statistics import t_interval
from . import drawing
from .analysis import Analysis
from .formats import plain, short
from .places import depth_name, unit_name
from .texts import Texts

WIDTH = 0.24
"""Over which the arms stand side by side, where the next tick is 1 away."""
STRIP = 0.18
"""Share of a panel's height for the failures below the points."""
ENDS = {"bleu": (0, 100), "chrf": (0, 100)}
"""Of the metrics that have a least and a most."""


def over_depth(analysis: Analysis, say: Texts) -> Optional[Figure]:
    """One panel; depths in equal steps."""
    figure, (axis,) = drawing.panels([""])
    places = [analysis.at(depth) for depth in analysis.depths]
    if not draw(axis, analysis, say, places):
        return None
    axis.set_xlabel(depth_axis(analysis, say))
    drawing.names_on(axis.xaxis, range(len(places)), analysis.depths)
    return finished(figure, [axis], analysis, say)


def depth_axis(analysis: Analysis, say: Texts) -> str:
    is_pair = analysis.spec.task == "translation"
    return say("axis_depth" if is_pair else "axis_depth_lm")


def over_budget(analysis: Analysis, say: Texts, depths: Sequence[str]) -> Optional[Figure]:
    """One panel a depth; the budgets in equal steps, named."""
    figure, axes = drawing.panels([depth_name(say, depth) for depth in depths])
    found = [
        draw(axis, analysis, say, [analysis.at(depth, budget=b) for b in analysis.budgets])
        for axis, depth in zip(axes, depths)
    ]
    if not any(found):
        return None
    unit = unit_name(analysis, say)
    for axis in axes:
        axis.set_xlabel(say("axis_budget", unit=unit))
        drawing.names_on(
            axis.xaxis, range(len(analysis.budgets)), list(map(short, analysis.budgets))
        )
    return finished(figure, axes, analysis, say)


def over_data(analysis: Analysis, say: Texts) -> Optional[Figure]:
    """One panel a depth at which less data was tried."""
    depths = [d for d in analysis.depths if has_fractions(analysis, d)]
    if not depths:
        return None
    figure, axes = drawing.panels([depth_name(say, depth) for depth in depths])
    for axis, depth in zip(axes, depths):
        draw(axis, analysis, say, [analysis.at(depth, fraction=f) for f in analysis.fractions])
        axis.set_xlabel(say("axis_data"))
        names = [f"{100 * fraction:g} %" for fraction in analysis.fractions]
        drawing.names_on(axis.xaxis, range(len(names)), names)
    return finished(figure, axes, analysis, say)


def has_fractions(analysis: Analysis, depth: str) -> bool:
    places = [analysis.at(depth, fraction=f) for f in analysis.fractions if f < 1]
    return any(analysis.scores(arm, place) for arm in analysis.arms for place in places)


def draw(axis: Any, analysis: Analysis, say: Texts, places: Sequence[Place]) -> bool:
    """Every arm at every place: its points, its mean with interval, its failures.

    Returns:
        whether there was anything to draw.
    """
    style = drawing.looks(analysis)
    failures: Dict[Any, str] = {}
    drawn = False
    shifts = list(drawing.spread(len(analysis.arms), WIDTH))
    for arm, shift in zip(analysis.arms, shifts):
        means: List[float] = []
        for x, place in enumerate(places):
            scores = analysis.scores(arm, place)
            means.append(float(np.mean(scores)) if scores else np.nan)
            done = [run for run in analysis.runs(arm, place) if run.outcome is not None]
            failed = sum(map(has_failed, done))
            if failed:
                failures[x + shift, arm] = f"{failed}/{len(done)}"
            if scores:
                points(axis, x + shift, scores, style[arm], analysis.spec.criteria.level)
        xs = np.arange(len(places)) + shift
        axis.plot(xs, means, marker=style[arm].marker, zorder=3, **drawing.line(style[arm]))
        drawn = drawn or bool(failures) or not np.isnan(means).all()
    axis.set_xlim(-0.6, len(places) - 0.4)
    if drawn:
        clip(axis, analysis.metric)
    if failures:
        strip(axis, failures, style)
    elif not drawn:
        axis.set_yticks([])
    return drawn


def clip(axis: Any, metric: str) -> None:
    """End the axis where the metric ends: intervals of a few seeds reach beyond it."""
    if metric in ENDS:
        low, high = axis.get_ylim()
        axis.set_ylim(max(low, ENDS[metric][0]), min(high, ENDS[metric][1]))


def points(axis: Any, x: float, scores: List[float], look: drawing.Look, level: float) -> None:
    """The raw scores beside each other, and the interval of their mean."""
    around = [x + shift for shift in drawing.spread(len(scores), 0.1)]
    axis.plot(around, scores, **drawing.dots(look))
    mean = t_interval(scores, level)
    if mean.low is not None and mean.high is not None:
        bounds = [[mean.estimate - mean.low], [mean.high - mean.estimate]]
        axis.errorbar([x], [mean.estimate], bounds, color=look.color, **drawing.BAR)


def strip(axis: Any, failures: Dict[Any, str], style: Dict[str, drawing.Look]) -> None:
    """Crosses under the points, with how many of how many runs failed."""
    low, high = axis.get_ylim()
    if not axis.dataLim.height > 0 and not has_points(axis):
        low, high = 0.0, 1.0
        axis.set_yticks([])
    axis.set_yticks([tick for tick in axis.get_yticks() if low <= tick <= high])
    axis.set_ylim(low - STRIP / (1 - STRIP) * (high - low), high)
    across = axis.get_xaxis_transform()
    axis.axhline(low, color="#999999", linewidth=0.6)
    for (x, arm), text in failures.items():
        axis.plot([x], [0.11], transform=across, **drawing.crosses(style[arm]))
        color = style[arm].color
        axis.text(x, 0.06, text, transform=across, color=color, fontsize=7.5, ha="center", va="top")


def has_points(axis: Any) -> bool:
    return any(np.isfinite(drawn.get_ydata()).any() for drawn in axis.get_lines())


def finished(figure: Figure, axes: Sequence[Any], analysis: Analysis, say: Texts) -> Figure:
    """With the axis of quality, and a legend."""
    for axis in axes[:: drawing.COLUMNS]:
        axis.set_ylabel(say("axis_" + analysis.metric))
    with_failures = any(axis.texts for axis in axes)
    further = [drawing.cross_in_legend(say)] if with_failures else []
    drawing.legend(figure, analysis.arms, drawing.looks(analysis), further)
    return figure


def gain_over_depth(analysis: Analysis, say: Texts) -> Optional[Figure]:
    """The gain of every other arm over the baseline, with the intervals that the verdict uses."""
    figure, (axis,) = drawing.panels([""])
    style = drawing.looks(analysis)
    drawn = False
    for arm, shift in zip(analysis.rivals, drawing.spread(len(analysis.rivals), WIDTH)):
        for x, depth in enumerate(analysis.depths):
            found = analysis.comparison(arm, analysis.at(depth))
            if found is None or found.gain is None:
                continue
            gain, look = found.gain, style[arm]
            axis.plot([x + shift], [gain.estimate], color=look.color, marker=look.marker)
            if gain.low is not None and gain.high is not None:
                bounds = [[gain.estimate - gain.low], [gain.high - gain.estimate]]
                axis.errorbar([x + shift], [gain.estimate], bounds, color=look.color, **drawing.BAR)
            drawn = True
    if not drawn:
        return None
    axis.axhline(0, color="black", linewidth=0.8)
    margin = analysis.spec.criteria.margin
    asked: Dict[str, Any] = {"color": "#555555", "linewidth": 0.9, "linestyle": (0, (4, 2))}
    axis.axhline(margin, **asked)
    axis.set_xlim(-0.6, len(analysis.depths) - 0.4)
    axis.set_xlabel(depth_axis(analysis, say))
    axis.set_ylabel(say("axis_gain", metric=say("metric_" + analysis.metric)))
    drawing.names_on(axis.xaxis, range(len(analysis.depths)), analysis.depths)
    line = Line2D([], [], label=say("margin_line", margin=plain(margin)), **asked)
    drawing.legend(figure, analysis.rivals, style, [line])
    return figure
