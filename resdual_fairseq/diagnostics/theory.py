"""What theory says of a quantity along a stack, and how measurements are fitted to it.

Blocks of different parts (attention, feed-forward) differ by a factor at any depth. Every fit
therefore has one intercept a part, and one slope for all.
"""

import math
from dataclasses import dataclass
from typing import Dict, List, NamedTuple, Sequence

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


class Point(NamedTuple):
    """A measurement at block k."""

    seed: int
    k: int
    part: str
    value: float


@dataclass(frozen=True)
class Trend:
    """log(value) = intercept of the part + slope * x, with a 95 % interval of the slope.

    Attributes:
        across_seeds: the interval is of the mean over seeds; otherwise of the regression, whose
            points are no independent draws, which makes it too narrow.
    """

    slope: float
    low: float
    high: float
    across_seeds: bool
    intercepts: Dict[str, float]

    def curve(self, x: Sequence[float]) -> "np.ndarray":
        """Values at x, at the mean level of the parts."""
        level = float(np.mean(list(self.intercepts.values())))
        return np.exp(level + self.slope * np.asarray(x, dtype=float))


def exponential_trend(points: Sequence[Point]) -> Trend:
    """value = exp(slope k): the slope is the rate per block."""
    return fit_trend(points, [float(point.k) for point in points])


def power_trend(points: Sequence[Point]) -> Trend:
    """value = k^slope."""
    return fit_trend(points, [math.log(point.k) for point in points])


def fit_trend(points: Sequence[Point], x: Sequence[float]) -> Trend:
    """Least squares of log(value) on x with one intercept a part.

    Raises:
        ValueError: too few points, or one that has no logarithm.
    """
    if any(not (point.value > 0 and math.isfinite(point.value)) for point in points):
        raise ValueError("values that are 0 or no number")
    slope, error, freedom, intercepts = least_squares(points, x)
    by_seed: Dict[int, List[int]] = {}
    for index, point in enumerate(points):
        by_seed.setdefault(point.seed, []).append(index)
    if len(by_seed) >= 3:
        slopes = [
            least_squares([points[i] for i in chosen], [x[i] for i in chosen])[0]
            for chosen in by_seed.values()
        ]
        error, freedom = float(np.std(slopes, ddof=1)) / math.sqrt(len(slopes)), len(slopes) - 1
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * error
    return Trend(slope, slope - half, slope + half, len(by_seed) >= 3, intercepts)


def least_squares(
    points: Sequence[Point], x: Sequence[float]
) -> "tuple[float, float, int, Dict[str, float]]":
    """Slope, its standard error, degrees of freedom, and the parts' intercepts."""
    parts = sorted({point.part for point in points})
    design = np.array(
        [[at, *(float(point.part == part) for part in parts)] for point, at in zip(points, x)]
    )
    freedom = len(points) - design.shape[1]
    if freedom < 1 or np.linalg.matrix_rank(design) < design.shape[1]:
        raise ValueError("too few blocks for a fit")
    y = np.log([point.value for point in points])
    solution, *_ = np.linalg.lstsq(design, y, rcond=None)
    residual = y - design @ solution
    covariance = np.linalg.inv(design.T @ design) * float(residual @ residual) / freedom
    error = math.sqrt(covariance[0, 0])
    return float(solution[0]), error, freedom, dict(zip(parts, solution[1:].tolist()))


def resdual_bound(k: Sequence[float], blocks: int) -> "np.ndarray":
    """sqrt(log(N - k) / N): the shape of the bound below ResiDual's gradient, for k < N - 1."""
    left = blocks - np.asarray(k, dtype=float)
    return np.sqrt(np.log(left) / blocks)


def collapse(k: Sequence[float]) -> "np.ndarray":
    """1 / sqrt(k): the shape of Pre-LN's change of representation."""
    return 1 / np.sqrt(np.asarray(k, dtype=float))


def level(values: Sequence[float], shape: Sequence[float]) -> float:
    """The factor that lays a shape over values: the geometric mean of their ratios."""
    return float(np.exp(np.mean(np.log(np.asarray(values) / np.asarray(shape)))))


def first_over_last(points: Sequence[Point]) -> float:
    """The first block of every part over the last one, in geometric means over parts and seeds."""
    logs = []
    for part in {point.part for point in points}:
        ks = [point.k for point in points if point.part == part]
        for seed in {point.seed for point in points}:
            own = {p.k: p.value for p in points if p.part == part and p.seed == seed}
            logs.append(math.log(own[min(ks)] / own[max(ks)]))
    return math.exp(float(np.mean(logs)))
