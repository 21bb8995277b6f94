"""DS-Init: depth-scaled initialization."""

from typing import Sequence

from torch import nn

from ..residual import Place, PostLN, ResidualOptions
from .initial_weights import init_xavier


class DSInit(PostLN):
    """Post-LN whose initial weights shrink with the layer: Xavier-uniform times a gain of layer l.

    Zhang et al. 2019 (arXiv 1908.11365). Their code makes the variance proportional to l^(-1/2),
    hence a gain of l^(-1/4) (``code``, the default); their equation 5 divides the bound by sqrt(l)
    (``paper``). Biases are 0. Their merged attention is not here.
    """

    title = "DS-Init"
    variants = ("code", "paper")

    def __init__(self, options: ResidualOptions, embed_dim: int, place: Place) -> None:
        super().__init__(options, embed_dim, place)
        self.initial_gain = place.layer ** (-0.25 if self.variant == "code" else -0.5)

    def initialize(self, weights: Sequence[nn.Linear]) -> None:
        init_xavier(weights, self.initial_gain)
