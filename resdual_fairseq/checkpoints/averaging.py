"""`resdual-average-checkpoints`: the mean of several checkpoints' weights.

fairseq keeps its own script for this in its repository, not in its packages. This one takes the
same options, and loads with torch's protection on.
"""

import argparse
import re
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch

from ..errors import ResDualError
from ..files import replacing
from .int8 import is_encoded
from .loading import load_whole_checkpoint

EPOCH = re.compile(r"checkpoint(\d+)\.pt")
UPDATE = re.compile(r"checkpoint_\d+_(\d+)\.pt")


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
        weights = load_of_floats(path)["model"]
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


def last_checkpoints(folder: Path, pattern: "re.Pattern[str]", count: int) -> List[Path]:
    """The last ``count`` checkpoints of a run whose names match, newest first.

    Raises:
        ResDualError: there are fewer.
    """
    if not folder.is_dir():
        raise ResDualError(f"{folder} is not a folder; give the --save-dir of a run")
    matches = [(pattern.fullmatch(path.name), path) for path in folder.iterdir()]
    found = [(int(match.group(1)), path) for match, path in matches if match]
    if count < 1 or len(found) < count:
        raise ResDualError(
            f"{folder} holds {len(found)} such checkpoints and {count} are to be averaged; "
            "give a number between 1 and that, or train with --keep-last-epochs or "
            "--save-interval-updates to keep more"
        )
    return [path for _, path in sorted(found, reverse=True)[:count]]


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
    return parser.parse_args(arguments)


def chosen_paths(args: argparse.Namespace) -> List[Path]:
    """The files that a command line names."""
    if args.num_epoch_checkpoints is None and args.num_update_checkpoints is None:
        return list(args.inputs)
    if len(args.inputs) != 1:
        raise ResDualError("give --inputs one folder with a --num option, or several files without")
    if args.num_epoch_checkpoints is not None:
        return last_checkpoints(args.inputs[0], EPOCH, args.num_epoch_checkpoints)
    return last_checkpoints(args.inputs[0], UPDATE, args.num_update_checkpoints)


def keep_inputs(inputs: Sequence[Path], output: Path) -> None:
    """Raise where a command would write over a checkpoint that it reads."""
    if output.exists() and any(path.exists() and output.samefile(path) for path in inputs):
        raise ResDualError(
            f"{output} is read by this command and would be lost; give another --output"
        )


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
    try:
        paths = chosen_paths(args)
        keep_inputs(paths, args.output)
        print("averaging " + ", ".join(str(path) for path in paths))
        state = average_checkpoints(paths)
        write_whole(state, args.output)
    except (ResDualError, OSError) as error:
        sys.exit(f"resdual-average-checkpoints: error: {error}")
    print(f"wrote {args.output}")


if __name__ == "__main__":
    main()
