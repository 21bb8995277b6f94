"""Reads a spec; what is wrong is named with its line, its key and the nearest valid one."""

import re
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Dict, Iterator, List, Optional, Tuple, Type, get_args

import yaml
from pydantic import BaseModel, ValidationError

from ...errors import ResDualError
from .keys import Spec

Place = Tuple[Any, ...]
PLAIN = {
    "tag:yaml.org,2002:bool": (re.compile(r"true|false|True|False"), "tfTF"),
    "tag:yaml.org,2002:int": (re.compile(r"[-+]?(0|[1-9][0-9_]*)"), "-+0123456789"),
    "tag:yaml.org,2002:float": (
        re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"),
        "-+.0123456789",
    ),
    "tag:yaml.org,2002:null": (re.compile(r"~|null|Null|"), ["~", "n", "N", ""]),
}
"""Words that are not text, by what they mean."""


class SpecLoader(yaml.SafeLoader):
    """YAML without its surprises: to YAML 1.1, 2:00:00 is a number to base 60, and on is true."""

    yaml_implicit_resolvers: ClassVar[Dict[str, Any]] = {}


for tag, (words, starts) in PLAIN.items():
    SpecLoader.add_implicit_resolver(tag, re.compile(f"(?:{words.pattern})$"), list(starts))


def read_spec(path: Path) -> Spec:
    """The study that a file describes; its relative paths are taken from the file's folder.

    Raises:
        ResDualError: it cannot be read, or a key or value in it is wrong; every fault is named.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise ResDualError(
            f"the spec {path} cannot be read ({reason}); write one with `resdual-study new`"
        ) from error
    try:
        values = yaml.load(text, Loader=SpecLoader)
        node = yaml.compose(text, Loader=SpecLoader)
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        problem = getattr(error, "problem", None) or "it is no YAML"
        raise ResDualError(f"{path}{line}: {problem}; mend the YAML there") from error
    if not isinstance(values, dict):
        raise ResDualError(f"{path}: a spec is a mapping of keys; `resdual-study new` writes one")
    if "&" in text and any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
        raise ResDualError(f"{path}: a spec has no aliases (*name); write the values out")
    lines: Dict[Place, int] = {}
    doubled = list(collect_lines(node, (), lines))
    if doubled:
        raise ResDualError(
            f"{path}, line {lines[doubled[0]]}: {dotted(doubled[0])} stands there twice"
        )
    try:
        spec = Spec.model_validate(values)
    except ValidationError as error:
        told = [explain(one, lines) for one in error.errors()]
        raise ResDualError("\n  ".join(f"{path}{one}" for one in dict.fromkeys(told))) from error
    spec = with_absolute_paths(spec, path.resolve().parent)
    return spec.model_copy(update={"folder": spec.folder or path.resolve().with_suffix("")})


def located(path: Path, sentence: str) -> str:
    """A sentence that begins with a key, with the file and the line that the key stands in."""
    lines: Dict[Place, int] = {}
    node = yaml.compose(path.read_text(encoding="utf-8"), Loader=SpecLoader)
    list(collect_lines(node, (), lines))
    known = line_of(tuple(sentence.partition(":")[0].split(".")), lines)
    return f"{path}{known}: {sentence}" if known else sentence


def line_of(place: Place, lines: Dict[Place, int]) -> str:
    """The line of a key, or of the nearest that holds it; empty where none is known."""
    known = next((place[:n] for n in range(len(place), 0, -1) if place[:n] in lines), ())
    return f", line {lines[known]}" if known else ""


def collect_lines(node: Any, place: Place, lines: Dict[Place, int]) -> Iterator[Place]:
    """Note the line of every key and item; yields the keys that stand there twice."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*place, key.value)
            if inner in lines:
                yield inner
            lines[inner] = key.start_mark.line + 1
            yield from collect_lines(value, inner, lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*place, index)] = value.start_mark.line + 1
            yield from collect_lines(value, (*place, index), lines)


def explain(error: Any, lines: Dict[Place, int]) -> str:
    """One line of an error of pydantic's: the line in the file, the key, what is wrong."""
    place, message = error["loc"], error["msg"].replace("Value error, ", "")
    named = place or tuple(message.partition(":")[0].split("."))  # a contradiction names its key
    where = line_of(named, lines)
    if error["type"] == "extra_forbidden":
        near = nearest(place)
        hint = f"did you mean {near}?" if near else "known are " + ", ".join(keys_at(place[:-1]))
        return f"{where}: there is no key {dotted(place)}; {hint}"
    if error["type"] == "missing":
        return f"{where}: the key {dotted(place)} is missing"
    if error["type"] == "model_type":
        keys = ", ".join(keys_at(place))
        return f"{where}: {dotted(place)}: give a mapping of the keys {keys}"
    given = error["input"]
    shown = f" (it is {given!r})" if isinstance(given, (str, int, float, type(None))) else ""
    if error["type"] == "value_error":
        shown = ""
    name = dotted([part for part in place if not is_type_name(part, place)])
    return f"{where}: {name + ': ' if name else ''}{message[0].lower() + message[1:]}{shown}"


def is_type_name(part: Any, place: Place) -> bool:
    """Whether pydantic added it to the place, to say which type of several it tried."""
    return part in ("int", "float", "str") and part == place[-1]


def model_at(place: Place) -> Optional[Type[BaseModel]]:
    """The class that describes the mapping at this place."""
    model: Any = Spec
    for part in place:
        if isinstance(model, type) and issubclass(model, BaseModel):
            field = model.model_fields.get(str(part))
            model = field.annotation if field else None
        else:  # the value of a mapping, or the item of a list
            model = (get_args(model) or (None,))[-1]
        inner = [one for one in get_args(model) if one is not type(None)]
        if type(None) in get_args(model) and inner:
            model = inner[0]
    return model if isinstance(model, type) and issubclass(model, BaseModel) else None


def keys_at(place: Place) -> List[str]:
    model = model_at(place)
    return list(model.model_fields) if model else []


def nearest(place: Place) -> str:
    """The valid key most like the last one, or the place where the very key belongs."""
    close = get_close_matches(str(place[-1]), keys_at(place[:-1]), n=1, cutoff=0.6)
    if close:
        return dotted((*place[:-1], close[0]))
    for name in Spec.model_fields:
        if str(place[-1]) in keys_at((name,)):
            return f"{name}.{place[-1]}"
    return str(place[-1]) if str(place[-1]) in Spec.model_fields else ""


def dotted(place: Any) -> str:
    return ".".join(str(part) for part in place)


def with_absolute_paths(spec: Spec, folder: Path) -> Spec:
    """The spec with paths that hold from any folder."""

    def absolute(path: Any) -> Any:
        return None if path is None else (folder / Path(path).expanduser())

    data = spec.data
    text = data.text and tuple(absolute(one) for one in data.text)
    data = data.model_copy(
        update={
            "data_bin": absolute(data.data_bin),
            "text": text,
            "reference": absolute(data.reference),
            "source": absolute(data.source),
        }
    )
    arms = {
        name: arm.model_copy(update={"user_dir": absolute(arm.user_dir)})
        for name, arm in spec.arms.items()
    }
    comet = spec.comet and spec.comet.model_copy(update={"command": absolute(spec.comet.command)})
    return spec.model_copy(
        update={"data": data, "arms": arms, "comet": comet, "folder": absolute(spec.folder)}
    )
