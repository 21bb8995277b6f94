"""What the encoder's stack and the decoder's have in common."""

import logging
from collections import OrderedDict
from dataclasses import replace
from typing import Callable, Dict

import torch
from fairseq.distributed import fsdp_wrap
from fairseq.models.transformer import TransformerConfig
from fairseq.modules import FairseqDropout
from fairseq.modules.checkpoint_activations import checkpoint_wrapper
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..residual import Place, PreLN, Residual, ResidualOptions
from ..schemes import build_residual

logger = logging.getLogger(__name__)


def residual_options(cfg: TransformerConfig, final_norm: bool = True) -> ResidualOptions:
    """What residual.py needs to know, out of a model's config."""
    return ResidualOptions(
        kind=cfg.residual,
        variant=cfg.residual_variant,
        scale=cfg.residual_scale,
        alpha=cfg.residual_alpha,
        gain=None if cfg.residual_gain is None else float(cfg.residual_gain),
        streams=cfg.residual_streams,
        post_fraction=float(cfg.residual_post_fraction),
        final_norm=final_norm,
        fp32=cfg.residual_fp32,
    )


def wrap_layer(cfg: TransformerConfig, layer: nn.Module, host_name: str) -> nn.Module:
    """Activation checkpointing and FSDP around one layer, as fairseq's stacks do it."""
    name_dropouts(layer, host_name)
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


def key_padding_mask(padding: Tensor) -> Tensor:
    """The padding that attention is kept from (B x T): none in rows that hold nothing else.

    A softmax over nothing is NaN, whose gradient would reach every weight.
    """
    return padding & ~padding.all(dim=1, keepdim=True)


class Stack(nn.Module):
    """A stack that loads weights with and without LN_out; comes before fairseq's stack class.

    Attributes:
        layer_norm: the connection around the stack.
        place: where it stands.
    """

    layer_norm: Residual
    place: Place

    def upgrade_state_dict_named(
        self, state_dict: Dict[str, Tensor], name: str
    ) -> Dict[str, Tensor]:
        around_stack = self.layer_norm
        fill_closing_norm(state_dict, name, around_stack)
        state_dict = super().upgrade_state_dict_named(state_dict, name)
        if self.layer_norm is None:  # fairseq dropped it: weights older than its closing norm
            width = around_stack.normalized_shape[0]
            options = replace(self.residual_options, final_norm=False)
            self.layer_norm = build_residual(options, width, self.place)
        return state_dict


class EncoderStack(Stack):
    """A stack whose output is a dictionary of lists."""

    def register_backward_hook(self, hook: Callable[..., object]) -> RemovableHandle:
        """Nothing: torch would look in the output for a tensor, and fail.

        fairseq's ``NanDetector`` calls this for every module; those inside do as it asks.
        """
        return RemovableHandle(OrderedDict())


def fill_closing_norm(state_dict: Dict[str, Tensor], name: str, norm: Residual) -> None:
    """Make a state dict from a stack without LN_out loadable: LN_out starts at identity.

    Pre-LN is left to fairseq, which drops the closing norm of stacks older than format version 3.
    The whole model's state dict is changed in place; ``name`` is the stack's prefix.
    """
    if type(norm) is PreLN or not isinstance(norm.weight, Tensor):
        return
    key = f"{name}.layer_norm"
    if f"{key}.weight" not in state_dict:
        state_dict[f"{key}.weight"] = torch.ones_like(norm.weight)
        state_dict[f"{key}.bias"] = torch.zeros_like(norm.bias)
        logger.info(
            f"the checkpoint has no {key}, the closing norm of the {name}: it starts at identity"
        )
    state_dict[f"{name}.version"] = torch.Tensor([3])
