"""Checkpoint files: loaded with torch's protection on, and what is wrong with one in a sentence."""

import argparse
import codecs
import functools
import os
import re
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy
import torch
from fairseq import checkpoint_utils

from ..errors import ResDualError


class BrokenCheckpointError(ResDualError):
    """A file that was cut short, or is no checkpoint."""


def safe_types() -> List[Any]:
    """What fairseq's checkpoints hold beyond tensors and plain containers; none of it runs code.

    Options are a namespace; meters are numbers and, with ``--eval-bleu``, arrays of numpy's.
    """
    rebuilding: Tuple[Any, ...] = (numpy.zeros(1).__reduce__()[0], numpy.float64(0).__reduce__()[0])
    return [
        argparse.Namespace,
        codecs.encode,
        numpy.ndarray,
        numpy.dtype,
        # numpy 2 gave the module of these two functions of its own another name.
        *(
            (function, f"numpy.{core}.multiarray.{function.__name__}")
            for function in rebuilding
            for core in ("core", "_core")
        ),
        *(type(numpy.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "u8", "?")),
    ]


def trust_checkpoint_options() -> None:
    """Let torch load fairseq's checkpoints, and nothing that would run code.

    torch.load refuses every type it does not know, fairseq's options among them. Some versions of
    fairseq switch that protection off; the variable keeps it on, unless the user has said
    otherwise by torch's own variable.
    """
    torch.serialization.add_safe_globals(safe_types())
    if "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD" not in os.environ:
        os.environ.setdefault("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")


def explain_broken_checkpoints() -> None:
    """Turn errors on truncated or hostile checkpoints into sentences.

    fairseq's commands all load through this function of ``checkpoint_utils``; what they load, and
    how, is not changed.
    """
    load = checkpoint_utils.load_checkpoint_to_cpu
    if not hasattr(load, "__wrapped__"):
        checkpoint_utils.load_checkpoint_to_cpu = with_explained_errors(load)


def with_explained_errors(load: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap fairseq's loading function; its first argument is the path."""

    @functools.wraps(load)
    def explained(path: str, *args: object, **kwargs: object) -> Any:
        try:
            return load(path, *args, **kwargs)
        except (FileNotFoundError, IsADirectoryError) as error:
            what = "is a folder" if Path(path).is_dir() else "does not exist"
            raise ResDualError(
                f"checkpoint {path} {what}; give the .pt file that fairseq-train wrote"
            ) from error
        except Exception as error:
            fault = fault_of_file(path)
            if fault is None:
                raise
            raise refusal(path, fault) from error

    return explained


def fault_of_file(path: str) -> Optional[str]:
    """What torch says of a file that it cannot load; None if it can, or if there is no file.

    Broken files raise nearly every type of error, and fairseq raises some of them too where it
    makes sense of a whole file.
    """
    if not Path(path).is_file():
        return None
    try:
        state = torch.load(path, map_location="cpu")
    except Exception as error:
        return str(error)
    return None if isinstance(state, dict) and "model" in state else "no model in it"


def is_broken(path: Path) -> bool:
    """Whether a file was cut short or is no checkpoint; one of untrusted types is neither."""
    fault = fault_of_file(str(path))
    return fault is not None and isinstance(refusal(str(path), fault), BrokenCheckpointError)


def load_whole_checkpoint(path: Path) -> Dict[str, Any]:
    """Everything in a checkpoint file, on the CPU, as fairseq wrote it.

    Raises:
        ResDualError: the file is missing, truncated, hostile, or no checkpoint of fairseq's.
    """
    state = with_explained_errors(torch.load)(str(path), map_location="cpu")
    if not isinstance(state, dict) or "model" not in state:
        raise refusal(str(path), "no model in it")
    return state


def without_weights(checkpoint: Path) -> Dict[str, Any]:
    """What a checkpoint says, its weights left on the disk; nothing where it cannot be loaded.

    What is wrong with the file is told when it is loaded in earnest.
    """
    try:
        state = torch.load(checkpoint, map_location="cpu", mmap=True)
    except Exception:  # of nearly any kind, where a file is broken
        return {}
    return state if isinstance(state, dict) else {}


def refusal(path: str, reason: str) -> ResDualError:
    """One sentence for what torch's restricted unpickler says in many."""
    refused = re.search(r"nsupported (?:global: )?GLOBAL (\S+)", reason)
    if refused is None:
        return BrokenCheckpointError(
            f"checkpoint {path} is truncated or not a checkpoint; remove it, and train on from an "
            "earlier one (--restore-file) or copy it anew"
        )
    name = refused.group(1)
    return ResDualError(
        f"checkpoint {path} was refused: it would run code or build objects of a type that is not "
        f"trusted ({name}); use checkpoints from fairseq-train only, and if you trust its author, "
        "ask for one that holds tensors and options alone"
    )
