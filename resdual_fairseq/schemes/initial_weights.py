"""Initial weights that the formulas of several schemes assume."""

import math
from typing import Sequence

from torch import nn

QKV_GAIN = 1 / math.sqrt(2)
"""Of queries', keys' and values' projections: Xavier's variance for the three as one matrix."""


def init_xavier(projections: Sequence[nn.Linear], gain: float = 1.0) -> None:
    """Xavier-uniform weights times a gain, with biases of 0."""
    for projection in projections:
        nn.init.xavier_uniform_(projection.weight, gain)
        if projection.bias is not None:
            nn.init.zeros_(projection.bias)


def init_as_older_fairseq(projections: Sequence[nn.Linear], gain: float = 1.0) -> None:
    """As the fairseq that several schemes were written for: :func:`init_xavier` everywhere.

    Queries, keys and values of one width are drawn as one matrix there, those of unlike widths are
    not. Today's leaves fc1 and fc2, and the biases of queries, keys and values, at torch's own.

    Args:
        projections: of one block: queries, keys, values and output, or fc1 and fc2.
        gain: times all of them.
    """
    is_attention = len(projections) == 4
    widths = {one.in_features for one in projections[:-1]}
    init_xavier(projections[:-1], gain * QKV_GAIN if is_attention and len(widths) == 1 else gain)
    init_xavier(projections[-1:], gain)
