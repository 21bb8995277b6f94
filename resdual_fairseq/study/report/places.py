"""Names of where arms are compared, and of what was searched."""

from __future__ import annotations

from typing import Dict, List, Mapping

from ..analysis.comparisons import Place
from ..spec import parts
from ..spec.parts import Value
from .analysis import Analysis
from .formats import NOTHING, level, plain
from .texts import Texts


def budget_name(analysis: Analysis, say: Texts, budget: float) -> str:
    """A budget with its unit."""
    spec = analysis.spec
    key = "budget_" + spec.budgets.unit
    return say(key, n=budget, value=plain(budget), currency=spec.prices.currency)


def depth_name(say: Texts, depth: str) -> str:
    """A depth with its word; a language model has one stack, maybe of one layer."""
    return say("at_depth", n=int(depth) if depth.isdigit() else 0, depth=depth)


def unit_name(analysis: Analysis, say: Texts) -> str:
    """What is equal between arms at each point."""
    return say("unit_" + analysis.spec.budgets.unit, currency=analysis.spec.prices.currency)


def place_name(analysis: Analysis, say: Texts, place: Place) -> str:
    """Depth and budget; width and share of the data where these vary or are not all."""
    parts = [depth_name(say, place.depth)]
    if len(analysis.widths) > 1:
        parts.append(say("at_width", width=place.width))
    if place.fraction < 1:
        parts.append(say("at_fraction", share=level(place.fraction)))
    parts.append(budget_name(analysis, say, place.budget))
    return say.listed(parts)


def with_width(analysis: Analysis, say: Texts, caption: str) -> str:
    """A caption of what is of the judged width alone; names it where there are others."""
    if len(analysis.widths) == 1:
        return caption
    return say.listed([caption, say("at_width", width=analysis.place.width)])


def place_columns(analysis: Analysis) -> List[str]:
    """Of a table of several places: names of texts; width and data only where they vary."""
    columns = ["depth"]
    columns += ["width"] if len(analysis.widths) > 1 else []
    columns += ["fraction"] if len(analysis.fractions) > 1 else []
    return [*columns, "budget"]


def place_cells(analysis: Analysis, place: Place) -> List[str]:
    cells: Dict[str, str] = {
        "depth": place.depth,
        "width": str(place.width),
        "fraction": level(place.fraction),
        "budget": plain(place.budget),
    }
    return [cells[name] for name in place_columns(analysis)]


def values_name(values: Mapping[str, Value]) -> str:
    """Searched options and their values."""
    return parts.values_name(values) or NOTHING
