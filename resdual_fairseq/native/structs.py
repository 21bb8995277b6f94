"""Weights in the structures of resdual.h, with the arrays that they point to."""

from typing import Dict, List, Mapping, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor, nn

from .library import CData, interface, load, pointer
from .schemes import ClosingSpec, ConnectionSpec

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
    """The connection around a block, for ``struct connection``."""

    def __init__(self, norm: nn.LayerNorm, spec: ConnectionSpec) -> None:
        self.weight, self.bias = norm.weight.detach().clone(), norm.bias.detach().clone()
        dual = spec.dual_scale
        fields = (norm.eps, dual or 0.0, spec.norms_input, spec.norms_sum, dual is not None)
        self.struct = interface().new(
            "struct connection *", (pointer(self.weight), pointer(self.bias), *fields)
        )


class PackedClosing:
    """The connection around a stack, for ``struct closing``."""

    def __init__(self, norm: nn.LayerNorm, spec: ClosingSpec) -> None:
        self.weight = self.bias = None
        if spec.norms:
            self.weight, self.bias = norm.weight.detach().clone(), norm.bias.detach().clone()
        fields = (norm.eps, spec.alpha or 0.0, spec.norms, spec.alpha is not None)
        self.struct = interface().new(
            "struct closing *", (pointer(self.weight), pointer(self.bias), *fields)
        )


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
        self.dual = bool(first.attention.has_dual)
        sizes = (self.depth, self.width, first.up.outputs, heads)
        crosses = "memory" in layers[0]
        self.struct: CData = interface().new(
            "struct stack *", (self.layers, *sizes, activation, crosses)
        )

    def __deepcopy__(self, memo: Dict[int, object]) -> "PackedStack":
        """Itself: it is only read, and its pointers stay."""
        return self
