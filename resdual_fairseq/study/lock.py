"""The spec that a study was last planned with, and what a change of it means."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

import yaml

from ..errors import ResDualError
from ..files import replacing
from .engine.tasks import StudyFolder
from .spec.keys import Spec

NAME = "spec.lock.yaml"
OWN = {"tasks", "report", "workers"}
"""What a study's folder may hold before the spec is kept there."""


def remember(spec: Spec, study: StudyFolder) -> List[str]:
    """Keep the spec in the study's folder; returns what to say of changes since the last time.

    Raises:
        ResDualError: the folder holds something else than a study.
    """
    path = study.path / NAME
    values = portable(spec.model_dump(exclude={"folder"}), study.path)
    told: List[str] = []
    if path.exists():
        before = read(path)
        told = [f"{path} was damaged and is written anew; what changed since is not known"]
        if before is not None:
            told = told_of(list(differences(before, values)))
        if not told:
            return []
    elif study.path.exists() and {one.name for one in study.path.iterdir()} - OWN:
        raise ResDualError(f"{study.path} holds other things than a study; name another folder")
    study.path.mkdir(parents=True, exist_ok=True)
    with replacing(path) as unfinished:
        unfinished.write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), "utf-8")
    return told


def portable(value: Any, folder: Path) -> Any:
    """The value with every path as it is seen from the folder, so that both may move together."""
    if isinstance(value, dict):
        return {key: portable(inner, folder) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [portable(inner, folder) for inner in value]
    return os.path.relpath(value, folder) if isinstance(value, Path) else value


def read(path: Path) -> Optional[Dict[str, Any]]:
    """The spec that was kept; None where the file makes no sense."""
    try:
        kept = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError):
        return None
    return kept if isinstance(kept, dict) else None


def told_of(changes: List[Tuple[str, Any, Any]]) -> List[str]:
    """What changes mean for what is done."""
    if not changes:
        return []
    return [
        "the spec has changed:",
        *(f"  {key}: {old}, now {new}" for key, old, new in changes),
        "results that the change does not touch are used, others stay in the folder unused",
    ]


def differences(before: Any, now: Any, key: str = "") -> Iterator[Tuple[str, Any, Any]]:
    """Every key whose value differs, with both values; None where there is none."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in dict.fromkeys([*before, *now]):
            inner = f"{key}.{name}" if key else str(name)
            yield from differences(before.get(name), now.get(name), inner)
    elif before != now:
        yield key, before, now
