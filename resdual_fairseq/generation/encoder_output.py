"""The encoder's output in another order of sentences, made when somebody reads it.

A beam search repeats the encoder's output for every beam, and puts it into the beams' new order
after every token. A decoder that keeps keys and values needs neither: it computes them from the
output as the encoder left it, once a sentence (``memory_of``), and does not look at it again.
"""

from typing import Dict, List, NamedTuple, Optional, Tuple

import torch
from fairseq.models.transformer import TransformerEncoderBase
from torch import Tensor

from .lazy_dict import LazyDict

Output = Dict[str, List[Tensor]]


class ReorderedOutput(LazyDict):
    """An encoder's output, reordered when it is read: row i is row ``order[i]`` of it.

    Two orders in a row become one.
    """

    output: Output
    order: Tensor

    def __init__(self, encoder: TransformerEncoderBase, output: Output, order: Tensor) -> None:
        if isinstance(output, ReorderedOutput) and output.unread:
            order = output.order.index_select(0, order)
            output = output.output
        # The caller's dictionary, lists and order may change before this is read.
        self.output = {key: list(value) for key, value in output.items()}
        self.order = order.clone()
        super().__init__(lambda: encoder.reorder_at_once(self.output, self.order))


class Memory(NamedTuple):
    """What a decoder's rows attend to, each sentence once.

    Attributes:
        output: the encoder's, S x sentences x C_enc.
        padding: sentences x S, True at padding; None where there is none.
        sentences: which of the sentences each row attends to; None: row i to sentence i.
    """

    output: Tensor
    padding: Optional[Tensor]
    sentences: Optional[Tensor]

    def by_beams(self) -> Tuple["Memory", int]:
        """The same with as many rows, one after another, for each sentence; and how many."""
        if self.sentences is None:
            return self, 1
        count = self.output.size(1)
        beam = self.sentences.numel() // max(1, count)
        if torch.equal(self.sentences, each(count, beam).to(self.sentences)):
            return self, beam
        padding = None if self.padding is None else self.padding.index_select(0, self.sentences)
        return Memory(self.output.index_select(1, self.sentences), padding, None), 1


def each(count: int, times: int) -> Tensor:
    """0, 0, ..., 1, 1, ...: each of so many numbers so many times."""
    return torch.arange(count).repeat_interleave(times)


def memory_of(encoder_out: Optional[Output]) -> Optional[Memory]:
    """What there is to attend to in fairseq's encoder output, or in one reordered."""
    sentences: Optional[Tensor] = None
    if isinstance(encoder_out, ReorderedOutput) and encoder_out.unread:
        sentences = encoder_out.order
        encoder_out = encoder_out.output
    if encoder_out is None or not encoder_out["encoder_out"]:
        return None
    masks = encoder_out["encoder_padding_mask"]
    padding = masks[0].to(torch.bool) if masks and bool(masks[0].any()) else None
    return Memory(encoder_out["encoder_out"][0], padding, sentences)
