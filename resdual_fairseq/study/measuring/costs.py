"""What models cost: time, memory and energy of training, and of generation, beside one another.

Untrained models do: what is measured does not depend on what the weights are, or is made not to
(``searches.Translating``). Each arm works in processes of its own, all arms in turns, on the same
sentences in the same order.
"""

from __future__ import annotations

from typing import Any, Dict, List, Tuple

from ..analysis.table import Cost, Interval
from ..engine.attempt import Attempt
from ..engine.outcomes import Ending
from .energy import find_meter
from .one_size import Interrupted, OneSize, Sizes
from .turns import ArmProcess, Failed, in_turns

GENERATION = {
    "latency_p50": "s",
    "latency_p95": "s",
    "sentences_per_second": "1/s",
    "generation_memory_gib": "GiB",
    "size_mb": "MB",
}
NAMES: Dict[str, str] = {
    "parameters": "",
    "step_seconds": "s",
    "tokens_per_second": "1/s",
    "memory_gib": "GiB",
    "flops_per_update": "FLOP",
    "energy_joules": "J",
    **GENERATION,
    **{f"int8_{name}": unit for name, unit in GENERATION.items()},
    "scoring_tokens_per_second": "1/s",
}
"""What is measured, and its unit.

``step_seconds``, ``flops_per_update`` and ``energy_joules`` are of one update of training, without
reading its batch; latencies are of one sentence alone; memory is the most that a process holds,
Python and torch included (some 0.4 GiB), or what torch takes of a GPU; ``size_mb`` is of a
checkpoint of the weights alone; ``int8_`` is of weights of 8 bits (``resdual-quantize``), where an
arm has them. A language model does not translate; it has the tokens a second that it scores."""
AGAIN = "resdual-study run --costs"
"""The command that measures them once more where they were measured beside other work."""
BUSY = 0.1
"""Cores at other work from which on costs count as measured beside other work."""
SIZES = Sizes()


def measure(attempt: Attempt, sizes: Sizes = SIZES) -> Tuple[Ending, Dict[str, Any]]:
    """Every arm at the task's depth and width; what fails is noted and does not stop the others.

    What is found, all of it JSON:

    * ``costs``: rows as in ``table.Cost``; an interval is a list of estimate, low, high.
    * ``failed``: ``arm``, ``depth``, ``width``, ``what``, ``outcome``, ``detail`` of each failure.
    * ``idle``: cores at other work before each block of timed rounds; ``busy``: whether any is
      more than a tenth.
    * ``energy_is_measured``: by counters; else it is estimated, or left out.
    * ``sizes``: how much was measured; ``level``: of the intervals.
    """
    meter, inputs = find_meter(), attempt.task.inputs
    one = OneSize(attempt, inputs["depth"], inputs["width"], sizes)
    try:
        one.measure(meter)
    except Interrupted as error:
        return error.ending, {}
    return Ending("completed"), {
        "costs": one.rows(),
        "failed": one.failed,
        "idle": one.other_load,
        "busy": max(one.other_load) > BUSY,
        "energy_is_measured": meter is not None and meter.measures,
        "sizes": sizes._asdict(),
        "level": attempt.spec.criteria.level,
    }


def costs_of(found: Dict[str, Any]) -> List[Cost]:
    """The rows of what :func:`measure` found."""
    return [
        Cost(
            row["arm"], row["depth"], row["width"],
            {name: Interval(*value) for name, value in row["values"].items()},
            {name: Interval(*value) for name, value in row["ratios"].items()},
            found["energy_is_measured"],
            found["busy"],
        )
        for row in found["costs"]
    ]  # fmt: skip


def flops_of(attempt: Attempt, words: List[str]) -> float:
    """Floating-point operations of an update of a command line of fairseq-train.

    Args:
        words: with data, --user-dir and --save-dir.

    Raises:
        Failed: they could not be counted; its ``ending`` says why.
    """
    process = ArmProcess(attempt, "untimed", {"train": words, "memory_updates": 0}, "flops")
    contest = in_turns({"flops": process}, rounds=1)
    if contest.failed:
        raise Failed(contest.failed["flops"])
    return float(contest.turns["flops"][0]["flops"])
