"""Prepare Multi30k, task 1: image captions in English and German (Elliott et al. 2016)."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.corpus import Corpus, Pairs, Splits, main
from common.raw_files import RawFile
from common.raw_formats import gzip_lines, pair_lines
from resdual_fairseq.preparation.clean_pairs import Pair

HOME = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw"
RAW_SPLITS = {"train": "train", "valid": "val", "test": "test_2016_flickr"}
SHA256 = {
    "train.en": "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f",
    "train.de": "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6",
    "valid.en": "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28",
    "valid.de": "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a",
    "test.en": "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9",
    "test.de": "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8",
}


def read(raw: Mapping[str, Path], pairs: Pairs) -> Iterator[tuple[str, Splits]]:
    """The lines of every split."""
    splits: dict[str, list[Pair]] = {}
    for split in RAW_SPLITS:
        sides = [gzip_lines(raw[f"{split}.{language}"]) for language in pairs[""]]
        splits[split] = pair_lines(*sides, split)
    yield "", splits


CORPUS = Corpus(
    description=__doc__ or "",
    files={
        f"{split}.{language}": RawFile(
            f"{HOME}/{name}.{language}.gz", SHA256[f"{split}.{language}"]
        )
        for split, name in RAW_SPLITS.items()
        for language in ("en", "de")
    },
    pairs={"": ("en", "de")},
    read=read,
    vocabulary=8000,
)

if __name__ == "__main__":
    sys.exit(main(CORPUS))
