"""The options of prepare.py and what they may not say."""

from __future__ import annotations

import argparse
from pathlib import Path

from common.command_line import positive
from resdual_fairseq.errors import ResDualError
from resdual_fairseq.preparation.plain_texts import BLOCK_LINES

HELD_OUT = [60, 30]
TEST_LINES = 1000
VALID_LINES = 1000


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options of the command, under this description."""
    command = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = command.add_argument
    add(
        "--languages",
        nargs=2,
        required=True,
        metavar=("SRC", "TGT"),
        help="for example en de; file names have '_' for '-' (zh-Hans: zh_Hans), as fairseq "
        "splits its own names at '-'",
    )
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the result")
    add(
        "--vocabulary",
        type=positive,
        default=3000,
        metavar="N",
        help="symbols of the joint BPE, about (default: %(default)s)",
    )
    add("--seed", type=int, default=42, help="decides what is held out (default: %(default)s)")
    add("--force", action="store_true", help="remove what --out holds of a former preparation")
    wheel = command.add_argument_group("from the wheel")
    wheel.add_argument("--wheel", type=Path, metavar="FILE", help="a wheel already on the disk")
    wheel.add_argument(
        "--cache", type=Path, metavar="DIR", help="where to keep the fetched wheel (default: --out)"
    )
    wheel.add_argument(
        "--held-out",
        nargs=2,
        type=positive,
        metavar=("TEST", "VALID"),
        help=f"integrations held out (default: {HELD_OUT[0]} {HELD_OUT[1]})",
    )
    text = command.add_argument_group("from files of your own")
    text.add_argument(
        "--text",
        nargs=2,
        type=Path,
        metavar=("SRC_FILE", "TGT_FILE"),
        help="two UTF-8 files, line n of one the translation of line n of the other",
    )
    text.add_argument(
        "--test-lines",
        type=positive,
        metavar="N",
        help=f"lines to hold out for the test, in blocks of {BLOCK_LINES} neighbours; those that "
        f"are short or stand in training too are then left out (default: {TEST_LINES})",
    )
    text.add_argument(
        "--valid-lines",
        type=positive,
        metavar="N",
        help=f"the same for validation (default: {VALID_LINES})",
    )
    return command


def refuse_contradictions(options: argparse.Namespace) -> None:
    """Raise ResDualError for options that cannot hold together."""
    needless = ("wheel", "cache", "held_out") if options.text else ("test_lines", "valid_lines")
    for name in needless:
        if getattr(options, name) is not None:
            relation = "cannot go with --text" if options.text else "needs --text"
            raise ResDualError(f"--{name.replace('_', '-')} {relation}: leave one of them out")
