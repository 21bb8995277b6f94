"""A result with where it comes from: machine, versions, attempts."""

from __future__ import annotations

import functools
import os
import platform
from contextlib import suppress
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Dict, List, Mapping

import torch

from .outcomes import Ending
from .tasks import FORMAT, Record, Task


def record_of(
    task: Task,
    ending: Ending,
    found: Mapping[str, Any],
    tried: List[Dict[str, Any]],
    limits: Mapping[str, Any],
) -> Record:
    """A result as it is kept."""
    return {
        "format": FORMAT,
        "task": {
            "kind": task.kind, "arguments": list(task.arguments), "inputs": task.inputs,
            "needs": task.needs, "label": task.label, "arm": task.arm,
        },
        "outcome": ending.outcome,
        "detail": ending.detail,
        "found": dict(found),
        "attempts": [one.get("outcome") or "killed" for one in tried],
        "seconds": round(sum(one.get("seconds", 0.0) for one in tried), 1),
        "limits": dict(limits),
        "host": host(),
        "versions": versions(),
        "finished": now(),
    }  # fmt: skip


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def host() -> Dict[str, Any]:
    """What kind of machine this is; its name stays in the attempts, which are not passed on."""
    processor = platform.processor() or platform.machine()
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    gpu = {"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    return {"processor": processor, "cores": os.cpu_count(), "system": platform.system(), **gpu}


@functools.cache
def versions() -> Dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("resdual-fairseq", "ve-fairseq", "fairseq", "torch", "sacrebleu"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
