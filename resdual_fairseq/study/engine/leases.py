"""Leases on tasks: files that name their holder, and expire when it gives no sign."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Dict, Optional, Tuple

from filelock import SoftFileLease, Timeout

from ...files import Sign, remove_unchanged, sign_of

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
        self.signs: Dict[Path, Tuple[Sign, float]] = {}

    def acquire(self, path: Path) -> Optional[SoftFileLease]:
        """The lease, or None while another worker holds it."""
        self.remove_silent(path)
        lease = self.asked.setdefault(path, SoftFileLease(path, lease_duration=self.duration))
        try:
            lease.acquire(timeout=0)
        except Timeout:
            return None
        return lease

    def remove_silent(self, path: Path) -> None:
        """Remove what gave no sign for twice the duration, and filelock did not take over.

        It does not take over a file whose writer was killed before it could write its name, nor
        any on a file system that cannot exchange two names in one step, as NFS.
        """
        try:
            sign = sign_of(path)
        except FileNotFoundError:
            self.signs.pop(path, None)
            return
        last, since = self.signs.get(path, (None, 0.0))
        if sign != last:
            self.signs[path] = sign, time.monotonic()
        elif time.monotonic() - since > 2 * self.duration:
            remove_unchanged(path, sign)
