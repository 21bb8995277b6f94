"""The prepare command of a recipe whose corpus has raw files of its own.

A recipe says where the files are published (:class:`Corpus`) and how lines come out of them; the
rest is here: options, fetching, cleaning, subwords, data-bin.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.command_line import exit_status, positive
from common.encode_pairs import encoding_steps, print_summary
from common.raw_files import RawFile, fetched, in_folder
from resdual_fairseq.errors import ResDualError
from resdual_fairseq.preparation.clean_pairs import Pair
from resdual_fairseq.preparation.out_folder import SETTINGS, as_json, open_folder
from resdual_fairseq.preparation.run_steps import (
    alone,
    building,
    say,
    sha256,
    take_steps,
    write_lines,
    write_whole,
)
from resdual_fairseq.preparation.split_pairs import SPLITS

Splits = Mapping[str, Sequence[Pair]]
Pairs = Mapping[str, tuple[str, str]]
Read = Callable[[Mapping[str, Path], Pairs], Iterator[tuple[str, Splits]]]


@dataclass(frozen=True)
class Corpus:
    """One recipe.

    Attributes:
        description: what --help says first.
        files: the raw files, by a short name of the recipe's own.
        pairs: the language pairs, by subfolder ("" where there is one pair only).
        read: from the raw files by short name, and the pairs to prepare, to the lines of train,
            valid and test of one pair after the other.
        vocabulary: symbols of the joint BPE.
        lowercase: whether the text is lower-cased, as the published scores were.
        longest: pairs with a side of more words are dropped.
        ratio: pairs are dropped where one side has more than so many times the other's words.
        cleaned: the splits that these limits hold for; published ones are best left whole.
        choose: whether --languages may pick some of the pairs.
        recipe: raised whenever the same options would give other files than before.
    """

    description: str
    files: Mapping[str, RawFile]
    pairs: Pairs
    read: Read
    vocabulary: int
    lowercase: bool = False
    longest: int = 250
    ratio: float = 1.5
    cleaned: Sequence[str] = ("train",)
    choose: bool = False
    recipe: int = 1


def parser(corpus: Corpus) -> argparse.ArgumentParser:
    """The options of the command."""
    names = ", ".join(file.name for file in corpus.files.values())
    command = argparse.ArgumentParser(
        description=f"{corpus.description}\n\nRaw files: {names}.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = command.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the result")
    place = command.add_mutually_exclusive_group()
    place.add_argument(
        "--mirror", metavar="URL", help="a folder of the raw files on another server"
    )
    place.add_argument("--from-folder", type=Path, metavar="DIR", help="the raw files on the disk")
    add("--raw", type=Path, metavar="DIR", help="where to keep fetched files (default: OUT/raw)")
    add(
        "--vocabulary",
        type=positive,
        default=corpus.vocabulary,
        metavar="N",
        help="symbols of the joint BPE (default: %(default)s)",
    )
    if corpus.choose:
        add("--languages", nargs="+", metavar="XX", help="some of the languages beside English")
    add("--force", action="store_true", help="remove what --out holds of a former preparation")
    return command


def chosen(corpus: Corpus, languages: Sequence[str] | None) -> dict[str, tuple[str, str]]:
    """The pairs to prepare.

    Raises ResDualError for a language that the corpus does not have.
    """
    if languages is None:
        return dict(corpus.pairs)
    known = {two[1]: name for name, two in corpus.pairs.items()}
    for language in languages:
        if language not in known:
            raise ResDualError(
                f"--languages: the corpus has no '{language}'; it has: {' '.join(sorted(known))}"
            )
    return {known[language]: corpus.pairs[known[language]] for language in languages}


def is_clean(pair: Pair, longest: int, ratio: float) -> bool:
    """Whether a pair has words on both sides, not too many and not too unlike in number."""
    counts = sorted(len(side.split()) for side in (pair.source, pair.target))
    return counts[0] >= 1 and counts[1] <= longest and counts[1] <= ratio * counts[0]


def make_text(
    corpus: Corpus,
    raw: Mapping[str, Path],
    pairs: Pairs,
    text: Path,
    settings: Mapping[str, Any],
) -> None:
    """Write the lines of every pair and split, and a report.

    Raises ResDualError when a split would be empty.
    """
    report: dict[str, Any] = {}
    with building(text) as folder:
        missing = dict(pairs)
        for name, splits in corpus.read(raw, pairs):
            two = missing.pop(name)
            say(f"read {'-'.join(two)}")
            place = folder / name
            place.mkdir(exist_ok=True)
            for split in SPLITS:
                kept = [
                    pair
                    for pair in splits[split]
                    if split not in corpus.cleaned or is_clean(pair, corpus.longest, corpus.ratio)
                ]
                if not kept:
                    raise ResDualError(
                        f"no line is left for {split} of {'-'.join(two)}; give the whole "
                        "files that the README names"
                    )
                report["-".join(two) + f" {split}"] = {
                    "lines": len(splits[split]),
                    "dropped": len(splits[split]) - len(kept),
                }
                for side, language in enumerate(two):
                    lines = [(pair.source, pair.target)[side] for pair in kept]
                    if corpus.lowercase:
                        lines = [line.lower() for line in lines]
                    write_lines(place / f"{split}.{language}", lines)
        if missing:
            names = ", ".join("-".join(two) for two in missing.values())
            raise ResDualError(f"the raw files hold no {names}; leave these out with --languages")
        write_lines(folder / "report.json", [as_json({"read": report})])
        write_whole(text.with_name(SETTINGS), as_json(settings))


def prepare(corpus: Corpus, options: argparse.Namespace) -> None:
    """Obtain the raw files, then take every step that is not done."""
    out = options.out
    pairs = chosen(corpus, getattr(options, "languages", None))
    with alone(out / ".lock"):
        if options.from_folder is not None:
            raw = in_folder(corpus.files, options.from_folder)
        else:
            raw = fetched(corpus.files, options.raw or out / "raw", options.mirror)
        settings = {
            "recipe": corpus.recipe,
            "pairs": ["-".join(two) for two in pairs.values()],
            "vocabulary": options.vocabulary,
            "raw_sha256": {path.name: sha256(path) for path in raw.values()},
        }
        open_folder(out, settings, options.force)
        text = out / "text"
        steps = [
            (text, lambda: make_text(corpus, raw, pairs, text, settings)),
            *encoding_steps(out, pairs, options.vocabulary, settings),
        ]
        if not take_steps(steps):
            say(f"already prepared with these settings: {out / 'data-bin'}")
        print_summary(out)


def main(corpus: Corpus, arguments: Sequence[str] | None = None) -> int:
    """Run the command of a recipe; returns the exit status."""
    options = parser(corpus).parse_args(arguments)
    options.out = options.out.absolute()
    return exit_status("prepare.py", lambda: prepare(corpus, options))
