"""Take the detokenized translations out of fairseq-generate's output, in the order of the text."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from resdual_fairseq.preparation.hypotheses import detokenized


def main() -> None:
    """Write one translation a line; refuse an output that lacks some."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, help="generate-test.txt of fairseq-generate")
    parser.add_argument("references", type=Path, help="the text whose lines were translated")
    parser.add_argument("hypotheses", type=Path, help="file to write")
    args = parser.parse_args()
    for path in (args.output, args.references):
        if not path.is_file():
            sys.exit(f"error: {path} does not exist; run the command that makes it first")
    found = detokenized(args.output.read_text(encoding="utf-8"))
    wanted = args.references.read_text(encoding="utf-8").count("\n")
    missing = [number for number in range(wanted) if number not in found]
    if missing:
        sys.exit(
            f"error: {args.output} lacks {len(missing)} of {wanted} translations, the first of "
            f"line {missing[0] + 1}; give fairseq-generate --required-batch-size-multiple 1, "
            "without which some versions of fairseq drop the last batch"
        )
    partial = args.hypotheses.with_name(args.hypotheses.name + ".tmp")
    partial.write_text("".join(found[n] + "\n" for n in range(wanted)), encoding="utf-8")
    os.replace(partial, args.hypotheses)
    print(f"wrote {wanted} translations to {args.hypotheses}")


if __name__ == "__main__":
    main()
