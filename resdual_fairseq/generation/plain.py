"""Whether modules still compute what their classes say, and something faster may do it for them.

Users hang hooks on modules, replace their methods and parts, or inherit from their classes. Whoever
computes in a module's place asks here first.
"""

import functools
from typing import Any, List, Sequence

import torch
from fairseq.modules import FairseqDropout, MultiheadAttention
from fairseq.modules.checkpoint_activations import _checkpointed_forward
from torch import Tensor, nn
from torch._C._functorch import peek_interpreter_stack
from torch.autograd import forward_ad
from torch.nn.modules.module import _has_any_global_hook


def has_global_hooks() -> bool:
    """Whether torch is to call something at every module, as profilers ask it to."""
    return bool(_has_any_global_hook())


def is_transformed() -> bool:
    """Whether torch computes for ``torch.func`` (vmap, jvp, ...), hence not with numbers alone."""
    return peek_interpreter_stack() is not None or forward_ad._current_level >= 0


def parts_of(module: nn.Module) -> List[nn.Module]:
    """A module and all below it; torch's ``modules`` takes several times as long."""
    found = [module]
    for part in found:  # which grows
        found.extend(child for child in part._modules.values() if child is not None)
    return found


def is_plainly_called(module: nn.Module) -> bool:
    """Whether calling a module computes what its class says, in evaluation."""
    replaced = "forward" in module.__dict__ and not is_checkpointed(module)
    return not (replaced or module._forward_hooks or module._forward_pre_hooks or module.training)


def is_checkpointed(module: Any) -> bool:
    """Whether a module's forward is its class's, in fairseq's ``checkpoint_wrapper``."""
    forward = module.__dict__.get("forward")
    if not isinstance(forward, functools.partial) or forward.func is not _checkpointed_forward:
        return False
    inner = forward.args[0]
    own = getattr(inner, "__self__", None) is module
    return own and getattr(inner, "__func__", None) is type(module).forward


def is_untouched(module: nn.Module) -> bool:
    """Whether nobody hung hooks on a module or replaced its forward, in training or evaluation."""
    return not (
        "forward" in module.__dict__
        or module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


def is_memory(tensor: Any) -> bool:
    """Whether this is numbers in memory, and no other kind of tensor that stands for some."""
    return type(tensor) in (Tensor, nn.Parameter) and tensor.layout == torch.strided


def is_plain(projection: nn.Module) -> bool:
    """Whether a projection is a matrix and a bias, and nothing else."""
    return (
        type(projection) is nn.Linear
        and is_memory(projection.weight)
        and is_memory(projection.bias)
        and is_untouched(projection)
    )


def is_plain_dropout(dropout: Any) -> bool:
    """Whether this is fairseq's dropout and nothing else."""
    return type(dropout) is FairseqDropout and is_untouched(dropout)


def is_idle(dropout: Any) -> bool:
    """Whether this is fairseq's dropout, which does nothing in evaluation."""
    return is_plain_dropout(dropout) and not (dropout.training or dropout.apply_during_inference)


def can_fuse(attention: Any) -> bool:
    """Whether this module is fairseq's attention and computes nothing but attention.

    The projections are plain, the logits are scaled as usual, no keys are added, and nobody hears
    of calls.
    """
    return (
        type(attention) is MultiheadAttention
        and is_untouched(attention)
        and attention.bias_k is None
        and not attention.add_zero_attn
        and not attention.use_xformers
        and not attention.onnx_trace
        and not attention.skip_embed_dim_check
        and attention.scaling == attention.head_dim**-0.5
        and is_plain_dropout(attention.dropout_module)
        and not has_global_hooks()
        and methods_of(CLASSES, ("forward",)) == WRITTEN
        and is_plain(attention.q_proj)
        and is_plain(attention.k_proj)
        and is_plain(attention.v_proj)
        and is_plain(attention.out_proj)
    )


def methods_of(kinds: Sequence[type], names: Sequence[str]) -> List[Any]:
    """What classes have under these names now, to be compared with what they had."""
    return [getattr(kind, name, None) for kind in kinds for name in names]


CLASSES = (MultiheadAttention, FairseqDropout, nn.Linear)
WRITTEN = methods_of(CLASSES, ("forward",))
LINEAR_FORWARD = nn.Linear.forward


def linears_are_as_written() -> bool:
    """Whether ``nn.Linear`` itself computes what it did when this package was imported."""
    return nn.Linear.forward is LINEAR_FORWARD
