"""The encoder's stack over two streams; all around the stack is fairseq's."""

from typing import Any, Dict, List, Optional

import torch
from fairseq.models.transformer import TransformerConfig, TransformerEncoderBase
from torch import Tensor, nn

from .. import native
from ..checkpoints.state_dicts import ClosingNormUpgrade
from ..generation.encoder_output import ReorderedOutput
from ..options import residual_options
from ..residual import build_residual
from ..training.divergence import SkipsDetectorsHook
from .layers import ENCODER_BLOCKS, ResDualEncoderLayer
from .stack import ForgetsPackedWeights, hideable, name_dropouts, wrap_layer


class ResDualEncoder(
    ForgetsPackedWeights, SkipsDetectorsHook, ClosingNormUpgrade, TransformerEncoderBase
):
    """A stack of encoder layers over two streams.

    ``layer_norm`` is the residual connection around the stack: it opens and closes the streams.
    """

    def __init__(self, cfg: TransformerConfig, dictionary: Any, embed_tokens: nn.Module) -> None:
        self.residual_options = residual_options(cfg)
        self.layers_built = 0
        self.int8 = False  # whether searches are to compute with weights of 8 bits
        super().__init__(cfg, dictionary, embed_tokens)
        blocks = ENCODER_BLOCKS * cfg.encoder.layers
        self.layer_norm = build_residual(
            self.residual_options, embed_tokens.embedding_dim, blocks, blocks + 1
        )
        name_dropouts(self, "TransformerEncoder")

    def build_encoder_layer(self, cfg: TransformerConfig) -> nn.Module:
        layer = ResDualEncoderLayer(cfg, self.residual_options, self.layers_built)
        name_dropouts(layer, "TransformerEncoderLayerBase")
        self.layers_built += 1
        return wrap_layer(cfg, layer)

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
        hidden = hideable(padding)
        x, embedding = self.forward_embedding(src_tokens, token_embeddings)
        mask: Optional[Tensor] = None
        if bool(padding.any()):
            mask = hidden
            x = x * (1 - padding.unsqueeze(-1).type_as(x))

        x = x.transpose(0, 1)
        states: List[Tensor] = [x] if return_all_hiddens else []
        y: Optional[Tensor] = None
        if not torch.jit.is_scripting():  # noqa: SIM102  (TorchScript leaves out this form alone)
            if not return_all_hiddens:
                y = native.encoded(self, x, mask)
        if y is None:
            x, d = self.layer_norm.start(x)
            for layer in self.layers:
                x, d = layer(x, d, mask)
                if return_all_hiddens:
                    states.append(x)
            y = self.layer_norm.close(x, d)
        lengths = src_tokens.ne(self.padding_idx).sum(dim=1, dtype=torch.int32)
        nothing: List[Tensor] = []
        return {
            "encoder_out": [y],
            "encoder_padding_mask": [hidden],
            "encoder_embedding": [embedding],
            "encoder_states": states,
            "fc_results": nothing,
            "src_tokens": nothing,
            "src_lengths": [lengths.reshape(-1, 1).contiguous()],
        }

    reorder_at_once = TransformerEncoderBase.reorder_encoder_out

    @torch.jit.export
    def reorder_encoder_out(
        self, encoder_out: Dict[str, List[Tensor]], new_order: Tensor
    ) -> Dict[str, List[Tensor]]:
        """As fairseq's, but nothing is copied before somebody reads it (``ReorderedOutput``)."""
        if not torch.jit.is_scripting():
            return ReorderedOutput(encoder_out, new_order, self.reorder_at_once)  # type: ignore
        return self.reorder_at_once(encoder_out, new_order)
