"""Two plain parallel files of the user's own, one sentence a line."""

from __future__ import annotations

from pathlib import Path

from ..errors import ResDualError
from .clean_pairs import Pair, one_line

# Neighbouring lines often come from one document: they are held out together.
BLOCK_LINES = 20


def read_file(path: Path) -> list[str]:
    """The lines of a UTF-8 file.

    Raises:
        ResDualError: the file is missing, empty or not UTF-8.
    """
    if path.is_dir():
        raise ResDualError(f"--text {path}: this is a folder; give two files of lines")
    if not path.is_file():
        raise ResDualError(f"--text {path}: there is no such file")
    lines = path.read_bytes().split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    if not lines:
        raise ResDualError(f"--text {path}: the file is empty")
    texts = []
    for number, line in enumerate(lines, start=1):
        try:
            texts.append(line.decode("utf-8"))
        except UnicodeDecodeError:
            raise ResDualError(
                f"--text {path}: line {number} is not UTF-8; convert the file, for example with "
                "iconv -f latin1 -t utf-8"
            ) from None
    return texts


def read(source: Path, target: Path) -> list[Pair]:
    """The pairs of two files with as many lines; the group is a block of neighbouring lines.

    Raises:
        ResDualError: a file cannot be read, or the numbers of lines differ.
    """
    sides = [read_file(path) for path in (source, target)]
    if len(sides[0]) != len(sides[1]):
        raise ResDualError(
            f"--text: {source} has {len(sides[0])} lines and {target} has {len(sides[1])}; "
            "line n of one must be the translation of line n of the other"
        )
    return [
        Pair(str(index // BLOCK_LINES), one_line(left), one_line(right))
        for index, (left, right) in enumerate(zip(*sides))
    ]


def blocks(lines: int) -> int:
    """How many blocks hold this many lines."""
    return -(-lines // BLOCK_LINES)
