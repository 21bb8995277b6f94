"""ReZero."""

from typing import Optional

import torch
from torch import Tensor, nn

from ..residual import Place, ResidualOptions, Streams, SumOfOutputs


class ReZero(SumOfOutputs):
    """x_{k+1} = x_k + a_k f_k(x_k), y = x_{N+1}, without any norm; a_k is learned, from 0.

    Bachlechner et al. 2020 (arXiv 2003.04887). Their code has one a for the blocks of a layer; here
    each block has its own, as in SkipInit (De and Smith 2020, arXiv 2002.10444). Initial weights
    are fairseq's.
    """

    title = "ReZero"
    has_norms = False
    reads = ("gain",)

    def __init__(self, options: ResidualOptions, embed_dim: int, place: Place) -> None:
        super().__init__(options, embed_dim, place)
        self.a: Optional[nn.Parameter] = None
        if not place.around_stack:
            self.a = nn.Parameter(torch.full((1,), options.gain or 0.0))

    def add_output(self, x: Tensor, d: Optional[Tensor], f: Tensor) -> Streams:
        assert self.a is not None
        return x + self.a * f, d
