"""Models whose matrix products are in 8 bits, on the CPU."""

import warnings
from typing import Any

import torch
from fairseq.modules import MultiheadAttention
from torch import nn


def quantized(model: Any) -> Any:
    """A copy of a model for inference, with torch's dynamic int8 products in place of its own.

    Embeddings, layer norms and the residual streams stay as they are. The layers then decode by
    fairseq's own attention, not by the fast step.

    Args:
        model: of this package or fairseq's ``transformer``, in float32 on the CPU.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that these kernels are to move to torchao
        copy = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    for module in copy.modules():
        module.training = False  # fairseq's models that were made fast have no eval() to speak of
        if isinstance(module, MultiheadAttention):
            # fairseq's way around torch's own attention, which reads the projections' weights.
            module.skip_embed_dim_check = True
    return copy
