"""Train ways to join blocks with and without warm-up at several depths: who learns?

Every run is a `fairseq-train` of its own on a data-bin of examples/quickstart/prepare.py, all with
the same settings but for the residual connections, the depth, the warm-up and the seed. A run that
is done is not done again; a run that was interrupted begins anew.

    python examples/quickstart/prepare.py --languages de en --out data
    python examples/depth/warm_up.py data/data-bin --out warm-up
"""

from __future__ import annotations

import argparse
import itertools
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

logging.basicConfig(level=logging.WARNING)  # before fairseq, which would ask for every detail

from common.command_line import exit_status, positive  # noqa: E402
from depth.curves import draw_curves  # noqa: E402
from depth.learning import Baselines, Outcome, read_log, table, write_rows  # noqa: E402
from resdual_fairseq.errors import ResDualError  # noqa: E402
from resdual_fairseq.preparation.run_steps import (  # noqa: E402
    alone,
    say,
    tool,
    write_whole,
)
from resdual_fairseq.schemes.kinds import kinds, options_of  # noqa: E402

PLUGIN = Path(__file__).resolve().parents[2] / "resdual_fairseq"


class Run(NamedTuple):
    """One training: residual connections, layers of either stack, updates of warm-up, seed."""

    residual: str
    layers: int
    warm_up: int
    seed: int

    @property
    def name(self) -> str:
        kind = self.residual.replace(":", "-")
        return f"{kind}-{self.layers}+{self.layers}-warm{self.warm_up}-seed{self.seed}"


def plan(args: argparse.Namespace) -> Iterator[Run]:
    """All runs; those of one seed first, so that an unfinished study already compares."""
    warm_ups = (0, args.warm_up)
    for seed, layers, residual, warm_up in itertools.product(
        args.seeds, args.layers, args.residuals, warm_ups
    ):
        yield Run(residual, layers, warm_up, seed)


def command(run: Run, args: argparse.Namespace, log: Path) -> list[str]:
    """The run's `fairseq-train`."""
    width = args.width
    kind = " ".join(f"--{k.replace('_', '-')} {v}" for k, v in options_of(run.residual).items())
    words = f"""
        --user-dir {PLUGIN} --arch resdual_transformer {kind}
        --encoder-layers {run.layers} --decoder-layers {run.layers} --share-all-embeddings
        --encoder-embed-dim {width} --encoder-ffn-embed-dim {2 * width}
        --encoder-attention-heads 4 --decoder-attention-heads 4 --dropout 0
        --criterion cross_entropy --optimizer fused_adam --adam-betas (0.9,0.98)
        --lr {args.lr:g} --lr-scheduler fixed --warmup-updates {run.warm_up}
        --max-update {args.updates} --max-tokens {args.max_tokens} --seed {run.seed}
        --required-batch-size-multiple 1 --num-workers 0 --data-buffer-size 0
        --no-save --max-tokens-valid 4000 --validate-interval 1000
        --validate-interval-updates {args.updates}
        --log-format json --log-interval 10
    """.split()
    return [tool("fairseq-train"), str(args.data), *words, "--log-file", str(log)]


def outcome_of(run: Run, args: argparse.Namespace, baselines: Baselines) -> Outcome:
    """Train, unless that was done, and read the log."""
    log = args.out / "logs" / f"{run.name}.log"
    if not log.exists():
        unfinished = log.with_name(log.name + ".unfinished")
        unfinished.unlink(missing_ok=True)
        environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
        ended = subprocess.run(
            command(run, args, unfinished),
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            check=False,
        )
        diverged = "FloatingPointError" in ended.stderr
        if ended.returncode != 0 and not diverged:
            last = ended.stderr.strip().splitlines()[-1:] or ["(it said nothing)"]
            raise ResDualError(f"{run.name}: fairseq-train ended with: {last[0]}")
        os.replace(unfinished, log)
    return read_log(log, run, baselines)


def study(args: argparse.Namespace) -> None:
    """Take all runs, keeping the table and the curves up to date."""
    (args.out / "logs").mkdir(parents=True, exist_ok=True)
    with alone(args.out / "lock"):
        check_settings(args)
        baselines = Baselines.of(args.data)
        outcomes: list[Outcome] = []
        runs = list(plan(args))
        began = time.monotonic()
        for number, run in enumerate(runs, start=1):
            outcomes.append(outcome_of(run, args, baselines))
            minutes = (time.monotonic() - began) / 60
            told = f"{run.name:<34} {outcomes[-1].summary(baselines)}"
            say(f"{number:3d} of {len(runs)}  {minutes:5.1f} min  {told}")
            write_rows(outcomes, args.out / "warm_up.csv")
            text = table(outcomes, baselines, args.updates)
            write_whole(args.out / "warm_up.md", text)
        draw_curves(outcomes, baselines, args.out)
    say(f"\n{text}\nwritten: {args.out}/warm_up.md, .csv, .png and .svg")


def check_settings(args: argparse.Namespace) -> None:
    """Raise where the folder holds runs with other settings."""
    settings = f"{args.data.resolve()} {args.width} {args.lr:g} {args.updates} {args.max_tokens}"
    known = args.out / "settings"
    if known.exists() and known.read_text(encoding="utf-8").strip() != settings:
        raise ResDualError(
            f"{args.out} holds runs on other data or with other --width, --lr, --updates or "
            "--max-tokens; give another --out"
        )
    write_whole(known, settings)


class HelpFormatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """The page's head as it is written, and every option's default."""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("data", type=Path, help="data-bin folder")
    parser.add_argument("--out", type=Path, required=True, help="folder for logs, table and curves")
    add = parser.add_argument
    add(
        "--layers",
        type=positive,
        nargs="+",
        default=[6, 12, 24],
        metavar="N",
        help="of either stack",
    )
    add(
        "--residuals",
        nargs="+",
        default=["post", "pre", "resdual"],
        choices=kinds(),
        metavar="KIND",
        help="KIND or KIND:VARIANT; learned is resdual with a learned alpha",
    )
    add("--seeds", type=int, nargs="+", default=[1, 2, 3], help="one run each")
    add("--warm-up", type=int, default=125, help="updates, in the runs that have one")
    add("--updates", type=positive, default=250, help="of every run")
    add("--lr", type=float, default=1e-3, help="the learning rate, constant after the warm-up")
    add("--width", type=positive, default=64, help="of the model; feed-forward is twice as wide")
    add("--max-tokens", type=positive, default=500, help="of a batch")
    args = parser.parse_args()
    if not (args.data / "preprocess.log").exists() and not list(args.data.glob("dict.*.txt")):
        parser.error(f"{args.data} is no data-bin; examples/quickstart/prepare.py makes one")
    if not 0 < args.warm_up < args.updates:
        parser.error("--warm-up has to be above 0 and below --updates")
    return args


if __name__ == "__main__":
    arguments = parse_arguments()
    sys.exit(exit_status("warm_up.py", lambda: study(arguments)))
