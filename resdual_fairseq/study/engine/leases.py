"""Leases on tasks: files that name their holder, and expire when it gives no sign."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Dict, Optional

from filelock import SoftFileLease, Timeout

logging.getLogger("filelock").setLevel(logging.WARNING)  # fairseq lets every logger tell everything


class Leases:
    """The leases that one worker has asked for.

    They are kept, since each tells by its own clock for how long another holder gave no sign.

    Args:
        duration: seconds after which a silent holder on another host is taken for dead; one that
            died on this host is known at once.
    """

    def __init__(self, duration: float) -> None:
        self.duration = duration
        self.asked: Dict[Path, SoftFileLease] = {}
        self.empty_since: Dict[Path, float] = {}

    def acquire(self, path: Path) -> Optional[SoftFileLease]:
        """The lease, or None while another worker holds it."""
        self.remove_if_empty(path)
        lease = self.asked.setdefault(path, SoftFileLease(path, lease_duration=self.duration))
        try:
            lease.acquire(timeout=0)
        except Timeout:
            return None
        return lease

    def remove_if_empty(self, path: Path) -> None:
        """Remove what a worker left that was killed before it could write its name.

        filelock lets nobody take such a file over.
        """
        try:
            is_empty = path.stat().st_size == 0
        except FileNotFoundError:
            is_empty = False
        if not is_empty:
            self.empty_since.pop(path, None)
        elif time.monotonic() - self.empty_since.setdefault(path, time.monotonic()) > self.duration:
            path.unlink(missing_ok=True)
