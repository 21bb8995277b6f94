"""The encoder of the registered models: prepared for inference, it runs in the compiled library."""

from typing import Dict, List, Optional, Tuple

import torch
from torch import Tensor

from ..compat import renamed
from ..model.encoder import ResDualEncoder
from .encoder_output import ReorderedOutput
from .native_steps import run_encoder
from .packing import Packed
from .prepared import PreparedStack, is_readable


class AcceleratedEncoder(PreparedStack, ResDualEncoder):
    """A ``ResDualEncoder`` with the same results sooner."""

    part = "encoder"
    run_layers_in_torch = renamed(ResDualEncoder.run_layers, "run_layers_in_torch")
    reorder_at_once = renamed(ResDualEncoder.reorder_encoder_out, "reorder_at_once")

    def pack(self) -> Packed:
        return Packed(self, self.int8)

    def run_layers(
        self, x: Tensor, mask: Optional[Tensor], return_all_hiddens: bool
    ) -> Tuple[Tensor, List[Tensor]]:
        """See ``ResDualEncoder``."""
        if not torch.jit.is_scripting():
            packed = None if return_all_hiddens else self.usable_weights()
            if packed is not None and is_readable(x):
                draw_as_layers_do(self.layers)
                return run_encoder(packed, x, mask), []
        return self.run_layers_in_torch(x, mask, return_all_hiddens)

    @torch.jit.export
    def reorder_encoder_out(
        self, encoder_out: Dict[str, List[Tensor]], new_order: Tensor
    ) -> Dict[str, List[Tensor]]:
        """As fairseq's, but nothing is copied before somebody reads it."""
        if not torch.jit.is_scripting():
            return ReorderedOutput(self, encoder_out, new_order)
        return self.reorder_at_once(encoder_out, new_order)


def draw_as_layers_do(layers: torch.nn.ModuleList) -> None:
    """Draw the random numbers that LayerDrop draws in a pass, for whoever samples next."""
    next(iter(layers), None)
