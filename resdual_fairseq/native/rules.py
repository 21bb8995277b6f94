"""Where the compiled library may compute in a model's place, and the weights it then takes."""

from typing import Any, Callable, List, NamedTuple, Optional, Tuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ..attention import can_fuse, is_plain
from ..residual import PostLN, PreLN, ResiDual
from .library import fingerprint, loaded
from .structures import ACTIVATIONS, Packed, PackedStack

KNOWN = (PostLN, PreLN, ResiDual)

kept: "WeakKeyDictionary[nn.Module, Kept]" = WeakKeyDictionary()


def usable(like: Tensor) -> bool:
    """Whether the library is there, and made for tensors like this one, here and now."""
    return (
        loaded() is not None
        and like.dtype == torch.float32
        and like.device.type == "cpu"
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


def state_of(module: nn.Module) -> Tuple[Any, ...]:
    """What changes when one of a module's weights does, or a hook comes or goes."""
    state: List[Any] = []
    for part in module.modules():
        state.append(bool(part._forward_hooks or part._forward_pre_hooks))
        for parameter in part._parameters.values():
            if parameter is not None:
                version = 0 if parameter.is_inference() else parameter._version
                state.append((parameter.data_ptr(), version))
    return tuple(state)


def arrays_of(module: nn.Module) -> Tensor:
    """Where a module's weights lie, for ``fingerprint``."""
    arrays = [
        (parameter.data_ptr(), parameter.numel())
        for parameter in module.parameters()
        if parameter.dtype == torch.float32
        and parameter.device.type == "cpu"
        and parameter.is_contiguous()
    ]
    return torch.tensor(arrays, dtype=torch.long).view(-1, 2).t().contiguous()


class Kept(NamedTuple):
    """What was made of a module, and of which state of it.

    fairseq's optimizers change weights through ``.data``, which no version tells: hence ``content``
    of the numbers that lie in ``arrays``.
    """

    state: Any
    arrays: Tensor
    content: int
    value: Any


def while_unchanged(module: nn.Module, int8: bool, make: Callable[[nn.Module], Any]) -> Any:
    """What ``make`` made of a module, made again when the module is not what it was."""
    state = (int8, state_of(module))
    known = kept.get(module)
    if known is None or known.state != state or known.content != fingerprint(known.arrays):
        arrays = arrays_of(module)
        known = kept[module] = Kept(state, arrays, fingerprint(arrays), make(module))
    return known.value


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
        return PackedStack(list(layers), stack.int8) if suit(layers) else None

    return while_unchanged(stack.layers, stack.int8, make)


def packed_projection(projection: nn.Module, int8: bool) -> Optional[Packed]:
    """The weights of an output projection, or None where it is more than a matrix."""

    def make(found: Any) -> Optional[Packed]:
        plain = type(found) is nn.Linear and not found._forward_hooks
        return Packed(found, int8=int8) if plain and not found._forward_pre_hooks else None

    return while_unchanged(projection, int8, make)


def suit(layers: Any) -> bool:
    return len({sizes(layer) for layer in layers}) == 1 and all(
        known(layer, getattr(layer, "encoder_attn", None)) for layer in layers
    )


def sizes(layer: Any) -> Tuple[Any, ...]:
    return (
        type(layer),
        getattr(layer, "embed_dim", None),
        layer.fc1.out_features,
        layer.self_attn.num_heads,
        getattr(layer, "encoder_attn", None) is None,
        layer.activation_fn,
    )


def known(layer: Any, cross: Any) -> bool:
    norms = [layer.self_attn_layer_norm, layer.final_layer_norm]
    if cross is not None:
        norms.append(layer.encoder_attn_layer_norm)
    return (
        layer.activation_fn in ACTIVATIONS
        and can_fuse(layer.self_attn)
        and is_plain(layer.fc1)
        and is_plain(layer.fc2)
        and (cross is None or (can_fuse(cross) and cross.num_heads == layer.self_attn.num_heads))
        and all(type(norm) in KNOWN and norm.weight is not None for norm in norms)
        and not any(part._forward_hooks or part._forward_pre_hooks for part in layer.modules())
        and all(p.is_contiguous() and p.dtype == torch.float32 for p in layer.parameters())
    )
