"""Errors a user can mend, shown as one sentence in place of a traceback."""

import sys
from types import TracebackType
from typing import Optional, Type


class ResDualError(Exception):
    """Something the user can mend; its message names the thing and the remedy."""


def show_errors_as_sentences() -> None:
    """Print an uncaught :class:`ResDualError` without its traceback; leave all others alone."""
    previous = sys.excepthook

    def hook(
        kind: Type[BaseException], error: BaseException, trace: Optional[TracebackType]
    ) -> None:
        if isinstance(error, ResDualError):
            print(f"resdual_fairseq: error: {error}", file=sys.stderr)
        else:
            previous(kind, error, trace)

    sys.excepthook = hook
