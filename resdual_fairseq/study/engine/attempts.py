"""The attempts at a task, as its folder remembers them, and where each of them works."""

import json
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any, Dict, List

import psutil

BEGUN = {"host", "pid", "folder"}
"""What an attempt begins with; one without was edited."""


def attempts(folder: Path) -> List[Dict[str, Any]]:
    """What was tried so far: one entry for each start, with its end where it was seen."""
    path = folder / "attempts.jsonl"
    found: Dict[str, Dict[str, Any]] = {}
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    for line in text.splitlines():
        try:
            entry = json.loads(line)
            found[entry["id"]] = {**found.get(entry["id"], {}), **entry}
        except (ValueError, TypeError, KeyError):  # cut by a kill, or edited
            continue
    return [one for one in found.values() if one.keys() >= BEGUN]


def note_attempt(folder: Path, entry: Dict[str, Any]) -> None:
    with (folder / "attempts.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(
            "\n" * (stream.tell() > 0 and not ends_line(folder)) + json.dumps(entry) + "\n"
        )


def note_end_of_killed(folder: Path) -> None:
    """Note how long the last attempt took at least, where a kill let nobody say so."""
    tried, log = attempts(folder), folder / "log"
    if tried and "seconds" not in tried[-1] and "began" in tried[-1] and log.exists():
        began = datetime.fromisoformat(tried[-1]["began"]).timestamp()
        seconds = max(0.0, round(log.stat().st_mtime - began, 1))
        note_attempt(folder, {"id": tried[-1]["id"], "seconds": seconds})


def is_dead(attempt: Dict[str, Any], host: str) -> bool:
    """Whether who made the attempt is surely gone; of another host one cannot say."""
    return bool(attempt["host"] == host and not psutil.pid_exists(attempt["pid"]))


def ends_line(folder: Path) -> bool:
    return (folder / "attempts.jsonl").read_bytes().endswith(b"\n")


def run_folder(folder: Path) -> Path:
    """Where the last attempt worked."""
    tried = attempts(folder)
    return folder / (tried[-1]["folder"] if tried else "run")


def next_run_folder(folder: Path, host: str) -> Path:
    """Where to work now: a copy, where who made the last attempt may live on.

    A lease that expired does not stop its former holder, which may still write: on another host,
    or on this one, where it was stopped.
    """
    before = run_folder(folder)
    tried = attempts(folder)
    if not tried or "ended" in tried[-1] or is_dead(tried[-1], host):
        return before
    copy = folder / f"run-{len(tried) + 1}"
    shutil.rmtree(copy, ignore_errors=True)
    if before.exists():
        shutil.copytree(before, copy, ignore=shutil.ignore_patterns("*.tmp", "*.unfinished"))
    return copy
