"""What the commands of the recipes share: a type of option, and how they end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from resdual_fairseq.errors import ResDualError


def positive(text: str) -> int:
    """An option's value: a whole number of 1 or more."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def exit_status(name: str, work: Callable[[], None]) -> int:
    """Do the work of the command `name`; what the user can put right ends in one sentence."""
    try:
        work()
    except ResDualError as error:
        message = str(error)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        message = f"{place}{error.strerror}; put it right and run again, what is done stays"
    except KeyboardInterrupt:
        message = "interrupted; run the same command again to go on"
    else:
        return 0
    print(f"{name}: error: {message}", file=sys.stderr)
    return 1
