"""Files and folders that are written whole or not at all."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from .errors import ResDualError


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


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that it holds, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
