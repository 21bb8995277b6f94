"""The weights of an encoder or decoder as the compiled library reads them."""

from typing import Callable, Dict, List, Optional, Sequence, Tuple, Union

import torch
from fairseq import utils
from torch import Tensor, nn

from ..checkpoints.int8 import quantize_rows
from ..model.decoder import ResDualDecoder
from ..native.structs import (
    PackedClosing,
    PackedConnection,
    PackedLayer,
    PackedLinear,
    PackedStack,
)
from ..residual import Residual, Streams
from .embeddings import PackedEmbedding

ACTIVATIONS: Dict[Callable[[Tensor], Tensor], int] = {
    utils.get_activation_fn("relu"): 1,
    utils.get_activation_fn("gelu"): 2,
}
"""What ``enum activation`` of the library numbers."""


def pack(projections: Sequence[nn.Linear], int8: bool) -> PackedLinear:
    """Projections of one input, joined, in floats or in 8 bits."""
    weight = torch.cat([projection.weight.detach() for projection in projections])
    biases = [projection.bias for projection in projections]
    bias = None if biases[0] is None else torch.cat([one.detach() for one in biases])
    return PackedLinear(quantize_rows(weight) if int8 else weight, bias)


class Packed:
    """A stack's weights. Copies share it, since it is only read; a pickle leaves it out.

    Args:
        stack: one that :func:`support.unsupported_by_library` has nothing against.
        int8: in 8 bits.
    """

    def __init__(self, stack: nn.Module, int8: bool) -> None:
        layers = list(stack.layers.children())
        self.around_stack: Residual = stack.layer_norm
        heads, activation = layers[0].self_attn.num_heads, ACTIVATIONS[layers[0].activation_fn]
        self.stack = PackedStack([pack_layer(one, int8) for one in layers], heads, activation)

    def initial_streams(self, x: Tensor) -> Streams:
        """The streams that begin with x, of one shape that ends in C, to be changed in place."""
        x, d = self.around_stack.init_streams(x)
        x = x.clone(memory_format=torch.contiguous_format)
        return x, None if d is None else d.clone(memory_format=torch.contiguous_format)

    def __deepcopy__(self, memo: Dict[int, object]) -> "Packed":
        return self

    def __reduce__(self) -> Tuple[type, Tuple[()]]:
        return type(None), ()


class PackedDecoder(Packed):
    """A decoder's weights, with those around its stack.

    Args:
        decoder: as above.
        int8: as above.
        embeds: whether its embeddings are sums, and nothing else.
        projects: whether its output projection is a matrix, and nothing else.

    Attributes:
        memory: what makes keys, then values, of the encoder's output, layer by layer.
        closing: the connection around the stack.
        embedding: of tokens and positions, or None.
        projection: the output projection, or None.
    """

    def __init__(self, decoder: ResDualDecoder, int8: bool, embeds: bool, projects: bool) -> None:
        super().__init__(decoder, int8)
        cross = [layer.encoder_attn for layer in decoder.layers.children()]
        self.memory: List[PackedLinear] = [
            pack([projection], int8)
            for attention in cross
            if attention is not None
            for projection in (attention.k_proj, attention.v_proj)
        ]
        self.closing = PackedClosing(decoder.layer_norm)
        self.embedding = PackedEmbedding(decoder) if embeds else None
        self.projection: Optional[PackedLinear] = None
        if projects:
            self.projection = pack([decoder.output_projection], int8)


def pack_layer(layer: nn.Module, int8: bool) -> PackedLayer:
    """An encoder or decoder layer's parts, by their names in ``struct layer``."""
    own, cross = layer.self_attn, getattr(layer, "encoder_attn", None)
    parts: Dict[str, Union[PackedLinear, PackedConnection]] = {
        "qkv": pack([own.q_proj, own.k_proj, own.v_proj], int8),
        "attention_out": pack([own.out_proj], int8),
        "up": pack([layer.fc1], int8),
        "down": pack([layer.fc2], int8),
        "attention": PackedConnection(layer.self_attn_layer_norm),
        "feed_forward": PackedConnection(layer.final_layer_norm),
    }
    if cross is not None:
        parts["query"] = pack([cross.q_proj], int8)
        parts["memory_out"] = pack([cross.out_proj], int8)
        parts["memory"] = PackedConnection(layer.encoder_attn_layer_norm)
    return parts
