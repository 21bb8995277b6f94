"""The one file that knows which fairseq, torch and Python are installed."""

import argparse
import functools
import logging
import pickle
import sys
from types import FrameType
from typing import Any, Callable, Optional

import torch
from fairseq import checkpoint_utils

from .errors import ResDualError

logger = logging.getLogger(__name__)

SAFE_TYPES = [argparse.Namespace]
"""What fairseq's checkpoints hold beyond tensors and plain containers; none of it runs code."""


def trust_checkpoint_options() -> None:
    """Let torch >= 2.6 load fairseq's checkpoints without switching its protection off.

    torch.load refuses every type it does not know, fairseq's options among them. Older versions of
    torch have no such list and need none.
    """
    add_safe_globals = getattr(torch.serialization, "add_safe_globals", None)
    if add_safe_globals is not None:
        add_safe_globals(SAFE_TYPES)


def explain_broken_checkpoints() -> None:
    """Turn torch's errors on truncated or hostile checkpoints into sentences.

    fairseq's commands all load through ``checkpoint_utils.load_checkpoint_to_cpu``; what it loads,
    and how, is not changed.
    """
    load = checkpoint_utils.load_checkpoint_to_cpu
    if not hasattr(load, "__wrapped__"):
        checkpoint_utils.load_checkpoint_to_cpu = with_explained_errors(load)


def with_explained_errors(load: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap fairseq's loading function; its first argument is the path."""

    @functools.wraps(load)
    def explained(path: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return load(path, *args, **kwargs)
        except pickle.UnpicklingError as error:
            raise ResDualError(refusal(path, str(error))) from error
        except (EOFError, RuntimeError, KeyError) as error:
            if isinstance(error, RuntimeError) and "PytorchStreamReader" not in str(error):
                raise
            raise ResDualError(
                f"checkpoint {path} is truncated or not a checkpoint; remove it, and train on from "
                "an earlier one (--restore-file) or copy it anew"
            ) from error

    return explained


def refusal(path: str, reason: str) -> str:
    """One sentence for what torch's restricted unpickler says in many."""
    marker = "Unsupported global: GLOBAL "
    if marker not in reason:
        return (
            f"checkpoint {path} is truncated or not a checkpoint; remove it, and train on from an "
            "earlier one (--restore-file) or copy it anew"
        )
    name = reason.split(marker, 1)[1].split()[0]
    return (
        f"checkpoint {path} was refused: it would run code or build objects of a type that is not "
        f"trusted ({name}); use checkpoints from fairseq-train only, and if you trust its author, "
        "ask for one that holds tensors and options alone"
    )


def help_group(container: Any, title: str, description: str) -> Any:
    """A titled section of the command's help.

    fairseq hands a model the section in which its options go, and argparse shows sections of the
    parser only: the parser is looked for among the callers.

    Args:
        container: a parser or one of its sections.
        title: heading of the new section.
        description: a line under the heading.
    """
    frame: Optional[FrameType] = sys._getframe(1)
    while frame is not None:
        for value in list(frame.f_locals.values()):
            if isinstance(value, argparse.ArgumentParser) and value._actions is container._actions:
                return value.add_argument_group(
                    title, description, argument_default=argparse.SUPPRESS
                )
        frame = frame.f_back
    return container
