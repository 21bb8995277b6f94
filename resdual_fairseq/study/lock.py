"""The spec that a study was last planned with, and what a change of it means."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

import yaml

from ..errors import ResDualError
from ..files import write_whole
from .analysis.table import Change
from .engine.provenance import now
from .engine.tasks import StudyFolder
from .spec.keys import Spec

NAME = "spec.lock.yaml"
CHANGES = "changes"
"""The key of that file that is not the spec's: what has changed since the first time."""
OWN = {"tasks", "report", "workers"}
"""What a study's folder may hold before the spec is kept there."""


class Kept(NamedTuple):
    """What the file holds: the spec's values, and all changes up to them."""

    values: Dict[str, Any]
    changes: Tuple[Change, ...]


def remember(spec: Spec, study: StudyFolder) -> List[str]:
    """Keep the spec in the study's folder; returns what to say of changes since the last time.

    Raises:
        ResDualError: the folder holds something else than a study.
    """
    path = study.path / NAME
    changes, told = history(spec, study), []
    if path.exists():
        kept = read(path)
        if kept is None:
            told = [f"{path} was damaged and is written anew; what changed since is not known"]
        elif kept.changes == changes:
            return []
        else:
            told = told_of(changes[-1])
    elif study.path.exists() and any(is_foreign(one.name) for one in study.path.iterdir()):
        raise ResDualError(f"{study.path} holds other things than a study; name another folder")
    study.path.mkdir(parents=True, exist_ok=True)
    values = values_of(spec, study)
    if changes:
        values[CHANGES] = [{**one._asdict(), "keys": list(one.keys)} for one in changes]
    write_whole(path, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
    return told


def is_foreign(name: str) -> bool:
    """Whether it is none of a study's; a worker may have been killed while it kept the spec."""
    return name not in OWN and not name.startswith(NAME)


def history(spec: Spec, study: StudyFolder) -> Tuple[Change, ...]:
    """All changes of the spec since it was first kept; the last may not be kept yet."""
    path = study.path / NAME
    kept = read(path) if path.exists() else None
    if kept is None:
        return ()
    keys = tuple(differences(kept.values, values_of(spec, study)))
    if not keys:
        return kept.changes
    scored = sum(
        one["task"]["kind"] == "evaluate" and one["outcome"] == "completed"
        for one in study.records().values()
    )
    return (*kept.changes, Change(now(), scored, keys))


def values_of(spec: Spec, study: StudyFolder) -> Dict[str, Any]:
    found: Dict[str, Any] = portable(spec.model_dump(exclude={"folder"}), study.path)
    return found


def portable(value: Any, folder: Path) -> Any:
    """The value with every path as it is seen from the folder, so that both may move together."""
    if isinstance(value, dict):
        return {key: portable(inner, folder) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [portable(inner, folder) for inner in value]
    return os.path.relpath(value, folder) if isinstance(value, Path) else value


def read(path: Path) -> Optional[Kept]:
    """What was kept; None where the file makes no sense."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        changes = values.pop(CHANGES, [])
        return Kept(values, tuple(Change(**{**one, "keys": tuple(one["keys"])}) for one in changes))
    except (ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError):
        return None


def told_of(change: Change) -> List[str]:
    """What a change means for what is done."""
    return [
        "the spec has changed:",
        *(f"  {key}" for key in change.keys),
        "results that the change does not touch are used, others stay in the folder unused",
    ]


def differences(before: Any, now: Any, key: str = "") -> Iterator[str]:
    """Every key whose value differs, as ``key: before -> now``; None where there is none."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in dict.fromkeys([*before, *now]):
            inner = f"{key}.{name}" if key else str(name)
            yield from differences(before.get(name), now.get(name), inner)
    elif before != now:
        yield f"{key}: {before} -> {now}"
