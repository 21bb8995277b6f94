"""The table of measurements: one row a measurement, its columns and quantities documented here."""

import csv
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Sequence

from ..errors import ResDualError
from ..files import replacing

FILE = "measurements.csv"

COLUMNS: Dict[str, str] = {
    "model": "which model: kind-depth-seed, or a checkpoint's path",
    "residual": "its residual connections, as --residual names them",
    "depth": "layers of the stack",
    "seed": "seed of the initial weights; 0 for a checkpoint",
    "stack": "encoder or decoder; model for what belongs to neither",
    "block": "k, from 1; N + 1 is what follows the last block; 0 for the stack as a whole",
    "blocks": "N, the number of blocks in the stack",
    "layer": "layer of the block, from 0",
    "part": "self_attn, cross_attn or ffn; end for k = N + 1",
    "quantity": "what was measured, see below",
    "matrix": "the weight that a gradient is of; empty: all of the block's. The name of what was "
    "learned",
    "value": "the measurement",
}

QUANTITIES: Dict[str, str] = {
    "gradient": "norm of the loss's gradient with respect to the weights of f_k (without LN_k), or "
    "to one of them (then LN_k's, too)",
    "stream_gradient": "norm of the gradient with respect to the stream x_k, along all its paths",
    "input_gradient": "norm of the gradient with respect to what block k reads: x_k in Post-LN and "
    "ResiDual, where it is the stream itself, LN_k(x_k) in Pre-LN",
    "input_change": "mean of |z_{k+1} - z_k|, where z_k is what block k reads (figure 2(b) of the "
    "paper: Pre-LN's inputs are the normalized ones); after the last block z is LN_out(x) in "
    "Pre-LN, x in the others",
    "input_cosine": "mean cosine of z_k and z_{k+1}",
    "stream_change": "mean of |x_{k+1} - x_k| of the stream itself",
    "stream_size": "mean of |x_k|",
    "output_size": "mean of |f_k|, the block's output",
    "dual_size": "mean of |d_k|, the dual stream before block k, as it is kept (times s)",
    "dual_largest": "largest magnitude in d_k, as it is kept",
    "largest": "largest magnitude in x_k, z_k, f_k and d_k, padding included",
    "output_bound": "bound of the magnitudes in f_k for any input, computed from a checkpoint's "
    "weights",
    "stream_bound": "the same of the stream: d as it is kept, x in the other kinds; block 0",
    "learned_mean": "mean of numbers that a checkpoint's residual connection has learned, such as "
    "alpha or a gain, beside its norms; `matrix` is their name",
    "learned_least": "the least of them",
    "learned_largest": "the largest of them",
    "effective_rank": "exp of the entropy of the normalized singular values of z_k, centred over "
    "tokens (Roy & Vetterli 2007)",
    "cka": "linear CKA of z_k and z_{k+1} (Kornblith et al. 2019)",
    "loss": "label-smoothed cross entropy per target token, in nats",
}

LEARNED = ("learned_mean", "learned_least", "learned_largest")

NOTES = """\
Norms |v| of a token's vector are divided by sqrt(its length), so that widths compare; means are
over tokens without padding. Gradients are of the mean loss per target token over all batches
together, without dropout. x_1 of ResiDual also starts d, and its gradient contains that path."""


class Row(NamedTuple):
    """One measurement; the columns of :data:`COLUMNS`."""

    model: str
    residual: str
    depth: int
    seed: int
    stack: str
    block: int
    blocks: int
    layer: int
    part: str
    quantity: str
    matrix: str
    value: float


def read_table(path: Path) -> List[Row]:
    """All rows of a file; none where there is no file.

    Raises:
        ResDualError: the file is another one, or was cut.
    """
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            return [parse_row(line) for line in list(csv.reader(stream))[1:]]
    except (TypeError, ValueError, csv.Error) as error:
        raise ResDualError(
            f"{path} is no table of measurements; remove it, and measure again"
        ) from error


def parse_row(line: Sequence[str]) -> Row:
    row = Row(*line)  # type: ignore[arg-type]
    numbers = ("depth", "seed", "block", "blocks", "layer")
    values: Dict[str, Any] = {name: int(getattr(row, name)) for name in numbers}
    return row._replace(value=float(row.value), **values)


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Write the rows, whole or not at all."""
    with (
        replacing(path) as unfinished,
        unfinished.open("w", newline="", encoding="utf-8") as stream,
    ):
        writer = csv.writer(stream)
        writer.writerow(Row._fields)
        writer.writerows((*row[:-1], f"{row.value:.9g}") for row in rows)
