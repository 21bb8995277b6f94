"""Which pairs of parallel text are worth keeping, and how their lines are cleaned.

Line breaks, control characters and runs of white space become one space, invisible characters go
(`one_line`), and a pair is dropped (`reason_to_drop`) when

- a side is empty or has no letter outside its placeholders;
- both sides are identical (not translated);
- a side holds a bare address (`https://...`) or a reference to another text (`[%key:...%]`);
- the two sides do not carry the same placeholders;
- a side is longer than 80 words or 600 characters;
- one side is over 4 times as long as the other plus 20 characters, where a character of Chinese
  or Japanese counts as three.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

MAX_WORDS = 80
MAX_CHARACTERS = 600
MAX_RATIO = 4
RATIO_SLACK = 20

PLACEHOLDER = re.compile(r"%?\{\s*([^{}]*?)\s*\}")
ADDRESS = re.compile(r"\w+://")
REFERENCE = re.compile(r"\[%key:")
# Characters of writing systems that put no spaces between words.
IDEOGRAM = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
INVISIBLE = re.compile(r"[\u00ad\u200b\u200e\u200f\ufeff]")


class Pair(NamedTuple):
    """One line in two languages; pairs of one group are never torn apart by the split."""

    group: str
    source: str
    target: str


def one_line(text: str) -> str:
    """The text without control and invisible characters and with single spaces only."""
    return " ".join(CONTROL.sub(" ", INVISIBLE.sub("", text)).split())


def reason_to_drop(source: str, target: str) -> str | None:
    """Why a cleaned pair is not worth keeping (see the head of this file), or None."""
    sides = (source, target)
    if not all(any(map(str.isalpha, PLACEHOLDER.sub("", text))) for text in sides):
        return "no words"
    if source == target:
        return "identical"
    if any(ADDRESS.search(text) or REFERENCE.search(text) for text in sides):
        return "address"
    if Counter(PLACEHOLDER.findall(source)) != Counter(PLACEHOLDER.findall(target)):
        return "placeholders differ"
    if any(len(text) > MAX_CHARACTERS or len(text.split()) > MAX_WORDS for text in sides):
        return "too long"
    shorter, longer = sorted(len(text) + 2 * len(IDEOGRAM.findall(text)) for text in sides)
    if longer > MAX_RATIO * shorter + RATIO_SLACK:
        return "length ratio"
    return None


def keep_good(pairs: Iterable[Pair]) -> tuple[list[Pair], dict[str, int]]:
    """The pairs worth keeping, in order, and how many were dropped for which reason."""
    kept = []
    dropped: Counter[str] = Counter()
    for pair in pairs:
        reason = reason_to_drop(pair.source, pair.target)
        if reason is None:
            kept.append(pair)
        else:
            dropped[reason] += 1
    return kept, dict(sorted(dropped.items()))
