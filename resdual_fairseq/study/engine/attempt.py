"""One attempt at a task: where it works, what it reads, and the commands it runs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Callable, Dict, Sequence

from ...checkpoints.loading import without_weights
from ..spec.keys import Spec
from . import commands
from .attempts import attempts
from .processes import Exit, run_child
from .tasks import StudyFolder, Task

GIB = 1 << 30


class LostLease(Exception):
    """Another worker has taken the task over."""


class Attempt:
    """What a task's function is given.

    Attributes:
        task, spec, study: what is done, for which study.
        number: how often the task has been begun, this time included.
        folder, run: the task's folder, and the one to work in.
        log: what its commands print.
    """

    def __init__(
        self, task: Task, spec: Spec, study: StudyFolder, run: Path, is_lost: Callable[[], bool]
    ) -> None:
        self.task, self.spec, self.study, self.run = task, spec, study, run
        self.folder = study.folder(task.name)
        self.log = self.folder / "log"
        self.is_lost = is_lost
        self.began = time.monotonic()
        tried = attempts(self.folder)
        self.number = len(tried)
        done = [place for place, one in enumerate(tried) if one.get("outcome") == "completed"]
        unfinished = tried[done[-1] + 1 :] if done else tried
        self.seconds_before = sum(one.get("seconds", 0.0) for one in unfinished)

    def seconds(self) -> float:
        """What the task has taken so far, attempts included that did not complete it."""
        return self.seconds_before + time.monotonic() - self.began

    def output(self, part: str) -> Path:
        """The output of a task that this one needs."""
        name = self.task.needs[part]
        record = self.study.records().get(name)
        path = self.study.output(name, record["task"]["kind"]) if record else None
        if path is None:
            raise LostLease(f"the output of {name} is gone")
        return path

    def weights(self) -> Path:
        """The parent's checkpoint; where it was cut short, the parent is trained again."""
        path = self.output("parent")
        if not without_weights(path):
            self.study.discard_output(self.task.needs["parent"])
            raise LostLease(f"{path} was cut short; it is trained again")
        return path

    def found(self, part: str) -> Dict[str, Any]:
        """What a task that this one needs has found."""
        found: Dict[str, Any] = self.study.records()[self.task.needs[part]]["found"]
        return found

    def inherited(self, key: str) -> float:
        """A number of the parent's; 0 without a parent."""
        return float(self.found("parent")[key]) if "parent" in self.task.needs else 0.0

    def data(self) -> Path:
        """The data-bin to train on."""
        return (
            self.output("data") if "data" in self.task.needs else Path(str(self.spec.data.data_bin))
        )

    def user_dir(self) -> Path:
        """The arm's."""
        return commands.user_dir(self.spec, self.task.arm)

    def limits(self) -> Dict[str, str]:
        """The spec's limits in words, by what they stop at: ``time``, ``memory``."""
        limits = self.spec.limits
        hours = {"time": f"{limits.hours:g} hours"} if limits.hours else {}
        memory = {"memory": f"{limits.memory_gib:g} GiB"} if limits.memory_gib else {}
        return {**hours, **memory}

    def child(self, words: Sequence[str], seconds_before: float = 0.0) -> Exit:
        """Run a command within the spec's limits."""
        limits = self.spec.limits
        left = limits.hours and max(0.0, limits.hours * 3600 - seconds_before - self.seconds())
        return run_child(
            words,
            self.log,
            commands.environment(self.spec.threads),
            seconds=left,
            memory=limits.memory_gib and limits.memory_gib * GIB,
            is_lost=self.is_lost,
            cwd=self.run,
        )
