"""Keel."""

from typing import Optional

from torch import Tensor

from ..residual import Norm, Place, PostLN, ResidualOptions, Streams


class Keel(PostLN):
    """x_{k+1} = LN_k(alpha x_k + f_k(LN'_k(x_k))), y = x_{N+1}, with alpha = N.

    In the first layer alpha is 1, and the first block has no LN_1: x_2 = x_1 + f_1(LN'_1(x_1)).

    Chen et al. 2026 (arXiv 2601.19895, equation 8 and section 3.1, which speaks of two blocks a
    layer; here the first layer of a decoder has three). Readers of the paper disagree on what alpha
    counts: blocks (``blocks``, the default), or layers, alpha = L (``layers``). The paper's
    language models have RMS norms; here they are layer norms, as everywhere in the model. Initial
    weights are fairseq's.
    """

    title = "Keel"
    variants = ("blocks", "layers")
    can_be_pruned = False

    def __init__(self, options: ResidualOptions, embed_dim: int, place: Place) -> None:
        super().__init__(options, embed_dim, place)
        count = place.blocks if self.variant == "blocks" else place.layers
        self.alpha = 1.0 if place.layer == 1 else float(count)
        self.input_norm = None if place.around_stack else Norm(embed_dim)
        self.is_first = place.k == 1
        if self.is_first:
            self.weight = self.bias = None

    def block_input(self, x: Tensor, d: Optional[Tensor]) -> Tensor:
        return x if self.input_norm is None else self.input_norm(x)

    def add_output(self, x: Tensor, d: Optional[Tensor], f: Tensor) -> Streams:
        z = self.alpha * x + f
        return (z if self.is_first else self(z)), d
