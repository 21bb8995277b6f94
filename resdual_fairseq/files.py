"""Files and folders that are written whole or not at all."""

import json
import os
import secrets
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Iterator, Tuple

from .errors import ResDualError

Sign = Tuple[int, int]
"""Inode and time of the last change of a file."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write a file or folder to, which then takes its place.

    Where the block raises, what it wrote is removed and ``path`` stays as it was.

    Raises:
        ResDualError: it cannot be written.
    """
    unfinished = path.with_name(path.name + ".unfinished")
    remove(unfinished)
    try:
        yield unfinished
        os.replace(unfinished, path)
    except OSError as error:
        raise ResDualError(f"{path} cannot be written: {error}; name another place") from error
    finally:
        remove(unfinished)


def write_whole(path: Path, text: str) -> None:
    """Write a text file whole; several processes may do so at once.

    Raises:
        OSError: it cannot be written.
    """
    unfinished = path.with_name(f"{path.name}.{secrets.token_hex(4)}.unfinished")
    try:
        unfinished.write_text(text, encoding="utf-8")
        os.replace(unfinished, path)
    except OSError as error:
        error.filename = path
        raise
    finally:
        unfinished.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole; several processes may do so at once."""
    write_whole(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that it holds, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sign_of(path: Path) -> Sign:
    """What is another one after every change of a file, and of another file in its place.

    Raises:
        OSError: it is not there, or cannot be read.
    """
    found = path.stat()
    return found.st_ino, found.st_mtime_ns


def remove_unchanged(path: Path, sign: Sign) -> None:
    """Remove a file that several processes may remove or replace, unless it has changed."""
    aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    with suppress(FileNotFoundError, FileExistsError):
        path.rename(aside)
        if sign_of(aside) != sign:
            os.link(aside, path)
    aside.unlink(missing_ok=True)
