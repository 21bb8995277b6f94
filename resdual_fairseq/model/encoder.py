"""The encoder's stack over two streams; all around the stack is fairseq's."""

from typing import Dict, List, Optional, Tuple

import torch
from fairseq.data import Dictionary
from fairseq.models.transformer import TransformerConfig, TransformerEncoderBase
from torch import Tensor, nn

from ..schemes import build_residual
from .layers import ResDualEncoderLayer, parts_of_layer, places
from .stack import EncoderStack, key_padding_mask, name_dropouts, residual_options, wrap_layer


class ResDualEncoder(EncoderStack, TransformerEncoderBase):
    """A stack of encoder layers over two streams."""

    def __init__(
        self, cfg: TransformerConfig, dictionary: Dictionary, embed_tokens: nn.Module
    ) -> None:
        self.residual_options = residual_options(cfg)
        self.layers_built = 0
        super().__init__(cfg, dictionary, embed_tokens)
        (self.place,) = places("encoder", parts_of_layer("encoder"), cfg, cfg.encoder.layers)
        self.layer_norm = build_residual(
            self.residual_options, embed_tokens.embedding_dim, self.place
        )
        name_dropouts(self, "TransformerEncoder")

    def build_encoder_layer(self, cfg: TransformerConfig) -> nn.Module:
        layer = ResDualEncoderLayer(cfg, self.residual_options, self.layers_built)
        self.layers_built += 1
        return wrap_layer(cfg, layer, "TransformerEncoderLayerBase")

    def forward_scriptable(
        self,
        src_tokens: Tensor,
        src_lengths: Optional[Tensor] = None,
        return_all_hiddens: bool = False,
        token_embeddings: Optional[Tensor] = None,
    ) -> Dict[str, List[Tensor]]:
        """Encode a batch; called by fairseq's ``forward``.

        Args:
            src_tokens: B x T.
            src_lengths: not used: padding tells.
            return_all_hiddens: also return x_1 and x after every layer.
            token_embeddings: B x T x C in place of a look-up.

        Returns:
            fairseq's encoder output: ``encoder_out`` (T x B x C), ``encoder_padding_mask``
            (B x T), ``encoder_embedding`` (B x T x C), ``encoder_states`` (T x B x C each),
            ``src_lengths`` (B x 1).
        """
        padding = src_tokens.eq(self.padding_idx)
        x, embedding = self.forward_embedding(src_tokens, token_embeddings)
        mask: Optional[Tensor] = None
        # Without a mask, torch's fused attention on a CPU makes NaN 0.
        if bool(padding.any()) or x.device.type == "cpu":
            mask = key_padding_mask(padding)
            x = x * (1 - padding.unsqueeze(-1).type_as(x))

        y, states = self.run_layers(x.transpose(0, 1), mask, return_all_hiddens)
        lengths = src_tokens.ne(self.padding_idx).sum(dim=1, dtype=torch.int32)
        nothing: List[Tensor] = []
        return {
            "encoder_out": [y],
            "encoder_padding_mask": [key_padding_mask(padding)],
            "encoder_embedding": [embedding],
            "encoder_states": states,
            "fc_results": nothing,
            "src_tokens": nothing,
            "src_lengths": [lengths.reshape(-1, 1).contiguous()],
        }

    def run_layers(
        self, x: Tensor, mask: Optional[Tensor], return_all_hiddens: bool
    ) -> Tuple[Tensor, List[Tensor]]:
        """All blocks: the output y of x_1, T x B x C; x_1 and x after every layer if asked for."""
        states = [x]
        x, d = self.layer_norm.init_streams(x)
        for layer in self.layers:
            x, d = layer(x, d, mask)
            states.append(x)
        return self.layer_norm.stack_output(x, d), states if return_all_hiddens else []
