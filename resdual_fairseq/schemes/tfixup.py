"""T-Fixup."""

from typing import Sequence

from torch import nn

from ..residual import Place, ResidualOptions, SumOfOutputs
from .initial_weights import init_xavier


class TFixup(SumOfOutputs):
    """x_{k+1} = x_k + f_k(x_k), y = x_{N+1}, without any norm; the initial weights do the rest.

    All weights are Xavier-uniform. Those of values, outputs and feed-forward are multiplied by 0.67
    L^(-1/4) in an encoder of L layers and by (9 M)^(-1/4) in a decoder of M; a decoder alone, of N
    blocks, takes (3 N)^(-1/4), which is the same of three blocks a layer. Embeddings are N(0,
    1/C), times (9 L)^(-1/4) of their stack; of the encoder where the two share them.

    Huang et al. 2020 (ICML, section 3.3). Biases are 0. Their code leaves queries and keys at
    1/sqrt(2) of this, and the biases of both and of values at torch's own.
    """

    title = "T-Fixup"
    has_norms = False

    def __init__(self, options: ResidualOptions, embed_dim: int, place: Place) -> None:
        super().__init__(options, embed_dim, place)
        layers, blocks = max(place.layers, 1), max(place.blocks, 1)
        in_encoder = place.stack == "encoder"
        self.initial_gain = 0.67 * layers**-0.25 if in_encoder else (3 * blocks) ** -0.25
        self.embedding_gain = (9 * layers) ** -0.25

    def initialize(self, weights: Sequence[nn.Linear]) -> None:
        init_xavier(weights[:-2])
        init_xavier(weights[-2:], self.initial_gain)

    def initialize_embeddings(self, table: nn.Embedding) -> None:
        nn.init.normal_(table.weight, std=table.embedding_dim**-0.5 * self.embedding_gain)
        if table.padding_idx is not None:
            nn.init.zeros_(table.weight[table.padding_idx])
