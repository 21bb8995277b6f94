"""The encoder-decoder model `resdual_transformer`.

Embeddings, dropout, output projection, padding, state-dict names and checkpoints are those of
fairseq's ``transformer``; the two stacks are written here because their loops carry two streams.
"""

from argparse import ArgumentParser, Namespace
from typing import Any, Dict, List, Optional, Tuple

import torch
from fairseq.distributed import fsdp_wrap
from fairseq.models import register_model
from fairseq.models.transformer import (
    TransformerConfig,
    TransformerDecoderBase,
    TransformerEncoderBase,
    TransformerModel,
)
from fairseq.modules import FairseqDropout
from fairseq.modules.checkpoint_activations import checkpoint_wrapper
from torch import Tensor, nn

from . import decoding, native
from .divergence import NamesDivergedBlock, SkipsDetectorsHook
from .encoder_output import ReorderedOutput
from .gradient_log import LogsBlockGradients
from .int8 import LoadsCodes
from .layers import (
    DECODER_BLOCKS,
    ENCODER_BLOCKS,
    IncrementalState,
    ResDualDecoderLayer,
    ResDualEncoderLayer,
)
from .options import add_model_options, residual_options, settle_options
from .residual import build_residual
from .state_dicts import ClosingNormUpgrade, ExplainedMisfit

MODEL = "resdual_transformer"


def wrap_layer(cfg: TransformerConfig, layer: nn.Module) -> nn.Module:
    """Activation checkpointing and FSDP around one layer, as fairseq's stacks do it."""
    if cfg.checkpoint_activations:
        layer = checkpoint_wrapper(layer, offload_to_cpu=cfg.offload_activations)
    return fsdp_wrap(
        layer, min_num_params=0 if cfg.checkpoint_activations else cfg.min_params_to_wrap
    )


def name_dropouts(module: nn.Module, host_name: str) -> None:
    """Let ``--retain-dropout-modules`` know this module's dropouts by fairseq's name."""
    for child in module.children():
        if isinstance(child, FairseqDropout):
            child.module_name = host_name


def hideable(padding: Tensor) -> Tensor:
    """The padding that attention may be kept from (B x T): none in rows that hold nothing else.

    A softmax over nothing is NaN, whose gradient would reach every weight.
    """
    return padding & ~padding.all(dim=1, keepdim=True)


class ForgetsPackedWeights:
    """A stack that lets go of what the compiled library keeps of it, once it is to be trained."""

    def train(self: Any, mode: bool = True) -> Any:
        if mode:
            native.forget(self)
        return super().train(mode)  # type: ignore[misc]


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
        memory: Optional[Tensor] = None
        memory_mask: Optional[Tensor] = None
        if encoder_out is not None and len(encoder_out["encoder_out"]) > 0:
            memory = encoder_out["encoder_out"][0]
        if encoder_out is not None and len(encoder_out["encoder_padding_mask"]) > 0:
            memory_mask = encoder_out["encoder_padding_mask"][0]
        attention_asked = alignment_layer is not None
        if alignment_layer is None:
            alignment_layer = self.num_layers - 1

        x, padding_mask = self.embed(prev_output_tokens, incremental_state)
        if not torch.jit.is_scripting():  # noqa: SIM102  (TorchScript leaves out this form alone)
            if incremental_state is not None:
                steps = self.steps(incremental_state, memory, memory_mask, alignment_layer, x)
                if steps is not None:
                    if not attention_asked and not self.layers[alignment_layer].need_attn:
                        alignment_layer = -1  # fairseq's prepare_for_inference_ knows of no reader
                    y, states, weights = steps.step(x, padding_mask, alignment_layer)
                    return self.output(y, [x, *states], weights, alignment_heads)
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
        return self.output(self.layer_norm.close(x, d), inner_states, attn, alignment_heads)

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
                logits = native.projected(self.output_projection, self.int8, features)
                if logits is not None:
                    return logits
        return features if self.adaptive_softmax is not None else self.output_projection(features)

    @torch.jit.unused
    def steps(
        self,
        incremental_state: Dict[str, Dict[str, Optional[Tensor]]],
        memory: Optional[Tensor],
        memory_mask: Optional[Tensor],
        alignment_layer: int,
        x: Tensor,
    ) -> Any:
        """The steps of this search, which begins with x, or None where the layers decode."""
        kept = self.get_incremental_state(incremental_state, "steps")
        if kept is None:
            steps: Any = None
            if decoding.applies(self, memory, alignment_layer):
                steps = native.steps(self, memory, memory_mask, x)
                steps = steps or decoding.Steps(self, memory, memory_mask)
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


@register_model(MODEL)
class ResDualTransformerModel(
    NamesDivergedBlock, LogsBlockGradients, ExplainedMisfit, LoadsCodes, TransformerModel
):
    """Encoder-decoder Transformer with dual residual connections (Xie et al. 2023).

    Takes every option of fairseq's ``transformer`` and those of options.py. With ``--residual
    post`` or ``pre`` it computes what fairseq's ``transformer`` computes on the same weights.
    """

    @classmethod
    def hub_models(cls) -> Dict[str, str]:
        """No published model files: fairseq's are of another architecture."""
        return {}

    @classmethod
    def add_args(cls, parser: ArgumentParser) -> None:
        """Add the model's options to fairseq's command line."""
        super().add_args(parser)
        add_model_options(parser)

    @classmethod
    def build_model(cls, args: Any, task: Any) -> "ResDualTransformerModel":
        """Build the model from a command line's namespace or a hydra config.

        Raises:
            ResDualError: an option that cannot hold.
        """
        if not isinstance(args, Namespace):
            args = Namespace(**{key: args[key] for key in args})
        settle_options(args)
        return super().build_model(args, task)

    @classmethod
    def build_encoder(cls, args: Any, src_dict: Any, embed_tokens: nn.Module) -> ResDualEncoder:
        return ResDualEncoder(TransformerConfig.from_namespace(args), src_dict, embed_tokens)

    @classmethod
    def build_decoder(cls, args: Any, tgt_dict: Any, embed_tokens: nn.Module) -> ResDualDecoder:
        cfg = TransformerConfig.from_namespace(args)
        return ResDualDecoder(cfg, tgt_dict, embed_tokens, no_encoder_attn=cfg.no_cross_attention)
