"""The keys of a spec that say how options are tuned, and values that they name."""

import math
from typing import Annotated, Dict, List, Literal, Optional

from pydantic import Field, model_validator

from .option_lines import SET_BY_THE_STUDY, is_share, number
from .parts import Count, Number, Part, Positive, Seed, Value

Values = Dict[str, Value]
MILD_RATE = 1e-6
"""A learning rate that changes next to nothing in some updates."""


class Range(Part):
    """A range of a searched option, for sobol and tpe; of whole numbers where both ends are."""

    low: Number
    high: Number
    log: bool = True

    @property
    def is_whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    @model_validator(mode="after")
    def ordered(self) -> "Range":
        if self.low >= self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")
        if self.low < 0 or (self.log and self.low == 0):
            raise ValueError(f"low {self.low} is not above 0 (0 itself goes with log: false)")
        return self


class Search(Part):
    """How the options are tuned: alike for every arm, on the validation loss."""

    method: Literal["grid", "sobol", "tpe"] = Field(
        "grid", description="grid: every combination; sobol: spread points; tpe: in generations"
    )
    values: Dict[str, List[Value]] = Field(
        {}, description="options without -- and their values, such as lr: [0.001, 0.002] (grid)"
    )
    ranges: Dict[str, Range] = Field(
        {},
        description="options and their ranges, such as lr: {low: 0.0005, high: 0.005}, drawn on a "
        "log scale unless log: false stands there, too (sobol, tpe)",
    )
    trials: Count = Field(
        8, description="points of each arm and depth (sobol), or a generation (tpe)"
    )
    generations: Count = Field(3, description="generations of tpe")
    seeds: List[Seed] = Field(
        [1], min_length=1, description="seeds of tuning; never those of judging"
    )
    budget: Optional[Positive] = Field(
        None, description="the budget at which to tune; default: the largest"
    )
    extend: Annotated[int, Field(ge=0)] = Field(
        2, description="how often a grid whose edge is best for some arm grows there, for all arms"
    )

    @property
    def can_grow(self) -> bool:
        """Whether what one arm finds may add trials for all."""
        grows = self.method == "grid" and self.extend > 0
        return grows and any(has_edges(values) for values in self.values.values())

    @model_validator(mode="after")
    def agrees(self) -> "Search":
        used, other = ("values", "ranges") if self.method == "grid" else ("ranges", "values")
        if not getattr(self, used) or getattr(self, other):
            raise ValueError(f"method {self.method} takes {used}, and no {other}")
        for name, values in self.values.items():
            numbers = [number(one) for one in values]
            if not values or len(set(numbers)) < len(values):
                raise ValueError(f"values of {name}: give one or more, each once")
            if not all(math.isfinite(one) for one in numbers if isinstance(one, float)):
                raise ValueError(f"values of {name}: {values} are not all finite")
            words = [one for one in numbers if isinstance(one, str)]
            if name == "lr" and (words or min(numbers) <= 0):
                raise ValueError(f"values of lr: {values} are not all learning rates above 0")
            if is_share(name) and (words or min(numbers) < 0 or max(numbers) >= 1):
                raise ValueError(f"values of {name}: {values} are not all from 0 to below 1")
        for name, one in self.ranges.items():
            if is_share(name) and one.high >= 1:
                raise ValueError(f"ranges of {name}: {one.high} is not below 1")
        for name in (*self.values, *self.ranges):
            if "--" + name in SET_BY_THE_STUDY or name.startswith("-"):
                raise ValueError(
                    f"{name} cannot be searched; name an option without --, such as lr"
                )
        return self


def clean(values: Values) -> Values:
    """Numbers as numbers, whatever way the file spells them."""
    return {name: number(value) for name, value in values.items()}


def first(search: Search) -> Values:
    """One value of each searched option."""
    values = {name: ones[0] for name, ones in search.values.items()}
    values.update({name: one.low for name, one in search.ranges.items()})
    return clean(values)


def of_short_runs(search: Search) -> Values:
    """Values for runs that measure lengths, speed and memory: no rate has a part in them.

    The learning rate is one at which nothing diverges, whatever the search begins with.
    """
    values = first(search)
    return {**values, "lr": MILD_RATE} if "lr" in values else values


def has_edges(values: List[Value]) -> bool:
    """Whether a grid of them can grow: values of words, and a single one, have no edge."""
    return len(values) > 1 and all(isinstance(number(one), (int, float)) for one in values)
