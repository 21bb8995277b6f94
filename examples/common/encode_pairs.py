"""From clean text of one or more pairs of languages to one data-bin: joint BPE, one dictionary.

`pairs` maps a subfolder of text/, tokenized/ and bpe/ ("" for a single pair) to its two languages.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from resdual_fairseq.preparation import encode_text
from resdual_fairseq.preparation.out_folder import (
    MANIFEST,
    SPECIAL_SYMBOLS,
    as_json,
    checksums,
    counts,
    packages,
)
from resdual_fairseq.preparation.run_steps import (
    building,
    read_lines,
    say,
    write_lines,
    write_whole,
)

Pairs = Mapping[str, tuple[str, str]]
Steps = Sequence[tuple[Path, Callable[[], None]]]


def encoding_steps(
    out: Path, pairs: Pairs, vocabulary: int, settings: Mapping[str, Any]
) -> list[tuple[Path, Callable[[], None]]]:
    """The steps that follow on text/, each with the path of its result."""
    text, tokenized, bpe = (out / name for name in ("text", "tokenized", "bpe"))
    codes = out / "bpe.codes"
    steps: list[tuple[Path, Callable[[], None]]] = []
    for name, two in pairs.items():
        result = tokenized / name
        steps.append((result, partial(encode_text.tokenize, text / name, result, two)))
    steps.append((codes, partial(learn, tokenized, codes, pairs, vocabulary)))
    for name, two in pairs.items():
        result = bpe / name
        steps.append((result, partial(encode_text.apply_bpe, tokenized / name, result, codes, two)))
    steps.append((out / "data-bin", partial(binarize, bpe, out / "data-bin", pairs)))
    steps.append((out / MANIFEST, partial(write_manifest, out, pairs, settings)))
    return steps


def learn(tokenized: Path, codes: Path, pairs: Pairs, vocabulary: int) -> None:
    """Learn the joint BPE, from each language's largest training file.

    A language that stands in every pair would else weigh as much as all others together.
    """
    largest: dict[str, Path] = {}
    for name, two in pairs.items():
        for language in two:
            file = tokenized / name / f"train.{language}"
            best = largest.get(language)
            if best is None or file.stat().st_size > best.stat().st_size:
                largest[language] = file
    encode_text.learn_bpe_of(list(largest.values()), codes, vocabulary)


def binarize(bpe: Path, data_bin: Path, pairs: Pairs) -> None:
    """Write the folder that fairseq-train reads, with one dictionary for all languages."""
    with building(data_bin) as folder:
        dictionary = folder / "dict.txt"
        files = [bpe / name / f"train.{x}" for name, two in pairs.items() for x in two]
        write_lines(dictionary, dictionary_lines(files))
        options = ["--srcdict", str(dictionary), "--tgtdict", str(dictionary)]
        for name, two in pairs.items():
            encode_text.binarize_into(folder, bpe / name, two, *options)


def dictionary_lines(files: Sequence[Path]) -> list[str]:
    """fairseq's dict.txt of all subwords, the most frequent first."""
    found: Counter[str] = Counter()
    for path in files:
        for line in read_lines(path):
            found.update(line.split())
    ordered = sorted(found.items(), key=lambda entry: (-entry[1], entry[0]))
    return [f"{word} {count}" for word, count in ordered]


def write_manifest(out: Path, pairs: Pairs, settings: Mapping[str, Any]) -> None:
    """Record how the data came about and what it is; the last file of a preparation."""
    report = json.loads((out / "text" / "report.json").read_text(encoding="utf-8"))
    manifest = {
        "settings": settings,
        "splits": {"-".join(two): counts(out, two, name) for name, two in pairs.items()},
        "dictionary": SPECIAL_SYMBOLS + len(read_lines(out / "data-bin" / "dict.txt")),
        **report,
        "versions": packages(),
        "sha256": checksums(out),
    }
    write_whole(out / MANIFEST, as_json(manifest))


def print_summary(out: Path) -> None:
    """Print lines and subwords of every pair and split, from the manifest."""
    manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    say("")
    for pair, splits in manifest["splits"].items():
        for split, row in splits.items():
            tokens = ", ".join(f"{count:,} {name}" for name, count in row["tokens"].items())
            say(f"{pair:8}  {split:5}  {row['lines']:>10,} lines  subwords: {tokens}")
    say(f"dictionary: {manifest['dictionary']:,} symbols, shared by all languages")
    say(f"ready: {out / 'data-bin'}")
