"""What repeats each run in a shell, without telling again what it shares with a longer one."""

from __future__ import annotations

import re
from itertools import takewhile
from typing import Dict, List, Optional, Tuple

from ..analysis.table import Cell, Run
from ..planning.repeating import settings
from .analysis import Analysis
from .formats import level
from .page import Block, Commands, Paragraph
from .places import budget_name, values_name
from .texts import Texts

Trunk = Tuple[Cell, str, str, int]
"""What runs have in common of which the shorter ones branch off the longest."""
LARGEST = '"$LARGEST"'
PART = re.compile(r"--save-dir (part\d+)")
"""The folder of a training, as ``planning.repeating`` names it."""


def blocks(analysis: Analysis, say: Texts) -> List[Block]:
    """The commands of all runs, folded by arm and depth."""
    runs = [run for run in analysis.findings.runs if run.commands]
    if not runs:
        return [Paragraph(say("no_commands"))]
    longest = {trunk_of(run): run for run in sorted(runs, key=lambda run: run.budget)}
    groups: Dict[Tuple[str, str, str], List[Tuple[str, Tuple[str, ...]]]] = {}
    for run in runs:
        key = (run.cell.arm, run.cell.depth, say("role_" + run.role))
        part = (title(analysis, say, run), own_commands(run, longest[trunk_of(run)]))
        groups.setdefault(key, []).append(part)
    first = Commands(say("commands_first"), [("", settings(analysis.spec))])
    found: List[Block] = [Paragraph(say("commands_how", largest=LARGEST)), first]
    for (arm, depth, role), parts in groups.items():
        words = {"arm": arm, "depth": depth, "role": role}
        found.append(Commands(say("commands_title", n=len(parts), **words), parts))
    return found


def title(analysis: Analysis, say: Texts, run: Run) -> str:
    size = [f"{say('head_width')} {run.cell.width}"] if len(analysis.widths) > 1 else []
    size += [level(run.cell.fraction)] if len(analysis.fractions) > 1 else []
    return say(
        "run_title",
        values=say.listed([*size, values_name(run.values)]),
        seed=run.seed,
        budget=budget_name(analysis, say, run.budget),
        task=run.task,
    )


def trunk_of(run: Run) -> Trunk:
    return run.cell, run.role, values_name(run.values), run.seed


def own_commands(run: Run, longest: Run) -> Tuple[str, ...]:
    """All of them, or from where a run of a smaller budget leaves the training of the longest."""
    if run is longest:
        return run.commands
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(run.commands, longest.commands))
    branch: Optional[Tuple[int, str]] = None
    for number, (command, _) in enumerate(pairs, 1):
        if (found := PART.search(command)) is not None:
            branch = number, found[1]
    if branch is None:
        return run.commands
    return (f"cp -r {LARGEST}/{branch[1]} .", *run.commands[branch[0] :])
