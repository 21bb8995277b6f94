"""Where the time of a search goes: the compiled library's calls, torch's operations, and the rest.

Searches with beam 5 over random sentences, as scripts/benchmark.py takes them. The library's calls
are timed one by one; torch's profiler sums up the operations outside of them, in runs of their own,
for it slows them down. The rest is Python, fairseq's search above all.

    python scripts/search_parts.py --sizes 6+6x512 --threads 1
"""

import argparse
import json
import statistics
import sys
import time
from typing import Any, Callable, Dict, List, Sequence

import torch
from benchmark_models import (
    OURS,
    Task,
    add_options,
    batch,
    build,
    check_out,
    machine,
    options_of,
    positive,
    search_of,
    write,
)
from torch.profiler import ProfilerActivity, profile

from resdual_fairseq.native import library

CALLS = {
    "encode": "encoder's stack",
    "decode": "decoder's stack",
    "linear": "output projection, memory's keys and values",
    "log_softmax": "log-probabilities",
    "greatest": "candidates of the search",
    "fingerprint": "whether weights have changed",
}


class Timer:
    """Sums the seconds that the library's functions take, by name."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(CALLS, 0.0)
        self.functions = {name: getattr(library, name) for name in CALLS}
        for name in CALLS:
            setattr(library, name, self.timed(name))

    def timed(self, name: str) -> Callable[..., Any]:
        function = self.functions[name]

        def call(*arguments: Any) -> Any:
            began = time.perf_counter()
            result = function(*arguments)
            self.seconds[name] += time.perf_counter() - began
            return result

        return call

    def close(self) -> None:
        for name, function in self.functions.items():
            setattr(library, name, function)


def searching(size: str, sentences: int, words: int) -> Callable[[], Any]:
    task = Task(words)
    model = build(OURS, task, **options_of(size))
    return search_of(model, task, batch(sentences, 20, words), beam=5)


def parts(search: Callable[[], Any], rounds: int) -> Dict[str, float]:
    """Median seconds of a search, of the library's calls in it, and of torch's operations."""
    search()
    found: List[Dict[str, float]] = []
    for _ in range(rounds):
        timer = Timer()
        began = time.perf_counter()
        search()
        whole = time.perf_counter() - began
        timer.close()
        found.append({"whole": whole, **timer.seconds})
    medians = {name: statistics.median(one[name] for one in found) for name in found[0]}
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        search()
    for event in profiler.key_averages():
        if event.key.startswith("aten::"):
            medians[event.key] = event.self_cpu_time_total / 1e6
    return medians


def report(size: str, sentences: int, found: Dict[str, float], operations: int) -> None:
    print(f"{size}, sentences at a time {sentences}: {1e3 * found['whole']:.0f} ms")
    for name, text in CALLS.items():
        print(f"  {text:<46} {found[name] / found['whole']:6.1%}")
    print(f"  {'the rest':<46} {1 - sum(found[n] for n in CALLS) / found['whole']:6.1%}, of which")
    of_torch = sorted((name for name in found if name.startswith("aten::")), key=found.get)
    for name in reversed(of_torch[-operations:]):
        print(f"    {name:<44} {found[name] / found['whole']:6.1%}", flush=True)


def main(words: Sequence[str] = ()) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    parser.add_argument("--sentences", type=positive, nargs="+", default=[32, 1], metavar="N")
    parser.add_argument("--rounds", type=positive, default=5, help="(%(default)s)")
    parser.add_argument("--operations", type=positive, default=5, help="of torch's to list (5)")
    arguments = parser.parse_args(words or None)
    check_out(parser, arguments.out)
    if library.loaded() is None:
        parser.error("the compiled library is not there, or is switched off (RESDUAL_NATIVE=0)")
    torch.set_num_threads(arguments.threads)
    here = machine(arguments.threads)
    print(json.dumps(here), flush=True)
    rows = []
    for size in arguments.sizes:
        for sentences in arguments.sentences:
            found = parts(searching(size, sentences, arguments.words), arguments.rounds)
            report(size, sentences, found, arguments.operations)
            rows.append({"size": size, "sentences": sentences, **found})
    if arguments.out is not None:
        write(arguments.out, here, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
