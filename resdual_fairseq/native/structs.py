"""ctypes twins of structures.h, and the weights of a stack in that form."""

import ctypes
from ctypes import POINTER, Structure, c_float, c_int, c_long, c_void_p
from typing import Any, Dict, List, Sequence

import torch
from fairseq import utils
from torch import Tensor, nn

from ..checkpoints.int8 import encoded
from ..residual import Join

PANEL, PADDED = 16, 64

FLOATS = POINTER(c_float)
ACTIVATIONS: Dict[Any, int] = {
    utils.get_activation_fn("relu"): 1,
    utils.get_activation_fn("gelu"): 2,
}


class Linear(Structure):
    _fields_ = (
        *(("weight", FLOATS), ("codes", c_void_p), ("scales", FLOATS), ("bias", FLOATS)),
        *(("inputs", c_long), ("outputs", c_long)),
    )


class Connection(Structure):
    _fields_ = (
        *(("weight", FLOATS), ("bias", FLOATS), ("eps", c_float), ("scale", c_float)),
        *(("norms_input", c_int), ("norms_sum", c_int), ("has_dual", c_int)),
    )


class Closing(Structure):
    _fields_ = (
        *(("weight", c_void_p), ("bias", c_void_p), ("eps", c_float), ("alpha", c_float)),
        *(("norms", c_int), ("has_dual", c_int)),
    )


class Layer(Structure):
    _fields_ = (
        *(("qkv", Linear), ("attention_out", Linear), ("query", Linear), ("memory_out", Linear)),
        *(("up", Linear), ("down", Linear)),
        *(("attention", Connection), ("memory", Connection), ("feed_forward", Connection)),
    )


class Stack(Structure):
    _fields_ = (
        ("layers", POINTER(Layer)),
        *(("depth", c_long), ("width", c_long), ("inner", c_long), ("heads", c_long)),
        *(("activation", c_int), ("has_memory", c_int)),
    )


class Source(Structure):
    _fields_ = (("padding", c_void_p), ("sentences", c_long), ("length", c_long))


class Search(Structure):
    _fields_ = (
        *(("past", c_void_p), ("past_rows", c_void_p), ("ancestors", c_void_p)),
        ("sentences", c_void_p),
        *(("memory", c_void_p), ("memory_padding", c_void_p)),
        *(("attention", c_void_p), ("states", c_void_p), ("closing", Closing)),
        *(("steps", c_long), ("rows", c_long)),
        *(("memory_sentences", c_long), ("memory_length", c_long), ("align_layer", c_long)),
    )


def floats(tensor: Tensor) -> Any:
    return ctypes.cast(tensor.data_ptr(), FLOATS)


class Packed:
    """A projection's weights in panels.

    Args:
        projections: of one input, joined; float32 on the CPU.
        together: where not 0, codes of 8 bits, so many inputs together, and a scale for each output
            take the place of floats (``library.together``).
    """

    def __init__(self, *projections: nn.Linear, together: int = 0) -> None:
        weight = torch.cat([projection.weight.detach() for projection in projections])
        outputs, inputs = weight.shape
        self.structure = Linear(inputs=inputs, outputs=outputs)
        self.bias = padded(weight.new_zeros(outputs), 0, PADDED)
        if projections[0].bias is not None:
            torch.cat([p.bias.detach() for p in projections], out=self.bias[:outputs])
        self.structure.bias = floats(self.bias)
        if together:
            codes, scales = encoded(weight)
            self.scales = padded(scales, 0, PADDED)
            codes = padded(padded(codes, 1, together), 0, PADDED)
            panel = PADDED if together == 4 else PANEL
            codes = codes.view(-1, panel, codes.size(1) // together, together).transpose(1, 2)
            bits = codes.view(torch.uint8)
            self.weight = (bits if together == 2 else bits ^ 128).contiguous()  # 128 more: bytes.h
            self.structure.scales = floats(self.scales)
            self.structure.codes = self.weight.data_ptr()
        else:
            self.weight = padded(weight, 0, PADDED).view(-1, PANEL, inputs).transpose(1, 2)
            self.weight = self.weight.contiguous()
            self.structure.weight = floats(self.weight)


def padded(tensor: Tensor, axis: int, multiple: int) -> Tensor:
    """A tensor with zeros behind it, until its length along an axis is such a multiple."""
    shape = list(tensor.shape)
    shape[axis] = -shape[axis] % multiple
    return torch.cat((tensor, tensor.new_zeros(shape)), dim=axis)


class PackedStack:
    """A stack's layers as ``struct stack``, with all memory that it points to.

    Args:
        layers: encoder or decoder layers that ``rules.are_known`` accepts.
        together: as for ``Packed``.
    """

    def __init__(self, layers: Sequence[Any], together: int = 0) -> None:
        self.together = together
        self.kept: List[Any] = []
        self.dual = False
        """Whether its layers keep a second stream."""
        self.layers = (Layer * len(layers))(*(self.layer(layer) for layer in layers))
        first = layers[0]
        self.memory: List[Packed] = []
        """What makes keys, then values, of the encoder's output, layer by layer."""
        for layer in layers:
            cross = getattr(layer, "encoder_attn", None)
            if cross is not None:
                self.memory += [Packed(p, together=together) for p in (cross.k_proj, cross.v_proj)]
        self.structure = Stack(
            self.layers,
            len(layers),
            first.embed_dim,
            first.fc1.weight.size(0),
            first.self_attn.num_heads,
            ACTIVATIONS[first.activation_fn],
            getattr(first, "encoder_attn", None) is not None,
        )

    def __deepcopy__(self, _: Dict[int, Any]) -> "PackedStack":
        """Itself, for whoever copies a search: it is only read, and its pointers stay."""
        return self

    def layer(self, layer: Any) -> Layer:
        own, cross = layer.self_attn, getattr(layer, "encoder_attn", None)
        packed = Layer(
            qkv=self.linear(own.q_proj, own.k_proj, own.v_proj),
            attention_out=self.linear(own.out_proj),
            up=self.linear(layer.fc1),
            down=self.linear(layer.fc2),
            attention=self.connection(layer.self_attn_layer_norm),
            feed_forward=self.connection(layer.final_layer_norm),
        )
        if cross is not None:
            packed.query = self.linear(cross.q_proj)
            packed.memory_out = self.linear(cross.out_proj)
            packed.memory = self.connection(layer.encoder_attn_layer_norm)
        return packed

    def linear(self, *projections: nn.Linear) -> Linear:
        packed = Packed(*projections, together=self.together)
        self.kept.append(packed)
        return packed.structure

    def connection(self, connection: Any) -> Connection:
        join: Join = connection.as_join()
        self.dual = self.dual or join.dual is not None
        weight, bias = connection.weight.detach().clone(), connection.bias.detach().clone()
        self.kept.append((weight, bias))
        return Connection(
            floats(weight),
            floats(bias),
            connection.eps,
            join.dual or 0.0,
            join.norms_input,
            join.norms_sum,
            join.dual is not None,
        )
