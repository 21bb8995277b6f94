"""A training that goes on has to go on with the residual connections it began with.

Post-LN, Pre-LN and ResiDual have the same weights, so nothing else would notice.
"""

from argparse import Namespace
from pathlib import Path
from typing import Any, Dict, Optional

import torch

from .errors import ResDualError

SAME_FOR_LIFE = {"residual": "resdual", "residual_alpha": 1.0}
"""Options that decide what the weights mean, with their defaults."""
LAST = "checkpoint_last.pt"


def check_resumed(args: Namespace) -> None:
    """Raise where fairseq-train would resume a run that had another residual connection.

    Args:
        args: fairseq's namespace of a whole command line.

    Raises:
        ResDualError: naming the option, both values and the remedy.
    """
    checkpoint = checkpoint_to_resume(args)
    before = model_options(checkpoint) if checkpoint is not None else None
    if before is None or getattr(before, "residual", None) is None:
        return
    for name, default in SAME_FOR_LIFE.items():
        was, now = getattr(before, name, default), getattr(args, name, default)
        if was != now:
            option = f"--{name.replace('_', '-')}"
            # Post-LN has no place for the closing norms of the other kinds.
            start = f", with --finetune-from-model {checkpoint} to start from its weights"
            raise ResDualError(
                f"{checkpoint} was trained with {option} {was}, and this command says {now}; give "
                f"{option} {was} to go on with that run, or another --save-dir for a new one"
                f"{'' if now == 'post' else start}"
            )


def checkpoint_to_resume(args: Namespace) -> Optional[Path]:
    """The file that fairseq-train would resume from, if it is there."""
    if not hasattr(args, "save_dir") or getattr(args, "reset_optimizer", False):
        return None
    restore = getattr(args, "restore_file", LAST)
    path = Path(args.save_dir, LAST) if restore == LAST else Path(restore)
    return path if path.is_file() else None


def model_options(checkpoint: Path) -> Optional[Namespace]:
    """The model's options in a checkpoint, without reading its weights; None if it has none."""
    try:
        state: Dict[str, Any] = torch.load(
            checkpoint, map_location="cpu", weights_only=True, mmap=True
        )
        return state["cfg"]["model"]
    except Exception:  # of any kind: what is wrong with the file is told when it is loaded
        return None
