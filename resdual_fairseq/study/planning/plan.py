"""From a spec and what is done to what is to be done: a pure function, the same in every worker.

Nothing else holds the state of a study: whoever has the spec and the results has the plan.
"""

from __future__ import annotations

import math
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

from ...errors import ResDualError
from ..analysis.table import Cell, Role
from ..engine import commands
from ..engine.tasks import Record, Task
from ..spec import search_space
from ..spec.keys import LOWER_IS_BETTER, Criteria, Spec
from ..spec.parts import Value, depth_name, values_name
from ..work.data import Inputs
from . import search
from .planned import Plan, PlannedRun, Records, failed, outcome


class Planner:
    """Builds the plan of a spec.

    Args:
        inputs: checksums of its data.
        needs: what has to be known of an arm's tuning; with other than "all arms" it waits for no
            calibration and no stage either, and is never to work by, since a grid may grow for all.
    """

    def __init__(
        self, spec: Spec, records: Records, inputs: Inputs, user_dirs: Mapping[str, str],
        needs: search.Needs = "all arms",
    ) -> None:  # fmt: skip
        self.spec, self.records, self.inputs, self.user_dirs = spec, records, inputs, user_dirs
        self.needs = needs
        self.plan = Plan()

    def add(self, task: Task, goal: bool = False) -> str:
        name = task.name
        self.plan.tasks.setdefault(name, task)
        if goal and name not in self.plan.goals:
            self.plan.goals.append(name)
        return name

    def result(self, name: str) -> Optional[Record]:
        return self.records.get(name)

    def expand(self) -> Plan:
        """The plan, as far as results let it be known."""
        for arm, depth, width in self.models():
            self.calibrate(arm, depth, width)
        missing = any(self.result(name) is None for name in self.plan.calibrations.values())
        if missing and self.needs == "all arms":
            self.plan.open = "calibration"
            return self.plan
        self.plan.untrained = self.untrained()
        for stage in (self.depth_stage, self.curve_stage, self.seed_stage):
            if stage():
                break
        if self.spec.measure:
            self.measure()
        return self.plan

    def models(self) -> Iterator[Tuple[str, str, int]]:
        """Small ones first."""
        layers = {one: sum(map(int, self.depth(one).split("+"))) for one in self.spec.depths}
        for depth in sorted(layers, key=layers.__getitem__):
            for size in self.spec.widths:
                for arm in self.spec.arms:
                    yield arm, depth, size.width

    # data

    def data(self, fraction: float = 1.0) -> Dict[str, str]:
        """The task whose output is trained on; none where the data-bin is the user's own."""
        needs: Dict[str, str] = {}
        inputs: Dict[str, Any] = {"data": self.inputs.training}
        if self.spec.data.text is not None:
            data = self.spec.data
            inputs.update(
                vocabulary=data.vocabulary, test_lines=data.test_lines,
                valid_lines=data.valid_lines, languages=[data.source_lang, data.target_lang],
            )  # fmt: skip
            needs = {"data": self.add(Task("prepare", inputs=inputs, label="prepare the text"))}
        if fraction < 1:
            share = {"data": self.inputs.training, "fraction": fraction}
            label = f"{fraction:g} of the training pairs"
            needs = {"data": self.add(Task("subset", inputs=share, needs=needs, label=label))}
        return needs

    def inputs_of(self, cell: Cell) -> Dict[str, Any]:
        own = self.user_dirs.get(cell.arm)
        return {"data": self.inputs.training, **({"user_dir": own} if own else {})}

    def speed_inputs(self) -> Dict[str, Any]:
        """What else decides times; the default adds nothing to the names of tasks."""
        return {"threads": self.spec.threads} if self.spec.threads > 1 else {}

    # calibration

    def calibrate(self, arm: str, depth: str, width: int) -> None:
        cell = Cell(arm, depth, width, 1.0)
        values = search_space.of_short_runs(self.spec.search)
        words = commands.model_options(self.spec, cell)
        words += commands.trunk_options(values, 1, commands.CALIBRATION)
        task = Task(
            "calibrate", tuple(words), {**self.inputs_of(cell), **self.speed_inputs()}, self.data(),
            f"calibrate {arm} {self.size(depth, width)}", arm,
        )  # fmt: skip
        self.plan.calibrations[arm, depth, width] = self.add(task, goal=True)

    def measure(self) -> None:
        """One task for all arms of a size, so that they are measured in turn on one machine."""
        level = self.spec.criteria.level
        for depth, width in self.all_depths():
            name = self.depth(depth)
            cells = [Cell(arm, depth, width, 1.0) for arm in self.spec.arms]
            inputs = {
                "data": self.inputs.training,
                "depth": name,
                "width": width,
                "models": {cell.arm: commands.model_options(self.spec, cell) for cell in cells},
                "baseline": self.spec.criteria.baseline,
                "user_dirs": dict(self.user_dirs),
                **self.speed_inputs(),
                **({"level": level} if level != Criteria.model_fields["level"].default else {}),
            }
            words, label = commands.decoding_options(self.spec), f"measure costs at {name}x{width}"
            self.add(Task("measure", tuple(words), inputs, self.data(), label), goal=True)

    def untrained(self) -> float:
        for name in self.plan.calibrations.values():
            record = self.result(name)
            if record is not None and "symbols" in record["found"]:
                return math.log2(record["found"]["symbols"])
        return math.inf

    def depth(self, depth: str) -> str:
        return depth_name(depth, self.spec.task)

    def updates(self, cell: Cell, budget: float) -> Optional[int]:
        """A budget in updates; None where the calibration failed and it cannot be said."""
        record = self.records[self.plan.calibrations[cell.arm, cell.depth, cell.width]]
        return None if failed(record) else commands.updates_of(self.spec, record["found"])(budget)

    # runs

    def trunk(self, cell: Cell, values: Dict[str, Value], seed: int, ends: List[int]) -> List[str]:
        """Tasks that train at a constant rate, from each end to the next; the names of all."""
        needs, before = self.data(cell.fraction), 0
        names: List[str] = []
        for end in ends:
            words = [
                *commands.model_options(self.spec, cell),
                *commands.trunk_options(values, seed, end),
            ]
            names.append(
                self.part(
                    cell,
                    words,
                    end,
                    {**needs, **parent(names)},
                    f"{self.title(cell, values, seed)}, updates {before} to {end}",
                )
            )
            before = end
        return names

    def part(
        self, cell: Cell, words: List[str], updates: int, needs: Dict[str, str], label: str
    ) -> str:
        inputs = {
            **self.inputs_of(cell),
            "updates": updates,
            "untrained": round(self.plan.untrained, 6),
        }
        return self.add(Task("train", tuple(words), inputs, needs, label, cell.arm))

    def title(self, cell: Cell, values: Dict[str, Value], seed: int) -> str:
        tuned = values_name(values)
        share = "" if cell.fraction == 1 else f" of {cell.fraction:g} of the data"
        return f"{cell.arm} {self.size(cell.depth, cell.width)}{share}, {tuned}, seed {seed}"

    def size(self, depth: str, width: int) -> str:
        """Depth and, where it varies, width."""
        return self.depth(depth) + (f"x{width}" if len(self.spec.widths) > 1 else "")

    def run(
        self, cell: Cell, role: Role, values: Dict[str, Value], seed: int, budget: float
    ) -> PlannedRun:
        """Add a run up to one budget: trunk, branch and, of a judging run, its evaluation."""
        values = search_space.clean(values)
        points = self.spec.budgets.values if role == "judging" else [budget]
        updates = {one: self.updates(cell, one) for one in points if one <= budget}
        last = updates[budget]
        if last is None:
            calibration = self.plan.calibrations[cell.arm, cell.depth, cell.width]
            planned = PlannedRun(cell, role, values, seed, budget, 0, [calibration], None)
            return self.plan.rows.setdefault(planned.row, planned)
        self.check_warm_up(values, cell)
        starts = sorted({self.start(one) for one in updates.values() if one is not None})
        starts = [one for one in starts if 0 < one <= self.start(last)]
        trunk = self.trunk(cell, values, seed, starts)
        words = commands.model_options(self.spec, cell)
        words += commands.branch_options(values, seed, starts[-1] if starts else 0, last)
        title = self.title(cell, values, seed)
        needs = {**self.data(cell.fraction), **parent(trunk)}
        branch = self.part(cell, words, last, needs, f"{title}, cool-down to update {last}")
        evaluated = None
        if role == "judging":
            inputs = {"test": self.inputs.test, "comet": self.spec.comet and self.spec.comet.model}
            needs = {**self.data(), "parent": branch}
            task = Task(
                "evaluate",
                tuple(commands.decoding_options(self.spec)),
                inputs,
                needs,
                f"{title}, test at update {last}",
                cell.arm,
            )
            evaluated = self.add(task, goal=True)
        elif branch not in self.plan.goals:
            self.plan.goals.append(branch)
        planned = PlannedRun(cell, role, values, seed, budget, last, [*trunk, branch], evaluated)
        return self.plan.rows.setdefault(planned.row, planned)

    def check_warm_up(self, values: Dict[str, Value], cell: Cell) -> None:
        """Raise ResDualError where a budget's rate would fall before it has risen."""
        given, start = self.warm_up(values, cell), self.first_fall(cell)
        if given > start:
            raise ResDualError(
                f"a warm-up of {given} updates does not fit into the smallest budget, whose "
                f"rate falls from update {start} on; give fewer --warmup-updates, or "
                "larger budgets.values"
            )

    def warm_up(self, values: Dict[str, Value], cell: Cell) -> int:
        words = [*commands.model_options(self.spec, cell), *commands.options(values)]
        given = [
            word.partition("=")[2] or following
            for word, following in zip(words, [*words[1:], ""])
            if word.partition("=")[0] == "--warmup-updates"
        ]
        if given and not float(given[-1]).is_integer():
            raise ResDualError(
                f"search: {given[-1]} is no whole number of --warmup-updates; write its values, or "
                "low and high, as whole numbers"
            )
        return int(float(given[-1])) if given else 0

    def first_fall(self, cell: Cell) -> int:
        """The update from which on the smallest budget's rate falls."""
        return self.start(self.updates(cell, min(self.spec.budgets.values)) or 0)

    def warm_up_fits(self, values: Dict[str, Value], cells: List[Cell]) -> bool:
        """Whether these values' warm-up ends in time, in every arm that can be trained."""
        try:
            return all(
                self.warm_up(values, cell) <= self.first_fall(cell)
                for cell in cells
                if self.updates(cell, 1.0) is not None
            )
        except ResDualError:  # a grid that would grow to a fraction of an update
            return False

    def start(self, updates: int) -> int:
        """The update at which a budget's branch leaves the trunk."""
        return int((1 - self.spec.budgets.cooldown) * updates)

    def outcome(self, run: PlannedRun) -> Optional[Record]:
        return outcome(run, self.records)

    # stages

    def tuned(self, depth: str, width: int) -> Dict[str, Dict[str, Value]]:
        """The best values of every arm whose tuning is done; adds what is still to try."""
        budget = self.spec.search.budget or max(self.spec.budgets.values)
        cells = [
            Cell(arm, depth, width, 1.0) for arm in self.spec.arms
            if self.plan.calibrations[arm, depth, width] in self.records
        ]  # fmt: skip
        longest: Dict[str, Value] = {
            name: one.high for name, one in self.spec.search.ranges.items()
        }
        for cell in cells:
            if self.updates(cell, 1.0) is not None:
                self.check_warm_up(longest, cell)

        def loss(cell: Cell, values: Dict[str, Value]) -> Optional[float]:
            """The mean validation loss over the tuning seeds; None while one is missing."""
            found: List[float] = []
            for seed in self.spec.search.seeds:
                run = self.run(cell, "tuning", values, seed, budget)
                record = self.outcome(run)
                # A kill from outside says nothing of the values.
                if record is not None and record["outcome"] != "killed":
                    # Nothing that completed has a higher loss (outcomes.divergence).
                    worst = 2 * self.plan.untrained
                    found.append(worst if failed(record) else record["found"]["valid_loss"])
            least = 1 if self.needs == "any trial" else len(self.spec.search.seeds)
            return sum(found) / len(found) if len(found) >= least else None

        return search.best(
            self.spec.search, cells, loss, lambda values: self.warm_up_fits(values, cells),
            self.plan.untrained, self.needs,
        )  # fmt: skip

    def judge(
        self, depth: str, width: int, fraction: float, seeds: List[int], budgets: List[float]
    ) -> bool:
        """Add judging runs of every arm whose values are known; returns whether all are."""
        values = self.tuned(depth, width)
        for seed in seeds:
            for budget in budgets:
                for arm in self.spec.arms:
                    if arm in values:
                        self.run(
                            Cell(arm, depth, width, fraction), "judging", values[arm], seed, budget
                        )
        if len(values) < len(self.spec.arms):
            self.plan.open = "tuning"
        return len(values) == len(self.spec.arms)

    def all_depths(self) -> List[Tuple[str, int]]:
        return list(dict.fromkeys((depth, width) for _, depth, width in self.models()))

    def depth_stage(self) -> bool:
        """Every depth at the largest budget; returns whether the study ends here."""
        seeds = self.spec.seeds[: self.spec.stages.depth.seeds]
        for depth, width in self.all_depths():
            self.judge(depth, width, 1.0, seeds, [max(self.spec.budgets.values)])
        return self.ends("depth", self.spec.stages.depth.stop_below)

    def curve_stage(self) -> bool:
        """Smaller budgets at every depth, and smaller shares of the data at some."""
        seeds = self.spec.seeds[: self.spec.stages.depth.seeds]
        self.judge_curves(seeds)
        return self.ends("curves", self.spec.stages.curves.stop_below)

    def seed_stage(self) -> bool:
        """All seeds, at every budget and share of the data."""
        self.judge_curves(self.spec.seeds)
        return True

    def judge_curves(self, seeds: List[int]) -> None:
        """The curve over training time at every depth, that over data at some."""
        budgets, width = sorted(self.spec.budgets.values), self.spec.widths[0].width
        for depth, own_width in self.all_depths():
            self.judge(depth, own_width, 1.0, seeds, budgets)
        depths = self.spec.stages.curves.depths or [self.spec.criteria.depth]
        for fraction in sorted(self.spec.data.fractions, reverse=True):
            for depth in depths if fraction < 1 else []:
                self.judge(depth, width, fraction, seeds, budgets[-1:])

    def ends(self, stage: str, bound: Optional[float]) -> bool:
        """Whether later stages wait for this one, or are called off by its criterion."""
        if bound is None or self.needs != "all arms":
            return False
        if self.plan.open or any(self.outcome(run) is None for run in self.plan.runs):
            self.plan.open = self.plan.open or f"stage {stage}"
            self.plan.waits_for_stage = True
            return True
        judged = [run for run in self.plan.runs if run.role == "judging"]
        width = self.spec.widths[0].width
        points = {
            (run.cell._replace(arm=""), run.budget) for run in judged if run.cell.width == width
        }
        gains = [self.gain(cell, budget) for cell, budget in points]
        if all(gain is not None and gain < bound for gain in gains):
            self.plan.stopped = stage
            return True
        return False

    def gain(self, cell: Cell, budget: float) -> Optional[float]:
        """The candidate's mean gain over the baseline at a size, share of the data and budget."""
        criteria, arms = self.spec.criteria, []
        for arm in (criteria.candidate, criteria.baseline):
            scores = {
                run.seed: self.score(run) for run in self.plan.runs
                if run.role == "judging" and run.budget == budget
                and run.cell == cell._replace(arm=arm)
            }  # fmt: skip
            arms.append({seed: one for seed, one in scores.items() if one is not None})
        gains = [arms[0][seed] - arms[1][seed] for seed in arms[0] if seed in arms[1]]
        sign = -1 if criteria.metric in LOWER_IS_BETTER else 1
        return sign * sum(gains) / len(gains) if gains else None

    def score(self, run: PlannedRun) -> Optional[float]:
        metric = self.spec.criteria.metric
        record = self.result(run.train[-1] if metric == "valid_loss" else run.last)
        if record is None or failed(record):
            return None
        found = record["found"]
        return found["valid_loss"] if metric == "valid_loss" else found["scores"][metric]


def parent(names: List[str]) -> Dict[str, str]:
    return {"parent": names[-1]} if names else {}
