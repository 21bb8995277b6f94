"""Weights in the structures of resdual.h, with the arrays that they point to."""

from typing import List, Mapping, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor, nn

from ..residual import Residual
from .library import CData, interface, load, pointer
from .schemes import closing_spec, connection_spec

Weights = Union[Tensor, Tuple[Tensor, Tensor]]
"""A matrix, outputs x inputs; or one in 8 bits with a scale for each output."""


def padded(tensor: Tensor, axis: int, multiple: int) -> Tensor:
    """A tensor with zeros behind it, until its length along an axis is such a multiple."""
    shape = list(tensor.shape)
    shape[axis] = -shape[axis] % multiple
    return torch.cat((tensor, tensor.new_zeros(shape)), dim=axis)


class PackedLinear:
    """A projection's weights in panels, for ``struct linear``.

    Args:
        weights: floats, or integers of 8 bits with scales.
        bias: outputs, or None.
    """

    def __init__(self, weights: Weights, bias: Optional[Tensor]) -> None:
        lib = load()
        matrix = weights if isinstance(weights, Tensor) else weights[0]
        outputs, inputs = matrix.shape
        if bias is None:
            bias = torch.zeros(outputs)
        self.bias = padded(bias, 0, lib.PADDED)
        self.struct = interface().new("struct linear *")
        self.struct.inputs, self.struct.outputs = inputs, outputs
        self.struct.bias = pointer(self.bias)
        if isinstance(weights, Tensor):
            panels = padded(weights, 0, lib.PADDED).view(-1, lib.PANEL, inputs)
            self.weight = panels.transpose(1, 2).contiguous()
            self.struct.weight = pointer(self.weight)
        else:
            self.scales = padded(weights[1], 0, lib.PADDED)
            self.weight = int8_panels(weights[0])
            self.struct.scales, self.struct.qweight = pointer(self.scales), pointer(self.weight)


def int8_panels(qweight: Tensor) -> Tensor:
    """A matrix of 8 bits in panels, as the instruction set in use reads them (int8.h)."""
    lib = load()
    group: int = lib.resdual_k_group()
    panel = lib.PADDED if group == 4 else lib.PANEL
    whole = padded(padded(qweight, 1, group), 0, lib.PADDED)
    panels = whole.view(-1, panel, whole.size(1) // group, group).transpose(1, 2)
    bits = panels.view(torch.uint8)
    return (bits if group == 2 else bits ^ 128).contiguous()  # 128 more: int8_vnni.h


class PackedNorm:
    """A connection's layer norm, for ``struct connection`` or ``struct closing``.

    Args:
        struct: which of the two.
        norm: the connection.
        fields: those of the structure behind eps.
    """

    def __init__(self, struct: str, norm: nn.LayerNorm, *fields: Union[float, bool]) -> None:
        owned = (norm.weight, norm.bias)
        self.weights = [None if one is None else one.detach().clone() for one in owned]
        places = map(pointer, self.weights)
        self.struct = interface().new(f"struct {struct} *", (*places, norm.eps, *fields))


def pack_connection(connection: Residual) -> PackedNorm:
    """The connection around a block, of a scheme that the library knows."""
    spec = connection_spec(connection)
    assert spec is not None
    s = spec.dual_scale
    fields = (s or 0.0, spec.norms_input, spec.norms_sum, s is not None)
    return PackedNorm("connection", connection, *fields)


def pack_closing(around_stack: Residual) -> PackedNorm:
    """The same of the connection around a stack."""
    spec = closing_spec(around_stack)
    assert spec is not None
    fields = (spec.alpha or 0.0, spec.norms, spec.alpha is not None)
    return PackedNorm("closing", around_stack, *fields)


PackedLayer = Mapping[str, Union[PackedLinear, PackedNorm]]
"""The parts of a layer by their names in ``struct layer``."""


class PackedStack:
    """All layers of a stack, for ``struct stack``.

    Args:
        layers: their parts.
        heads: of every attention.
        activation: of the feed-forward blocks, a number of ``enum activation``.
    """

    def __init__(self, layers: Sequence[PackedLayer], heads: int, activation: int) -> None:
        self.parts: List[PackedLayer] = list(layers)
        self.layers = interface().new("struct layer[]", len(layers))
        for struct, parts in zip(self.layers, layers):
            for name, part in parts.items():
                setattr(struct, name, part.struct[0])
        first = self.layers[0]
        self.depth, self.width, self.heads = len(layers), int(first.up.inputs), heads
        self.dual = bool(first.attention.has_dual)
        sizes = (self.depth, self.width, first.up.outputs, heads)
        crosses = "memory" in layers[0]
        self.struct: CData = interface().new(
            "struct stack *", (self.layers, *sizes, activation, crosses)
        )
