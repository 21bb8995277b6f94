"""LayerScale."""

from typing import Optional

import torch
from torch import Tensor, nn

from ..residual import Place, PreLN, ResidualOptions, Streams


def initial_gamma(layers: int) -> float:
    """What the paper starts gamma from in so many layers."""
    if layers <= 18:
        return 0.1
    return 1e-5 if layers <= 24 else 1e-6


class LayerScale(PreLN):
    """x_{k+1} = x_k + gamma_k * f_k(LN_k(x_k)), y = LN_out(x_{N+1}); gamma_k is a learned vector.

    Touvron et al. 2021 (CaiT, arXiv 2103.17239, section 2): gamma starts from 0.1 to 18 layers,
    1e-5 to 24, 1e-6 above, unless ``gain`` says another (their
    XXS36 starts from 1e-5). Initial weights are fairseq's.
    """

    title = "LayerScale"
    reads = ("gain",)

    def __init__(self, options: ResidualOptions, embed_dim: int, place: Place) -> None:
        super().__init__(options, embed_dim, place)
        start = initial_gamma(place.layers) if options.gain is None else options.gain
        self.gamma: Optional[nn.Parameter] = None
        if not place.around_stack:
            self.gamma = nn.Parameter(torch.full((embed_dim,), start))

    def add_output(self, x: Tensor, d: Optional[Tensor], f: Tensor) -> Streams:
        assert self.gamma is not None
        return x + self.gamma * f, d
