"""DLCL: dynamic linear combination of layers."""

from typing import Optional

import torch
from torch import Tensor, nn

from ..residual import Norm, Place, Residual, ResidualOptions, Streams


class DLCL(Residual):
    """Every layer reads a learned combination of the embeddings and of all layers' outputs.

    With y_0 the embeddings and y_l the output of layer l, the input of layer l + 1 is
    sum_{j <= l} W_lj LN'_j(y_j) with Pre-LN layers (``pre``, the default; LN'_0 is none), and
    LN'_l(sum_{j <= l} W_lj y_j) with Post-LN layers (``post``; LN'_0 is none). After the last layer
    the same is done once more, and LN_out follows in ``pre``. W_lj starts from 1 / (l + 1).

    d holds, for every later input, the terms that are known so far: T x B x layers x C. Each
    connection at a layer's end owns its column of W.

    Wang et al. 2019 (arXiv 1906.01787, section 4). Initial weights are fairseq's.
    """

    title = "DLCL"
    has_closing_norm = True
    can_drop_layers = False
    can_be_pruned = False
    variants = ("pre", "post")

    def __init__(self, options: ResidualOptions, embed_dim: int, place: Place) -> None:
        super().__init__(options, embed_dim, place)
        self.is_pre = self.variant == "pre"
        self.column: Optional[nn.Parameter] = None
        self.layer_norm: Optional[Norm] = None
        if place.around_stack and not self.is_pre:
            self.weight = self.bias = None
        if place.ends_layer or place.around_stack:
            first = 0 if place.around_stack else place.layer
            rows = torch.arange(first, place.layers + 1)
            self.column = nn.Parameter(1 / (rows + 1.0).unsqueeze(1))
        if place.ends_layer:
            self.layer_norm = Norm(embed_dim)

    def init_streams(self, x: Tensor) -> Streams:
        assert self.column is not None
        return self.column[0] * x, self.column[1:] * x.unsqueeze(-2)

    def block_input(self, x: Tensor, d: Optional[Tensor]) -> Tensor:
        return self(x) if self.is_pre else x

    def add_output(self, x: Tensor, d: Optional[Tensor], f: Tensor) -> Streams:
        y = x + f if self.is_pre else self(x + f)
        if self.column is None or self.layer_norm is None:
            return y, d
        assert d is not None
        if self.is_pre:
            y = self.layer_norm(y)
        x = d[..., 0, :] + self.column[0] * y
        d = d[..., 1:, :] + self.column[1:] * y.unsqueeze(-2)
        return (x if self.is_pre else self.layer_norm(x)), d

    def stack_output(self, x: Tensor, d: Optional[Tensor]) -> Tensor:
        return self(x) if self.is_pre else x
