"""How many feed-forward units of a trained model ReLU sets to 0.

Products on the CPU leave out units that are 0: in a batch each token's own, for a few tokens those
that are 0 in all six rows of a tile. So this tells what `scripts/benchmark.py --silent` should be
given for weights like trained ones.

    python scripts/silent_units.py data/data-bin checkpoints/checkpoint_best.pt
"""

import argparse
import sys
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

import torch
from torch import Tensor, nn

from resdual_fairseq.diagnostics.checkpoints import load
from resdual_fairseq.diagnostics.command import positive
from resdual_fairseq.diagnostics.data import draw_batches, open_task
from resdual_fairseq.errors import ResDualError

TILE = 6


class Counter:
    """Units of one layer, summed over batches: at tokens, and at tiles of six (padding, too)."""

    def __init__(self, down: nn.Module) -> None:
        self.tokens = self.silent_tokens = self.tiles = self.silent_tiles = 0
        down.register_forward_pre_hook(self.count)

    def count(self, _: nn.Module, inputs: Tuple[Tensor, ...]) -> None:
        silent = inputs[0].transpose(0, 1).flatten(0, 1).eq(0)
        tiles = silent[: len(silent) // TILE * TILE].unflatten(0, (-1, TILE)).all(dim=1)
        self.tokens += silent.numel()
        self.silent_tokens += int(silent.sum())
        self.tiles += tiles.numel()
        self.silent_tiles += int(tiles.sum())

    def shares(self) -> Tuple[float, float]:
        return self.silent_tokens / self.tokens, self.silent_tiles / max(1, self.tiles)


@torch.no_grad()
def counted(model: Any, batches: Sequence[Dict[str, Any]]) -> List[Tuple[str, float, float]]:
    """For every layer: its name, and the shares of 0 at a token and at a whole tile."""
    layers = [
        (f"{stack} layer {number}", layer)
        for stack in ("encoder", "decoder")
        for number, layer in enumerate(getattr(model, stack).layers, 1)
    ]
    counters = [(name, Counter(layer.fc2)) for name, layer in layers]
    for batch in batches:
        model(**batch["net_input"])
    return [(name, *counter.shares()) for name, counter in counters]


def main(words: Sequence[str] = ()) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", metavar="DATA_BIN", help="a folder made by fairseq-preprocess")
    parser.add_argument("checkpoint", type=Path, help="written by fairseq-train")
    parser.add_argument("--split", default="valid", help="part of the data (%(default)s)")
    parser.add_argument("--batches", type=positive, default=4, help="of 1,000 tokens (%(default)s)")
    arguments = parser.parse_args(words or None)
    try:
        task = open_task(arguments.data, arguments.split)
        model, _ = load(arguments.checkpoint, task)
        batches = draw_batches(task, arguments.split, 1000, arguments.batches, 1000)
    except ResDualError as error:
        parser.error(str(error))
    print("units that are 0 at a token, and at six tokens that follow one another")
    for name, of_token, of_tile in counted(model.eval(), batches):
        print(f"{name:<18} {of_token:6.1%} {of_tile:6.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
