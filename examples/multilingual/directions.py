"""Languages and directions of a folder that prepare.py made, as fairseq's options spell them."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path


def pairs_of(data: Path) -> list[tuple[str, str]]:
    """The pairs of languages, English first, in the order of their preparation.

    Ends the command with one sentence where the folder is not a finished preparation.
    """
    manifest = data / "manifest.json"
    if not manifest.is_file():
        sys.exit(f"error: {manifest} does not exist; make it with examples/multilingual/prepare.py")
    splits = json.loads(manifest.read_text(encoding="utf-8"))["splits"]
    return [(one, other) for one, other in (name.split("-") for name in splits)]


def directions_of(data: Path) -> list[tuple[str, str]]:
    """Source and target of every direction: first all from English, then all to English."""
    pairs = pairs_of(data)
    return [*pairs, *((other, one) for one, other in pairs)]


def languages_of(data: Path) -> list[str]:
    """All languages, English first."""
    return list(dict.fromkeys(language for pair in directions_of(data) for language in pair))


def main() -> None:
    """Print what --langs or --lang-pairs of fairseq takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["languages", "pairs"])
    parser.add_argument("data", type=Path, help="prepare.py's --out")
    args = parser.parse_args()
    if args.what == "languages":
        print(",".join(languages_of(args.data)))
    else:
        print(",".join("-".join(pair) for pair in directions_of(args.data)))


if __name__ == "__main__":
    main()
