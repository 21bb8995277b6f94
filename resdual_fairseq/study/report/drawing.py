"""The canvas of the figures: looks of the arms, panels, legends, and SVG of the same bytes."""

from __future__ import annotations

import io
import re
import warnings
from typing import Any, Dict, Iterator, List, NamedTuple, Sequence, Tuple

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from .analysis import Analysis
from .texts import Texts

COLORS = ("#009E73", "#0072B2", "#D55E00", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Of Okabe and Ito's palette, which the colour-blind can tell apart; first is the candidate."""
MARKERS = ("o", "s", "^", "D", "v", "P", "*")
LINES = ("-", "--", ":", "-.", (0, (5, 1)), (0, (1, 1)), (0, (3, 1, 1, 1, 1, 1)))
FAILED = "x"
PANEL = (3.2, 2.6)
"""Inches: about what a third of a wide page shows as it is."""
COLUMNS = 3
LEGEND_LETTERS = 42
"""That fit into one row of a legend over one panel."""
LEGEND_ROW = 0.17
"""Inches that a row takes; what goes beyond two is added to the figure."""
BAR = {"fmt": "none", "capsize": 3, "linewidth": 1.5}
"""Keywords of an interval."""
STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: the reader's browser brings the Japanese font
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.5,
    "lines.markersize": 5,
    "axes.formatter.useoffset": False,
}
FONTS = "'DejaVu Sans', Verdana, 'Noto Sans CJK JP', 'Hiragino Sans', 'Yu Gothic', sans-serif"


class Look(NamedTuple):
    """How an arm is drawn, in every figure."""

    color: str
    marker: str
    line: Any


def looks(analysis: Analysis) -> Dict[str, Look]:
    """Each arm's own: where the colors begin anew, they meet other markers and lines."""
    found = {}
    for i, arm in enumerate(analysis.arms):
        other = i + 3 * (i // len(COLORS))
        marker, line = MARKERS[other % len(MARKERS)], LINES[other % len(LINES)]
        found[arm] = Look(COLORS[i % len(COLORS)], marker, line)
    return found


def panels(titles: Sequence[str]) -> Tuple[Figure, List[Any]]:
    """A figure of one panel a title, three beside each other; a single one has no title."""
    rows = -(-len(titles) // COLUMNS)
    columns = min(COLUMNS, len(titles))
    figure = Figure(figsize=(PANEL[0] * columns, PANEL[1] * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, title in zip(grid, titles):
        if len(titles) > 1:
            axis.set_title(title, fontsize=9)
    for axis in grid[len(titles) :]:
        axis.set_visible(False)
    return figure, list(grid[: len(titles)])


def line(look: Look, **further: Any) -> Dict[str, Any]:
    """Keywords of a line through an arm's means."""
    return {"color": look.color, "linestyle": look.line, **further}


def dots(look: Look, **further: Any) -> Dict[str, Any]:
    """Keywords of raw points."""
    style = {"color": look.color, "marker": look.marker, "linestyle": "none", "markersize": 4}
    return {**style, "alpha": 0.45, "markeredgewidth": 0, **further}


def crosses(look: Look, **further: Any) -> Dict[str, Any]:
    """Keywords of what failed."""
    style = {"color": look.color, "marker": FAILED, "linestyle": "none"}
    return {**style, "markersize": 7, "markeredgewidth": 1.8, "clip_on": False, **further}


def spread(count: int, width: float) -> Iterator[float]:
    """Shifts that set ``count`` things apart over a width, around 0."""
    return ((i - (count - 1) / 2) * width / max(1, count - 1) for i in range(count))


def names_on(axis: Any, places: Sequence[float], names: Sequence[str]) -> None:
    """These ticks, and no others."""
    axis.set_major_locator(mpl.ticker.FixedLocator(list(places)))
    axis.set_major_formatter(mpl.ticker.FixedFormatter(list(names)))
    axis.set_minor_locator(NullLocator())


def cross_in_legend(say: Texts) -> Line2D:
    return Line2D([], [], label=say("legend_failed"), **crosses(Look("#555555", "", "")))


def legend(
    figure: Figure, arms: Sequence[str], style: Dict[str, Look], further: Sequence[Line2D] = ()
) -> None:
    """The arms, and further signs; above the panels."""
    handles = [
        Line2D([], [], label=arm, marker=style[arm].marker, **line(style[arm])) for arm in arms
    ]
    handles += further
    letters = max(len(str(handle.get_label())) for handle in handles) + 7
    room = LEGEND_LETTERS * figure.get_figwidth() / PANEL[0]
    columns = max(1, min(len(handles), int(room / letters)))
    rows = -(-len(handles) // columns)
    figure.set_figheight(figure.get_figheight() + LEGEND_ROW * max(0, rows - 2))
    figure.legend(handles=handles, loc="outside upper center", ncols=columns)


def svg_of(figure: Figure, name: str) -> str:
    """The figure as text, the same for the same figure, to stand in a page or in a file."""
    written = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        # The font at hand lacks Japanese; it serves to measure only.
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(written, format="svg", metadata=nothing)
    return tidied(written.getvalue())


def tidied(svg: str) -> str:
    """Without what holds in a file of its own only, and with fonts that have Japanese."""
    text = svg[svg.index("<svg") :]
    # Names of groups would stand in a page several times, and a style would hold for all of it.
    text = re.sub(r'<g id="[\w.]+_\d+">', "<g>", text)
    text = re.sub(r"\s*<defs>\s*<style .*?</style>\s*</defs>", "", text, flags=re.DOTALL)
    text = text.replace("'DejaVu Sans'", FONTS)
    text = re.sub(r"<svg ", '<svg stroke-linejoin="round" role="img" ', text, count=1)
    return re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE).rstrip() + "\n"
