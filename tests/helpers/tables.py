"""Made-up measurements whose decay is known."""

import math
from typing import List

from resdual_fairseq.diagnostics.table import Row

PARTS = {"encoder": ("self_attn", "ffn"), "decoder": ("self_attn", "cross_attn", "ffn")}


def rows(
    residual: str,
    quantity: str,
    depth: int = 6,
    seed: int = 1,
    rate: float = 0.0,
    power: float = 0.0,
    wobble: float = 0.05,
    model: str = "",
) -> List[Row]:
    """exp(rate k) * k^power in both stacks, with an alternating error that no fit removes."""
    made = []
    for stack, parts in PARTS.items():
        blocks = depth * len(parts)
        for k in range(1, blocks + 1):
            layer, place = divmod(k - 1, len(parts))
            error = math.exp(wobble * math.cos(layer * 2.4 + seed))
            value = (place + 1) * math.exp(rate * k) * k**power * error
            name = model or f"{residual}-{depth}-{seed}"
            made.append(
                Row(name, residual, depth, 0 if model else seed, stack, k, blocks, layer,
                    parts[place], quantity, "", value)
            )  # fmt: skip
    return made
