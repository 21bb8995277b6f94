"""Protects the fits: a known decay is found, with an interval that contains it."""

import math
from typing import List

import pytest
import torch

from resdual_fairseq.diagnostics.theory import (
    Point,
    exponential_trend,
    first_over_last,
    level,
    power_trend,
    resdual_bound,
)

LEVELS = {"self_attn": 1.0, "cross_attn": 7.0, "ffn": 0.2}


def points(
    blocks: int, seeds: int = 1, rate: float = 0.0, power: float = 0.0, noise: float = 0.0
) -> List[Point]:
    """level of the part * exp(rate k) * k^power * noise."""
    generator = torch.Generator().manual_seed(1)
    parts = list(LEVELS)
    found = []
    for seed in range(1, seeds + 1):
        for k in range(1, blocks + 1):
            part = parts[(k - 1) % 3]
            error = math.exp(noise * torch.randn((), generator=generator).item())
            value = LEVELS[part] * math.exp(rate * k) * k**power * error
            found.append(Point(seed, k, part, value))
    return found


def test_an_exact_decay_is_found() -> None:
    trend = exponential_trend(points(30, rate=0.07))
    assert trend.slope == pytest.approx(0.07)
    assert trend.high - trend.low < 1e-10
    assert trend.intercepts == pytest.approx({p: math.log(v) for p, v in LEVELS.items()})
    assert not trend.across_seeds


def test_an_exact_power_is_found() -> None:
    assert power_trend(points(30, power=-0.5)).slope == pytest.approx(-0.5)


def test_the_intervals_of_many_draws_hold_the_truth_as_often_as_they_say() -> None:
    generator = torch.Generator().manual_seed(2)
    hits = 0
    for _ in range(300):
        errors = torch.randn(12, generator=generator).mul(0.2).exp().tolist()
        drawn = [p._replace(value=p.value * e) for p, e in zip(points(12, rate=0.1), errors)]
        trend = exponential_trend(drawn)
        hits += trend.low < 0.1 < trend.high
    assert 0.90 < hits / 300 < 0.99


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf"), -1.0])
def test_values_without_a_logarithm(value: float) -> None:
    with pytest.raises(ValueError, match="0 or no number"):
        exponential_trend([*points(9), Point(1, 10, "ffn", value)])


def test_too_few_blocks() -> None:
    with pytest.raises(ValueError, match="too few blocks"):
        exponential_trend(points(3))


def test_first_over_last_compares_within_a_part() -> None:
    assert first_over_last(points(9, seeds=2, rate=-0.1)) == pytest.approx(math.exp(0.6))


def test_the_bound_and_the_level() -> None:
    bound = resdual_bound([1, 5], 10)
    assert bound.tolist() == pytest.approx([math.sqrt(math.log(9) / 10), math.sqrt(0.1609437912)])
    assert level([2.0, 8.0], [1.0, 1.0]) == pytest.approx(4)
