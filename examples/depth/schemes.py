"""All schemes before training, side by side: one figure and one table of `resdual-diagnose init`.

    resdual-diagnose init data/data-bin --out depth --residual post pre resdual deepnorm ...
    python examples/depth/schemes.py depth/measurements.csv --out depth

A panel a scheme: the gradient norm of a block's weights, and the change of block inputs, along the
stack. Blocks of a layer count together, in geometric means; zeros are left out.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

logging.basicConfig(level=logging.WARNING)  # before fairseq, which would ask for every detail

import matplotlib  # noqa: E402
import numpy as np  # noqa: E402

from common.command_line import exit_status  # noqa: E402
from resdual_fairseq.diagnostics.curves import Curve, curves  # noqa: E402
from resdual_fairseq.diagnostics.table import Row, read_table  # noqa: E402
from resdual_fairseq.diagnostics.theory import Point, first_over_last, power_trend  # noqa: E402
from resdual_fairseq.errors import ResDualError  # noqa: E402
from resdual_fairseq.files import replacing  # noqa: E402
from resdual_fairseq.preparation.run_steps import say, write_whole  # noqa: E402
from resdual_fairseq.schemes.kinds import kinds, title_of  # noqa: E402

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.ticker import NullFormatter  # noqa: E402

QUANTITIES = {
    "gradient": "gradient norm of block k's weights",
    "input_change": "change of block inputs",
}
COLUMNS = 5
Points = dict[Curve, list[Point]]


def along(points: Sequence[Point], parts: int) -> tuple[list[float], list[float]]:
    """By layer, from 0 to 1: the geometric mean over its blocks and seeds."""
    by_layer: dict[int, list[float]] = defaultdict(list)
    for point in points:
        if point.value > 0:
            by_layer[(point.k - 1) // parts].append(math.log(point.value))
    layers = sorted(by_layer)
    last = max(layers, default=0) or 1
    return [layer / last for layer in layers], [
        math.exp(float(np.mean(by_layer[layer]))) for layer in layers
    ]


def draw(found: dict[str, Points], measured: Sequence[str], path: Path) -> None:
    """Solid lines are decoders, dashed ones encoders; the darker, the deeper."""
    bands = math.ceil(len(measured) / COLUMNS)
    rows = bands * len(QUANTITIES)
    figure, axes = plt.subplots(
        rows, COLUMNS, figsize=(2.6 * COLUMNS, 2.1 * rows), sharex=True, layout="constrained"
    )
    depths = sorted(
        {curve.blocks // (3 if curve.stack == "decoder" else 2) for curve in found["gradient"]}
    )
    color = {
        d: plt.get_cmap("viridis_r")(0.15 + 0.85 * i / max(1, len(depths) - 1))
        for i, d in enumerate(depths)
    }
    for axis in axes.flat:
        axis.set_visible(False)
    for number, kind in enumerate(measured):
        for band, quantity in enumerate(QUANTITIES):
            axis = axes[number // COLUMNS * len(QUANTITIES) + band][number % COLUMNS]
            axis.set_visible(True)
            for curve, points in found[quantity].items():
                if curve.residual != kind:
                    continue
                parts = 3 if curve.stack == "decoder" else 2
                x, y = along(points, parts)
                style = "-" if curve.stack == "decoder" else "--"
                axis.plot(
                    np.array(x),
                    np.array(y),
                    style,
                    color=color[curve.blocks // parts],
                    linewidth=1.2,
                )
            if not any(line.get_ydata().size for line in axis.lines):
                axis.text(0.5, 0.5, "0 everywhere", ha="center", transform=axis.transAxes)
            axis.set_yscale("log")
            axis.set_title(title_of(kind) if band == 0 else "", fontsize=10)
            axis.grid(True, alpha=0.3)
            axis.tick_params(labelsize=7)
            axis.yaxis.set_minor_formatter(NullFormatter())
            if number % COLUMNS == 0:
                axis.set_ylabel(QUANTITIES[quantity], fontsize=7)
    handles = [plt.Line2D([], [], color=color[d], label=f"{d} + {d} layers") for d in depths]
    handles.append(plt.Line2D([], [], color="gray", linestyle="-", label="decoder"))
    handles.append(plt.Line2D([], [], color="gray", linestyle="--", label="encoder"))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False)
    figure.supxlabel("place in the stack: first layer 0, last layer 1", fontsize=9)
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=110, format="png")
    plt.close(figure)


def ratio(points: Sequence[Point] | None) -> str:
    """First over last block."""
    if not points or not all(point.value > 0 for point in points):
        return "0 everywhere" if points else ""
    return f"{first_over_last(points):.2g}"


def exponent(points: Sequence[Point] | None) -> str:
    try:
        return f"{round(power_trend(points or []).slope, 2) + 0.0:.2f}"
    except ValueError:
        return "0"


def table(found: dict[str, Points], measured: Sequence[str], depths: Sequence[int]) -> str:
    """Markdown: a row a scheme."""
    heads = [f"gradient, first / last block, {d} + {d}: encoder, decoder" for d in depths]
    last = depths[-1]
    rows = [
        "| scheme | " + " | ".join(heads) + f" | change of inputs at {last} + {last} goes as k to "
        f"the power of: encoder, decoder | largest number at {last} + {last} |",
        "|---|" + "---|" * (len(depths) + 2),
    ]
    for kind in measured:
        cells = [
            ", ".join(ratio(pick(found["gradient"], kind, s, d)) for s in ("encoder", "decoder"))
            for d in depths
        ]
        change = [
            exponent(pick(found["input_change"], kind, s, last)) for s in ("encoder", "decoder")
        ]
        largest = max(
            point.value
            for stack in ("encoder", "decoder")
            for point in pick(found["largest"], kind, stack, last) or []
        )
        rows.append(
            f"| {title_of(kind)} | {' | '.join(cells)} | {', '.join(change)} | {largest:.3g} |"
        )
    return "\n".join(rows)


def pick(found: Points, kind: str, stack: str, depth: int) -> list[Point] | None:
    """The points of one scheme's stack at one depth."""
    blocks = depth * (3 if stack == "decoder" else 2)
    for curve, points in found.items():
        if (curve.residual, curve.stack, curve.blocks) == (kind, stack, blocks):
            return points
    return None


def write(args: argparse.Namespace) -> None:
    rows: list[Row] = read_table(args.measurements)
    if not rows:
        raise ResDualError(f"{args.measurements}: no measurements; resdual-diagnose init does them")
    found: dict[str, Any] = {name: curves(rows, name) for name in (*QUANTITIES, "largest")}
    measured = [kind for kind in kinds() if any(c.residual == kind for c in found["gradient"])]
    depths = sorted({row.depth for row in rows if row.depth})
    args.out.mkdir(parents=True, exist_ok=True)
    text = table(found, measured, sorted({depths[0], depths[len(depths) // 2], depths[-1]}))
    write_whole(args.out / "schemes.md", text)
    draw(found, measured, args.out / "schemes.png")
    say(f"{text}\nwritten: {args.out}/schemes.md and schemes.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("measurements", type=Path, help="measurements.csv of resdual-diagnose init")
    parser.add_argument("--out", type=Path, required=True, help="folder for figure and table")
    arguments = parser.parse_args()
    sys.exit(exit_status("schemes.py", lambda: write(arguments)))
