"""Bottom-to-top connections."""

from typing import Optional, Sequence

import torch
from torch import Tensor, nn

from ..residual import Place, PostLN, ResidualOptions, Streams


class B2T(PostLN):
    """Post-LN with one more connection, from a layer's input to the sum before its last norm.

    x_{k+1} = LN_k(x_k + f_k(x_k)), but LN_k(x_b + x_k + f_k(x_k)) where block k ends a layer whose
    first block read x_b. The second stream holds x_b.

    Takase et al. 2022 (arXiv 2206.00330). As in their code, fairseq's initial weights are
    multiplied by L^(-1/2) with L the layers of the own stack (``scaled``, the default); biases and
    norms are left. ``unscaled`` keeps fairseq's initial weights: deep stacks of small width learn
    faster so (examples/depth). Their form without norms is not here.
    """

    title = "B2T"
    variants = ("scaled", "unscaled")

    def __init__(self, options: ResidualOptions, embed_dim: int, place: Place) -> None:
        super().__init__(options, embed_dim, place)
        self.ends_layer = place.ends_layer
        is_scaled = self.variant == "scaled"
        self.initial_factor = max(place.layers, 1) ** -0.5 if is_scaled else 1.0

    def initialize(self, weights: Sequence[nn.Linear]) -> None:
        with torch.no_grad():
            for projection in weights:
                projection.weight.mul_(self.initial_factor)

    def init_streams(self, x: Tensor) -> Streams:
        return x, x

    def add_output(self, x: Tensor, d: Optional[Tensor], f: Tensor) -> Streams:
        if not self.ends_layer:
            return self(x + f), d
        assert d is not None
        y = self(d + (x + f))
        return y, y
