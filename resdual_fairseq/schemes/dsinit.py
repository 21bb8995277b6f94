"""DS-Init: depth-scaled initialization."""

from typing import Sequence

from torch import nn

from ..residual import Place, PostLN, ResidualOptions
from .initial_weights import QKV_GAIN, init_xavier


class DSInit(PostLN):
    """Post-LN whose initial weights shrink with the layer: Xavier-uniform times a gain of layer l.

    Zhang et al. 2019 (arXiv 1908.11365). Their code makes the variance proportional to l^(-1/2),
    hence a gain of l^(-1/4), and draws queries, keys and values of self-attention as one matrix of
    C x 3 C, hence 1/sqrt(2) more for these (``code``, the default); their equation 5 divides the
    bound of each matrix by sqrt(l) (``paper``). Biases are 0. Their merged attention is not here.
    """

    title = "DS-Init"
    variants = ("code", "paper")

    def __init__(self, options: ResidualOptions, embed_dim: int, place: Place) -> None:
        super().__init__(options, embed_dim, place)
        is_code = self.variant == "code"
        self.initial_gain = place.layer ** (-0.25 if is_code else -0.5)
        self.has_one_matrix = is_code and place.part == "self_attn"

    def initialize(self, weights: Sequence[nn.Linear]) -> None:
        init_xavier(weights, self.initial_gain)
        if self.has_one_matrix:
            init_xavier(weights[:3], self.initial_gain * QKV_GAIN)
