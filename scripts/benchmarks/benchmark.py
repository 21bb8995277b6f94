"""Time this package's model beside fairseq's `transformer`, in one process and in turns.

Every figure is the median over rounds of a ratio: in each round both sides do the same work one
after the other, so that what else the machine does meets both; the ratio of processor time, which
waits for no other program, stands beside it. Data are random; weights are untrained and, where
hypotheses are compared, the same on both sides.

    python scripts/benchmarks/benchmark.py --sizes 6+6x512 --what train generate --out bench.json

--what  train         a forward and backward pass, over fairseq's Pre-LN
        optimizer     clipping and an update by fused_adam, over fairseq's adam
        fp32          a training step in bfloat16 with --residual-fp32, over one without
        gradient-log  a step that --log-block-gradients logs, over one that is not logged
        generate      searches, over fairseq's Pre-LN
        int8          searches with weights of 8 bits, over our own floats
        ctranslate2   searches, over CTranslate2's of a Pre-LN (which has to be installed)
"""

import argparse
import importlib.util
import itertools
import json
import sys
import tempfile
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Sequence

import torch
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from fairseq.optim import OPTIMIZER_DATACLASS_REGISTRY, OPTIMIZER_REGISTRY, FairseqOptimizer
from torch import nn

from measuring import (
    HOST,
    OURS,
    PRE_LN,
    Task,
    add_options,
    batch,
    build,
    check_out,
    in_turns,
    machine,
    options_of,
    positive,
    search_of,
    set_activations_to_zero,
    write,
)
from resdual_fairseq.checkpoints.int8 import encoded_state
from with_ctranslate2 import translating

SEARCHES = (
    ("beam 5, 32 sentences", 5, 32),
    ("beam 5, one sentence", 5, 1),
    ("greedy, one sentence", 1, 1),
)
Work = Callable[[], Any]


class Comparison(NamedTuple):
    """Two pieces of work to time in turns; where their hypotheses must be the same, `same`."""

    name: str
    ours: Work
    host: Work
    same: bool = False


def training_step(model: nn.Module, arguments: argparse.Namespace, update: bool = False) -> Work:
    """A forward and backward pass of 768 target tokens, and an update where that is asked for."""
    task = Task(arguments.words)
    criterion = LabelSmoothedCrossEntropyCriterion(task, sentence_avg=False, label_smoothing=0.1)
    sample = batch(32, 24, arguments.words)
    updates = itertools.count()
    optimizer = torch.optim.SGD(model.train().parameters(), lr=1e-4)

    def step() -> None:
        model.set_num_updates(next(updates))
        model.zero_grad()
        criterion(model, sample)[0].backward()
        if update:
            optimizer.step()

    return step


def train(size: str, task: Task, arguments: argparse.Namespace) -> Iterator[Comparison]:
    ours = build(OURS, task, **options_of(size))
    host = build(HOST, task, **options_of(size), **PRE_LN)
    steps = (training_step(model, arguments) for model in (ours, host))
    yield Comparison("training step, ResiDual over Pre-LN", *steps)


def fp32(size: str, task: Task, arguments: argparse.Namespace) -> Iterator[Comparison]:
    models = (build(OURS, task, **options_of(size), residual_fp32=on) for on in (True, False))
    steps = (training_step(model.bfloat16(), arguments, update=True) for model in models)
    yield Comparison("training step in bf16, --residual-fp32 over none", *steps)


def gradient_log(size: str, task: Task, arguments: argparse.Namespace) -> Iterator[Comparison]:
    with tempfile.TemporaryDirectory() as folder:
        logged = build(OURS, task, **options_of(size), log_block_gradients=1, save_dir=folder)
        plain = build(OURS, task, **options_of(size))
        steps = (training_step(model, arguments, update=True) for model in (logged, plain))
        yield Comparison("training step, gradients logged over not", *steps)


def optimizer(size: str, task: Task, arguments: argparse.Namespace) -> Iterator[Comparison]:
    def update(name: str) -> Work:
        config = OPTIMIZER_DATACLASS_REGISTRY[name]()
        config.lr, config.adam_betas = [1e-4], "(0.9, 0.98)"
        parameters = list(build(OURS, task, **options_of(size)).parameters())
        for parameter in parameters:
            parameter.grad = 1e-3 * torch.randn_like(parameter)
        made: FairseqOptimizer = OPTIMIZER_REGISTRY[name](config, parameters)
        return lambda: (made.clip_grad_norm(1.0), made.step())

    yield Comparison("update, fused_adam over adam", update("fused_adam"), update("adam"))


def generate(size: str, task: Task, arguments: argparse.Namespace) -> Iterator[Comparison]:
    """With Pre-LN on this side, too, both have the same weights and find the same."""
    options, residual = options_of(size), arguments.residual
    for name, beam, rows in SEARCHES:
        ours = build(OURS, task, residual=residual, **options)
        set_activations_to_zero(ours, arguments.zero_activations)
        host = build(HOST, task, **options, **PRE_LN)
        host.load_state_dict(ours.state_dict())
        sample = batch(rows, 20, arguments.words)
        searches = (search_of(model, task, sample, beam) for model in (ours, host))
        yield Comparison(name, *searches, same=residual == "pre")


def int8(size: str, task: Task, arguments: argparse.Namespace) -> Iterator[Comparison]:
    for name, beam, rows in SEARCHES:
        coded, whole = (build(OURS, task, **options_of(size)) for _ in range(2))
        coded.load_state_dict(encoded_state(whole.state_dict()))
        sample = batch(rows, 20, arguments.words)
        searches = (search_of(model, task, sample, beam) for model in (coded, whole))
        yield Comparison(f"{name}, 8 bits over floats", *searches)


def ctranslate2(size: str, task: Task, arguments: argparse.Namespace) -> Iterator[Comparison]:
    options = options_of(size)
    for (name, beam, rows), coded in itertools.product(SEARCHES, (False, True)):
        model = build(OURS, task, **options)
        if coded:
            model.load_state_dict(encoded_state(model.state_dict()))
        sample = batch(rows, 20, arguments.words)
        theirs = translating(options, task, sample, beam, arguments.threads, coded)
        title = f"{name}{', 8 bits' * coded}, over CTranslate2"
        yield Comparison(title, search_of(model, task, sample, beam), theirs)


WHAT: Dict[str, Callable[[str, Task, argparse.Namespace], Iterator[Comparison]]] = {
    "train": train,
    "optimizer": optimizer,
    "fp32": fp32,
    "gradient-log": gradient_log,
    "generate": generate,
    "int8": int8,
    "ctranslate2": ctranslate2,
}


def same_hypotheses(found: List[Any], others: List[Any]) -> bool:
    return all(
        one["tokens"].tolist() == other["tokens"].tolist()
        and abs(float(one["score"]) - float(other["score"])) < 1e-4
        for beams, other_beams in zip(found, others)
        for one, other in zip(beams, other_beams)
    )


def measure(arguments: argparse.Namespace, here: Dict[str, Any]) -> List[Dict[str, Any]]:
    """All figures; they are written as they come, should the run be interrupted."""
    task = Task(arguments.words)
    rows: List[Dict[str, Any]] = []
    for size, what in itertools.product(arguments.sizes, arguments.what):
        for comparison in WHAT[what](size, task, arguments):
            figures = in_turns(comparison.ours, comparison.host, arguments.rounds)
            if comparison.same:
                figures["same_hypotheses"] = same_hypotheses(comparison.ours(), comparison.host())
            rows.append({"size": size, "what": comparison.name, **figures})
            print(line(rows[-1]), flush=True)
            if arguments.out is not None:
                write(arguments.out, here, rows)
    return rows


def line(row: Dict[str, Any]) -> str:
    same = {True: "  same hypotheses", False: "  OTHER HYPOTHESES"}
    return (
        f"{row['size']:<10} {row['what']:<50} {1e3 * row['ours_seconds']:9.1f} ms "
        f"{1e3 * row['host_seconds']:9.1f} ms   ratio {row['ratio']:.3f} "
        f"({row['least']:.3f} to {row['most']:.3f}), of the processor {row['processor']:.3f}"
        f"{same.get(row.get('same_hypotheses'), '')}"
    )


def share(text: str) -> float:
    number = float(text)
    if not 0 <= number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to below 1")
    return number


def main(words: Sequence[str] = ()) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--what", nargs="+", default=["train", "generate"], choices=WHAT)
    parser.add_argument(
        "--residual", choices=("pre", "post", "resdual"), default="pre",
        help="what generates on this side: pre, with which both find the same (%(default)s), or "
        "another kind, whose hypotheses are its own",
    )  # fmt: skip
    parser.add_argument(
        "--zero-activations", type=share, default=0, metavar="SHARE",
        help="of feed-forward units that ReLU sets to 0, with --what generate: 0.8 to 0.95 is "
        "usual in trained models; 0 leaves the half of untrained ones",
    )  # fmt: skip
    parser.add_argument(
        "--rounds", type=positive, default=7, help="5 or more for figures (default: %(default)s)"
    )
    add_options(parser)
    arguments = parser.parse_args(words or None)
    if "ctranslate2" in arguments.what and importlib.util.find_spec("ctranslate2") is None:
        parser.error("ctranslate2 is not installed: pip install ctranslate2==4.8.5")
    check_out(parser, arguments.out)
    torch.set_num_threads(arguments.threads)
    here = machine(arguments.threads)
    print(json.dumps(here), "seconds of ours, of the other side, ours over theirs", sep="\n")
    rows = measure(arguments, here)
    return 0 if all(row.get("same_hypotheses", True) for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
