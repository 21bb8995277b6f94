"""Look for memory that grows: a long training and a long generation in one process.

Random batches of varying lengths; a validation now and then. A line is fitted to what is resident
over the second half of the work. Ends with status 1 where it rises by more than the limit. Needs
Linux.

    python scripts/memory_growth.py --updates 2000 --sentences 5000
"""

import argparse
import json
import sys
from typing import Any, Callable, Dict, List, Sequence, Tuple

import numpy as np
import torch
from benchmark_models import EOS, OURS, Task, build, machine, options_of, positive, size
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from fairseq.optim.adam import Adam
from fairseq.sequence_generator import SequenceGenerator
from memory import MIB, resident

PAD = 1
SETTLED = 1000
"""Updates or sentences after which a process has all that it needs."""
SAMPLES = 200
VALIDATE_EVERY = 50
KIB = 1024


def mixed_batch(rows: int, longest: int, words: int) -> Dict[str, Any]:
    """Random sentences of random lengths (rows x longest at the most), padded right."""
    lengths = torch.randint(2, longest + 1, (rows,))
    tokens = torch.randint(4, 4 + words, (rows, int(lengths.max())))
    places = torch.arange(tokens.size(1))
    tokens[places >= lengths[:, None]] = PAD
    tokens[places == lengths[:, None] - 1] = EOS
    inputs = {"src_tokens": tokens, "src_lengths": lengths, "prev_output_tokens": tokens}
    return {"ntokens": int(lengths.sum()), "net_input": inputs, "target": tokens}


def one_of(most: int) -> int:
    """A random number from 1 to this."""
    return int(torch.randint(1, most + 1, ()))


class Training:
    """Updates of a model, each on a batch of another shape."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        task = Task(arguments.words)
        self.criterion = LabelSmoothedCrossEntropyCriterion(task, False, 0.1)
        self.model = build(OURS, task, **options_of(arguments.size)).train()
        self.optimizer = Adam(self.model.parameters(), lr=1e-4)
        self.updates = 0

    def __call__(self) -> int:
        """One update; returns 1."""
        self.model.set_num_updates(self.updates)
        self.loss().backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.updates += 1
        if self.updates % VALIDATE_EVERY == 0:
            self.model.eval()
            with torch.no_grad():
                self.loss()
            self.model.train()
        return 1

    def loss(self) -> torch.Tensor:
        words = self.arguments.words
        sample = mixed_batch(one_of(self.arguments.rows), self.arguments.longest, words)
        loss, tokens, _ = self.criterion(self.model, sample)
        return loss / tokens


class Generation:
    """Searches with beam 5, each of another number of sentences of other lengths."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        task = Task(arguments.words)
        self.model = build(OURS, task, **options_of(arguments.size)).eval()
        self.generator = SequenceGenerator(
            [self.model], task.target_dictionary, beam_size=5, max_len_a=1, max_len_b=5
        )

    def __call__(self) -> int:
        """One search; returns how many sentences it was for."""
        rows = one_of(self.arguments.rows)
        sample = mixed_batch(rows, self.arguments.longest, self.arguments.words)
        self.generator.generate([self.model], sample)
        return rows


def slope(points: Sequence[Tuple[int, int]]) -> float:
    """Bytes per unit of work by which the second half of (work done, bytes) rises."""
    work, memory = np.array(points[len(points) // 2 :], dtype=float).T
    return float(np.polyfit(work, memory, 1)[0])


def growth(name: str, work: Callable[[], int], amount: int) -> float:
    """Do so much work, with its memory printed ten times on the way, and return the slope."""
    points: List[Tuple[int, int]] = []
    done, told = 0, 0
    while done < amount:
        done += work()
        if done * SAMPLES >= len(points) * amount:
            points.append((done, resident("VmRSS")))
        if done * 10 >= (told + 1) * amount:
            told = done * 10 // amount
            print(f"{name} {done:6} of {amount}: {points[-1][1] / MIB:8.1f} MiB", flush=True)
    return slope(points)


WORKS: Dict[str, Tuple[str, Callable[[argparse.Namespace], Callable[[], int]]]] = {
    "updates": ("update", Training),
    "sentences": ("sentence", Generation),
}


def main(words: Sequence[str] = ()) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--updates", type=int, default=2000, help="0: none (%(default)s)")
    parser.add_argument("--sentences", type=int, default=5000, help="0: none (%(default)s)")
    parser.add_argument(
        "--limit", type=float, default=2, metavar="KIB",
        help="what memory may grow by, per update and per sentence (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--size", type=size, default="2+2x64", metavar="N+MxWIDTH")
    parser.add_argument("--rows", type=positive, default=16, help="most sentences of a batch")
    parser.add_argument("--longest", type=positive, default=30, help="most tokens of a sentence")
    parser.add_argument("--words", type=positive, default=1000, help="of the dictionary")
    parser.add_argument("--threads", type=positive, default=torch.get_num_threads())
    arguments = parser.parse_args(words or None)
    if min(arguments.updates, arguments.sentences) < 0:
        parser.error("--updates and --sentences are numbers of 0 or more")
    if not arguments.limit > 0:
        parser.error(f"--limit {arguments.limit:g}: a number above 0 is needed")
    if arguments.updates == arguments.sentences == 0:
        parser.error("nothing is to be measured; give --updates or --sentences above 0")
    for name, least in (("updates", 4), ("sentences", 4 * arguments.rows)):
        if 0 < getattr(arguments, name) < least:
            parser.error(f"--{name} is too small for a line to be fitted: {least} or more, or 0")
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    print(json.dumps(machine(arguments.threads)))
    grown = False
    for name, (unit, work) in WORKS.items():
        amount = getattr(arguments, name)
        if amount > 0:
            found = growth(name, work(arguments), amount) / KIB
            grows = found > arguments.limit
            verdict = "GROWS" if grows else "within the limit"
            if grows and amount < SETTLED:
                verdict += f" (with fewer than {SETTLED}, what is loaded at first may be all)"
            print(f"{found:+.3f} KiB per {unit}, limit {arguments.limit:g}: {verdict}", flush=True)
            grown |= found > arguments.limit
    return int(grown)


if __name__ == "__main__":
    sys.exit(main())
