"""Processes of several arms that do the same work in turns.

So what else the machine does, and its changes of frequency, meet all arms alike.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Hashable, List, Mapping, Optional, Protocol, TypeVar

from ..engine import commands, outcomes
from ..engine.attempt import Attempt, LostLease
from ..engine.outcomes import Ending
from ..engine.processes import DIES_WITH_PARENT, POLL, Exit, kill_group, oom_kills

Answer = Dict[str, Any]


class Failed(Exception):
    """A process ended before its work was done."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.detail)
        self.ending = ending


class Contestant(Protocol):
    """What :func:`in_turns` needs of a process."""

    def answer(self) -> Answer: ...
    def turn(self, number: int) -> Answer: ...
    def close(self) -> None: ...


class ArmProcess:
    """A program that works when it is asked to, and dies with this one.

    Args:
        kind, request: what it does, see ``measuring``.
        name: of its log in the attempt's folder.
        variables: of its environment, besides those of every run of the study.
    """

    def __init__(
        self, attempt: Attempt, kind: str, request: Mapping[str, Any], name: str,
        variables: Optional[Mapping[str, str]] = None,
    ) -> None:  # fmt: skip
        self.is_lost = attempt.is_lost
        self.log = attempt.run / f"{name}.log"
        self.kills = oom_kills()
        words = [
            sys.executable,
            "-m",
            "resdual_fairseq.study.measuring.program",
            kind,
            json.dumps(request),
        ]
        if sys.platform == "linux":
            words = [sys.executable, "-S", "-c", DIES_WITH_PARENT, str(os.getpid()), *words]
        with self.log.open("wb") as log:
            self.child = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=attempt.run,
                env={**commands.environment(attempt.spec.threads), **(variables or {})},
                start_new_session=True, text=True,
            )  # fmt: skip

    def turn(self, number: int) -> Answer:
        """Let it work once.

        Raises:
            Failed: it ended.
            LostLease: another worker has the task.
        """
        assert self.child.stdin is not None
        with suppress(BrokenPipeError):  # the answer will tell why it ended
            print(number, file=self.child.stdin, flush=True)
        return self.answer()

    def answer(self) -> Answer:
        """The next line that it writes; the first one are its facts."""
        assert self.child.stdout is not None
        while not select.select([self.child.stdout], [], [], POLL)[0]:
            if self.is_lost():
                raise LostLease("another worker took the task over")
        line = self.child.stdout.readline()
        if line:
            found: Answer = json.loads(line)
            return found
        end = Exit(self.child.wait(), 0.0, 0, None, oom_kills() > self.kills)
        raise Failed(outcomes.ending(end, self.log))

    def close(self) -> None:
        kill_group(self.child)
        self.child.communicate()


@dataclass
class Contest:
    """What came of the turns of each contestant.

    Attributes:
        facts: its first answer.
        turns: its answer in every round; of one that failed, those until then.
        failed: how it ended, where it failed.
    """

    facts: Dict[Any, Answer] = field(default_factory=dict)
    turns: Dict[Any, List[Answer]] = field(default_factory=dict)
    failed: Dict[Any, Ending] = field(default_factory=dict)


Name = TypeVar("Name", bound=Hashable)
Ask = Callable[[Contestant, int], Answer]


def in_turns(
    contestants: Mapping[Name, Contestant],
    rounds: int,
    when_ready: Callable[[], None] = lambda: None,
    ask: Ask = lambda contestant, number: contestant.turn(number),
) -> Contest:
    """Let each work once a round, A B C, C B A, A B C and so on; closes them.

    A drift over a round then adds as much to each side of a pair as it takes in the next round.
    One that fails is left out from there on, and the others go on.

    Args:
        when_ready: called once between the first answers and the first round.
        ask: how a contestant is asked to work.
    """
    found = Contest(turns={name: [] for name in contestants})
    with ExitStack() as stack:
        for contestant in contestants.values():
            stack.callback(contestant.close)
        for name, contestant in contestants.items():
            try:
                found.facts[name] = contestant.answer()
            except Failed as error:
                found.failed[name] = error.ending
        when_ready()
        for number in range(rounds):
            names = [name for name in contestants if name not in found.failed]
            for name in names if number % 2 == 0 else reversed(names):
                try:
                    found.turns[name].append(ask(contestants[name], number))
                except Failed as error:
                    found.failed[name] = error.ending
    return found
