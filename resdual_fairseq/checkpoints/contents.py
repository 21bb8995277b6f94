"""What a checkpoint says of its model, and the classes of a user's own that it may name."""

import argparse
from argparse import Namespace
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Tuple

from fairseq.models import ARCH_MODEL_REGISTRY, MODEL_REGISTRY
from fairseq.models.transformer import TransformerModel
from fairseq.models.transformer_lm import TransformerLanguageModel
from fairseq.utils import import_user_module

from ..errors import ResDualError
from ..residual import ResidualOptions
from ..schemes import RESIDUALS

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


def name_of_model(options: Namespace) -> str:
    """The preset or model that ``--arch`` named."""
    return str(getattr(options, "_name", None) or getattr(options, "arch", None) or UNKNOWN)


def registered(options: Namespace) -> Optional[type]:
    """The class of a model with these options, where it has been imported."""
    name = name_of_model(options)
    return ARCH_MODEL_REGISTRY.get(name) or MODEL_REGISTRY.get(name)


def kept_options(options: Namespace) -> Dict[str, Any]:
    """What decides what a model's weights mean and which of them are one; nothing where unknown.

    Args:
        options: a model's, of this package or of fairseq's ``transformer``, whose kind of residual
            connections is where its norms stand.
    """
    kind = getattr(options, "residual", None)
    if kind is None:
        if not issubclass(
            registered(options) or object, (TransformerModel, TransformerLanguageModel)
        ):
            return {}
        names = [f"{side}_normalize_before" for side in ("encoder", "decoder")]
        norms = {bool(getattr(options, name)) for name in names if hasattr(options, name)}
        kind = "pre" if norms == {True} else "post"
    shares_all = bool(getattr(options, "share_all_embeddings", False))
    shares_two = bool(getattr(options, "share_decoder_input_output_embed", False))
    variants = RESIDUALS[kind].variants if kind in RESIDUALS else ()
    return {
        "residual": kind,
        "residual_variant": getattr(options, "residual_variant", None) or (*variants, None)[0],
        "residual_alpha": getattr(options, "residual_alpha", ResidualOptions.alpha),
        "residual_post_fraction": getattr(
            options, "residual_post_fraction", ResidualOptions.post_fraction
        ),
        "share_all_embeddings": shares_all,
        "share_decoder_input_output_embed": shares_all or shares_two,
    }


def difference(one: Namespace, other: Namespace) -> Optional[Tuple[str, str]]:
    """The first of :func:`kept_options` that two models do not share, as each would give it."""
    wanted = kept_options(other)
    for name, value in kept_options(one).items():
        if wanted and value != wanted[name]:
            return as_given(name, value), as_given(name, wanted[name])
    return None


def as_given(name: str, value: object) -> str:
    option = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return option if value else f"no {option}"
    return f"{option} {value}"


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
    options = model_options(state)
    found, name = registered(options), name_of_model(options)
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
