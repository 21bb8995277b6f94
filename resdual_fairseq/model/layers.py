"""Encoder and decoder layers: fairseq's blocks in order, joined by residual.py.

Parameters, their names and their initial values are those of fairseq's layers
(``fairseq.modules.transformer_layer``); what is new is that a layer takes the two streams and
returns them.
"""

from typing import Any, Dict, List, Optional, Tuple

import torch
from fairseq.modules import FairseqDropout, MultiheadAttention
from fairseq.modules.transformer_layer import (
    TransformerDecoderLayerBase,
    TransformerEncoderLayerBase,
)
from torch import Tensor, nn

from ..generation.plain import can_fuse, is_idle, is_plain, is_plainly_called, methods_of, parts_of
from ..residual import EQUATIONS, RESIDUALS, Residual, ResidualOptions, build_residual
from .attention import fused_attention

ENCODER_BLOCKS = 2
DECODER_BLOCKS = 3

IncrementalState = Optional[Dict[str, Dict[str, Optional[Tensor]]]]


def members(layers: nn.ModuleList) -> List[Any]:
    """All layers of a stack; to iterate fairseq's ``LayerDropModuleList`` draws random numbers."""
    return list(layers._modules.values())


def draw_as_layers_do(layers: nn.ModuleList) -> None:
    """Draw the random numbers that one pass through the layers draws, for whoever samples next."""
    next(iter(layers), None)


class ResDualEncoderLayer(TransformerEncoderLayerBase):
    """Self-attention, then feed-forward.

    Args:
        cfg: fairseq's ``TransformerConfig``.
        options: the residual connections.
        index: which layer of the stack, from 0.
    """

    def __init__(self, cfg: Any, options: ResidualOptions, index: int) -> None:
        super().__init__(cfg)
        blocks = ENCODER_BLOCKS * cfg.encoder.layers
        k = ENCODER_BLOCKS * index + 1
        self.self_attn_layer_norm = build_residual(options, self.embed_dim, blocks, k)
        self.final_layer_norm = build_residual(options, self.embed_dim, blocks, k + 1)
        attn = self.self_attn
        self.self_attn_layer_norm.initialize([attn.q_proj, attn.k_proj, attn.v_proj, attn.out_proj])
        self.final_layer_norm.initialize([self.fc1, self.fc2])

    def forward(
        self, x: Tensor, d: Optional[Tensor], encoder_padding_mask: Optional[Tensor]
    ) -> Tuple[Tensor, Optional[Tensor]]:
        """One layer.

        Args:
            x: first stream, T x B x C.
            d: second stream, T x B x C, or None.
            encoder_padding_mask: B x T, True at padding, or None.

        Returns:
            both streams, shaped as they came.
        """
        f = self.self_attention(self.self_attn_layer_norm.read(x, d), encoder_padding_mask)
        x, d = self.self_attn_layer_norm.join(x, d, f)
        f = self.feed_forward(self.final_layer_norm.read(x, d))
        return self.final_layer_norm.join(x, d, f)

    def self_attention(self, x: Tensor, padding_mask: Optional[Tensor]) -> Tensor:
        if not torch.jit.is_scripting():  # noqa: SIM102  (TorchScript leaves out this form alone)
            if can_fuse(self.self_attn):
                return self.dropout_module(fused_attention(self.self_attn, x, x, padding_mask))
        x, _ = self.self_attn(
            query=x, key=x, value=x, key_padding_mask=padding_mask, need_weights=False
        )
        return self.dropout_module(x)

    def feed_forward(self, x: Tensor) -> Tensor:
        x = self.activation_dropout_module(self.activation_fn(self.fc1(x)))
        return self.dropout_module(self.fc2(x))


class ResDualDecoderLayer(TransformerDecoderLayerBase):
    """Self-attention, then cross-attention (where the model has one), then feed-forward.

    Args:
        cfg: fairseq's ``TransformerConfig``.
        options: the residual connections.
        index: which layer of the stack, from 0.
        no_encoder_attn: leave cross-attention out.
    """

    def __init__(
        self, cfg: Any, options: ResidualOptions, index: int, no_encoder_attn: bool = False
    ) -> None:
        super().__init__(cfg, no_encoder_attn=no_encoder_attn)
        per_layer = DECODER_BLOCKS - int(no_encoder_attn)
        blocks = per_layer * cfg.decoder.layers
        k = per_layer * index + 1
        self.self_attn_layer_norm = build_residual(options, self.embed_dim, blocks, k)
        attn = self.self_attn
        self.self_attn_layer_norm.initialize([attn.q_proj, attn.k_proj, attn.v_proj, attn.out_proj])
        if self.encoder_attn is not None:
            self.encoder_attn_layer_norm = build_residual(options, self.embed_dim, blocks, k + 1)
            attn = self.encoder_attn
            self.encoder_attn_layer_norm.initialize(
                [attn.q_proj, attn.k_proj, attn.v_proj, attn.out_proj]
            )
        self.final_layer_norm = build_residual(options, self.embed_dim, blocks, k + per_layer - 1)
        self.final_layer_norm.initialize([self.fc1, self.fc2])

    def make_generation_fast_(self, need_attn: bool = False, **kwargs: Any) -> None:
        """As fairseq's, which may leave None where TorchScript wants a bool."""
        super().make_generation_fast_(need_attn=bool(need_attn), **kwargs)

    def forward(
        self,
        x: Tensor,
        d: Optional[Tensor],
        encoder_out: Optional[Tensor] = None,
        encoder_padding_mask: Optional[Tensor] = None,
        incremental_state: IncrementalState = None,
        self_attn_mask: Optional[Tensor] = None,
        self_attn_padding_mask: Optional[Tensor] = None,
        need_attn: bool = False,
        need_head_weights: bool = False,
    ) -> Tuple[Tensor, Optional[Tensor], Optional[Tensor]]:
        """One layer.

        Args:
            x: first stream, T x B x C (T is 1 in incremental decoding).
            d: second stream, T x B x C, or None.
            encoder_out: S x B x C_enc, or None.
            encoder_padding_mask: B x S, True at padding, or None.
            incremental_state: keys and values of earlier steps, or None.
            self_attn_mask: T x T, -inf where attention must not look, or None.
            self_attn_padding_mask: B x T, True at padding, or None.
            need_attn: also return the cross-attention's weights.
            need_head_weights: the same, for each head apart.

        Returns:
            both streams, and the cross-attention's weights (B x T x S, or H x B x T x S) or None.
        """
        f = self.self_attention(
            self.self_attn_layer_norm.read(x, d),
            encoder_out,
            encoder_padding_mask,
            incremental_state,
            self_attn_mask,
            self_attn_padding_mask,
        )
        x, d = self.self_attn_layer_norm.join(x, d, f)

        attn: Optional[Tensor] = None
        if self.encoder_attn is not None and encoder_out is not None:
            f, attn = self.cross_attention(
                self.encoder_attn_layer_norm.read(x, d),
                encoder_out,
                encoder_padding_mask,
                incremental_state,
                need_attn or need_head_weights or (not self.training and self.need_attn),
                need_head_weights,
            )
            x, d = self.encoder_attn_layer_norm.join(x, d, f)

        f = self.feed_forward(self.final_layer_norm.read(x, d))
        if self.w_resid is not None:
            x = torch.mul(self.w_resid, x)
        x, d = self.final_layer_norm.join(x, d, f)
        return x, d, attn

    def self_attention(
        self,
        x: Tensor,
        encoder_out: Optional[Tensor],
        encoder_padding_mask: Optional[Tensor],
        incremental_state: IncrementalState,
        mask: Optional[Tensor],
        padding_mask: Optional[Tensor],
    ) -> Tensor:
        """Masked self-attention; over the encoder's output too with ``cross_self_attention``."""
        y = x
        if self.cross_self_attention and not self.has_cached_keys(incremental_state):
            assert encoder_out is not None
            if mask is not None:
                mask = torch.cat((x.new_zeros(x.size(0), encoder_out.size(0)), mask), dim=1)
            if padding_mask is not None:
                if encoder_padding_mask is None:
                    encoder_padding_mask = padding_mask.new_zeros(
                        encoder_out.size(1), encoder_out.size(0)
                    )
                padding_mask = torch.cat((encoder_padding_mask, padding_mask), dim=1)
            y = torch.cat((encoder_out, x), dim=0)

        x = self.attend(x, y, incremental_state, mask, padding_mask)
        if self.c_attn is not None:
            heads = x.view(x.size(0), x.size(1), self.nh, self.head_dim)
            x = (heads * self.c_attn.unsqueeze(-1)).reshape(x.size(0), x.size(1), self.embed_dim)
        if self.attn_ln is not None:
            x = self.attn_ln(x)
        return self.dropout_module(x)

    def attend(
        self,
        x: Tensor,
        y: Tensor,
        incremental_state: IncrementalState,
        mask: Optional[Tensor],
        padding_mask: Optional[Tensor],
    ) -> Tensor:
        """The self-attention's module: x looks at y."""
        if not torch.jit.is_scripting():  # noqa: SIM102  (TorchScript leaves out this form alone)
            if incremental_state is None and can_fuse(self.self_attn):
                return fused_attention(self.self_attn, x, y, padding_mask, mask)
        x, _ = self.self_attn(
            query=x,
            key=y,
            value=y,
            key_padding_mask=padding_mask,
            incremental_state=incremental_state,
            need_weights=False,
            attn_mask=mask,
        )
        return x

    def cross_attention(
        self,
        x: Tensor,
        encoder_out: Tensor,
        encoder_padding_mask: Optional[Tensor],
        incremental_state: IncrementalState,
        need_weights: bool,
        need_head_weights: bool,
    ) -> Tuple[Tensor, Optional[Tensor]]:
        """Attention to the encoder's output, and its weights where asked for."""
        assert self.encoder_attn is not None
        if not torch.jit.is_scripting():
            # fairseq's softmax is of float32 here, which tests in float64 have to meet.
            exact = x.dtype == torch.float64
            whole = incremental_state is None and not need_weights
            if whole and not exact and can_fuse(self.encoder_attn):
                x = fused_attention(self.encoder_attn, x, encoder_out, encoder_padding_mask)
                return self.dropout_module(x), None
        x, attn = self.encoder_attn(
            query=x,
            key=encoder_out,
            value=encoder_out,
            key_padding_mask=encoder_padding_mask,
            incremental_state=incremental_state,
            static_kv=True,
            need_weights=need_weights,
            need_head_weights=need_head_weights,
        )
        return self.dropout_module(x), attn

    def has_cached_keys(self, incremental_state: IncrementalState) -> bool:
        if incremental_state is None:
            return False
        cached = self.self_attn._get_input_buffer(incremental_state)
        return cached is not None and "prev_key" in cached

    def feed_forward(self, x: Tensor) -> Tensor:
        x = self.activation_dropout_module(self.activation_fn(self.fc1(x)))
        if self.ffn_layernorm is not None:
            x = self.ffn_layernorm(x)
        return self.dropout_module(self.fc2(x))


LAYER_METHODS = ("self_attention", "cross_attention", "attend", "feed_forward")
"""What a layer computes by; replaced on one, it is its own affair."""
CLASSES = (
    *(ResDualEncoderLayer, ResDualDecoderLayer, Residual, *RESIDUALS.values()),
    *(MultiheadAttention, FairseqDropout, nn.Linear, nn.LayerNorm),
)
WRITTEN = methods_of(CLASSES, ("forward", *LAYER_METHODS, *EQUATIONS))


def classes_are_as_written() -> bool:
    """Whether nobody has replaced a method on the classes that a layer consists of."""
    return methods_of(CLASSES, ("forward", *LAYER_METHODS, *EQUATIONS)) == WRITTEN


def is_as_written(layer: Any) -> bool:
    """Whether a layer computes, in evaluation, what one of the classes above says."""
    if type(layer) not in (ResDualEncoderLayer, ResDualDecoderLayer):
        return False
    cross = getattr(layer, "encoder_attn", None)
    attention = [layer.self_attn] if cross is None else [layer.self_attn, cross]
    return (
        not any(name in layer.__dict__ for name in LAYER_METHODS)
        and all(map(can_fuse, attention))
        and all(map(is_plain, (layer.fc1, layer.fc2)))
        and all(map(is_idle, (layer.dropout_module, layer.activation_dropout_module)))
        and all(is_idle(module.dropout_module) for module in attention)
        and all(map(is_plainly_called, parts_of(layer)))
    )
