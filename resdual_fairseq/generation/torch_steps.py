"""One step of incremental decoding with few operations.

A beam search asks the decoder for one token after another. Here a step of the whole stack works on
rows x C, with queries, keys and values as one product; keys and values of all layers stand in one
tensor that doubles when it is full and is put into the beams' new order by one operation; those of
the encoder's output are computed once, for each sentence and not for each of its beams.

Weights, streams and results are those of the layers' own forward. :func:`applies` says where the
layers are plain enough for this; elsewhere they decode themselves.
"""

from typing import Any, List, Optional, Sequence, Tuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..model.attention import additive_mask, attend
from ..model.layers import ResDualDecoderLayer, classes_are_as_written, is_as_written, members
from .encoder_output import Memory
from .plain import has_global_hooks

STRIDE = 32


def applies(decoder: Any, memory: Optional[Memory], alignment_layer: int) -> bool:
    """Whether a search may take steps of the whole stack, here or in the compiled library.

    Args:
        decoder: a ``ResDualDecoder``.
        memory: the encoder's output, or None.
        alignment_layer: whose cross-attention is asked for.
    """
    layers = members(decoder.layers)
    return (
        not decoder.training
        and not torch.is_grad_enabled()
        and not decoder.cross_self_attention
        and not has_global_hooks()
        and classes_are_as_written()
        and len(layers) > 0
        and (memory is None or 0 <= alignment_layer < len(layers))
    )


def take_steps(layers: Sequence[Any], crosses: bool) -> bool:
    """Whether the steps below are what these layers compute, all of them with cross-attention or
    none."""
    return (
        all(takes_steps(layer, crosses) for layer in layers)
        and len({heads for layer in layers for heads in heads_of(layer)}) == 1
    )


def takes_steps(layer: Any, crosses: bool) -> bool:
    return (
        type(layer) is ResDualDecoderLayer
        and is_as_written(layer)
        and (layer.encoder_attn is not None) == crosses
        # fairseq's softmax is of float32 here, which tests in float64 have to meet.
        and layer.fc1.weight.dtype != torch.float64
        and layer.c_attn is layer.attn_ln is layer.ffn_layernorm is layer.w_resid is None
    )


def heads_of(layer: ResDualDecoderLayer) -> Sequence[int]:
    attention = (layer.self_attn, layer.encoder_attn)
    return [module.num_heads for module in attention if module is not None]


def check_rows(rows: int, known: int) -> None:
    """Raise where a step is of other rows than its search.

    Raises:
        ValueError: naming both numbers.
    """
    if rows != known:
        raise ValueError(
            f"the decoder was given {rows} rows, but this search has {known}; reorder the "
            "encoder's output and the search's state to match"
        )


class Steps:
    """What a search keeps between its steps.

    Args:
        decoder: a ``ResDualDecoder`` whose layers :func:`take_steps`.
        memory: the encoder's output, or None.
    """

    def __init__(self, decoder: Any, memory: Optional[Memory]) -> None:
        self.layers: List[Any] = members(decoder.layers)
        self.around_stack = decoder.layer_norm
        self.heads: int = self.layers[0].self_attn.num_heads
        attention = [layer.self_attn for layer in self.layers]
        self.qkv = [pack(a.q_proj, a.k_proj, a.v_proj) for a in attention]
        self.past: Optional[Tensor] = None
        self.spare: Optional[Tensor] = None
        self.padding: Optional[Tensor] = None
        self.length = 0
        self.beam = 1
        self.memory: List[Tuple[Tensor, Tensor]] = []
        self.memory_mask: Optional[Tensor] = None
        if memory is not None:
            self.look_at(memory)

    def look_at(self, memory: Memory) -> None:
        """Compute the keys and values of the encoder's output, one for all beams of a sentence."""
        cross = [layer.encoder_attn for layer in self.layers]
        memory, self.beam = memory.by_beams()
        weight, bias = pack(*(p for a in cross for p in (a.k_proj, a.v_proj)))
        both = F.linear(memory.output, weight, bias)
        # S x B x (layers, 2, heads, C/heads) to (layers, 2) x B x heads x S x C/heads
        both = both.unflatten(-1, (len(cross), 2, self.heads, -1)).permute(2, 3, 1, 4, 0, 5)
        self.memory = [(keys, values) for keys, values in both.contiguous()]
        if memory.padding is not None:
            self.memory_mask = additive_mask(both.dtype, memory.padding, None)

    def step(
        self, x: Tensor, padding: Optional[Tensor], alignment_layer: int
    ) -> Tuple[Tensor, List[Tensor], Optional[Tensor]]:
        """Decode one token.

        Args:
            x: its embedding, 1 x rows x C.
            padding: rows x 1, True where the token is padding, or None.
            alignment_layer: the layer whose cross-attention is returned, or -1 for none.

        Returns:
            the stack's output 1 x rows x C; x after every layer; cross-attention
            heads x rows x 1 x S, or None.
        """
        x = x[0]
        self.check(x.size(0))
        self.note_padding(padding, x)
        mask = None
        if self.padding is not None:
            mask = additive_mask(x.dtype, self.padding[:, : self.length + 1], None)
        attn: Optional[Tensor] = None
        states = []
        x, d = self.around_stack.start(x)
        for index, layer in enumerate(self.layers):
            connection = layer.self_attn_layer_norm
            x, d = connection.join(x, d, self.self_attention(index, connection.read(x, d), mask))
            if self.memory:
                connection = layer.encoder_attn_layer_norm
                seen = connection.read(x, d)
                f, weights = self.cross_attention(index, seen, index == alignment_layer)
                x, d = connection.join(x, d, f)
                attn = weights if weights is not None else attn
            connection = layer.final_layer_norm
            x, d = connection.join(x, d, feed_forward(layer, connection.read(x, d)))
            states.append(x[None])
        y = self.around_stack.close(x, d)[None]
        self.length += 1
        return y, states, attn

    def check(self, rows: int) -> None:
        if self.memory:
            check_rows(rows, self.beam * self.memory[0][0].size(0))
        elif self.past is not None:
            check_rows(rows, self.past.size(2))

    def self_attention(self, index: int, x: Tensor, mask: Optional[Tensor]) -> Tensor:
        rows, width = x.shape
        qkv = F.linear(x, *self.qkv[index])
        past = self.room_for(qkv)
        past[self.length, index] = qkv[:, width:]
        past = past[: self.length + 1, index]
        keys, values = past.unflatten(-1, (2, self.heads, -1)).permute(2, 1, 3, 0, 4)
        q = qkv[:, :width].view(rows, self.heads, 1, -1)
        y = attend(q, keys, values, mask)
        return project_out(self.layers[index].self_attn, y.view(rows, width))

    def cross_attention(
        self, index: int, x: Tensor, need_weights: bool
    ) -> Tuple[Tensor, Optional[Tensor]]:
        rows, width = x.shape
        module = self.layers[index].encoder_attn
        keys, values = self.memory[index]
        q = F.linear(x, module.q_proj.weight, module.q_proj.bias)
        q = q.view(-1, self.beam, self.heads, width // self.heads).transpose(1, 2)
        weights: Optional[Tensor] = None
        if need_weights:
            logits = torch.matmul(q * module.scaling, keys.transpose(-1, -2))
            if self.memory_mask is not None:
                logits = logits + self.memory_mask
            weights = logits.softmax(dim=-1, dtype=torch.float32).type_as(logits)
            y = torch.matmul(weights, values)
            weights = weights.transpose(0, 1).flatten(1, 2).unsqueeze(2)
        else:
            y = attend(q, keys, values, self.memory_mask)
        return project_out(module, y.transpose(1, 2).reshape(rows, width)), weights

    def room_for(self, qkv: Tensor) -> Tensor:
        """Keys and values so far, time x layers x rows x 2 C, with room for one more step."""
        if self.past is None:
            rows, width = qkv.shape
            self.past = qkv.new_empty(STRIDE, len(self.layers), rows, width // 3 * 2)
        elif self.length == self.past.size(0):
            self.past = torch.cat((self.past, torch.empty_like(self.past)))
        return self.past

    def note_padding(self, padding: Optional[Tensor], x: Tensor) -> None:
        """Remember which tokens are padding, from the first that is."""
        if padding is None and self.padding is None:
            return
        if self.padding is None:
            self.padding = x.new_zeros(x.size(0), self.length, dtype=torch.bool)
        if padding is None:
            padding = x.new_zeros(x.size(0), 1, dtype=torch.bool)
        # No more than there were steps: one may have failed and come again.
        self.padding = torch.cat((self.padding[:, : self.length], padding), dim=1)

    def reorder(self, order: Tensor) -> None:
        """Row i goes on as row ``order[i]``; sentences may leave, with all their beams."""
        if self.past is None:
            return
        rows = self.past.size(2)
        if self.memory and self.beam * self.memory[0][0].size(0) != order.numel():
            self.keep_sentences(order.view(-1, self.beam)[:, 0] // self.beam)
        if not order.is_cuda and torch.equal(order, torch.arange(rows)):
            return
        if self.padding is not None:
            self.padding = self.padding.index_select(0, order)
        shape = (self.past.size(0), len(self.layers), order.numel(), self.past.size(3))
        if self.spare is None or self.spare.shape != shape:
            self.spare = self.past.new_empty(shape)
        used = self.past[: self.length].flatten(0, 1)
        torch.index_select(used, 1, order, out=self.spare[: self.length].flatten(0, 1))
        self.past, self.spare = self.spare, self.past

    def keep_sentences(self, sentences: Tensor) -> None:
        self.memory = [
            (keys.index_select(0, sentences), values.index_select(0, sentences))
            for keys, values in self.memory
        ]
        if self.memory_mask is not None:
            self.memory_mask = self.memory_mask.index_select(0, sentences)


def pack(*projections: Any) -> Tuple[Tensor, Tensor]:
    """Weights and biases of several projections of one input, as of one."""
    weight = torch.cat([projection.weight for projection in projections])
    return weight, torch.cat([projection.bias for projection in projections])


def project_out(attention: Any, y: Tensor) -> Tensor:
    return F.linear(y, attention.out_proj.weight, attention.out_proj.bias)


def feed_forward(layer: Any, x: Tensor) -> Tensor:
    y = layer.activation_fn(F.linear(x, layer.fc1.weight, layer.fc1.bias))
    return F.linear(y, layer.fc2.weight, layer.fc2.bias)
