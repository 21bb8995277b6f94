"""Results on their way between machines: a file of a few kB a task, without weights."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from ..errors import ResDualError
from ..files import write_json
from .engine.tasks import Record, StudyFolder, read_record
from .planning.planned import failed
from .planning.todo import LIMITED


def export_records(study: StudyFolder, folder: Path) -> int:
    """Write every result of the study as ``NAME.json``; returns how many."""
    folder.mkdir(parents=True, exist_ok=True)
    records = study.records()
    for name, record in records.items():
        write_json(folder / f"{name}.json", record)
    return len(records)


def import_records(study: StudyFolder, folder: Path, with_costs: bool) -> int:
    """Take up the results of another machine, also in place of failures that limits here caused.

    Returns how many.

    Costs are of the machine that measured them, and are taken up on demand only. What was killed
    there is tried here.

    All are read before one is taken, so that nothing is half done.

    Raises:
        ResDualError: there is no such folder, no record in it, or one that cannot be used.
    """
    if not folder.is_dir():
        raise ResDualError(
            f"there is no folder {folder}; name one that `resdual-study export` wrote"
        )
    paths = sorted(folder.glob("[0-9a-f]" * 12 + ".json"))
    if not paths:
        raise ResDualError(
            f"{folder} holds no records (NAME.json); `resdual-study export` writes them"
        )
    records = [read_record(path, path.stem) for path in paths]
    known = study.records()
    new = [
        record
        for path, record in zip(paths, records)
        if is_news(record, known.get(path.stem))
        and (with_costs or record["task"]["kind"] != "measure")
    ]
    for record in new:
        study.write(record)
    return len(new)


def is_news(record: Record, known: Optional[Record]) -> bool:
    if known is not None:
        return known["outcome"] in LIMITED and not failed(record)
    return bool(record["outcome"] != "killed")
