"""Floating-point operations of a training update, counted on real batches."""

from __future__ import annotations

from typing import Any, Dict, Iterable, List

from fairseq import utils
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def flops_per_update(
    model: nn.Module,
    criterion: nn.Module,
    updates: Iterable[List[Dict[str, Any]]],
    cuda: bool = False,
) -> float:
    """Of forward and backward pass, the mean over updates; of products of matrices alone.

    A product of m x k and k x n counts 2 m k n. Norms, activations, the softmax and the optimizer
    are left out, as is usual: they are of a lower order. Padding counts, since it is computed.

    torch counts nothing for its fused attention on a CPU (its issue 195460), hence the attention
    that is written out in products. On the meta device nothing would be computed, but fairseq's
    encoder asks there whether a batch has padding.

    Args:
        updates: of each update its batches.
        cuda: whether the model is on a GPU.
    """
    model.train()
    count = 0
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        for batches in updates:
            count += 1
            for batch in batches:
                model.zero_grad()
                criterion(model, utils.move_to_cuda(batch) if cuda else batch)[0].backward()
    return counter.get_total_flops() / count
