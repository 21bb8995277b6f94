"""The training curves of the warm-up study: a panel for each depth and warm-up."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np

from depth.learning import Baselines, Outcome
from resdual_fairseq.schemes.kinds import kinds, title_of

matplotlib.use("Agg")
from matplotlib import pyplot as plt

COLORS = {"post": "#D55E00", "pre": "#0072B2", "resdual": "#009E73"}
MORE_COLORS = plt.get_cmap("tab20").colors


def draw_curves(outcomes: Sequence[Outcome], baselines: Baselines, folder: Path) -> None:
    """Draw warm_up.png and warm_up.svg: training loss by update, mean and extremes over seeds."""
    depths = sorted({one.run.layers for one in outcomes})
    warm_ups = sorted({one.run.warm_up for one in outcomes})
    figure, axes = plt.subplots(
        len(warm_ups),
        len(depths),
        figsize=(4 * len(depths), 3 * len(warm_ups) + 0.6),
        squeeze=False,
        sharex=True,
        sharey=True,
        layout="constrained",
    )
    for row, warm_up in enumerate(warm_ups):
        for column, layers in enumerate(depths):
            axis = axes[row][column]
            panel = [o for o in outcomes if (o.run.warm_up, o.run.layers) == (warm_up, layers)]
            for residual in kinds():
                same = [o for o in panel if o.run.residual == residual]
                draw_kind(axis, same, residual)
            axis.axhline(baselines.unigram, color="black", linestyle=":", linewidth=1)
            title = f"warm-up of {warm_up} updates" if warm_up else "no warm-up"
            axis.set_title(f"{layers} + {layers} layers, {title}", fontsize=10)
            axis.grid(True, alpha=0.3)
            axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].annotate("word counts", (1, baselines.unigram), fontsize=8, va="bottom", ha="left")
    axes[0][0].set_ylim(top=baselines.uniform + 1)
    figure.supxlabel("update")
    figure.supylabel("training loss, bits a token")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)
    for kind in ("png", "svg"):
        unfinished = folder / f"warm_up.{kind}.unfinished"
        figure.savefig(unfinished, dpi=150, format=kind)
        os.replace(unfinished, folder / f"warm_up.{kind}")
    plt.close(figure)


def draw_kind(axis: plt.Axes, same: Sequence[Outcome], residual: str) -> None:
    """The runs of one kind in a panel; where one diverged, the others go on."""
    by_update: dict[int, list[float]] = {}
    for one in same:
        for update, loss in one.curve:
            by_update.setdefault(update, []).append(loss)
    updates = sorted(by_update)
    if not updates:
        return
    color = COLORS.get(residual, MORE_COLORS[kinds().index(residual) % len(MORE_COLORS)])
    axis.plot(
        updates,
        [float(np.mean(by_update[u])) for u in updates],
        color=color,
        label=title_of(residual),
    )
    axis.fill_between(
        updates,
        [min(by_update[u]) for u in updates],
        [max(by_update[u]) for u in updates],
        color=color,
        alpha=0.2,
        linewidth=0,
    )
