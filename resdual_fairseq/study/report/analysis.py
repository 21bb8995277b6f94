"""All that is computed from the findings, once for all tables, figures and files of a report."""

from __future__ import annotations

from functools import cached_property
from typing import Dict, List, Optional, Tuple

import numpy as np

from ..analysis.comparisons import (
    Comparison,
    Place,
    comparisons,
    judged,
    primary_place,
    score,
    tuning_curve,
)
from ..analysis.table import Cell, Cost, Findings, Run
from ..analysis.verdict import Verdict, judge
from ..spec.keys import LOWER_IS_BETTER
from ..spec.parts import depth_name

METRICS = ("bleu", "chrf", "ter", "comet", "perplexity", "valid_loss")


class Analysis:
    """The findings, with what they say; every result is computed when it is first asked for.

    Attributes:
        metric: of the primary endpoint.
        place: of the primary endpoint.
        arms: candidate and baseline first, others in the order of the spec.
        depths: as cells have them, shallow ones first.
    """

    def __init__(self, findings: Findings) -> None:
        self.findings, self.spec = findings, findings.spec
        criteria = findings.spec.criteria
        self.metric = criteria.metric
        self.candidate, self.baseline = criteria.candidate, criteria.baseline
        others = [arm for arm in self.spec.arms if arm not in (self.candidate, self.baseline)]
        self.arms = [self.candidate, self.baseline, *others]
        self.rivals = [arm for arm in self.arms if arm != self.baseline]
        self.place = primary_place(findings)
        names = [depth_name(depth, self.spec.task) for depth in self.spec.depths]
        self.depths = sorted(names, key=lambda name: sum(map(int, name.split("+"))))
        self.budgets = sorted(self.spec.budgets.values)
        self.fractions = sorted(self.spec.data.fractions)
        self.widths = [size.width for size in self.spec.widths]
        self.compared: Dict[Tuple[str, str], List[Comparison]] = {}

    @cached_property
    def verdict(self) -> Verdict:
        return judge(self.findings)

    @cached_property
    def metrics(self) -> List[str]:
        """Those that some judging run has, that of the primary endpoint first."""
        present = {"valid_loss"} if any(r.valid_loss is not None for r in self.judging) else set()
        present.update(name for run in self.judging for name in run.scores)
        return [self.metric, *(m for m in METRICS if m in present and m != self.metric)]

    @property
    def better(self) -> str:
        """Whether higher or lower values of the metric are better: the name of a text."""
        return "lower_is_better" if self.metric in LOWER_IS_BETTER else "higher_is_better"

    @cached_property
    def judging(self) -> List[Run]:
        return [run for run in self.findings.runs if run.role == "judging"]

    @cached_property
    def tuning(self) -> List[Run]:
        return [run for run in self.findings.runs if run.role == "tuning"]

    def comparisons(self, arm: str, metric: Optional[str] = None) -> List[Comparison]:
        """An arm against the baseline wherever both were judged."""
        key = (arm, metric or self.metric)
        if key not in self.compared:
            self.compared[key] = comparisons(self.findings, *key)
        return self.compared[key]

    def comparison(
        self, arm: str, place: Place, metric: Optional[str] = None
    ) -> Optional[Comparison]:
        """The one at a place; None where one of the arms has no runs there."""
        found = (one for one in self.comparisons(arm, metric) if one.place == place)
        return next(found, None)

    def at(self, depth: str, fraction: float = 1.0, budget: Optional[float] = None) -> Place:
        """A place of the judged width; the largest budget unless another is given."""
        return Place(depth, self.place.width, fraction, budget or self.place.budget)

    def runs(self, arm: str, place: Place) -> Tuple[Run, ...]:
        return judged(self.findings, arm, place)

    def scores(self, arm: str, place: Place, metric: Optional[str] = None) -> List[float]:
        """Of the completed runs at a place, in the order of their seeds."""
        found = [score(run, metric or self.metric) for run in self.runs(arm, place)]
        return [value for value in found if value is not None]

    def expected_losses(self, arm: str, depth: str) -> List[float]:
        """Expected best validation loss of 1, 2, 3 ... trials; empty where there are none."""
        cell = self.cell(arm, depth)
        tuned = any(run.cell == cell and run.outcome is not None for run in self.tuning)
        return tuning_curve(self.findings, cell) if tuned else []

    def cell(self, arm: str, depth: str, width: Optional[int] = None) -> Cell:
        return Cell(arm, depth, width or self.place.width, 1.0)

    def cost(self, arm: str, depth: Optional[str] = None) -> Optional[Cost]:
        """What an arm takes at a depth (default: the primary endpoint's), in the judged width."""
        for cost in self.findings.costs:
            size = (cost.arm, depth_name(cost.depth, self.spec.task), cost.width)
            if size == (arm, depth or self.place.depth, self.place.width):
                return cost
        return None


def pair_mean(one: Comparison, side: int, metric: str) -> Optional[float]:
    """The mean of one side of a comparison's pairs; None without pairs."""
    values = [value for pair in one.pairs if (value := score(pair[side], metric)) is not None]
    return float(np.mean(values)) if values else None
