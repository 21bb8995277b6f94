"""The options of fairseq's commands that a study's runs are made of."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Sequence

from ..analysis.table import Cell
from ..spec.keys import Spec, Width
from ..spec.parts import Value, depth_name

PLUGIN = Path(__file__).resolve().parents[2]
CALIBRATION = 40
"""Updates of a calibration run."""
MODULES = {
    "fairseq-train": "fairseq_cli.train",
    "fairseq-generate": "fairseq_cli.generate",
    "fairseq-eval-lm": "fairseq_cli.eval_lm",
}
NO_BATCH_LEFT_OUT = (
    "from fairseq.trainer import Trainer; step = Trainer.train_step; "
    "Trainer.train_step = lambda self, samples, raise_oom=True: step(self, samples, True); "
)
"""Where a GPU's memory is too small, fairseq's trainer would leave out a batch and go on: an arm
would have trained on less than the others."""
EXACT = ("--required-batch-size-multiple", "1", "--update-epoch-batch-itr", "True")
"""No sentence is left out, and a run that was killed goes on as if it had not been."""
ONE_DEVICE = ("--distributed-world-size", "1")
"""One GPU a worker: updates must not grow with the machine."""
QUIET = ("--num-workers", "0", "--data-buffer-size", "0", "--log-format", "json")
"""Decides no result."""


def options(values: Dict[str, Value]) -> List[str]:
    """Searched values as options."""
    return [
        word
        for name, value in values.items()
        for word in (f"--{name}", f"{value:.12g}" if isinstance(value, float) else str(value))
    ]


def updates_of(spec: Spec, found: Mapping[str, Any]) -> Callable[[float], int]:
    """From a budget to updates, for a model whose calibration found this."""
    unit = spec.budgets.unit
    each = {
        "updates": lambda: 1.0,
        "epochs": lambda: 1 / found["updates_per_epoch"],
        "tokens": lambda: found["tokens_per_update"],
        "flops": lambda: found["flops_per_update"],
        "hours": lambda: found["seconds_per_update"] / 3600,
        "money": lambda: found["seconds_per_update"] / 3600 * spec.prices.hour,
    }[unit]()
    return lambda budget: max(1, round(budget / each))


def task_options(spec: Spec) -> List[str]:
    if spec.task == "language_modeling":
        return ["--task", "language_modeling"]
    languages = [str(spec.data.source_lang), str(spec.data.target_lang)]
    return ["--task", "translation", "--source-lang", languages[0], "--target-lang", languages[1]]


def size_options(spec: Spec, depth: str, size: Width) -> List[str]:
    """Depth and width."""
    stacks = ["decoder"] if spec.task == "language_modeling" else ["encoder", "decoder"]
    found = []
    for stack, layers in zip(stacks, depth_name(depth, spec.task).split("+")):
        found += [f"--{stack}-layers", layers, f"--{stack}-embed-dim", str(size.width)]
        found += [f"--{stack}-ffn-embed-dim", str(size.ffn)]
        found += [f"--{stack}-attention-heads", str(size.heads)]
    if spec.task == "language_modeling":  # else its embeddings would be as wide as the preset's
        found += ["--decoder-input-dim", str(size.width), "--decoder-output-dim", str(size.width)]
    return found


def model_options(spec: Spec, cell: Cell) -> List[str]:
    """What an arm's runs share, whatever their values, seeds and budgets."""
    size = next(size for size in spec.widths if size.width == cell.width)
    words = [*task_options(spec), *spec.training, *spec.arms[cell.arm].options]
    return [*words, *size_options(spec, cell.depth, size), *EXACT]


def trunk_options(values: Dict[str, Value], seed: int, updates: int) -> List[str]:
    """A constant learning rate after warm-up, up to an update."""
    words = ["--lr-scheduler", "fixed", *options(values), "--seed", str(seed)]
    return [*words, "--max-update", str(updates)]


def branch_options(values: Dict[str, Value], seed: int, start: int, updates: int) -> List[str]:
    """A learning rate that falls from where the trunk left it to 0, linearly.

    fairseq's ``polynomial_decay`` holds the rate at the end of its warm-up, which is where the
    branch begins.
    """
    words = ["--lr-scheduler", "polynomial_decay", "--reset-lr-scheduler", *options(values)]
    words += ["--seed", str(seed)]
    words += ["--warmup-updates", str(start), "--total-num-update", str(updates)]
    return [*words, "--max-update", str(updates)]


def decoding_options(spec: Spec) -> List[str]:
    """What decides the scores of a trained model on the test set."""
    given = spec.decoding.options
    if given is None:
        given = [] if spec.task == "language_modeling" else ["--beam", "5"]
    sized = any(word.split("=")[0] in ("--max-tokens", "--batch-size") for word in given)
    batches = [] if sized else ["--max-tokens", "4000"]
    if spec.task == "language_modeling":
        # fairseq-eval-lm would cut the text into 1,024 tokens, and leave out what does not fit.
        given = [*cut_options(spec.training), *given]
    words = (
        [] if spec.data.text is None else ["--post-process", "subword_nmt", "--tokenizer", "moses"]
    )
    return [*task_options(spec), "--gen-subset", "test", *words, *given, *batches, *EXACT[:2]]


def cut_options(words: Sequence[str]) -> List[str]:
    """How a text is cut into samples: those of the options that say so."""
    names = ("--tokens-per-sample", "--sample-break-mode")
    return [
        word
        for before, word in zip(["", *words], words)
        if word == "--add-bos-token" or word.split("=")[0] in names or before in names
    ]


def user_dir(spec: Spec, arm: str) -> Path:
    return spec.arms[arm].user_dir or PLUGIN


def with_this_package(command: str, first: str = "") -> str:
    """A program that runs one of fairseq's commands, whatever the arm's --user-dir is.

    Torch's protected loading of checkpoints knows fairseq's types there. fairseq's module comes
    first, since it sets up its log as it is imported.
    """
    return f"import {MODULES[command]} as command, resdual_fairseq; {first}command.cli_main()"


def child(command: str, words: Sequence[str]) -> List[str]:
    """The command as a child of this Python."""
    return [sys.executable, "-c", with_this_package(command, NO_BATCH_LEFT_OUT), *words]


def environment(threads: int) -> Dict[str, str]:
    """Of a child. glibc is told to keep memory that it has freed: fairseq asks for it again."""
    keep = str(1 << 32)
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "MALLOC_TRIM_THRESHOLD_": keep,
        "MALLOC_MMAP_THRESHOLD_": keep,
        "PYTHONWARNINGS": "ignore",
        "PYTHONUNBUFFERED": "1",
    }
