"""A search's state in fairseq's form: entries of the layers' attention, made when they are read.

fairseq's ``incremental_state`` has a dictionary of keys and values for every attention. Programs
may copy it, cut it back, fill it in or map over it. Steps of the whole stack leave one immutable
state in all of these entries. Where all are still unread and of one step, the next step goes on
from it; otherwise the layers decode, from whatever the entries hold.
"""

from functools import partial
from typing import Dict, List, Optional, Protocol, Sequence, Tuple

from fairseq.modules import MultiheadAttention
from torch import Tensor

from ..model.layers import ResDualDecoderLayer
from .lazy_dict import LazyDict

IncrementalState = Dict[str, Dict[str, Optional[Tensor]]]
Entry = Dict[str, Optional[Tensor]]
"""``prev_key``, ``prev_value`` (rows x heads x T x C/heads), ``prev_key_padding_mask`` or None."""
KEY = "attn_state"
"""fairseq's name for it in ``MultiheadAttention``."""


class DecodingState(Protocol):
    """What is known after some steps of a search. It never changes: each step makes another."""

    def step(
        self, x: Tensor, padding: Optional[Tensor], alignment_layer: int
    ) -> Tuple["DecodingState", Tensor, List[Tensor], Optional[Tensor]]:
        """Decode one token.

        Args:
            x: its embedding, 1 x rows x C.
            padding: rows x 1, True where the token is padding, or None.
            alignment_layer: the layer whose cross-attention is returned, or -1 for none.

        Returns:
            the next state; the stack's output 1 x rows x C; x after every layer; cross-attention
            heads x rows x 1 x S, or None.
        """

    def reorder(self, order: Tensor) -> "DecodingState":
        """Row i goes on as row ``order[i]``; sentences may leave, with all their beams."""

    def self_attention_entry(self, layer: int) -> Entry:
        """What a layer's self-attention would have kept."""

    def cross_attention_entry(self, layer: int, beam: int) -> Entry:
        """The same of cross-attention, which keeps one row for every ``beam`` of them."""


class AttentionEntry(LazyDict):
    """The entry of one attention in the state that a step left."""

    def __init__(self, state: DecodingState, make: "partial[Entry]") -> None:
        super().__init__(make)
        self.state = state


def attentions(layers: Sequence[ResDualDecoderLayer]) -> List[MultiheadAttention]:
    """fairseq's attentions in a decoder's layers, in a fixed order."""
    found = [(layer.self_attn, layer.encoder_attn) for layer in layers]
    return [one for pair in found for one in pair if isinstance(one, MultiheadAttention)]


def keep(
    state: DecodingState,
    layers: Sequence[ResDualDecoderLayer],
    incremental_state: IncrementalState,
) -> None:
    """Leave a step's state in the entries of all attentions."""
    for index, layer in enumerate(layers):
        made = partial(state.self_attention_entry, index)
        layer.self_attn.set_incremental_state(incremental_state, KEY, AttentionEntry(state, made))
        cross = layer.encoder_attn
        if cross is not None:
            made = partial(state.cross_attention_entry, index, cross.beam_size)
            cross.set_incremental_state(incremental_state, KEY, AttentionEntry(state, made))


def entries(
    layers: Sequence[ResDualDecoderLayer], incremental_state: IncrementalState
) -> List[Optional[Entry]]:
    """What each attention has in a search's state."""
    return [
        attention.get_incremental_state(incremental_state, KEY) for attention in attentions(layers)
    ]


def state_in(found: Sequence[Optional[Entry]]) -> Optional[DecodingState]:
    """The state that a step left in all of these entries; None if anything else is there."""
    first = next(iter(found), None)
    if not isinstance(first, AttentionEntry):
        return None
    untouched = (
        isinstance(entry, AttentionEntry) and entry.unread and entry.state is first.state
        for entry in found
    )
    return first.state if all(untouched) else None


def hand_to_layers(incremental_state: IncrementalState) -> None:
    """Make ordinary dictionaries of entries, which the layers' attention will change."""
    for key, entry in incremental_state.items():
        if isinstance(entry, AttentionEntry):
            incremental_state[key] = dict(entry)
