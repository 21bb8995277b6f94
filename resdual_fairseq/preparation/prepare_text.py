"""The preparation of two parallel files of the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from . import plain_texts
from .prepare_pair import PairSource, prepare_pair
from .run_steps import sha256


def prepare_text(
    out: Path,
    languages: Sequence[str],
    text: Sequence[Path],
    vocabulary: int,
    test_lines: int,
    valid_lines: int,
    seed: int,
    force: bool = False,
) -> None:
    """Prepare two parallel files for fairseq-train; called again after a kill, it goes on.

    `out` then holds

    - text/: clean text, one sentence a line: {train,valid,test}.{source,target}; the test's target
      is what to score against, untouched by any tokenizer
    - tokenized/: the same in Moses tokens
    - bpe/: the same in subwords; bpe.codes are the joint codes
    - data-bin/: what fairseq-train reads
    - manifest.json: settings, counts, versions and checksums, written last

    Commands and counts are printed on the way.

    Args:
        out: folder of the result.
        languages: codes of source and target, as en and de; file names have '_' for '-'.
        text: their UTF-8 files, line n of one the translation of line n of the other.
        vocabulary: symbols of the joint BPE, about.
        test_lines: lines to hold out for the test, in blocks of neighbours; those that are short
            or stand in training too are then left out.
        valid_lines: the same for validation.
        seed: decides what is held out.
        force: remove what `out` holds of a preparation with other settings.

    Raises:
        ResDualError: what a user can mend, in one sentence: a file that is missing, empty, not
            UTF-8 or of another number of lines, too little text, an `out` that holds other work,
            a tool that is missing or fails.
        OSError: a file cannot be read or written.
    """
    source, target = text
    for path in text:
        plain_texts.read_file(path)
    pairs = PairSource(
        settings={
            "text_sha256": [sha256(path) for path in text],
            "test_lines": test_lines,
            "valid_lines": valid_lines,
        },
        read=lambda: plain_texts.read(source, target),
        held_out=(plain_texts.blocks(test_lines), plain_texts.blocks(valid_lines)),
        remedy="fewer --test-lines or --valid-lines",
    )
    prepare_pair(out, languages, pairs, vocabulary, seed, force)
