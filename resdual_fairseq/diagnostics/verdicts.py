"""Each of the paper's claims, and in numbers whether it held on the blocks that were measured."""

import math
from typing import Callable, Dict, List, NamedTuple, Sequence, Tuple

from ..schemes import RESIDUALS
from .curves import Curve, curve_name, curves, within
from .table import LEARNED, Row
from .theory import (
    Point,
    Trend,
    exponential_trend,
    first_over_last,
    level,
    power_trend,
    resdual_bound,
)

FP16_LARGEST = 65504.0
VANISHED = 0.1
"""First over last block, below which a gradient counts as vanished towards the first."""
FLAT = 0.1
"""Exponents of k up to this count as no dependence on k."""
COLLAPSE = -0.5
"""The exponent of 1 / sqrt(k)."""

RULES = f"""\
How the words are meant
  trend           least squares of the logarithm with one level a part of a layer (attention,
                  cross-attention, feed-forward) and one slope, and the slope's 95 % interval: over
                  seeds from three on; of the regression otherwise (marked *), which is too narrow,
                  because neighbouring blocks are no independent draws
  first / last    the first block of each part over its last one, geometric mean
  vanishing       "held" where the gradient falls towards the first block (the interval is above 0)
                  and first / last is below {VANISHED:g}; "partly" where only the former is so
  stays           "held" where first / last is {VANISHED:g} or more and the gradient does not fall;
                  "partly" where it falls, but not below that
  1/sqrt(k)       "held" where the exponent's interval is below {COLLAPSE / 2:g} and reaches -0.5 or
                  less; "partly" where it is below 0 only; "undecided" where it contains 0 and -0.5
  no change       "held" where the exponent is within {FLAT:g} of 0 and its interval excludes -0.5;
                  "undecided" where the interval contains 0 otherwise
"""


class Verdict(NamedTuple):
    """One claim about one curve; ``outcome`` is one of those in :data:`RULES`, or not measured."""

    claim: str
    curve: Curve
    outcome: str
    numbers: str


def gradient_vanishes(points: List[Point], blocks: int) -> "tuple[str, str]":
    trend, ratio = exponential_trend(points), first_over_last(points)
    falls = trend.low > 0
    outcome = "held" if falls and ratio < VANISHED else "partly" if falls else "not held"
    return outcome, f"{rate(trend)}; first / last {ratio:.3g}"


def gradient_stays(points: List[Point], blocks: int) -> "tuple[str, str]":
    trend, ratio = exponential_trend(points), first_over_last(points)
    falls = trend.low > 0
    outcome = "not held" if ratio < VANISHED else "partly" if falls else "held"
    return outcome, f"{rate(trend)}; first / last {ratio:.3g}"


def gradient_keeps_its_bound(points: List[Point], blocks: int) -> "tuple[str, str]":
    outcome, numbers = gradient_stays(points, blocks)
    inner = [point for point in points if point.k < blocks - 1]
    bound = resdual_bound([point.k for point in inner], blocks)
    values = [point.value for point in inner]
    over = [value / (b * level(values, bound.tolist())) for value, b in zip(values, bound)]
    return outcome, (
        f"{numbers}; over sqrt(log(N-k)/N) laid through the points: {min(over):.2g} to "
        f"{max(over):.2g}"
    )


def change_falls(points: List[Point], blocks: int) -> "tuple[str, str]":
    trend = power_trend(points)
    if trend.high < 0:
        outcome = "held" if trend.low <= COLLAPSE and trend.high < COLLAPSE / 2 else "partly"
    else:
        outcome = "undecided" if trend.low <= COLLAPSE else "not held"
    return outcome, f"{exponent(trend)}; first / last {first_over_last(points):.3g}"


def change_stays(points: List[Point], blocks: int) -> "tuple[str, str]":
    trend = power_trend(points)
    if abs(trend.slope) <= FLAT and trend.low > COLLAPSE:
        outcome = "held"
    else:
        outcome = "undecided" if trend.low <= 0 <= trend.high else "not held"
    return outcome, f"{exponent(trend)}; first / last {first_over_last(points):.3g}"


Rule = Callable[[List[Point], int], "tuple[str, str]"]
CLAIMS: Dict[str, "tuple[str, Dict[str, Rule]]"] = {
    "Post-LN: the gradient of f_k vanishes exponentially towards the first block": (
        "gradient",
        {"post": gradient_vanishes},
    ),
    "Pre-LN: the gradient of f_k stays": ("gradient", {"pre": gradient_stays}),
    "ResiDual: the gradient of f_k stays, above about sqrt(log(N-k)/N)": (
        "gradient",
        {"resdual": gradient_keeps_its_bound},
    ),
    "Pre-LN: the blocks' inputs change less and less, as 1/sqrt(k)": (
        "input_change",
        {"pre": change_falls},
    ),
    "Post-LN and ResiDual: the change of the blocks' inputs does not depend on k": (
        "input_change",
        {"post": change_stays, "resdual": change_stays},
    ),
}


def rate(trend: Trend) -> str:
    """A slope of log(gradient) by k, as a factor for each block further from the output."""
    factor, low, high = (math.exp(-value) for value in (trend.slope, trend.high, trend.low))
    star = "" if trend.across_seeds else " *"
    return f"factor {factor:.4f} ({low:.4f} to {high:.4f}{star}) a block towards the first"


def exponent(trend: Trend) -> str:
    star = "" if trend.across_seeds else " *"
    return f"k^{trend.slope:.3f} ({trend.low:.3f} to {trend.high:.3f}{star})"


def verdicts(rows: Sequence[Row]) -> List[Verdict]:
    """Every claim for every curve that it is about."""
    found = []
    for claim, (quantity, rules) in CLAIMS.items():
        for curve, points in curves(rows, quantity).items():
            if curve.residual in rules:
                points = within(points, curve.blocks)
                try:
                    outcome, numbers = rules[curve.residual](points, curve.blocks)
                except ValueError as error:
                    outcome, numbers = "not measured", str(error)
                found.append(Verdict(claim, curve, outcome, numbers))
    return found


def magnitudes(rows: Sequence[Row], width: int) -> List[str]:
    """Lines on the growth of d, and on the largest numbers against fp16's."""
    lines = []
    for curve, points in curves(rows, "largest").items():
        largest = max(point.value for point in points)
        share = largest / FP16_LARGEST
        lines.append(
            f"  {curve.name:{width}}  {curve.stack}  largest magnitude {largest:9.4g}, "
            f"{share:.2g} of fp16's {FP16_LARGEST:g}"
        )
    for curve, points in curves(rows, "dual_size").items():
        scheme = RESIDUALS.get(curve.residual)
        if scheme is None or not scheme.has_sum:  # d is no sum that could grow
            continue
        ends = sorted(points, key=lambda point: point.k)
        first = [p.value for p in ends if p.k == ends[0].k]
        last = [p.value for p in ends if p.k == ends[-1].k]
        growth = (sum(last) / len(last)) / (sum(first) / len(first))
        lines.append(
            f"  {curve.name:{width}}  {curve.stack}  mean |d| grows by {growth:.3g} over "
            f"{curve.blocks} blocks"
        )
    return lines + guarantees(rows, width)


def guarantees(rows: Sequence[Row], width: int) -> List[str]:
    """Lines on what no input can exceed in a checkpoint, against fp16's largest number."""
    lines = []
    streams = curves(rows, "stream_bound")
    for curve, points in curves(rows, "output_bound").items():
        output = max(point.value for point in points)
        stream = streams[curve][0].value
        letter = "d" if curve.residual == "resdual" else "x"
        share = max(output, stream) / FP16_LARGEST
        lines.append(
            f"  {curve.name:{width}}  {curve.stack}  for any input |{letter}| <= {stream:.4g} and "
            f"|f_k| <= {output:.4g}, {share:.2g} of fp16's {FP16_LARGEST:g}"
        )
    return lines


def learned_numbers(rows: Sequence[Row], width: int) -> List[str]:
    """Lines on what residual connections learned beside their norms, over the blocks of a stack."""
    found: Dict[Tuple[str, str, str], Dict[str, List[float]]] = {}
    for row in rows:
        if row.quantity in LEARNED:
            numbers = found.setdefault((curve_name(row), row.stack, row.matrix), {})
            numbers.setdefault(row.quantity, []).append(row.value)
    return [
        f"  {model:{width}}  {stack}  {name}: mean {sum(means) / len(means):.3g}, from "
        f"{min(least):.3g} to {max(largest):.3g}, at {len(means)} connections"
        for (model, stack, name), numbers in found.items()
        for means, least, largest in [[numbers[quantity] for quantity in LEARNED]]
    ]


def page(rows: Sequence[Row], command: str) -> str:
    """The page of text."""
    lines = [command, "", RULES]
    width = max(len(curve.name) for curve in curves(rows, "largest"))
    last = ""
    for verdict in verdicts(rows):
        if verdict.claim != last:
            lines += ["", verdict.claim]
            last = verdict.claim
        curve = verdict.curve
        head = f"  {curve.name:{width}}  {curve.stack}  {verdict.outcome:12}"
        lines.append(f"{head}  {verdict.numbers}")
    lines += ["", "Magnitudes", *magnitudes(rows, width)]
    learned = learned_numbers(rows, width)
    if learned:
        lines += ["", "Learned by the residual connections, beside their norms", *learned]
    return "\n".join(lines) + "\n"
