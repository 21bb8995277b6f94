"""Steps of incremental decoding with few operations of torch.

A step of the whole stack works on rows x C, with queries, keys and values as one product; keys and
values of all layers stand in one tensor that doubles when it is full and is put into the beams' new
order by one operation; those of the encoder's output are computed once, for each sentence and not
for each of its beams. Weights, streams and results are those of the layers' own forward.
"""

from dataclasses import dataclass, replace
from typing import List, Optional, Sequence, Tuple

import torch
from fairseq.modules import MultiheadAttention
from torch import Tensor, nn
from torch.nn import functional as F

from ..model.layers import ResDualDecoderLayer
from ..residual import Residual
from .decoding_state import Entry
from .encoder_output import Memory

STRIDE = 32


def joined(*projections: nn.Linear) -> Tuple[Tensor, Tensor]:
    """Weights and biases of several projections of one input, as of one."""
    weight = torch.cat([projection.weight for projection in projections])
    return weight, torch.cat([projection.bias for projection in projections])


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Optional[Tensor]) -> Tensor:
    """torch's ``scaled_dot_product_attention``, where NaN stays NaN.

    On a CPU, torch's fused one makes it 0 where there is no mask.
    """
    if mask is None and q.device.type == "cpu":
        mask = q.new_zeros(1, 1, 1, 1)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def additive_mask(dtype: torch.dtype, padding: Tensor) -> Tensor:
    """What is added to the logits, B x 1 x 1 x S: -inf at padding (B x S)."""
    hidden = padding[:, None, None, :]
    return torch.zeros_like(hidden, dtype=dtype).masked_fill_(hidden, float("-inf"))


def check_rows(rows: int, known: int) -> None:
    """Raise ValueError where a step is of other rows than its search."""
    if rows != known:
        raise ValueError(
            f"the decoder was given {rows} rows, but this search has {known}; reorder the "
            "encoder's output and the search's state to match"
        )


class Past:
    """Keys and values of every step so far, appended in place by whoever has the newest state.

    Attributes:
        tensor: time x layers x rows x 2 C.
        written: how many steps are written; a state of fewer steps goes on in a copy.
    """

    def __init__(self, tensor: Tensor, written: int) -> None:
        self.tensor = tensor
        self.written = written

    def with_place_for(self, step: int) -> "Past":
        """Where step ``step`` (from 0) may write: here, or in a copy of what came before."""
        past = self
        if self.written > step or step == self.tensor.size(0):
            steps, *shape = self.tensor.shape
            longer = self.tensor.new_empty(2 * steps if step == steps else steps, *shape)
            longer[:step] = self.tensor[:step]
            past = Past(longer, step)
        past.written = step + 1
        return past


class SharedWeights:
    """The weights that all steps of a search share.

    Args:
        layers: of a decoder whose steps :func:`support.unsupported` has nothing against.
        around_stack: the connection around its stack.
    """

    def __init__(self, layers: Sequence[ResDualDecoderLayer], around_stack: Residual) -> None:
        self.layers = layers
        self.around_stack = around_stack
        self.heads: int = layers[0].self_attn.num_heads
        self.qkv = [joined(a.q_proj, a.k_proj, a.v_proj) for a in (b.self_attn for b in layers)]

    def begin(self, memory: Optional[Memory]) -> "TorchDecodingState":
        """The state before the first step."""
        if memory is None:
            return TorchDecodingState(self)
        memory, beam = memory.by_beams()
        mask = None
        if memory.padding is not None:
            mask = additive_mask(memory.output.dtype, memory.padding)
        keys_values = self.cache_encoder_keys_values(memory.output)
        return TorchDecodingState(self, keys_values, memory.padding, mask, beam)

    def cache_encoder_keys_values(self, output: Tensor) -> List[Tuple[Tensor, Tensor]]:
        """Each layer's keys and values of the encoder's output, one for all beams of a sentence."""
        cross = [layer.encoder_attn for layer in self.layers]
        weight, bias = joined(*(p for a in cross for p in (a.k_proj, a.v_proj)))
        both = F.linear(output, weight, bias)
        # S x B x (layers, 2, heads, C/heads) to (layers, 2) x B x heads x S x C/heads
        both = both.unflatten(-1, (len(cross), 2, self.heads, -1)).permute(2, 3, 1, 4, 0, 5)
        return [(keys, values) for keys, values in both.contiguous()]


@dataclass(frozen=True)
class TorchDecodingState:
    """See :class:`DecodingState`.

    Attributes:
        steps: the weights.
        memory: each layer's keys and values, sentences x heads x S x C/heads; empty without any.
        memory_padding: sentences x S, or None; ``memory_mask`` is the same to be added.
        beam: rows for each sentence.
        past: keys and values of the first ``length`` steps, or None before any.
        padding: rows x length, True where a token was padding; None if none was.
    """

    steps: SharedWeights
    memory: Sequence[Tuple[Tensor, Tensor]] = ()
    memory_padding: Optional[Tensor] = None
    memory_mask: Optional[Tensor] = None
    beam: int = 1
    past: Optional[Past] = None
    length: int = 0
    padding: Optional[Tensor] = None

    def step(
        self, x: Tensor, padding: Optional[Tensor], alignment_layer: int
    ) -> Tuple["TorchDecodingState", Tensor, List[Tensor], Optional[Tensor]]:
        """See :class:`DecodingState`."""
        x = x[0]
        self.check(x.size(0))
        after = replace(
            self,
            past=self.past_for(x),
            length=self.length + 1,
            padding=self.padding_with(padding, x),
        )
        mask = None if after.padding is None else additive_mask(x.dtype, after.padding)
        attn: Optional[Tensor] = None
        states = []
        x, d = self.steps.around_stack.init_streams(x)
        for index, layer in enumerate(self.steps.layers):
            connection = layer.self_attn_layer_norm
            f = after.self_attention(index, connection.block_input(x, d), mask)
            x, d = connection.add_output(x, d, f)
            if self.memory:
                connection = layer.encoder_attn_layer_norm
                seen = connection.block_input(x, d)
                f, weights = self.cross_attention(index, seen, index == alignment_layer)
                x, d = connection.add_output(x, d, f)
                attn = weights if weights is not None else attn
            connection = layer.final_layer_norm
            f = feed_forward(layer, connection.block_input(x, d))
            x, d = connection.add_output(x, d, f)
            states.append(x[None])
        return after, self.steps.around_stack.stack_output(x, d)[None], states, attn

    def check(self, rows: int) -> None:
        if self.memory:
            check_rows(rows, self.beam * self.memory[0][0].size(0))
        elif self.past is not None:
            check_rows(rows, self.past.tensor.size(2))

    def past_for(self, x: Tensor) -> Past:
        """With a place for the step of x (rows x C)."""
        if self.past is not None:
            return self.past.with_place_for(self.length)
        rows, width = x.shape
        return Past(x.new_empty(STRIDE, len(self.steps.layers), rows, 2 * width), 1)

    def padding_with(self, padding: Optional[Tensor], x: Tensor) -> Optional[Tensor]:
        """Which tokens are padding, this step's included, from the first that is."""
        if padding is None and self.padding is None:
            return None
        before = self.padding
        if before is None:
            before = x.new_zeros(x.size(0), self.length, dtype=torch.bool)
        if padding is None:
            padding = x.new_zeros(x.size(0), 1, dtype=torch.bool)
        return torch.cat((before, padding), dim=1)

    def self_attention(self, index: int, x: Tensor, mask: Optional[Tensor]) -> Tensor:
        """Attention of the newest step, whose keys and values it writes."""
        assert self.past is not None
        rows, width = x.shape
        qkv = F.linear(x, *self.steps.qkv[index])
        self.past.tensor[self.length - 1, index] = qkv[:, width:]
        keys, values = self.keys_values(index)
        y = attend(qkv[:, :width].view(rows, self.steps.heads, 1, -1), keys, values, mask)
        return project_out(self.steps.layers[index].self_attn, y.view(rows, width))

    def keys_values(self, index: int) -> Tuple[Tensor, Tensor]:
        """A layer's keys and values so far, rows x heads x T x C/heads each."""
        assert self.past is not None
        past = self.past.tensor[: self.length, index]
        keys, values = past.unflatten(-1, (2, self.steps.heads, -1)).permute(2, 1, 3, 0, 4)
        return keys, values

    def cross_attention(
        self, index: int, x: Tensor, need_weights: bool
    ) -> Tuple[Tensor, Optional[Tensor]]:
        rows, width = x.shape
        module = self.steps.layers[index].encoder_attn
        keys, values = self.memory[index]
        q = F.linear(x, module.q_proj.weight, module.q_proj.bias)
        q = q.view(-1, self.beam, self.steps.heads, width // self.steps.heads).transpose(1, 2)
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

    def reorder(self, order: Tensor) -> "TorchDecodingState":
        """See :class:`DecodingState`."""
        if self.past is None:
            return self
        kept = self
        if self.memory and self.beam * self.memory[0][0].size(0) != order.numel():
            kept = self.of_sentences(order.view(-1, self.beam)[:, 0] // self.beam)
        tensor = self.past.tensor
        if not order.is_cuda and torch.equal(order, torch.arange(tensor.size(2))):
            return kept
        steps, layers, _, width = tensor.shape
        reordered = tensor.new_empty(steps, layers, order.numel(), width)
        used = tensor[: self.length].flatten(0, 1)
        torch.index_select(used, 1, order, out=reordered[: self.length].flatten(0, 1))
        padding = None if self.padding is None else self.padding.index_select(0, order)
        return replace(kept, past=Past(reordered, self.length), padding=padding)

    def of_sentences(self, sentences: Tensor) -> "TorchDecodingState":
        """The same with some of its sentences to attend to."""

        def some(tensor: Optional[Tensor]) -> Optional[Tensor]:
            return None if tensor is None else tensor.index_select(0, sentences)

        memory = [
            (keys.index_select(0, sentences), values.index_select(0, sentences))
            for keys, values in self.memory
        ]
        padding, mask = some(self.memory_padding), some(self.memory_mask)
        return replace(self, memory=memory, memory_padding=padding, memory_mask=mask)

    def self_attention_entry(self, layer: int) -> Entry:
        """See :class:`DecodingState`."""
        keys, values = (part.contiguous() for part in self.keys_values(layer))
        return {"prev_key": keys, "prev_value": values, "prev_key_padding_mask": self.padding}

    def cross_attention_entry(self, layer: int, beam: int) -> Entry:
        """See :class:`DecodingState`."""
        rows = torch.arange(self.beam * self.memory[layer][0].size(0))[::beam]
        kept = self.of_sentences((rows // self.beam).to(self.memory[layer][0].device))
        keys, values = kept.memory[layer]
        return {
            "prev_key": keys,
            "prev_value": values,
            "prev_key_padding_mask": kept.memory_padding,
        }


def project_out(attention: MultiheadAttention, y: Tensor) -> Tensor:
    return F.linear(y, attention.out_proj.weight, attention.out_proj.bias)


def feed_forward(layer: ResDualDecoderLayer, x: Tensor) -> Tensor:
    y = layer.activation_fn(F.linear(x, layer.fc1.weight, layer.fc1.bias))
    return F.linear(y, layer.fc2.weight, layer.fc2.bias)
