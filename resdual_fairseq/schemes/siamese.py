"""SiameseNorm."""

from typing import Optional

from torch import Tensor

from ..residual import Norm, Place, Residual, ResidualOptions, Streams


class SiameseNorm(Residual):
    """Two streams, both of which blocks read: x with norms after, d with a norm before.

    ``full``, as published: with o = f_k(LN''_k(x_k + LN'_k(d_k))),
    x_{k+1} = LN_k(x_k + o / sqrt(2 l)) in layer l, d_{k+1} = d_k + o,
    x_1 = LN_in(d_1) with d_1 the embeddings, y = LN_out(x_{N+1} + LN'_out(d_{N+1})).

    ``bare``, the paper's algorithm 1: without LN'', LN_in, LN_out and the factor of o:
    o = f_k(x_k + LN'_k(d_k)), x_{k+1} = LN_k(x_k + o), y = x_{N+1} + LN'_out(d_{N+1}). It is
    ResiDual whose d reaches the blocks, too.

    2026 (arXiv 2602.08064). The factor is that of the published code; the paper's text has
    1 / sqrt(l + 1) (variant ``paper-scale``; where its l begins is not said: here at 1).
    Initial weights are fairseq's.
    """

    title = "SiameseNorm"
    has_closing_norm = True
    has_sum = True
    can_be_pruned = False
    variants = ("full", "bare", "paper-scale")

    def __init__(self, options: ResidualOptions, embed_dim: int, place: Place) -> None:
        super().__init__(options, embed_dim, place)
        bare = self.variant == "bare"
        self.dual_norm = Norm(embed_dim, options.fp32)
        self.start_norm = Norm(embed_dim) if place.around_stack and not bare else None
        self.input_norm = Norm(embed_dim) if not place.around_stack and not bare else None
        self.output_gain = 1.0
        if place.around_stack and bare:
            self.weight = self.bias = None
        if not bare:
            of_text = self.variant == "paper-scale"
            self.output_gain = (place.layer + 1 if of_text else 2 * place.layer) ** -0.5
        self.is_bare = bare

    def init_streams(self, x: Tensor) -> Streams:
        d = self.widen(x)
        return (x if self.start_norm is None else self.start_norm(x)), d

    def block_input(self, x: Tensor, d: Optional[Tensor]) -> Tensor:
        assert d is not None
        z = (x + self.dual_norm(d)).to(x.dtype)
        if self.is_bare:
            return z
        return self(z) if self.input_norm is None else self.input_norm(z)

    def add_output(self, x: Tensor, d: Optional[Tensor], f: Tensor) -> Streams:
        assert d is not None
        return self(x + self.output_gain * f), d + f

    def stack_output(self, x: Tensor, d: Optional[Tensor]) -> Tensor:
        return self.block_input(x, d)
