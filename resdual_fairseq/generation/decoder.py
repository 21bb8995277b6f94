"""The decoder of the registered models: searches take steps of the whole stack where they may."""

from typing import Dict, List, Optional, Tuple

import torch
from torch import Tensor

from ..compat import renamed
from ..model.decoder import DecoderOutput, ResDualDecoder
from ..model.layers import IncrementalState
from . import decoding_state, native_steps
from .decoding_state import DecodingState
from .encoder import draw_as_layers_do
from .encoder_output import Memory, memory_of
from .native_steps import NativeDecodingState
from .packing import PackedDecoder
from .prepared import PreparedStack, is_readable
from .support import only_adds, only_projects, unsupported
from .torch_steps import SharedWeights


class AcceleratedDecoder(PreparedStack, ResDualDecoder):
    """A ``ResDualDecoder`` with the same results sooner."""

    part = "decoder"
    output_layer_in_torch = renamed(ResDualDecoder.output_layer, "output_layer_in_torch")
    reorder_entries = renamed(ResDualDecoder.reorder_incremental_state_scripting, "reorder_entries")

    def pack(self) -> PackedDecoder:
        return PackedDecoder(self, self.int8, only_adds(self), only_projects(self))

    def extract_features(
        self,
        prev_output_tokens: Tensor,
        encoder_out: Optional[Dict[str, List[Tensor]]],
        incremental_state: IncrementalState = None,
        full_context_alignment: bool = False,
        alignment_layer: Optional[int] = None,
        alignment_heads: Optional[int] = None,
    ) -> DecoderOutput:
        """As ``extract_features_scriptable``, by a step of the whole stack in a search."""
        if not torch.jit.is_scripting():  # noqa: SIM102  (TorchScript leaves out this form alone)
            if incremental_state is not None:
                found = self.take_step(
                    prev_output_tokens,
                    encoder_out,
                    incremental_state,
                    alignment_layer,
                    alignment_heads,
                )
                if found is not None:
                    return found
        return self.extract_features_scriptable(
            prev_output_tokens,
            encoder_out,
            incremental_state,
            full_context_alignment,
            alignment_layer,
            alignment_heads,
        )

    @torch.jit.unused
    def take_step(
        self,
        tokens: Tensor,
        encoder_out: Optional[Dict[str, List[Tensor]]],
        incremental_state: Dict[str, Dict[str, Optional[Tensor]]],
        alignment_layer: Optional[int],
        alignment_heads: Optional[int],
    ) -> Optional[DecoderOutput]:
        """One step of a search, or None where the layers decode."""
        layers = list(self.layers.children())
        align = len(layers) - 1 if alignment_layer is None else alignment_layer
        state = self.state_before(encoder_out, incremental_state, align)
        if state is None:
            decoding_state.hand_to_layers(incremental_state)
            return None
        draw_as_layers_do(self.layers)
        x, padding = self.embed_step(tokens, incremental_state)
        if alignment_layer is None and not layers[align].need_attn:
            align = -1  # nobody asked for alignments: fairseq's prepare_for_inference_ says so
        state, y, states, weights = state.step(x, padding, align)
        decoding_state.keep(state, layers, incremental_state)
        return self.output(y, [x, *states], weights, alignment_heads)

    @torch.jit.unused
    def state_before(
        self,
        encoder_out: Optional[Dict[str, List[Tensor]]],
        incremental_state: Dict[str, Dict[str, Optional[Tensor]]],
        align: int,
    ) -> Optional[DecodingState]:
        """The state from which a step goes on, or begins; None where the layers decode."""
        layers = list(self.layers.children())
        if self.training or torch.is_grad_enabled() or not layers:
            return None
        if not 0 <= align < len(layers):
            return None
        entries = decoding_state.entries(layers, incremental_state)
        if all(entry is None for entry in entries):
            return self.begin(memory_of(encoder_out))
        state = decoding_state.state_in(entries)
        native = isinstance(state, NativeDecodingState)
        return None if native and self.usable_weights() is None else state

    def begin(self, memory: Optional[Memory]) -> Optional[DecodingState]:
        """The state before the first step of a search; None where the layers decode."""
        if (self.obstacle if self.prepared else unsupported(self)) is not None:
            return None
        layers = list(self.layers.children())
        if (layers[0].encoder_attn is not None) != (memory is not None):
            return None
        packed: Optional[PackedDecoder] = self.usable_weights()
        if packed is not None and (memory is None or can_read(packed, memory)):
            return native_steps.begin(packed, memory)
        return SharedWeights(layers, self.layer_norm).begin(memory)

    @torch.jit.unused
    def embed_step(
        self, tokens: Tensor, incremental_state: Dict[str, Dict[str, Optional[Tensor]]]
    ) -> Tuple[Tensor, Optional[Tensor]]:
        """As ``embed``, for the last of tokens."""
        packed: Optional[PackedDecoder] = self.usable_weights()
        if packed is not None and packed.embedding is not None:
            found = packed.embedding.embed(tokens)
            if found is not None:
                return found
        return self.embed(tokens, incremental_state)

    def reorder_incremental_state_scripting(
        self, incremental_state: Dict[str, Dict[str, Optional[Tensor]]], new_order: Tensor
    ) -> None:
        """As fairseq's; a step's state is reordered as a whole."""
        if not torch.jit.is_scripting():
            layers = list(self.layers.children())
            entries = decoding_state.entries(layers, incremental_state)
            state = decoding_state.state_in(entries)
            if state is not None:
                decoding_state.keep(state.reorder(new_order), layers, incremental_state)
                return
            decoding_state.hand_to_layers(incremental_state)
        self.reorder_entries(incremental_state, new_order)

    def output_layer(self, features: Tensor) -> Tensor:
        """Logits (B x T x V) of features (B x T x C); C where the softmax is adaptive."""
        if not torch.jit.is_scripting():
            packed = self.usable_weights()
            of_a_step = features.dim() == 3 and features.size(1) == 1 and is_readable(features)
            projection = packed.projection if packed is not None and of_a_step else None
            if projection is not None and projection.struct.inputs == features.size(2):
                return native_steps.project(projection, features)
        return self.output_layer_in_torch(features)


def can_read(packed: PackedDecoder, memory: Memory) -> bool:
    """Whether the library reads this encoder's output; if not, torch tells what misfits."""
    output, padding = memory.output, memory.padding
    return (
        is_readable(output)
        and output.dim() == 3
        and output.size(2) == packed.memory[0].struct.inputs
        and (padding is None or padding.shape == (output.size(1), output.size(0)))
    )
