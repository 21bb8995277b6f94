"""What a user has to mend before a study can go on: failures that are no results of an arm."""

from pathlib import Path
from typing import Optional

from ...errors import ResDualError
from .outcomes import Ending
from .tasks import Record, Task

NOTHING_RUNS = ("so no run can succeed", "see")
CRASHES = {
    "prepare": NOTHING_RUNS,
    "subset": NOTHING_RUNS,
    "calibrate": NOTHING_RUNS,
    "evaluate": (
        "and its model is kept",
        "mend decoding.options or what it reads, and run again; see",
    ),
}
"""Kinds of tasks whose crash is no result of an arm: what it means, and what to do."""


def remedy(task: Task, ending: Ending, before: Optional[Record], log: Path) -> str:
    """What to tell of a failure that is no result; empty where it is one.

    Args:
        before: the result that the task has already, if it was done again for its output.
    """
    if before is not None and before["outcome"] == "completed":
        return (
            f"{task.label} was completed before, and is done again for output that is needed and "
            f"not here; this time it ended as '{ending.outcome}': {ending.detail}; mend that "
            f"(limits, options, {log}) and give the same command again"
        )
    if ending.outcome == "crashed" and task.kind in CRASHES:
        meaning, what_to_do = CRASHES[task.kind]
        return f"{task.label} failed, {meaning}: {ending.detail}; {what_to_do} {log}"
    return ""


def sentence(error: Exception) -> str:
    """What to tell of an error; a system's is no fault of the study's."""
    if not isinstance(error, OSError):
        return str(error)
    where = f"{error.filename}: " if error.filename else ""
    return (
        f"{where}{error.strerror or error}; mend that and give the same command again, nothing "
        "that was done is lost"
    )


def full_disk(folder: Path) -> ResDualError:
    return ResDualError(
        f"the disk of {folder} is full; make room and run again, nothing is lost but the work "
        "since the last checkpoint"
    )
