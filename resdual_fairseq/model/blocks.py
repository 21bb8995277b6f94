"""Which blocks a model has, in the paper's numbering, and which weights belong to each."""

from dataclasses import dataclass
from typing import Dict, Iterator, List

from torch import Tensor, nn

from ..residual import Residual

STACKS = ("encoder", "decoder")

PARTS = {
    "self_attn": ("self_attn_layer_norm", ("self_attn.", "attn_ln.", "c_attn")),
    "cross_attn": ("encoder_attn_layer_norm", ("encoder_attn.",)),
    "ffn": ("final_layer_norm", ("fc1.", "fc2.", "ffn_layernorm.", "w_resid")),
}
"""Parts of a layer in their order: the connection around each, and its weights' first letters."""


@dataclass(frozen=True)
class Block:
    """Block k of a stack.

    Attributes:
        stack: ``encoder`` or ``decoder``.
        layer: its layer, from 0.
        part: a key of :data:`PARTS`.
        connection: the residual connection around it, which knows k and the number of blocks.
        weights: the parameters of f_k, without the layer norm of the connection, by their names
            within the layer.
    """

    stack: str
    layer: int
    part: str
    connection: Residual
    weights: Dict[str, Tensor]

    @property
    def k(self) -> int:
        return self.connection.k


def blocks_of(model: nn.Module) -> List[Block]:
    """The blocks of a model, encoder (if there is one) first, k = 1 .. N in each stack."""
    return [
        block
        for stack in STACKS
        if hasattr(model, stack)
        for index, layer in enumerate(getattr(model, stack).layers.children())
        for block in blocks_of_layer(layer, stack, index)
    ]


def blocks_of_layer(layer: nn.Module, stack: str, index: int) -> Iterator[Block]:
    for part, (connection, prefixes) in PARTS.items():
        if getattr(layer, connection, None) is not None:
            weights = {
                name: weight
                for name, weight in layer.named_parameters()
                if name.startswith(prefixes)
            }
            yield Block(stack, index, part, getattr(layer, connection), weights)
