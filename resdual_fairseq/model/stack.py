"""What the encoder's stack and the decoder's have in common."""

from typing import Any

from fairseq.distributed import fsdp_wrap
from fairseq.models.transformer import TransformerConfig
from fairseq.modules import FairseqDropout
from fairseq.modules.checkpoint_activations import checkpoint_wrapper
from torch import Tensor, nn

from .. import native


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
    """A stack that lets go of its packed weights and its 8 bits, once it is to be trained."""

    prepared = False
    """Whether fairseq has made the model ready for inference, and refuses to train it."""

    def make_generation_fast_(self: Any, **options: Any) -> None:
        """Called by fairseq's ``prepare_for_inference_``."""
        self.prepared = True
        native.forget(self)

    def train(self: Any, mode: bool = True) -> Any:
        if mode:
            native.forget(self)
            self.int8 = False
        return super().train(mode)  # type: ignore[misc]
