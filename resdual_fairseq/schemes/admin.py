"""Admin: adaptive model initialization."""

import math
from typing import Optional, Sequence

import torch
from torch import Tensor, nn

from ..residual import Place, PostLN, ResidualOptions, Streams
from .initial_weights import QKV_GAIN, init_xavier


def initial_omega(change: str, blocks: int) -> float:
    """What omega starts from, so that the output's change is O(log N), O(1) or O(N)."""
    if change == "log":
        return math.sqrt((blocks + 1) / math.log(blocks + 1) - 1)
    return math.sqrt(blocks) if change == "flat" else 1.0


class Admin(PostLN):
    """x_{k+1} = LN_k(omega_k * x_k + f_k(x_k)), y = x_{N+1}; omega_k is a learned vector.

    In closed form, for a stack of N blocks: omega = sqrt((N + 1) / ln(N + 1) - 1) (``log``, the
    default), sqrt(N) (``flat``) or 1 (``linear``): named by how the output's change grows with N.
    With ``-fixed`` omega is a constant.

    Liu et al. 2020 (arXiv 2004.08249, 2008.07772), in the form of the authors' package admin-torch,
    which needs no profiling pass. Initial weights are those of the fairseq it was written for:
    Xavier-uniform with biases of 0, queries, keys and values of one width drawn as one matrix.
    """

    title = "Admin"
    variants = ("log", "log-fixed", "flat", "flat-fixed", "linear")
    can_be_pruned = False

    def __init__(self, options: ResidualOptions, embed_dim: int, place: Place) -> None:
        super().__init__(options, embed_dim, place)
        change, _, fixed = self.variant.partition("-")
        self.fixed_omega = initial_omega(change, max(place.blocks, 1))
        self.omega: Optional[nn.Parameter] = None
        if not fixed and not place.around_stack:
            self.omega = nn.Parameter(torch.full((embed_dim,), self.fixed_omega))

    def initialize(self, weights: Sequence[nn.Linear]) -> None:
        is_attention = len(weights) == 4
        widths = {projection.in_features for projection in weights[:-1]}
        init_xavier(weights[:-1], QKV_GAIN if is_attention and len(widths) == 1 else 1.0)
        init_xavier(weights[-1:])

    def add_output(self, x: Tensor, d: Optional[Tensor], f: Tensor) -> Streams:
        if self.omega is not None:
            return self(self.omega * x + f), d
        return self(self.fixed_omega * x + f), d
