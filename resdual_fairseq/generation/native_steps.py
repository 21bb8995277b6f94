"""Steps of incremental decoding, and the encoding of a batch, by the compiled library.

Nothing that was computed is moved: a step's keys and values stay in the row that wrote them, and
each row keeps which rows it descends from.
"""

from dataclasses import dataclass, replace
from typing import List, Optional, Tuple

import torch
from torch import Tensor

from ..native import library
from ..native.library import interface, pointer
from ..native.structs import PackedLinear
from .decoding_state import Entry
from .encoder_output import Memory, each
from .packing import Packed, PackedDecoder
from .torch_steps import check_rows


@dataclass(frozen=True)
class NativeDecodingState:
    """See :class:`DecodingState`.

    Attributes:
        packed: the decoder's weights.
        memory: keys, then values of the encoder's output, layer by layer: 2 layers x sentences x S
            x C; None without any. ``memory_padding`` is sentences x S, or None.
        sentences: which of the sentences each row attends to, int32; None without memory.
        beam: rows for each sentence as the search began.
        past: of every step, keys and values: layers x its rows x 2 x C.
        ancestors: steps x rows, int32: which row of a step each row sees; -1 if it was padding.
    """

    packed: PackedDecoder
    memory: Optional[Tensor] = None
    memory_padding: Optional[Tensor] = None
    sentences: Optional[Tensor] = None
    beam: int = 1
    past: Tuple[Tensor, ...] = ()
    ancestors: Optional[Tensor] = None

    def step(
        self, x: Tensor, padding: Optional[Tensor], alignment_layer: int
    ) -> Tuple["NativeDecodingState", Tensor, List[Tensor], Optional[Tensor]]:
        """See :class:`DecodingState`."""
        x = x[0]
        self.check(x.size(0))
        if self.begins_alike(x, padding):
            return self.step_of_sentences(x, alignment_layer)
        state, y, states, attention = self.step_of_rows(x, padding, alignment_layer)
        return state, y[None], list(states), attention

    def check(self, rows: int) -> None:
        if self.ancestors is not None:
            check_rows(rows, self.ancestors.size(1))
        elif self.sentences is not None:
            check_rows(rows, self.sentences.size(0))

    def begins_alike(self, x: Tensor, padding: Optional[Tensor]) -> bool:
        """Whether this is the first step, with all beams of a sentence alike."""
        if self.past or self.beam == 1 or padding is not None:
            return False
        beams = x.unflatten(0, (-1, self.beam))
        return torch.equal(beams, beams[:, :1].expand_as(beams))

    def step_of_sentences(
        self, x: Tensor, alignment_layer: int
    ) -> Tuple["NativeDecodingState", Tensor, List[Tensor], Optional[Tensor]]:
        """A step whose beams are alike, computed once a sentence."""
        assert self.sentences is not None
        own = torch.arange(x.size(0) // self.beam, dtype=torch.int32)
        once = replace(self, sentences=own)
        state, y, states, attention = once.step_of_rows(x[:: self.beam], None, alignment_layer)
        state = replace(state, sentences=self.sentences, ancestors=self.sentences[None])
        if attention is not None:
            attention = attention.index_select(1, self.sentences)
        states = states.index_select(2, self.sentences)
        return state, y.index_select(0, self.sentences)[None], list(states), attention

    def step_of_rows(
        self, x: Tensor, padding: Optional[Tensor], alignment_layer: int
    ) -> Tuple["NativeDecodingState", Tensor, Tensor, Optional[Tensor]]:
        """The library's call for x, rows x C.

        Returns:
            the next state; the stack's output rows x C; x after every layer, layers x 1 x rows x C;
            cross-attention heads x rows x 1 x S, or None.
        """
        rows, width = x.shape
        stack = self.packed.stack
        past = (*self.past, x.new_empty(stack.depth, rows, 2, width))
        ancestors = self.ancestors_with(rows, padding)
        states = x.new_empty(stack.depth, 1, rows, width)
        attention: Optional[Tensor] = None
        search = interface().new("struct search *")
        places = interface().new("float *[]", [pointer(step) for step in past])
        rows_then = interface().new("long[]", [step.size(1) for step in past])
        search.past, search.past_rows, search.ancestors = places, rows_then, pointer(ancestors)
        search.steps, search.rows, search.states = len(past), rows, pointer(states)
        search.closing = self.packed.closing.struct[0]
        if self.memory is not None:
            _, search.memory_sentences, search.memory_length, _ = self.memory.shape
            if alignment_layer >= 0:
                attention = x.new_empty(stack.heads, rows, 1, search.memory_length)
            search.attention, search.align_layer = pointer(attention), alignment_layer
            search.memory, search.sentences = pointer(self.memory), pointer(self.sentences)
            search.memory_padding = pointer(self.memory_padding)
        x, d = self.packed.initial_streams(x)
        library.decode(stack.struct, search, x, d)
        return replace(self, past=past, ancestors=ancestors), x, states, attention

    def ancestors_with(self, rows: int, padding: Optional[Tensor]) -> Tensor:
        """With this step, in which every row sees itself, unless that is padding."""
        own = torch.arange(rows, dtype=torch.int32)
        if padding is not None:
            own.masked_fill_(padding[:, 0], -1)
        return own[None] if self.ancestors is None else torch.cat((self.ancestors, own[None]))

    def reorder(self, order: Tensor) -> "NativeDecodingState":
        """See :class:`DecodingState`."""
        if self.ancestors is None:
            return self
        sentences = self.sentences
        # As in fairseq, rows change sentences only where sentences leave (or come).
        if sentences is not None and sentences.size(0) != order.numel():
            sentences = sentences.index_select(0, order)
        return replace(self, ancestors=self.ancestors.index_select(1, order), sentences=sentences)

    def self_attention_entry(self, layer: int) -> Entry:
        """See :class:`DecodingState`."""
        assert self.ancestors is not None
        seen = self.ancestors.long().clamp(min=0)
        both = torch.stack([step[layer][rows] for step, rows in zip(self.past, seen)])
        # T x rows x (2, C) to 2 x rows x heads x T x C/heads
        both = both.unflatten(-1, (self.packed.stack.heads, -1)).permute(2, 1, 3, 0, 4)
        keys, values = both.contiguous()
        padding = self.ancestors.lt(0).t()
        return {
            "prev_key": keys,
            "prev_value": values,
            "prev_key_padding_mask": padding if bool(padding.any()) else None,
        }

    def cross_attention_entry(self, layer: int, beam: int) -> Entry:
        """See :class:`DecodingState`."""
        assert self.memory is not None and self.sentences is not None
        sentences = self.sentences[::beam].long()
        both = self.memory[2 * layer : 2 * layer + 2][:, sentences]
        # 2 x B x S x C to 2 x B x heads x S x C/heads
        by_head = both.unflatten(-1, (self.packed.stack.heads, -1)).transpose(2, 3)
        keys, values = by_head.contiguous()
        padding = self.memory_padding
        return {
            "prev_key": keys,
            "prev_value": values,
            "prev_key_padding_mask": None if padding is None else padding[sentences],
        }


def begin(packed: PackedDecoder, memory: Optional[Memory]) -> NativeDecodingState:
    """The state before the first step."""
    if memory is None:
        return NativeDecodingState(packed)
    memory, beam = memory.by_beams()
    output = memory.output.transpose(0, 1).contiguous()
    return NativeDecodingState(
        packed,
        cache_encoder_keys_values(packed, output),
        None if memory.padding is None else memory.padding.contiguous(),
        each(len(output), beam).int(),
        beam,
    )


def cache_encoder_keys_values(packed: PackedDecoder, output: Tensor) -> Tensor:
    """Keys and values of the encoder's output (sentences x S x C), once for all its beams."""
    made = output.new_empty(len(packed.memory), *output.shape[:2], packed.stack.width)
    for projection, place in zip(packed.memory, made):
        library.linear(projection.struct, output.flatten(0, 1), place.flatten(0, 1))
    return made


def run_encoder(packed: Packed, x: Tensor, padding: Optional[Tensor]) -> Tensor:
    """The encoder's output, T x B x C, of embeddings x, T x B x C.

    ``padding`` is B x T, True where attention is kept from, or None.
    """
    x, d = packed.initial_streams(x.transpose(0, 1))
    padding = None if padding is None else padding.contiguous()
    library.encode(packed.stack.struct, padding, x, d)
    return packed.around_stack.stack_output(x, d).transpose(0, 1)


def project(projection: PackedLinear, features: Tensor) -> Tensor:
    """Logits of a step, rows x 1 x V, of its features, rows x 1 x C."""
    logits = features.new_empty(features.size(0), projection.struct.outputs)
    return library.linear(projection.struct, features[:, 0].contiguous(), logits)[:, None]
