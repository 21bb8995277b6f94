"""Layer norm scaling."""

from typing import Optional

from torch import Tensor

from ..residual import Place, PreLN, ResidualOptions


class LNScale(PreLN):
    """x_{k+1} = x_k + f_k(LN_k(x_k) / sqrt(l)) in layer l, y = LN_out(x_{N+1}).

    Sun et al. 2025 (arXiv 2502.05795, equation 8). LN_out is not scaled. Initial weights are
    fairseq's.
    """

    title = "LN scaling"
    can_be_pruned = False

    def __init__(self, options: ResidualOptions, embed_dim: int, place: Place) -> None:
        super().__init__(options, embed_dim, place)
        self.factor = place.layer**-0.5

    def block_input(self, x: Tensor, d: Optional[Tensor]) -> Tensor:
        return self.narrowed(self(x)) * self.factor
