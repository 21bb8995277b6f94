"""Looks at what passes through a model's residual connections, and changes nothing.

A probe stands between the layers and their connections: it wraps the connections' methods for as
long as it is open, sees the streams that come and go, and takes sums. The equations stay in
residual.py.
"""

import math
from collections import defaultdict
from functools import partial
from typing import Any, Callable, DefaultDict, Dict, List, Optional, Tuple

import torch
from torch import Tensor, nn

from ..model.blocks import STACKS, Block, blocks_of
from ..residual import Residual
from .ranks import Moments

Place = Tuple[str, int]
"""A stack and k."""
WRAPPED = ("block_input", "add_output", "stack_output")


class Probe:
    """Sums over batches of what each block reads and puts out; use it in a ``with`` statement.

    Attributes:
        token_sums: by place and quantity, sums over tokens; divide by ``tokens[stack]``.
        squares: by place and quantity, summed squares of gradients.
        maxima: by place and quantity, the largest so far.
        moments: by place, second moments of z_k (only with ``ranks``).

    Args:
        model: a ``resdual_transformer``.
        ranks: also collect the moments.
    """

    def __init__(self, model: nn.Module, ranks: bool = False) -> None:
        self.model = model
        self.blocks: List[Block] = blocks_of(model)
        self.ends: Dict[str, Residual] = {
            stack: getattr(model, stack).layer_norm for stack in STACKS
        }
        self.ranks = ranks
        self.token_sums: DefaultDict[Place, Dict[str, float]] = defaultdict(dict)
        self.squares: DefaultDict[Place, Dict[str, float]] = defaultdict(dict)
        self.maxima: DefaultDict[Place, Dict[str, float]] = defaultdict(dict)
        self.moments: Dict[Place, Moments] = {}
        self.tokens = dict.fromkeys(STACKS, 0)
        self.words: Dict[str, Tensor] = {}
        self.before: Dict[str, Tuple[Tensor, Tensor]] = {}

    def __enter__(self) -> "Probe":
        for block in self.blocks:
            place = (block.stack, block.k)
            wrap(block.connection, "block_input", partial(self.on_read, place))
            wrap(block.connection, "add_output", partial(self.on_join, place))
        for stack, end in self.ends.items():
            wrap(end, "stack_output", partial(self.on_close, (stack, end.k)))
        return self

    def __exit__(self, *_: object) -> None:
        for connection in [block.connection for block in self.blocks] + list(self.ends.values()):
            for name in WRAPPED:
                connection.__dict__.pop(name, None)
        self.words.clear()
        self.before.clear()

    def expect(self, sample: Dict[str, Any]) -> None:
        """Told of every batch before it runs: which of its positions are words."""
        inputs = {"encoder": "src_tokens", "decoder": "prev_output_tokens"}
        for stack, name in inputs.items():
            padding = getattr(self.model, stack).padding_idx
            self.words[stack] = sample["net_input"][name].ne(padding).t()
            self.tokens[stack] += int(self.words[stack].sum())
        self.before.clear()

    def on_read(
        self, place: Place, read: Callable[..., Tensor], x: Tensor, d: Optional[Tensor]
    ) -> Tensor:
        z = read(x, d)
        self.look(place, x, d, z)
        self.watch_gradient(place, "stream_gradient", x)
        self.watch_gradient(place, "input_gradient", z)
        return z

    def on_join(
        self, place: Place, join: Callable[..., Any], x: Tensor, d: Optional[Tensor], f: Tensor
    ) -> Any:
        words = self.words[place[0]]
        self.add_tokens(place, "output_size", size(f.detach())[words])
        self.enlarge(place, "largest", f)
        return join(x, d, f)

    def on_close(
        self, place: Place, close: Callable[..., Tensor], x: Tensor, d: Optional[Tensor]
    ) -> Tensor:
        with torch.no_grad():
            z = self.ends[place[0]].block_input(x, d)
        self.look(place, x, d, z)
        y = close(x, d)
        self.enlarge(place, "largest", y)
        return y

    def look(self, place: Place, x: Tensor, d: Optional[Tensor], z: Tensor) -> None:
        """Take in the streams before block k (or after the last), and what block k reads."""
        stack, k = place
        words = self.words[stack]
        x, z = x.detach(), z.detach()
        self.add_tokens(place, "stream_size", size(x)[words])
        self.enlarge(place, "largest", x)
        self.enlarge(place, "largest", z)
        if d is not None and d.shape == x.shape:
            self.add_tokens(place, "dual_size", size(d.detach())[words])
            self.enlarge(place, "dual_largest", d)
            self.enlarge(place, "largest", d)
        if stack in self.before:
            last_x, last_z = self.before[stack]
            last = (stack, k - 1)
            cosine = nn.functional.cosine_similarity(last_z.float(), z.float(), dim=-1)
            self.add_tokens(last, "stream_change", size(x - last_x)[words])
            self.add_tokens(last, "input_change", size(z - last_z)[words])
            self.add_tokens(last, "input_cosine", cosine[words])
        if self.ranks:
            before = self.before[stack][1][words] if stack in self.before else None
            self.moments.setdefault(place, Moments()).add(z[words], before)
        self.before[stack] = (x, z)

    def add_tokens(self, place: Place, quantity: str, values: Tensor) -> None:
        sums = self.token_sums[place]
        sums[quantity] = sums.get(quantity, 0.0) + values.double().sum().item()

    def enlarge(self, place: Place, quantity: str, values: Tensor) -> None:
        found = values.detach().abs().max().item()
        largest = self.maxima[place].get(quantity, 0.0)
        # NaN stays, whatever comes after it.
        self.maxima[place][quantity] = found if math.isnan(found) else max(found, largest)

    def watch_gradient(self, place: Place, quantity: str, value: Tensor) -> None:
        if value.requires_grad:
            value.register_hook(partial(self.add_gradient, place, quantity))

    def add_gradient(self, place: Place, quantity: str, gradient: Tensor) -> None:
        squares = self.squares[place]
        squares[quantity] = squares.get(quantity, 0.0) + gradient.double().square().sum().item()


def wrap(connection: Residual, name: str, seen: Callable[..., Any]) -> None:
    """Let ``seen(method, ...)`` stand for a connection's method until its instance forgets it."""
    setattr(connection, name, partial(seen, getattr(connection, name)))


def size(vectors: Tensor) -> Tensor:
    """|v| / sqrt(length) of the last dimension."""
    return vectors.float().norm(dim=-1) / math.sqrt(vectors.size(-1))
