"""The tasks that train: a short run that calibrates, and the parts of a study's runs."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any, Dict, List, Tuple

from ..checkpoints.loading import without_weights
from . import commands, costs, outcomes
from .attempt import Attempt
from .outcomes import Ending
from .turns import Failed

CHECKPOINT = "checkpoint_last.pt"


def train_words(attempt: Attempt, folder: Path, *further: str) -> List[str]:
    """The words of fairseq-train for a task, in this folder."""
    words = [str(attempt.data()), *attempt.task.arguments, *commands.QUIET, *further]
    return [*words, "--user-dir", str(attempt.user_dir()), "--save-dir", str(folder)]


def calibrate(attempt: Attempt) -> Tuple[Ending, Dict[str, Any]]:
    """A few updates: how many an epoch has, how long one takes, memory and parameters."""
    quick = ("--log-format", "simple", "--log-interval", "10", "--no-save", "--disable-validation")
    end = attempt.child("fairseq-train", train_words(attempt, attempt.run, *quick))
    ending = outcomes.ending(end, attempt.log, attempt.limits())
    if ending.outcome != "completed":
        return ending, {}
    found = outcomes.calibration(attempt.log.read_text(encoding="utf-8", errors="replace"))
    found["memory"] = end.peak
    if attempt.spec.budgets.unit == "flops":
        try:
            found["flops_per_update"] = costs.flops_of(attempt, train_words(attempt, attempt.run))
        except Failed as error:
            return error.ending, {}
    return ending, found


def train(attempt: Attempt) -> Tuple[Ending, Dict[str, Any]]:
    """Train from where the parent stopped, or from scratch, up to the task's last update.

    The run folder begins as a copy of the parent's checkpoint; killed, it goes on from its own.
    """
    own, target = attempt.run / CHECKPOINT, int(attempt.task.inputs["updates"])
    parent = attempt.weights() if "parent" in attempt.task.needs else None
    if parent is not None and not any(attempt.run.glob("checkpoint*.pt")):
        copy = own.with_name(own.name + ".tmp")
        shutil.copyfile(parent, copy)
        copy.replace(own)
    every = str(attempt.spec.save_interval)
    words = train_words(
        attempt, attempt.run, "--log-interval", "50", "--save-interval-updates", every,
        "--keep-interval-updates", "1", "--no-epoch-checkpoints",
    )  # fmt: skip
    before = attempt.inherited("seconds_in_all")
    found: Dict[str, Any] = {}
    if not is_done(own, target, attempt):
        end = attempt.child("fairseq-train", words, before)
        ending = outcomes.ending(end, attempt.log, attempt.limits())
        if ending.outcome != "completed":
            return ending, {}
        found["memory"] = end.peak
    losses = outcomes.losses(attempt.log)
    found.update(
        valid_loss=losses.valid[-1][1] if losses.valid else None,
        valid=losses.valid,
        train=losses.train,
        updates=target,
        seconds_in_all=before + attempt.seconds(),
        seconds=attempt.seconds(),
    )
    # On the way to a budget a run may stand where it will; at its end it has to have learned.
    ends = "--total-num-update" in attempt.task.arguments
    untrained = float(attempt.task.inputs["untrained"]) if ends else math.inf
    diverged = outcomes.divergence(losses, untrained)
    for path in attempt.run.glob("*.pt"):
        if path != own:
            path.unlink()
    return diverged or Ending("completed"), found


def is_done(checkpoint: Path, target: int, attempt: Attempt) -> bool:
    """Whether an earlier attempt came to the end, and was killed before it could say so.

    fairseq-train would take one update more.
    """
    if attempt.number == 1 or not checkpoint.exists():
        return False
    # A file that the kill cut says nothing; the plugin goes on from an older one.
    history = without_weights(checkpoint).get("optimizer_history") or [{"num_updates": 0}]
    return bool(history[-1]["num_updates"] >= target)
