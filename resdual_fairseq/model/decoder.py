"""The decoder's stack over two streams; all around the stack is fairseq's."""

from typing import Any, Dict, List, Optional, Tuple

import torch
from fairseq.models.transformer import TransformerConfig, TransformerDecoderBase
from torch import Tensor, nn

from .. import native
from ..checkpoints.state_dicts import ClosingNormUpgrade
from ..generation import torch_steps as decoding
from ..generation.encoder_output import memory_of
from ..options import residual_options
from ..residual import build_residual
from .layers import (
    DECODER_BLOCKS,
    IncrementalState,
    ResDualDecoderLayer,
    draw_as_layers_do,
    members,
)
from .stack import ForgetsPackedWeights, hideable, name_dropouts, wrap_layer


class ResDualDecoder(ForgetsPackedWeights, ClosingNormUpgrade, TransformerDecoderBase):
    """A stack of decoder layers over two streams.

    ``layer_norm`` is the residual connection around the stack: it opens and closes the streams.
    """

    def __init__(
        self,
        cfg: TransformerConfig,
        dictionary: Any,
        embed_tokens: nn.Module,
        no_encoder_attn: bool = False,
        output_projection: Optional[nn.Module] = None,
    ) -> None:
        self.residual_options = residual_options(cfg, final_norm=not cfg.no_decoder_final_norm)
        self.layers_built = 0
        self.int8 = False  # whether searches are to compute with weights of 8 bits
        super().__init__(cfg, dictionary, embed_tokens, no_encoder_attn, output_projection)
        blocks = (DECODER_BLOCKS - int(no_encoder_attn)) * cfg.decoder.layers
        self.layer_norm = build_residual(self.residual_options, self.embed_dim, blocks, blocks + 1)
        # fairseq's order of parameters, by which optimizers keep their state.
        for later in ("project_out_dim", "adaptive_softmax", "output_projection"):
            if later in self._modules:
                self._modules[later] = self._modules.pop(later)
        name_dropouts(self, "TransformerDecoder")

    def build_decoder_layer(
        self, cfg: TransformerConfig, no_encoder_attn: bool = False
    ) -> nn.Module:
        layer = ResDualDecoderLayer(
            cfg, self.residual_options, self.layers_built, no_encoder_attn=no_encoder_attn
        )
        name_dropouts(layer, "TransformerDecoderLayerBase")
        self.layers_built += 1
        return wrap_layer(cfg, layer)

    def extract_features_scriptable(
        self,
        prev_output_tokens: Tensor,
        encoder_out: Optional[Dict[str, List[Tensor]]],
        incremental_state: IncrementalState = None,
        full_context_alignment: bool = False,
        alignment_layer: Optional[int] = None,
        alignment_heads: Optional[int] = None,
    ) -> Tuple[Tensor, Dict[str, List[Optional[Tensor]]]]:
        """The decoder without its output projection; called by fairseq's ``extract_features``.

        Args:
            prev_output_tokens: B x T.
            encoder_out: fairseq's encoder output, or None.
            incremental_state: keys and values of earlier steps: only the last token is computed.
            full_context_alignment: no causal mask.
            alignment_layer: the layer whose cross-attention is returned (default: the last, unless
                ``prepare_for_inference_`` was told that no alignment is to be printed).
            alignment_heads: average over this many heads (default: all).

        Returns:
            features B x T x C; ``attn`` (B x T x S or None) and ``inner_states`` (T x B x C each).
        """
        attention_asked = alignment_layer is not None
        if alignment_layer is None:
            alignment_layer = self.num_layers - 1

        x, padding_mask = self.embed(prev_output_tokens, incremental_state)
        if not torch.jit.is_scripting():  # noqa: SIM102  (TorchScript leaves out this form alone)
            if incremental_state is not None:
                steps = self.steps(incremental_state, encoder_out, alignment_layer, x)
                if steps is not None:
                    draw_as_layers_do(self.layers)
                    if not attention_asked and not self.layers[alignment_layer].need_attn:
                        alignment_layer = -1  # fairseq's prepare_for_inference_ knows of no reader
                    y, states, weights = steps.step(x, padding_mask, alignment_layer)
                    found = self.output(y, [x, *states], weights, alignment_heads)
                    native.note_search(found[0])
                    return found
        memory: Optional[Tensor] = None
        memory_mask: Optional[Tensor] = None
        if encoder_out is not None and len(encoder_out["encoder_out"]) > 0:
            memory = encoder_out["encoder_out"][0]
        if encoder_out is not None and len(encoder_out["encoder_padding_mask"]) > 0:
            memory_mask = encoder_out["encoder_padding_mask"][0]
        future_mask: Optional[Tensor] = None
        if incremental_state is None and not full_context_alignment:
            future_mask = self.buffered_future_mask(x)

        attn: Optional[Tensor] = None
        inner_states: List[Optional[Tensor]] = [x]
        x, d = self.layer_norm.start(x)
        for index, layer in enumerate(self.layers):
            align = index == alignment_layer
            x, d, layer_attn = layer(
                x,
                d,
                memory,
                memory_mask,
                incremental_state,
                future_mask,
                padding_mask,
                align,
                align,
            )
            inner_states.append(x)
            if layer_attn is not None and align:
                attn = layer_attn.float().to(x)
        found = self.output(self.layer_norm.close(x, d), inner_states, attn, alignment_heads)
        if not torch.jit.is_scripting():  # noqa: SIM102  (TorchScript leaves out this form alone)
            if incremental_state is not None:
                native.note_search(found[0])
        return found

    def output(
        self,
        x: Tensor,
        inner_states: List[Optional[Tensor]],
        attn: Optional[Tensor],
        alignment_heads: Optional[int],
    ) -> Tuple[Tensor, Dict[str, List[Optional[Tensor]]]]:
        """What fairseq expects of a stack that ended with x (T x B x C)."""
        if attn is not None:
            if alignment_heads is not None:
                attn = attn[:alignment_heads]
            attn = attn.mean(dim=0)
        x = x.transpose(0, 1)
        if self.project_out_dim is not None:
            x = self.project_out_dim(x)
        return x, {"attn": [attn], "inner_states": inner_states}

    def output_layer(self, features: Tensor) -> Tensor:
        """Logits (B x T x V) of features (B x T x C); C where the softmax is adaptive."""
        if not torch.jit.is_scripting():  # noqa: SIM102  (TorchScript leaves out this form alone)
            if not self.training and self.adaptive_softmax is None:
                logits = native.projected(self, features)
                if logits is not None:
                    return logits
        return features if self.adaptive_softmax is not None else self.output_projection(features)

    def get_normalized_probs(
        self,
        net_output: Tuple[Tensor, Optional[Dict[str, List[Optional[Tensor]]]]],
        log_probs: bool,
        sample: Optional[Dict[str, Tensor]] = None,
    ) -> Tensor:
        """As fairseq's: B x T x V, probabilities or their logarithms."""
        if not torch.jit.is_scripting():
            as_written = self.is_as_written("get_normalized_probs_scriptable")
            if log_probs and self.adaptive_softmax is None and as_written:
                found = native.log_probabilities(net_output[0])
                if found is not None:
                    return found
        return self.get_normalized_probs_scriptable(net_output, log_probs, sample)

    @torch.jit.unused
    def is_as_written(self, name: str) -> bool:
        """Whether a method is this class's own, neither overridden nor replaced."""
        return getattr(type(self), name) is WRITTEN[name] and name not in self.__dict__

    @torch.jit.unused
    def steps(
        self,
        incremental_state: Dict[str, Dict[str, Optional[Tensor]]],
        encoder_out: Optional[Dict[str, List[Tensor]]],
        alignment_layer: int,
        x: Tensor,
    ) -> Any:
        """The steps of this search, which begins with x, or None where the layers decode."""
        kept = self.get_incremental_state(incremental_state, "steps")
        if kept is None:
            steps: Any = None
            native.look_again(getattr(self, "output_projection", None), self)
            memory = memory_of(encoder_out)
            if decoding.applies(self, memory, alignment_layer):
                steps = native.steps(self, memory, x)
                if steps is None and decoding.take_steps(members(self.layers), memory is not None):
                    steps = decoding.Steps(self, memory)
            kept = {"steps": steps}
            self.set_incremental_state(incremental_state, "steps", kept)
        return kept["steps"]

    def reorder_incremental_state_scripting(
        self, incremental_state: Dict[str, Dict[str, Optional[Tensor]]], new_order: Tensor
    ) -> None:
        """As fairseq's; where the whole stack takes steps, no module keeps anything by itself."""
        if not torch.jit.is_scripting():
            steps = self.get_incremental_state(incremental_state, "steps")
            if steps is not None and steps["steps"] is not None:
                steps["steps"].reorder(new_order)
                return
        # TorchScript has no super().
        for module in self.modules():
            if hasattr(module, "reorder_incremental_state"):
                reordered = module.reorder_incremental_state(incremental_state, new_order)
                if reordered is not None:
                    incremental_state = reordered

    def embed(
        self, tokens: Tensor, incremental_state: IncrementalState = None
    ) -> Tuple[Tensor, Optional[Tensor]]:
        """Embeddings x_1 (T x B x C) of tokens (B x T), and their padding mask (B x T) or None."""
        if not torch.jit.is_scripting():  # noqa: SIM102  (TorchScript leaves out this form alone)
            if incremental_state is not None and self.is_as_written("embed_at"):
                found = native.embedded(self, tokens)
                if found is not None:
                    return found
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

        padding_mask: Optional[Tensor] = None
        padding = tokens.eq(self.padding_idx)
        if incremental_state is None:
            padding = hideable(padding)
        if self.cross_self_attention or bool(padding.any()):
            padding_mask = padding
        return x.transpose(0, 1), padding_mask

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


WRITTEN = {
    name: getattr(ResDualDecoder, name) for name in ("embed_at", "get_normalized_probs_scriptable")
}
"""Methods in whose place the compiled library computes."""
