"""Tasks of a study and the folders that hold them: what one does, its name, its result.

A task is named by a hash of all that decides its result, so that a result is found again by
whoever plans the same task, on any machine, and never used for another one.
"""

import functools
import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Dict, Literal, Optional, Tuple

from ...errors import ResDualError
from ...files import write_json
from .attempts import run_folder
from .replacing import replaces

FORMAT = 1
"""Raised whenever the same task would give another result than before; part of every name."""
Kind = Literal["prepare", "subset", "calibrate", "train", "evaluate", "measure"]
OUTPUT = {"prepare": "data/data-bin", "subset": "data", "train": "checkpoint_last.pt"}
"""What later tasks read of a task, in its run folder."""


FINISHED = "finished"
"""A file that names the run folder whose output is whole."""


def digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Task:
    """One piece of work.

    Attributes:
        kind: what is done.
        arguments: options of fairseq's command that decide the result.
        inputs: what else does: checksums of data, numbers.
        needs: the names of tasks whose output it reads, by their part in it (``data``, ``parent``).
        label: for people; no part of the name, as the arm is not, whose options are arguments.
        arm: whose --user-dir it takes.
    """

    kind: Kind
    arguments: Tuple[str, ...] = ()
    inputs: Dict[str, Any] = field(default_factory=dict)
    needs: Dict[str, str] = field(default_factory=dict)
    label: str = ""
    arm: str = ""

    @functools.cached_property
    def name(self) -> str:
        """Twelve hexadecimal digits."""
        decides = {"kind": self.kind, "arguments": list(self.arguments), "inputs": self.inputs}
        return digest({**decides, "needs": self.needs, "format": FORMAT})[:12]


Record = Dict[str, Any]
"""A result: ``task``, ``outcome``, ``detail``, what was ``found``, attempts, host and versions."""
KEYS = {"format", "task", "outcome", "detail", "found", "attempts", "seconds", "host", "versions"}
"""What every record has; further keys may stand there."""


def sealed(record: Record) -> Record:
    """The record with a checksum, by which an edited or damaged one is told."""
    body = {key: value for key, value in record.items() if key != "checksum"}
    return {**body, "checksum": digest(body)[:16]}


def read_record(path: Path, name: str) -> Record:
    """The result of the task of this name.

    Raises:
        ResDualError: it was cut, edited, belongs to another task, or is of another version.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        wrong_format = record["format"] != FORMAT
        whole = sealed(record) == record
        same = whole and Task(**record["task"]).name == name and set(record) >= KEYS
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        whole = wrong_format = same = False
    if wrong_format:
        raise ResDualError(
            f"{path} is a record of format {record['format']}, and this version of resdual_fairseq "
            f"reads format {FORMAT}; use the version that wrote it, or move it away"
        )
    if not whole or not same:
        fault = "it is not whole, or of another task" if whole else "its checksum does not hold"
        raise ResDualError(
            f"{path} was cut or edited ({fault}); restore it, or remove it: the run is done again"
        )
    return record


class StudyFolder:
    """A study on the disk: ``tasks/NAME/`` hold ``task.json``, ``result.json`` and ``run/``.

    Attributes:
        again: times of results that are not seen, by task, until there is another.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.again: Dict[str, int] = {}
        self._read: Dict[str, Tuple[int, Record]] = {}

    def folder(self, name: str) -> Path:
        return self.path / "tasks" / name

    def records(self) -> Dict[str, Record]:
        """Every result there is, by the name of its task."""
        found = {}
        for path in sorted(self.path.glob("tasks/*/result.json")):
            name, changed = path.parent.name, path.stat().st_mtime_ns
            if self.again.get(name) == changed:
                continue
            if self._read.get(name, (0,))[0] != changed:
                self._read[name] = changed, read_record(path, name)
            found[name] = self._read[name][1]
        return found

    def begin(self, task: Task) -> Path:
        """Make the folder of a task; whoever calls holds its lease."""
        folder = self.folder(task.name)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "task.json").exists():
            write_json(folder / "task.json", asdict(task))
        return folder

    def write(self, record: Record, seconds: float = 0.0) -> None:
        """Keep a result, unless one that is there stays (:func:`replaces`).

        Args:
            seconds: of the attempt that gave it, added to those of one that stays.
        """
        path = self.begin(Task(**record["task"])) / "result.json"
        name = path.parent.name
        before = read_record(path, name) if path.exists() else None
        again = before is not None and self.again.pop(name, None) == path.stat().st_mtime_ns
        if before is not None and not replaces(record, before, again):
            record = {**before, "seconds": round(before["seconds"] + seconds, 1)}
        write_json(path, sealed(record))

    def output(self, name: str, kind: str) -> Optional[Path]:
        """What later tasks read of this one, if it is on the disk."""
        try:
            run = (self.folder(name) / FINISHED).read_text(encoding="utf-8")
        except FileNotFoundError:  # not yet, or another worker has cleared it away
            return None
        run = run or run_folder(self.folder(name)).name
        path = self.folder(name) / run / OUTPUT.get(kind, "")
        return path if path.exists() else None

    def discard_output(self, name: str) -> None:
        (self.folder(name) / FINISHED).unlink(missing_ok=True)
        for path in self.folder(name).glob("run*/*.pt"):
            path.unlink(missing_ok=True)  # another worker may clear the same folder
