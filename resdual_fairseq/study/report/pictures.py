"""Every figure of the report, by its name."""

from __future__ import annotations

from typing import Callable, Dict, Optional

import matplotlib as mpl
from matplotlib.figure import Figure

from . import arm_figures, drawing, quality_figures, training_figures
from .analysis import Analysis
from .formats import level
from .page import Picture
from .places import unit_name, with_width
from .texts import Texts

Draw = Callable[[], Optional[Figure]]
CAPTIONS = {"arms": "depth"}
"""Figures under whose drawings another one's caption stands."""


def all_pictures(analysis: Analysis, say: Texts) -> Dict[str, Picture]:
    """By name; those of which nothing is known yet have a sentence in place of a drawing.

    A study of one depth has its arms in rows in place of figures over depth.
    """
    here, depths = [analysis.place.depth], analysis.depths
    draws: Dict[str, Draw] = {
        "budget": lambda: quality_figures.over_budget(analysis, say, here),
        "rate": lambda: training_figures.over_learning_rate(analysis, say, here),
        "data": lambda: quality_figures.over_data(analysis, say),
        "trials": lambda: training_figures.over_trials(analysis, say),
        "curves": lambda: training_figures.over_updates(analysis, say),
    }
    if len(depths) == 1:
        draws["arms"] = lambda: arm_figures.of_arms(analysis, say)
        draws["arm_gains"] = lambda: arm_figures.gains_of_arms(analysis, say)
    else:
        draws["depth"] = lambda: quality_figures.over_depth(analysis, say)
        draws["gain"] = lambda: quality_figures.gain_over_depth(analysis, say)
        draws["budgets"] = lambda: quality_figures.over_budget(analysis, say, depths)
        draws["rates"] = lambda: training_figures.over_learning_rate(analysis, say, depths)
    with mpl.rc_context(drawing.STYLE):
        return {name: picture(name, draw, analysis, say) for name, draw in draws.items()}


def picture(name: str, draw: Draw, analysis: Analysis, say: Texts) -> Picture:
    spec = analysis.spec
    drawn = draw()
    words = {
        "metric": say("metric_" + analysis.metric),
        "unit": unit_name(analysis, say),
        "level": level(spec.criteria.level),
        "depth": analysis.place.depth,
        "candidate": analysis.candidate,
        "baseline": analysis.baseline,
        "better": say(analysis.better),
        "rates": say("rates_searched" if spec.search.method == "tpe" else "rates_alike"),
    }
    title = with_width(analysis, say, say(f"figure_{name}_title", **words))
    if drawn is None:
        missing = f"figure_{name}_missing"
        return Picture(name, title, say.known(missing, say("figure_missing")), None)
    panels = 1 if drawn.get_figwidth() <= drawing.PANEL[0] else len(drawn.axes)
    svg = drawing.svg_of(drawn, name)
    caption = say(f"figure_{CAPTIONS.get(name, name)}_caption", **words)
    return Picture(name, title, caption, svg, panels)
