"""A translation model as two functions of tensors alone, for torch.export and ONNX.

fairseq's encoder and decoder pass dictionaries, look at values while they run, and keep the state
of a search in a dictionary that they change. Here everything goes in and comes out as tensors:
:class:`Encoding` once a batch, :class:`DecoderStep` once a token. The layers, and the order of a
step's blocks (``TorchDecodingState``), are the model's own.
"""

import copy
from dataclasses import dataclass, field
from typing import Any, List, Optional, Tuple

import torch
from fairseq.modules import SinusoidalPositionalEmbedding
from torch import Tensor, nn
from torch.nn import functional as F

from ..compat import clear_forward_pre_hooks
from ..errors import ResDualError
from ..generation.support import unsupported
from ..generation.torch_steps import (
    Past,
    SharedWeights,
    TorchDecodingState,
    additive_mask,
    joined,
    project_out,
)


class Positions(nn.Module):
    """A table of fairseq's embedded positions, learned or sinusoidal, of fixed length.

    Args:
        embed_positions: fairseq's module.
        longest: the most tokens of a sentence.
    """

    def __init__(self, embed_positions: nn.Module, longest: int) -> None:
        super().__init__()
        self.padding_idx: int = embed_positions.padding_idx
        if isinstance(embed_positions, SinusoidalPositionalEmbedding):
            rows = longest + self.padding_idx + 1
            table = embed_positions.get_embedding(
                rows, embed_positions.embedding_dim, self.padding_idx
            ).to(embed_positions.weights)
        else:
            table = embed_positions.weight.detach()
        self.register_buffer("table", table)

    def forward(self, tokens: Tensor) -> Tensor:
        """B x T x C of tokens (B x T), counted without padding."""
        words = tokens.ne(self.padding_idx).long()
        return F.embedding(words.cumsum(dim=1) * words + self.padding_idx, self.table)

    def at(self, step: int) -> Tensor:
        """1 x 1 x C: the position of token ``step``, counted from 0."""
        return self.table[None, self.padding_idx + 1 + step, None]


class Encoding(nn.Module):
    """The encoder, and the keys and values that the decoder's layers make of its output.

    Args:
        model: a ``ResDualTransformerModel`` with cross-attention.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        encoder = frozen_copy(model.encoder)
        if encoder.embed_positions is not None:
            encoder.embed_positions = Positions(
                encoder.embed_positions, encoder.max_source_positions
            )
        self.encoder = encoder
        cross = [layer.encoder_attn for layer in model.decoder.layers]
        self.by_layer = (len(cross), 2, cross[0].num_heads, cross[0].head_dim)
        weight, bias = joined(*(p for a in cross for p in (a.k_proj, a.v_proj)))
        self.register_buffer("weight", weight.detach())
        self.register_buffer("bias", bias.detach())

    def forward(self, source: Tensor) -> Tuple[Tensor, Tensor]:
        """Encode a batch.

        Args:
            source: B x S, padded on either side, every sentence with its EOS.

        Returns:
            the encoder's output, B x S x C; its keys and values in the decoder's layers,
            layers x 2 x B x heads x S x C/heads.
        """
        encoder = self.encoder
        padding = source.eq(encoder.padding_idx)
        x, _ = encoder.forward_embedding(source)
        x = (x * (1 - padding.unsqueeze(-1).type_as(x))).transpose(0, 1)
        x, d = encoder.layer_norm.init_streams(x)
        for layer in encoder.layers:
            x, d = layer(x, d, padding)
        y = encoder.layer_norm.stack_output(x, d).transpose(0, 1)
        both = F.linear(y, self.weight, self.bias).unflatten(-1, self.by_layer)
        return y, both.permute(2, 3, 0, 4, 1, 5)


class DecoderStep(nn.Module):
    """One step of the decoder for every row of a search.

    Args:
        model: a ``ResDualTransformerModel`` in float32 or less.

    Raises:
        ResDualError: its decoder has parts that a step does not know.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.decoder = frozen_copy(model.decoder)
        check(self.decoder)
        self.positions: Optional[Positions] = None
        if self.decoder.embed_positions is not None:
            self.positions = Positions(
                self.decoder.embed_positions, self.decoder.max_target_positions
            )
            self.decoder.embed_positions = None

    def forward(
        self, token: Tensor, past: Tensor, memory: Tensor, memory_padding: Tensor
    ) -> Tuple[Tensor, Tensor]:
        """Decode one token.

        Args:
            token: the last token of each row, R; EOS at first.
            past: keys and values of earlier steps, layers x 2 x R x heads x T x C/heads; T is 0
                at first, and says which step this is.
            memory: those of the encoder's output, layers x 2 x R x heads x S x C/heads.
            memory_padding: R x S, True at the source's padding.

        Returns:
            log-probabilities of the next token, R x V; past with this step, T + 1 long.
        """
        position = None if self.positions is None else self.positions.at(past.size(4))
        x = self.decoder.embed_at(token[:, None], position).transpose(0, 1)
        layers = list(self.decoder.layers.children())
        state = GivenPast(
            SharedWeights(layers, self.decoder.layer_norm),
            memory=[(layer[0], layer[1]) for layer in memory],
            memory_mask=additive_mask(memory.dtype, memory_padding),
            given=past,
        )
        _, y, _, _ = state.step(x, None, -1)
        y, _ = self.decoder.output(y, [], None, None)
        logits = self.decoder.output_layer(y)[:, 0]
        return logits.log_softmax(dim=-1, dtype=torch.float32), torch.stack(state.grown)


@dataclass(frozen=True)
class GivenPast(TorchDecodingState):
    """One step whose keys and values are given, and handed on, in place of being kept."""

    given: Optional[Tensor] = None
    grown: List[Tensor] = field(default_factory=list)

    def past_for(self, x: Tensor) -> Past:
        assert self.given is not None
        return Past(self.given, 0)

    def check(self, rows: int) -> None:
        """Rows are free: each has keys and values of its own."""

    def self_attention(self, index: int, x: Tensor, mask: Optional[Tensor]) -> Tensor:
        assert self.given is not None
        rows, width = x.shape
        heads = self.steps.heads
        q, k, v = F.linear(x, *self.steps.qkv[index]).view(rows, 3, heads, 1, -1).unbind(1)
        past = torch.cat((self.given[index], torch.stack((k, v))), dim=3)
        self.grown.append(past)
        y = F.scaled_dot_product_attention(q, past[0], past[1])
        return project_out(self.steps.layers[index].self_attn, y.reshape(rows, width))


def frozen_copy(stack: nn.Module) -> Any:
    """A copy of an encoder or decoder without what belongs to training."""
    stack = copy.deepcopy(stack).eval()
    clear_forward_pre_hooks(stack)
    return stack.requires_grad_(False)


def check(decoder: nn.Module) -> None:
    """Raise where a decoder has parts that its step does not know.

    Raises:
        ResDualError: naming the options that make it so.
    """
    if (
        decoder.adaptive_softmax is not None
        or unsupported(decoder) is not None
        or decoder.layers[0].encoder_attn is None
    ):
        raise ResDualError(
            "models with --cross-self-attention, --no-cross-attention, --adaptive-softmax-cutoff, "
            "--scale-attn, --scale-heads, --scale-fc or --scale-resids cannot be exported; train "
            "one without them, or use torch.jit.script"
        )
