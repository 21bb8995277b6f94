"""A search's decoding steps, and the encoding of a batch, by the compiled library."""

from ctypes import addressof, c_long, c_void_p
from typing import Any, List, Optional, Tuple

import torch
from torch import Tensor

from ..model.layers import draw_as_layers_do
from ..native import library
from ..native.library import address
from ..native.structs import Closing, PackedStack, Search, Source
from ..residual import Close
from .encoder_output import Memory, each
from .log_probabilities import log_probabilities as of_logits
from .packing import packed_projection, packed_stack
from .plain import is_memory, linears_are_as_written
from .support import is_as_wide, is_known, is_readable, usable
from .torch_steps import check_rows

Streams = Tuple[Tensor, Optional[Tensor]]


class NativeSteps:
    """What a search keeps between its steps; as ``decoding.Steps``, which says what comes and goes.

    Nothing that was computed is moved: a step's keys and values stay in the row that wrote them,
    and each row keeps which rows it descends from.

    Args:
        decoder: a ``ResDualDecoder`` to which ``decoding.applies`` applies.
        packed: the weights of its layers.
        memory: the encoder's output, or None.
    """

    def __init__(self, decoder: Any, packed: PackedStack, memory: Optional[Memory]) -> None:
        self.around_stack = decoder.layer_norm
        self.packed = packed
        self.past: List[Tensor] = []
        self.rows: List[int] = []
        self.ancestors: Optional[Tensor] = None
        self.sentences: Optional[Tensor] = None
        self.beam = 1
        self.memory: Optional[Tensor] = None
        self.memory_padding: Optional[Tensor] = None
        if memory is not None:
            self.look_at(memory)

    def look_at(self, memory: Memory) -> None:
        """Compute the keys and values of the encoder's output, one for all beams of a sentence."""
        memory, self.beam = memory.by_beams()
        output = memory.output.transpose(0, 1).contiguous()
        self.sentences = each(len(output), self.beam).int()
        width = self.packed.structure.width
        self.memory = output.new_empty(len(self.packed.memory), *output.shape[:2], width)
        for projection, made in zip(self.packed.memory, self.memory):
            library.linear(projection.structure, output.flatten(0, 1), made.flatten(0, 1))
        if memory.padding is not None:
            self.memory_padding = memory.padding.contiguous()

    def step(
        self, x: Tensor, padding: Optional[Tensor], alignment_layer: int
    ) -> Tuple[Tensor, List[Tensor], Optional[Tensor]]:
        """Decode one token; see ``decoding.Steps.step``."""
        x = x[0]
        self.check(x.size(0))
        before = (self.ancestors, self.sentences, len(self.past))
        try:
            if self.begins_alike(x, padding):
                return self.step_of_sentences(x, alignment_layer)
            self.descend(x.size(0), padding)
            y, states, attention = self.step_of_rows(x, alignment_layer)
            return y[None], list(states), attention
        except BaseException:  # an interrupt, too: whoever goes on, does so from here
            self.ancestors, self.sentences, steps = before
            del self.past[steps:], self.rows[steps:]
            raise

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
    ) -> Tuple[Tensor, List[Tensor], Optional[Tensor]]:
        """A step whose beams are alike, computed once a sentence."""
        assert self.sentences is not None
        of_rows, count = self.sentences, x.size(0) // self.beam
        self.sentences = torch.arange(count, dtype=torch.int32)
        self.descend(count, None)
        y, states, attention = self.step_of_rows(x[:: self.beam], alignment_layer)
        self.sentences, self.ancestors = of_rows, of_rows[None]
        if attention is not None:
            attention = attention.index_select(1, of_rows)
        states = states.index_select(2, of_rows)
        return y.index_select(0, of_rows)[None], list(states), attention

    def step_of_rows(
        self, x: Tensor, alignment_layer: int
    ) -> Tuple[Tensor, Tensor, Optional[Tensor]]:
        """The library's call for rows x C that descend already.

        Returns:
            the stack's output rows x C; x after every layer, layers x 1 x rows x C;
            cross-attention heads x rows x 1 x S, or None.

        Raises:
            ValueError: the model is not what it was when the search began.
        """
        streams = opened(self.around_stack, x, self.packed)
        if streams is None:
            raise ValueError(
                "the model's dtype, device, width or residual connection changed during a search; "
                "begin a new one, with a new incremental_state"
            )
        x, d = streams
        rows, width = x.shape
        stack = self.packed.structure
        self.past.append(x.new_empty(stack.depth, rows, 2, width))
        self.rows.append(rows)
        steps = len(self.past)
        places = (c_void_p * steps)(*map(Tensor.data_ptr, self.past))
        rows_then = (c_long * steps)(*self.rows)
        states = x.new_empty(stack.depth, 1, rows, width)
        attention: Optional[Tensor] = None
        search = Search(steps=steps, rows=rows, states=states.data_ptr())
        search.past, search.past_rows = addressof(places), addressof(rows_then)
        search.ancestors = address(self.ancestors)
        if self.memory is not None and self.sentences is not None:
            _, search.memory_sentences, search.memory_length, _ = self.memory.shape
            if alignment_layer >= 0:
                attention = x.new_empty(stack.heads, rows, 1, search.memory_length)
            search.attention, search.align_layer = address(attention), alignment_layer
            search.memory, search.sentences = self.memory.data_ptr(), self.sentences.data_ptr()
            search.memory_padding = address(self.memory_padding)
        closing = closing_of(self.around_stack, width)
        if closing is not None:
            search.closing = closing
        library.decode(self.packed, search, x, d)
        return self.around_stack.close(x, d) if closing is None else x, states, attention

    def descend(self, rows: int, padding: Optional[Tensor]) -> None:
        """Let every row see its own newest step, unless that is padding."""
        own = torch.arange(rows, dtype=torch.int32)
        if padding is not None:
            own.masked_fill_(padding[:, 0], -1)
        parts = [own[None]] if self.ancestors is None else [self.ancestors, own[None]]
        self.ancestors = torch.cat(parts)

    def reorder(self, order: Tensor) -> None:
        """Row i goes on as row ``order[i]``; sentences may leave, with all their beams."""
        if self.ancestors is None:
            return
        self.ancestors = self.ancestors.index_select(1, order)
        # As in fairseq, rows change sentences only where sentences leave (or come).
        if self.sentences is not None and self.sentences.size(0) != order.numel():
            self.sentences = self.sentences.index_select(0, order)


def steps(decoder: Any, memory: Optional[Memory], like: Tensor) -> Optional[NativeSteps]:
    """The steps of a search, where the library computes what this decoder's layers do.

    Args:
        decoder: a ``ResDualDecoder`` to which ``decoding.applies`` applies.
        memory: the encoder's output, or None.
        like: a tensor of the decoder's dtype and device.
    """
    if not usable(like):
        return None
    packed = packed_stack(decoder)
    if packed is None or bool(packed.structure.has_memory) != (memory is not None):
        return None
    if opened(decoder.layer_norm, like[0], packed) is None:
        return None
    if memory is not None and not can_read(memory, packed):
        return None
    return NativeSteps(decoder, packed, memory)


def can_read(memory: Memory, packed: PackedStack) -> bool:
    """Whether the encoder's output is what the library reads; if not, torch tells what misfits."""
    output, padding = memory.output, memory.padding
    return (
        is_memory(output)
        and output.dim() == 3
        and output.size(2) == packed.memory[0].structure.inputs
        and output.dtype == torch.float32
        and output.device.type == "cpu"
        and (
            padding is None
            or (
                is_memory(padding)
                and padding.dtype == torch.bool
                and padding.shape == (output.size(1), output.size(0))
                and padding.device.type == "cpu"
            )
        )
    )


def opened(around_stack: Any, x: Tensor, packed: PackedStack) -> Optional[Streams]:
    """The streams that begin with x, of one shape that ends in C, to be changed in place.

    Returns:
        None where they are not what the library takes.
    """
    x, d = around_stack.start(x)
    x = x.clone(memory_format=torch.contiguous_format)
    d = None if d is None else d.clone(memory_format=torch.contiguous_format)
    fit = all(
        stream.shape == x.shape
        and stream.size(-1) == packed.structure.width
        and is_readable(stream)
        for stream in (x, d)
        if stream is not None
    )
    return (x, d) if fit and (d is not None) == packed.dual else None


def closing_of(around_stack: Any, width: int) -> Optional[Closing]:
    """How the library closes streams so wide, or None where the connection does that itself."""
    if not is_known(around_stack):
        return None
    close: Close = around_stack.as_close()
    closing = Closing(eps=around_stack.eps, norms=close.norms)
    if close.norms:
        if not is_as_wide(around_stack, width):
            return None
        weight, bias = around_stack.weight, around_stack.bias
        if not (is_readable(weight) and is_readable(bias)):
            return None
        closing.weight, closing.bias = weight.data_ptr(), bias.data_ptr()
    if close.alpha is not None:
        closing.has_dual, closing.alpha = 1, close.alpha
    return closing


def encoded(encoder: Any, x: Tensor, padding: Optional[Tensor]) -> Optional[Tensor]:
    """The encoder's output, T x B x C, where the library computes what its layers do.

    Args:
        encoder: a ``ResDualEncoder``.
        x: embeddings, T x B x C.
        padding: B x T, True where attention is kept from, or None.
    """
    if encoder.training or not usable(x):
        return None
    packed = packed_stack(encoder)
    if packed is None:
        return None
    streams = opened(encoder.layer_norm, x.transpose(0, 1), packed)
    if streams is None:
        return None
    draw_as_layers_do(encoder.layers)
    x, d = streams
    padding = None if padding is None else padding.contiguous()
    library.encode(packed, Source(address(padding), *x.shape[:2]), x, d)
    return encoder.layer_norm.close(x, d).transpose(0, 1)


OF_SEARCH = "resdual_of_search"


def note_search(features: Tensor) -> None:
    """Tell `projected` that these belong to a search, which looked at the weights as it began."""
    if not torch.compiler.is_compiling():
        setattr(features, OF_SEARCH, True)


def projected(decoder: Any, features: Tensor) -> Optional[Tensor]:
    """The logits of a search's step, rows x 1 x V, where the library computes the projection."""
    if not getattr(features, OF_SEARCH, False) or features.size(1) != 1 or not usable(features):
        return None
    if not linears_are_as_written():
        return None
    packed = packed_projection(decoder.output_projection, decoder)
    if packed is None or packed.structure.inputs != features.size(2):
        return None
    logits = features.new_empty(features.size(0), packed.structure.outputs)
    return library.linear(packed.structure, features[:, 0].contiguous(), logits)[:, None]


def log_probabilities(logits: Tensor) -> Optional[Tensor]:
    """Those of one step, rows x 1 x V, where the library can compute them."""
    if logits.dim() != 3 or logits.size(1) != 1 or not usable(logits):
        return None
    return of_logits(logits[:, 0].contiguous())[:, None]
