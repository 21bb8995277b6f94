"""Which pairs train and which are held out, for many languages beside English.

The integrations held out are the same for every language, and a held-out line goes where any
language's training text has it on either side: what one direction has seen in training must not be
another one's test.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from resdual_fairseq.preparation.clean_pairs import Pair
from resdual_fairseq.preparation.split_pairs import MIN_WORDS, SPLITS, key, words

Texts = dict[str, dict[str, list[Pair]]]


def split(
    pairs: Mapping[str, Iterable[Pair]],
    held_out: Mapping[str, Iterable[str]],
    most: Mapping[str, int],
) -> Texts:
    """The pairs of each language and split.

    Args:
        pairs: clean pairs of English with each language.
        held_out: integrations by split.
        most: how many lines a split keeps of each language; the same English lines where it can.
    """
    place = {group: name for name, groups in held_out.items() for group in groups}
    dealt: Texts = {language: {name: [] for name in SPLITS} for language in pairs}
    for language, texts in pairs.items():
        for pair in texts:
            dealt[language][place.get(pair.group, "train")].append(pair)
    for parts in dealt.values():
        parts["train"] = distinct(parts["train"])
    seen = sides(dealt, "train")
    for name in ("valid", "test"):
        for parts in dealt.values():
            parts[name] = unseen(parts[name], seen)[: most[name]]
        seen |= sides(dealt, name)
    return dealt


def distinct(pairs: Iterable[Pair]) -> list[Pair]:
    """The first of every two equal pairs."""
    first: dict[tuple[str, str], Pair] = {}
    for pair in pairs:
        first.setdefault((pair.source, pair.target), pair)
    return list(first.values())


def sides(texts: Texts, name: str) -> set[str]:
    """The keys of all texts of a split, of both sides and all languages."""
    return {
        key(side)
        for parts in texts.values()
        for pair in parts[name]
        for side in (pair.source, pair.target)
    }


def unseen(pairs: Iterable[Pair], seen: set[str]) -> list[Pair]:
    """Pairs of three words or more with no side in `seen` or earlier, in an order of their own.

    The order is that of the English line's hash, so that the first lines of every language are
    translations of the same English ones.
    """
    known: set[str] = set()
    kept = []
    for pair in sorted(pairs, key=lambda pair: hashlib.sha256(pair.source.encode()).digest()):
        keys = {key(pair.source), key(pair.target)}
        new = keys.isdisjoint(seen) and keys.isdisjoint(known)
        if new and words(pair.source) >= MIN_WORDS:
            known |= keys
            kept.append(pair)
    return kept
