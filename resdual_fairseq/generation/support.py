"""Whether steps of a whole stack, in torch or in the compiled library, may stand for its layers.

Users hang hooks on modules, replace their methods and parts, or inherit from their classes. A stack
is looked at once: when fairseq prepares its model for inference, or as a search begins in a model
that was not prepared.
"""

import functools
from typing import Any, Callable, Iterator, List, Optional, Tuple

import torch
from fairseq.modules import (
    FairseqDropout,
    LearnedPositionalEmbedding,
    MultiheadAttention,
    SinusoidalPositionalEmbedding,
)
from fairseq.modules.checkpoint_activations import checkpoint_wrapper
from torch import Tensor, nn

from ..compat import has_hooks
from ..model.decoder import ResDualDecoder
from ..model.layers import ResDualDecoderLayer, ResDualEncoderLayer
from ..native import library
from ..native.schemes import closing_spec, connection_spec
from ..residual import Norm, Residual
from ..schemes import RESIDUALS
from .packing import ACTIVATIONS

NORMFORMERS = ("c_attn", "attn_ln", "ffn_layernorm", "w_resid")
"""What fairseq's decoder layers may have besides."""


def methods(kind: type) -> List[Callable[..., Any]]:
    """A class's methods, without those of torch's own base class."""
    bases = [base for base in kind.__mro__ if base not in nn.Module.__mro__]
    return [value for base in bases for value in vars(base).values() if callable(value)]


METHODS = {
    kind: methods(kind)
    for kind in (
        *(ResDualEncoderLayer, ResDualDecoderLayer, *RESIDUALS.values()),
        *(MultiheadAttention, FairseqDropout, nn.Linear, nn.LayerNorm, Norm),
        *(nn.Embedding, SinusoidalPositionalEmbedding, LearnedPositionalEmbedding),
    )
}
"""The classes that a stack consists of, and their methods when this package was imported."""


STEPPED = {
    name: getattr(ResDualDecoder, name)
    for name in ("extract_features_scriptable", "embed", "embed_at", "output")
}
"""What a decoder's step does in place of, or by, its own methods."""


def unsupported(stack: nn.Module) -> Optional[str]:
    """Why steps of an encoder's or decoder's stack may not stand for its layers, or None."""
    layers = list(stack.layers.children())
    if not layers:
        return "it has no layers"
    if getattr(stack, "cross_self_attention", False):
        return "its self-attention looks at the encoder, too (--cross-self-attention)"
    for name, method in STEPPED.items():
        if hasattr(stack, name) and getattr(getattr(stack, name), "__func__", None) is not method:
            return f"its method {name} was replaced"
    reasons = (reason for name, part in parts_of(stack) for reason in changes(name, part))
    found = next(reasons, None)
    if found is not None:
        return found
    if any(getattr(layer, name, None) is not None for layer in layers for name in NORMFORMERS):
        return "its layers have NormFormer's norms or weights (--scale-attn and the like)"
    if len({sizes(layer) for layer in layers}) > 1:
        return "its layers differ in size, activation or attention"
    if layers[0].fc1.weight.dtype == torch.float64:
        return "its weights are float64, in which fairseq's attention rounds to float32"
    return None


def parts_of(stack: nn.Module) -> Iterator[Tuple[str, nn.Module]]:
    """The modules that compute in a stack, by name."""
    yield "layer_norm", stack.layer_norm
    for index, layer in enumerate(stack.layers.children()):
        yield from layer.named_modules(prefix=f"layers.{index}")


def changes(name: str, part: nn.Module) -> Iterator[str]:
    """In what a module differs from what its class says, in evaluation."""
    kind = type(part)
    if kind not in METHODS and not isinstance(part, Residual):
        yield f"{name} is a {kind.__name__}"
    elif methods(kind) != METHODS.get(kind, methods(kind)):
        yield f"a method of {kind.__name__} was replaced"
    elif has_hooks(part):
        yield f"{name} has hooks"
    elif any(callable(getattr(kind, key, None)) for key in vars(part)) and not is_wrapped(part):
        yield f"a method of {name} was replaced"
    elif part.training:
        yield f"{name} is in training mode"
    elif kind is FairseqDropout and part.apply_during_inference:
        yield f"{name} drops out in inference (--retain-dropout)"
    elif kind is MultiheadAttention and not is_ordinary(part):
        yield f"{name} does more than attention"


def is_wrapped(layer: nn.Module) -> bool:
    """Whether a layer's forward is fairseq's activation checkpointing of its class's."""
    forward = vars(layer).get("forward")
    return (
        isinstance(forward, functools.partial)
        and forward.func.__module__ == checkpoint_wrapper.__module__
        and getattr(forward.args[0], "__func__", None) is type(layer).forward
    )


def is_ordinary(attention: MultiheadAttention) -> bool:
    """Whether logits are scaled as usual, no keys are added, and projections have biases."""
    projections = (attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj)
    return (
        attention.bias_k is None
        and not attention.add_zero_attn
        and not attention.use_xformers
        and not attention.skip_embed_dim_check
        and attention.scaling == attention.head_dim**-0.5
        and all(projection.bias is not None for projection in projections)
    )


def sizes(layer: nn.Module) -> Tuple[Any, ...]:
    """What has to be equal in all layers, the shapes of their blocks' weights among it."""
    shapes = sorted(
        (name, tuple(weight.shape))
        for name, weight in layer.named_parameters()
        if not isinstance(layer.get_submodule(name.split(".")[0]), Residual)
    )
    heads = [part.num_heads for part in layer.children() if isinstance(part, MultiheadAttention)]
    return (layer.activation_fn, *heads, *shapes)


def unsupported_by_library(stack: nn.Module) -> Optional[str]:
    """Why the library does not compute a stack that :func:`unsupported` lets pass, or None."""
    layers = list(stack.layers.children())
    if library.loaded() is None:
        return "there is no compiled library in use"
    if layers[0].activation_fn not in ACTIVATIONS:
        return "its activation is neither relu nor gelu"
    connections = [part for _, part in parts_of(stack) if isinstance(part, Residual)]
    if closing_spec(stack.layer_norm) is None or None in map(connection_spec, connections):
        return f"the library has no form of {type(stack.layer_norm).__name__}"
    for name, weight in stack.named_parameters():
        reason = unreadable(weight)
        if reason is not None:
            return f"{name} {reason}"
    return None


def only_adds(decoder: nn.Module) -> bool:
    """Whether tokens' and positions' embeddings are summed and nothing else is done to them."""
    names = ("embed_tokens", "embed_positions", "dropout_module")
    parts = [(name, getattr(decoder, name)) for name in names]
    more = (decoder.quant_noise, decoder.project_in_dim, decoder.layernorm_embedding)
    return (
        isinstance(decoder.embed_scale, (int, float))
        and all(part is None for part in more)
        and not any(next(changes(*part), None) for part in parts if part[1] is not None)
        and all(getattr(part, "max_norm", None) is None for _, part in parts)
    )


def only_projects(decoder: nn.Module) -> bool:
    """Whether the output projection is a matrix and nothing else."""
    projection = decoder.output_projection
    return type(projection) is nn.Linear and next(changes("", projection), None) is None


def unreadable(tensor: Tensor) -> Optional[str]:
    """Why these are no numbers in memory that the library reads, in words."""
    if type(tensor) not in (Tensor, nn.Parameter) or tensor.layout != torch.strided:
        return "is no ordinary strided tensor"
    if tensor.device.type != "cpu":
        return f"is on {tensor.device}"
    if tensor.dtype != torch.float32:
        return f"is {str(tensor.dtype).rpartition('.')[2]}"
    # Kernels skip zero inputs, so 0 * inf would not be NaN.
    return None if bool(tensor.isfinite().all()) else "is not finite"
