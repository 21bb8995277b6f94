"""`resdual-average-checkpoints`: the mean of several checkpoints' weights.

fairseq keeps its own script for this in its repository, not in its packages. This one takes the
same options, loads with torch's protection on, and knows which metrics are best where largest.
"""

import argparse
import re
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple

import torch

from ..errors import ResDualError
from ..files import replacing
from .contents import difference, model_options
from .int8 import is_encoded
from .loading import load_whole_checkpoint, without_weights

EPOCH = re.compile(r"checkpoint(\d+)\.pt")
UPDATE = re.compile(r"checkpoint_\d+_(\d+)\.pt")
BEST = re.compile(r"checkpoint\.best_.+_(-?\d+\.?\d*)\.pt")
"""What fairseq-train calls its checkpoints, with the number that orders them."""


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


def last_checkpoints(
    folder: Path, pattern: "re.Pattern[str]", count: int, bound: Optional[int] = None
) -> List[Path]:
    """The last ``count`` checkpoints of a run whose names match, newest first.

    Args:
        folder: the run's.
        pattern: of the names.
        count: how many.
        bound: the last epoch or update that counts.

    Raises:
        ResDualError: there are fewer.
    """
    if not folder.is_dir():
        raise ResDualError(f"{folder} is not a folder; give the --save-dir of a run")
    found = [
        (number, path)
        for number, path in numbered(folder.iterdir(), pattern)
        if bound is None or number <= bound
    ]
    if count < 1 or len(found) < count:
        raise ResDualError(
            f"{folder} holds {len(found)} such checkpoints and {count} are to be averaged; "
            "give a number between 1 and that, or train with --keep-last-epochs or "
            "--save-interval-updates to keep more"
        )
    return [path for _, path in sorted(found, reverse=True)[:count]]


def best_checkpoints(inputs: Sequence[Path], count: int) -> List[Path]:
    """The ``count`` checkpoints of the best values among those that --keep-best-checkpoints kept.

    Args:
        inputs: files, or the folder of a run.
        count: how many, at most.

    Raises:
        ResDualError: a file, or every file of the folder, has another name.
    """
    files = list(inputs[0].iterdir() if len(inputs) == 1 and inputs[0].is_dir() else inputs)
    found = numbered(files, BEST)
    if not found or (len(found) < len(files) and files == list(inputs)):
        raise ResDualError(
            "--num-best-checkpoints picks among files named checkpoint.best_METRIC_VALUE.pt; train "
            "with --keep-best-checkpoints, and give these files or their folder"
        )
    cfg = without_weights(found[0][1]).get("cfg") or {}
    largest = bool((cfg.get("checkpoint") or {}).get("maximize_best_checkpoint_metric"))
    return [path for _, path in sorted(found, reverse=largest)[:count]]


def numbered(paths: Iterable[Path], pattern: "re.Pattern[str]") -> List[Tuple[float, Path]]:
    """The files whose names match, each with the number in its name."""
    matches = [(pattern.fullmatch(path.name), path) for path in paths]
    return [(float(match.group(1)), path) for match, path in matches if match]


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
    """The files that a command line names."""
    bound = args.checkpoint_upper_bound
    if args.num_epoch_checkpoints is None and args.num_update_checkpoints is None:
        if bound is not None:
            raise ResDualError(
                "--checkpoint-upper-bound goes with --num-epoch-checkpoints or "
                "--num-update-checkpoints; give one of them"
            )
        best = args.num_best_checkpoints
        return best_checkpoints(args.inputs, best) if best and best > 0 else list(args.inputs)
    if len(args.inputs) != 1:
        raise ResDualError("give --inputs one folder with a --num option, or several files without")
    if args.num_epoch_checkpoints is not None:
        return last_checkpoints(args.inputs[0], EPOCH, args.num_epoch_checkpoints, bound)
    return last_checkpoints(args.inputs[0], UPDATE, args.num_update_checkpoints, bound)


def write_whole(state: Dict[str, Any], output: Path) -> None:
    """Write a checkpoint, or leave nothing.

    Raises:
        ResDualError: it cannot be written.
    """
    try:
        with replacing(output) as unfinished:
            torch.save(state, unfinished)
    except (OSError, RuntimeError) as error:  # a full disk is a RuntimeError of torch's
        raise ResDualError(f"{output} cannot be written: {error}; give another --output") from error


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Entry point of the console script."""
    args = parse_arguments(arguments)
    paths = chosen_paths(args)
    print("averaging " + ", ".join(str(path) for path in paths))
    write_whole(average_checkpoints(paths), args.output)
    print(f"wrote {args.output}")


if __name__ == "__main__":
    main()
