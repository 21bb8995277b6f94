"""Time this package's model beside fairseq's `transformer`, in one process and in turns.

Every figure is the median over rounds of a ratio: in each round both sides do the same work one
after the other, so that what else the machine does meets both; the ratio of processor time, which
waits for no other program, stands beside it. Data are random; weights are
untrained and, where hypotheses are compared, the same on both sides.

    python scripts/benchmark.py --sizes 6+6x512 --what train generate --out bench.json
"""

import argparse
import importlib.util
import json
import sys
from typing import Any, Callable, Dict, List, Sequence

import torch
from benchmark_ctranslate2 import translating
from benchmark_models import (
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
    silence,
    write,
)
from benchmark_products import PRODUCTS, products
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from fairseq.optim import FairseqOptimizer
from fairseq.optim.adam import FairseqAdam, FairseqAdamConfig
from torch import nn

from resdual_fairseq.checkpoints.int8 import encoded_state
from resdual_fairseq.diagnostics.command import share
from resdual_fairseq.native import library
from resdual_fairseq.training.optimizer import FusedAdam, FusedAdamConfig

SEARCHES = (
    ("beam 5, 32 sentences", 5, 32),
    ("beam 5, one sentence", 5, 1),
    ("greedy, one sentence", 1, 1),
)


def training(size: str, task: Task, words: int, rounds: int) -> Dict[str, Any]:
    """A forward and backward pass: ResiDual over fairseq's Pre-LN."""
    criterion = LabelSmoothedCrossEntropyCriterion(task, sentence_avg=False, label_smoothing=0.1)
    sample = batch(32, 24, words)
    models = [
        build(OURS, task, **options_of(size)).train(),
        build(HOST, task, **options_of(size), **PRE_LN).train(),
    ]

    def step(model: nn.Module) -> None:
        model.zero_grad()
        criterion(model, sample)[0].backward()

    return in_turns(lambda: step(models[0]), lambda: step(models[1]), rounds)


def updating(size: str, task: Task, rounds: int) -> Dict[str, Any]:
    """Clipping and an update by `--optimizer fused_adam`, over fairseq's `--optimizer adam`."""
    optimizers = []
    for kind, config in ((FusedAdam, FusedAdamConfig()), (FairseqAdam, FairseqAdamConfig())):
        config.lr, config.adam_betas = [1e-4], "(0.9, 0.98)"
        parameters = list(build(OURS, task, **options_of(size)).parameters())
        for parameter in parameters:
            parameter.grad = 1e-3 * torch.randn_like(parameter)
        optimizers.append(kind(config, parameters))

    def update(optimizer: FairseqOptimizer) -> None:
        optimizer.clip_grad_norm(1.0)
        optimizer.step()

    return in_turns(lambda: update(optimizers[0]), lambda: update(optimizers[1]), rounds)


def generation(
    size: str, task: Task, words: int, rounds: int, beam: int, rows: int, residual: str,
    silent: float,
) -> Dict[str, Any]:  # fmt: skip
    """A search over `rows` sentences, over fairseq's with Pre-LN.

    With Pre-LN on this side, too, both have the same weights and find the same.
    """
    options = options_of(size)
    ours = build(OURS, task, residual=residual, **options).eval()
    if silent:
        silence(ours, silent)
    host = build(HOST, task, **options, **PRE_LN).eval()
    host.load_state_dict(ours.state_dict())
    sample = batch(rows, 20, words)
    found: Dict[int, Any] = {}

    searches = [search_of(model, task, sample, beam) for model in (ours, host)]

    def search(side: int) -> None:
        found[side] = searches[side]()

    figures = in_turns(lambda: search(0), lambda: search(1), rounds)
    if residual == "pre":
        figures["same_hypotheses"] = all(
            one["tokens"].tolist() == other["tokens"].tolist()
            and abs(float(one["score"]) - float(other["score"])) < 1e-4
            for beams, others in zip(found[0], found[1])
            for one, other in zip(beams, others)
        )
    return figures


def in_8_bits(
    size: str, task: Task, words: int, rounds: int, beam: int, lines: int
) -> Dict[str, Any]:
    """A search by ResiDual with weights of 8 bits, over the same with floats."""
    models = [build(OURS, task, **options_of(size)) for _ in range(2)]
    models[0].load_state_dict(encoded_state(models[1].state_dict()))
    sample = batch(lines, 20, words)
    coded, whole = (search_of(model, task, sample, beam) for model in models)
    return in_turns(coded, whole, rounds)


def with_ctranslate2(
    size: str, task: Task, words: int, rounds: int, beam: int, rows: int, threads: int, int8: bool
) -> Dict[str, Any]:
    """A search by ResiDual, over CTranslate2's of a Pre-LN of this size."""
    options = options_of(size)
    model = build(OURS, task, **options)
    if int8:
        model.load_state_dict(encoded_state(model.state_dict()))
    sample = batch(rows, 20, words)
    theirs = translating(options, task, sample, beam, threads, int8)
    return in_turns(search_of(model, task, sample, beam), theirs, rounds)


def measure(arguments: argparse.Namespace, here: Dict[str, Any]) -> List[Dict[str, Any]]:
    """All figures; they are written as they come, should the run be interrupted."""
    task = Task(arguments.words)
    rows: List[Dict[str, Any]] = []
    for size in arguments.sizes:
        common = (size, task, arguments.words, arguments.rounds)
        plans: Dict[str, Callable[[], Dict[str, Any]]] = {}
        if "train" in arguments.what:
            plans["training step, ResiDual over Pre-LN"] = lambda c=common: training(*c)
        if "optimizer" in arguments.what:
            plans["update, fused_adam over adam"] = lambda s=size: updating(
                s, task, arguments.rounds
            )
        if "generate" in arguments.what:
            for name, beam, lines in SEARCHES:
                plans[name] = lambda c=common, b=beam, n=lines: generation(
                    *c, b, n, arguments.residual, arguments.silent
                )
        if "products" in arguments.what:
            for product in PRODUCTS:
                plans[str(product)] = lambda p=product, s=size: products(
                    p, s, arguments.words, arguments.rounds
                )
        if "int8" in arguments.what:
            for name, beam, lines in SEARCHES:
                plans[f"{name}, 8 bits over floats"] = lambda c=common, b=beam, n=lines: in_8_bits(
                    *c, b, n
                )
        if "ctranslate2" in arguments.what:
            for name, beam, lines in SEARCHES:
                for bits, int8 in (("", False), (", 8 bits", True)):
                    plans[f"{name}{bits}, over CTranslate2"] = (
                        lambda c=common, b=beam, n=lines, e=int8: with_ctranslate2(
                            *c, b, n, arguments.threads, e
                        )
                    )
        for name, plan in plans.items():
            rows.append({"size": size, "what": name, **plan()})
            print(line(rows[-1]), flush=True)
            if arguments.out is not None:
                write(arguments.out, here, rows)
    return rows


def line(row: Dict[str, Any]) -> str:
    same = {True: "  same hypotheses", False: "  OTHER HYPOTHESES"}.get(
        row.get("same_hypotheses"), ""
    )
    if "ours_gflops" in row:
        same = f"  {row['ours_gflops']:.0f} and {row['host_gflops']:.0f} GFLOP/s"
    if "ours_gigabytes" in row:
        same += f", {row['ours_gigabytes']:.0f} GB/s of ours"
    return (
        f"{row['size']:<10} {row['what']:<54} {1e3 * row['ours_seconds']:9.1f} ms "
        f"{1e3 * row['host_seconds']:9.1f} ms   ratio {row['ratio']:.3f} "
        f"({row['least']:.3f} to {row['most']:.3f}), of the processor {row['processor']:.3f}{same}"
    )


def check(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """End before the first measurement where a later one could not be taken or written."""
    if "ctranslate2" in arguments.what and importlib.util.find_spec("ctranslate2") is None:
        parser.error("ctranslate2 is not installed: pip install ctranslate2==4.8.5")
    if {"int8", "products"} & set(arguments.what) and library.loaded() is None:
        parser.error(
            "int8 and products measure the compiled library, which is not there or is switched "
            "off (RESDUAL_NATIVE=0)"
        )
    check_out(parser, arguments.out)


def main(words: Sequence[str] = ()) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--what", nargs="+", default=["train", "generate"],
        choices=("train", "optimizer", "generate", "int8", "products", "ctranslate2"),
        help="ctranslate2 has to be installed to be compared with",
    )  # fmt: skip
    parser.add_argument(
        "--residual", choices=("pre", "post", "resdual"), default="pre",
        help="what generates on this side: pre, with which both find the same (%(default)s), or "
        "another kind, whose hypotheses are its own",
    )  # fmt: skip
    parser.add_argument(
        "--silent", type=share, default=0, metavar="SHARE",
        help="of feed-forward units that ReLU sets to 0, with --what generate: 0.8 to 0.95 is "
        "usual in trained models (scripts/silent_units.py); 0 leaves the half of untrained ones",
    )  # fmt: skip
    parser.add_argument(
        "--rounds", type=positive, default=7, help="5 or more for figures (default: %(default)s)"
    )
    add_options(parser)
    arguments = parser.parse_args(words or None)
    check(parser, arguments)
    torch.set_num_threads(arguments.threads)
    here = machine(arguments.threads)
    print(json.dumps(here), "seconds of ours, of the other side, ours over theirs", sep="\n")
    rows = measure(arguments, here)
    return 0 if all(row.get("same_hypotheses", True) for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
