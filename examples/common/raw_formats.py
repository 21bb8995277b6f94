"""Lines out of the corpora's raw files: gzip, tar archives, TED's tags, SGML and XML."""

from __future__ import annotations

import gzip
import html
import re
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from resdual_fairseq.errors import ResDualError
from resdual_fairseq.preparation.clean_pairs import Pair, one_line

SEGMENT = re.compile(r"<seg [^>]*>(.*?)</seg>")
ABOUT_THE_TALK = re.compile(r"<(?:url|talkid|keywords|speaker|reviewer|translator|doc|/doc)\b")
TAG = re.compile(r"<[^>]*>")


def decoded(raw: bytes, name: object) -> list[str]:
    """The lines of UTF-8 text, each with single spaces only; only a line feed ends a line.

    Raises ResDualError when the text is not UTF-8.
    """
    try:
        lines = raw.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ResDualError(f"{name} is not UTF-8 text; fetch it anew") from error
    if lines[-1] == "":
        lines.pop()
    return [one_line(line) for line in lines]


def gzip_lines(path: Path) -> list[str]:
    """The lines of a gzip file.

    Raises ResDualError when it is cut short or no gzip file.
    """
    try:
        raw = gzip.decompress(path.read_bytes())
    except (OSError, EOFError) as error:
        raise ResDualError(f"{path} is cut short or no gzip file; fetch it anew") from error
    return decoded(raw, path)


def each_member(archive: Path, names: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """Name and lines of files in a tar archive, in the archive's order, by the names asked for.

    A member is found by the end of its path. Nothing is unpacked to the disk, and the archive is
    read no further than the last of them. Raises ResDualError when it is broken.
    """
    waiting = set(names)
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                name = next((x for x in waiting if f"/{member.name}".endswith(f"/{x}")), None)
                stream = tar.extractfile(member) if name is not None else None
                if name is not None and stream is not None:
                    yield name, decoded(stream.read(), f"{name} in {archive}")
                    waiting.remove(name)
                if not waiting:
                    return
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ResDualError(f"{archive} is cut short or no archive; fetch it anew") from error


def members(archive: Path, names: Iterable[str]) -> dict[str, list[str]]:
    """The lines of files in a tar archive, by the names asked for (:func:`each_member`).

    Raises ResDualError when the archive is broken or lacks one.
    """
    wanted = list(names)
    found = dict(each_member(archive, wanted))
    for name in wanted:
        if name not in found:
            raise ResDualError(f"{archive} holds no {name}; fetch it anew, or give another file")
    return found


def segments(lines: Iterable[str]) -> list[str]:
    """The texts of the `<seg>` elements of an SGML or XML test set."""
    return [one_line(html.unescape(match)) for line in lines for match in SEGMENT.findall(line)]


def talk_lines(lines: Iterable[str]) -> list[str]:
    """The text of a `train.tags` file of TED talks: titles, descriptions and sentences."""
    return [one_line(TAG.sub(" ", line)) for line in lines if not ABOUT_THE_TALK.match(line)]


def pair_lines(left: Sequence[str], right: Sequence[str], name: str) -> list[Pair]:
    """Line n of one side with line n of the other.

    Raises ResDualError when their numbers differ.
    """
    if len(left) != len(right):
        raise ResDualError(
            f"{name} has {len(left):,} lines on one side and {len(right):,} on the other; fetch "
            "its files anew"
        )
    return [Pair(name, *sides) for sides in zip(left, right)]
