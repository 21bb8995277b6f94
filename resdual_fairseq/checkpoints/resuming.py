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
from typing import Any, Callable, List, Optional, Tuple

from fairseq.trainer import Trainer

from ..errors import ResDualError
from ..files import replacing
from ..residual import RESIDUALS
from .contents import SAME_FOR_LIFE, model_options
from .loading import BrokenCheckpointError, without_weights

logger = logging.getLogger(__name__)

SHARED = ("share_all_embeddings", "share_decoder_input_output_embed")
"""Options that decide which weights are one, the wider first."""
LAST = "checkpoint_last.pt"
OTHERS = re.compile(r"checkpoint(\d+|_\d+_\d+|_best|\.best_.+)\.pt")
"""The other files that fairseq-train writes into a run's folder."""


def watch_resumed_runs() -> None:
    """Look at every checkpoint that fairseq-train, through hydra too, is to go on from."""
    if not hasattr(Trainer.load_checkpoint, "__wrapped__"):
        Trainer.load_checkpoint = watched(Trainer.load_checkpoint)


def watched(load: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap the method with which a trainer restores a run, or starts from another's weights."""

    @functools.wraps(load)
    def loaded(
        trainer: Trainer, filename: str, reset_optimizer: bool = False, *args: Any, **options: Any
    ) -> Any:
        def look_and_load() -> Any:
            if not reset_optimizer:  # as it is for --finetune-from-model
                check_resumed(Path(filename), trainer.cfg.model)
            return load(trainer, filename, reset_optimizer, *args, **options)

        try:
            return look_and_load()
        except BrokenCheckpointError:
            if not mend_last(trainer, Path(filename)):
                raise
            return look_and_load()

    return loaded


def mend_last(trainer: Trainer, broken: Path) -> bool:
    """Put the newest whole checkpoint in the place of a ``checkpoint_last.pt`` that was cut short.

    Returns:
        whether there was one; False, too, for a file that the user named.
    """
    cfg = trainer.cfg.checkpoint
    # Processes that each read a file of their own might go on from different updates.
    each = trainer.checkpoint_suffix or cfg.load_checkpoint_on_all_dp_ranks
    asked_for = cfg.restore_file == LAST and broken == Path(cfg.save_dir, LAST)
    whole = newest_whole(broken.parent) if asked_for and not each else None
    if whole is None:
        return False
    logger.warning(f"{broken} was cut short: going on from {whole.name}")
    with replacing(broken) as copy:
        shutil.copyfile(whole, copy)
    return True


def newest_whole(folder: Path) -> Optional[Path]:
    """The checkpoint of a run with the most updates, among those that fairseq can go on from."""
    found: List[Tuple[int, Path]] = []
    for path in folder.iterdir():
        state = without_weights(path) if OTHERS.fullmatch(path.name) else {}
        # Averages and checkpoints of 8 bits have no state of an optimizer.
        if state.get("optimizer_history") and state.get("last_optimizer_state", {}) is not None:
            found.append((state["optimizer_history"][-1].get("num_updates", 0), path))
    return max(found)[1] if found else None


def check_resumed(checkpoint: Path, options: Any) -> None:
    """Raise where a run would go on as another model.

    Args:
        checkpoint: the file that it is to go on from.
        options: the model's, of a command line or of a hydra config; all presets have filled in
            theirs.

    Raises:
        ResDualError: naming the file, what differs and the remedy.
    """
    now, before = model_options({"args": options}), model_options(without_weights(checkpoint))
    if not hasattr(now, "residual"):
        return  # the plugin is loaded, and trains a model of another
    check_host(checkpoint, before, now)
    if hasattr(before, "residual"):
        check_values(checkpoint, before, now)
        check_sharing(checkpoint, before, now)


def check_host(checkpoint: Path, before: Namespace, now: Namespace) -> None:
    """Raise on a checkpoint of fairseq's own model, where its equations are not those asked for."""
    name = str(getattr(before, "_name", None) or getattr(before, "arch", ""))
    if not name.startswith("transformer") or hasattr(before, "residual"):
        return
    sides = ("decoder",) if name.startswith("transformer_lm") else ("encoder", "decoder")
    norms = {bool(getattr(before, f"{side}_normalize_before", False)) for side in sides}
    if now.residual == "resdual" or norms != {RESIDUALS[now.residual].norms_blocks_input}:
        raise ResDualError(
            f"{checkpoint} was trained by fairseq's {name}; give another --save-dir, with "
            f"--finetune-from-model {checkpoint} to start from its weights"
        )


def check_values(checkpoint: Path, before: Namespace, now: Namespace) -> None:
    """Raise where a residual option differs from the one that the run began with."""
    for name, default in SAME_FOR_LIFE.items():
        was, wanted = getattr(before, name, default), getattr(now, name, default)
        if was != wanted:
            option = f"--{name.replace('_', '-')}"
            # Post-LN has no place for the closing norms of the other kinds.
            start = f", with --finetune-from-model {checkpoint} to start from its weights"
            raise ResDualError(
                f"{checkpoint} was trained with {option} {was}, and this command says {wanted}; "
                f"give {option} {was} to go on with that run, or another --save-dir for a new one"
                f"{'' if wanted == 'post' else start}"
            )


def check_sharing(checkpoint: Path, before: Namespace, now: Namespace) -> None:
    """Raise where other weights are shared than in the run that goes on."""
    for name in SHARED:
        was, is_now = (bool(getattr(options, name, False)) for options in (before, now))
        if was != is_now:
            option = f"--{name.replace('_', '-')}"
            raise ResDualError(
                f"{checkpoint} was trained {'with' if was else 'without'} {option}; "
                f"{'give it' if was else 'leave it out'} to go on with that run, or give another "
                "--save-dir for a new one"
            )
        if was:
            return  # fairseq sets the narrower one itself
