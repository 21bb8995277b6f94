"""Errors a user can mend, shown as one sentence in place of a traceback."""

import sys
from types import TracebackType
from typing import Optional, Type

from hydra.errors import CompactHydraException


class ResDualError(CompactHydraException):
    """Something the user can mend; its message names the thing and the remedy.

    Hydra, too, prints an error of this kind without its traceback.
    """


def show_errors_as_sentences() -> None:
    """Print an uncaught :class:`ResDualError` without its traceback; leave all others alone.

    One in whose place fairseq raised another error of its own is found behind that one.
    """
    previous = sys.excepthook

    def hook(
        kind: Type[BaseException], error: BaseException, trace: Optional[TracebackType]
    ) -> None:
        mendable = first_mendable(error)
        if mendable is None:
            previous(kind, error, trace)
        else:
            print(f"resdual_fairseq: error: {mendable}", file=sys.stderr)

    sys.excepthook = hook


def first_mendable(error: BaseException) -> Optional[ResDualError]:
    """The error itself, or what was being handled as it was raised, if that is a user's to mend."""
    seen: Optional[BaseException] = error
    while seen is not None and not isinstance(seen, ResDualError):
        seen = seen.__cause__ or seen.__context__
    return seen
