"""What a spec's keys are made of: numbers, depths, lines of options, mappings; and their names."""

import math
import re
from typing import Annotated, Any, List, Mapping, Union

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    model_validator,
)

from .option_lines import number, words_of


def depth_of(value: Any) -> Any:
    """``6`` means 6+6 layers, ``12+3`` is 12 in the encoder and 3 in the decoder."""
    text = str(value).replace(" ", "")
    if isinstance(value, bool) or not re.fullmatch(r"[1-9]\d*(\+[1-9]\d*)?", text):
        raise ValueError(f"'{value}' is no depth; give layers such as 12, or 12+3")
    return text


def finite(value: Any) -> Any:
    """A finite number, a whole one where it is given as such; no truth value."""
    given = number(value) if isinstance(value, str) else value
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not math.isfinite(given):
        raise ValueError(f"'{value}' is no finite number")
    return given


Options = Annotated[List[str], BeforeValidator(words_of)]
Depth = Annotated[str, BeforeValidator(depth_of)]
Real = Annotated[float, BeforeValidator(finite)]
Positive = Annotated[Real, Field(gt=0)]
Count = Annotated[int, Field(ge=1, strict=True)]
Seed = Annotated[int, Field(ge=0, lt=2**31, strict=True)]
Share = Annotated[Real, Field(ge=0, lt=1)]
Number = Annotated[Union[int, float], PlainValidator(finite)]
Value = Union[int, float, str]


class Part(BaseModel):
    """A mapping of the file; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def none_given(cls, values: Any) -> Any:
        """A mapping whose keys are all commented out is empty, which YAML reads as null."""
        return {} if values is None else values


def depth_name(depth: str, task: str) -> str:
    """``6`` of a pair of stacks is 6+6."""
    return depth if "+" in depth or task == "language_modeling" else f"{depth}+{depth}"


def values_name(values: Mapping[str, Value]) -> str:
    """Searched options and their values, for people."""
    shown = {n: f"{v:g}" if isinstance(v, float) else str(v) for n, v in values.items()}
    return ", ".join(f"{name} {value}" for name, value in shown.items())
