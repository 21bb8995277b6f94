"""The costs of all arms at one depth and width: which processes run, and in what order."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import psutil

from ..analysis.table import Cell
from ..engine import commands
from ..engine.attempt import Attempt
from ..engine.outcomes import Ending
from ..spec import search_space
from .energy import Meter
from .figures import Figures
from .turns import Answer, ArmProcess, Contest, Contestant, in_turns

FROM_OUTSIDE = ("killed", "disk full")
"""Ends of a process that say nothing of the arm."""
HOLES = {"MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_MMAP_THRESHOLD_": "65536"}
"""Let glibc give freed memory back at once. The holes that it keeps in a run of the study differ by
4 % of the peak between processes of one model, and all else by 0.2 % (6+6 x 64, 4 processes)."""
SEED, UPDATES = 1, 1_000_000
"""Of the training whose first updates are measured."""
Key = Tuple[str, str]
"""An arm, and what is measured of it."""


class Sizes(NamedTuple):
    """How much is measured; by default some three minutes for three arms of 6+6 x 64.

    Attributes:
        memory_processes, memory_updates: processes of each arm for the memory of training, and
            updates of each of them.
        training_rounds, updates: rounds of training, and updates in a turn.
        rounds, sentences: rounds of generation, and sentences that are dealt out among them.
        batch_rounds, batch_sentences: how many of these rounds also translate in batches, and
            how many sentences of all lengths.
        look_seconds: for how long other work is looked at.
    """

    memory_processes: int = 2
    memory_updates: int = 8
    training_rounds: int = 15
    updates: int = 4
    rounds: int = 20
    sentences: int = 1000
    batch_rounds: int = 7
    batch_sentences: int = 250
    look_seconds: float = 2.0


def other_load(seconds: float) -> float:
    """Cores at work on this machine while this process only looks."""
    return round(psutil.cpu_percent(seconds) / 100 * (psutil.cpu_count() or 1), 3)


class Interrupted(Exception):
    """A process ended for reasons that say nothing of its arm."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.detail)
        self.ending = ending


class OneSize:
    """Measures the arms, and gathers the figures.

    Attributes:
        figures: of every arm, as far as it could be measured.
        failed: what could not, and why.
        other_load: cores at other work before each block of timed rounds.
    """

    def __init__(self, attempt: Attempt, depth: str, width: int, sizes: Sizes) -> None:
        self.attempt, self.spec, self.sizes = attempt, attempt.spec, sizes
        self.depth, self.width = depth, width
        self.figures = {arm: Figures(self.spec.criteria.level) for arm in self.spec.arms}
        self.failed: List[Dict[str, Any]] = []
        self.other_load: List[float] = []

    def measure(self, meter: Optional[Meter]) -> None:
        """Fill in all figures.

        Raises:
            Interrupted: a process was ended from outside.
            LostLease: another worker has the task.
        """
        for arm in self.spec.arms:
            self.measure_untimed(arm)
        facts = self.measure_training(meter)
        if self.spec.task == "translation":
            self.measure_translating([arm for arm in facts if facts[arm]["searches_in_int8"]])
        else:
            self.measure_scoring()

    def measure_untimed(self, arm: str) -> None:
        """What no other work disturbs: memory in training, and operations."""
        names = [f"memory {number + 1}" for number in range(self.sizes.memory_processes)]
        processes = {(arm, name): self.process("untimed", arm, name, HOLES) for name in names}
        contest = in_turns(processes, rounds=1)
        turns = self.kept(contest)
        if contest.facts:
            peaks = [one["memory_gib"] for one in contest.facts.values()]
            self.figures[arm].add_steady({"memory_gib": peaks})
        if turns:
            flops = [one[0]["flops"] for one in turns.values()]
            self.figures[arm].add_steady({"flops_per_update": flops})

    def measure_training(self, meter: Optional[Meter]) -> Dict[str, Answer]:
        """Time and energy of updates; returns the processes' first answers by arm."""

        def metered(contestant: Contestant, number: int) -> Answer:
            if meter is None:
                return contestant.turn(number)
            answer, joules = meter.joules(lambda: contestant.turn(number))
            return {**answer, "joules": joules}

        processes = {
            (arm, "training"): self.process("training", arm, "training") for arm in self.spec.arms
        }
        contest = in_turns(processes, self.sizes.training_rounds, self.look, metered)
        kept = self.kept(contest)
        for key, turns in kept.items():
            counted = contest.facts[key]["counted"]
            self.figures[key[0]].add_steady({name: [value] for name, value in counted.items()})
            self.figures[key[0]].add_training(turns)
        return {key[0]: contest.facts[key] for key in kept}

    def measure_translating(self, int8: List[str]) -> None:
        """Searches in floats and, of these arms, in 8 bits."""
        keys = [*((arm, "translating") for arm in self.spec.arms), *((arm, "int8") for arm in int8)]
        processes = {key: self.process("translating", *key) for key in keys}
        kept = self.kept(in_turns(processes, self.sizes.rounds, self.look))
        for (arm, what), turns in kept.items():
            self.figures[arm].add_translating(turns, "int8_" if what == "int8" else "")

    def measure_scoring(self) -> None:
        processes = {
            (arm, "scoring"): self.process("scoring", arm, "scoring") for arm in self.spec.arms
        }
        kept = self.kept(in_turns(processes, self.sizes.rounds, self.look))
        for (arm, _), turns in kept.items():
            self.figures[arm].add_scoring(turns)

    def process(
        self, kind: str, arm: str, what: str, variables: Optional[Dict[str, str]] = None
    ) -> ArmProcess:
        request = {
            "train": train_words(self.attempt, Cell(arm, self.depth, self.width, 1.0)),
            "search": search_words(self.attempt, arm),
            "int8": what == "int8",
            **self.sizes._asdict(),
        }
        name = f"{arm} {self.depth}x{self.width} {what}"
        return ArmProcess(self.attempt, kind, request, name, variables)

    def kept(self, contest: Contest) -> Dict[Key, List[Answer]]:
        """The turns of what did not fail; notes what did."""
        for (arm, what), ending in contest.failed.items():
            if ending.outcome in FROM_OUTSIDE:
                raise Interrupted(ending)
            place = {"arm": arm, "depth": self.depth, "width": self.width, "what": what}
            self.failed.append({**place, "outcome": ending.outcome, "detail": ending.detail})
        return {key: turns for key, turns in contest.turns.items() if key not in contest.failed}

    def look(self) -> None:
        """See what else the machine does, while the arms' processes wait."""
        self.other_load.append(other_load(self.sizes.look_seconds))

    def rows(self) -> List[Dict[str, Any]]:
        """A row of every arm of which anything is known."""
        baseline = self.figures[self.spec.criteria.baseline]
        return [
            {
                "arm": arm, "depth": self.depth, "width": self.width,
                "values": figures.values, "ratios": figures.over(baseline),
            }
            for arm, figures in self.figures.items() if figures.values
        ]  # fmt: skip


def train_words(attempt: Attempt, cell: Cell) -> List[str]:
    """fairseq-train's of an arm."""
    spec = attempt.spec
    words = [str(attempt.data()), *commands.model_options(spec, cell)]
    values = search_space.of_short_runs(spec.search)
    words += [*commands.trunk_options(values, SEED, UPDATES), *commands.QUIET]
    words += ["--user-dir", str(commands.user_dir(spec, cell.arm))]
    return [*words, "--save-dir", str(attempt.run)]


def search_words(attempt: Attempt, arm: str) -> List[str]:
    """fairseq-generate's or fairseq-eval-lm's; the checkpoint they ask for is not read."""
    words = [str(attempt.data()), *commands.decoding_options(attempt.spec), "--path", "none"]
    return [*words, "--user-dir", str(commands.user_dir(attempt.spec, arm))]
