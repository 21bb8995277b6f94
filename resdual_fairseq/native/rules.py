"""Where the compiled library may compute in a model's place, and the weights it then takes."""

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple
from weakref import WeakKeyDictionary

import torch
from fairseq.modules import FairseqDropout, MultiheadAttention
from torch import Tensor, nn

from ..layers import LAYER_METHODS, classes_are_as_written, is_as_written, members
from ..plain import can_fuse, has_global_hooks, is_plain, is_plainly_called, parts_of
from ..residual import EQUATIONS, PostLN, PreLN, ResiDual
from . import library
from .structures import ACTIVATIONS, Packed, PackedStack

KNOWN = (PostLN, PreLN, ResiDual)

kept: "WeakKeyDictionary[nn.Module, Kept]" = WeakKeyDictionary()


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
    )


STEPS = (1, 61, 127, 251)
"""Primes: one number in so many falls on every row of a matrix that is as wide, and on every column
of one that is as high and whose width is no multiple of it."""
FEW = 2**14
"""Of fewer numbers none is left out."""

DECISIVE = ("forward", "training", *LAYER_METHODS, *EQUATIONS, "eps", "s", "activation_fn")
"""What a module's own attributes may say of the sums that it computes."""
OF_CLASS: Dict[type, Sequence[str]] = {
    nn.Linear: ("forward", "training"),
    FairseqDropout: ("forward", "training", "apply_during_inference"),
    MultiheadAttention: (
        *("forward", "training", "num_heads", "scaling", "add_zero_attn", "bias_k"),
        *("use_xformers", "onnx_trace", "skip_embed_dim_check"),
    ),
}
"""The same where there are others, or fewer."""


def state_of(module: nn.Module) -> Tuple[Any, ...]:
    """What changes when one of a module's parts or weights does, or a hook comes or goes."""
    state: List[Any] = []
    for part in parts_of(module):
        own = part.__dict__
        state.append((type(part), bool(part._forward_hooks or part._forward_pre_hooks)))
        state.extend(own.get(name) for name in OF_CLASS.get(type(part), DECISIVE))
        for parameter in part._parameters.values():
            if parameter is not None:
                version = 0 if parameter.is_inference() else parameter._version
                place = (parameter.data_ptr(), parameter.shape, parameter.stride())
                state.append((place, parameter.dtype, parameter.device, version))
    return tuple(state)


def arrays_of(module: nn.Module, prepared: bool) -> Tensor:
    """Where a module's weights lie, for ``fingerprint``: all of them, or enough of each matrix."""
    found = [
        (p.data_ptr(), p.numel(), step_of(p.shape) if prepared else 1)
        for p in module.parameters()
        if p.dtype == torch.float32 and p.device.type == "cpu" and p.is_contiguous()
    ]
    return torch.tensor(found, dtype=torch.int64).view(-1, 3)


def step_of(shape: torch.Size) -> int:
    """Of how many numbers one is enough to meet every row and every column of a matrix."""
    columns = shape[-1] if shape else 1
    rows = shape.numel() // max(1, columns)
    if shape.numel() < FEW:
        return 1
    return max(
        step for step in STEPS if step <= min(rows, columns) and (columns % step or step == 1)
    )


class Kept(NamedTuple):
    """What was made of a module, and of which state of it.

    fairseq's optimizers change weights through ``.data``, which no version tells: hence
    ``content``, the checksum of the numbers in ``arrays``: of all, until the model is prepared for
    inference, after which fairseq refuses to train it. Then some are enough that changed rows and
    columns do not escape, for reading all would be a good part of one sentence's time.
    """

    state: Any
    arrays: Tensor
    content: int
    value: Any


def while_unchanged(
    module: nn.Module, stack: Any, make: Callable[[nn.Module], Any], look_again: bool = False
) -> Any:
    """What ``make`` made of a module, made again when the module is not what it was.

    Args:
        module: layers or a projection.
        stack: that it belongs to.
        make: what is to be done with the module.
        look_again: at its weights, too, as is due when a search begins.
    """
    state = (together(stack), state_of(module))
    known = kept.get(module)
    if known is None or known.state != state or (look_again and has_other_weights(known)):
        arrays = arrays_of(module, stack.prepared)
        known = kept[module] = Kept(state, arrays, library.fingerprint(arrays), make(module))
    return known.value


def together(stack: Any) -> int:
    """``Packed``'s argument of this name for the weights of a stack."""
    return library.together() if stack.int8 else 0


def has_other_weights(known: Kept) -> bool:
    """Whether the numbers are others in a module whose state is as it was.

    Only then do its arrays lie where they lay: those of another state may be gone.
    """
    return bool(known.content != library.fingerprint(known.arrays))


def look_again(projection: Optional[nn.Module], stack: Any) -> None:
    """Drop what was made of a projection that is not what it was; called as a search begins."""
    known = None if projection is None else kept.get(projection)
    if known is not None and (
        known.state != (together(stack), state_of(projection)) or has_other_weights(known)
    ):
        kept.pop(projection, None)  # which another thread may have done


def forget(stack: Any) -> None:
    """Drop what was made of a stack that is going to be trained."""
    kept.pop(stack.layers, None)
    if getattr(stack, "output_projection", None) is not None:
        kept.pop(stack.output_projection, None)


def packed_stack(stack: Any) -> Optional[PackedStack]:
    """The weights of a stack's layers, or None where one is not what the library computes.

    Args:
        stack: a ``ResDualEncoder`` or ``ResDualDecoder``.
    """

    def make(layers: Any) -> Optional[PackedStack]:
        found = members(layers)
        return PackedStack(found, together(stack)) if suit(found) else None

    if not classes_are_as_written():
        return None
    return while_unchanged(stack.layers, stack, make, look_again=True)


def packed_projection(projection: nn.Module, stack: Any) -> Optional[Packed]:
    """The weights of an output projection, or None where it is more than a matrix."""

    def make(found: Any) -> Optional[Packed]:
        return Packed(found, together=together(stack)) if is_matrix(found) else None

    return while_unchanged(projection, stack, make)


def is_matrix(projection: Any) -> bool:
    """Whether a projection is a matrix, with a bias or without, in which nothing misfits."""
    if type(projection) is not nn.Linear or not is_plainly_called(projection):
        return False
    weight, bias = (projection._parameters.get(name) for name in ("weight", "bias"))
    return (
        weight is not None
        and weight.dim() == 2
        and is_readable(weight)
        and (
            (bias is None and projection.bias is None)
            or (bias is not None and bias.shape == weight.shape[:1] and is_readable(bias))
        )
    )


def is_readable(tensor: Tensor) -> bool:
    """Whether these are numbers as the library reads them."""
    return (
        tensor.dtype == torch.float32
        and tensor.device.type == "cpu"
        and tensor.is_contiguous()
        and tensor.untyped_storage().size() >= 4 * tensor.numel()
    )


def suit(layers: Sequence[Any]) -> bool:
    return len({sizes(layer) for layer in layers}) == 1 and all(
        known(layer, getattr(layer, "encoder_attn", None)) for layer in layers
    )


def sizes(layer: Any) -> Tuple[Any, ...]:
    """What has to be equal in all layers, the shapes of their weights among it."""
    return (
        type(layer),
        layer.embed_dim,
        layer.self_attn.num_heads,
        layer.activation_fn,
        *(parameter.shape for parameter in layer.parameters()),
    )


def known(layer: Any, cross: Any) -> bool:
    norms = [layer.self_attn_layer_norm, layer.final_layer_norm]
    if cross is not None:
        norms.append(layer.encoder_attn_layer_norm)
    return (
        layer.activation_fn in ACTIVATIONS
        and is_as_written(layer)
        and can_fuse(layer.self_attn)
        and is_plain(layer.fc1)
        and is_plain(layer.fc2)
        and (cross is None or (can_fuse(cross) and cross.num_heads == layer.self_attn.num_heads))
        and all(is_known(norm) and owns_weights(norm) for norm in norms)
        and all(map(is_plainly_called, parts_of(layer)))
        and all(map(is_readable, layer.parameters()))
        and fits(layer, cross)
        # Of a unit that is 0 the weights are not read: torch is to meet what is not finite in them.
        and bool(layer.fc2.weight.isfinite().all())
    )


def owns_weights(norm: Any) -> bool:
    return all(norm._parameters.get(name) is not None for name in ("weight", "bias"))


def is_known(connection: Any) -> bool:
    """Whether a residual connection does what its class says, and the library knows the class."""
    return (
        type(connection) in KNOWN
        and is_plainly_called(connection)
        and not any(name in connection.__dict__ for name in EQUATIONS)
    )


def fits(layer: Any, cross: Any) -> bool:
    """Whether the weights have the shapes by which the library reads them."""
    width, inner, own = layer.embed_dim, layer.fc1.weight.size(0), layer.self_attn
    square = (width, width)
    shapes = [(part, square) for part in (own.q_proj, own.k_proj, own.v_proj, own.out_proj)]
    shapes += [(layer.fc1, (inner, width)), (layer.fc2, (width, inner))]
    if cross is not None:
        of_memory = (width, cross.k_proj.weight.size(1))
        shapes += [(cross.q_proj, square), (cross.out_proj, square)]
        shapes += [(cross.k_proj, of_memory), (cross.v_proj, of_memory)]
    norms = [part for part in layer.modules() if isinstance(part, nn.LayerNorm)]
    return (
        width % own.num_heads == 0
        and all(part.weight.shape == shape for part, shape in shapes)
        and all(part.bias.shape == shape[:1] for part, shape in shapes)
        and all(norm.weight.shape == norm.bias.shape == (width,) for norm in norms)
    )
