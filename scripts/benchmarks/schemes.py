"""What every scheme costs beside this package's Pre-LN, as a table in Markdown.

Times are medians over rounds of ratios, both sides in turns (see benchmark.py); memory is what a
training step keeps for its backward pass. Weights are untrained, data are random.

    python scripts/benchmarks/schemes.py --sizes 12+12x256 --out schemes.json
"""

import argparse
import json
import sys
from typing import Any, Callable, Dict, List, Sequence

import torch
from torch import Tensor, nn

from benchmark import SEARCHES, training_step
from measuring import (
    OURS,
    Task,
    add_options,
    batch,
    build,
    check_out,
    in_turns,
    machine,
    options_of,
    positive,
    search_of,
    write,
)
from resdual_fairseq.schemes import RESIDUALS

HEADS = ("scheme", "parameters", "training step", "kept for backward", *(s[0] for s in SEARCHES))


def bytes_kept(step: Callable[[], Any]) -> int:
    """Bytes of all tensors that a step's forward pass keeps, weights not among them."""
    kept: Dict[int, int] = {}

    def look(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if not isinstance(tensor, nn.Parameter):
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(look, lambda tensor: tensor):
        step()
    return sum(kept.values())


def row(kind: str, size: str, task: Task, arguments: argparse.Namespace) -> Dict[str, Any]:
    """One scheme's figures, over Pre-LN's."""
    options = options_of(size)

    def made() -> List[nn.Module]:
        return [build(OURS, task, **options, residual=one) for one in (kind, "pre")]

    counts = [sum(p.numel() for p in model.parameters()) for model in made()]
    steps = [training_step(model, arguments) for model in made()]
    kept = [bytes_kept(step) for step in steps]
    timed = in_turns(steps[0], steps[1], arguments.rounds)
    found = {
        "size": size,
        "scheme": kind,
        "parameters": counts[0] / counts[1],
        "training step": timed["ratio"],
        "kept for backward": kept[0] / kept[1],
    }
    for name, beam, rows in SEARCHES:
        sample = batch(rows, 20, arguments.words)
        searches = [search_of(model, task, sample, beam) for model in made()]
        found[name] = in_turns(searches[0], searches[1], arguments.rounds)["ratio"]
    return found


def main(words: Sequence[str] = ()) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--residuals", nargs="+", default=list(RESIDUALS), choices=list(RESIDUALS))
    parser.add_argument(
        "--rounds", type=positive, default=5, help="5 or more for figures (default: %(default)s)"
    )
    add_options(parser)
    arguments = parser.parse_args(words or None)
    check_out(parser, arguments.out)
    torch.set_num_threads(arguments.threads)
    here = machine(arguments.threads)
    print(json.dumps(here), flush=True)
    task, rows = Task(arguments.words), []
    for size in arguments.sizes:
        print(f"\n{size}\n\n| {' | '.join(HEADS)} |\n|{'---|' * len(HEADS)}")
        for kind in arguments.residuals:
            rows.append(row(kind, size, task, arguments))
            figures = " | ".join(f"{rows[-1][name]:.2f}" for name in HEADS[1:])
            print(f"| `{kind}` | {figures} |", flush=True)
            if arguments.out is not None:
                write(arguments.out, here, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
