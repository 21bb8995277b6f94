"""Prepare WMT-14 English-German: Europarl, Common Crawl, news commentary; newstest2014."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.clean_pairs import Pair
from common.corpus import Corpus, Pairs, Splits, main
from common.fetch import RawFile
from common.raw_formats import members, pair_lines, segments

# The end of each text's path in its archive, without the language.
TEXTS = {
    "europarl": "europarl-v7.de-en",
    "commoncrawl": "commoncrawl.de-en",
    "commentary": "news-commentary-v9.de-en",
}
VALID_EVERY = 100


def read(raw: Mapping[str, Path], pairs: Pairs) -> Iterator[tuple[str, Splits]]:
    """Every 100th line of the training text is held out for validation."""
    lines: list[Pair] = []
    for archive, text in TEXTS.items():
        found = members(raw[archive], [f"{text}.{x}" for x in pairs[""]])
        lines += pair_lines(*(found[f"{text}.{x}"] for x in pairs[""]), text)
    source, target = pairs[""]
    names = [f"newstest2014-deen-src.{source}.sgm", f"newstest2014-deen-ref.{target}.sgm"]
    found = members(raw["tests"], names)
    splits = {
        "train": [pair for n, pair in enumerate(lines, start=1) if n % VALID_EVERY],
        "valid": lines[VALID_EVERY - 1 :: VALID_EVERY],
        "test": pair_lines(*(segments(found[name]) for name in names), "newstest2014"),
    }
    yield "", splits


CORPUS = Corpus(
    description=__doc__ or "",
    files={
        "europarl": RawFile("http://www.statmt.org/wmt13/training-parallel-europarl-v7.tgz"),
        "commoncrawl": RawFile("http://www.statmt.org/wmt13/training-parallel-commoncrawl.tgz"),
        "commentary": RawFile("http://www.statmt.org/wmt14/training-parallel-nc-v9.tgz"),
        "tests": RawFile("http://www.statmt.org/wmt14/test-full.tgz"),
    },
    pairs={"": ("en", "de")},
    read=read,
    vocabulary=40000,
    cleaned=("train", "valid"),
)

if __name__ == "__main__":
    sys.exit(main(CORPUS))
