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
from collections.abc import Sequence
from pathlib import Path

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
from resdual_fairseq.preparation.clean_pairs import Pair
from resdual_fairseq.preparation.prepare_pair import PairSource, prepare_pair
from resdual_fairseq.preparation.prepare_text import prepare_text


def prepare_wheel(options: argparse.Namespace) -> None:
    """Prepare two languages of the wheel.

    Raises ResDualError when the file that the user named is missing or is not the right wheel.
    """
    if options.wheel:
        wheel_texts.check_given(options.wheel)

    def read() -> list[Pair]:
        wheel = options.wheel or wheel_texts.fetch((options.cache or options.out).absolute())
        return wheel_texts.read(wheel, *options.languages)

    test, valid = options.held_out or HELD_OUT
    source = PairSource(
        settings={"wheel_sha256": wheel_texts.WHEEL_SHA256, "held_out": [test, valid]},
        read=read,
        held_out=(test, valid),
        remedy="another --held-out",
    )
    prepare_pair(
        options.out, options.languages, source, options.vocabulary, options.seed, options.force
    )


def prepare(options: argparse.Namespace) -> None:
    """Prepare the user's own files, or the wheel."""
    refuse_contradictions(options)
    if not options.text:
        prepare_wheel(options)
        return
    prepare_text(
        options.out,
        options.languages,
        options.text,
        options.vocabulary,
        options.test_lines or TEST_LINES,
        options.valid_lines or VALID_LINES,
        options.seed,
        options.force,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = parser(__doc__).parse_args(arguments)
    return exit_status("prepare.py", lambda: prepare(options))


if __name__ == "__main__":
    sys.exit(main())
