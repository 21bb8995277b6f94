"""A training that goes on: as the model that it began with, and from a whole checkpoint.

Pre-LN and ResiDual, and fairseq's `transformer` with pre-norm, have the same weights, so nothing
else would notice a change. And fairseq copies its newest checkpoint to checkpoint_last.pt: a run
that is killed meanwhile leaves a part of it.
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
from .contents import difference, model_options
from .loading import BrokenCheckpointError, without_weights

logger = logging.getLogger(__name__)

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
        trainer: Trainer,
        filename: str,
        reset_optimizer: bool = False,
        *args: object,
        **options: object,
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


def check_resumed(checkpoint: Path, options: Namespace) -> None:
    """Raise where a run would go on as another model.

    Args:
        checkpoint: the file that it is to go on from.
        options: the model's, of a command line or of a hydra config; all presets have filled in
            theirs.

    Raises:
        ResDualError: naming the file, what differs and the remedy.
    """
    differs = difference(
        model_options(without_weights(checkpoint)), model_options({"args": options})
    )
    if differs is not None:
        was, wanted = differs
        raise ResDualError(
            f"{checkpoint} was trained with {was}, and this command says {wanted}; give {was} to "
            "go on with that run, or another --save-dir for a new one (--finetune-from-model "
            f"{checkpoint} starts it from the weights, where they fit)"
        )
