"""The preparation of one pair of languages, wherever its lines come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ResDualError
from . import encode_text
from .clean_pairs import Pair, keep_good
from .languages import check_pair, file_code
from .out_folder import (
    MANIFEST,
    PARTS,
    SETTINGS,
    as_json,
    open_folder,
    print_summary,
    write_manifest,
)
from .run_steps import alone, building, say, take_steps, write_lines, write_whole
from .split_pairs import hold_out, split

# Raise this number whenever the same options would give other files than before.
RECIPE = 1


@dataclass(frozen=True)
class PairSource:
    """Where the pairs of lines come from.

    Attributes:
        settings: what decides which pairs there are and which are held out, in JSON's types.
        read: gives all pairs, clean but not yet sorted out.
        held_out: how many groups of pairs the test and the validation get.
        remedy: the options to give when no line is left for one of these.
    """

    settings: Mapping[str, Any]
    read: Callable[[], list[Pair]]
    held_out: tuple[int, int]
    remedy: str


def prepare_pair(
    out: Path,
    languages: Sequence[str],
    source: PairSource,
    vocabulary: int,
    seed: int,
    force: bool,
) -> None:
    """Take every step that is not done; the arguments are those of `prepare_text`.

    Raises:
        ResDualError: what a user can mend, in one sentence.
        OSError: a file cannot be read or written.
    """
    check_pair(languages)
    # The commands that are echoed are to work from any folder.
    out = out.absolute()
    settings = {
        "recipe": RECIPE,
        "languages": list(languages),
        "vocabulary": vocabulary,
        "seed": seed,
        **source.settings,
    }
    names = [file_code(language) for language in languages]
    text, tokenized, codes, bpe, data_bin = (out / part for part in PARTS[:-1])
    steps: list[tuple[Path, Callable[[], None]]] = [
        (text, lambda: make_text(text, names, source, seed, settings)),
        (tokenized, lambda: encode_text.tokenize(text, tokenized, names)),
        (codes, lambda: encode_text.learn_bpe(tokenized, codes, names, vocabulary)),
        (bpe, lambda: encode_text.apply_bpe(tokenized, bpe, codes, names)),
        (data_bin, lambda: encode_text.binarize(bpe, data_bin, names)),
        (out / MANIFEST, lambda: write_manifest(out, settings, names)),
    ]
    with alone(out / ".lock"):
        open_folder(out, settings, force)
        if not take_steps(steps):
            say(f"already prepared with these settings: {data_bin}")
        print_summary(out, names)


def make_text(
    text: Path, names: Sequence[str], source: PairSource, seed: int, settings: Mapping[str, Any]
) -> None:
    """Write the clean text of every split, and a report of what was dropped and held out.

    Raises:
        ResDualError: a split would be empty.
    """
    pairs = source.read()
    kept, dropped = keep_good(pairs)
    if not kept:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in dropped.items())
        raise ResDualError(
            f"none of {len(pairs):,} pairs is usable ({reasons or 'there are none'}); give other "
            "text: the head of resdual_fairseq/preparation/clean_pairs.py says what is kept"
        )
    held_out = hold_out(kept, *source.held_out, seed)
    splits = split(kept, held_out)
    for name, part in splits.items():
        if not part:
            groups = len({pair.group for pair in kept})
            raise ResDualError(
                f"no line is left for {name}: {len(kept):,} of {len(pairs):,} pairs are usable, "
                f"in {groups:,} groups that are held out as a whole; give {source.remedy}"
            )
    report = {"pairs": len(pairs), "dropped": dropped, "held_out": held_out}
    with building(text) as folder:
        for name, part in splits.items():
            write_lines(folder / f"{name}.{names[0]}", [pair.source for pair in part])
            write_lines(folder / f"{name}.{names[1]}", [pair.target for pair in part])
        write_lines(folder / "report.json", [as_json(report)])
        write_whole(text.with_name(SETTINGS), as_json(settings))
