"""Prepare OPUS-100 (Zhang et al. 2020): English beside 94 languages that have test sets."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.corpus import Corpus, Pairs, Splits, main
from common.raw_files import RawFile
from common.raw_formats import each_member, pair_lines

ARCHIVE = "https://data.statmt.org/opus-100-corpus/v1.0/opus-100-corpus-v1.0.tar.gz"
ENGLISH = "en"
# Those of the 99 languages that have a test set.
LANGUAGES = """
af am ar as az be bg bn br bs ca cs cy da de el eo es et eu fa fi fr fy ga gd gl gu ha he hi
hr hu id ig is it ja ka kk km kn ko ku ky li lt lv mg mk ml mr ms mt my nb ne nl nn no oc or
pa pl ps pt ro ru rw se sh si sk sl sq sr sv ta te tg th tk tr tt ug uk ur uz vi wa xh yi zh
zu
""".split()  # noqa: SIM905
RAW_SPLITS = {"train": "train", "valid": "dev", "test": "test"}


def read(raw: Mapping[str, Path], pairs: Pairs) -> Iterator[tuple[str, Splits]]:
    """The corpus's own splits; its files are named after the pair in alphabetical order."""
    wanted = {}
    for pair, two in pairs.items():
        own = "-".join(sorted(two))
        for split, name in RAW_SPLITS.items():
            for language in two:
                wanted[f"{own}/opus.{own}-{name}.{language}"] = (pair, split, language)
    found: dict[str, dict[tuple[str, str], list[str]]] = {pair: {} for pair in pairs}
    for name, lines in each_member(raw["archive"], wanted):
        pair, split, language = wanted[name]
        found[pair][split, language] = lines
        if len(found[pair]) == 2 * len(RAW_SPLITS):
            sides = found.pop(pair)
            yield (
                pair,
                {
                    split: pair_lines(*(sides[split, x] for x in pairs[pair]), f"{pair} {split}")
                    for split in RAW_SPLITS
                },
            )


CORPUS = Corpus(
    description=__doc__ or "",
    files={"archive": RawFile(ARCHIVE)},
    pairs={f"{ENGLISH}-{language}": (ENGLISH, language) for language in LANGUAGES},
    read=read,
    vocabulary=64000,
    # Words are no measure where a language writes none apart.
    ratio=float("inf"),
    choose=True,
)

if __name__ == "__main__":
    sys.exit(main(CORPUS))
