"""Weights as the library reads them, kept as long as the module they are of is what it was."""

import logging
from functools import cache
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple
from weakref import WeakKeyDictionary

import torch
from fairseq.modules import FairseqDropout, MultiheadAttention
from torch import Tensor, nn

from ..model.layers import LAYER_METHODS, classes_are_as_written, members
from ..native import library
from ..native.structs import Packed, PackedStack
from ..residual import EQUATIONS
from .plain import is_memory, parts_of
from .support import are_known, is_matrix, is_readable

tell = cache(logging.getLogger(__name__).info)
kept: "WeakKeyDictionary[nn.Module, Kept]" = WeakKeyDictionary()

STEPS = (1, 61, 127, 251)
"""Of so many numbers of a matrix one is looked at. They are primes, so that none but their own
multiples as widths keep them from meeting every column (step_of)."""
FEW = 2**14
"""Of fewer numbers none is left out."""

DECISIVE = (
    *("forward", "training", *LAYER_METHODS, *EQUATIONS),
    *("eps", "s", "normalized_shape", "activation_fn"),
)
"""What a module's own attributes may say of the sums that it computes."""
OF_CLASS: Dict[type, Sequence[str]] = {
    nn.Linear: ("forward", "training"),
    FairseqDropout: ("forward", "training", "apply_during_inference"),
    MultiheadAttention: (
        *("forward", "training", "num_heads", "head_dim", "scaling", "bias_k"),
        *("add_zero_attn", "use_xformers", "onnx_trace", "skip_embed_dim_check"),
    ),
}
"""The same where there are others, or fewer."""


def state_of(module: nn.Module) -> Tuple[Any, ...]:
    """What changes when one of a module's parts or weights does, or a hook comes or goes."""
    state: List[Any] = []
    for part in parts_of(module):
        own = part.__dict__
        hooks = (part._forward_hooks, part._forward_pre_hooks, part._backward_hooks)
        state.append((type(part), any(hooks) or bool(part._backward_pre_hooks)))
        for name in OF_CLASS.get(type(part), DECISIVE):
            value = own.get(name)
            # A function may refer to the model, which is not to be kept alive.
            state.append(id(value) if callable(value) else value)
        for parameter in part._parameters.values():
            if parameter is not None:
                state.append(place_of(parameter))
    return tuple(state)


def place_of(weight: Tensor) -> Tuple[Any, ...]:
    """Where numbers lie, and in which version; of what only stands for numbers, which it is."""
    if not is_memory(weight):
        return type(weight), id(weight)
    version = 0 if weight.is_inference() else weight._version
    place = (weight.data_ptr(), weight.shape, weight.stride())
    return place, weight.dtype, weight.device, version


def arrays_of(module: nn.Module, prepared: bool) -> Tensor:
    """Where a module's weights lie, for ``fingerprint``: all of them, or enough of each matrix."""
    found = [
        (p.data_ptr(), p.numel(), step_of(p.shape) if prepared else 1)
        for p in module.parameters()
        if is_readable(p)
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
    module: nn.Module, stack: Any, make: Callable[[nn.Module], Any], begins: bool = False
) -> Any:
    """What ``make`` made of a module, made again when the module is not what it was.

    Args:
        module: layers or a projection.
        stack: that it belongs to.
        make: what is to be done with the module.
        begins: whether a search does, which is when weights are looked at, too.
    """
    state = (together(stack), state_of(module))
    known = kept.get(module)
    if known is None or known.state != state or (begins and has_other_weights(known)):
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
        if are_known(found):
            return PackedStack(found, together(stack))
        tell(
            f"a {type(stack).__name__} runs in torch: the compiled library does not know all "
            "of its layers (their options, sizes or dtypes, hooks, or parts that were replaced)"
        )
        return None

    if not classes_are_as_written():
        return None
    return while_unchanged(stack.layers, stack, make, begins=True)


def packed_projection(projection: nn.Module, stack: Any) -> Optional[Packed]:
    """The weights of an output projection, or None where it is more than a matrix."""

    def make(found: Any) -> Optional[Packed]:
        return Packed(found, together=together(stack)) if is_matrix(found) else None

    return while_unchanged(projection, stack, make)
