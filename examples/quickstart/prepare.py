"""Prepare real parallel text for fairseq-train.

Without --text the data are the interface texts in the `homeassistant` wheel, which pip fetches
and whose checksum is verified. OUT then holds

  text/       clean text, one sentence a line: {train,valid,test}.{src,tgt}; test.tgt is what to
              score against, untouched by any tokenizer
  tokenized/  the same in Moses tokens
  bpe/        the same in subwords; bpe.codes are the joint codes
  data-bin/   what fairseq-train reads
  manifest.json  settings, counts, versions and checksums, written last

Run again after any interruption, the command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import wheel_texts
from common.command_line import exit_status
from quickstart.prepare_options import (
    HELD_OUT,
    TEST_LINES,
    VALID_LINES,
    parser,
    refuse_contradictions,
)
from resdual_fairseq.errors import ResDualError
from resdual_fairseq.preparation import encode_text, plain_texts
from resdual_fairseq.preparation.clean_pairs import Pair, keep_good
from resdual_fairseq.preparation.out_folder import (
    MANIFEST,
    PARTS,
    SETTINGS,
    as_json,
    open_folder,
    print_summary,
    write_manifest,
)
from resdual_fairseq.preparation.run_steps import (
    alone,
    building,
    say,
    sha256,
    take_steps,
    write_lines,
    write_whole,
)
from resdual_fairseq.preparation.split_pairs import hold_out, split

# Raise this number whenever the same options would give other files than before.
RECIPE = 1


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """All that decides the result, with the checksums of what is read.

    Raises ResDualError when a file that the user named is missing or is not the right wheel.
    """
    settings = {
        "recipe": RECIPE,
        "languages": options.languages,
        "vocabulary": options.vocabulary,
        "seed": options.seed,
    }
    if options.text:
        for path in options.text:
            plain_texts.read_file(path)
        return {
            **settings,
            "text_sha256": [sha256(path) for path in options.text],
            "test_lines": options.test_lines or TEST_LINES,
            "valid_lines": options.valid_lines or VALID_LINES,
        }
    if options.wheel:
        wheel_texts.check_given(options.wheel)
    return {
        **settings,
        "wheel_sha256": wheel_texts.WHEEL_SHA256,
        "held_out": options.held_out or HELD_OUT,
    }


def read_pairs(options: argparse.Namespace) -> list[Pair]:
    """All pairs that the input has, clean but not yet sorted out."""
    if options.text:
        return plain_texts.read(*options.text)
    wheel = options.wheel or wheel_texts.fetch((options.cache or options.out).absolute())
    return wheel_texts.read(wheel, *options.languages)


def groups_to_hold_out(settings: dict[str, Any]) -> tuple[int, int]:
    """How many groups of pairs the test and the validation get."""
    if "held_out" in settings:
        test, valid = settings["held_out"]
        return test, valid
    return plain_texts.blocks(settings["test_lines"]), plain_texts.blocks(settings["valid_lines"])


def make_text(
    options: argparse.Namespace, settings: dict[str, Any], text: Path, names: Sequence[str]
) -> None:
    """Write the clean text of every split, and a report of what was dropped and held out.

    Raises ResDualError when a split would be empty.
    """
    pairs = read_pairs(options)
    kept, dropped = keep_good(pairs)
    if not kept:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in dropped.items())
        raise ResDualError(
            f"none of {len(pairs):,} pairs is usable ({reasons or 'there are none'}); give other "
            "text: the head of resdual_fairseq/preparation/clean_pairs.py says what is kept"
        )
    held_out = hold_out(kept, *groups_to_hold_out(settings), settings["seed"])
    splits = split(kept, held_out)
    for name, part in splits.items():
        if not part:
            remedy = "fewer --test-lines or --valid-lines" if options.text else "another --held-out"
            groups = len({pair.group for pair in kept})
            raise ResDualError(
                f"no line is left for {name}: {len(kept):,} of {len(pairs):,} pairs are usable, "
                f"in {groups:,} groups that are held out as a whole; give {remedy}"
            )
    report = {"pairs": len(pairs), "dropped": dropped, "held_out": held_out}
    with building(text) as folder:
        for name, part in splits.items():
            write_lines(folder / f"{name}.{names[0]}", [pair.source for pair in part])
            write_lines(folder / f"{name}.{names[1]}", [pair.target for pair in part])
        write_lines(folder / "report.json", [as_json(report)])
        write_whole(text.with_name(SETTINGS), as_json(settings))


def prepare(options: argparse.Namespace, settings: dict[str, Any]) -> None:
    """Take every step from the first one that is not done, in order."""
    out = options.out
    names = [language.replace("-", "_") for language in options.languages]
    text, tokenized, codes, bpe, data_bin = (out / part for part in PARTS[:-1])
    steps: list[tuple[Path, Callable[[], None]]] = [
        (text, lambda: make_text(options, settings, text, names)),
        (tokenized, lambda: encode_text.tokenize(text, tokenized, names)),
        (codes, lambda: encode_text.learn_bpe(tokenized, codes, names, options.vocabulary)),
        (bpe, lambda: encode_text.apply_bpe(tokenized, bpe, codes, names)),
        (data_bin, lambda: encode_text.binarize(bpe, data_bin, names)),
        (out / MANIFEST, lambda: write_manifest(out, settings, names)),
    ]
    if not take_steps(steps):
        say(f"already prepared with these settings: {data_bin}")
    print_summary(out, names)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = parser(__doc__).parse_args(arguments)
    # The commands that are echoed are to work from any folder.
    options.out = options.out.absolute()

    def work() -> None:
        refuse_contradictions(options)
        settings = settings_of(options)
        with alone(options.out / ".lock"):
            open_folder(options.out, settings, options.force)
            prepare(options, settings)

    return exit_status("prepare.py", work)


if __name__ == "__main__":
    sys.exit(main())
