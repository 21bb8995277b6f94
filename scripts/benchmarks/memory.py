"""Measure the peak of training memory beside fairseq's Pre-LN, and what importing the plugin takes.

Every training step runs in a process of its own, the sides in turns. Peak is the most resident
memory during a forward pass, a backward pass and an update, beyond what the process held with its
model and Adam's state alone. Freed memory goes back to the system at once, so that holes in glibc's
heap do not count. For the import, `fairseq-train --help` runs with and without the plugin in turns.
Needs Linux.

    python scripts/benchmarks/memory.py --sizes 18+18x256 --what training import --out memory.json
"""

import argparse
import ctypes
import gc
import json
import multiprocessing
import os
import re
import resource
import statistics
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

import torch
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from fairseq.optim.adam import Adam

from measuring import (
    HOST,
    OURS,
    PRE_LN,
    Task,
    add_options,
    batch,
    build,
    check_out,
    machine,
    options_of,
    positive,
    summary,
    write,
)

PLUGIN = Path(__file__).resolve().parents[2] / "resdual_fairseq"
MIB = 2**20
OF_ITS_OWN = 64 * 1024
"""Bytes from which on an allocation is mapped for itself, and given back when it is freed."""
CHECKPOINTED = {"checkpoint_activations": True}
SIDES: Dict[str, Tuple[str, Dict[str, Any]]] = {
    "ResiDual": (OURS, {}),
    "Pre-LN": (HOST, PRE_LN),
    "ResiDual checkpointed": (OURS, CHECKPOINTED),
    "Pre-LN checkpointed": (HOST, {**PRE_LN, **CHECKPOINTED}),
}
RATIOS = (
    ("ResiDual", "Pre-LN"),
    ("ResiDual checkpointed", "ResiDual"),
    ("ResiDual checkpointed", "Pre-LN"),
    ("ResiDual checkpointed", "Pre-LN checkpointed"),
)


def resident(key: str) -> int:
    """Bytes of this process: now (``VmRSS``), or at the most since ``forget_peak`` (``VmHWM``)."""
    status = Path("/proc/self/status").read_text()
    found = re.search(rf"^{key}:\s+(\d+) kB", status, re.M)
    assert found is not None, f"{key} is not in /proc/self/status"
    return 1024 * int(found.group(1))


def forget_peak() -> None:
    """Give back what is free, and let the peak begin at what is resident then."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def peak(side: str, size: str, arguments: argparse.Namespace) -> float:
    """MiB that a training step takes at the most; for a process of its own."""
    torch.set_num_threads(arguments.threads)
    arch, options = SIDES[side]
    task = Task(arguments.words)
    criterion = LabelSmoothedCrossEntropyCriterion(task, sentence_avg=False, label_smoothing=0.1)
    model = build(arch, task, **options_of(size), **options).train()
    optimizer = Adam(model.parameters(), lr=1e-4)

    def step(rows: int, length: int) -> None:
        criterion(model, batch(rows, length, arguments.words))[0].backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    step(1, 2)  # makes Adam's state
    forget_peak()
    before = resident("VmRSS")
    step(arguments.sentences, arguments.length)
    return (resident("VmHWM") - before) / MIB


def send_peak(sender: Connection, *of: Any) -> None:
    sender.send(peak(*of))


def training(size: str, arguments: argparse.Namespace) -> List[Dict[str, Any]]:
    """Peaks of all sides, and their ratios."""
    os.environ["MALLOC_MMAP_THRESHOLD_"] = str(OF_ITS_OWN)  # read by processes that start
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fairseq.models", "resdual_fairseq"])
    rounds: List[Dict[str, float]] = []
    for number in range(arguments.rounds):
        order = list(SIDES) if number % 2 == 0 else list(reversed(SIDES))
        peaks: Dict[str, float] = {}
        for side in order:
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=send_peak, args=(sender, side, size, arguments))
            process.start()
            sender.close()
            peaks[side] = receiver.recv()
            process.join()
        rounds.append(peaks)
        print(f"{size:<10} round {number + 1}", peaks_in_words(peaks), file=sys.stderr, flush=True)
    return [
        {
            "size": size,
            "what": f"{ours} over {host}",
            **summary([(peaks[ours], peaks[host]) for peaks in rounds], "mib"),
        }
        for ours, host in RATIOS
    ]


def peaks_in_words(peaks: Dict[str, float]) -> str:
    return ", ".join(f"{side} {peaks[side]:.0f} MiB" for side in SIDES)


def help_seconds(*options: str) -> Tuple[float, float]:
    """Of `fairseq-train --help`: by the clock, and of the processor."""
    command = [sys.executable, "-W", "ignore", "-m", "fairseq_cli.train", "--help", *options]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after, ended = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return ended - began, spent


def importing(rounds: int) -> List[Dict[str, Any]]:
    """Seconds that the plugin adds to `fairseq-train --help`."""
    plugin = ("--user-dir", str(PLUGIN))
    help_seconds(), help_seconds(*plugin)
    pairs: List[Tuple[Tuple[float, float], Tuple[float, float]]] = []
    for number in range(rounds):
        if number % 2:
            without, with_it = help_seconds(), help_seconds(*plugin)
        else:
            with_it, without = help_seconds(*plugin), help_seconds()
        pairs.append((with_it, without))
    rows = []
    for index, clock in enumerate(("clock", "processor")):
        figures = summary([(ours[index], host[index]) for ours, host in pairs], "seconds")
        more = [ours[index] - host[index] for ours, host in pairs]
        figures.update(more=statistics.median(more), least_more=min(more), most_more=max(more))
        rows.append({"what": f"import of the plugin, {clock}", **figures})
    return rows


def measure(arguments: argparse.Namespace) -> List[Dict[str, Any]]:
    rows: List[Dict[str, Any]] = []
    if "training" in arguments.what:
        for size in arguments.sizes:
            rows += reported(training(size, arguments))
    if "import" in arguments.what:
        rows += reported(importing(arguments.rounds))
    return rows


def reported(rows: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
    for row in rows:
        print(line(row), flush=True)
    return rows


def line(row: Dict[str, Any]) -> str:
    if "more" in row:
        return (
            f"{row['what']:<57} {row['ours_seconds']:7.2f} s   {row['host_seconds']:7.2f} s     "
            f"more {row['more']:+.3f} s ({row['least_more']:+.3f} to {row['most_more']:+.3f})"
        )
    return (
        f"{row['size']:<10} {row['what']:<46} {row['ours_mib']:7.0f} MiB {row['host_mib']:7.0f} MiB"
        f"   ratio {row['ratio']:.3f} ({row['least']:.3f} to {row['most']:.3f})"
    )


def main(words: Sequence[str] = ()) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--what", nargs="+", choices=("training", "import"), default=["training", "import"]
    )
    parser.add_argument(
        "--rounds", type=positive, default=5, help="5 or more for figures (default: %(default)s)"
    )
    parser.add_argument("--sentences", type=positive, default=32, help="of a batch (%(default)s)")
    parser.add_argument("--length", type=positive, default=24, help="of a sentence (%(default)s)")
    add_options(parser)
    arguments = parser.parse_args(words or None)
    if not os.access("/proc/self/clear_refs", os.W_OK):
        parser.error("the peak of a process cannot be reset here: Linux's /proc is needed")
    check_out(parser, arguments.out)
    here = machine(arguments.threads)
    print(json.dumps(here), "ours, the other side, ours over theirs", sep="\n", flush=True)
    try:
        rows = measure(arguments)
    except EOFError:
        parser.exit(1, "error: a measuring process ended early; take smaller --sentences\n")
    if arguments.out is not None:
        write(arguments.out, here, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
