"""What fairseq-train's log says: losses on the way, and how a run ended."""

import json
import math
import re
import shutil
import signal
from itertools import dropwhile, islice, takewhile
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from .processes import Exit

STATISTICS = re.compile(r"\| (train|train_inner|valid) \| (\{.*\})$")
OVERFLOW = (
    "gradients are Nan/Inf",
    "Minimum loss scale reached",
    "NaN detected",
    "Inf detected",
    "loss is nan",
    "FloatingPointError",
)
OUT_OF_MEMORY = (
    "CUDA out of memory",
    "OutOfMemoryError",
    "not enough memory: you tried to allocate",
    "can't allocate memory",
    "MemoryError",
    "CUDNN_STATUS_ALLOC_FAILED",
)
OWN_SIGNALS = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
"""Signals by which a program fails by itself."""
DISK_FULL = ("No space left on device", "Disk quota exceeded")
ROOM = 1 << 20
"""Free bytes below which a disk is full: no log on it can say so, as it is cut short itself."""
NOISE = 1.05
"""Of a loss that does not move: training and validation set differ."""
AT_LIMIT = "stopped at the limit of "
"""Begins the sentence on a run that a limit of the spec ended."""
LAST_LINES = 5
LETTERS = 300
"""Of a line, that are shown."""
TRACEBACK = "Traceback (most recent call last)"
TAIL = 1 << 16
"""Bytes of a log that are read for its end."""


class Ending(NamedTuple):
    """The outcome of an attempt, and a sentence on it."""

    outcome: str
    detail: str = ""


class Losses(NamedTuple):
    """The losses of a log, in bits a token, with the updates at which they were taken."""

    train: List[Tuple[int, float]]
    valid: List[Tuple[int, float]]
    last: Dict[str, Any]  # the last line of training


def statistics(log: Path) -> Iterator[Tuple[str, Dict[str, Any]]]:
    """Every line of numbers of a log in JSON, with what it is of."""
    with log.open(encoding="utf-8", errors="replace") as stream:
        for line in stream:
            found = STATISTICS.search(line.rstrip("\n"))
            if found:
                try:
                    yield found[1], json.loads(found[2])
                except ValueError:  # two processes' lines run together
                    continue


def losses(log: Path) -> Losses:
    """Losses by update; where a run went on from a checkpoint, later lines replace earlier ones.

    The loss is the negative log-likelihood, where the criterion smooths labels.
    """
    train: Dict[int, float] = {}
    valid: Dict[int, float] = {}
    last: Dict[str, Any] = {}
    for kind, line in statistics(log) if log.exists() else ():
        start = "valid_" if kind == "valid" else ""
        loss = line.get(f"{start}nll_loss", line.get(f"{start}loss"))
        updates = int(line.get(f"{start}num_updates") or 0)
        if kind == "valid" and loss is not None:
            valid[updates] = float(loss)
        elif kind == "train_inner" and loss is not None:
            train[updates] = float(loss)
            last = line
    return Losses(sorted(train.items()), sorted(valid.items()), last)


def calibration(text: str) -> Dict[str, Any]:
    """What a short run's log in fairseq's simple format says of every longer one."""
    number = r"([\d.e+]+)"
    line = rf"epoch \d+:\s+\d+ / (\d+) .*wps={number}, ups=\S+, wpb={number},"
    progress = re.findall(line, text)
    return {
        "updates_per_epoch": int(progress[-1][0]),
        "tokens_per_update": median(float(tokens) for _, _, tokens in progress),
        # Not by updates a second, which fairseq rounds to two digits behind the point.
        "seconds_per_update": median(float(tokens) / float(speed) for _, speed, tokens in progress),
        "parameters": whole(r"num\. shared model params: ([\d,]+)", text),
        "symbols": whole(r"dictionary: ([\d,]+) types", text),
    }


def whole(pattern: str, text: str) -> int:
    """The last number that the pattern finds."""
    return int(re.findall(pattern, text)[-1].replace(",", ""))


def tail(log: Path, start: int = 0) -> str:
    """The end of a log, from a byte on."""
    if not log.exists():
        return ""
    with log.open("rb") as stream:
        stream.seek(max(start, log.stat().st_size - TAIL))
        return stream.read().decode("utf-8", errors="replace")


def last_lines(text: str) -> str:
    """The error that a log ends with or, where there is none, its last lines, joined."""
    lines = [line.rstrip()[:LETTERS] for line in text.splitlines() if line.strip()]
    told = re.match(r"\S+: error: (.+)", lines[-1]) if lines else None
    return told[1] if told else exception(lines) or " | ".join(map(str.strip, lines[-LAST_LINES:]))


def exception(lines: List[str]) -> str:
    """The error that the last traceback names; empty where there is none."""
    starts = [number for number, line in enumerate(lines) if line.startswith(TRACEBACK)]
    below = lines[starts[-1] + 1 :] if starts else []
    named = dropwhile(lambda line: line.startswith(" "), below)
    first = next(named, "")
    further = takewhile(lambda line: line[0].isspace(), named)  # of a message of several lines
    return " ".join([first, *map(str.strip, islice(further, LAST_LINES))])


def ending(end: Exit, log: Path, limits: Mapping[str, str] = MappingProxyType({})) -> Ending:
    """How an attempt ended, from its exit status and its own part of the log."""
    text = tail(log, end.log_start)
    if end.stopped == "lease":
        return Ending("killed", "another worker took the task over")
    if end.stopped == "time":
        return Ending("out of time", AT_LIMIT + limits["time"])
    if end.stopped == "memory":
        return Ending("out of memory", AT_LIMIT + limits["memory"])
    if end.oom_killed:
        return Ending("out of memory", "the system ended it for want of memory")
    if end.status < 0 and -end.status not in OWN_SIGNALS:
        return Ending("killed", f"ended by signal {-end.status} from outside")
    if end.status == 0:
        return Ending("completed")
    if any(sign in text for sign in DISK_FULL):
        return Ending("disk full", last_lines(text))
    if any(sign in text for sign in OUT_OF_MEMORY):
        return Ending("out of memory", last_lines(text))
    if any(sign in text for sign in OVERFLOW):
        return Ending("overflow", overflow_sentence(losses(log)))
    if shutil.disk_usage(log.parent).free < ROOM:
        return Ending("disk full", "its log was cut short")
    if end.status < 0:
        name = signal.Signals(-end.status).name
        return Ending("crashed", " | ".join(filter(None, (f"ended by {name}", last_lines(text)))))
    return Ending("crashed", last_lines(text))


def overflow_sentence(found: Losses) -> str:
    if not found.train:
        return "a loss or gradient was NaN or infinite before the first line of the log"
    updates, loss = found.train[-1]
    return f"a loss or gradient was NaN or infinite after update {updates}, where it was {loss:.2f}"


def divergence(found: Losses, untrained: float, earlier: Sequence[float] = ()) -> Optional[Ending]:
    """Whether a run that came to its end has lost what it knew.

    Its loss is then above equal chances, and above what it had been before or above twice equal
    chances. A slow run that is still on its way down from where initial weights put it has not
    failed, nor has one that never moved.

    Args:
        untrained: the loss of equal chances for all symbols, in bits a token.
        earlier: losses of the parts of the run that other logs tell of.
    """
    if not found.valid:
        return Ending("crashed", "the log holds no validation loss")
    updates, loss = found.valid[-1]
    before = [*earlier, *(one for _, one in [*found.train, *found.valid[:-1]])]
    lowest = min(filter(math.isfinite, before), default=math.inf)
    if math.isfinite(loss) and loss <= max(untrained, min(NOISE * lowest, 2 * untrained)):
        return None
    above = f", above the {untrained:.2f} of equal chances" if math.isfinite(untrained) else ""
    return Ending("diverged", f"validation loss {loss:.2f} bits at update {updates}{above}")
