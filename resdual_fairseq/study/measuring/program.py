"""The program of one arm's process: does a kind of work whenever it is asked to.

``python -m resdual_fairseq.study.measuring.program KIND REQUEST`` writes its first answer when it
is ready, and one more for each line that it reads, which holds the number of a turn. Requests and
answers are JSON (``one_size.py`` writes and reads them); all else that is printed goes to standard
error.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Callable, Dict, Protocol, TextIO

from .searches import Scoring, Translating
from .updates import Answer, Training, Untimed


class Work(Protocol):
    """What one process does.

    Attributes:
        facts: the first answer.
    """

    facts: Answer

    def turn(self, number: int) -> Answer:
        """Work once; a number stands for the same work in every arm's process."""


KINDS: Dict[str, Callable[[Answer], Work]] = {
    "training": Training,
    "untimed": Untimed,
    "translating": Translating,
    "scoring": Scoring,
}


def serve(work: Work, lines: TextIO, answers: TextIO) -> None:
    print(json.dumps(work.facts), file=answers, flush=True)
    for line in lines:
        print(json.dumps(work.turn(int(line))), file=answers, flush=True)


def main() -> None:
    kind, request = sys.argv[1], json.loads(sys.argv[2])
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(KINDS[kind](request), sys.stdin, answers)


if __name__ == "__main__":
    main()
