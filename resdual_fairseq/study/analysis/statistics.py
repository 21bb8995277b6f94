"""The tests of the study, on plain arrays: over seeds, over sentences, over points of tuning.

The tests over sentences work on sacreBLEU's statistics of each one (``table.Run.sentences``), so
that a resampled corpus costs a sum, and all resamples together one product of matrices.
"""

import math
from typing import List, NamedTuple, Optional, Sequence

import numpy as np
from scipy import stats

from .table import Interval

POWER = 0.8
RESAMPLES = 2000
TRIALS = 10_000
"""Of approximate randomization; sacreBLEU's own default."""
RANDOM_SEED = 12345
"""sacreBLEU's own default; fixed, so that a report made twice says the same."""
TRIALS_AT_ONCE = 1000
"""Bounds the memory of the selection as floats: 8 MB for 1,000 sentences."""


def t_interval(values: Sequence[float], level: float) -> Interval:
    """The mean and its t interval; one value has no bounds."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean)
    error = float(stats.sem(values))
    half = float(stats.t.ppf((1 + level) / 2, len(values) - 1)) * error
    return Interval(mean, mean - half, mean + half)


def t_test(values: Sequence[float]) -> Optional[float]:
    """Two-sided p of a mean of 0; None for one value."""
    if len(values) < 2:
        return None
    mean, error = float(np.mean(values)), float(stats.sem(values))
    if error == 0.0:
        return float(mean == 0.0)
    return float(2 * stats.t.sf(abs(mean) / error, len(values) - 1))


def holm(p_values: Sequence[float]) -> List[float]:
    """Holm's adjusted p values, in the order given."""
    order = np.argsort(p_values)
    scaled = np.asarray(p_values, dtype=float)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(scaled))
    return [float(p) for p in adjusted]


def power(seeds: int, margin: float, sd: float, level: float, comparisons: int) -> float:
    """Chance that a two-sided paired t test of ``seeds`` an arm finds a gain of ``margin``.

    The pairs share no more than their seed, so the error of the difference is sd sqrt(2 / n).
    """
    freedom = seeds - 1
    critical = stats.t.isf((1 - level) / comparisons / 2, freedom)
    shift = margin / (sd * math.sqrt(2 / seeds))
    return float(stats.nct.sf(critical, freedom, shift) + stats.nct.cdf(-critical, freedom, shift))


def seeds_needed(margin: float, sd: float, level: float = 0.95, comparisons: int = 1) -> int:
    """Seeds that each arm needs to find a gain of ``margin`` with power 0.8.

    Args:
        margin: the gain, in the metric.
        sd: standard deviation of an arm's scores over seeds, in the metric.
        level: of the interval; its complement is the error of the test.
        comparisons: Holm's first of so many has the error divided by them.
    """
    if sd == 0.0:
        return 2
    normal = stats.norm.isf((1 - level) / comparisons / 2) - stats.norm.isf(POWER)
    # The t test never needs fewer than the normal approximation of it.
    seeds = max(2, math.floor(2 * (normal * sd / margin) ** 2))
    while power(seeds, margin, sd, level, comparisons) < POWER:
        seeds += 1
    return seeds


def expected_best(losses: Sequence[float]) -> List[float]:
    """Expected least loss of n points, for n = 1 up to all of them (Dodge et al. 2019, eq. 7).

    The points stand for independent draws with replacement, so they have to come from a grid or a
    quasi-random sequence, never from a search that learned from earlier points.
    """
    ordered = np.sort(losses)[::-1]
    shares = np.arange(len(ordered) + 1) / max(1, len(ordered))
    return [float(np.diff(shares**draws) @ ordered) for draws in range(1, len(ordered) + 1)]


class CrossedBootstrap(NamedTuple):
    """A BLEU difference under resampled seeds and sentences.

    Attributes:
        interval: percentile interval of the difference; the estimate is that of the data.
        p: two-sided: twice the smaller share of resamples on one side of 0.
        sentence_sd: standard deviation in BLEU of the seeds' mean difference, where only the
            sentences are drawn again: what another test set of this size would change.
    """

    interval: Interval
    p: float
    sentence_sd: float


def corpus_bleu(sums: np.ndarray) -> np.ndarray:
    """BLEU by sacreBLEU's defaults (``smooth:exp``, no effective order) of summed statistics.

    *Shape:* (..., 10) -> (...). Statistics as in ``table.Run.sentences``.
    """
    length, reference = sums[..., 0], sums[..., 1]
    correct, total = sums[..., 2:6], sums[..., 6:10]
    unmatched = correct == 0
    # The k-th order without a match counts as 1 / 2^k matches (NIST's smoothing).
    matches = np.where(unmatched, 0.5 ** np.cumsum(unmatched, axis=-1), correct)
    precisions = matches / np.maximum(total, 1)
    log_penalty = np.minimum(0.0, 1.0 - reference / np.maximum(length, 1))
    bleu = 100.0 * np.exp(log_penalty + np.log(precisions).mean(axis=-1))
    return np.where((total == 0).any(axis=-1) | unmatched.all(axis=-1), 0.0, bleu)


def draw_weights(rng: np.random.Generator, resamples: int, size: int) -> np.ndarray:
    """How often each of ``size`` items is drawn in each resample. *Shape:* (resamples, size)."""
    drawn = rng.integers(size, size=(resamples, size))
    drawn += size * np.arange(resamples)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=resamples * size)
    return counts.reshape(resamples, size).astype(float)


def crossed_bootstrap(
    candidate: np.ndarray, baseline: np.ndarray, level: float, resamples: int = RESAMPLES
) -> CrossedBootstrap:
    """The difference in BLEU, candidate minus baseline, under resampled seeds and sentences.

    Each resample draws the sentences once for all seeds and both arms, since they share the test
    set, and seeds as pairs, since a seed pairs the arms. Few seeds make the percentile interval
    too narrow; hence the t interval beside it.

    *Shape:* candidate and baseline (seeds, sentences, 10), the same seeds in the same order.
    """
    rng = np.random.default_rng(RANDOM_SEED)
    both = np.stack([candidate, baseline]).astype(float)
    arms, seeds, sentences, numbers = both.shape
    flat = both.transpose(2, 0, 1, 3).reshape(sentences, -1)
    sums = draw_weights(rng, resamples, sentences) @ flat
    bleu = corpus_bleu(sums.reshape(resamples, arms, seeds, numbers))
    differences = bleu[:, 0] - bleu[:, 1]
    drawn = (draw_weights(rng, resamples, seeds) * differences).mean(axis=1)
    observed = corpus_bleu(both.sum(axis=2))
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    beyond = min(np.sum(drawn <= 0), np.sum(drawn >= 0))
    return CrossedBootstrap(
        Interval(float((observed[0] - observed[1]).mean()), float(low), float(high)),
        min(1.0, 2 * (int(beyond) + 1) / (resamples + 1)),
        float(differences.mean(axis=1).std(ddof=1)),
    )


def approximate_randomization(
    candidate: np.ndarray, baseline: np.ndarray, trials: int = TRIALS
) -> float:
    """Two-sided p of sacreBLEU's ``PairedTest(..., "ar")`` for one pair of systems.

    It asks whether these two trained models differ, not whether the arms do: seeds are not in it.

    *Shape:* candidate and baseline (sentences, 10), the same sentences.
    """
    rng = np.random.default_rng(RANDOM_SEED)
    swapped = rng.integers(2, size=(trials, len(candidate)), dtype=bool)
    change = (baseline - candidate).astype(float)
    moved = np.concatenate(
        [
            part.astype(float) @ change
            for part in np.array_split(swapped, -(-trials // TRIALS_AT_ONCE))
        ]
    )
    first, second = candidate.sum(axis=0), baseline.sum(axis=0)
    observed = abs(corpus_bleu(first) - corpus_bleu(second))
    differences = np.abs(corpus_bleu(first + moved) - corpus_bleu(second - moved))
    return float((np.sum(differences > observed) + 1) / (trials + 1))
