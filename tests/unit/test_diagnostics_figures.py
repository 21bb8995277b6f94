"""Protects the figures: which are drawn, what lies over the points, and colours that differ."""

import math
from pathlib import Path
from typing import Any, List

import pytest
from helpers.tables import rows

from resdual_fairseq.diagnostics.curves import curves
from resdual_fairseq.diagnostics.figures import COLORS, FIGURES, color_of, draw, draw_figures
from resdual_fairseq.diagnostics.table import Row

KINDS = ("post", "pre", "resdual")


def panel(quantity: str, figure: str, **shape: Any) -> Any:
    """The encoder's panel of one figure, on curves without error."""
    table = [row for kind in KINDS for row in rows(kind, quantity, wobble=0.0, **shape)]
    return draw(FIGURES[figure], curves(table, quantity)).axes[0]


def dashed(axis: Any, kind: str) -> Any:
    (line,) = [
        line
        for line in axis.get_lines()
        if line.get_linestyle() == "--" and line.get_color() == COLORS[kind]
    ]
    return line


def test_each_measured_quantity_has_a_png_and_an_svg(tmp_path: Path) -> None:
    table: List[Row] = [
        *rows("post", "gradient"),
        *rows("pre", "gradient", depth=2),
        *rows("resdual", "largest"),
        *rows("resdual", "loss"),
    ]
    written = draw_figures(table, tmp_path)
    assert sorted(path.name for path in written) == [
        "gradients.png",
        "gradients.svg",
        "largest.png",
        "largest.svg",
    ]
    assert all(path.stat().st_size > 5000 for path in written)


def test_post_lns_fitted_decay_goes_through_its_points() -> None:
    line = dashed(panel("gradient", "gradients", rate=0.3), "post")
    k, heights = line.get_data()
    assert list(k) == list(range(1, 13))
    middle = math.sqrt(2)  # of the parts' levels 1 and 2
    assert list(heights) == pytest.approx([middle * math.exp(0.3 * x) for x in k])


def test_resduals_bound_has_its_shape() -> None:
    k, heights = dashed(panel("gradient", "gradients"), "resdual").get_data()
    assert list(k) == list(range(1, 11))
    shape = [math.sqrt(math.log(12 - x) / 12) for x in k]
    assert [h / heights[0] for h in heights] == pytest.approx([s / shape[0] for s in shape])


def test_pre_lns_collapse_has_its_shape_and_lies_on_such_points() -> None:
    k, heights = dashed(panel("input_change", "changes", power=-0.5), "pre").get_data()
    assert list(heights) == pytest.approx([math.sqrt(2) / math.sqrt(x) for x in k])


def test_checkpoints_of_one_kind_have_colours_of_their_own() -> None:
    table = [row for name in "abc" for row in rows("pre", "gradient", model=name)]
    colors = color_of(list(curves(table, "gradient")))
    by_name = {curve.name: color for curve, color in colors.items()}
    assert len(set(by_name.values())) == 3
    assert all(by_name[curve.name] == color for curve, color in colors.items())
