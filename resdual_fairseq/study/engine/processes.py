"""Runs a command as a child that dies with its parent, within limits of time and memory."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Dict, NamedTuple, Optional, Sequence

import psutil

POLL = 0.2
"""Seconds between looks at a child."""
DIES_WITH_PARENT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""
"""A program that asks Linux to be killed with its parent (PR_SET_PDEATHSIG) and becomes another."""
CGROUPS = Path("/sys/fs/cgroup")


class Exit(NamedTuple):
    """How a child ended.

    ``stopped`` says why this process ended it: ``time``, ``memory`` or ``lease``; ``peak`` is the
    most memory its processes held together, in bytes; ``log_start`` is where its part of the log
    begins.
    """

    status: int
    seconds: float
    peak: int
    stopped: Optional[str] = None
    oom_killed: bool = False
    log_start: int = 0


def run_child(
    command: Sequence[str],
    log: Path,
    environment: Dict[str, str],
    seconds: Optional[float] = None,
    memory: Optional[float] = None,
    is_lost: Callable[[], bool] = lambda: False,
    cwd: Optional[Path] = None,
) -> Exit:
    """Run a command to its end; what it prints is added to the log.

    Args:
        command: its words; the first one is a path.
        seconds, memory: what it may take; beyond, it is killed. Memory is in bytes.
        is_lost: asked all the time whether the child has to end now.
    """
    kills = oom_kills()
    began = time.monotonic()
    words = list(command)
    if sys.platform == "linux":
        words = [sys.executable, "-S", "-c", DIES_WITH_PARENT, str(os.getpid()), *words]
    peak, stopped = 0, None
    with log.open("ab") as stream:
        start = stream.tell()
        child = subprocess.Popen(
            words, stdout=stream, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            env=environment, start_new_session=True, cwd=cwd,
        )  # fmt: skip
        try:
            while child.poll() is None:
                peak = max(peak, memory_of(child.pid))
                if is_lost():
                    stopped = "lease"
                elif seconds is not None and time.monotonic() - began > seconds:
                    stopped = "time"
                elif memory is not None and peak > memory:
                    stopped = "memory"
                if stopped:
                    break
                time.sleep(POLL)
        finally:
            kill_group(child)
    killed = child.returncode == -signal.SIGKILL and oom_kills() > kills
    return Exit(child.returncode, time.monotonic() - began, peak, stopped, killed, start)


def kill_group(child: subprocess.Popen) -> None:
    """End a child with all that it started."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def memory_of(pid: int) -> int:
    """Resident bytes of a process and its descendants."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        return sum(one.memory_info().rss for one in family)
    except psutil.Error:
        return 0


def oom_kills() -> int:
    """How often Linux has killed a process of this control group for want of memory."""
    try:
        group = Path("/proc/self/cgroup").read_text().strip().rpartition("::/")[2]
        words = (CGROUPS / group / "memory.events").read_text().split()
        return int(words[words.index("oom_kill") + 1])
    except (OSError, ValueError):
        return 0
