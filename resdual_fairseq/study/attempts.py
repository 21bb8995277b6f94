"""The attempts at a task, as its folder remembers them, and where each of them works."""

import json
import shutil
from pathlib import Path
from typing import Any, Dict, List


def attempts(folder: Path) -> List[Dict[str, Any]]:
    """What was tried so far: one entry for each start, with its end where it was seen."""
    path = folder / "attempts.jsonl"
    found: Dict[str, Dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            entry = json.loads(line)
        except ValueError:  # cut by a kill
            continue
        found[entry["id"]] = {**found.get(entry["id"], {}), **entry}
    return list(found.values())


def note_attempt(folder: Path, entry: Dict[str, Any]) -> None:
    with (folder / "attempts.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(
            "\n" * (stream.tell() > 0 and not ends_line(folder)) + json.dumps(entry) + "\n"
        )


def ends_line(folder: Path) -> bool:
    return (folder / "attempts.jsonl").read_bytes().endswith(b"\n")


def run_folder(folder: Path) -> Path:
    """Where the last attempt worked."""
    tried = attempts(folder)
    return folder / (tried[-1]["folder"] if tried else "run")


def next_run_folder(folder: Path, host: str) -> Path:
    """Where to work now: a copy, where the last attempt was on another host and may live on.

    A lease that expired does not stop its former holder, which may still write.
    """
    before = run_folder(folder)
    tried = attempts(folder)
    if not tried or "ended" in tried[-1] or tried[-1]["host"] == host:
        return before
    copy = folder / f"run-{len(tried) + 1}"
    shutil.rmtree(copy, ignore_errors=True)
    if before.exists():
        shutil.copytree(before, copy, ignore=shutil.ignore_patterns("*.tmp", "*.unfinished"))
    return copy
