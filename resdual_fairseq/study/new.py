"""Writes a spec with a comment on every key, from a data-bin or two files of text."""

from __future__ import annotations

import math
import re
import textwrap
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple, Type, get_args

import yaml
from pydantic import BaseModel

from ..errors import ResDualError
from ..files import replacing
from .spec.keys import Data, Spec
from .spec.parts import Part
from .work import data

SPLIT = re.compile(r"train\.([^.-]+)-([^.-]+)\.\1\.idx")
WIDTH = 92
BYTES_A_TOKEN, BYTES_A_SYMBOL = 4, 2
"""Of text that BPE splits, roughly; of a data-bin."""
SHORTEST = 5
"""Epochs of the smallest budget."""
HELD_OUT = 0.1
"""Of a short text, for the test and for validation each."""
JOINT = "--share-all-embeddings "
CHOICES: Dict[str, Any] = {
    "arms": {
        "pre": "--arch resdual_transformer --residual pre",
        "post": "--arch resdual_transformer --residual post",
        "resdual": "--arch resdual_transformer --residual resdual",
    },
    "depths": [6, 12],
    "widths": [{"width": 256, "ffn": 1024, "heads": 4}],
    "training": "--dropout 0.1 --criterion label_smoothed_cross_entropy "
    "--label-smoothing 0.1 --optimizer fused_adam --adam-betas '(0.9, 0.98)' ",
    "budgets": {"unit": "epochs", "values": [SHORTEST, 10, 20], "cooldown": 0.2},
    "search": {"method": "grid", "values": {"lr": [0.0005, 0.001, 0.002, 0.004]}},
    "seeds": [101, 102, 103, 104, 105],
    "criteria": {
        "candidate": "resdual", "baseline": "pre", "metric": "bleu", "depth": 12, "margin": 0.5,
        "training_cost": 0.05, "latency": 0.05,
    },
}  # fmt: skip
"""What a team may begin with; the text in the file says when to change it."""
LANGUAGE_MODEL: Dict[str, Any] = {
    "arms": {
        name: f"--arch resdual_transformer_lm --residual {name}"
        for name in ("pre", "post", "resdual")
    },
    "training": "--share-decoder-input-output-embed --dropout 0.1 --tokens-per-sample 256 "
    "--criterion cross_entropy --optimizer fused_adam --adam-betas '(0.9, 0.98)' ",
}


def write_spec(
    path: Path, data_bin: Optional[Path], text: Optional[Tuple[Path, Path]], languages: List[str]
) -> None:
    """Write a new file.

    Raises:
        ResDualError: it exists, or the data are not there, or tell no languages.
    """
    if path.exists():
        raise ResDualError(f"{path} exists; name another file, or remove it")
    values: Dict[str, Any] = {"name": path.stem, "task": "translation", **CHOICES}
    if data_bin is not None:
        found = languages or languages_of(data_bin)
        values["data"] = {"data_bin": str(data_bin.resolve())}
        if not found:
            values.update(LANGUAGE_MODEL, task="language_modeling")
            values["criteria"] = {**CHOICES["criteria"], "metric": "perplexity"}
            del values["criteria"]["latency"]
        if found:
            check_direction(data_bin, found)
            values["training"] = sharing(data_bin, found) + values["training"]
        if path.resolve().with_suffix("") == data_bin.resolve():
            values["folder"] = f"{path.stem}-study"
        kind = data.subwords_of(data_bin / f"dict.{found[1]}.txt") if found else ""
        if kind:
            joined = f"--beam 5 --post-process {kind}"
            values["decoding"] = {"options": joined}
    else:
        assert text is not None
        lines = min(map(lines_of, text))
        found = languages or [one.suffix[1:] for one in text]
        if not all(found) or found[0] == found[1]:
            raise ResDualError(
                f"the names {text[0].name} and {text[1].name} do not end in two languages, as in "
                "a.en a.de; give --languages SOURCE TARGET"
            )
        values["training"] = JOINT + values["training"]
        values["data"] = {"text": [str(one.resolve()) for one in text]}
        values["data"]["vocabulary"] = vocabulary_for(lines)
        if lines * HELD_OUT < Data.model_fields["test_lines"].default:
            held_out = max(1, int(lines * HELD_OUT))
            values["data"].update(test_lines=held_out, valid_lines=held_out)
    if found:
        values["data"].update(source_lang=found[0], target_lang=found[1])
    values["training"] += batches_for(tokens_of(data_bin, text))
    written = [
        "# A study of resdual_fairseq: resdual-study plan, run, status and report take this file."
    ]
    written += described(Spec, values, "")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as unfinished:
        unfinished.write_text("\n".join(written) + "\n", encoding="utf-8")


def check_direction(data_bin: Path, languages: List[str]) -> None:
    """Raise ResDualError where a data-bin is of other languages, or of the other direction."""
    name = f"train.{'-'.join(languages)}.{languages[0]}.idx"
    if not (data_bin / name).is_file():
        raise ResDualError(
            f"{data_bin} has no {name}: a study takes a data-bin that fairseq-preprocess made in "
            f"its own direction, with -s {languages[0]} -t {languages[1]}"
        )


def sharing(data_bin: Path, languages: List[str]) -> str:
    """The embeddings that models of a data-bin can share: all where it has one dictionary."""
    ours, theirs = (data_bin / f"dict.{one}.txt" for one in languages)
    is_joint = ours.is_file() and theirs.is_file() and ours.read_bytes() == theirs.read_bytes()
    return JOINT if is_joint else "--share-decoder-input-output-embed "


def vocabulary_for(lines: int) -> int:
    """Symbols of a joint BPE that occur often enough in so many lines to be learned."""
    return next(
        size for least, size in ((50_000, 8000), (10_000, 4000), (0, 1000)) if lines >= least
    )


def tokens_of(data_bin: Optional[Path], text: Optional[Tuple[Path, Path]]) -> int:
    """About how many target tokens there are to train on."""
    if text is not None:
        return text[1].stat().st_size // BYTES_A_TOKEN
    assert data_bin is not None
    sizes = [path.stat().st_size for path in data_bin.glob("train.*bin")]
    return max(sizes, default=0) // BYTES_A_SYMBOL


def batches_for(tokens: int) -> str:
    """Batches, small ones of a small text, and a warm-up that fits into the smallest budget."""
    batch = 4096 if tokens > 250 * 4096 else 1000
    updates = SHORTEST * tokens / batch
    return f"--warmup-updates {min(1000, int(float(f'{updates / 4:.1g}')))} --max-tokens {batch}"


def lines_of(path: Path) -> int:
    """How many lines a text has.

    Raises:
        ResDualError: there is none.
    """
    if not path.is_file():
        raise ResDualError(f"there is no file {path}; name two that are there")
    lines = data.lines_of(path)
    if not lines:
        raise ResDualError(f"{path} is empty; name a text of one sentence a line")
    return lines


def languages_of(data_bin: Path) -> List[str]:
    """Source and target of a data-bin; none of a language model's.

    Raises:
        ResDualError: it is no data-bin.
    """
    if not data_bin.is_dir():
        raise ResDualError(f"there is no folder {data_bin}; name one that fairseq-preprocess made")
    for path in sorted(data_bin.glob("train.*.idx")):
        found = SPLIT.fullmatch(path.name)
        if found:
            return [found[1], found[2]]
    if (data_bin / "train.idx").exists():
        return []
    raise ResDualError(f"{data_bin} has no train split; name a folder that fairseq-preprocess made")


def described(model: Type[BaseModel], values: Dict[str, Any], indent: str) -> Iterator[str]:
    """Lines of YAML; keys without a value stand there as comments, with their defaults."""
    for name, field in model.model_fields.items():
        inner = part_of(field.annotation)
        given = values.get(name)
        text = field.description or (first_line(inner) if inner else "")
        if not indent:
            yield ""
        for line in textwrap.wrap(text, WIDTH - len(indent), break_on_hyphens=False):
            yield f"{indent}# {line}"
        if inner and (given is not None or not is_optional(field.annotation)):
            yield f"{indent}{name}:"
            yield from described(inner, given or {}, indent + "  ")
        else:
            default = field.get_default(call_default_factory=True)
            mark = "" if name in values else "# "
            for line in key_of(name, given if name in values else default):
                yield f"{indent}{mark}{line}"


def wrapped(text: str) -> List[str]:
    """Lines that YAML joins by blanks; no path is broken."""
    return textwrap.wrap(text, WIDTH, break_on_hyphens=False, break_long_words=False)


def key_of(name: str, value: Any) -> List[str]:
    """A key with its value; a mapping of keys stands in lines of its own."""
    if value is None or isinstance(value, BaseModel):
        return [f"{name}:"]
    if isinstance(value, dict) and value:
        return [
            f"{name}:",
            *(f"  {line}" for key, one in value.items() for line in key_of(key, one)),
        ]
    if isinstance(value, str) and len(value) > WIDTH - 20 and "  " not in value:
        return [
            f"{name}: >-",
            *(f"  {line}" for line in wrapped(value)),
        ]
    text = yaml.safe_dump(
        value, sort_keys=False, default_flow_style=True, allow_unicode=True, width=math.inf
    )
    return [f"{name}: {text.removesuffix(chr(10)).removesuffix('...').rstrip()}"]


def part_of(annotation: Any) -> Optional[Type[BaseModel]]:
    """The class of a mapping's keys, if it is one mapping (not a list or a mapping of such)."""
    for one in (
        annotation,
        *[arg for arg in get_args(annotation) if type(None) in get_args(annotation)],
    ):
        if isinstance(one, type) and issubclass(one, Part):
            return one
    return None


def is_optional(annotation: Any) -> bool:
    return type(None) in get_args(annotation)


def first_line(model: Type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().splitlines()[0]
