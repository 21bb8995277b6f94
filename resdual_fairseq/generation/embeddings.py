"""Embeddings of one decoding step by the compiled library, from the tables as they are."""

from typing import Any, NamedTuple, Optional, Tuple

import torch
from fairseq.modules import (
    FairseqDropout,
    LearnedPositionalEmbedding,
    SinusoidalPositionalEmbedding,
)
from torch import Tensor, nn

from ..native import library
from .plain import is_idle, is_memory, is_plainly_called, methods_of
from .support import is_readable, usable


class Positions(NamedTuple):
    """What a decoder's positional embeddings add at one position."""

    known: bool
    row: Optional[Tensor]
    """C, or None where nothing is added."""


UNKNOWN = Positions(False, None)
CLASSES = (nn.Embedding, SinusoidalPositionalEmbedding, LearnedPositionalEmbedding, FairseqDropout)
WRITTEN = methods_of(CLASSES, ("forward",))


def embedded(decoder: Any, tokens: Tensor) -> Optional[Tuple[Tensor, Optional[Tensor]]]:
    """What ``ResDualDecoder.embed`` finds for the last of tokens, B x T, in a search.

    Returns:
        embeddings 1 x B x C and their padding mask (B x 1) or None; None where the decoder does
        more than to scale and add, or a token is not in its table.
    """
    table = decoder.embed_tokens
    if not (is_table(table) and usable(table.weight) and only_adds(decoder)):
        return None
    if methods_of(CLASSES, ("forward",)) != WRITTEN:
        return None
    position = position_at(decoder.embed_positions, tokens.size(1), table.weight)
    if not position.known or not is_memory(tokens) or tokens.device.type != "cpu":
        return None
    if tokens.dtype != torch.int64 or tokens.size(1) == 0:
        return None
    last = tokens[:, -1]
    padding = decoder.padding_idx
    x, padded = library.embed(table.weight, decoder.embed_scale, position.row, last, padding)
    if padded < 0:
        return None
    return x[None], last.eq(padding)[:, None] if padded else None


def is_table(embedding: nn.Module) -> bool:
    return (
        type(embedding) is nn.Embedding
        and embedding.max_norm is None
        and is_readable(embedding.weight)
        and is_plainly_called(embedding)
    )


def only_adds(decoder: Any) -> bool:
    """Whether tokens' and positions' embeddings are summed and nothing else is done to them."""
    return (
        isinstance(decoder.embed_scale, (int, float))
        and decoder.quant_noise is None
        and decoder.project_in_dim is None
        and decoder.layernorm_embedding is None
        and not decoder.cross_self_attention
        and is_idle(decoder.dropout_module)
    )


def position_at(positions: Optional[nn.Module], length: int, like: Tensor) -> Positions:
    """The embedding of the last of ``length`` tokens in a search, as fairseq's modules have it."""
    if positions is None:
        return Positions(True, None)
    if not is_plainly_called(positions):
        return UNKNOWN
    if type(positions) is SinusoidalPositionalEmbedding:
        table = positions.weights
    elif type(positions) is LearnedPositionalEmbedding and positions.max_norm is None:
        table = positions.weight
    else:
        return UNKNOWN
    index = positions.padding_idx + length
    if not is_readable(table) or table.shape[1:] != like.shape[1:] or index >= table.size(0):
        return UNKNOWN
    return Positions(True, table[index])
