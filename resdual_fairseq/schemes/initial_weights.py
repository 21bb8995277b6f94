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
