"""How many updates fit into some minutes, by the speed of a short training."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

SHARE_OF_UPDATES = 0.75
LEAST = 300


def updates_in(minutes: float, log: str) -> int:
    """Updates that the minutes hold, at the last speed of a log of `--log-format json`.

    Raises ValueError when the log has no speed.
    """
    speeds = re.findall(r'"ups": "([0-9.]+)"', log)
    if not speeds:
        raise ValueError("no speed in the log")
    return max(LEAST, int(SHARE_OF_UPDATES * 60 * minutes * float(speeds[-1])))


def main() -> None:
    """Print the number and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", type=Path, help="what fairseq-train --log-format json printed")
    parser.add_argument("minutes", type=float)
    parser.add_argument("out", type=Path, help="file to write")
    args = parser.parse_args()
    try:
        number = updates_in(args.minutes, args.log.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        sys.exit(f"error: {args.log}: {error}; set RESDUAL_DEMO_UPDATES to skip the measurement")
    print(f"this machine does {number} updates in {args.minutes:g} minutes")
    partial = args.out.with_name(args.out.name + ".tmp")
    partial.write_text(f"{number}\n", encoding="utf-8")
    os.replace(partial, args.out)


if __name__ == "__main__":
    main()
