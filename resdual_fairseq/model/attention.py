"""Attention over whole sequences with fewer and larger operations than fairseq's module makes.

The weights stay in fairseq's ``MultiheadAttention``. Here the projections of one input are a single
product and torch's ``scaled_dot_product_attention`` does the rest. Incremental decoding,
TorchScript, returned weights, and whatever changes the projections (quantization noise, pruned
heads, xformers, hooks) stay with fairseq's own forward: :func:`plain.can_fuse` decides.
"""

from typing import Optional, Tuple

import torch
from fairseq.modules import MultiheadAttention
from torch import Tensor, nn
from torch.nn import functional as F

WIDEST_JOINED = 128
"""Up to this width one product of joined weights is clearly faster than several; beyond, it saves
little, and autograd keeps the joined copy."""


def fused_attention(
    attention: MultiheadAttention,
    x: Tensor,
    memory: Tensor,
    padding: Optional[Tensor] = None,
    future: Optional[Tensor] = None,
) -> Tensor:
    """Attention of x to memory, projected back: T x B x C.

    Args:
        attention: where the weights are; :func:`plain.can_fuse` holds.
        x: T x B x C.
        memory: S x B x C_memory; x itself in self-attention.
        padding: B x S, True at keys that are padding, or None.
        future: T x S, -inf at keys that may not be seen, or None.
    """
    if memory is x:
        q, k, v = project(x, attention.q_proj, attention.k_proj, attention.v_proj)
    else:
        q = attention.q_proj(x)
        k, v = project(memory, attention.k_proj, attention.v_proj)
    dropout = attention.dropout_module
    y = attend(
        by_head(q, attention.num_heads),
        by_head(k, attention.num_heads),
        by_head(v, attention.num_heads),
        additive_mask(q.dtype, padding, future),
        dropout.p if attention.training or dropout.apply_during_inference else 0.0,
    )
    return attention.out_proj(y.permute(2, 0, 1, 3).flatten(2))


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Optional[Tensor], dropout: float = 0.0) -> Tensor:
    """torch's ``scaled_dot_product_attention``, where NaN stays NaN.

    On a CPU, torch's fused one makes it 0 where there is no mask.
    """
    if mask is None and dropout == 0 and q.device.type == "cpu":
        mask = q.new_zeros(1, 1, 1, 1)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)


def project(x: Tensor, *projections: nn.Linear) -> Tuple[Tensor, ...]:
    """The projections of x, all equally wide, by one product where that is faster."""
    if x.size(-1) > WIDEST_JOINED:
        return tuple(projection(x) for projection in projections)
    weight = torch.cat([projection.weight for projection in projections])
    bias = torch.cat([projection.bias for projection in projections])
    return F.linear(x, weight, bias).chunk(len(projections), dim=-1)


def by_head(z: Tensor, heads: int) -> Tensor:
    """T x B x C as B x heads x T x C/heads."""
    return z.unflatten(-1, (heads, -1)).permute(1, 2, 0, 3)


def additive_mask(
    dtype: torch.dtype, padding: Optional[Tensor], future: Optional[Tensor]
) -> Optional[Tensor]:
    """What is added to the logits, B x 1 x T x S, where B or T may be 1; None if nothing is."""
    if padding is None:
        return None if future is None else future.to(dtype)
    hidden = padding[:, None, None, :]
    if future is None:
        return torch.zeros_like(hidden, dtype=dtype).masked_fill_(hidden, float("-inf"))
    return future.to(dtype).masked_fill(hidden, float("-inf"))
