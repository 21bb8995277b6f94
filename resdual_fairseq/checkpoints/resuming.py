"""A training that goes on: as the model that it began with, and from a whole checkpoint.

Post-LN, Pre-LN and ResiDual, and fairseq's `transformer`, have the same weights, so nothing else
would notice a change. And fairseq copies its newest checkpoint to checkpoint_last.pt: a run that is
killed meanwhile leaves a part of it.
"""

import functools
import logging
import re
import shutil
from argparse import Namespace
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import torch
from fairseq import checkpoint_utils

from ..errors import ResDualError
from ..files import replacing
from ..residual import RESIDUALS
from .loading import BrokenCheckpointError

logger = logging.getLogger(__name__)

SAME_FOR_LIFE = {"residual": "resdual", "residual_alpha": 1.0}
"""Options that decide what the weights mean, with their defaults."""
SHARED = ("share_all_embeddings", "share_decoder_input_output_embed")
"""Options that decide which weights are one, the wider first."""
LAST = "checkpoint_last.pt"
OTHERS = re.compile(r"checkpoint(\d+|_\d+_\d+|_best|\.best_.+)\.pt")
"""The other files that fairseq-train writes into a run's folder."""


def go_on_from_whole_checkpoints() -> None:
    """Let fairseq-train mend a ``checkpoint_last.pt`` that was cut short, where it can."""
    if not hasattr(checkpoint_utils.load_checkpoint, "__wrapped__"):
        checkpoint_utils.load_checkpoint = mending_last(checkpoint_utils.load_checkpoint)


def mending_last(load: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap the function with which fairseq-train, through hydra too, restores a run."""

    @functools.wraps(load)
    def mended(cfg: Any, trainer: Any, **options: Any) -> Any:
        try:
            return load(cfg, trainer, **options)
        except BrokenCheckpointError:
            last = Path(cfg.save_dir, LAST)
            # Processes that each read a file of their own might go on from different updates.
            each = trainer.checkpoint_suffix or cfg.load_checkpoint_on_all_dp_ranks
            asked_for = cfg.restore_file == LAST and last.is_file()
            whole = newest_whole(last.parent) if asked_for and not each else None
            if whole is None:
                raise
            logger.warning(f"{last} was cut short: going on from {whole.name}")
            with replacing(last) as copy:
                shutil.copyfile(whole, copy)
            return load(cfg, trainer, **options)

    return mended


def newest_whole(folder: Path) -> Optional[Path]:
    """The checkpoint of a run with the most updates, among those that fairseq can go on from."""
    found: List[Tuple[int, Path]] = []
    for path in folder.iterdir():
        state = without_weights(path) if OTHERS.fullmatch(path.name) else {}
        # Averages and checkpoints of 8 bits have no state of an optimizer.
        if state.get("optimizer_history") and state.get("last_optimizer_state", {}) is not None:
            found.append((state["optimizer_history"][-1].get("num_updates", 0), path))
    return max(found)[1] if found else None


def without_weights(checkpoint: Path) -> Dict[str, Any]:
    """What a checkpoint says, its weights left on the disk; nothing where it cannot be loaded.

    What is wrong with the file is told when it is loaded in earnest.
    """
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # of nearly any kind, where a file is broken
        return {}
    return state if isinstance(state, dict) else {}


def check_resumed(args: Namespace) -> None:
    """Raise where fairseq-train would go on with another model, or fine-tune one that is missing.

    Args:
        args: fairseq's namespace of a whole command line.

    Raises:
        ResDualError: naming the file, what differs and the remedy.
    """
    checkpoint = checkpoint_to_resume(args)
    finetuned = getattr(args, "finetune_from_model", None)
    if checkpoint is None and finetuned and not Path(finetuned).is_file():
        raise ResDualError(
            f"--finetune-from-model {finetuned} does not exist; give a checkpoint that "
            "fairseq-train wrote"
        )
    before = model_options(checkpoint) if checkpoint is not None else None
    if checkpoint is None or before is None:
        return
    check_model(checkpoint, before, args)
    if getattr(before, "residual", None) is not None:
        check_values(checkpoint, before, args)
        check_sharing(checkpoint, before, args)


def check_model(checkpoint: Path, before: Namespace, args: Namespace) -> None:
    """Raise on a checkpoint of fairseq's own model, where its equations are not those asked for."""
    name = str(getattr(before, "_name", None) or getattr(before, "arch", ""))
    if not name.startswith("transformer") or hasattr(before, "residual"):
        return
    kind = getattr(args, "residual", "resdual")
    norms = {
        bool(getattr(before, f"{side}_normalize_before", False)) for side in ("encoder", "decoder")
    }
    if kind == "resdual" or norms != {RESIDUALS[kind].norms_blocks_input}:
        raise ResDualError(
            f"{checkpoint} was trained by fairseq's {name}; give another --save-dir, with "
            f"--finetune-from-model {checkpoint} to start from its weights"
        )


def check_values(checkpoint: Path, before: Namespace, args: Namespace) -> None:
    """Raise where a residual option differs from the one that the run began with."""
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


def check_sharing(checkpoint: Path, before: Namespace, args: Namespace) -> None:
    """Raise where other weights are shared than in the run that goes on."""
    for name in SHARED:
        was, now = (bool(getattr(options, name, False)) for options in (before, args))
        if was != now:
            option = f"--{name.replace('_', '-')}"
            raise ResDualError(
                f"{checkpoint} was trained {'with' if was else 'without'} {option}; "
                f"{'give it' if was else 'leave it out'} to go on with that run, or give another "
                "--save-dir for a new one"
            )
        if was:
            return  # fairseq sets the narrower one itself


def checkpoint_to_resume(args: Namespace) -> Optional[Path]:
    """The file that fairseq-train would resume from, if it is there."""
    if not hasattr(args, "save_dir") or getattr(args, "reset_optimizer", False):
        return None
    restore = getattr(args, "restore_file", LAST)
    path = Path(args.save_dir, LAST) if restore == LAST else Path(restore)
    once = getattr(args, "continue_once", None)
    if restore == LAST and once and not path.is_file():
        path = Path(once)
    if restore == LAST and path.is_file() and not without_weights(path):
        return newest_whole(path.parent)
    return path if path.is_file() else None


def model_options(checkpoint: Path) -> Optional[Namespace]:
    """The model's options in a checkpoint; None if it has none."""
    cfg = without_weights(checkpoint).get("cfg")
    return cfg.get("model") if isinstance(cfg, dict) else None
