"""Keel."""

from typing import Optional

from torch import Tensor

from ..residual import Norm, Place, PostLN, ResidualOptions, Streams


class Keel(PostLN):
    """x_{k+1} = LN_k(alpha x_k + f_k(LN'_k(x_k))), y = x_{N+1}.

    alpha is N, the number of blocks, or L, that of layers (variant ``layers``): accounts of the
    paper differ. Chen et al. 2026 (arXiv 2601.19895), whose language models have RMS norms;
    here they are layer norms, as everywhere in the model. Initial weights are fairseq's.
    """

    title = "Keel"
    variants = ("blocks", "layers")
    can_be_pruned = False

    def __init__(self, options: ResidualOptions, embed_dim: int, place: Place) -> None:
        super().__init__(options, embed_dim, place)
        self.alpha = float(place.blocks if self.variant == "blocks" else place.layers)
        self.input_norm = None if place.around_stack else Norm(embed_dim)

    def block_input(self, x: Tensor, d: Optional[Tensor]) -> Tensor:
        return x if self.input_norm is None else self.input_norm(x)

    def add_output(self, x: Tensor, d: Optional[Tensor], f: Tensor) -> Streams:
        return self(self.alpha * x + f), d
