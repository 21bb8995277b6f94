"""Mix-LN."""

import math
from typing import Optional

from torch import Tensor

from ..residual import Place, Residual, ResidualOptions, Streams

ROUNDING = 1e-9
"""0.58 times 50 is a little less than 29."""


class MixLN(Residual):
    """Post-LN in the first layers, Pre-LN in the others, LN_out at the end.

    x_{k+1} = LN_k(x_k + f_k(x_k)) in layers 1 .. floor(a L), x_k + f_k(LN_k(x_k)) after them, with
    a = ``post_fraction``.

    Li et al. 2024 (arXiv 2412.13795), who take a = 0.25. A stack of fewer than 1 / a layers is
    Pre-LN.
    """

    title = "Mix-LN"
    has_closing_norm = True
    can_drop_layers = False
    can_be_pruned = False
    reads = ("post_fraction",)

    def __init__(self, options: ResidualOptions, embed_dim: int, place: Place) -> None:
        super().__init__(options, embed_dim, place)
        self.is_pre = place.layer > math.floor(options.post_fraction * place.layers + ROUNDING)

    def block_input(self, x: Tensor, d: Optional[Tensor]) -> Tensor:
        return self(x) if self.is_pre else x

    def add_output(self, x: Tensor, d: Optional[Tensor], f: Tensor) -> Streams:
        return (x + f if self.is_pre else self(x + f)), d

    def stack_output(self, x: Tensor, d: Optional[Tensor]) -> Tensor:
        return self(x)
