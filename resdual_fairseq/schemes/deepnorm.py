"""DeepNorm."""

from typing import Optional, Sequence, Tuple

from torch import Tensor, nn

from ..residual import Place, PostLN, ResidualOptions, Streams
from .initial_weights import init_xavier


def gains(place: Place) -> Tuple[float, float]:
    """alpha, of the residual connections, and beta, of initial weights."""
    if place.stack == "encoder" and place.other_layers:
        depth = max(place.layers, 1) ** 4 * place.other_layers
        return 0.81 * depth ** (1 / 16), 0.87 * depth ** (-1 / 16)
    blocks = max(place.blocks, 1)
    return blocks ** (1 / 4), (4 * blocks) ** (-1 / 4)


class DeepNorm(PostLN):
    """x_{k+1} = LN_k(alpha x_k + f_k(x_k)), y = x_{N+1}.

    The encoder of a pair, of L layers beside M of the decoder: alpha = 0.81 (L^4 M)^(1/16), initial
    weights times beta = 0.87 (L^4 M)^(-1/16). Every other stack, of N blocks: alpha = N^(1/4), beta
    = (4 N)^(-1/4); that is (3 M)^(1/4) and (12 M)^(-1/4) for the decoder of a pair, (2 L)^(1/4) and
    (8 L)^(-1/4) for one alone.

    Wang et al. 2022 (arXiv 2203.00555, figure 2 and section 3.2). Initial weights are
    Xavier-normal, times beta where they lead to values, outputs and feed-forward, times 1 for
    queries and keys. Biases are 0, so that beta scales all that a block puts out.
    The authors' torchscale has 1.15 in place of 0.87, and multiplies weights and biases that are
    there.
    """

    title = "DeepNorm"
    can_be_pruned = False

    def __init__(self, options: ResidualOptions, embed_dim: int, place: Place) -> None:
        super().__init__(options, embed_dim, place)
        self.alpha, self.beta = gains(place)

    def initialize(self, weights: Sequence[nn.Linear]) -> None:
        init_xavier(weights)
        for projection in weights[:-2]:
            nn.init.xavier_normal_(projection.weight)
        for projection in weights[-2:]:
            nn.init.xavier_normal_(projection.weight, self.beta)

    def add_output(self, x: Tensor, d: Optional[Tensor], f: Tensor) -> Streams:
        return self(self.alpha * x + f), d
