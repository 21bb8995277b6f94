"""Encoder and decoder layers: fairseq's blocks in order, joined by residual.py.

Parameters, their names and their initial values are those of ``fairseq.modules.transformer_layer``;
what is new is that a layer takes the two streams and returns them.
"""

from typing import Dict, List, Optional, Sequence, Tuple

import torch
from fairseq.models.transformer import TransformerConfig
from fairseq.modules import MultiheadAttention
from fairseq.modules.transformer_layer import (
    TransformerDecoderLayerBase,
    TransformerEncoderLayerBase,
)
from torch import Tensor, nn

from ..residual import Place, Residual, ResidualOptions, Streams
from ..schemes import build_residual

IncrementalState = Optional[Dict[str, Dict[str, Optional[Tensor]]]]


def parts_of_layer(stack: str, has_cross_attention: bool = True) -> List[str]:
    """The kinds of blocks in a layer of a stack, in their order."""
    return ["self_attn"] + ["cross_attn"] * (stack == "decoder" and has_cross_attention) + ["ffn"]


def places(stack: str, parts: Sequence[str], cfg: TransformerConfig, index: int) -> List[Place]:
    """Where the connections of a layer stand; behind the last layer, the one around the stack.

    Args:
        stack: ``encoder`` or ``decoder``.
        parts: of its layers.
        cfg: the depths of both stacks.
        index: which layer, from 0.
    """
    depths = {"encoder": cfg.encoder.layers, "decoder": cfg.decoder.layers}
    layers = depths.pop(stack)
    is_alone = stack == "decoder" and "cross_attn" not in parts
    other_layers = 0 if is_alone else sum(depths.values())
    blocks, k = len(parts) * layers, len(parts) * index + 1
    return [
        Place(k + i, blocks, index + 1, layers, part, stack, other_layers)
        for i, part in enumerate(parts if index < layers else ["stack"])
    ]


def connect(options: ResidualOptions, weights: List[nn.Linear], place: Place) -> Residual:
    """The connection around a block, whose initial weights it may set: the last projects out."""
    connection = build_residual(options, weights[-1].out_features, place)
    connection.initialize(weights)
    return connection


def projections(attention: MultiheadAttention) -> List[nn.Linear]:
    return [attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj]


class ResDualEncoderLayer(TransformerEncoderLayerBase):
    """Self-attention, then feed-forward.

    Args:
        cfg: fairseq's ``TransformerConfig``.
        options: the residual connections.
        index: which layer of the stack, from 0.
    """

    def __init__(self, cfg: TransformerConfig, options: ResidualOptions, index: int) -> None:
        super().__init__(cfg)
        first, last = places("encoder", parts_of_layer("encoder"), cfg, index)
        self.self_attn_layer_norm = connect(options, projections(self.self_attn), first)
        self.final_layer_norm = connect(options, [self.fc1, self.fc2], last)

    def forward(
        self, x: Tensor, d: Optional[Tensor], encoder_padding_mask: Optional[Tensor]
    ) -> Streams:
        """One layer.

        Args:
            x: first stream, T x B x C.
            d: second stream, T x B x C, or None.
            encoder_padding_mask: B x T, True at padding, or None.

        Returns:
            both streams, shaped as they came.
        """
        f = self.self_attention(self.self_attn_layer_norm.block_input(x, d), encoder_padding_mask)
        x, d = self.self_attn_layer_norm.add_output(x, d, f)
        f = self.feed_forward(self.final_layer_norm.block_input(x, d))
        return self.final_layer_norm.add_output(x, d, f)

    def self_attention(self, x: Tensor, padding_mask: Optional[Tensor]) -> Tensor:
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
        self,
        cfg: TransformerConfig,
        options: ResidualOptions,
        index: int,
        no_encoder_attn: bool = False,
    ) -> None:
        super().__init__(cfg, no_encoder_attn=no_encoder_attn)
        parts = parts_of_layer("decoder", not no_encoder_attn)
        first, *middle, last = places("decoder", parts, cfg, index)
        self.self_attn_layer_norm = connect(options, projections(self.self_attn), first)
        if self.encoder_attn is not None:
            cross = projections(self.encoder_attn)
            self.encoder_attn_layer_norm = connect(options, cross, middle[0])
        self.final_layer_norm = connect(options, [self.fc1, self.fc2], last)

    def make_generation_fast_(self, need_attn: bool = False, **kwargs: object) -> None:
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
            self.self_attn_layer_norm.block_input(x, d),
            encoder_out,
            encoder_padding_mask,
            incremental_state,
            self_attn_mask,
            self_attn_padding_mask,
        )
        x, d = self.self_attn_layer_norm.add_output(x, d, f)

        attn: Optional[Tensor] = None
        if self.encoder_attn is not None and encoder_out is not None:
            f, attn = self.encoder_attn(
                query=self.encoder_attn_layer_norm.block_input(x, d),
                key=encoder_out,
                value=encoder_out,
                key_padding_mask=encoder_padding_mask,
                incremental_state=incremental_state,
                static_kv=True,
                need_weights=need_attn or (not self.training and self.need_attn),
                need_head_weights=need_head_weights,
            )
            x, d = self.encoder_attn_layer_norm.add_output(x, d, self.dropout_module(f))

        f = self.feed_forward(self.final_layer_norm.block_input(x, d))
        if self.w_resid is not None:
            x = torch.mul(self.w_resid, x)
        x, d = self.final_layer_norm.add_output(x, d, f)
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
                    length, batch, _ = encoder_out.shape
                    encoder_padding_mask = padding_mask.new_zeros(batch, length)
                padding_mask = torch.cat((encoder_padding_mask, padding_mask), dim=1)
            y = torch.cat((encoder_out, x), dim=0)

        x, _ = self.self_attn(
            query=x,
            key=y,
            value=y,
            key_padding_mask=padding_mask,
            incremental_state=incremental_state,
            need_weights=False,
            attn_mask=mask,
        )
        if self.c_attn is not None:
            heads = x.view(x.size(0), x.size(1), self.nh, self.head_dim)
            x = (heads * self.c_attn.unsqueeze(-1)).reshape(x.size(0), x.size(1), self.embed_dim)
        if self.attn_ln is not None:
            x = self.attn_ln(x)
        return self.dropout_module(x)

    def has_cached_keys(self, incremental_state: IncrementalState) -> bool:
        cached = self.self_attn.get_incremental_state(incremental_state, "attn_state")
        return cached is not None and "prev_key" in cached

    def feed_forward(self, x: Tensor) -> Tensor:
        x = self.activation_dropout_module(self.activation_fn(self.fc1(x)))
        if self.ffn_layernorm is not None:
            x = self.ffn_layernorm(x)
        return self.dropout_module(self.fc2(x))
