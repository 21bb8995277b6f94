"""`resdual-quantize`: checkpoints for generation, with weights of 8 bits, a quarter the size."""

import argparse
from pathlib import Path
from typing import Any, Dict, Optional, Sequence

from ..errors import ResDualError
from .averaging import write_whole
from .contents import add_user_dir, class_of_model, import_user_dir
from .int8 import Int8StateDictMixin, encoded_state, is_encoded
from .loading import load_whole_checkpoint


def quantized_checkpoint(path: Path) -> Dict[str, Any]:
    """A checkpoint with its matrices in 8 bits, without optimizer state.

    Args:
        path: a file of fairseq-train's, or of resdual-average-checkpoints'.

    Raises:
        ResDualError: it is missing, broken, of another model, or of 8 bits already.
    """
    state = load_whole_checkpoint(path)
    class_of_model(path, state, Int8StateDictMixin, "resdual_transformer or resdual_transformer_lm")
    if is_encoded(state["model"]):
        raise ResDualError(f"{path} has weights of 8 bits already; give the one it was made from")
    state["model"] = encoded_state(state["model"])
    state["last_optimizer_state"] = None
    return state


def parse_arguments(arguments: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="resdual-quantize",
        description="Write a checkpoint of a quarter of the size, with weights of 8 bits. Every "
        "command of fairseq takes it; on a CPU its searches compute in 8 bits too (and its encoder "
        "whatever the command).",
    )
    parser.add_argument("checkpoint", type=Path, help="written by fairseq-train")
    parser.add_argument("--output", type=Path, required=True, help="file to write")
    add_user_dir(parser)
    return parser.parse_args(arguments)


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Entry point of the console script."""
    args = parse_arguments(arguments)
    import_user_dir(args.user_dir)
    write_whole(quantized_checkpoint(args.checkpoint), args.output, [args.checkpoint])
    before, after = (path.stat().st_size / 1e6 for path in (args.checkpoint, args.output))
    print(f"wrote {args.output}, {after:.1f} MB ({args.checkpoint}: {before:.1f} MB)")
