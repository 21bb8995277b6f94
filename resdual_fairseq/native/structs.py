"""Weights in the structures of resdual.h, with the arrays that they point to."""

from typing import List, Mapping, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor, nn

from ..residual import Residual
from .library import CData, interface, load, pointer
from .schemes import Gain, closing_spec, connection_spec

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


class PackedConnection:
    """The connection around a block, of a scheme that the library knows, for ``struct connection``.

    Attributes:
        kept: the numbers to which the structure points.
    """

    def __init__(self, connection: Residual) -> None:
        spec = connection_spec(connection)
        assert spec is not None
        width = connection.normalized_shape[0]
        self.kept: List[Tensor] = []
        self.struct = interface().new("struct connection *")
        fill_norm(self.struct.input, spec.input_norm, self.kept, spec.input_factor)
        fill_norm(self.struct.dual, spec.dual_norm, self.kept)
        fill_norm(self.struct.output, spec.output_norm, self.kept)
        fill_norm(self.struct.sum, spec.sum_norm, self.kept)
        self.struct.skip = one_a_channel(spec.skip, width, self.kept)
        self.struct.gain = one_a_channel(spec.gain, width, self.kept)
        self.struct.dual_scale = spec.dual_scale
        self.struct.adds_dual, self.struct.sets_dual = spec.adds_dual, spec.sets_dual


class PackedClosing:
    """The same of the connection around a stack, for ``struct closing``."""

    def __init__(self, around_stack: Residual) -> None:
        spec = closing_spec(around_stack)
        assert spec is not None
        width = around_stack.normalized_shape[0]
        self.kept: List[Tensor] = []
        self.struct = interface().new("struct closing *")
        fill_norm(self.struct.norm, spec.norm, self.kept)
        fill_norm(self.struct.last, spec.last_norm, self.kept)
        if spec.alpha is not None:
            self.kept.append(channels(spec.alpha, width))
            self.struct.alpha = pointer(self.kept[-1])


def fill_norm(
    struct: CData, norm: Optional[nn.LayerNorm], kept: List[Tensor], factor: float = 1.0
) -> None:
    """Fill in a ``struct norm``, of a norm whose result is multiplied by a factor."""
    if norm is None:
        return
    weights = [factor * one.detach() for one in (norm.weight, norm.bias)]
    kept += weights
    struct.weight, struct.bias, struct.eps = *map(pointer, weights), norm.eps


def one_a_channel(gain: Gain, width: int, kept: List[Tensor]) -> CData:
    """The address of so many numbers; NULL where they are the number 1."""
    if isinstance(gain, float) and gain == 1.0:
        return pointer(None)
    kept.append(channels(gain, width))
    return pointer(kept[-1])


def channels(gain: Gain, width: int) -> Tensor:
    return torch.ones(width) * (gain.detach() if isinstance(gain, Tensor) else gain)


PackedLayer = Mapping[str, Union[PackedLinear, PackedConnection]]
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
        sizes = (self.depth, self.width, first.up.outputs, heads)
        crosses = "memory" in layers[0]
        self.struct: CData = interface().new(
            "struct stack *", (self.layers, *sizes, activation, crosses)
        )
