"""How a training that stopped goes on for some minutes: until which update, from which rate."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

import resdual_fairseq  # noqa: F401  (fairseq's checkpoints load with torch's protection on)
from resdual_fairseq.preparation.run_steps import write_whole

# Other work on the machine may come; a rate that has not fallen to 0 at the end costs quality.
SHARE_OF_UPDATES = 0.85
LEAST = 50


def updates_in(minutes: float, done: int, seconds: float) -> int:
    """Updates that the minutes hold, after so many done in so many seconds."""
    return max(LEAST, int(SHARE_OF_UPDATES * 60 * minutes * done / seconds))


def read(checkpoint: Path) -> tuple[int, float, float]:
    """The updates, the seconds and the last learning rate in a checkpoint of fairseq-train."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    return (
        state["optimizer_history"][-1]["num_updates"],
        state["extra_state"]["previous_training_time"],
        state["last_optimizer_state"]["param_groups"][0]["lr"],
    )


def main() -> None:
    """Write the updates done, those at the end, and the learning rate between them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("minutes", type=float)
    parser.add_argument("out", type=Path, help="file to write")
    parser.add_argument("--until", type=int, help="end there, however fast it went")
    args = parser.parse_args()
    try:
        done, seconds, rate = read(args.checkpoint)
    except OSError as error:
        sys.exit(f"error: {args.checkpoint}: {error.strerror}; train first")
    last = args.until or done + updates_in(args.minutes, done, seconds)
    print(f"{done} updates in {seconds:.0f} s: the rate of {rate:.2g} falls to 0 until {last}")
    write_whole(args.out, f"{done} {last} {rate:.6g}")


if __name__ == "__main__":
    main()
