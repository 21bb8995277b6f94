"""Embeddings of one decoding step by the compiled library."""

from typing import Optional, Tuple

import torch
from fairseq.modules import SinusoidalPositionalEmbedding
from torch import Tensor

from ..model.decoder import ResDualDecoder
from ..native import library


class PackedEmbedding:
    """A decoder's tables of tokens and positions.

    Args:
        decoder: one that :func:`support.only_adds`.
    """

    def __init__(self, decoder: ResDualDecoder) -> None:
        self.table = decoder.embed_tokens.weight.detach().contiguous()
        self.scale = float(decoder.embed_scale)
        self.padding: int = decoder.padding_idx
        self.positions: Optional[Tensor] = None
        positions = decoder.embed_positions
        if positions is not None:
            sinusoidal = isinstance(positions, SinusoidalPositionalEmbedding)
            table: Tensor = positions.weights if sinusoidal else positions.weight
            self.positions = table.detach().contiguous()
            self.before_first: int = positions.padding_idx

    def embed(self, tokens: Tensor) -> Optional[Tuple[Tensor, Optional[Tensor]]]:
        """What ``ResDualDecoder.embed`` finds for the last of tokens, B x T, in a search.

        Returns:
            1 x B x C and the padding mask (B x 1) or None; None where the tokens are not what the
            library reads, or one of them or their position is in no table.
        """
        if type(tokens) is not Tensor or tokens.dtype != torch.int64 or tokens.is_cuda:
            return None
        position = None
        if self.positions is not None:
            index = self.before_first + tokens.size(1)
            if index >= self.positions.size(0):
                return None
            position = self.positions[index]
        last = tokens[:, -1]
        x, padded = library.embed(self.table, self.scale, position, last, self.padding)
        if padded < 0:
            return None
        return x[None], last.eq(self.padding)[:, None] if padded else None
