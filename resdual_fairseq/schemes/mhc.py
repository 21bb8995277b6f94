"""Manifold-constrained hyper-connections."""

from typing import Optional

import torch
from torch import Tensor, nn

from ..residual import Place, ResidualOptions, Streams
from .hyper import ManyStreams


def sinkhorn(logits: Tensor, rounds: int = 20, eps: float = 1e-6) -> Tensor:
    """Matrices (... x n x n) whose rows and columns sum to 1, nearly: columns last."""
    m = logits.softmax(dim=-1) + eps
    m = m / (m.sum(dim=-2, keepdim=True) + eps)
    for _ in range(rounds - 1):
        m = m / (m.sum(dim=-1, keepdim=True) + eps)
        m = m / (m.sum(dim=-2, keepdim=True) + eps)
    return m


class MHC(ManyStreams):
    """Hyper-connections whose mixture of streams is doubly stochastic, and cannot grow them.

    With z = RMSNorm(all n streams of H as one vector):
    h = sum_j p_j H_j with p = sigmoid(a_1 z phi_1 + b_1) + 1e-6, f = f_k(LN_k(h)),
    H'_i = q_i f + sum_j M_ji H_j with q = 2 sigmoid(a_2 z phi_2 + b_2) and
    M = Sinkhorn(a_3 z phi_3 + b_3), 20 rounds.

    Xie et al. 2025 (arXiv 2512.24880), with n = 4 and a = 0.01 (``gain``) at first. The
    transposition of M and 1e-6 are those of DeepSeek's TileKernels; the paper's equations have
    neither. As in Megatron-LM, phi starts Xavier-uniform and b at 0: M mixes all streams alike
    then. Initial weights of blocks are fairseq's.
    """

    title = "mHC"

    def __init__(self, options: ResidualOptions, embed_dim: int, place: Place) -> None:
        super().__init__(options, embed_dim, place)
        n = self.n
        self.phi: Optional[nn.Parameter] = None
        self.rms_eps = 1e-6
        if not place.around_stack:
            self.phi = nn.Parameter(torch.empty(n * n + 2 * n, n * embed_dim))
            nn.init.xavier_uniform_(self.phi)
            self.b = nn.Parameter(torch.zeros(n * n + 2 * n))
            self.a = nn.Parameter(torch.full((3,), 0.01 if options.gain is None else options.gain))

    def logits(self, h: Tensor, which: int, first: int, last: int) -> Tensor:
        """a z phi + b of one of the three, for the coefficients first to last."""
        assert self.phi is not None
        z = h.flatten(-2)
        # In float16 the square of 256 overflows, and streams are sums without a norm.
        square = (z.float() if z.dtype == torch.float16 else z).square().mean(dim=-1, keepdim=True)
        z = z * torch.rsqrt(square + self.rms_eps).to(z.dtype)
        found = torch.matmul(z, self.phi[first:last].to(z.dtype).t())
        return self.a[which].to(z.dtype) * found + self.b[first:last].to(z.dtype)

    def block_input(self, x: Tensor, d: Optional[Tensor]) -> Tensor:
        assert d is not None
        if self.phi is None:
            return self.narrowed(self(x))
        shares = torch.sigmoid(self.logits(d, 0, 0, self.n)) + 1e-6
        return self.narrowed(self((shares.unsqueeze(-1) * d).sum(dim=-2)))

    def add_output(self, x: Tensor, d: Optional[Tensor], f: Tensor) -> Streams:
        assert d is not None
        n = self.n
        outputs = 2 * torch.sigmoid(self.logits(d, 1, n, 2 * n))
        mix = sinkhorn(self.logits(d, 2, 2 * n, 2 * n + n * n).unflatten(-1, (n, n)))
        kept = torch.matmul(mix.transpose(-1, -2), d)
        h = kept + outputs.unsqueeze(-1) * f.unsqueeze(-2)
        return h.sum(dim=-2), h
