"""What every step of the preparation shares: echoed commands, checksums, results that appear whole.

A step builds under a temporary name and renames at the end, so a name that exists is complete.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..errors import ResDualError
from ..files import replacing

TEMPORARY = ".tmp"


def say(message: str) -> None:
    """Print at once, so that our lines and those of the commands stay in order."""
    print(message, flush=True)


def tool(name: str) -> str:
    """The path of a command that pip installed beside this Python.

    Raises:
        ResDualError: it is not there.
    """
    found = shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        raise ResDualError(
            f"the command '{name}' is not installed beside {sys.executable}: "
            "install the project's requirements into this environment with pip"
        )
    return found


def run(command: Sequence[str], building: Path | None = None) -> None:
    """Echo a command in a form that can be pasted into a shell, then run it.

    What is written into the temporary folder `building` is echoed under the name that it gets.

    Raises:
        ResDualError: it ends with another status than 0.
    """
    echo = shlex.join(command)
    say("+ " + (echo if building is None else echo.replace(str(building), final_name(building))))
    status = subprocess.call(command, close_fds=False)
    if status != 0:
        raise ResDualError(
            f"the last command above (the line that starts with '+') ended with status {status}; "
            "put right what its own message says and run this command again"
        )


def sha256(path: Path) -> str:
    """The SHA-256 of a file as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """Write lines of text in UTF-8, each ended by one line feed on every system."""
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(line + "\n" for line in lines)


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file; only a line feed ends a line, as for fairseq and subword-nmt."""
    with path.open(encoding="utf-8", newline="\n") as stream:
        return [line.rstrip("\r\n") for line in stream]


def write_whole(path: Path, text: str) -> None:
    """Write a text file that is either absent, as before, or complete.

    Raises:
        ResDualError: it cannot be written.
    """
    with replacing(path) as unfinished:
        write_lines(unfinished, [text])


def discard(path: Path) -> None:
    """Remove a file or folder, if there; a folder never stays under its name with half of it."""
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    doomed = path.with_name(path.name + ".old")
    shutil.rmtree(doomed, ignore_errors=True)
    os.replace(path, doomed)
    shutil.rmtree(doomed)


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """Make an empty folder (what a killed run left in it goes) and remove it after the block."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def final_name(temporary: Path) -> str:
    """The path that a result built under this name gets."""
    return str(temporary).removesuffix(TEMPORARY)


@contextmanager
def building(folder: Path) -> Iterator[Path]:
    """Give an empty temporary folder that takes the name `folder` when the block ends well."""
    with scratch(folder.with_name(folder.name + TEMPORARY)) as partial:
        yield partial
        discard(folder)
        os.replace(partial, folder)


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Hold a lock file during the block, after waiting for whoever holds it.

    The commands that `run` starts hold it too: when this process is killed, one of them may live
    on for a while, and the next run must not share its temporary files.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as stream:
        os.set_inheritable(stream.fileno(), True)
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another run in {lock.parent} to end")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def take_steps(steps: Sequence[tuple[Path, Callable[[], None]]]) -> bool:
    """Take every step from the first whose result is not there, in order.

    Results of later steps are discarded before, the last one first. Returns whether any was taken.
    """
    done = next((i for i, (result, _) in enumerate(steps) if not result.exists()), len(steps))
    for result, _ in reversed(steps[done:]):
        discard(result)
    for _, step in steps[done:]:
        step()
    return done < len(steps)
