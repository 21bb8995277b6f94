"""`resdual-average-checkpoints`: the mean of several checkpoints' weights.

fairseq keeps its own script for this in its repository, not in its packages. This one takes the
same options, loads with torch's protection on, and knows which metrics are best where largest.
"""

import argparse
import re
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch

from ..errors import ResDualError
from ..files import replacing
from .contents import difference, model_options
from .int8 import is_encoded
from .loading import load_whole_checkpoint, without_weights

EPOCHS, UPDATES, BEST = "num_epoch_checkpoints", "num_update_checkpoints", "num_best_checkpoints"
NAMES = {
    EPOCHS: re.compile(r"checkpoint(\d+)\.pt"),
    UPDATES: re.compile(r"checkpoint_\d+_(\d+)\.pt"),
    BEST: re.compile(r"checkpoint\.best_.+_(-?\d+\.?\d*)\.pt"),
}
"""What fairseq-train calls the checkpoints of each option, with the number that orders them."""


def average_checkpoints(paths: Sequence[Path]) -> Dict[str, Any]:
    """The first checkpoint, with the mean of all the checkpoints' weights.

    Sums are made in float64, so that neither order nor number matters to a weight's precision.
    Optimizer state is left out: it belongs to no mean.

    Args:
        paths: at least one file of fairseq's format, all of one model.

    Raises:
        ResDualError: a file is missing, broken, of another model, or has weights of 8 bits.
    """
    first = load_of_floats(paths[0])
    total = {name: weight.double() for name, weight in first["model"].items()}
    for path in paths[1:]:
        state = load_of_floats(path)
        differs = difference(model_options(state), model_options(first))
        if differs is not None:
            raise ResDualError(
                f"{path} was trained with {differs[0]}, and {paths[0]} with {differs[1]}; average "
                "checkpoints of one run only"
            )
        weights = state["model"]
        if shapes(weights) != shapes(total):
            raise ResDualError(
                f"{path} holds other weights than {paths[0]}; average checkpoints of one run only"
            )
        for name, weight in weights.items():
            total[name] += weight.double()
    first["model"] = {
        name: (weight / len(paths)).to(first["model"][name].dtype) for name, weight in total.items()
    }
    first["last_optimizer_state"] = None
    return first


def load_of_floats(path: Path) -> Dict[str, Any]:
    """A checkpoint whose weights can be averaged, which 8 bits of different scales cannot."""
    state = load_whole_checkpoint(path)
    if is_encoded(state["model"]):
        raise ResDualError(
            f"{path} has weights of 8 bits; average the checkpoints that it and the others were "
            "made from, then give the average to resdual-quantize"
        )
    return state


def shapes(weights: Dict[str, torch.Tensor]) -> Dict[str, Tuple[int, ...]]:
    return {name: tuple(weight.shape) for name, weight in weights.items()}


def parse_arguments(arguments: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="resdual-average-checkpoints", description="Average the weights of checkpoints."
    )
    parser.add_argument(
        "--inputs",
        nargs="+",
        type=Path,
        required=True,
        help="checkpoint files, or a run's folder together with one of the --num options",
    )
    parser.add_argument("--output", type=Path, required=True, help="file to write")
    last = parser.add_mutually_exclusive_group()
    last.add_argument(
        "--num-epoch-checkpoints",
        type=int,
        metavar="N",
        help="the last N epochs' checkpoints of the folder (the paper: 10 on WMT)",
    )
    last.add_argument(
        "--num-update-checkpoints",
        type=int,
        metavar="N",
        help="the last N checkpoints that --save-interval-updates wrote",
    )
    last.add_argument(
        "--num-best-checkpoints",
        type=int,
        metavar="N",
        help="the N best of what --keep-best-checkpoints kept, by the value in their names",
    )
    parser.add_argument(
        "--checkpoint-upper-bound",
        type=int,
        metavar="LAST",
        help="leave out later epochs (with --num-epoch-checkpoints) or updates (with "
        "--num-update-checkpoints) than this",
    )
    return parser.parse_args(arguments)


def chosen_paths(args: argparse.Namespace) -> List[Path]:
    """The files that a command line names, the newest or best first where it names a number.

    Raises:
        ResDualError: a run has fewer, or ``--checkpoint-upper-bound`` bounds nothing.
    """
    kind = next((kind for kind in NAMES if getattr(args, kind) is not None), None)
    if args.checkpoint_upper_bound is not None and kind not in (EPOCHS, UPDATES):
        raise ResDualError(
            "--checkpoint-upper-bound goes with --num-epoch-checkpoints or "
            "--num-update-checkpoints; give one of them"
        )
    if kind is None:
        return list(args.inputs)
    found = numbered(args.inputs, kind, args.checkpoint_upper_bound)
    count = getattr(args, kind)
    if count < 1 or len(found) < (1 if kind == BEST else count):
        raise ResDualError(
            f"{args.inputs[0]} holds {len(found)} such checkpoints and {count} are to be averaged; "
            "give a number between 1 and that, or train with --keep-last-epochs, "
            "--save-interval-updates or --keep-best-checkpoints to keep more"
        )
    return [path for _, path in sorted(found, reverse=largest_first(kind, found[0][1]))[:count]]


def numbered(inputs: Sequence[Path], kind: str, bound: Optional[int]) -> List[Tuple[float, Path]]:
    """The files of one kind, up to a bound, in a run's folder or a list; each with its number."""
    folder = len(inputs) == 1 and inputs[0].is_dir()
    matches = [
        (NAMES[kind].fullmatch(path.name), path)
        for path in (inputs[0].iterdir() if folder else inputs)
    ]
    numbers = [(float(match.group(1)), path) for match, path in matches if match]
    if not folder and len(numbers) < len(inputs):
        raise ResDualError(
            f"--{kind.replace('_', '-')} picks among files of the names that fairseq-train gives "
            "them; give these, or the --save-dir of a run"
        )
    return [(number, path) for number, path in numbers if bound is None or number <= bound]


def largest_first(kind: str, checkpoint: Path) -> bool:
    """Whether a larger number is a later checkpoint, or a better one by the run's own metric."""
    cfg = without_weights(checkpoint).get("cfg") or {}
    metric = (cfg.get("checkpoint") or {}).get("maximize_best_checkpoint_metric")
    return kind != BEST or bool(metric)


def write_whole(state: Dict[str, Any], output: Path, inputs: Sequence[Path]) -> None:
    """Write a checkpoint, or leave nothing.

    Raises:
        ResDualError: it cannot be written, or would replace one of the inputs.
    """
    if output.resolve() in [path.resolve() for path in inputs]:
        raise ResDualError(f"{output} is read by this command; give another --output")
    try:
        with replacing(output) as unfinished:
            torch.save(state, unfinished)
    except RuntimeError as error:  # what torch makes of a full disk
        raise ResDualError(f"{output} cannot be written: {error}; name another place") from error


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Entry point of the console script."""
    args = parse_arguments(arguments)
    paths = chosen_paths(args)
    print("averaging " + ", ".join(str(path) for path in paths))
    write_whole(average_checkpoints(paths), args.output, paths)
    print(f"wrote {args.output}")
