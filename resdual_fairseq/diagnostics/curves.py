"""The table by curves: which measurements belong on one line."""

from typing import Dict, List, NamedTuple, Sequence

from .table import Row
from .theory import Point


class Curve(NamedTuple):
    """One kind of model at one depth (or one checkpoint), in one stack."""

    name: str
    residual: str
    blocks: int
    stack: str


def curves(rows: Sequence[Row], quantity: str) -> Dict[Curve, List[Point]]:
    """The points of a quantity that is measured at blocks, in the order of the table.

    Seeds of one kind and depth make one curve; of gradients, those of whole blocks are taken.
    """
    found: Dict[Curve, List[Point]] = {}
    for row in rows:
        if row.quantity == quantity and row.matrix == "" and row.stack != "model":
            curve = Curve(curve_name(row), row.residual, row.blocks, row.stack)
            found.setdefault(curve, []).append(Point(row.seed, row.block, row.part, row.value))
    return found


def curve_name(row: Row) -> str:
    """A checkpoint's own name, or the kind and depth that its seeds share."""
    return row.model if row.seed == 0 else f"{row.residual}, {row.depth} layers"


def within(points: Sequence[Point], blocks: int) -> List[Point]:
    """The points at blocks, without the one after the last."""
    return [point for point in points if point.k <= blocks]
