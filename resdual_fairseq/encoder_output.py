"""The encoder's output in another order of sentences, made when somebody reads it.

A beam search puts the encoder's output into the beams' new order after every token, and nobody
looks at it again once the decoder keeps the keys and values that it computed from it.
"""

from typing import Any, Callable, Dict, Iterator, List, Mapping

from torch import Tensor

Output = Mapping[str, List[Tensor]]


class ReorderedOutput(Mapping[str, List[Tensor]]):
    """A read-only view of fairseq's encoder output.

    Args:
        output: what was reordered; a view of a view keeps one order for both.
        order: row i shows row ``order[i]`` of it.
        reorder: fairseq's function that does it at once.
    """

    def __init__(
        self, output: Output, order: Tensor, reorder: Callable[[Any, Tensor], Dict[str, Any]]
    ) -> None:
        if isinstance(output, ReorderedOutput) and not output.made:
            order = output.order.index_select(0, order)
            output = output.output
        self.output: Output = output
        self.order: Tensor = order
        self.reorder = reorder
        self.made: Dict[str, List[Tensor]] = {}

    def whole(self) -> Dict[str, List[Tensor]]:
        if not self.made:
            # fairseq's function changes this list in place.
            states = {"encoder_states": list(self.output["encoder_states"])}
            self.made = self.reorder({**self.output, **states}, self.order)
        return self.made

    def __getitem__(self, key: str) -> List[Tensor]:
        return self.whole()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.whole())

    def __len__(self) -> int:
        return len(self.whole())
