"""What a study has found so far, as rows: statistics, verdict and report read nothing else."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List, Literal, NamedTuple, Optional, Tuple

import numpy as np

from ..spec.keys import Spec
from ..spec.parts import Value

Role = Literal["tuning", "judging"]
Outcome = Literal[
    "completed", "diverged", "overflow", "out of memory", "out of time", "killed", "crashed"
]


class Interval(NamedTuple):
    """An estimate and the bounds of its interval; the bounds are None where there is none."""

    estimate: float
    low: Optional[float] = None
    high: Optional[float] = None

    def times(self, factor: float) -> "Interval":
        """In another unit; the factor is positive."""
        low, high = (None if one is None else one * factor for one in (self.low, self.high))
        return Interval(self.estimate * factor, low, high)


class Cell(NamedTuple):
    """Runs that differ in seed, tuned values and budget only."""

    arm: str
    depth: str  # layers: "6+6", "12+3"; of a language model "6"
    width: int
    fraction: float


@dataclass(frozen=True)
class Run:
    """One training up to one budget, and what came of it.

    Attributes:
        cell: arm, depth, width and share of the data.
        role: whether its values were being tuned, or it judges the arm with a fresh seed.
        values: the searched options, such as ``{"lr": 0.001}``.
        budget: in ``spec.budgets.unit``.
        updates: the same in updates; 0 of a run that was not started, since its model could not be
            calibrated.
        outcome: None while it is not done.
        detail: one sentence of a failure: loss, update, last lines of the log.
        valid_loss: bits a token on the validation set at the end of the budget.
        curve: updates and validation loss on the way, while the learning rate was constant.
        scores: on the test set, by metric (``bleu``, ``chrf``, ``ter``, ``comet``,
            ``perplexity``); empty of tuning runs.
        signatures: sacreBLEU's, by metric.
        sentences: S x 10 integers, sacreBLEU's BLEU statistics of each test sentence: length of
            hypothesis and reference, then matching and all n-grams of 1 to 4 words
            (``[hyp_len, ref_len, correct_1..4, total_1..4]``).
        hypotheses: the translations of the test set, where they are on this disk.
        seconds: of training, all attempts and the branch's share of its trunk together.
        failures: attempts that ended otherwise than its outcome, by outcome.
        task: the name of its folder.
        commands: what repeats it, in a shell.
    """

    cell: Cell
    role: Role
    values: Dict[str, Value]
    seed: int
    budget: float
    updates: int
    outcome: Optional[Outcome] = None
    detail: str = ""
    valid_loss: Optional[float] = None
    curve: Tuple[Tuple[int, float], ...] = ()
    scores: Dict[str, float] = field(default_factory=dict)
    signatures: Dict[str, str] = field(default_factory=dict)
    sentences: Optional[np.ndarray] = None
    hypotheses: Optional[Path] = None
    seconds: float = 0.0
    failures: Dict[str, int] = field(default_factory=dict)
    task: str = ""
    commands: Tuple[str, ...] = ()

    def quality(self, metric: str) -> Optional[float]:
        """Its score, or its validation loss; None where it has none."""
        return self.valid_loss if metric == "valid_loss" else self.scores.get(metric)


@dataclass(frozen=True)
class Cost:
    """What a model takes, measured with arms in turn.

    Attributes:
        arm, depth, width: which model.
        values: by name, see ``costs.NAMES``: what is measured, its unit and its interval.
        ratios: the same over the baseline arm's, from paired measurements.
        energy_is_measured: False where the energy is estimated from the processor's name.
        is_disturbed: whether other work was done on the machine meanwhile.
    """

    arm: str
    depth: str
    width: int
    values: Dict[str, Interval]
    ratios: Dict[str, Interval]
    energy_is_measured: bool = False
    is_disturbed: bool = False


class Spent(NamedTuple):
    """Seconds that an arm's tasks took, all attempts together, each task once.

    ``failed`` is the part of both that ended without a model.
    """

    tuning: float = 0.0
    judging: float = 0.0
    failed: float = 0.0


@dataclass(frozen=True)
class Note:
    """What else a reader has to know, by the key of its text and with what stands in it."""

    key: Literal[
        "stopped", "not_all_known", "untuned", "untuned_apart", "busy", "speed_busy",
        "speed_hosts", "cost_failed",
    ]  # fmt: skip
    values: Dict[str, str] = field(default_factory=dict)


class Change(NamedTuple):
    """A change of the spec.

    Attributes:
        when: date and time, ISO 8601.
        scored: how many models had been tested by then.
        keys: what changed, each as ``criteria.metric: bleu -> chrf``.
    """

    when: str
    scored: int
    keys: Tuple[str, ...]


@dataclass(frozen=True)
class Findings:
    """Everything that a report is made of.

    Attributes:
        spec: the study's file.
        runs: every planned run known so far, done or not.
        costs: empty until measured.
        untrained_loss: bits a token of a model that knows nothing: log2 of the vocabulary.
        environment: machine and versions of the runs, as the report lists them.
        spent: what each arm took.
        unused_seconds: of training and test in the folder that this spec does not ask for.
        changes: of the spec since the study began.
        sources, references: lines of the test set, where there is plain text.
        notes: what else a reader has to know.
        untuned: models whose tuning, or calibration, is not done.
        stopped: the stage (``depth``, ``curves``) whose criterion ended the study.
        cost_processors: names of those on which the costs were measured.
    """

    spec: Spec
    runs: List[Run]
    costs: List[Cost] = field(default_factory=list)
    untrained_loss: float = 0.0
    environment: Dict[str, str] = field(default_factory=dict)
    spent: Dict[str, Spent] = field(default_factory=dict)
    unused_seconds: float = 0.0
    changes: Tuple[Change, ...] = ()
    sources: Tuple[str, ...] = ()
    references: Tuple[str, ...] = ()
    notes: Tuple[Note, ...] = ()
    untuned: Tuple[Cell, ...] = ()
    stopped: str = ""
    cost_processors: Tuple[str, ...] = ()

    @property
    def has_disturbed_budgets(self) -> bool:
        """Whether speeds that made updates of budgets were measured so, or on several machines."""
        return any(note.key in ("speed_busy", "speed_hosts") for note in self.notes)
