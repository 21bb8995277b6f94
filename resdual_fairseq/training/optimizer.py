"""`--optimizer fused_adam`: fairseq's Adam by torch's fused kernel; on CUDA without apex, too.

fairseq's Adam updates one tensor after another from Python, which at small widths is a large part
of a training step on CPU. Options and their meaning are those of `--optimizer adam`.
"""

from dataclasses import dataclass
from typing import Callable, Iterable, Optional

import torch
from fairseq.optim import FairseqOptimizer, register_optimizer
from fairseq.optim.adam import FairseqAdam, FairseqAdamConfig
from torch import Tensor

from ..errors import ResDualError


@dataclass
class FusedAdamConfig(FairseqAdamConfig):
    """The options of fairseq's Adam."""


@register_optimizer("fused_adam", dataclass=FusedAdamConfig)
class FusedAdam(FairseqAdam):
    """torch.optim.AdamW(fused=True) behind fairseq's Adam options."""

    def __init__(self, cfg: FusedAdamConfig, params: Iterable[Tensor]) -> None:
        if cfg.fp16_adam_stats:
            raise ResDualError(
                "--fp16-adam-stats is for --optimizer adam with apex; leave it out, or take that"
            )
        FairseqOptimizer.__init__(self, cfg)
        self._optimizer = torch.optim.AdamW(list(params), fused=True, **self.optimizer_config)

    @property
    def supports_flat_params(self) -> bool:
        """As fairseq's Adam, which torch's does not say: each number is updated by itself."""
        return True

    def clip_grad_norm(
        self, max_norm: float, aggregate_norm_fn: Optional[Callable[[Tensor], Tensor]] = None
    ) -> Tensor:
        grads = [p.grad for p in self.params if p.grad is not None]
        if any(hasattr(p, "expert") for p in self.params) or not grads:
            return super().clip_grad_norm(max_norm, aggregate_norm_fn)
        norm = torch.nn.utils.get_total_norm(grads)
        if aggregate_norm_fn is not None:
            norm = aggregate_norm_fn(norm)
        if max_norm > 0:
            torch.nn.utils.clip_grads_with_norm_(self.params, max_norm, norm)
        return norm
