"""Prepare IWSLT-14 German-English: TED talks, lower-cased, as the paper and fairseq use them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.corpus import Corpus, Pairs, Splits, main
from common.raw_files import RawFile
from common.raw_formats import members, pair_lines, segments, talk_lines

ARCHIVE = "http://dl.fbaipublicfiles.com/fairseq/data/iwslt14/de-en.tgz"
TRAIN = "train.tags.de-en"
# The paper's test set is all of these together.
TESTS = ("TED.dev2010", "TEDX.dev2012", "TED.tst2010", "TED.tst2011", "TED.tst2012")
VALID_EVERY = 23


def read(raw: Mapping[str, Path], pairs: Pairs) -> Iterator[tuple[str, Splits]]:
    """Every 23rd line of the talks for training is held out for validation."""
    tests = [f"IWSLT14.{name}.de-en.{x}.xml" for name in TESTS for x in pairs[""]]
    found = members(raw["archive"], [*(f"{TRAIN}.{x}" for x in pairs[""]), *tests])
    talks = pair_lines(*(talk_lines(found[f"{TRAIN}.{x}"]) for x in pairs[""]), TRAIN)
    test = []
    for name in TESTS:
        sides = [segments(found[f"IWSLT14.{name}.de-en.{x}.xml"]) for x in pairs[""]]
        test += pair_lines(*sides, name)
    splits = {
        "train": [pair for n, pair in enumerate(talks, start=1) if n % VALID_EVERY],
        "valid": talks[VALID_EVERY - 1 :: VALID_EVERY],
        "test": test,
    }
    yield "", splits


CORPUS = Corpus(
    description=__doc__ or "",
    files={"archive": RawFile(ARCHIVE)},
    pairs={"": ("de", "en")},
    read=read,
    vocabulary=10000,
    cleaned=("train", "valid"),
    lowercase=True,
    longest=175,
)

if __name__ == "__main__":
    sys.exit(main(CORPUS))
