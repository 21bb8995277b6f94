"""Which of two results of a task stays."""

from typing import Any, Dict, Set, Tuple


def replaces(new: Dict[str, Any], old: Dict[str, Any], was_asked_for: bool) -> bool:
    """Whether a record takes the place of an older one of the same task.

    The first that was completed stays, unless the new one has found more, or was asked for and is
    not worse.
    """
    if old["outcome"] != "completed" or set(old["found"]) < set(new["found"]):
        return True
    return was_asked_for and new["outcome"] == "completed" and not is_worse(new, old)


def is_worse(new: Dict[str, Any], old: Dict[str, Any]) -> bool:
    """Whether a measurement lacks what the older one has, or was disturbed more.

    Of two disturbed ones, that which lacks less is better, whatever else was at work.
    """
    before, now = failures(old), failures(new)
    if now - before or not new["found"]["busy"]:
        return bool(now - before)
    if old["found"]["busy"] and now < before:
        return False
    return bool(max(new["found"]["idle"]) > max(old["found"]["idle"]))


def failures(record: Dict[str, Any]) -> Set[Tuple[str, str]]:
    return {(one["arm"], one["what"]) for one in record["found"]["failed"]}
