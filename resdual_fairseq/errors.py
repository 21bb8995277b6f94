"""Errors a user can mend, shown as one sentence in place of a traceback."""

import os
import sys
from pathlib import Path
from traceback import walk_tb
from types import TracebackType
from typing import Optional, Type

from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException


class ResDualError(CompactHydraException):
    """Something the user can mend; its message names the thing and the remedy.

    Hydra, too, prints an error of this kind without its traceback.
    """


def show_errors_as_sentences() -> None:
    """Print what :func:`sentence_of` knows without its traceback; leave all other errors alone."""
    previous = sys.excepthook

    def hook(
        kind: Type[BaseException], error: BaseException, trace: Optional[TracebackType]
    ) -> None:
        sentence = sentence_of(error, trace)
        if sentence is None:
            previous(kind, error, trace)
        else:
            print(f"resdual_fairseq: error: {sentence}", file=sys.stderr)

    sys.excepthook = hook
    if HydraConfig.initialized():
        # Else hydra would print errors itself, and end the command before the hook is asked.
        os.environ.setdefault("HYDRA_FULL_ERROR", "1")


def sentence_of(error: BaseException, trace: Optional[TracebackType]) -> Optional[str]:
    """What to tell of an uncaught error that a user can mend; None of any other.

    That is a :class:`ResDualError`, also one in whose place fairseq raised another error of its
    own, and a file that a command of fairseq did not find.
    """
    mendable = first_mendable(error)
    if mendable is not None:
        return str(mendable)
    if isinstance(error, FileNotFoundError) and is_of_a_command(trace):
        return absence(error)
    return None


def first_mendable(error: BaseException) -> Optional[ResDualError]:
    """The error itself, or what was being handled as it was raised, if that is a user's to mend."""
    seen: Optional[BaseException] = error
    while seen is not None and not isinstance(seen, ResDualError):
        seen = seen.__cause__ or seen.__context__
    return seen


def is_of_a_command(trace: Optional[TracebackType]) -> bool:
    """Whether one of fairseq's commands was at work, not a program of the user's own."""
    modules = (frame.f_globals.get("__name__", "") for frame, _ in walk_tb(trace))
    return any(name.split(".")[0] == "fairseq_cli" for name in modules)


def absence(error: FileNotFoundError) -> str:
    """One sentence for a missing file, or a split that no data folder has."""
    if error.filename is None:
        return (
            f"{error}; prepare it with fairseq-preprocess (--trainpref, --validpref, --testpref), "
            "or name a split that is there"
        )
    path = Path(str(error.filename))
    if path.name.startswith("dict."):
        return (
            f"{path} does not exist, so {path.parent} is no finished data-bin; make it with "
            f"fairseq-preprocess --destdir {path.parent}"
        )
    return f"{path} does not exist; check the paths that this command names"
