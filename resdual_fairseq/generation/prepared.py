"""The one switch: a stack's weights are packed when fairseq prepares its model for inference."""

import logging
from typing import Any, Optional

import torch
from torch import Tensor, nn

from ..model.blocks import STACKS
from .packing import Packed
from .support import unsupported, unsupported_by_library

logger = logging.getLogger(__name__)


class PreparedStack(nn.Module):
    """A stack whose searches compute with packed weights; comes before its stack's class.

    What changes in a prepared stack by other ways than ``load_state_dict``, ``to`` and the like is
    not noticed: weights that are edited, hooks, parts and methods that are replaced.

    Attributes:
        prepared: whether fairseq has prepared the model for inference, and refuses to train it.
        obstacle: why its layers have to compute by themselves, or None; known once it is prepared.
        packed: the weights as the compiled library reads them, or None where torch computes.
        int8: whether they are packed in 8 bits.
    """

    __jit_ignored_attributes__ = ("packed",)

    prepared = False
    obstacle: Optional[str] = None
    packed: Optional[Packed] = None
    int8 = False

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.register_load_state_dict_post_hook(prepare_again)

    def pack(self) -> Packed:
        """The stack's weights, as they are."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Look at the stack, and pack its weights where the library can compute with them."""
        self.prepared = True
        self.obstacle = unsupported(self)
        reason = self.obstacle or unsupported_by_library(self)
        self.packed = self.pack() if reason is None else None
        where = "the compiled library" if reason is None else f"torch: {reason}"
        logger.info(f"the {self.part} runs in {where}")

    def use_int8(self, int8: bool) -> None:
        """Compute with weights of 8 bits, or with floats."""
        if int8 != self.int8:
            self.int8 = int8
            prepare_again(self)

    def usable_weights(self) -> Any:
        """What :meth:`pack` made; None where autograd, autocast or a tracer is to see a step."""
        recorded = (
            torch.is_grad_enabled()
            or torch.is_autocast_enabled("cpu")
            or torch.compiler.is_compiling()
            or torch.jit.is_tracing()
        )
        return None if recorded else self.packed

    def _apply(self, *args: object, **kwargs: object) -> nn.Module:
        """torch calls this for ``to``, ``half``, ``cuda`` and the like."""
        super()._apply(*args, **kwargs)
        prepare_again(self)
        return self

    def train(self, mode: bool = True) -> nn.Module:
        """Training drops what was packed, and 8 bits."""
        if mode:
            self.prepared, self.packed, self.int8 = False, None, False
        return super().train(mode)


def prepare_again(stack: PreparedStack, keys: object = None) -> None:
    """Pack the weights of a prepared stack anew; called where they became others."""
    if stack.prepared:
        stack.prepare()


def is_readable(tensor: Tensor) -> bool:
    """Whether what comes in is numbers in memory, as the library reads them."""
    return (
        type(tensor) in (Tensor, nn.Parameter)
        and tensor.dtype == torch.float32
        and tensor.layout == torch.strided
        and tensor.device.type == "cpu"
    )


class PreparesStacks(nn.Module):
    """A model that packs its stacks as fairseq prepares it; comes before fairseq's model class."""

    def make_generation_fast_(self, **kwargs: object) -> None:
        """fairseq's ``prepare_for_inference_`` calls this."""
        super().make_generation_fast_(**kwargs)
        for name in STACKS:
            stack = getattr(self, name, None)
            if isinstance(stack, PreparedStack):  # and none of a user's own
                stack.prepare()
