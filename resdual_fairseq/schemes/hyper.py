"""Hyper-connections."""

from typing import Optional, Sequence

import torch
from torch import Tensor, nn

from ..residual import Norm, Place, PreLN, ResidualOptions, Streams


class ManyStreams(PreLN):
    """The base of schemes of n streams H (T x B x n x C), all of which start as the embeddings.

    d is H; x is the sum of its streams, of which the stack's output is y = LN_out(x).
    """

    reads = ("streams", "gain")
    can_scale_stream = False

    def __init__(self, options: ResidualOptions, embed_dim: int, place: Place) -> None:
        super().__init__(options, embed_dim, place)
        self.n = options.streams

    def init_streams(self, x: Tensor) -> Streams:
        h = self.widen(x).unsqueeze(-2).repeat_interleave(self.n, dim=-2)
        return h.sum(dim=-2), h


def tanh_of(h: Tensor, weight: Tensor) -> Tensor:
    """tanh(h W), in h's precision."""
    return torch.tanh(torch.matmul(h, weight.to(h.dtype)))


class HyperConnections(ManyStreams):
    """H' = A_r^T H + B^T f_k(LN_k(A_m^T H)): what blocks read and where outputs go is learned.

    A = (A_m, A_r) is n x (1 + n), B has n numbers. ``dynamic`` (the default) adds to them, for each
    position and stream h, s tanh(LN'(h) W) with W and s learned; ``static`` does not.
    They start from A_m = e_{(k - 1) mod n}, A_r = I, B = 1, W = 0, s = 0.01: all streams are alike
    then, and the stack is Pre-LN.

    Zhu et al. 2024 (arXiv 2409.19606, algorithms 1 to 3), with n = 4. Initial weights are
    fairseq's, those of outputs times ``gain`` (1): the paper scales them by sqrt(n) and does not
    say in which direction, so that 2 or 0.5 is meant with four streams.
    fairseq's weight decay reaches A and B, which the paper's does not.
    """

    title = "hyper-connections"
    variants = ("dynamic", "static")

    def __init__(self, options: ResidualOptions, embed_dim: int, place: Place) -> None:
        super().__init__(options, embed_dim, place)
        n = self.n
        self.output_gain = 1.0 if options.gain is None else options.gain
        self.alpha: Optional[nn.Parameter] = None
        self.stream_norm: Optional[Norm] = None
        if not place.around_stack:
            read = nn.functional.one_hot(torch.tensor((place.k - 1) % n), n).float()
            self.alpha = nn.Parameter(torch.cat((read.unsqueeze(1), torch.eye(n)), dim=1))
            self.beta = nn.Parameter(torch.ones(n))
        if self.variant == "dynamic" and not place.around_stack:
            self.stream_norm = Norm(embed_dim, options.fp32)
            self.alpha_weight = nn.Parameter(torch.zeros(embed_dim, 1 + n))
            self.beta_weight = nn.Parameter(torch.zeros(embed_dim, 1))
            self.alpha_scale = nn.Parameter(torch.full((1,), 0.01))
            self.beta_scale = nn.Parameter(torch.full((1,), 0.01))

    def initialize(self, weights: Sequence[nn.Linear]) -> None:
        with torch.no_grad():
            weights[-1].weight.mul_(self.output_gain)

    def block_input(self, x: Tensor, d: Optional[Tensor]) -> Tensor:
        assert d is not None
        if self.alpha is None:
            return self.narrowed(self(x))
        weights = self.alpha[:, :1].to(d.dtype)
        if self.stream_norm is not None:
            moved = tanh_of(self.stream_norm(d), self.alpha_weight[:, :1])
            weights = weights + self.alpha_scale.to(d.dtype) * moved
        return self.narrowed(self((weights * d).sum(dim=-2)))

    def add_output(self, x: Tensor, d: Optional[Tensor], f: Tensor) -> Streams:
        assert d is not None and self.alpha is not None
        mix, outputs = self.alpha[:, 1:].to(d.dtype), self.beta.unsqueeze(1).to(d.dtype)
        if self.stream_norm is not None:
            h = self.stream_norm(d)
            mix = mix + self.alpha_scale.to(d.dtype) * tanh_of(h, self.alpha_weight[:, 1:])
            outputs = outputs + self.beta_scale.to(d.dtype) * tanh_of(h, self.beta_weight)
        h = torch.matmul(mix.transpose(-1, -2), d) + outputs * f.unsqueeze(-2)
        return h.sum(dim=-2), h
