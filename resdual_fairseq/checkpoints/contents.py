"""What a checkpoint says of its model, and the classes of a user's own that it may name."""

import argparse
from argparse import Namespace
from pathlib import Path
from typing import Any, Mapping, Optional

from fairseq.models import ARCH_MODEL_REGISTRY, MODEL_REGISTRY
from fairseq.utils import import_user_module

from ..errors import ResDualError

SAME_FOR_LIFE = {"residual": "resdual", "residual_alpha": 1.0}
"""Options that decide what the weights mean, with their defaults."""
UNKNOWN = "model of unknown options"


def model_options(state: Mapping[str, Any]) -> Namespace:
    """The model's options; none where a checkpoint tells none.

    Args:
        state: the whole checkpoint, as it was loaded.
    """
    cfg = state.get("cfg")
    options = cfg.get("model") if isinstance(cfg, Mapping) else None
    options = state.get("args") if options is None else options
    return Namespace(**(vars(options) if isinstance(options, Namespace) else dict(options or {})))


def name_of_model(state: Mapping[str, Any]) -> str:
    """The preset or model that ``--arch`` named."""
    options = model_options(state)
    return str(getattr(options, "_name", None) or getattr(options, "arch", None) or UNKNOWN)


def class_of_model(path: Path, state: Mapping[str, Any], kind: type, wanted: str) -> type:
    """The class of a checkpoint's model, which has to be of a kind.

    Args:
        path: the checkpoint's, named in the sentence.
        state: the whole checkpoint, as it was loaded.
        kind: a class; its subclasses are taken, too.
        wanted: what to call its models.

    Raises:
        ResDualError: naming the model and the remedy.
    """
    name = name_of_model(state)
    found = ARCH_MODEL_REGISTRY.get(name) or MODEL_REGISTRY.get(name)
    if found is None or not issubclass(found, kind):
        own = f" (or the --user-dir that has {name})" if found is None and name != UNKNOWN else ""
        raise ResDualError(f"{path} holds a {name}; give a checkpoint of {wanted}{own}")
    return found


def add_user_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--user-dir",
        metavar="DIR",
        help="folder of your own, as fairseq's --user-dir, that has the model or its preset",
    )


def import_user_dir(folder: Optional[str]) -> None:
    """Import what a command's ``--user-dir`` names.

    Raises:
        ResDualError: there is no such folder.
    """
    try:
        import_user_module(Namespace(user_dir=folder))
    except FileNotFoundError as error:
        raise ResDualError(f"--user-dir {folder} does not exist; check the path") from error
