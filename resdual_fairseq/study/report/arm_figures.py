"""Figures of a study of one depth: an arm a row, its quality and its gain."""

from __future__ import annotations

from typing import Any, List, Optional, Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..analysis.comparisons import has_failed
from ..analysis.statistics import t_interval
from ..analysis.table import Interval
from . import drawing
from .analysis import Analysis
from .formats import plain
from .texts import Texts

ROW = 0.24
"""Inches that an arm takes."""
STRIP = 0.16
"""Share of a panel's width for the failures beside the points."""


def of_arms(analysis: Analysis, say: Texts) -> Optional[Figure]:
    """Every arm's points and their mean with its interval; failures at the right."""
    figure, axis = rows(analysis.arms)
    style = drawing.looks(analysis)
    drawn, any_failed = False, False
    for y, arm in enumerate(analysis.arms):
        runs, scores = analysis.runs(arm, analysis.place), analysis.scores(arm, analysis.place)
        failed = sum(map(has_failed, runs))
        if scores:
            around = [y + shift for shift in drawing.spread(len(scores), 0.3)]
            axis.plot(scores, around, **drawing.dots(style[arm]))
            interval(axis, y, t_interval(scores, analysis.spec.criteria.level), style[arm])
        if failed:
            across = axis.get_yaxis_transform()
            axis.plot([0.9], [y], transform=across, **drawing.crosses(style[arm]))
            text = {"color": style[arm].color, "fontsize": 7.5, "va": "center"}
            axis.text(0.93, y, f"{failed}/{len(runs)}", transform=across, **text)
        drawn, any_failed = drawn or bool(runs), any_failed or bool(failed)
    if not drawn:
        return None
    axis.set_xlabel(say("axis_" + analysis.metric))
    if not any(analysis.scores(arm, analysis.place) for arm in analysis.arms):
        axis.set_xticks([])
    if any_failed:
        low, high = axis.get_xlim()
        axis.set_xlim(low, high + STRIP / (1 - STRIP) * (high - low))
        legend(figure, [drawing.cross_in_legend(say)])
    return figure


def gains_of_arms(analysis: Analysis, say: Texts) -> Optional[Figure]:
    """The gain of every other arm over the baseline, with the intervals that the verdict uses."""
    figure, axis = rows(analysis.rivals)
    style = drawing.looks(analysis)
    found = [analysis.comparison(arm, analysis.place) for arm in analysis.rivals]
    gains = [one.gain if one is not None else None for one in found]
    if not any(gains):
        return None
    for y, (arm, gain) in enumerate(zip(analysis.rivals, gains)):
        if gain is not None:
            interval(axis, y, gain, style[arm])
    axis.axvline(0, color="black", linewidth=0.8)
    margin = analysis.spec.criteria.margin
    asked: Any = {"color": "#555555", "linewidth": 0.9, "linestyle": (0, (4, 2))}
    axis.axvline(margin, **asked)
    axis.set_xlabel(say("axis_gain", metric=say("metric_" + analysis.metric)))
    legend(figure, [Line2D([], [], label=say("margin_line", margin=plain(margin)), **asked)])
    return figure


def rows(arms: Sequence[str]) -> tuple[Figure, Any]:
    """A panel with a named row for each arm, the first on top."""
    figure, (axis,) = drawing.panels([""])
    figure.set_figheight(max(figure.get_figheight(), 0.8 + ROW * len(arms)))
    axis.set_ylim(len(arms) - 0.4, -0.6)
    drawing.names_on(axis.yaxis, range(len(arms)), arms)
    axis.grid(visible=False, axis="y")
    return figure, axis


def interval(axis: Any, y: float, one: Interval, look: drawing.Look) -> None:
    axis.plot([one.estimate], [y], color=look.color, marker=look.marker, zorder=3)
    if one.low is not None and one.high is not None:
        bounds = [[one.estimate - one.low], [one.high - one.estimate]]
        axis.errorbar([one.estimate], [y], xerr=bounds, color=look.color, **drawing.BAR)


def legend(figure: Figure, signs: List[Line2D]) -> None:
    figure.legend(handles=signs, loc="outside upper center")
