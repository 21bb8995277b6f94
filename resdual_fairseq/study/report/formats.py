"""Numbers as the report prints them."""

from __future__ import annotations

import math
from typing import Optional, Sequence

import numpy as np

from ..analysis.table import Interval

NOTHING = "\u2013"
"""In place of a value that there is not."""
NO_BREAK = "\u00a0"
DIGITS = {"bleu": 2, "chrf": 2, "ter": 2, "comet": 4, "valid_loss": 3, "perplexity": 2}
"""Decimals of a metric."""
FULL = 9
"""Decimals from which on two numbers count as equal."""


def plain(value: float) -> str:
    """Four significant digits or all whole ones; very large numbers with a power of ten."""
    size = abs(value)
    if size >= 1e10 or 0 < size < 1e-4:
        return f"{value:.3e}"
    if size >= 1000 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.4g}"


def short(value: float) -> str:
    """For a tick: 1.5M in place of 1,500,000."""
    if 1e6 <= value < 1e9:
        return f"{value / 1e6:.4g}M"
    return f"{value / 1e9:.4g}G" if 1e9 <= value < 1e12 else plain(value)


def with_bounds(value: Interval) -> str:
    """A measured value, with its interval where it has one of any width."""
    if value.low is None or value.high is None or value.low == value.high:
        return plain(value.estimate)
    return f"{plain(value.estimate)} {bracket(plain(value.low), plain(value.high))}"


def bracket(low: str, high: str) -> str:
    """An interval, which no line breaks."""
    return f"[{low},{NO_BREAK}{high}]"


def quality(value: Optional[float], metric: str) -> str:
    """A score in its metric's decimals."""
    return NOTHING if value is None or math.isinf(value) else f"{value:.{DIGITS[metric]}f}"


def decimals(values: Sequence[Optional[float]], bounds: Sequence[float], least: int) -> int:
    """With which each value is printed on that side of each bound on which it is."""
    pairs = [(value, bound) for value in values if value is not None for bound in bounds]
    for digits in range(least, FULL):
        if all(side(round(value, digits), bound) == side(value, bound) for value, bound in pairs):
            return digits
    return FULL


def side(value: float, bound: float) -> int:
    """1 above, -1 below."""
    difference = round(value - bound, FULL)
    return (difference > 0) - (difference < 0)


def upwards(value: float, digits: int) -> float:
    """Rounded to no less; a last bit too much, as of 1.05 - 1, does not count."""
    return math.ceil(round(value * 10**digits, 6)) / 10**digits


def downwards(value: float, digits: int) -> float:
    return math.floor(round(value * 10**digits, 6)) / 10**digits


def gain(value: Optional[Interval], metric: str, bounds: Sequence[float] = ()) -> str:
    """A gain with its sign and its interval, told from what it is compared with."""
    if value is None:
        return NOTHING
    digits = decimals(value, bounds, DIGITS[metric])
    if value.low is None or value.high is None:
        return f"{value.estimate:+.{digits}f}"
    interval = bracket(f"{value.low:+.{digits}f}", f"{value.high:+.{digits}f}")
    return f"{value.estimate:+.{digits}f} {interval}"


def share(ratio: Optional[Interval], bound: Optional[float] = None) -> str:
    """A ratio to the baseline as a difference in per cent, with its interval."""
    if ratio is None:
        return NOTHING
    values = [None if one is None else 100 * (one - 1) for one in ratio]
    digits = decimals(values, [] if bound is None else [100 * (bound - 1)], 1)
    shown = per_cent(ratio.estimate, digits)
    if ratio.low is None or ratio.high is None or ratio.low == ratio.high:
        return shown
    low, high = (f"{100 * (one - 1):+.{digits}f}" for one in (ratio.low, ratio.high))
    return f"{shown} {bracket(low, high)}"


def per_cent(ratio: float, digits: int = 1) -> str:
    """1.052 is +5.2 %."""
    return f"{100 * (ratio - 1):+.{digits}f}{NO_BREAK}%"


def limit(ratio: float) -> str:
    """A bound in per cent, with all of its digits."""
    value = 100 * (ratio - 1)
    return per_cent(ratio, decimals([value], [value], 1))


def level(value: float) -> str:
    """0.95 is 95 %."""
    return f"{100 * value:g}{NO_BREAK}%"


def p_value(p: Optional[float]) -> str:
    if p is None:
        return NOTHING
    return f"<{NO_BREAK}0.001" if p < 0.001 else f"{p:.3f}"


def mean_and_sd(values: Sequence[float], metric: str) -> str:
    """The mean with the standard deviation, of two or more."""
    if not values:
        return NOTHING
    mean = quality(float(np.mean(values)), metric)
    return mean if len(values) < 2 else f"{mean} ± {quality(float(np.std(values, ddof=1)), metric)}"


def deviation(value: Optional[float], metric: str) -> str:
    """A standard deviation, with one more decimal than its metric has."""
    return NOTHING if value is None else f"{value:.{DIGITS[metric] + 1}f}"


def hours(seconds: float) -> str:
    """Hours in digits that suit their size."""
    value = seconds / 3600
    return f"{value:,.1f}" if value >= 10 or math.isclose(value, 0) else f"{value:.3g}"
