"""Single matrix products of the compiled library beside torch's, for scripts/benchmark.py."""

from typing import Any, Dict, NamedTuple

import torch
from benchmark_models import in_turns, options_of
from torch import nn

from resdual_fairseq.native import library
from resdual_fairseq.native.structs import Packed

FROM_MEMORY = 2**26
"""Weights that no cache holds, in 8 bits either."""
MOST_COPIES = 1024
"""Of a matrix: what is narrower than 128 comes from a cache all the same."""


class Product(NamedTuple):
    """A matrix product to time: of so many rows, with the feed-forward's or the vocabulary's."""

    rows: int
    outputs: str
    int8: bool
    from_memory: bool = False
    """Whether there are so many matrices that no cache holds them."""

    def __str__(self) -> str:
        ends = (", 8 bits" * self.int8, ", from memory" * self.from_memory)
        return f"product for the {self.outputs}, {self.rows} rows{''.join(ends)}"


PRODUCTS = [
    *(
        Product(rows, outputs, int8)
        for rows in (5, 160)
        for outputs in ("feed-forward", "vocabulary")
        for int8 in (False, True)
    ),
    *(Product(5, "feed-forward", int8, from_memory=True) for int8 in (False, True)),
]


def products(product: Product, size: str, words: int, rounds: int) -> Dict[str, Any]:
    """A product by the compiled library, over torch's of floats; GFLOP/s, and GB/s from memory."""
    width = options_of(size)["encoder_embed_dim"]
    outputs = {"feed-forward": 4 * width, "vocabulary": words}[product.outputs]
    together = library.together() if product.int8 else 0
    numbers = width * outputs
    copies = max(1, min(FROM_MEMORY // numbers, MOST_COPIES)) if product.from_memory else 1
    layers = [nn.Linear(width, outputs) for _ in range(copies)]
    packed = [Packed(layer, together=together) for layer in layers]
    x = torch.randn(product.rows, width)
    out = torch.empty(product.rows, outputs)
    giga = 2e-9 * product.rows * numbers
    times = max(1, int(0.5 / giga / copies))

    def ours() -> None:
        for _ in range(times):
            for one in packed:
                library.linear(one.structure, x, out)

    def host() -> None:
        for _ in range(times):
            for layer in layers:
                layer(x)

    with torch.no_grad():
        figures = in_turns(ours, host, rounds)
    speeds = {
        f"{side}_gflops": times * copies * giga / figures[f"{side}_seconds"]
        for side in ("ours", "host")
    }
    if product.from_memory:
        read = times * copies * packed[0].weight.numel() * packed[0].weight.element_size()
        speeds["ours_gigabytes"] = read / figures["ours_seconds"] / 1e9
    return {**figures, **speeds}
