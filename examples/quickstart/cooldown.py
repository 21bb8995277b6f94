"""How many updates a training that stopped can still do in some minutes, at the speed it had."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from run_steps import write_whole

import resdual_fairseq  # noqa: F401  (fairseq's checkpoints load with torch's protection on)

# Other work on the machine may come; a rate that has not fallen to 0 at the end costs quality.
SHARE_OF_UPDATES = 0.85
LEAST = 50


def updates_in(minutes: float, done: int, seconds: float) -> int:
    """Updates that the minutes hold, after so many done in so many seconds."""
    return max(LEAST, int(SHARE_OF_UPDATES * 60 * minutes * done / seconds))


def read(checkpoint: Path) -> tuple[int, float]:
    """The updates and seconds of training in a checkpoint of fairseq-train."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    updates = state["optimizer_history"][-1]["num_updates"]
    return updates, state["extra_state"]["previous_training_time"]


def main() -> None:
    """Write the number of updates done, and of those at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("minutes", type=float)
    parser.add_argument("out", type=Path, help="file to write")
    args = parser.parse_args()
    try:
        done, seconds = read(args.checkpoint)
    except OSError as error:
        sys.exit(f"error: {args.checkpoint}: {error.strerror}; train first")
    last = done + updates_in(args.minutes, done, seconds)
    print(f"{done} updates in {seconds:.0f} seconds: the learning rate falls to 0 until {last}")
    write_whole(args.out, f"{done} {last}")


if __name__ == "__main__":
    main()
