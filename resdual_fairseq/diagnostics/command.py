"""The command `resdual-diagnose`: options, order of work, and what is written."""

import argparse
import logging
import sys
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

import torch
from fairseq.criterions import FairseqCriterion
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from fairseq.tasks import FairseqTask
from tqdm import tqdm

from .. import __version__
from ..checkpoints.contents import add_user_dir, import_user_dir
from ..compat import require
from ..files import replacing
from . import checkpoints, data, untrained
from .measure import Label, measure
from .session import Session
from .table import COLUMNS, FILE, NOTES, QUANTITIES

PROGRAM = "resdual-diagnose"
PAGE = "claims.txt"


class Job(NamedTuple):
    """One model to measure; ``fingerprint`` changes when it has to be measured again."""

    label: Label
    fingerprint: str
    build: Callable[[], Any]


def parser() -> argparse.ArgumentParser:
    """All options; the help also documents the table."""
    listed = "\n".join(f"  {name:16} {text}" for name, text in COLUMNS.items())
    quantities = "\n".join(f"  {name:16} {text}" for name, text in QUANTITIES.items())
    main = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Measure gradients and representations of every block, on a real data-bin.",
        epilog=f"{FILE}, one row a measurement:\n{listed}\n\nquantities:\n{quantities}\n\n{NOTES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    modes = main.add_subparsers(dest="mode", required=True)

    init = modes.add_parser("init", help="models as they are before training, by depth and kind")
    add_common(init, split="train")
    init.add_argument(
        "--depths",
        type=positive,
        nargs="+",
        default=[6, 12, 18],
        metavar="L",
        help="layers of the encoder, and as many of the decoder (default: 6 12 18)",
    )
    init.add_argument(
        "--residual",
        nargs="+",
        metavar="KIND",
        default=["post", "pre", "resdual"],
        help="ways to join blocks (default: post pre resdual): KIND as fairseq-train takes it, "
        "KIND:VARIANT for another of its forms, or learned: resdual with a learned alpha",
    )
    init.add_argument("--seeds", type=positive, default=1, metavar="N", help="seeds 1 to N (1)")
    init.add_argument("--arch", default=untrained.MODEL, help="preset (resdual_transformer)")
    init.add_argument("--width", type=positive, help="embedding width, if not the preset's")
    init.add_argument("--ffn", type=positive, help="feed-forward width (4 times --width)")
    init.add_argument("--heads", type=positive, help="attention heads, if not the preset's")

    trained = modes.add_parser("checkpoint", help="trained models, several overlaid")
    add_common(trained, split="valid", paths=True)
    return main


def add_common(parser: argparse.ArgumentParser, split: str, paths: bool = False) -> None:
    parser.add_argument("data", metavar="DATA_BIN", help="a folder made by fairseq-preprocess")
    if paths:
        parser.add_argument(
            "paths",
            nargs="+",
            type=Path,
            metavar="PATH",
            help="checkpoints of resdual_transformer or of fairseq's transformer",
        )
    parser.add_argument("--out", type=Path, required=True, help="folder for table and figures")
    parser.add_argument("-s", "--source-lang", help="default: as the folder's files are named")
    parser.add_argument("-t", "--target-lang")
    parser.add_argument("--split", default=split, help=f"part of the data ({split})")
    parser.add_argument("--batches", type=positive, default=4, metavar="N", help="batches (4)")
    parser.add_argument(
        "--max-tokens", type=positive, default=1000, metavar="N", help="tokens a batch (1000)"
    )
    parser.add_argument(
        "--label-smoothing", type=float, default=0.1, metavar="E", help="of the loss (0.1)"
    )
    parser.add_argument(
        "--device",
        choices=["cpu", "cuda"],
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="cpu or cuda (default: cuda where there is one)",
    )
    add_user_dir(parser)


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


positive.__name__ = "number of 1 or more"


def init_jobs(args: argparse.Namespace, task: FairseqTask) -> List[Job]:
    """The models that do not exist yet; all options are checked before the first is built."""
    return [
        Job(label, "", partial(untrained.build, options, label.seed, task, args.device))
        for label, options in untrained.models(args)
    ]


def checkpoint_jobs(args: argparse.Namespace, task: FairseqTask) -> List[Job]:
    """The checkpoints; what is wrong with one is told before the first is measured."""
    jobs = []
    for path, name in checkpoints.labels(args.paths).items():
        label = Label(name, checkpoints.load(path, task).args.residual, 0)
        build = partial(checkpoints.load, path, task, args.device)
        jobs.append(Job(label, checkpoints.fingerprint(path), build))
    return jobs


def settings(args: argparse.Namespace) -> Dict[str, Any]:
    """What all measurements of one folder have in common; depths, kinds and seeds may be added."""
    names = [
        "mode",
        "source_lang",
        "target_lang",
        "split",
        "batches",
        "max_tokens",
        "label_smoothing",
    ]
    if args.mode == "init":
        names += ["arch", "width", "ffn", "heads"]
    return {"data": str(Path(args.data).resolve()), **{name: getattr(args, name) for name in names}}


def work(args: argparse.Namespace, command: str) -> bool:
    """Measure what is missing, then draw and judge all that is there.

    Returns:
        whether everything that was asked for is measured.
    """
    task = data.open_task(args.data, args.split, args.source_lang, args.target_lang)
    args.source_lang, args.target_lang = task.cfg.source_lang, task.cfg.target_lang
    jobs = init_jobs(args, task) if args.mode == "init" else checkpoint_jobs(args, task)
    batches = data.draw_batches(task, args.split, args.max_tokens, args.batches)
    session = Session(args.out, settings(args))
    missing = [job for job in jobs if not session.has(job.label.model, job.fingerprint)]
    if len(missing) < len(jobs):
        print(f"{len(jobs) - len(missing)} of {len(jobs)} models are in {args.out} already")
    criterion = LabelSmoothedCrossEntropyCriterion(task, False, args.label_smoothing)
    finished = measure_all(session, missing, criterion, batches)
    if session.rows:
        write_results(session, command)
    return finished


def measure_all(
    session: Session, jobs: List[Job], criterion: FairseqCriterion, batches: List[Any]
) -> bool:
    """Measure one model after another, each written when it is done; False when interrupted."""
    try:
        for job in tqdm(jobs, unit="model", disable=not jobs):
            trained = job.label.seed == 0
            rows = measure(job.build(), criterion, batches, job.label, trained)
            session.keep(job.label.model, rows, job.fingerprint)
    except KeyboardInterrupt:
        return False
    return True


def write_results(session: Session, command: str) -> None:
    from .figures import draw_figures
    from .verdicts import page

    text = page(session.rows, command)
    with replacing(session.folder / PAGE) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
    drawn = draw_figures(session.rows, session.folder)
    print(text)
    print(f"wrote {FILE}, {PAGE} and {len(drawn)} figures to {session.folder}")


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Entry point of the console script."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    args = parser().parse_args(words)
    command = f"{PROGRAM} {' '.join(words)}  (resdual_fairseq {__version__})"
    for chatty in ("fairseq", "matplotlib", "PIL"):  # fairseq opens the root logger to everything
        logging.getLogger(chatty).setLevel(logging.WARNING)
    require("diagnostics", "matplotlib", "scipy")
    import_user_dir(args.user_dir)
    try:
        finished = work(args, command)
    except KeyboardInterrupt:
        finished = False
        print(file=sys.stderr)
    if not finished:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        sys.exit(130)
