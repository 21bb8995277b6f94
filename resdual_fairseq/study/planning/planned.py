"""What a plan consists of: the tasks, the runs that they make up, and how a run ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from ..analysis.table import Cell, Role
from ..engine.tasks import Record, Task
from ..spec.parts import Value

Records = Mapping[str, Record]


class PlannedRun(NamedTuple):
    """One row of the report to be: a training up to a budget, and the tasks it consists of."""

    cell: Cell
    role: Role
    values: Dict[str, Value]
    seed: int
    budget: float
    updates: int
    train: List[str]  # trunk and branch, in order
    evaluate: Optional[str]  # judging runs only

    @property
    def row(self) -> Tuple[Any, ...]:
        return self.cell, self.role, tuple(self.values.items()), self.seed, self.budget

    @property
    def last(self) -> str:
        return self.evaluate or self.train[-1]


@dataclass
class Plan:
    """All that is known to be needed so far.

    Attributes:
        tasks: by name, in the order of work.
        goals: names of tasks whose results are wanted; others are there for their output.
        rows: the runs, which are the rows of the report.
        untrained: bits a token of a model that knows nothing.
        open: why more may come, for people: "tuning", "calibration"; empty where all is known.
        waits_for_stage: whether a stage's criterion is still to decide on the next stage.
        stopped: the stage whose criterion ended the study.
        calibrations: names of the calibration tasks by arm, depth and width.
        untuned: models whose values may still change; of plans to be shown only (so_far.py).
    """

    tasks: Dict[str, Task] = field(default_factory=dict)
    goals: List[str] = field(default_factory=list)
    rows: Dict[Any, PlannedRun] = field(default_factory=dict)
    untrained: float = 0.0
    open: str = ""
    waits_for_stage: bool = False
    stopped: str = ""
    calibrations: Dict[Tuple[str, str, int], str] = field(default_factory=dict)
    untuned: List[Cell] = field(default_factory=list)

    @property
    def runs(self) -> List[PlannedRun]:
        return list(self.rows.values())


def failed(record: Optional[Record]) -> bool:
    return record is not None and record["outcome"] != "completed"


def outcome(run: PlannedRun, records: Records) -> Optional[Record]:
    """The record that ends a run: its last one, or the failure on the way there."""
    for name in [*run.train, *([run.evaluate] if run.evaluate else [])]:
        record = records.get(name)
        if failed(record):
            return record
    return records.get(run.last)
