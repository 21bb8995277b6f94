"""Which of two results of a task stays."""

from typing import Any, Dict

FLAWS = ("busy", "failed")
"""What is found of a measurement that is worth less than one without."""


def replaces(new: Dict[str, Any], old: Dict[str, Any], was_asked_for: bool) -> bool:
    """Whether a record takes the place of an older one of the same task.

    The first that was completed stays, unless the new one has found more, or was asked for and is
    not worse.
    """
    if old["outcome"] != "completed" or set(old["found"]) < set(new["found"]):
        return True
    worse = any(bool(new["found"].get(flaw)) > bool(old["found"].get(flaw)) for flaw in FLAWS)
    return was_asked_for and new["outcome"] == "completed" and not worse
