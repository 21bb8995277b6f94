"""Sandwich-LN and Peri-LN."""

from typing import Optional

from torch import Tensor

from ..residual import Norm, Place, PreLN, ResidualOptions, Streams


class SandwichLN(PreLN):
    """x_{k+1} = x_k + LN'_k(f_k(LN_k(x_k))), y = LN_out(x_{N+1}).

    Ding et al. 2021 (CogView, arXiv 2105.13290, section 2.4). The variant ``peri`` is Peri-LN (Kim
    et al. 2025, arXiv 2502.02732), which norms the embeddings, too: x_1 = LN_in(embeddings).

    Initial weights are fairseq's: CogView's N(0, 0.02) is made for its width.
    """

    title = "Sandwich-LN"
    variants = ("sandwich", "peri")

    def __init__(self, options: ResidualOptions, embed_dim: int, place: Place) -> None:
        super().__init__(options, embed_dim, place)
        norms_output = not place.around_stack
        norms_embeddings = place.around_stack and self.variant == "peri"
        self.output_norm = Norm(embed_dim) if norms_output else None
        self.embedding_norm = Norm(embed_dim) if norms_embeddings else None

    def init_streams(self, x: Tensor) -> Streams:
        if self.embedding_norm is not None:
            x = self.embedding_norm(x)
        return self.widen(x), None

    def add_output(self, x: Tensor, d: Optional[Tensor], f: Tensor) -> Streams:
        assert self.output_norm is not None
        return x + self.output_norm(f), d
