"""From what arms' processes answered to figures with intervals, and their ratios."""

from __future__ import annotations

from typing import Dict, List, Mapping, Sequence

import numpy as np
from scipy import stats

from ..analysis.table import Interval
from .turns import Answer


def quantile_interval(values: Sequence[float], share: float, level: float) -> Interval:
    """A quantile and its interval between order statistics, whatever the distribution.

    Of 1,000 values the interval at 0.95 of the 95th percentile is that from the 93.6th to the
    96.4th. A bound is None where so few values give none; the median needs six at 0.95.
    """
    ordered, count = np.sort(values), len(values)
    below = int(stats.binom.ppf((1 - level) / 2, count, share))
    above = int(stats.binom.ppf((1 + level) / 2, count, share)) + 1
    low = float(ordered[below - 1]) if below >= 1 else None
    high = float(ordered[above - 1]) if above <= count else None
    return Interval(float(np.quantile(ordered, share)), low, high)


def span(values: Sequence[float]) -> Interval:
    """The median, the least and the most."""
    return Interval(float(np.median(values)), min(values), max(values))


class Figures:
    """What one arm costs, by the names of ``costs.NAMES``.

    Attributes:
        values: the figures with their intervals.
        series: what they are the medians of, in the order of rounds, so that those of two arms
            can be paired.
        steady: names of what is counted, or so nearly the same in every process that the bounds
            are the least and the most of them.
    """

    def __init__(self, level: float) -> None:
        self.level = level
        self.values: Dict[str, Interval] = {}
        self.series: Dict[str, List[float]] = {}
        self.steady: List[str] = []

    def add_steady(self, values: Mapping[str, List[float]]) -> None:
        for name, series in values.items():
            self.values[name], self.series[name] = span(series), series
            self.steady.append(name)

    def add_single(self, name: str, value: float) -> None:
        """A figure whose spread is not known."""
        self.values[name], self.series[name] = Interval(value), [value]

    def add_rounds(self, name: str, series: List[float]) -> None:
        self.values[name], self.series[name] = quantile_interval(series, 0.5, self.level), series

    def add_training(self, turns: List[Answer]) -> None:
        self.add_rounds("step_seconds", [one["seconds"] / one["updates"] for one in turns])
        self.add_rounds("tokens_per_second", [one["tokens"] / one["seconds"] for one in turns])
        if "joules" in turns[0]:
            self.add_rounds("energy_joules", [one["joules"] / one["updates"] for one in turns])

    def add_translating(self, turns: List[Answer], prefix: str = "") -> None:
        """Latencies over all sentences, and paired by their percentiles within each round."""
        rounds = [one["latencies"] for one in turns if one["latencies"]]
        for percent in (50, 95):
            name, pooled = f"{prefix}latency_p{percent}", np.concatenate(rounds)
            self.values[name] = quantile_interval(pooled, percent / 100, self.level)
            self.series[name] = [float(np.percentile(one, percent)) for one in rounds]
        batches = [one for one in turns if "sentences" in one]
        speeds = [one["sentences"] / one["seconds"] for one in batches]
        self.add_rounds(f"{prefix}sentences_per_second", speeds)
        self.add_single(f"{prefix}generation_memory_gib", turns[-1]["memory_gib"])

    def add_scoring(self, turns: List[Answer]) -> None:
        speeds = [one["tokens"] / one["seconds"] for one in turns]
        self.add_rounds("scoring_tokens_per_second", speeds)
        self.add_single("generation_memory_gib", turns[-1]["memory_gib"])

    def over(self, baseline: Figures) -> Dict[str, Interval]:
        """Ratios to the baseline's: the median of those within each round.

        The interval takes the rounds for independent of each other.
        """
        found = {}
        for name in (name for name in self.series if name in baseline.series):
            ratios = [one / other for one, other in zip(self.series[name], baseline.series[name])]
            steady = name in self.steady
            found[name] = span(ratios) if steady else quantile_interval(ratios, 0.5, self.level)
        return found
