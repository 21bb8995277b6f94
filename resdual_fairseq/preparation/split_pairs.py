"""Which pairs train, which are for validation, and which are for the test.

Whole groups are held out (an integration of the wheel, a block of lines of plain files), because
lines of one group resemble each other. What the split keeps depends on the data and the seed only.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from .clean_pairs import IDEOGRAM, Pair

SPLITS = ("train", "valid", "test")
MIN_WORDS = 3


def key(text: str) -> str:
    """What two sources share when they differ in case, punctuation or spaces only."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def words(text: str) -> int:
    """How many words a text has; in Chinese and Japanese each character counts as one."""
    return len(IDEOGRAM.sub(" x ", text).split())


def ranked(groups: Iterable[str], seed: int) -> list[str]:
    """The groups in an order that the seed alone decides.

    Each group's place comes from its own hash, so the same integrations are held out of every
    language pair that has them, whatever the order of the files or the version of Python.
    """

    def rank(group: str) -> str:
        return hashlib.sha256(f"{seed}/{group}".encode()).hexdigest()

    return sorted(set(groups), key=rank)


def unseen(pairs: Iterable[Pair], seen: Iterable[Pair]) -> list[Pair]:
    """Pairs of three words or more whose source is neither in `seen` nor earlier in `pairs`."""
    known = {key(pair.source) for pair in seen}
    kept = []
    for pair in pairs:
        if key(pair.source) not in known and words(pair.source) >= MIN_WORDS:
            known.add(key(pair.source))
            kept.append(pair)
    return kept


def hold_out(pairs: Iterable[Pair], test: int, valid: int, seed: int) -> dict[str, list[str]]:
    """The names of the groups held out: `test` of them for the test, `valid` for validation."""
    order = ranked((pair.group for pair in pairs), seed)
    return {"test": sorted(order[:test]), "valid": sorted(order[test : test + valid])}


def split(pairs: list[Pair], held_out: dict[str, list[str]]) -> dict[str, list[Pair]]:
    """Deal the pairs out to train, valid and test; the lines of each are distinct.

    Training keeps every distinct pair of the groups that are not held out; a line is valid when
    training does not have its source, and a test line when neither of the others has.
    """
    place = {group: name for name, groups in held_out.items() for group in groups}
    dealt: dict[str, list[Pair]] = {name: [] for name in SPLITS}
    for pair in pairs:
        dealt[place.get(pair.group, "train")].append(pair)
    first: dict[tuple[str, str], Pair] = {}
    for pair in dealt["train"]:
        first.setdefault((pair.source, pair.target), pair)
    train = list(first.values())
    valid = unseen(dealt["valid"], train)
    test = unseen(dealt["test"], [*train, *valid])
    return {"train": train, "valid": valid, "test": test}
