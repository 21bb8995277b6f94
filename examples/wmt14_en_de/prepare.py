"""Prepare WMT-14 English-German: Europarl, Common Crawl, news commentary; newstest2014."""

from __future__ import annotations

import html
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sacrebleu.dataset import DATASETS

from common.corpus import Corpus, Pairs, Splits, main
from common.raw_files import RawFile
from common.raw_formats import members, pair_lines
from resdual_fairseq.preparation.clean_pairs import Pair, one_line
from resdual_fairseq.preparation.run_steps import read_lines

# The end of each text's path in its archive, without the language.
TEXTS = {
    "europarl": "europarl-v7.de-en",
    "commoncrawl": "commoncrawl.de-en",
    "commentary": "news-commentary-v9.de-en",
}
VALID_EVERY = 100
TEST_SET = DATASETS["wmt14/full"]


def read(raw: Mapping[str, Path], pairs: Pairs) -> Iterator[tuple[str, Splits]]:
    """Every 100th line of the training text is held out for validation."""
    lines: list[Pair] = []
    for archive, text in TEXTS.items():
        found = members(raw[archive], [f"{text}.{x}" for x in pairs[""]])
        lines += pair_lines(*(found[f"{text}.{x}"] for x in pairs[""]), text)
    splits = {
        "train": [pair for n, pair in enumerate(lines, start=1) if n % VALID_EVERY],
        "valid": lines[VALID_EVERY - 1 :: VALID_EVERY],
        "test": newstest2014(raw["tests"]),
    }
    yield "", splits


def newstest2014(archive: Path) -> list[Pair]:
    """The test set as sacreBLEU reads it, from an archive that is here already."""
    TEST_SET.data = [archive.absolute().as_uri()]
    files = [TEST_SET.get_source_file("en-de"), *TEST_SET.get_reference_files("en-de")]
    return pair_lines(*(unescaped_lines(Path(file)) for file in files), "newstest2014")


def unescaped_lines(path: Path) -> list[str]:
    """The lines of a text with SGML's entities, which sacreBLEU leaves in."""
    return [one_line(html.unescape(line)) for line in read_lines(path)]


CORPUS = Corpus(
    description=__doc__ or "",
    files={
        "europarl": RawFile("http://www.statmt.org/wmt13/training-parallel-europarl-v7.tgz"),
        "commoncrawl": RawFile("http://www.statmt.org/wmt13/training-parallel-commoncrawl.tgz"),
        "commentary": RawFile("http://www.statmt.org/wmt14/training-parallel-nc-v9.tgz"),
        "tests": RawFile(TEST_SET.data[0], f"md5:{TEST_SET.md5[0]}"),
    },
    pairs={"": ("en", "de")},
    read=read,
    vocabulary=40000,
    cleaned=("train", "valid"),
)

if __name__ == "__main__":
    sys.exit(main(CORPUS))
