"""The tasks that train: a short run that calibrates, and the parts of a study's runs."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any, Dict, List, Tuple

from ...checkpoints.loading import is_broken, without_weights
from ...errors import ResDualError
from ..engine import commands, outcomes
from ..engine.attempt import Attempt
from ..engine.outcomes import Ending
from ..measuring import costs
from ..measuring.one_size import FROM_OUTSIDE, Sizes, other_load
from ..measuring.turns import Failed

CHECKPOINT = "checkpoint_last.pt"
EARLY = "fairseq-train ended by itself before update {target}; leave out the option that made it"


def train_words(attempt: Attempt, folder: Path, *further: str) -> List[str]:
    """The words of fairseq-train for a task, in this folder."""
    words = [str(attempt.data()), *commands.ONE_DEVICE, *attempt.task.arguments]
    words += [*commands.QUIET, *further]
    return [*words, "--user-dir", str(attempt.user_dir()), "--save-dir", str(folder)]


def calibrate(attempt: Attempt) -> Tuple[Ending, Dict[str, Any]]:
    """A few updates: how many an epoch has, how long one takes, memory and parameters.

    Where only the FLOPs are missing, nothing else is measured anew: budgets in hours hang on it.
    """
    known = attempt.study.records().get(attempt.task.name)
    if known is not None and known["outcome"] == "completed":
        return with_flops(attempt, known["found"])
    load = other_load(Sizes().look_seconds)
    quick = ("--log-format", "simple", "--log-interval", "10", "--no-save", "--disable-validation")
    end = attempt.child(commands.child("fairseq-train", train_words(attempt, attempt.run, *quick)))
    ending = outcomes.ending(end, attempt.log, attempt.limits())
    if ending.outcome != "completed":
        return ending, {}
    printed = attempt.log.read_bytes()[end.log_start :].decode(errors="replace")
    found = outcomes.calibration(printed)
    found["memory"] = end.peak
    found["other_load"] = load
    return with_flops(attempt, found) if attempt.spec.budgets.unit == "flops" else (ending, found)


def with_flops(attempt: Attempt, found: Dict[str, Any]) -> Tuple[Ending, Dict[str, Any]]:
    """What a calibration found, with the operations of an update.

    Raises:
        ResDualError: they cannot be counted.
    """
    try:
        flops = costs.flops_of(attempt, train_words(attempt, attempt.run))
    except Failed as error:
        if error.ending.outcome in FROM_OUTSIDE:
            return error.ending, {}
        raise ResDualError(
            f"{attempt.task.label}: its FLOPs cannot be counted ({error.ending.outcome}: "
            f"{error.ending.detail}); give budgets.unit another unit"
        ) from error
    return Ending("completed"), {**found, "flops_per_update": flops}


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
    if attempt.number == 1 or not is_at(attempt, target):
        end = attempt.child(commands.child("fairseq-train", words), before)
        ending = outcomes.ending(end, attempt.log, attempt.limits())
        if ending.outcome == "crashed" and none_is_whole(attempt.run):
            return begin_again(attempt), {}
        if ending.outcome != "completed":
            return ending, {}
        found["memory"] = end.peak
        if not is_at(attempt, target):
            return Ending("crashed", EARLY.format(target=target)), found
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
    diverged = outcomes.divergence(losses, untrained, losses_of_parents(attempt))
    for path in attempt.run.glob("*.pt"):
        if path != own:
            path.unlink()
    return diverged or Ending("completed"), found


def losses_of_parents(attempt: Attempt) -> List[float]:
    """Training and validation losses of the run before this task."""
    found: List[float] = []
    records, needs = attempt.study.records(), attempt.task.needs
    while "parent" in needs:
        record = records[needs["parent"]]
        for part in ("train", "valid"):
            found += [loss for _, loss in record["found"].get(part, [])]
        needs = record["task"]["needs"]
    return found


def none_is_whole(run: Path) -> bool:
    """Whether there are checkpoints, and none that can be read to its end."""
    checkpoints = list(run.glob("checkpoint*.pt"))
    return bool(checkpoints) and all(map(is_broken, checkpoints))


def begin_again(attempt: Attempt) -> Ending:
    """Remove checkpoints that a fault of the disk spoilt: the task is tried again from its start.

    That is no failure of the arm's. What it takes from a parent is looked at before.
    """
    for path in attempt.run.glob("*.pt"):
        path.unlink()
    return Ending("killed", "no checkpoint could be read, so they were removed")


def is_at(attempt: Attempt, target: int) -> bool:
    """Whether a training has come to its end; one that an earlier attempt took there was killed
    before it could say so, and fairseq-train would take one update more.

    A file that a kill cut is not read: fairseq writes its last checkpoint under several names, and
    another of them takes its place.
    """
    own = attempt.run / CHECKPOINT
    for path in (own, *(path for path in attempt.run.glob("checkpoint*.pt") if path != own)):
        history = without_weights(path).get("optimizer_history") or [{"num_updates": 0}]
        if history[-1]["num_updates"] >= target:
            path.replace(own)
            return True
    return False
