"""Figures of the table: one row of panels a depth, encoder and decoder side by side."""

from itertools import cycle
from pathlib import Path
from typing import Any, Callable, Collection, Dict, List, NamedTuple, Optional, Sequence

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ..files import replacing
from ..schemes.kinds import title_of
from .curves import Curve, curves, within
from .table import Row
from .theory import Point, collapse, exponential_trend, level, resdual_bound
from .verdicts import FP16_LARGEST

TAB20 = tuple(to_hex(plt.get_cmap("tab20")(n)) for n in range(20))
COLORS = {"post": "#D55E00", "pre": "#0072B2", "resdual": "#009E73"}
"""Of Okabe and Ito's palette, which the colour-blind can tell apart."""
MORE_COLORS = ("#000000", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", *TAB20)
PARTS = {
    "self_attn": ("o", "self-attention"),
    "cross_attn": ("s", "cross-attention"),
    "ffn": ("^", "feed-forward"),
    "end": ("D", "after the last block"),
}


class Theory(NamedTuple):
    """A curve to lay over points: its name, and what draws it (k values and heights, or None)."""

    name: str
    draw: Callable[[List[Point], int], Optional["tuple[np.ndarray, np.ndarray]"]]


def laid(shape: Callable[[Sequence[float], int], np.ndarray], last: int) -> Any:
    """A theory's shape, scaled onto the points up to k = N - last."""

    def draw(points: List[Point], blocks: int) -> Any:
        inner = [p for p in points if p.k <= blocks - last and p.value > 0]
        if not inner:
            return None
        heights = shape([p.k for p in inner], blocks)
        factor = level([p.value for p in inner], heights.tolist())
        k = np.arange(1, blocks - last + 1)
        return k, factor * shape(k.tolist(), blocks)

    return draw


def decay(points: List[Point], blocks: int) -> Any:
    """The fitted exponential, through the mean level of the parts."""
    try:
        trend = exponential_trend(points)
    except ValueError:
        return None
    k = np.arange(1, blocks + 1)
    return k, trend.curve(k.tolist())


class Figure(NamedTuple):
    """One figure: a quantity along the stack."""

    quantity: str
    label: str
    log: bool
    theories: Dict[str, Theory]
    line: Optional[float] = None


FIGURES = {
    "gradients": Figure(
        "gradient",
        "gradient norm of block k's weights",
        True,
        {
            "post": Theory("exponential, fitted", decay),
            "resdual": Theory(r"$\sqrt{\log(N-k)/N}$", laid(resdual_bound, 2)),
        },
    ),
    "input_gradients": Figure("stream_gradient", "gradient norm of the stream x_k", True, {}),
    "changes": Figure(
        "input_change",
        r"change of block inputs, E$|z_{k+1}-z_k|$",
        True,
        {"pre": Theory(r"$1/\sqrt{k}$", laid(lambda k, _: collapse(k), 0))},
    ),
    "cosines": Figure("input_cosine", "cosine of consecutive block inputs", False, {}),
    "dual_stream": Figure("dual_size", "mean |d_k| (times s)", True, {}),
    "largest": Figure("largest", "largest magnitude at block k", True, {}, FP16_LARGEST),
    "effective_ranks": Figure("effective_rank", "effective rank of block inputs", False, {}),
    "cka": Figure("cka", "linear CKA of consecutive block inputs", False, {}),
}


def draw_figures(rows: Sequence[Row], folder: Path) -> List[Path]:
    """Draw every figure that the rows have measurements for, as PNG and SVG.

    Returns:
        the files written.
    """
    written = []
    for name, figure in FIGURES.items():
        found = {curve: points for curve, points in curves(rows, figure.quantity).items() if points}
        if found:
            drawing = draw(figure, found)
            for kind in ("png", "svg"):
                written.append(folder / f"{name}.{kind}")
                with replacing(written[-1]) as unfinished:
                    drawing.savefig(unfinished, dpi=150, format=kind)
            plt.close(drawing)
    return written


def draw(figure: Figure, found: Dict[Curve, List[Point]]) -> Any:
    """One panel a stack and number of blocks per stack (of checkpoints: one panel a stack)."""
    stacks = [s for s in ("encoder", "decoder") if any(c.stack == s for c in found)]
    sizes = {s: sorted({c.blocks for c in found if c.stack == s}) for s in stacks}
    height = max(len(chosen) for chosen in sizes.values())
    drawing, axes = plt.subplots(
        height,
        len(stacks),
        figsize=(5.2 * len(stacks), 2.9 * height + 1.1),
        squeeze=False,
        layout="constrained",
    )
    colors = color_of(found)
    for column, stack in enumerate(stacks):
        for line in range(height):
            axis = axes[line][column]
            if line >= len(sizes[stack]):
                axis.set_visible(False)
                continue
            blocks = sizes[stack][line]
            panel = {c: p for c, p in found.items() if c.stack == stack and c.blocks == blocks}
            draw_panel(axis, figure, panel, colors)
            axis.set_title(f"{stack}, N = {blocks} blocks", fontsize=10)
        axes[len(sizes[stack]) - 1][column].set_xlabel("block k")
    drawing.supylabel(figure.label, fontsize=11)
    legend(drawing, figure, found, colors)
    return drawing


def draw_panel(
    axis: Any, figure: Figure, panel: Dict[Curve, List[Point]], colors: Dict[Curve, str]
) -> None:
    for number, (curve, points) in enumerate(panel.items()):
        width = 1 + (len(panel) - 1 - number) / 2  # what lies beneath equal curves shows
        for part, (marker, _) in PARTS.items():
            k, mean, low, high = over_seeds([p for p in points if p.part == part])
            if len(k):
                axis.fill_between(k, low, high, color=colors[curve], alpha=0.15, linewidth=0)
                size = 3.5 * width * min(1.0, max(0.3, 40 / curve.blocks))
                style = {"color": colors[curve], "marker": marker, "markersize": size}
                axis.plot(k, mean, linewidth=0.8 * width, **style)
        theory = figure.theories.get(curve.residual)
        laid_over = theory.draw(within(points, curve.blocks), curve.blocks) if theory else None
        if laid_over is not None:
            axis.plot(*laid_over, color=colors[curve], linestyle="--", linewidth=2.2, alpha=0.8)
    if figure.log:
        axis.set_yscale("log")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    if figure.line is not None:
        axis.axhline(figure.line, color="black", linestyle=":", linewidth=1)
        axis.annotate("fp16's largest", (1, figure.line), fontsize=8, va="bottom")
    axis.grid(True, which="major", alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)


def over_seeds(points: List[Point]) -> "tuple[List[int], List[float], List[float], List[float]]":
    """By k: mean, smallest and largest over seeds."""
    by_k: Dict[int, List[float]] = {}
    for point in points:
        by_k.setdefault(point.k, []).append(point.value)
    ks = sorted(by_k)
    means = [float(np.mean(by_k[k])) for k in ks]
    return ks, means, [min(by_k[k]) for k in ks], [max(by_k[k]) for k in ks]


def color_of(found: Collection[Curve]) -> Dict[Curve, str]:
    """One colour a kind; a further checkpoint of a kind gets one of its own."""
    chosen: Dict[str, str] = {}
    more = cycle(MORE_COLORS)
    for curve in found:
        color = COLORS.get(curve.residual, "")
        if legend_name(curve) not in chosen:
            taken = color in ("", *chosen.values())
            chosen[legend_name(curve)] = next(more) if taken else color
    return {curve: chosen[legend_name(curve)] for curve in found}


def legend_name(curve: Curve) -> str:
    """The kind, whose depths have panels of their own; of a checkpoint its name as well."""
    kind = title_of(curve.residual)
    by_depth = curve.name.startswith(f"{curve.residual}, ")
    return kind if by_depth else f"{curve.name} ({kind})"


def legend(
    drawing: Any, figure: Figure, found: Dict[Curve, List[Point]], colors: Dict[Curve, str]
) -> None:
    """Kinds or checkpoints by colour, theory by dashes, parts by markers; above the panels."""
    names = {legend_name(curve): colors[curve] for curve in found}
    handles = [Line2D([], [], color=c, linewidth=3, label=name) for name, c in names.items()]
    for residual, theory in figure.theories.items():
        if any(curve.residual == residual for curve in found):
            label = f"{title_of(residual)}: {theory.name}"
            color = COLORS[residual]
            handles.append(Line2D([], [], color=color, linestyle="--", linewidth=2, label=label))
    seen = {point.part for points in found.values() for point in points}
    for part, (marker, name) in PARTS.items():
        if part in seen:
            handles.append(
                Line2D([], [], color="gray", marker=marker, linestyle="", markersize=5, label=name)
            )
    drawing.legend(handles=handles, loc="outside upper center", ncols=4, fontsize=8, frameon=False)
