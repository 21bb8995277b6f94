"""Where the compiled library may compute in a model's place."""

from typing import Any, Sequence, Tuple

import torch
from torch import Tensor, nn

from ..model.layers import is_as_written
from ..native import library
from ..native.structs import ACTIVATIONS
from ..residual import EQUATIONS, PostLN, PreLN, ResiDual
from .plain import has_global_hooks, is_memory, is_plainly_called, is_transformed, parts_of

KNOWN = (PostLN, PreLN, ResiDual)
NORMFORMERS = ("c_attn", "attn_ln", "ffn_layernorm", "w_resid")
"""What fairseq's decoder layers may have besides."""


def usable(like: Tensor) -> bool:
    """Whether the library is there, and made for tensors like this one, here and now."""
    return (
        library.loaded() is not None
        and type(like) in (Tensor, nn.Parameter)  # none that only stands for one, as in an export
        and like.dtype == torch.float32
        and like.device.type == "cpu"
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and not has_global_hooks()
        and not is_transformed()
    )


def is_readable(tensor: Tensor) -> bool:
    """Whether these are numbers in memory, as the library reads them."""
    return (
        is_memory(tensor)
        and tensor.dtype == torch.float32
        and tensor.device.type == "cpu"
        and tensor.is_contiguous()
        and tensor.untyped_storage().size() >= 4 * tensor.numel()
    )


def is_matrix(projection: Any) -> bool:
    """Whether a projection is a matrix, with a bias or without, in which nothing misfits."""
    if type(projection) is not nn.Linear or not is_plainly_called(projection):
        return False
    weight, bias = (projection._parameters.get(name) for name in ("weight", "bias"))
    return (
        weight is not None
        and is_readable(weight)
        and weight.dim() == 2
        and (
            (bias is None and projection.bias is None)
            or (bias is not None and is_readable(bias) and bias.shape == weight.shape[:1])
        )
    )


def are_known(layers: Sequence[Any]) -> bool:
    """Whether the library computes what each of a stack's layers does, and all are of one size."""
    return all(map(is_known_layer, layers)) and len(set(map(sizes, layers))) == 1


def sizes(layer: Any) -> Tuple[Any, ...]:
    """What has to be equal in all layers, the shapes of their weights among it."""
    shapes = sorted((name, tuple(weight.shape)) for name, weight in layer.named_parameters())
    heads = layer.self_attn.num_heads
    return (type(layer), layer.embed_dim, heads, layer.activation_fn, *shapes)


def is_known_layer(layer: Any) -> bool:
    return (
        is_as_written(layer)
        and all(getattr(layer, name, None) is None for name in NORMFORMERS)
        and layer.activation_fn in ACTIVATIONS
        and all(map(is_known, norms_of(layer)))
        and owns_its_weights(layer)
        # Torch is to meet what is not finite: of a unit that is 0, or of padding, the library reads
        # no weights.
        and all(is_readable(p) and bool(p.isfinite().all()) for p in layer.parameters())
        and fits(layer)
    )


def norms_of(layer: Any) -> Sequence[Any]:
    norms = [layer.self_attn_layer_norm, layer.final_layer_norm]
    has_cross = getattr(layer, "encoder_attn", None) is not None
    return [*norms, layer.encoder_attn_layer_norm] if has_cross else norms


def is_known(connection: Any) -> bool:
    """Whether a residual connection does what its class says, and the library knows the class."""
    return (
        type(connection) in KNOWN
        and is_plainly_called(connection)
        and not any(name in connection.__dict__ for name in EQUATIONS)
    )


def owns_its_weights(layer: Any) -> bool:
    """Whether all weights and biases are parameters, which tell when they change."""
    return all(
        part._parameters.get(name) is not None
        for part in parts_of(layer)
        if isinstance(part, (nn.Linear, nn.LayerNorm))
        for name in ("weight", "bias")
    )


def fits(layer: Any) -> bool:
    """Whether the weights have the shapes by which the library reads them."""
    width, inner, own = layer.embed_dim, layer.fc1.weight.size(0), layer.self_attn
    cross, square = getattr(layer, "encoder_attn", None), (width, width)
    shapes = [(part, square) for part in (own.q_proj, own.k_proj, own.v_proj, own.out_proj)]
    shapes += [(layer.fc1, (inner, width)), (layer.fc2, (width, inner))]
    if cross is not None:
        of_memory = (width, cross.k_proj.weight.size(1))
        shapes += [(cross.q_proj, square), (cross.out_proj, square)]
        shapes += [(cross.k_proj, of_memory), (cross.v_proj, of_memory)]
    return (
        width % own.num_heads == 0
        and (cross is None or cross.num_heads == own.num_heads)
        and all(part.weight.shape == shape for part, shape in shapes)
        and all(part.bias.shape == shape[:1] for part, shape in shapes)
        and all(is_as_wide(norm, width) for norm in norms_of(layer))
    )


def is_as_wide(norm: Any, width: int) -> bool:
    """Whether a layer norm is of so many numbers, and has its weights."""
    return (
        norm.weight is not None
        and norm.bias is not None
        and tuple(norm.normalized_shape) == (width,)
        and norm.weight.shape == norm.bias.shape == (width,)
    )
