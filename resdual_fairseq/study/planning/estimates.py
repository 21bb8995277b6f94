"""What a study will take, from its calibration runs: time, memory, disk, money, seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple

from ..analysis.comparisons import compare, primary_place
from ..analysis.statistics import seeds_needed
from ..analysis.table import Findings
from ..engine import commands
from ..spec.keys import Spec
from ..spec.parts import depth_name
from . import search
from .planned import Plan, Records, failed

START = 12.0
"""Seconds that a command of fairseq takes before its first update, roughly."""
TEST = 60.0
"""Seconds of a test, roughly; it depends on the test set and the beam."""
BYTES_PER_PARAMETER = 12
"""Weights and Adam's two moments in float32, as fairseq's checkpoints hold them."""
SHARES = (0.2, 0.5, 1.0, 2.0)
"""Standard deviations over seeds, as shares of the margin, whose number of seeds is shown."""
CHECKPOINTS = 3
"""Files of a run while it trains: fairseq's last and best one, and one on the way."""


@dataclass(frozen=True)
class Estimate:
    """What one kind of model takes in a study.

    Attributes:
        arm, depth, width: which model.
        runs: trainings, tuning included.
        updates: of all of them together.
        hours: of one worker.
        memory: most bytes of a process.
        parameters: of the model.
        failure: why its calibration failed, where it did.
    """

    arm: str
    depth: str
    width: int
    runs: int
    updates: int
    hours: float
    memory: int
    parameters: int
    failure: str = ""


def estimates(spec: Spec, plan: Plan, records: Records) -> List[Estimate]:
    """One a model; the runs that tuning is yet to name are counted, too."""
    found = []
    for (arm, depth, width), name in plan.calibrations.items():
        record = records[name]
        shown = depth_name(depth, spec.task)
        if failed(record):
            why = f"{record['outcome']}: {record['detail']}"
            found.append(Estimate(arm, shown, width, 0, 0, 0.0, 0, 0, why))
            continue
        one = record["found"]
        parts, updates = work(spec, one, depth, width)
        seconds = (
            updates * one["seconds_per_update"] + parts * START + tests(spec, depth, width) * TEST
        )
        found.append(
            Estimate(
                arm,
                shown,
                width,
                trials(spec) + len(spec.seeds),
                updates,
                seconds / 3600,
                one["memory"],
                one["parameters"],
            )
        )
    return found


def trials(spec: Spec) -> int:
    """Tuning runs of an arm, before any grid grows."""
    points = {
        "grid": len(search.grid(spec.search.values)),
        "sobol": spec.search.trials,
        "tpe": spec.search.trials * spec.search.generations,
    }
    return points[spec.search.method] * len(spec.search.seeds)


def shares(spec: Spec, depth: str, width: int) -> int:
    """Points of the data curve beside all of the data."""
    depths = spec.stages.curves.depths or [spec.criteria.depth]
    if depth not in depths or width != spec.widths[0].width:
        return 0
    return len(spec.data.fractions) - 1


def tests(spec: Spec, depth: str, width: int) -> int:
    return len(spec.seeds) * (len(spec.budgets.values) + shares(spec, depth, width))


def work(spec: Spec, found: Dict[str, float], depth: str, width: int) -> Tuple[int, int]:
    """Parts of runs (each a command), and updates, of an arm at one depth."""
    length = commands.updates_of(spec, found)
    budgets = sorted(spec.budgets.values)
    tail = spec.budgets.cooldown
    tuning = length(spec.search.budget or budgets[-1])
    branches = sum(int(tail * length(one)) for one in budgets)
    trunk = int((1 - tail) * length(budgets[-1]))
    curves = shares(spec, depth, width) * len(spec.seeds)
    updates = (
        trials(spec) * tuning + len(spec.seeds) * (trunk + branches) + curves * length(budgets[-1])
    )
    parts = trials(spec) * 2 + len(spec.seeds) * 2 * len(budgets) + curves * (len(budgets) + 1)
    return parts, updates


def disk(spec: Spec, found: List[Estimate], workers: int) -> int:
    """Bytes at most at a time: checkpoints of the trunks whose branches wait, and of workers.

    The first stage trains all trunks before any smaller budget branches off; where a criterion may
    end a stage, or checkpoints are kept, all models of judging stay.
    """
    largest = max((one.parameters for one in found), default=0) * BYTES_PER_PARAMETER
    budgets, stages = len(spec.budgets.values), (spec.stages.depth, spec.stages.curves)
    a_size = spec.stages.depth.seeds * budgets
    if spec.keep_checkpoints or any(one.stop_below is not None for one in stages):
        curve = (len(spec.data.fractions) - 1) * (budgets + 1)
        a_size = len(spec.seeds) * (2 * budgets + curve)
    return largest * (len(found) * a_size + CHECKPOINTS * workers)


def power_table(spec: Spec, findings: Optional[Findings] = None) -> List[Tuple[float, int, int]]:
    """Seeds an arm to detect the margin with power 0.8, by the sd over seeds: alone, and as the
    first of all depths under Holm. The sd of this study stands first, where runs tell it; the
    others are shares of the margin."""
    margin, level = spec.criteria.margin, spec.criteria.level
    sd = compare(findings, primary_place(findings)).seed_sd if findings else None
    sds = [*([sd / 2**0.5] if sd else []), *(share * margin for share in SHARES)]
    return [
        (sd, seeds_needed(margin, sd, level), seeds_needed(margin, sd, level, len(spec.depths)))
        for sd in sds
    ]
