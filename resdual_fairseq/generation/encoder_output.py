"""The encoder's output in another order of sentences, made when somebody reads it.

A beam search repeats the encoder's output for every beam, and puts it into the beams' new order
after every token. A decoder that keeps keys and values needs neither: it computes them from the
output as the encoder left it, once a sentence (``memory_of``), and does not look at it again.
"""

from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    MutableMapping,
    NamedTuple,
    Optional,
    Tuple,
)

import torch
from torch import Tensor

Output = Mapping[str, List[Tensor]]


class ReorderedOutput(MutableMapping[str, List[Tensor]]):
    """A view of fairseq's encoder output, which becomes a copy when it is read or changed.

    Until then it shows what the original holds, should that be changed in place.

    Args:
        output: what was reordered; a view of a view keeps one order for both.
        order: row i shows row ``order[i]`` of it.
        reorder: fairseq's function that does it at once.
    """

    def __init__(
        self, output: Output, order: Tensor, reorder: Callable[[Any, Tensor], Dict[str, Any]]
    ) -> None:
        if isinstance(output, ReorderedOutput) and output.made is None:
            order = output.order.index_select(0, order)
            output = output.output
        self.output: Output = output
        self.order: Tensor = order
        self.reorder = reorder
        self.made: Optional[Dict[str, List[Tensor]]] = None

    def whole(self) -> Dict[str, List[Tensor]]:
        if self.made is None:
            # fairseq's function changes this list in place.
            states = {"encoder_states": list(self.output["encoder_states"])}
            self.made = self.reorder({**self.output, **states}, self.order)
        return self.made

    def __getitem__(self, key: str) -> List[Tensor]:
        return self.whole()[key]

    def copy(self) -> Dict[str, List[Tensor]]:
        return dict(self.whole())

    def __setitem__(self, key: str, value: List[Tensor]) -> None:
        self.whole()[key] = value

    def __delitem__(self, key: str) -> None:
        del self.whole()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.whole())

    def __len__(self) -> int:
        return len(self.whole())


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
    """What there is to attend to in fairseq's encoder output, or in a view of it."""
    sentences: Optional[Tensor] = None
    if isinstance(encoder_out, ReorderedOutput) and encoder_out.made is None:
        sentences = encoder_out.order
        encoder_out = encoder_out.output
    if encoder_out is None or not encoder_out["encoder_out"]:
        return None
    masks = encoder_out["encoder_padding_mask"]
    padding = masks[0].to(torch.bool) if masks and bool(masks[0].any()) else None
    return Memory(encoder_out["encoder_out"][0], padding, sentences)
