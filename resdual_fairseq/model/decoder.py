"""The decoder's stack over two streams; all around the stack is fairseq's."""

from typing import Dict, List, Optional, Tuple

from fairseq.data import Dictionary
from fairseq.models.transformer import TransformerConfig, TransformerDecoderBase
from torch import Tensor, nn

from ..schemes import build_residual
from .layers import IncrementalState, ResDualDecoderLayer, parts_of_layer, places
from .stack import Stack, key_padding_mask, name_dropouts, residual_options, wrap_layer

DecoderOutput = Tuple[Tensor, Dict[str, List[Optional[Tensor]]]]


class ResDualDecoder(Stack, TransformerDecoderBase):
    """A stack of decoder layers over two streams."""

    def __init__(
        self,
        cfg: TransformerConfig,
        dictionary: Dictionary,
        embed_tokens: nn.Module,
        no_encoder_attn: bool = False,
        output_projection: Optional[nn.Module] = None,
    ) -> None:
        self.residual_options = residual_options(cfg, final_norm=not cfg.no_decoder_final_norm)
        self.layers_built = 0
        super().__init__(cfg, dictionary, embed_tokens, no_encoder_attn, output_projection)
        parts = parts_of_layer("decoder", not no_encoder_attn)
        (self.place,) = places("decoder", parts, cfg, cfg.decoder.layers)
        self.layer_norm = build_residual(self.residual_options, self.embed_dim, self.place)
        # fairseq's order of parameters, by which optimizers keep their state.
        for later in ("project_out_dim", "adaptive_softmax", "output_projection"):
            if later in self._modules:
                self._modules[later] = self._modules.pop(later)
        name_dropouts(self, "TransformerDecoder")

    def build_decoder_layer(
        self, cfg: TransformerConfig, no_encoder_attn: bool = False
    ) -> nn.Module:
        layer = ResDualDecoderLayer(cfg, self.residual_options, self.layers_built, no_encoder_attn)
        self.layers_built += 1
        return wrap_layer(cfg, layer, "TransformerDecoderLayerBase")

    def extract_features_scriptable(
        self,
        prev_output_tokens: Tensor,
        encoder_out: Optional[Dict[str, List[Tensor]]],
        incremental_state: IncrementalState = None,
        full_context_alignment: bool = False,
        alignment_layer: Optional[int] = None,
        alignment_heads: Optional[int] = None,
    ) -> DecoderOutput:
        """The decoder without its output projection; called by fairseq's ``extract_features``.

        Args:
            prev_output_tokens: B x T.
            encoder_out: fairseq's encoder output, or None.
            incremental_state: keys and values of earlier steps: only the last token is computed.
            full_context_alignment: no causal mask.
            alignment_layer: the layer whose cross-attention is returned (default: the last).
            alignment_heads: average over this many heads (default: all).

        Returns:
            features B x T x C; ``attn`` (B x T x S or None) and ``inner_states`` (T x B x C each).
        """
        if alignment_layer is None:
            alignment_layer = self.num_layers - 1
        memory: Optional[Tensor] = None
        memory_mask: Optional[Tensor] = None
        if encoder_out is not None and len(encoder_out["encoder_out"]) > 0:
            memory = encoder_out["encoder_out"][0]
        if encoder_out is not None and len(encoder_out["encoder_padding_mask"]) > 0:
            memory_mask = encoder_out["encoder_padding_mask"][0]

        x, padding_mask = self.embed(prev_output_tokens, incremental_state)
        mask: Optional[Tensor] = None
        if incremental_state is None and not full_context_alignment:
            mask = self.buffered_future_mask(x)

        attn: Optional[Tensor] = None
        inner_states: List[Optional[Tensor]] = [x]
        x, d = self.layer_norm.init_streams(x)
        for index, layer in enumerate(self.layers):
            align = index == alignment_layer
            x, d, layer_attn = layer(
                x, d, memory, memory_mask, incremental_state, mask, padding_mask, align, align
            )
            inner_states.append(x)
            if layer_attn is not None and align:
                attn = layer_attn.float().to(x)
        return self.output(self.layer_norm.stack_output(x, d), inner_states, attn, alignment_heads)

    def embed(
        self, tokens: Tensor, incremental_state: IncrementalState = None
    ) -> Tuple[Tensor, Optional[Tensor]]:
        """Embeddings x_1 (T x B x C) of tokens (B x T), and their padding mask (B x T) or None."""
        positions: Optional[Tensor] = None
        if self.embed_positions is not None:
            positions = self.embed_positions(tokens, incremental_state=incremental_state)
        if incremental_state is not None:
            tokens = tokens[:, -1:]
            if positions is not None:
                positions = positions[:, -1:]

        # A view of one column breaks the export of dynamically quantized embeddings.
        tokens = tokens.contiguous()
        x = self.embed_at(tokens, positions)

        padding = tokens.eq(self.padding_idx)
        if incremental_state is None:
            padding = key_padding_mask(padding)
        needed = self.cross_self_attention or bool(padding.any())
        return x.transpose(0, 1), padding if needed else None

    def embed_at(self, tokens: Tensor, positions: Optional[Tensor]) -> Tensor:
        """Embeddings (B x T x C) of tokens (B x T) at embedded positions (B x T x C) or None."""
        x = self.embed_scale * self.embed_tokens(tokens)
        if self.quant_noise is not None:
            x = self.quant_noise(x)
        if self.project_in_dim is not None:
            x = self.project_in_dim(x)
        if positions is not None:
            x = x + positions
        if self.layernorm_embedding is not None:
            x = self.layernorm_embedding(x)
        return self.dropout_module(x)

    def output(
        self,
        x: Tensor,
        inner_states: List[Optional[Tensor]],
        attn: Optional[Tensor],
        alignment_heads: Optional[int],
    ) -> DecoderOutput:
        """What fairseq expects of a stack that ended with x (T x B x C)."""
        if attn is not None:
            if alignment_heads is not None:
                attn = attn[:alignment_heads]
            attn = attn.mean(dim=0)
        x = x.transpose(0, 1)
        if self.project_out_dim is not None:
            x = self.project_out_dim(x)
        return x, {"attn": [attn], "inner_states": inner_states}
