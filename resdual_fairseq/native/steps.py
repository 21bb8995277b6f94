"""A search's decoding steps, and the encoding of a batch, by the compiled library."""

from typing import Any, List, Optional, Tuple

import torch
from torch import Tensor

from ..layers import draw_as_layers_do, members
from . import library
from .library import address
from .rules import packed_projection, packed_stack, usable
from .structures import PackedStack, Search, Source


class NativeSteps:
    """What a search keeps between its steps; as ``decoding.Steps``, which says what comes and goes.

    Nothing that was computed is moved: a step's keys and values stay in the row that wrote them,
    and each row keeps which rows it descends from.

    Args:
        decoder: a ``ResDualDecoder`` to which ``decoding.applies`` applies.
        packed: the weights of its layers.
        memory: the encoder's output, S x rows x C_enc, or None.
        memory_padding: rows x S, True at padding, or None.
    """

    def __init__(
        self,
        decoder: Any,
        packed: PackedStack,
        memory: Optional[Tensor],
        memory_padding: Optional[Tensor],
    ) -> None:
        self.around_stack = decoder.layer_norm
        self.packed = packed
        self.past: List[Tensor] = []
        self.ancestors: Optional[Tensor] = None
        self.sentences: Optional[Tensor] = None
        self.memory: Optional[Tensor] = None
        self.memory_padding: Optional[Tensor] = None
        if memory is not None:
            beam = getattr(decoder.layers[0].encoder_attn, "beam_size", 1)
            self.look_at(beam, memory, memory_padding)

    def look_at(self, beam: int, memory: Tensor, padding: Optional[Tensor]) -> None:
        """Compute the keys and values of the encoder's output, one for all beams of a sentence."""
        rows = memory.size(1)
        beam = beam if rows % beam == 0 else 1
        self.sentences = torch.arange(rows, dtype=torch.int32).div_(beam, rounding_mode="floor")
        memory = memory[:, ::beam].transpose(0, 1).contiguous()
        width = self.packed.structure.width
        self.memory = memory.new_empty(len(self.packed.memory), *memory.shape[:2], width)
        for projection, made in zip(self.packed.memory, self.memory):
            library.linear(projection.structure, memory.flatten(0, 1), made.flatten(0, 1))
        if padding is not None and bool(padding.any()):
            assert padding.dtype == torch.bool and padding.shape == (rows, memory.size(1))
            self.memory_padding = padding[::beam].contiguous()

    def step(
        self, x: Tensor, padding: Optional[Tensor], alignment_layer: int
    ) -> Tuple[Tensor, List[Tensor], Optional[Tensor]]:
        """Decode one token; see ``decoding.Steps.step``."""
        x, d = self.around_stack.start(x[0])
        x = x.clone(memory_format=torch.contiguous_format)
        rows, width = x.shape
        stack = self.packed.structure
        self.past.append(x.new_empty(stack.depth, rows, 2, width))
        self.descend(rows, padding)
        states = x.new_empty(stack.depth, 1, rows, width)
        attention: Optional[Tensor] = None
        search = Search(steps=len(self.past), rows=rows, states=states.data_ptr())
        pasts = torch.tensor([(past.data_ptr(), past.size(1)) for past in self.past]).t()
        pasts = pasts.contiguous()
        search.past, search.past_rows = (part.data_ptr() for part in pasts)
        search.ancestors = address(self.ancestors)
        if self.memory is not None and self.sentences is not None:
            assert self.sentences.size(0) == rows
            _, search.memory_sentences, search.memory_length, _ = self.memory.shape
            if alignment_layer >= 0:
                attention = x.new_empty(stack.heads, rows, 1, search.memory_length)
            search.attention, search.align_layer = address(attention), alignment_layer
            search.memory, search.sentences = self.memory.data_ptr(), self.sentences.data_ptr()
            search.memory_padding = address(self.memory_padding)
        library.decode(self.packed, search, x, d)
        return self.around_stack.close(x, d)[None], list(states), attention

    def descend(self, rows: int, padding: Optional[Tensor]) -> None:
        """Let every row see its own newest step, unless that is padding."""
        own = torch.arange(rows, dtype=torch.int32)
        if padding is not None:
            own.masked_fill_(padding[:, 0], -1)
        parts = [own[None]] if self.ancestors is None else [self.ancestors, own[None]]
        self.ancestors = torch.cat(parts)

    def reorder(self, order: Tensor) -> None:
        """Row i goes on as row ``order[i]``; sentences may leave, with all their beams."""
        assert self.ancestors is not None
        self.ancestors = self.ancestors.index_select(1, order)
        # As in fairseq, rows change sentences only where sentences leave (or come).
        if self.sentences is not None and self.sentences.size(0) != order.numel():
            self.sentences = self.sentences.index_select(0, order)


def steps(
    decoder: Any, memory: Optional[Tensor], memory_padding: Optional[Tensor], like: Tensor
) -> Optional[NativeSteps]:
    """The steps of a search, where the library computes what this decoder's layers do.

    Args:
        decoder: a ``ResDualDecoder`` to which ``decoding.applies`` applies.
        memory: the encoder's output, S x rows x C_enc, or None.
        memory_padding: rows x S, True at padding, or None.
        like: a tensor of the decoder's dtype and device.
    """
    if not usable(like):
        return None
    packed = packed_stack(decoder)
    if packed is None:
        return None
    return NativeSteps(decoder, packed, memory, memory_padding)


def encoded(encoder: Any, x: Tensor, padding: Optional[Tensor]) -> Optional[Tensor]:
    """The encoder's output, T x B x C, where the library computes what its layers do.

    Args:
        encoder: a ``ResDualEncoder``.
        x: embeddings, T x B x C.
        padding: B x T, True where attention is kept from, or None.
    """
    if encoder.training or not usable(x) or any(drops(layer) for layer in members(encoder.layers)):
        return None
    packed = packed_stack(encoder)
    if packed is None:
        return None
    draw_as_layers_do(encoder.layers)
    x, d = encoder.layer_norm.start(x.transpose(0, 1))
    x = x.clone(memory_format=torch.contiguous_format)
    d = None if d is None else d.contiguous()
    padding = None if padding is None else padding.contiguous()
    library.encode(packed, Source(address(padding), *x.shape[:2]), x, d)
    return encoder.layer_norm.close(x, d).transpose(0, 1)


def drops(layer: Any) -> bool:
    """Whether a layer drops out in inference too (fairseq's ``--retain-dropout``)."""
    modules = (
        layer.dropout_module,
        layer.activation_dropout_module,
        layer.self_attn.dropout_module,
    )
    return any(module.apply_during_inference for module in modules)


def projected(decoder: Any, features: Tensor) -> Optional[Tensor]:
    """The logits of one step, rows x 1 x V, where the library computes a decoder's projection."""
    if features.size(1) != 1 or not usable(features):
        return None
    packed = packed_projection(decoder.output_projection, decoder)
    if packed is None:
        return None
    logits = features.new_empty(features.size(0), packed.structure.outputs)
    return library.linear(packed.structure, features[:, 0].contiguous(), logits)[:, None]
